//! The few P-256 keys that verify again and again: the cluster CA's, the API server's, the API server's as a client.
//!
//! A key whose multiples are tabulated verifies in half the time, but the table takes 2 KB and the time of a verification to make. So
//! a key earns it with its second valid signature, and at most [`PREPARED`] keys have one. Only signatures of trusted keys count
//! ([`count`]): webpki verifies a chain from its trusted end, and what a client signs counts once its chain is verified. Nobody else can
//! push out a table, or have one made.
//!
//! The table is made in steps of half a million instructions at most, while connections wait for their peers ([`advance`]): a
//! handshake takes what its own arithmetic takes and nothing more, and nobody has to wait for a table.
//!
//! Shared by all connections: whether a signature is valid depends on nothing that is remembered here.

use crate::sync::Arc;
use alloc::boxed::Box;
use core::cell::RefCell;
use critical_section::Mutex;
use picolet_ec::p256::{Preparation, PreparedKey, PublicKey, Signature};

/// Keys with a table, 2 KB each.
const PREPARED: usize = 3;
/// Keys that have been seen once.
const CANDIDATES: usize = 4;

struct Keys {
    /// The latest used first.
    prepared: [Option<(PublicKey, Arc<PreparedKey>)>; PREPARED],
    /// The latest seen first.
    candidates: [Option<PublicKey>; CANDIDATES],
    /// What is to be done when there is time: one key at a time, the next is found when it comes back.
    job: Option<Job>,
}

/// A key that has earned its table.
enum Job {
    Wanted(PublicKey),
    Begun(PublicKey, Box<Preparation<Box<PreparedKey>>>),
}

static KEYS: Mutex<RefCell<Keys>> = Mutex::new(RefCell::new(Keys::EMPTY));

/// Runs something short with the keys to itself: comparisons and moves, no arithmetic.
fn with_keys<R>(run: impl FnOnce(&mut Keys) -> R) -> R {
    critical_section::with(|section| run(&mut KEYS.borrow_ref_mut(section)))
}

impl Keys {
    const EMPTY: Keys = Keys {
        prepared: [const { None }; PREPARED],
        candidates: [None; CANDIDATES],
        job: None,
    };

    fn find(&mut self, key: &PublicKey) -> Option<Arc<PreparedKey>> {
        let place = self
            .prepared
            .iter()
            .position(|slot| slot.as_ref().is_some_and(|(known, _)| known == key))?;
        self.prepared[..=place].rotate_right(1);
        self.prepared[0].as_ref().map(|(_, prepared)| prepared.clone())
    }

    /// Whether the key was seen before; if not, it is from now on.
    fn seen_before(&mut self, key: &PublicKey) -> bool {
        if self.candidates.contains(&Some(*key)) {
            return true;
        }
        self.candidates.rotate_right(1);
        self.candidates[0] = Some(*key);
        false
    }

    fn insert(&mut self, key: &PublicKey, prepared: Arc<PreparedKey>) {
        if self.find(key).is_none() {
            self.prepared.rotate_right(1);
            self.prepared[0] = Some((*key, prepared));
        }
    }
}

/// Whether the key made this signature over the digest.
pub(super) fn verify(key: &PublicKey, digest: &[u8; 32], signature: &Signature) -> bool {
    match with_keys(|keys| keys.find(key)) {
        Some(prepared) => prepared.verify(digest, signature).is_ok(),
        None => key.verify(digest, signature).is_ok(),
    }
}

/// Counts a valid signature of a trusted key.
pub(super) fn count(key: &PublicKey) {
    with_keys(|keys| {
        if keys.find(key).is_none() && keys.seen_before(key) && keys.job.is_none() {
            keys.job = Some(Job::Wanted(*key));
        }
    });
}

/// Whether a signature of the key was counted, as long as no other key has taken its place.
#[cfg(test)]
pub(crate) fn is_counted(key: &[u8]) -> bool {
    let key = PublicKey::from_sec1_bytes(key).expect("a point");
    with_keys(|keys| keys.find(&key).is_some() || keys.candidates.contains(&Some(key)))
}

/// Does a step of preparing a key that came back, if there is one; `false` says that there was nothing to do.
pub(crate) fn advance() -> bool {
    // Taken out meanwhile: another thread finds nothing to do, or begins with another key.
    let Some(job) = with_keys(|keys| keys.job.take()) else {
        return false;
    };
    let (key, mut preparation) = match job {
        Job::Wanted(key) => (
            key,
            Box::new(Preparation::new(&key, Box::new(PreparedKey::EMPTY))),
        ),
        Job::Begun(key, preparation) => (key, preparation),
    };
    if preparation.step() {
        if let Some(prepared) = preparation.finish().map(Arc::from) {
            with_keys(|keys| keys.insert(&key, prepared));
        }
    } else {
        with_keys(|keys| keys.job = Some(Job::Begun(key, preparation)));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_ec::p256::SecretKey;

    fn prepared(key: &PublicKey) -> Arc<PreparedKey> {
        let mut prepared = Box::new(PreparedKey::EMPTY);
        prepared.prepare(key);
        Arc::from(prepared)
    }

    fn secrets() -> [SecretKey; 8] {
        core::array::from_fn(|i| SecretKey::generate(&[i as u8 + 1; 48]))
    }

    /// Many keys in turn, more than there is room for, valid and not.
    #[test]
    fn answers_do_not_depend_on_what_is_prepared() {
        let secrets = secrets();
        for round in 0..4u8 {
            for (i, secret) in secrets.iter().enumerate() {
                for _ in 0..=(i % 3) {
                    for _ in 0..i * 2 {
                        advance();
                    }
                    let (digest, key) = ([round; 32], secret.public_key());
                    let signature = secret.sign(&digest);
                    assert!(verify(&key, &digest, &signature));
                    count(&key);
                    assert!(!verify(&key, &[round + 1; 32], &signature));
                    assert!(!verify(&secrets[(i + 1) % 8].public_key(), &digest, &signature));
                }
            }
        }
    }

    #[test]
    fn the_latest_used_stay() {
        let keys = secrets().map(|secret| secret.public_key());
        let mut state = Keys::EMPTY;
        for key in &keys[..CANDIDATES] {
            assert!(!state.seen_before(key));
            assert!(state.seen_before(key));
        }
        assert!(!state.seen_before(&keys[CANDIDATES]));
        assert!(!state.seen_before(&keys[0]), "the oldest made room");
        for key in &keys[..PREPARED] {
            assert!(state.find(key).is_none());
            state.insert(key, prepared(key));
        }
        assert!(state.find(&keys[0]).is_some());
        state.insert(&keys[PREPARED], prepared(&keys[PREPARED]));
        assert!(state.find(&keys[0]).is_some() && state.find(&keys[1]).is_none());
    }
}
