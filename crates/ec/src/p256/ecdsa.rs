//! ECDSA over P-256 (FIPS 186-5, section 6.4; SEC 1, section 4.1).

use super::comb;
use super::field::Element;
use super::interleave;
use super::key::{PublicKey, SecretKey};
use super::nonce::Nonces;
use super::point::PublicSum;
use super::scalar::{ORDER, Scalar};
use crate::arch::P256_PRIME;
use crate::ct;
use crate::words::{self, ZERO};
use core::borrow::BorrowMut;
use core::fmt;

/// A signature: two integers in 1..n.
#[derive(Clone, Copy)]
pub struct Signature {
    pub(super) r: Scalar,
    pub(super) s: Scalar,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:08x?}, {:08x?})", self.r.0, self.s.0)
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.r.0 == other.r.0 && self.s.0 == other.s.0
    }
}

impl Eq for Signature {}

/// The signature is not one of this key over this digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyError;

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ECDSA signature does not match the key and the digest")
    }
}

impl core::error::Error for VerifyError {}

impl SecretKey {
    /// Signs a digest: the hash of the message, or its leftmost 32 bytes if it is longer. The nonce is that of RFC 6979, so
    /// that the same key and digest give the same signature.
    ///
    /// Constant time in the key, the nonce and the digest.
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        self.sign_with(digest, &[])
    }

    /// Signs a digest with a nonce made of the key, the digest and fresh entropy (RFC 6979, section 3.6): for a device whose
    /// random source is good, and no worse than [`SecretKey::sign`] if it is not.
    ///
    /// Constant time in the key, the nonce and the digest.
    pub fn sign_hedged(&self, digest: &[u8; 32], entropy: &[u8; 32]) -> Signature {
        self.sign_with(digest, entropy)
    }

    fn sign_with(&self, digest: &[u8; 32], entropy: &[u8]) -> Signature {
        ct::with_clean_stack::<2048, _>(|| {
            let digest = digest_scalar(digest);
            let mut nonces = Nonces::new(&self.scalar, &digest, entropy);
            loop {
                if let Some(signature) = sign_with_nonce(&self.scalar, &nonces.next(), &digest) {
                    return signature;
                }
                nonces.reject(); // r or s was 0: once in 2²⁵⁶
            }
        })
    }
}

/// r = x(k·G) mod n, s = (z + r·d)/k mod n. Constant time. A comb multiplication, an inversion, 4 scalar products.
fn sign_with_nonce(d: &Scalar, k: &Scalar, z: &Scalar) -> Option<Signature> {
    let r = Scalar::from_integer_reduced(&comb::multiply_generator(k).x.to_integer());
    let k_inverse = ct::secret(k.invert());
    let sum = ct::secret(z.add(&r.mul(d)));
    let s = k_inverse.mul(&sum);
    ((r.is_zero() | s.is_zero()) == 0).then_some(Signature { r, s })
}

impl PublicKey {
    /// Verifies a signature over a digest: the hash of the message, or its leftmost 32 bytes if it is longer.
    ///
    /// Variable time: nothing here is secret. For a key that is seen often, [`super::PreparedKey`] takes half the time.
    ///
    /// # Errors
    /// If the signature does not match.
    pub fn verify(&self, digest: &[u8; 32], signature: &Signature) -> Result<(), VerifyError> {
        let (u1, u2) = signature.scalars(digest);
        signature.check(&interleave::multiply_public(&u1, &u2, &self.point))
    }
}

/// A public key with a table of its multiples, 2 KB: verification in half the time, worth 3 M instructions once.
///
/// It is large: build it where it will stay, by [`PreparedKey::prepare`] on a static or boxed value, or in steps by
/// [`Preparation`].
pub struct PreparedKey {
    table: comb::Table,
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedKey").finish_non_exhaustive()
    }
}

impl PreparedKey {
    /// No key yet: every signature is refused.
    pub const EMPTY: PreparedKey = PreparedKey {
        table: [[ZERO; 2]; comb::TABLE_LENGTH],
    };

