//! Keys of P-256, their generation and the Diffie-Hellman exchange (SP 800-56A).

use super::comb;
use super::field::Element;
use super::point::Affine;
use super::scalar::Scalar;
use super::window;
use crate::arch::P256_PRIME;
use crate::ct;
use crate::words::{self, Words};
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret key: an integer in 1..n. Overwritten when dropped, never printed.
#[derive(Clone)]
pub struct SecretKey {
    pub(super) scalar: Scalar,
}

/// A public key: a point of the curve other than infinity.
///
/// Whoever holds one holds a valid point: every way to make one checks it (SP 800-56A, section 5.6.2.3.4; the group has no
/// cofactor, so being on the curve is all).
#[derive(Clone, Copy)]
pub struct PublicKey {
    pub(super) point: Affine,
}

/// What two parties share after a key exchange: the abscissa of the common point, 32 bytes. Overwritten when dropped,
/// never printed.
#[repr(align(4))] // copied by words: a copy by bytes spills some of them
pub struct SharedSecret(pub(super) [u8; 32]);

/// 32 bytes that are no secret key: 0, or not below the group's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretKeyError;

impl fmt::Display for SecretKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a P-256 secret key must be an integer from 1 to the group's order less 1")
    }
}

impl core::error::Error for SecretKeyError {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.scalar.zeroize();
    }
}

impl ZeroizeOnDrop for SecretKey {}

impl SecretKey {
    /// Makes a key of 48 bytes of entropy (FIPS 186-5, section A.2.1, with 128 extra bits): there is nothing to retry.
    /// Constant time.
    pub fn generate(entropy: &[u8; 48]) -> Self {
        let ([high, rest @ ..], _) = entropy.as_chunks::<16>() else {
            unreachable!("48 is not 0")
        };
        let mut low = [0; 32];
        for (to, from) in low.as_chunks_mut::<16>().0.iter_mut().zip(rest) {
            *to = *from;
        }
        let mut low_words = words::from_be_bytes(&low);
        let mut high_words: [u32; 4] = core::array::from_fn(|i| {
            let at = 12 - 4 * i;
            u32::from_be_bytes([high[at], high[at + 1], high[at + 2], high[at + 3]])
        });
        let key = SecretKey {
            scalar: Scalar::from_wide_nonzero(&low_words, &high_words),
        };
        low.zeroize();
        low_words.zeroize();
        high_words.zeroize();
        key
    }

    /// Reads a key of 32 bytes, the most significant first. Constant time, but for whether it is one.
    ///
    /// # Errors
    /// If the integer is 0 or not below the group's order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, SecretKeyError> {
        let mut integer = words::from_be_bytes(bytes);
        let key = Scalar::from_nonzero_integer(&integer).map(|scalar| SecretKey { scalar });
        integer.zeroize();
        key.ok_or(SecretKeyError)
    }

    /// The key's 32 bytes, the most significant first. Constant time.
    pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
        ct::secret(words::to_be_bytes(&self.scalar.0))
    }

    /// The public key, d·G. Constant time.
    pub fn public_key(&self) -> PublicKey {
        ct::with_clean_stack::<1536, _>(|| PublicKey {
            point: comb::multiply_generator(&self.scalar),
        })
    }

    /// The secret shared with the owner of `peer` (SP 800-56A, section 5.7.1.2). Constant time.
    pub fn diffie_hellman(&self, peer: &PublicKey) -> SharedSecret {
        ct::with_clean_stack::<3584, _>(|| {
            SharedSecret(words::to_be_bytes(
                &window::multiply(&self.scalar, &peer.point).x.to_integer(),
            ))
        })
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PublicKey({:08x?}, {:08x?})",
            self.point.x.to_integer(),
            self.point.y.to_integer()
        )
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.point.x.0 == other.point.x.0 && self.point.y.0 == other.point.y.0
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// The point with these coordinates, if both are below p and it is on the curve.
    pub(super) fn from_coordinates(x: &Words, y: &Words) -> Option<Self> {
        if words::less_than(x, &P256_PRIME) & words::less_than(y, &P256_PRIME) == 0 {
            return None;
        }
        let point = Affine {
            x: Element::from_integer(x),
            y: Element::from_integer(y),
        };
        (point.is_on_curve() == 1).then_some(PublicKey { point })
    }
}

impl SharedSecret {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

impl Drop for SharedSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for SharedSecret {}
