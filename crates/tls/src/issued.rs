//! Session tickets that a server hands out.
//!
//! A ticket is the session itself, the client's certificate included, sealed with a key that only this server has: the
//! clients keep the sessions, and the memory here does not grow with them. A key seals for six hours and opens for as
//! long again, then it is forgotten, and with it every session that it could open.

use crate::random;
use crate::sync::Arc;
use alloc::vec::Vec;
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use core::cell::RefCell;
use core::fmt;
use critical_section::Mutex;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;
use zeroize::Zeroizing;

/// Seconds that a key seals for.
const PERIOD: u32 = 6 * 3600;
/// The longest session that is sealed. A client of ours takes messages of 8 KiB; a session is its chain and little more.
const LONGEST: usize = 7 * 1024;
const NONCE: usize = 12;
const TAG: usize = 16;

#[derive(Clone)]
struct Key {
    secret: Zeroizing<[u8; 32]>,
    /// When it began to seal, in Unix seconds.
    since: u64,
}

impl Key {
    fn cipher(&self) -> Option<ChaCha20Poly1305> {
        ChaCha20Poly1305::new_from_slice(&*self.secret).ok()
    }
}

/// Seals sessions and opens them again.
pub(crate) struct Issuer {
    time: Arc<dyn TimeProvider>,
    /// The one that seals, and the one before.
    keys: Mutex<RefCell<[Option<Key>; 2]>>,
}

impl Issuer {
    pub(crate) fn new(time: Arc<dyn TimeProvider>) -> Self {
        Self {
            time,
            keys: Mutex::new(RefCell::new([None, None])),
        }
    }

    /// The keys of this moment, the one that seals first.
    fn keys(&self) -> Option<[Option<Key>; 2]> {
        let now = self.time.current_time()?.as_secs();
        let mut secret = Zeroizing::new([0; 32]);
        random::fill(&mut *secret).ok()?;
        critical_section::with(|section| {
            let mut keys = self.keys.borrow_ref_mut(section);
            // A clock that was set back ends a key too: its age is not known.
            let age = |key: &Key| now.checked_sub(key.since);
            let is_within =
                |key: &Key, periods: u32| age(key).is_some_and(|age| age < u64::from(periods * PERIOD));
            if !keys[0].as_ref().is_some_and(|key| is_within(key, 1)) {
                let previous = keys[0].take();
                *keys = [Some(Key { secret, since: now }), previous];
            }
            keys[1].take_if(|key| !is_within(key, 2));
            Some(keys.clone())
        })
    }
}

impl ProducesTickets for Issuer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        if plain.len() > LONGEST {
            return None;
        }
        let [key, _] = self.keys()?;
        let mut nonce = [0; NONCE];
        random::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NONCE + plain.len() + TAG);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let text = ticket.get_mut(NONCE..)?;
        let tag = key?
            .cipher()?
            .encrypt_inout_detached(&nonce.into(), &[], text.into())
            .ok()?;
        ticket.extend_from_slice(&tag);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE>()?;
        let (sealed, tag) = sealed.split_last_chunk::<TAG>()?;
        if sealed.len() > LONGEST {
            return None;
        }
        self.keys()?.iter().flatten().find_map(|key| {
            let mut text = sealed.to_vec();
            key.cipher()?
                .decrypt_inout_detached(&(*nonce).into(), &[], text.as_mut_slice().into(), &(*tag).into())
                .ok()?;
            Some(text)
        })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::arc_dyn;
    use crate::time::Clock;
    use core::sync::atomic::{AtomicU64, Ordering};

    fn issuer(now: &'static AtomicU64) -> Issuer {
        let clock = Clock::new(|| Some(now.load(Ordering::Relaxed)));
        Issuer::new(arc_dyn!(dyn TimeProvider, clock))
    }

    #[test]
    fn opens_its_own_for_as_long_as_it_says_and_not_much_longer() {
        static NOW: AtomicU64 = AtomicU64::new(1_000_000);
        let issuer = issuer(&NOW);
        let period = u64::from(PERIOD);
        let early = issuer.encrypt(b"early").unwrap();
        NOW.fetch_add(period - 1, Ordering::Relaxed);
        let late = issuer.encrypt(b"late").unwrap();
        NOW.fetch_add(period, Ordering::Relaxed);
        // Both were sealed by the first key; the late one has one more second to live.
        assert_eq!(issuer.decrypt(&late).unwrap(), b"late");
        assert_eq!(issuer.decrypt(&early).unwrap(), b"early");
        let next = issuer.encrypt(b"next").unwrap();
        NOW.fetch_add(1, Ordering::Relaxed);
        assert_eq!(issuer.decrypt(&late), None);
        assert_eq!(issuer.decrypt(&next).unwrap(), b"next");
        NOW.store(1_000_000, Ordering::Relaxed);
        assert_eq!(issuer.decrypt(&next), None, "the clock was set back");
    }

    #[test]
    fn opens_nothing_else() {
        static NOW: AtomicU64 = AtomicU64::new(1_000_000);
        let (ours, theirs) = (issuer(&NOW), issuer(&NOW));
        let mut ticket = ours.encrypt(b"session").unwrap();
        assert_ne!(ours.encrypt(b"session").unwrap(), ticket);
        assert_eq!(theirs.decrypt(&ticket), None);
        for end in 0..ticket.len() {
            assert_eq!(ours.decrypt(&ticket[..end]), None);
            ticket[end] ^= 1;
            assert_eq!(ours.decrypt(&ticket), None);
            ticket[end] ^= 1;
        }
        assert_eq!(ours.decrypt(&ticket).unwrap(), b"session");
        assert_eq!(ours.encrypt(&[0; LONGEST + 1]), None);
    }
}
