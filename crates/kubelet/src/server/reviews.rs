//! What the API server said of callers: who holds a token, and what somebody may do to this node.
//!
//! Answers are kept as long as a kubelet keeps them (`pkg/kubelet/apis/config/v1beta1/defaults.go`) and by hash, so that no
//! token lies here. While the API server cannot be asked only what is kept counts: nobody is ever let in for want of an
//! answer.

use super::ServedNode;
use crate::client::ApiError;
use crate::host::Host;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::{Mutex, MutexGuard};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_kube::review::{Access, SubjectAccessReview, TokenReview, USER_BYTES, User, write_token_review};
use picolet_platform::{Clock, Duration};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// How long it is known who holds a token, or that nobody does.
const TOKEN: Duration = Duration::from_secs(120);
/// How long somebody may do what they were allowed to.
const ALLOWED: Duration = Duration::from_secs(300);
/// How long somebody may not.
const DENIED: Duration = Duration::from_secs(30);
/// Answers that are kept of either kind.
const TOKENS: usize = 16;
const ACCESSES: usize = 48;
/// Bytes of users that are kept with the answers.
const USERS: usize = 2 * USER_BYTES;

/// Half of a SHA-256: whoever wants the answer to another question has to find a second one with the same.
type Key = [u8; 16];

fn key(parts: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut key = Key::default();
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

struct Entry {
    key: Key,
    /// The uptime at which it ends.
    until: Duration,
    /// `None` is a refusal.
    user: Option<Rc<User>>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.user.as_ref().map_or(0, |user| user.bytes())
    }
}

/// Answers, up to a number, and with [`USERS`] bytes of users.
struct Kept {
    entries: RefCell<Vec<Entry>>,
    most: usize,
}

impl Kept {
    const fn new(most: usize) -> Self {
        Self {
            entries: RefCell::new(Vec::new()),
            most,
        }
    }

    /// The answer, if it is known: `Some(None)` is a refusal.
    fn get(&self, key: &Key, now: Duration) -> Option<Option<Rc<User>>> {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|entry| entry.until > now);
        let found = entries.iter().find(|entry| entry.key == *key)?;
        Some(found.user.clone())
    }

    /// Keeps an answer. Where there is no room a refusal makes it, else what would end first: made-up tokens cost those
    /// who hold real ones nothing.
    fn put(&self, key: Key, user: Option<Rc<User>>, until: Duration) {
        let mut entries = self.entries.borrow_mut();
        if let Some(same) = entries.iter().position(|known| known.key == key) {
            entries.swap_remove(same);
        }
        let entry = Entry { key, until, user };
        let mut bytes = entries
            .iter()
            .fold(entry.bytes(), |bytes, known| bytes + known.bytes());
        while entries.len() >= self.most || bytes > USERS {
            let rank = |at: usize| entries.get(at).map(|known| (known.user.is_some(), known.until));
            let mut least = 0;
            for at in 1..entries.len() {
                if rank(at) < rank(least) {
                    least = at;
                }
            }
            if least >= entries.len() {
                break;
            }
            bytes -= entries.swap_remove(least).bytes();
        }
        entries.push(entry);
    }
}

/// What is known of callers.
pub(super) struct Reviews {
    tokens: Kept,
    accesses: Kept,
    /// Stands for "allowed" in `accesses`, where nobody asks for the user.
    allowed: Rc<User>,
    /// One question at a time: whoever waits may find the answer there, and the Lease waits for one review at most.
    asking: Mutex<NoopRawMutex, ()>,
}

impl Default for Reviews {
    fn default() -> Self {
        Self {
            tokens: Kept::new(TOKENS),
            accesses: Kept::new(ACCESSES),
            allowed: Rc::default(),
            asking: Mutex::new(()),
        }
    }
}

