//! Integers of 256 bits: eight words, the least significant first, and their encodings.

use crate::ct;

/// A 256-bit integer, least significant word first.
pub(crate) type Words = [u32; 8];

pub(crate) const ZERO: Words = [0; 8];
pub(crate) const ONE: Words = [1, 0, 0, 0, 0, 0, 0, 0];

/// a + b and the carry.
pub(crate) fn add(a: &Words, b: &Words) -> (Words, u32) {
    let mut carry = 0;
    let sum = core::array::from_fn(|i| {
        let sum = u64::from(a[i]) + u64::from(b[i]) + carry;
        carry = sum >> 32;
        sum as u32
    });
    (sum, carry as u32)
}

/// a − b and the borrow.
pub(crate) fn sub(a: &Words, b: &Words) -> (Words, u32) {
    let mut borrow = 0i64;
    let difference = core::array::from_fn(|i| {
        let difference = i64::from(a[i]) - i64::from(b[i]) + borrow;
        borrow = difference >> 32;
        difference as u32
    });
    (difference, (borrow & 1) as u32)
}

/// a mod m for a = words + high·2²⁵⁶ below 2m.
pub(crate) fn reduce_once(a: &Words, high: u32, m: &Words) -> Words {
    let (difference, borrow) = sub(a, m);
    ct::select(ct::mask(borrow & (high ^ 1)), a, &difference)
}

/// 1 if a < b, else 0.
pub(crate) fn less_than(a: &Words, b: &Words) -> u32 {
    sub(a, b).1
}

/// 1 if a = 0, else 0.
pub(crate) fn is_zero(a: &Words) -> u32 {
    ct::all_zero(a)
}

/// Bit `i` of an integer of any length.
#[inline(always)]
pub(crate) fn bit(words: &[u32], i: usize) -> u32 {
    (words[i / 32] >> (i % 32)) & 1
}

/// Reads 32 bytes, the most significant first (SEC 1, section 2.3.8).
pub(crate) fn from_be_bytes(bytes: &[u8; 32]) -> Words {
    let mut words = ZERO;
    for (word, bytes) in words.iter_mut().rev().zip(bytes.as_chunks().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// Writes 32 bytes, the most significant first (SEC 1, section 2.3.7).
pub(crate) fn to_be_bytes(words: &Words) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (word, bytes) in words.iter().rev().zip(bytes.as_chunks_mut().0) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

/// Reads 32 bytes, the least significant first (RFC 7748, section 5).
pub(crate) fn from_le_bytes(bytes: &[u8; 32]) -> Words {
    let mut words = ZERO;
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// Writes 32 bytes, the least significant first (RFC 7748, section 5).
pub(crate) fn to_le_bytes(words: &Words) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (word, bytes) in words.iter().zip(bytes.as_chunks_mut().0) {
        *bytes = word.to_le_bytes();
    }
    bytes
}
