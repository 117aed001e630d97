//! A private key.

use crate::arithmetic::P256Secret;
use crate::ecdsa;
use crate::error::SetupError;
use crate::pem::pem;
use crate::random::RandomError;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// id-ecPublicKey and secp256r1 (RFC 5480).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// A private key on P-256. Wiped from memory when it is dropped.
#[derive(Clone)]
pub struct P256Key(P256Secret);

impl P256Key {
    /// A new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate() -> Result<Self, RandomError> {
        P256Secret::generate().map(Self)
    }

    /// A key in DER: PKCS#8 (RFC 5958) or SEC 1 (RFC 5915), whichever it is. A public key inside is not looked at.
    ///
    /// # Errors
    /// [`SetupError::KeyKind`] for a key of another kind, [`SetupError::Key`] for anything else.
    pub fn from_der(der: &[u8]) -> Result<Self, SetupError> {
        let mut fields = sequence(der)?;
        fields.decode::<u8>().map_err(|_| SetupError::Key)?;
        match Tag::peek(&fields).map_err(|_| SetupError::Key)? {
            Tag::OctetString => Self::from_sec1(der),
            Tag::Sequence => {
                let algorithm: AnyRef<'_> = fields.decode().map_err(|_| SetupError::Key)?;
                let mut algorithm = SliceReader::new(algorithm.value()).map_err(|_| SetupError::Key)?;
                if algorithm.decode::<ObjectIdentifier>() != Ok(EC_PUBLIC_KEY)
                    || algorithm.decode::<ObjectIdentifier>() != Ok(SECP256R1)
                {
                    return Err(SetupError::KeyKind);
                }
                let key: &OctetStringRef = fields.decode().map_err(|_| SetupError::Key)?;
                Self::from_sec1(key.as_bytes())
            }
            // RSAPrivateKey (PKCS#1) goes on with the modulus.
            Tag::Integer => Err(SetupError::KeyKind),
            _ => Err(SetupError::Key),
        }
    }

    /// `ECPrivateKey` of RFC 5915.
    fn from_sec1(der: &[u8]) -> Result<Self, SetupError> {
        let mut fields = sequence(der)?;
        if fields.decode::<u8>() != Ok(1) {
            return Err(SetupError::Key);
        }
        let secret: &OctetStringRef = fields.decode().map_err(|_| SetupError::Key)?;
        if Tag::peek(&fields).is_ok_and(|tag| tag.is_context_specific() && tag.number() == TagNumber(0)) {
            let parameters: AnyRef<'_> = fields.decode().map_err(|_| SetupError::Key)?;
            if ObjectIdentifier::from_der(parameters.value()) != Ok(SECP256R1) {
                return Err(SetupError::KeyKind);
            }
        }
        let secret = secret.as_bytes().try_into().map_err(|_| SetupError::KeyKind)?;
        P256Secret::from_bytes(secret).map(Self).ok_or(SetupError::Key)
    }

    /// The first private key in PEM text: `PRIVATE KEY` or `EC PRIVATE KEY`.
    ///
    /// # Errors
    /// [`SetupError::NoKey`] when there is none, [`SetupError::Pem`] for damaged text, else as [`P256Key::from_der`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, SetupError> {
        match PrivateKeyDer::from_pem_slice(pem) {
            Ok(key) => Self::from_der(key.secret_der()),
            Err(rustls_pki_types::pem::Error::NoItemsFound) => Err(SetupError::NoKey),
            Err(_) => Err(SetupError::Pem),
        }
    }

    /// The key as PKCS#8 in DER, without the public key: that is quicker to load again.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        /// All of RFC 5958's `PrivateKeyInfo` around the 32 bytes.
        const BEFORE: [u8; 35] = [
            0x30, 65, 2, 1, 0, 0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 3, 1, 7, 4, 39, 0x30, 37, 2, 1, 1, 4, 32,
        ];
        let mut der = Zeroizing::new(Vec::with_capacity(BEFORE.len() + 32));
        der.extend_from_slice(&BEFORE);
        der.extend_from_slice(&self.0.to_bytes()[..]);
        der
    }

    /// The key as PKCS#8 in PEM, as files carry it.
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", &self.to_pkcs8()))
    }

    /// The public key as `SubjectPublicKeyInfo` in DER (RFC 5480).
    pub fn public_key_der(&self) -> Vec<u8> {
        const BEFORE: [u8; 26] = [
            0x30, 89, 0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d,
            3, 1, 7, 3, 66, 0,
        ];
        let mut der = Vec::with_capacity(BEFORE.len() + 65);
        der.extend_from_slice(&BEFORE);
        der.extend_from_slice(&self.0.public());
        der
    }

    /// An ECDSA signature with SHA-256 over `message`, in DER (RFC 3279, section 2.2.3). `None` when there is no
    /// randomness.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        ecdsa::sign(&self.0, message)
    }

    pub(crate) fn secret(&self) -> &P256Secret {
        &self.0
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P256Key")
    }
}

/// A reader of what is in the `SEQUENCE` that `der` is.
fn sequence(der: &[u8]) -> Result<SliceReader<'_>, SetupError> {
    let outer = AnyRef::from_der(der).map_err(|_| SetupError::Key)?;
    if outer.tag() != Tag::Sequence {
        return Err(SetupError::Key);
    }
    SliceReader::new(outer.value()).map_err(|_| SetupError::Key)
}
