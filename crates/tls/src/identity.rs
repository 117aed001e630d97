//! Who this side is: the certificates that say so, and their key.

use crate::error::SetupError;
use crate::key::P256Key;
use crate::pem::certificates_from_pem;
use crate::provider::sign::Key;
use crate::sync::{Arc, arc_dyn};
use alloc::vec::Vec;
use core::fmt;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys, SignatureScheme};
use rustls_pki_types::CertificateDer;

/// A certificate chain and the private key that belongs to it. Clones share both.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// An identity of certificates in DER, the own one first and then those between it and the authority.
    ///
    /// # Errors
    /// When there is no certificate, or it is malformed, or the key belongs to another.
    pub fn new(chain: Vec<Vec<u8>>, key: &P256Key) -> Result<Self, SetupError> {
        if chain.is_empty() {
            return Err(SetupError::NoCertificate);
        }
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let certified = CertifiedKey::new(chain, arc_dyn!(dyn SigningKey, Key::new(key)));
        match certified.keys_match() {
            Ok(()) => Ok(Self(Arc::new(certified))),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(SetupError::KeyMismatch),
            Err(_) => Err(SetupError::Certificate),
        }
    }

    /// An identity of PEM texts: all certificates of the first, the first private key of the second. Both may be the
    /// same text.
    ///
    /// # Errors
    /// As [`Identity::new`] and [`P256Key::from_pem`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, SetupError> {
        Self::new(certificates_from_pem(chain)?, &P256Key::from_pem(key)?)
    }

    /// The own certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        self.0.cert.first().map_or(&[], |certificate| certificate)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Whatever authorities the server names: should ours not be among them, its refusal says more than silence.
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}