    /// Replaces the key. Variable time.
    pub fn prepare(&mut self, key: &PublicKey) {
        let mut preparation = Preparation::new(key, self);
        while !preparation.step() {}
    }

    /// As [`PublicKey::verify`], for the key that was prepared.
    ///
    /// # Errors
    /// If the signature does not match, or no key was prepared.
    pub fn verify(&self, digest: &[u8; 32], signature: &Signature) -> Result<(), VerifyError> {
        // The table of a key has no point (0, 0), which is not on the curve; its first entry is written by the last step.
        if self.table[0] == [ZERO; 2] {
            return Err(VerifyError);
        }
        let (u1, u2) = signature.scalars(digest);
        signature.check(&comb::multiply_public(&u1, &u2, &self.table))
    }
}

/// The preparation of a key in steps, for a processor that has other things to do in between.
///
/// `K` is where the table will lie: a `&mut PreparedKey`, or a boxed one. A preparation that is dropped before its end leaves
/// it refusing every signature.
///
/// ```
/// use picolet_ec::p256::{Preparation, PreparedKey, SecretKey};
///
/// let key = SecretKey::generate(&[7; 48]);
/// let mut preparation = Preparation::new(&key.public_key(), Box::new(PreparedKey::EMPTY));
/// while !preparation.step() {}
/// let prepared = preparation.finish().expect("it is complete");
/// assert!(prepared.verify(&[1; 32], &key.sign(&[1; 32])).is_ok());
/// ```
pub struct Preparation<K> {
    builder: comb::Builder,
    complete: bool,
    prepared: K,
}

impl<K> fmt::Debug for Preparation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation").finish_non_exhaustive()
    }
}

impl<K: BorrowMut<PreparedKey>> Preparation<K> {
    /// How many steps it takes.
    pub const STEPS: usize = comb::Builder::STEPS;

    /// Begins to prepare the key; what was prepared in this place before is gone.
    pub fn new(key: &PublicKey, mut prepared: K) -> Self {
        prepared.borrow_mut().table[0] = [ZERO; 2];
        Preparation {
            builder: comb::Builder::new(&key.point),
            complete: false,
            prepared,
        }
    }

    /// Does the next step and returns whether it was the last. Variable time; at most 0.6 M instructions.
    pub fn step(&mut self) -> bool {
        self.complete = self.builder.step(&mut self.prepared.borrow_mut().table);
        self.complete
    }

    /// The prepared key, or `None` if there are steps to do.
    pub fn finish(self) -> Option<K> {
        self.complete.then_some(self.prepared)
    }
}

/// The steps of FIPS 186-5, section 6.4.2, before and after the multiplication.
impl Signature {
    /// u₁ = z/s and u₂ = r/s.
    #[inline(never)]
    fn scalars(&self, digest: &[u8; 32]) -> (Scalar, Scalar) {
        let s_inverse = self.s.invert();
        (digest_scalar(digest).mul(&s_inverse), self.r.mul(&s_inverse))
    }

    /// Whether the abscissa of R = u₁·G + u₂·Q is r modulo n, in projective form: x(R) = X/Z² ≡ r mod n just if X = r·Z² or
    /// X = (r + n)·Z² modulo p, the latter only where r + n is below p.
    #[inline(never)]
    fn check(&self, sum: &PublicSum) -> Result<(), VerifyError> {
        let point = sum.point().ok_or(VerifyError)?;
        let zz = point.z.square();
        let (r_plus_n, carry) = words::add(&self.r.0, &ORDER);
        let below_p = carry == 0 && words::less_than(&r_plus_n, &P256_PRIME) == 1;
        let mut candidates = [Some(&self.r.0), below_p.then_some(&r_plus_n)]
            .into_iter()
            .flatten();
        let matches = candidates.any(|x| Element::from_integer(x).mul(&zz).equals(&point.x) == 1);
        if matches { Ok(()) } else { Err(VerifyError) }
    }
}

/// The digest as an integer modulo n: `bits2int`, then the reduction of `bits2octets` (RFC 6979, section 2.3).
fn digest_scalar(digest: &[u8; 32]) -> Scalar {
    Scalar::from_integer_reduced(&words::from_be_bytes(digest))
}
