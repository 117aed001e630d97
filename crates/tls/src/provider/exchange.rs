//! Key exchange: X25519 and P-256, in the form that rustls takes.

use crate::arithmetic::{P256Point, P256Secret, X25519Secret};
use alloc::boxed::Box;
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved};

/// RFC 7748. The faster of the two, and the first that Go offers.
#[derive(Debug)]
pub(super) struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = X25519Secret::generate().map_err(|_| Error::FailedToGetRandomBytes)?;
        let public = secret.public();
        Ok(Box::new(ActiveX25519 { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct ActiveX25519 {
    secret: X25519Secret,
    public: [u8; 32],
}

impl ActiveKeyExchange for ActiveX25519 {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        shared(self.secret.agree(peer))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// SEC 1 and NIST SP 800-56A.
#[derive(Debug)]
pub(super) struct P256;

impl SupportedKxGroup for P256 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let secret = P256Secret::generate().map_err(|_| Error::FailedToGetRandomBytes)?;
        let public = secret.public();
        Ok(Box::new(ActiveP256 { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

struct ActiveP256 {
    secret: P256Secret,
    public: P256Point,
}

impl ActiveKeyExchange for ActiveP256 {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        shared(self.secret.agree(peer))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

fn shared(secret: Option<zeroize::Zeroizing<[u8; 32]>>) -> Result<SharedSecret, Error> {
    match secret {
        Some(bytes) => Ok(bytes[..].into()),
        None => Err(PeerMisbehaved::InvalidKeyShare.into()),
    }
}
