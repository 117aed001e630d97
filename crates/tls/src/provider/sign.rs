//! Signing with the own identity: ECDSA on P-256 with SHA-256.

use super::arithmetic::P256Secret;
use crate::identity::P256Key;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use der::asn1::UintRef;
use der::{Encode, Sequence};
use rustls::crypto::KeyProvider;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use sha2::Digest;

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

/// `ECDSA-Sig-Value` of RFC 3279, section 2.2.3.
#[derive(Sequence)]
pub(super) struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl EcdsaSignature<'_> {
    /// r, then s, each in 32 bytes, or `None` if one is larger.
    pub(super) fn to_bytes(&self) -> Option<[u8; 64]> {
        let mut bytes = [0; 64];
        for (number, place) in [self.r, self.s].iter().zip(bytes.chunks_exact_mut(32)) {
            let start = 32usize.checked_sub(number.as_bytes().len())?;
            place[start..].copy_from_slice(number.as_bytes());
        }
        Some(bytes)
    }
}

/// An ECDSA signature with SHA-256 over `message`, in DER.
pub(crate) fn sign(secret: &P256Secret, message: &[u8]) -> Option<Vec<u8>> {
    let signature = secret.sign(&sha2::Sha256::digest(message).into());
    let (r, s) = signature.split_at(32);
    EcdsaSignature {
        r: UintRef::new(r).ok()?,
        s: UintRef::new(s).ok()?,
    }
    .to_der()
    .ok()
}
