//! Certificates that a node asks for by itself.

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

/// Why a key was not made, or a certificate not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// This machine has the certificates that somebody gave it, and asks for none.
    ByHand,
    /// There is no randomness to make a key of.
    Entropy,
    /// A name cannot be put into a certificate.
    Name,
    /// No key waits for a certificate.
    NotAsked,
    /// It is no certificate.
    Malformed,
    /// It belongs to another key.
    OtherKey,
    /// It speaks for another node.
    OtherNode,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByHand => "this machine does not ask for certificates",
            Self::Entropy => "there is no randomness to make a key of",
            Self::Name => "the node's name cannot be put into a certificate",
            Self::NotAsked => "no key waits for a certificate",
            Self::Malformed => "this is no certificate",
            Self::OtherKey => "the certificate belongs to another key",
            Self::OtherNode => "the certificate speaks for another node",
        })
    }
}

impl core::error::Error for IdentityError {}

/// A node's own keys and certificates, for a machine that lets the agent ask for them. Whatever is adopted or restored
/// counts for every connection that is made from then on; those that are open go on.
///
/// A private key leaves only in the record that the agent keeps for the next start.
pub trait Identities {
    /// Makes a new key for that node, and the request for its certificate: PKCS#10 (RFC 2986) in PEM. A serving certificate is
    /// asked for the node's name and `address`. The key waits for [`Identities::adopt`]; what is in use stays.
    ///
    /// # Errors
    /// Nothing has changed.
    fn request(
        &self,
        purpose: Purpose,
        node: &str,
        address: Option<IpAddr>,
    ) -> Result<String, IdentityError> {
        let _ = (purpose, node, address);
        Err(IdentityError::ByHand)
    }

    /// Uses the certificates (PEM, the own one first) that were issued for the key that waits, and returns both as a record
    /// to keep: it holds a secret.
    ///
    /// # Errors
    /// What was in use before is still.
    fn adopt(&self, purpose: Purpose, node: &str, chain: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let _ = (purpose, node, chain);
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

    /// Uses no certificate any more.
    fn discard(&self, purpose: Purpose) {
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
