//! Public-key arithmetic on P-256, P-384 and Curve25519, and nothing else: bytes in, bytes out.
//!
//! This is the one module that knows which library does it: `picolet-ec`, made for the Cortex-M0+ and faster than RustCrypto on the
//! other processors as well (`crates/ec/README.md` has the figures). All secrets are handled in constant time; verification is of public
//! values.

pub(crate) mod prepared;

use crate::random::{self, RandomError};
use crate::sync::Arc;
use picolet_ec::{p256, p384, x25519};
use zeroize::Zeroizing;

/// A point on P-256, uncompressed (SEC 1, section 2.3.3).
pub(crate) type P256Point = [u8; 65];

/// A private key on P-256: a number from 1 to the group's order, less one. Clones share it.
#[derive(Clone)]
pub(crate) struct P256Secret(Arc<p256::SecretKey>);

impl P256Secret {
    /// A key made of fresh randomness.
    pub(crate) fn generate() -> Result<Self, RandomError> {
        let mut entropy = Zeroizing::new([0; 48]);
        random::fill(&mut entropy[..])?;
        Ok(Self(Arc::new(p256::SecretKey::generate(&entropy))))
    }

    /// The key whose big-endian bytes these are, or `None` if the number is out of range.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        p256::SecretKey::from_bytes(bytes)
            .ok()
            .map(|key| Self(Arc::new(key)))
    }

    /// The key as 32 big-endian bytes.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.to_bytes()
    }

    /// The public key.
    pub(crate) fn public(&self) -> P256Point {
        self.0.public_key().to_sec1_bytes()
    }

    /// An ECDSA signature (r, then s) over a SHA-256 digest, its nonce derived as RFC 6979 says, so that it asks for no
    /// randomness.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        self.0.sign(digest).to_bytes()
    }

    /// The x coordinate of the product with `peer` (SEC 1), or `None` if that is not a point of the curve.
    pub(crate) fn agree(&self, peer: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        // The uncompressed form alone is legal in TLS 1.3 (RFC 8446, section 4.2.8.2).
        let peer: &P256Point = peer.try_into().ok()?;
        let peer = p256::PublicKey::from_sec1_bytes(peer).ok()?;
        Some(Zeroizing::new(*self.0.diffie_hellman(&peer).as_bytes()))
    }
}

/// Whether `signature` (r, then s) over the digest was made by the key of `public` (SEC 1).
pub(crate) fn p256_verify(public: &[u8], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let (Ok(key), Ok(signature)) = (
        p256::PublicKey::from_sec1_bytes(public),
        p256::Signature::from_bytes(signature),
    ) else {
        return false;
    };
    prepared::verify(&key, digest, &signature)
}

/// Whether `signature` (r, then s) over the digest was made by the key of `public` (SEC 1), on P-384.
pub(crate) fn p384_verify(public: &[u8], digest: &[u8], signature: &[u8; 96]) -> bool {
    p384::verify(public, digest, signature)
}

/// Counts a valid signature of the trusted key `public` (SEC 1), so that a key that comes back is prepared.
pub(crate) fn p256_count(public: &[u8]) {
    if let Ok(key) = p256::PublicKey::from_sec1_bytes(public) {
        prepared::count(&key);
    }
}

/// A private key on Curve25519.
pub(crate) struct X25519Secret(x25519::SecretKey);

impl X25519Secret {
    /// A key made of fresh randomness.
    pub(crate) fn generate() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; 32]);
        random::fill(&mut bytes[..])?;
        Ok(Self::from_bytes(&bytes))
    }

    /// The key of these bytes; any will do (RFC 7748, section 5).
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(x25519::SecretKey::from_bytes(*bytes))
    }

    /// The public key.
    pub(crate) fn public(&self) -> [u8; 32] {
        *self.0.public_key().as_bytes()
    }

    /// The shared secret, or `None` if the peer's key makes it zero (RFC 8446, section 7.4.2).
    pub(crate) fn agree(&self, peer: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let peer = x25519::PublicKey::from_bytes(peer.try_into().ok()?);
        let shared = self.0.diffie_hellman(&peer).ok()?;
        Some(Zeroizing::new(*shared.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_keys_that_work() {
        let (x, y) = (P256Secret::generate().unwrap(), P256Secret::generate().unwrap());
        assert_eq!(x.agree(&y.public()), y.agree(&x.public()));
        let signature = x.sign(&[7; 32]);
        assert!(p256_verify(&x.public(), &[7; 32], &signature));
        assert!(!p256_verify(&y.public(), &[7; 32], &signature));
        let (x, y) = (
            X25519Secret::generate().unwrap(),
            X25519Secret::generate().unwrap(),
        );
        assert_eq!(x.agree(&y.public()), y.agree(&x.public()));
    }
}
