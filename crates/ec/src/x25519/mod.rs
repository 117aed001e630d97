//! X25519: keys and shared secrets (RFC 7748).
//!
//! A shared secret takes the Montgomery ladder, 255 steps of 5 M + 4 S + one product with 121665; a public key takes a comb
//! on the equivalent Edwards curve in `edwards`, a third of that.

mod edwards;
mod field;
mod tables;

use crate::ct;
use crate::words::{self, Words, bit};
use core::fmt;
use field::Element;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret key: any 32 bytes. Overwritten when dropped, never printed.
#[repr(align(4))] // copied by words: a copy by bytes spills some of them
pub struct SecretKey([u8; 32]);

/// What two parties share after a key exchange, 32 bytes. Overwritten when dropped, never printed.
#[repr(align(4))]
pub struct SharedSecret([u8; 32]);

/// A public key: any 32 bytes, the u-coordinate of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// The peer's public key is of small order, so that the shared secret would be 0 whatever our key is (RFC 7748, section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonContributory;

impl fmt::Display for NonContributory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the X25519 public key is of small order: the peer must send another")
    }
}

impl core::error::Error for NonContributory {}

impl SecretKey {
    /// Takes 32 bytes of entropy, or a stored key. The bits that X25519 fixes are set when the key is used.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        SecretKey(bytes)
    }

    /// The key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key. Constant time.
    pub fn public_key(&self) -> PublicKey {
        ct::with_clean_stack::<1536, _>(|| PublicKey(edwards::multiply_base(&clamp(&self.0))))
    }

    /// The secret shared with the owner of `peer`. Constant time, but for whether it is 0.
    ///
    /// # Errors
    /// If the peer's key is of small order, so that the result is 0.
    pub fn diffie_hellman(&self, peer: &PublicKey) -> Result<SharedSecret, NonContributory> {
        ct::with_clean_stack::<1536, _>(|| {
            let secret = ct::secret(ladder(&clamp(&self.0), &peer.0));
            if words::is_zero(&words::from_le_bytes(&secret)) == 1 {
                Err(NonContributory)
            } else {
                Ok(SharedSecret(*secret))
            }
        })
    }
}

impl PublicKey {
    /// Takes the 32 bytes that a peer sent: all are valid (RFC 7748, section 5).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        PublicKey(bytes)
    }

    /// The 32 bytes to send.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl SharedSecret {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Formats and drops a type that owns a secret.
macro_rules! secret_type {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl ZeroizeOnDrop for $name {}
    };
}

secret_type!(SecretKey);
secret_type!(SharedSecret);

/// `decodeScalar25519` (RFC 7748, section 5): a multiple of 8 with bit 254 set.
fn clamp(bytes: &[u8; 32]) -> Words {
    let mut k = words::from_le_bytes(bytes);
    k[0] &= !7;
    k[7] = (k[7] & 0x7fff_ffff) | 0x4000_0000;
    k
}

/// The ladder's state: x₂/z₂ and x₃/z₃ are the u-coordinates of m·P and (m + 1)·P for the bits m seen so far.
struct Ladder {
    x2: Element,
    z2: Element,
    x3: Element,
    z3: Element,
}

/// `X25519(k, u)` (RFC 7748, section 5; Montgomery 1987). Constant time.
fn ladder(k: &Words, u: &[u8; 32]) -> [u8; 32] {
    let mut u = Element(words::from_le_bytes(u));
    u.0[7] &= 0x7fff_ffff;
    let mut state = Ladder {
        x2: Element::ONE,
        z2: Element::ZERO,
        x3: u,
        z3: Element::ONE,
    };
    let mut swapped = 0;
    for i in (0..255).rev() {
        let bit = bit(k, i);
        state.swap(ct::mask(bit ^ swapped));
        swapped = bit;
        state.step(&u);
    }
    state.swap(ct::mask(swapped));
    Element::quotient_bytes(&state.x2, &state.z2)
}

impl Ladder {
    fn swap(&mut self, mask: u32) {
        Element::swap(mask, &mut self.x2, &mut self.x3);
        Element::swap(mask, &mut self.z2, &mut self.z3);
    }

    /// A differential addition and a doubling: the loop of RFC 7748, section 5, with its names. 5 M + 4 S + 1 small product.
    #[inline(never)]
    fn step(&mut self, x1: &Element) {
        let a = self.x2.add(&self.z2);
        let b = self.x2.sub(&self.z2);
        let c = self.x3.add(&self.z3);
        let d = self.x3.sub(&self.z3);
        let da = d.mul(&a);
        let cb = c.mul(&b);
        self.x3 = da.add(&cb).square();
        self.z3 = x1.mul(&da.sub(&cb).square());
        let aa = a.square();
        let bb = b.square();
        let e = aa.sub(&bb);
        self.x2 = aa.mul(&bb);
        self.z2 = e.mul(&aa.add(&e.mul_121665()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The repeated function of RFC 7748, section 5.2: the first bytes of its results.
    fn iterate(times: usize) -> [u8; 8] {
        let mut k = [0; 32];
        k[0] = 9;
        let mut u = k;
        for _ in 0..times {
            (k, u) = (ladder(&clamp(&k), &u), k);
        }
        core::array::from_fn(|i| k[i])
    }

    #[test]
    fn rfc_7748_iterated() {
        assert_eq!(iterate(1), [0x42, 0x2c, 0x8e, 0x7a, 0x62, 0x27, 0xd7, 0xbc]);
        assert_eq!(iterate(1000), [0x68, 0x4c, 0xf5, 0x9b, 0xa8, 0x33, 0x09, 0x55]);
    }

    #[test]
    #[ignore = "a minute: cargo test --release -p picolet-ec -- --ignored"]
    fn rfc_7748_iterated_a_million_times() {
        assert_eq!(
            iterate(1_000_000),
            [0x7c, 0x39, 0x11, 0xe0, 0xab, 0x25, 0x86, 0xfd]
        );
    }
}
