//! The nonce of a signature: RFC 6979, section 3.2, with HMAC-SHA-256, and its hedged variant.
//!
//! Deterministic nonces need no entropy and cannot repeat for two messages. With fresh entropy as the additional data k'
//! of section 3.6 they also resist faults that make one message be signed twice with a bit changed, and cannot be worse
//! than the deterministic ones, however bad the entropy is.
//!
//! Constant time but for the number of candidates: one outside of 1..n is thrown away (once in 2³²), which tells nothing
//! of those that are used.

use super::scalar::Scalar;
use crate::ct::{Secret, secret};
use crate::words;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroize;

/// The generator of section 3.2, steps b to h.
pub(crate) struct Nonces {
    /// K, and zeros up to the hash's block, as HMAC pads it (RFC 2104).
    key: Secret<[u8; 64]>,
    value: Secret<[u8; 32]>,
}

impl Nonces {
    /// Starts from the secret key, the digest (as `bits2octets` makes it) and what entropy there is.
    pub(crate) fn new(secret_key: &Scalar, digest: &Scalar, entropy: &[u8]) -> Self {
        let mut nonces = Nonces {
            key: secret([0; 64]),
            value: secret([1; 32]),
        };
        let secret_key = secret(words::to_be_bytes(&secret_key.0));
        let digest = words::to_be_bytes(&digest.0);
        for step in [0, 1] {
            nonces.update_key(&[&[step], secret_key.as_slice(), &digest, entropy]);
        }
        nonces
    }

    /// The next candidate in 1..n.
    pub(crate) fn next(&mut self) -> Secret<Scalar> {
        loop {
            self.update_value();
            let mut candidate = words::from_be_bytes(&self.value);
            let nonce = Scalar::from_nonzero_integer(&candidate).map(secret);
            candidate.zeroize();
            if let Some(nonce) = nonce {
                return nonce;
            }
            self.update_key(&[&[0]]);
        }
    }

    /// Moves on from a nonce that gave no signature.
    pub(crate) fn reject(&mut self) {
        self.update_key(&[&[0]]);
    }

    /// K = HMAC(K, V ‖ parts), V = HMAC(K, V).
    fn update_key(&mut self, parts: &[&[u8]]) {
        let key = secret(self.mac(parts));
        self.key[..32].copy_from_slice(&*key);
        self.update_value();
    }

    fn update_value(&mut self) {
        *self.value = self.mac(&[]);
    }

    #[inline(never)]
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new(&(*self.key).into());
        mac.update(&*self.value);
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}
