//! RustCrypto's arithmetic. All secrets are handled in constant time; verification is of public values.

use super::P256Point;
use crate::random::{self, RandomError};
use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::elliptic_curve::sec1::ToSec1Point;
use zeroize::Zeroizing;

/// A private key on P-256: a number from 1 to the group's order, less one.
#[derive(Clone)]
pub(crate) struct P256Secret(p256::SecretKey);

impl P256Secret {
    /// A key made of fresh randomness.
    pub(crate) fn generate() -> Result<Self, RandomError> {
        // One draw in 2^32 is not below the order. A source that fails eight times in a row is broken.
        for _ in 0..8 {
            let mut bytes = Zeroizing::new([0; 32]);
            random::fill(&mut bytes[..])?;
            if let Some(key) = Self::from_bytes(&bytes) {
                return Ok(key);
            }
        }
        Err(RandomError)
    }

    /// The key whose big-endian bytes these are, or `None` if the number is out of range.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        p256::SecretKey::from_slice(bytes).ok().map(Self)
    }

    /// The key as 32 big-endian bytes.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// The public key.
    pub(crate) fn public(&self) -> P256Point {
        let mut bytes = [0; 65];
        let point = self.0.public_key().to_sec1_point(false);
        bytes.copy_from_slice(point.as_bytes());
        bytes
    }

    /// An ECDSA signature (r, then s) over a SHA-256 digest, its nonce derived as RFC 6979 says, so that it asks for no
    /// randomness. `None` never happens with a digest of this length.
    pub(crate) fn sign(&self, digest: &[u8; 32]) -> Option<[u8; 64]> {
        let signature: p256::ecdsa::Signature =
            p256::ecdsa::SigningKey::from(&self.0).sign_prehash(digest).ok()?;
        Some(signature.to_bytes().into())
    }

    /// The x coordinate of the product with `peer` (SEC 1), or `None` if that is not a point of the curve.
    pub(crate) fn agree(&self, peer: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        // The uncompressed form alone is legal in TLS 1.3 (RFC 8446, section 4.2.8.2).
        let peer: &P256Point = peer.try_into().ok()?;
        let peer = p256::PublicKey::from_sec1_bytes(peer).ok()?;
        let shared = p256::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), peer.as_affine());
        Some(Zeroizing::new((*shared.raw_secret_bytes()).into()))
    }
}

/// Whether `signature` (r, then s) over the digest was made by the key of `public` (SEC 1).
pub(crate) fn p256_verify(public: &[u8], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let (Ok(key), Ok(signature)) = (
        p256::ecdsa::VerifyingKey::from_sec1_bytes(public),
        p256::ecdsa::Signature::from_slice(signature),
    ) else {
        return false;
    };
    key.verify_prehash(digest, &signature).is_ok()
}

/// A private key on Curve25519.
pub(crate) struct X25519Secret(x25519_dalek::StaticSecret);

impl X25519Secret {
    /// A key made of fresh randomness.
    pub(crate) fn generate() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; 32]);
        random::fill(&mut bytes[..])?;
        Ok(Self::from_bytes(&bytes))
    }

    /// The key of these bytes; any will do (RFC 7748, section 5).
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(x25519_dalek::StaticSecret::from(*bytes))
    }

    /// The public key.
    pub(crate) fn public(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&self.0).to_bytes()
    }

    /// The shared secret, or `None` if the peer's key makes it zero (RFC 8446, section 7.4.2).
    pub(crate) fn agree(&self, peer: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let peer: [u8; 32] = peer.try_into().ok()?;
        let shared = self.0.diffie_hellman(&peer.into());
        shared
            .was_contributory()
            .then(|| Zeroizing::new(shared.to_bytes()))
    }
}
