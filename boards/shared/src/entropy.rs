//! Randomness: the ring oscillator's bits.

use embassy_rp::clocks::RoscRng;
use picolet_tls::{Random, RandomError, install_random};

struct Source;

impl Random for Source {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        fill(bytes);
        Ok(())
    }
}

/// Makes it the source of all keys.
pub(crate) fn start() {
    install_random(&Source);
}

/// Fills `bytes`.
pub(crate) fn fill(bytes: &mut [u8]) {
    RoscRng.fill_bytes(bytes);
}

/// Eight random bytes as a number.
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
