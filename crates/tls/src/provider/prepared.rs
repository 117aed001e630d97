//! The few P-256 keys that verify again and again: the cluster CA's, the API server's, the API server's as a client.
//!
//! A key whose multiples are tabulated verifies in half the time, but the table takes 2 KB and the time of a verification to make. So
//! a key earns it with its second valid signature, and at most [`PREPARED`] keys have one. Who cannot make a valid signature that
//! webpki asks about (it checks a chain from its trusted end) cannot push out those who can.
//!
//! Shared by all connections: whether a signature is valid depends on nothing that is remembered here.

use crate::sync::Arc;
use core::cell::RefCell;
use critical_section::Mutex;
use picolet_ec::p256::{PreparedKey, PublicKey, Signature};

/// Keys with a table, 2 KB each.
const PREPARED: usize = 3;
/// Keys that have been seen once.
const CANDIDATES: usize = 4;

struct Keys {
    /// The latest used first.
    prepared: [Option<(PublicKey, Arc<PreparedKey>)>; PREPARED],
    /// The latest seen first.
    candidates: [Option<PublicKey>; CANDIDATES],
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
    if let Some(prepared) = with_keys(|keys| keys.find(key)) {
        return prepared.verify(digest, signature).is_ok();
    }
    let valid = key.verify(digest, signature).is_ok();
    if valid && with_keys(|keys| keys.seen_before(key)) {
        let prepared = prepare(key);
        with_keys(|keys| keys.insert(key, prepared));
    }
    valid
}

fn prepare(key: &PublicKey) -> Arc<PreparedKey> {
    let mut prepared = Arc::new(PreparedKey::EMPTY);
    if let Some(prepared) = Arc::get_mut(&mut prepared) {
        prepared.prepare(key);
    }
    prepared
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_ec::p256::SecretKey;

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
                    let (digest, key) = ([round; 32], secret.public_key());
                    let signature = secret.sign(&digest);
                    assert!(verify(&key, &digest, &signature));
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
            state.insert(key, prepare(key));
        }
        assert!(state.find(&keys[0]).is_some());
        state.insert(&keys[PREPARED], prepare(&keys[PREPARED]));
        assert!(state.find(&keys[0]).is_some() && state.find(&keys[1]).is_none());
    }
}
