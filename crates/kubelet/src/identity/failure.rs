//! Why there is no certificate, in words.

use crate::client::ApiError;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use picolet_platform::{IdentityError, Purpose, RecordError};

/// Why there is no certificate.
pub(super) enum Failure {
    Api(ApiError),
    Identity(IdentityError),
    Denied(Box<str>),
    Failed(Box<str>),
    /// The password for k3s was not kept.
    Password(RecordError),
    /// What came is no base64, or is missing.
    Answer,
    /// The API server does not have the request.
    Gone,
    /// What was requested is for an address that the node no longer has.
    Outdated,
    /// It is neither approved and signed nor denied.
    Undecided,
    /// Nobody can ask for a certificate.
    NoToken,
}

impl Failure {
    /// Whether nothing can come of the request any more, so that the next one is a new one.
    pub(super) fn ends_request(&self) -> bool {
        self.is_refusal() || matches!(self, Self::Outdated)
    }

    /// Whether the same is likely to come of a new request, until somebody changes something.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Denied(_) | Self::Failed(_) | Self::Answer | Self::Identity(_)
        )
    }

    /// Writes what is the matter, and the remedy.
    pub(super) fn write(&self, purpose: Purpose, on_k3s: bool, out: &mut String) {
        let remedy = match (self, purpose) {
            (Self::Api(error), _) if on_k3s => k3s_remedy(error),
            (Self::Api(error), Purpose::Client) if error.code() == 401 => {
                ": the bootstrap token is wrong or has expired; make a new one (kubeadm token create) and give it to the node (--token)"
            }
            (Self::Api(error), _) if error.code() == 403 => {
                ": apply deploy/bootstrap.yaml, which lets its group ask for certificates"
            }
            (Self::Denied(_), _) => ": another is asked for later",
            _ => "",
        };
        let _ = fmt::write(
            out,
            format_args!("no {} certificate: {self}{remedy}", purpose.as_str()),
        );
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Denied(why) => write!(f, "the request was denied: {why}"),
            Self::Failed(why) => write!(f, "the request was approved but not signed: {why}"),
            Self::Password(error) => write!(f, "cannot store the node password for k3s: {error}"),
            Self::Answer => f.write_str("the signer's response is not a certificate"),
            // Not reported.
            Self::Gone | Self::Outdated | Self::Undecided => Ok(()),
            Self::NoToken => {
                f.write_str("no valid client certificate and no bootstrap token: pass --token-file")
            }
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}

/// Remedy for an error response of k3s. A refused client certificate is not reported, because the token is tried next.
fn k3s_remedy(error: &ApiError) -> &'static str {
    let ApiError::Status(status) = error else {
        return "";
    };
    match status.code {
        401 => ": the token is wrong or has expired: create one with `k3s token create`",
        // "unable to verify password for node NAME: hash does not match"; older ones: "unable to verify hash for node 'NAME'".
        403 if status.message.as_bytes().windows(4).any(|word| word == b"hash") => {
            ": another machine has this name, or this one lost its node password: use another --node-name, or run `kubectl delete node`, which deletes the password"
        }
        403 => ": this token cannot join nodes: create one with `k3s token create`",
        404 => ": this server is not k3s: join with a bootstrap token (`kubeadm token create`)",
        429 | 503 => ": k3s is starting or busy; retrying",
        _ => "",
    }
}
