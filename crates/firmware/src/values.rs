//! What headers, keys and refusals are made of.

use core::fmt;
use picolet_ec::p256::PublicKey;
use sha2::{Digest, Sha256};

/// Printable ASCII of less than `N` bytes, not empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// `text`, if it is not empty, printable ASCII, and shorter than `N` bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Self::from_bytes(bytes)
    }

    pub(crate) fn from_bytes(bytes: [u8; N]) -> Option<Self> {
        let length = bytes.iter().position(|byte| *byte == 0)?;
        let is_printable = bytes[..length].iter().all(|byte| (b' '..=b'~').contains(byte));
        let is_padded = bytes[length..].iter().all(|byte| *byte == 0);
        (length > 0 && is_printable && is_padded).then_some(Self(bytes))
    }

    /// The text with the zeros behind it.
    pub(crate) fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        str::from_utf8(&self.0[..length]).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The formats of settings or records that firmware reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Formats {
    /// The oldest one.
    pub oldest: u16,
    /// The newest one, not older than the oldest.
    pub newest: u16,
}

/// The ID of a public key: the first bytes of the SHA-256 of its SubjectPublicKeyInfo. Displays as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// The ID of a key.
    pub fn of(key: &PublicKey) -> Self {
        let digest: [u8; 32] = Sha256::digest(key.to_spki_der()).into();
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}
