//! Randomness that is the same in every run. For keys of a cluster that lives for one test, and for nothing else.

use picolet_tls::{Random, RandomError};
use sha2::{Digest, Sha256};
use std::sync::{Mutex, PoisonError};

/// SHA-256 over a seed and a counter.
struct Repeatable(Mutex<(u64, u64)>);

impl Random for Repeatable {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.chunks_mut(32) {
            let mut hash = Sha256::new();
            hash.update(state.0.to_le_bytes());
            hash.update(state.1.to_le_bytes());
            state.1 += 1;
            piece.copy_from_slice(&hash.finalize()[..piece.len()]);
        }
        Ok(())
    }
}

static SOURCE: Repeatable = Repeatable(Mutex::new((0, 0)));

/// Makes all of TLS in this process draw from `seed`, from the beginning.
pub(crate) fn install(seed: u64) {
    *SOURCE.0.lock().unwrap_or_else(PoisonError::into_inner) = (seed, 0);
    picolet_tls::install_random(&SOURCE);
}
