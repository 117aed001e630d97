//! ECDSA signatures in DER.

use crate::arithmetic::P256Secret;
use alloc::vec::Vec;
use der::asn1::UintRef;
use der::{Encode, Sequence};
use sha2::Digest;

/// `ECDSA-Sig-Value` of RFC 3279, section 2.2.3.
#[derive(Sequence)]
pub(crate) struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

impl EcdsaSignature<'_> {
    /// r, then s, each in half of the bytes, or `None` if one is larger.
    pub(crate) fn to_bytes<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.write(&mut bytes)?;
        Some(bytes)
    }

    fn write(&self, bytes: &mut [u8]) -> Option<()> {
        let (r, s) = bytes.split_at_mut(bytes.len() / 2);
        for (number, place) in [(self.r, r), (self.s, s)] {
            let start = place.len().checked_sub(number.as_bytes().len())?;
            place.get_mut(start..)?.copy_from_slice(number.as_bytes());
        }
        Some(())
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
