//! A number that stands for some text, where the text itself need not be kept: FNV-1a. No secret and nothing that an
//! attacker gains by a collision may depend on it.

/// The fingerprint of these bytes.
pub(crate) fn of(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
