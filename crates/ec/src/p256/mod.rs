//! P-256: keys, ECDSA, ECDH.
//!
//! From below: `field` and `scalar`, the two rings; `point`, the group; `comb`, `window` and `interleave`, three
//! ways to multiply a point, each with its reason; `nonce`; then the public operations of `key`, `ecdsa`, `encoding`.

mod comb;
mod ecdsa;
mod encoding;
#[cfg(test)]
mod exceptions;
mod field;
mod interleave;
mod key;
mod nonce;
mod point;
mod scalar;
mod tables;
mod window;

pub use ecdsa::{Preparation, PreparedKey, Signature, VerifyError};
pub use encoding::{DecodeError, DerSignature};
pub use key::{PublicKey, SecretKey, SecretKeyError, SharedSecret};

/// The generator G.
#[cfg(test)]
pub(crate) fn generator() -> point::Affine {
    tables::GENERATOR_ODD[0].into()
}
