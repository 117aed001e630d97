//! What a person is told about certificates: the log, and the condition `CertificatesValid`.

use super::{IdentityController, k3s};
use crate::client::ApiError;
use crate::host::Host;
use crate::node::{Condition, Reporter};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use picolet_kube::Timestamp;
use picolet_platform::{Identities, IdentityError, Level, Log, Network, Purpose, RecordError};

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

    fn write(&self, purpose: Purpose, on_k3s: bool, out: &mut String) {
        let remedy = match (self, purpose) {
            (Self::Api(error), _) if on_k3s => k3s::remedy(error),
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
            Self::Failed(why) => write!(f, "the request was approved, and could not be signed: {why}"),
            Self::Password(error) => write!(f, "the node's password for k3s is not kept: {error}"),
            Self::Answer => f.write_str("the signer's answer is no certificate"),
            // Not reported.
            Self::Gone | Self::Outdated | Self::Undecided => Ok(()),
            Self::NoToken => f.write_str(
                "there is none that is valid and accepted, and no token to ask for one: give the node one (--token)",
            ),
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

impl<H: Host> IdentityController<'_, H> {
    /// Reports what a request waits for. What is renewed in good time is not worth a line.
    pub(super) fn report_progress(&self, purpose: Purpose, request: &str, approved: bool) {
        let valid = self.is_valid(purpose);
        if valid && purpose == Purpose::Client && !approved {
            return;
        }
        let name = &*self.node.name;
        let mut words = String::new();
        let _ = match purpose {
            _ if approved => fmt::write(
                &mut words,
                format_args!(
                    "certificate signing request {request} is approved, waiting for the signer (kube-controller-manager's csrsigning controller)"
                ),
            ),
            Purpose::Client => fmt::write(
                &mut words,
                format_args!(
                    "the client certificate waits for approval: kubectl certificate approve {request}, or once for all boards kubectl apply -f deploy/bootstrap.yaml"
                ),
            ),
            Purpose::Serving if valid => fmt::write(
                &mut words,
                format_args!("the new serving certificate waits for approval: picolet approve {name}"),
            ),
            Purpose::Serving => fmt::write(
                &mut words,
                format_args!(
                    "the kubelet port is closed until its certificate is approved: picolet approve {name}, or kubectl certificate approve {request}"
                ),
            ),
        };
        self.report(purpose, Some(words));
    }

    pub(super) fn report_failure(&self, purpose: Purpose, failure: &Failure) {
        // Another try follows. What a request waits for is reported already.
        if matches!(failure, Failure::Gone | Failure::Outdated | Failure::Undecided) {
            return;
        }
        let mut words = String::new();
        let on_k3s = self.certificates.state.borrow().k3s;
        failure.write(purpose, on_k3s, &mut words);
        self.report(purpose, Some(words));
    }

    /// Reports that a renewal has gained nothing.
    pub(super) fn report_limit(&self, purpose: Purpose) {
        let mut words = String::new();
        let _ = fmt::write(
            &mut words,
            format_args!(
                "the new {} certificate is not valid for longer than the one before: the CA is about to expire; renew it",
                purpose.as_str()
            ),
        );
        self.report(purpose, Some(words));
    }

    /// Logs what is the matter, unless that was said before, and has the status tell it, or that nothing is.
    pub(super) fn report(&self, purpose: Purpose, words: Option<String>) {
        let words = words.map(String::into_boxed_str);
        let level = if self.is_valid(purpose) {
            Level::Info
        } else {
            Level::Warn
        };
        let mut certificates = self.certificates.state.borrow_mut();
        let trouble = &mut certificates.trouble[purpose as usize];
        if *trouble != words {
            *trouble = words;
            if let Some(words) = trouble {
                self.machine.log(level, format_args!("{words}"));
            }
            self.node.outdated.signal(());
        }
    }
}

impl<H: Host> Reporter for IdentityController<'_, H> {
    /// The condition `CertificatesValid`. `None` where others see to certificates.
    fn condition(&self, words: &mut String) -> Option<Condition> {
        let condition = |valid: bool, reason| Condition {
            kind: "CertificatesValid",
            status: valid.into(),
            reason,
        };
        self.settings.join.as_ref()?;
        let certificates = self.certificates.state.borrow();
        if let Some(trouble) = certificates.trouble.iter().flatten().next() {
            words.push_str(trouble);
            let usable = self.is_valid(Purpose::Client) && self.is_valid(Purpose::Serving);
            return Some(condition(
                usable,
                if usable {
                    "RenewalPending"
                } else {
                    "CertificateMissing"
                },
            ));
        }
        for (index, purpose) in [Purpose::Client, Purpose::Serving].into_iter().enumerate() {
            let lifetime = self.network.identities().lifetime(purpose);
            let Some(lifetime) = lifetime.filter(|_| self.is_valid(purpose)) else {
                words.clear();
                words.push_str("the serving certificate is about to be asked for");
                return Some(condition(false, "CertificateMissing"));
            };
            let before = if index == 0 { "" } else { ", " };
            let until = Timestamp::from_seconds(lifetime.not_after);
            let _ = fmt::write(
                words,
                format_args!("{before}{} certificate until {}", purpose.as_str(), until.time()),
            );
        }
        Some(condition(true, "CertificatesValid"))
    }
}