impl Reviews {
    /// The answer, if it is known, or becomes known while others ask.
    ///
    /// # Errors
    /// The turn to ask.
    async fn look_up(
        &self,
        kept: &Kept,
        key: &Key,
        clock: &impl Clock,
    ) -> Result<Option<Rc<User>>, MutexGuard<'_, NoopRawMutex, ()>> {
        let mut turn = None;
        loop {
            match (kept.get(key, clock.uptime()), turn) {
                (Some(known), _) => return Ok(known),
                (None, Some(turn)) => return Err(turn),
                (None, None) => turn = Some(self.asking.lock().await),
            }
        }
    }

    /// Who holds `token`; `None` is nobody.
    ///
    /// # Errors
    /// When it is not known and the API server does not say.
    pub(super) async fn holder<H: Host>(
        &self,
        node: &ServedNode<'_, H>,
        token: &str,
    ) -> Result<Option<Rc<User>>, ApiError> {
        let key = key(&["token", token]);
        let _one = match self.look_up(&self.tokens, &key, node.machine).await {
            Ok(known) => return Ok(known),
            Err(one) => one,
        };
        let mut body = Zeroizing::new(String::with_capacity(128 + token.len()));
        write_token_review(&mut body, token);
        let mut review = TokenReview::default();
        let request = Request {
            resource: Resource::TokenReviews,
            verb: Verb::Create,
            body: &body,
        };
        let asked = Box::pin(node.client.get(&request, &mut review)).await;
        drop(body);
        asked?;
        let user = review.into_user().map(Rc::new);
        self.tokens.put(key, user.clone(), node.machine.uptime() + TOKEN);
        Ok(user)
    }

    /// Whether `user`, who is not larger than [`USER_BYTES`], may do `verb` to this subresource of this node.
    ///
    /// # Errors
    /// When it is not known and the API server does not say.
    pub(super) async fn allows<H: Host>(
        &self,
        node: &ServedNode<'_, H>,
        user: &Rc<User>,
        verb: &str,
        subresource: &str,
    ) -> Result<bool, ApiError> {
        let attributes = user.attributes().unwrap_or_default();
        let key = key(&["access", user.name(), attributes, verb, subresource]);
        let _one = match self.look_up(&self.accesses, &key, node.machine).await {
            Ok(known) => return Ok(known.is_some()),
            Err(one) => one,
        };
        let mut body = String::with_capacity(384 + attributes.len());
        let access = Access {
            user,
            verb,
            node: &node.settings.node_name,
            subresource,
        };
        access.write(&mut body);
        let mut review = SubjectAccessReview::default();
        let request = Request {
            resource: Resource::SubjectAccessReviews,
            verb: Verb::Create,
            body: &body,
        };
        Box::pin(node.client.get(&request, &mut review)).await?;
        let (kept, lasts) = if review.allowed {
            (Some(self.allowed.clone()), ALLOWED)
        } else {
            (None, DENIED)
        };
        self.accesses.put(key, kept, node.machine.uptime() + lasts);
        Ok(review.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    const LATER: Duration = Duration::from_secs(10);

    fn user(name: &str) -> Rc<User> {
        Rc::new(User::new(name, []))
    }

    #[test]
    fn an_answer_ends() {
        let kept = Kept::new(2);
        kept.put(key(&["a"]), Some(user("a")), LATER);
        assert_eq!(
            kept.get(&key(&["a"]), LATER - Duration::from_micros(1)),
            Some(Some(user("a")))
        );
        assert_eq!(kept.get(&key(&["a"]), LATER), None);
        kept.put(key(&["a"]), None, LATER * 3);
        kept.put(key(&["a"]), Some(user("b")), LATER * 2);
        assert_eq!(
            kept.get(&key(&["a"]), LATER),
            Some(Some(user("b"))),
            "the latest counts"
        );
        assert_eq!(kept.entries.borrow().len(), 1);
    }

    #[test]
    fn made_up_tokens_push_nobody_out() {
        let kept = Kept::new(4);
        for n in 0..3 {
            kept.put(key(&["good", &format!("{n}")]), Some(user("good")), LATER);
        }
        for n in 0..1000 {
            kept.put(key(&["bad", &format!("{n}")]), None, LATER * 2);
            assert!(kept.entries.borrow().len() <= 4);
        }
        for n in 0..3 {
            assert!(
                kept.get(&key(&["good", &format!("{n}")]), Duration::ZERO)
                    .is_some(),
                "{n}"
            );
        }
        assert_eq!(kept.get(&key(&["bad", "999"]), Duration::ZERO), Some(None));
    }

    #[test]
    fn no_two_questions_are_one() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_ne!(key(&["token", "x"]), key(&["access", "x"]));
    }

    #[test]
    fn kept_users_are_bounded_in_bytes() {
        let kept = Kept::new(16);
        let group = "g".repeat(1200);
        for n in 0..16_u8 {
            let user = Rc::new(User::new(&format!("{n}"), [&*group, &*group]));
            kept.put(key(&[&*format!("{n}")]), Some(user), LATER * u32::from(n + 1));
            let bytes: usize = kept.entries.borrow().iter().map(Entry::bytes).sum();
            assert!(bytes <= USERS, "{bytes}");
            let latest = kept.get(&key(&[&*format!("{n}")]), Duration::ZERO);
            assert!(latest.flatten().is_some(), "the latest is kept: {n}");
        }
        assert_eq!(kept.entries.borrow().len(), 3, "and as many before it as fit");
    }
}
