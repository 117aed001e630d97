//! Signing with the own identity: ECDSA on P-256 with SHA-256.

use crate::arithmetic::P256Secret;
use crate::ecdsa::sign;
use crate::key::P256Key;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use rustls::crypto::KeyProvider;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use crate::sync::{Arc, arc_dyn};

/// Loads keys for rustls.
#[derive(Debug)]
pub(super) struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let key =
            P256Key::from_der(key.secret_der()).map_err(|_| Error::General("not a P-256 key".into()))?;
        Ok(arc_dyn!(dyn SigningKey, Key::new(&key)))
    }
}

/// A P-256 key for rustls.
#[derive(Clone)]
pub(crate) struct Key {
    secret: P256Secret,
    public: SubjectPublicKeyInfoDer<'static>,
}

impl Key {
    pub(crate) fn new(key: &P256Key) -> Self {
        Self {
            secret: key.secret().clone(),
            public: SubjectPublicKeyInfoDer::from(key.public_key_der()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&SignatureScheme::ECDSA_NISTP256_SHA256)
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.public.as_ref()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        sign(&self.secret, message).ok_or(Error::General("signing failed".into()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
