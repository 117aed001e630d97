//! Certificates that a node asks for by itself.

use crate::records::LONGEST_RECORD;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To call the API server.
    Client,
    /// To be called at the kubelet port.
    Serving,
}

impl Purpose {
    /// The word for it in names and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Serving => "serving",
        }
    }
}

/// From when until when a certificate is valid, in seconds since the epoch, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The first second.
    pub not_before: u64,
    /// The last one.
    pub not_after: u64,
}

impl Lifetime {
    /// Of a peer without a certificate: any time fits.
    pub const UNVERIFIED: Self = Self {
        not_before: 0,
        not_after: u64::MAX,
    };
}

/// Why a key was not made, or a certificate not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// This machine has the certificates that somebody gave it, and asks for none.
    ByHand,
    /// There is no randomness to make a key of.
    Entropy,
    /// A name cannot be put into a certificate.
    Name,
    /// It is no certificate.
    Malformed,
    /// It belongs to another key.
    OtherKey,
    /// It speaks for another node.
    OtherNode,
    /// It has expired.
    Expired,
    /// The certificate chain and its key take this many bytes, more than [`LONGEST_RECORD`].
    TooLong(usize),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::ByHand => "this machine does not ask for certificates",
            Self::Entropy => "there is no randomness to make a key of",
            Self::Name => "the node's name cannot be put into a certificate",
            Self::Malformed => "this is no certificate",
            Self::OtherKey => "the certificate belongs to another key",
            Self::OtherNode => "the certificate speaks for another node",
            Self::Expired => {
                "the certificate has expired already: check the clock of the signer (kube-controller-manager)"
            }
            Self::TooLong(bytes) => {
                return write!(
                    f,
                    "the certificate chain takes {bytes} bytes with its key, and this device stores {LONGEST_RECORD}: issue it without intermediate certificates"
                );
            }
        };
        f.write_str(text)
    }
}

impl core::error::Error for IdentityError {}

/// A node's own keys and certificates, for a machine that lets the agent ask for them. Whatever is adopted or restored
/// counts for every connection that is made from then on; those that are open go on.
///
/// A private key leaves only in the record that the agent keeps for the next start.
pub trait Identities {
    /// Writes a certificate signing request for that node: PKCS#10 (RFC 2986) in PEM. It is signed by `key` (PKCS#8, DER). An
    /// empty `key` is filled with a new one, a secret that the caller keeps for [`Identities::adopt`] and wipes. A serving
    /// certificate is requested for the node's name and `address`.
    ///
    /// # Errors
    /// [`IdentityError::Entropy`], [`IdentityError::Name`], or [`IdentityError::Malformed`] for a `key` that is none.
    fn request(
        &self,
        purpose: Purpose,
        node: &str,
        address: Option<IpAddr>,
        key: &mut Vec<u8>,
    ) -> Result<String, IdentityError> {
        let _ = (purpose, node, address, key);
        Err(IdentityError::ByHand)
    }

    /// Uses the certificates (PEM, the own one first) that were issued for `key`, unless they have expired `now` (seconds since
    /// the epoch). Returns both as a record to keep: it holds a secret.
    ///
    /// # Errors
    /// What was in use before is still.
    fn adopt(
        &self,
        purpose: Purpose,
        node: &str,
        key: &[u8],
        chain: &[u8],
        now: u64,
    ) -> Result<Vec<u8>, IdentityError> {
        let _ = (purpose, node, key, chain, now);
        Err(IdentityError::ByHand)
    }

    /// Uses what was kept of [`Identities::adopt`].
    ///
    /// # Errors
    /// What was in use before is still.
    fn restore(&self, purpose: Purpose, node: &str, record: &[u8]) -> Result<(), IdentityError> {
        let _ = (purpose, node, record);
        Err(IdentityError::ByHand)
    }

    /// Behaves as if there were no certificate, until one is adopted or restored, or [`Identities::present`] is called. A
    /// serving certificate is presented all the same.
    fn withhold(&self, purpose: Purpose) {
        let _ = purpose;
    }

    /// Uses the certificate that was withheld again.
    fn present(&self, purpose: Purpose) {
        let _ = purpose;
    }

    /// When the certificate in use is valid; `None` where there is none.
    fn lifetime(&self, purpose: Purpose) -> Option<Lifetime> {
        let _ = purpose;
        None
    }

    /// Whether the serving certificate in use is for `address`.
    fn serves(&self, address: IpAddr) -> bool {
        let _ = address;
        false
    }
}
