//! RSA verification with keys of 2048 to 4096 bits, without the heap.
//!
//! The crate `rsa` needs compare-and-swap. Verification needs of it one short exponentiation of public numbers and two
//! paddings; the exponentiation is crypto-bigint's. There is nothing secret here, so nothing is constant-time.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U2048, U4096, Uint};
use der::asn1::UintRef;
use der::{Decode, Sequence};
use sha2::digest::typenum::Unsigned;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// The longest modulus in bytes.
const LONGEST: usize = 512;
/// The largest public exponent, which nearly all keys have. Larger ones cost whoever verifies, and are nobody's but an attacker's.
const EXPONENT: u32 = 65_537;
/// The longest digest in bytes.
const DIGEST: usize = 64;

/// A hash of the SHA-2 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashKind {
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl HashKind {
    fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The digest of all `parts` in a row.
    pub(super) fn digest(self, parts: &[&[u8]]) -> ([u8; DIGEST], usize) {
        fn run<D: Digest>(parts: &[&[u8]]) -> ([u8; DIGEST], usize) {
            let mut running = D::new();
            for part in parts {
                running.update(part);
            }
            let mut digest = [0; DIGEST];
            let length = D::OutputSize::USIZE;
            digest[..length].copy_from_slice(&running.finalize());
            (digest, length)
        }
        match self {
            Self::Sha256 => run::<Sha256>(parts),
            Self::Sha384 => run::<Sha384>(parts),
            Self::Sha512 => run::<Sha512>(parts),
        }
    }

    /// The DER of `DigestInfo` before the digest (RFC 8017, section 9.2, note 1): the families differ in three bytes.
    fn digest_info(self) -> [u8; 19] {
        let (kind, length) = match self {
            Self::Sha256 => (1, 32),
            Self::Sha384 => (2, 48),
            Self::Sha512 => (3, 64),
        };
        [
            0x30,
            17 + length,
            0x30,
            13,
            6,
            9,
            0x60,
            0x86,
            0x48,
            1,
            0x65,
            3,
            4,
            2,
            kind,
            5,
            0,
            4,
            length,
        ]
    }
}

/// Bits of the modulus of a key that signatures are verified with.
pub const BITS: core::ops::RangeInclusive<usize> = 2048..=4096;

/// `RSAPublicKey` of RFC 8017, appendix A.1.1.
#[derive(Sequence)]
struct PublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// Whether `signature` is RSASSA-PKCS1-v1_5 over `message` (RFC 8017, section 8.2.2).
pub(super) fn verify_pkcs1(public: &[u8], hash: HashKind, message: &[u8], signature: &[u8]) -> bool {
    let mut buffer = [0; LONGEST];
    let Some((encoded, _)) = raise(public, signature, &mut buffer) else {
        return false;
    };
    let (digest, length) = hash.digest(&[message]);
    let info = hash.digest_info();
    // 00 01 FF … FF 00 DigestInfo digest; the smallest modulus leaves room for much more than the eight FF asked for.
    let Some((rest, end)) = encoded.split_at_checked(encoded.len() - length) else {
        return false;
    };
    let Some((rest, middle)) = rest.split_at_checked(rest.len() - info.len()) else {
        return false;
    };
    let [0, 1, ones @ .., 0] = rest else { return false };
    end == &digest[..length] && middle == info && ones.iter().all(|&byte| byte == 0xff)
}

