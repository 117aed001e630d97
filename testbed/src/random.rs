//! Randomness that is the same in every run. For keys of a cluster that lives for one test, and for nothing else.

use picolet_tls::{Random, RandomError};
use sha2::{Digest, Sha256};
use std::cell::Cell;

/// SHA-256 over a seed and a counter, which are the thread's: a testbed lives in one, and tests have one each.
struct Repeatable;

thread_local! {
    static STATE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

impl Random for Repeatable {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        let (seed, mut counter) = STATE.get();
        for piece in bytes.chunks_mut(32) {
            let mut hash = Sha256::new();
            hash.update(seed.to_le_bytes());
            hash.update(counter.to_le_bytes());
            counter += 1;
            piece.copy_from_slice(&hash.finalize()[..piece.len()]);
        }
        STATE.set((seed, counter));
        Ok(())
    }
}

/// Makes all of TLS in this thread draw from `seed`, from the beginning.
pub(crate) fn install(seed: u64) {
    STATE.set((seed, 0));
    picolet_tls::install_random(&Repeatable);
}