/// Whether `signature` is RSASSA-PSS over `message`, the mask by MGF1 of the same hash and the salt as long as the
/// digest (RFC 8017, section 8.1.2).
pub(super) fn verify_pss(public: &[u8], hash: HashKind, message: &[u8], signature: &[u8]) -> bool {
    let mut buffer = [0; LONGEST];
    let Some((encoded, bits)) = raise(public, signature, &mut buffer) else {
        return false;
    };
    // The encoded message has one bit less than the modulus: with 8k+1 bits its first byte is not part of it.
    let spare = (encoded.len() * 8) - (bits - 1);
    let (encoded, spare) = if spare == 8 {
        let Some((0, rest)) = encoded.split_first_mut() else {
            return false;
        };
        (rest, 0)
    } else {
        (encoded, spare)
    };
    let length = hash.length();
    let Some((0xbc, rest)) = encoded.split_last_mut() else {
        return false;
    };
    let Some(at) = rest.len().checked_sub(length) else {
        return false;
    };
    let (masked, expected) = rest.split_at_mut(at);
    let kept = 0xffu8 >> spare;
    if masked.first().is_none_or(|&first| first & !kept != 0) {
        return false;
    }
    for (counter, chunk) in (0u32..).zip(masked.chunks_mut(length)) {
        let (mask, _) = hash.digest(&[expected, &counter.to_be_bytes()]);
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    masked[0] &= kept;
    let Some(at) = masked.len().checked_sub(length) else {
        return false;
    };
    let (padding, salt) = masked.split_at(at);
    let Some((1, zeros)) = padding.split_last() else {
        return false;
    };
    if zeros.iter().any(|&byte| byte != 0) {
        return false;
    }
    let (digest, _) = hash.digest(&[message]);
    let (found, _) = hash.digest(&[&[0; 8], &digest[..length], salt]);
    found[..length] == *expected
}

/// `signature` to the power of the public exponent, as many bytes as the modulus has, and the modulus's bits.
fn raise<'a>(
    public: &[u8],
    signature: &[u8],
    buffer: &'a mut [u8; LONGEST],
) -> Option<(&'a mut [u8], usize)> {
    let key = PublicKey::from_der(public).ok()?;
    let modulus = key.modulus.as_bytes();
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    let exponent = match key.exponent.as_bytes() {
        bytes @ [_, ..] if bytes.len() <= 3 => bytes
            .iter()
            .fold(0, |number, &byte| number << 8 | u32::from(byte)),
        _ => return None,
    };
    if !BITS.contains(&bits)
        || !(3..=EXPONENT).contains(&exponent)
        || exponent & 1 == 0
        || signature.len() != modulus.len()
    {
        return None;
    }
    let place = &mut buffer[..modulus.len()];
    // Two widths are enough: a width of its own for 3072 bits would be faster for those keys, and 2 KB larger.
    if bits == 2048 {
        power::<{ U2048::LIMBS }>(modulus, signature, exponent, place)?;
    } else {
        power::<{ U4096::LIMBS }>(modulus, signature, exponent, place)?;
    }
    Some((place, bits))
}

fn power<const LIMBS: usize>(modulus: &[u8], base: &[u8], exponent: u32, result: &mut [u8]) -> Option<()> {
    let modulus: Uint<LIMBS> = from_bytes(modulus);
    let base = from_bytes(base);
    if base >= modulus {
        return None;
    }
    let parameters = FixedMontyParams::new_vartime(Option::<Odd<_>>::from(Odd::new(modulus))?);
    let base = FixedMontyForm::new(&base, &parameters);
    let mut power = base;
    for bit in (0..exponent.ilog2()).rev() {
        power = power.square();
        if exponent >> bit & 1 == 1 {
            power *= base;
        }
    }
    let number = power.retrieve();
    for (byte, place) in little_endian(&number).zip(result.iter_mut().rev()) {
        *place = byte;
    }
    Some(())
}

/// The number of these big-endian bytes; there are never more than fit.
fn from_bytes<const LIMBS: usize>(bytes: &[u8]) -> Uint<LIMBS> {
    let mut words = [0; LIMBS];
    for (word, chunk) in words
        .iter_mut()
        .zip(bytes.rchunks(size_of::<crypto_bigint::Word>()))
    {
        *word = chunk
            .iter()
            .fold(0, |word, &byte| word << 8 | crypto_bigint::Word::from(byte));
    }
    Uint::from_words(words)
}

fn little_endian<const LIMBS: usize>(number: &Uint<LIMBS>) -> impl Iterator<Item = u8> {
    number.as_words().iter().flat_map(|word| word.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn exponent_is_refused_when_it_is_large_or_even() {
        for (exponent, accepted) in [
            (&[3][..], true),
            (&[1, 0, 1], true),
            (&[1], false),
            (&[4], false),
            (&[1, 0, 3], false),
            (&[0x7f, 0xff, 0xff], false),
            (&[0x7f, 0xff, 0xff, 0xff], false),
            (&[1, 0, 0, 0, 0, 1], false),
        ] {
            let mut key = Vec::from([0x30, 0x82, 1, 5 + exponent.len() as u8 + 2, 2, 0x82, 1, 1, 0]);
            key.extend([0xff; 256]);
            key.extend([2, exponent.len() as u8]);
            key.extend(exponent);
            let raised = raise(&key, &[1; 256], &mut [0; LONGEST]).is_some();
            assert_eq!(raised, accepted, "{exponent:?}");
        }
    }
}
