//! What the API server said of callers: who holds a token, and what somebody may do to this node.
//!
//! Answers are kept as long as a kubelet keeps them (`pkg/kubelet/apis/config/v1beta1/defaults.go`) and by hash, so that no
//! token lies here. While the API server cannot be asked only what is kept counts: nobody is ever let in for want of an
//! answer.

use crate::agent::Agent;
use crate::client::ApiError;
use crate::pods::Runtime;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use picolet_kube::envelope::Object;
use picolet_kube::request::{Request, Resource, Verb};
use picolet_kube::review::{Access, SubjectAccessReview, TokenReview, write_token_review};
use picolet_platform::{Duration, Network, Platform, Subject};
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
/// How long the connection for requests is waited for, before a review gets one of its own.
const PATIENCE: Duration = Duration::from_millis(500);
/// What everybody is a member of who is somebody.
const AUTHENTICATED: &str = "system:authenticated";

/// Somebody.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) groups: Vec<Box<str>>,
}

impl User {
    pub(super) fn new(name: &str, uid: &str, mut groups: Vec<Box<str>>) -> Self {
        if !groups.iter().any(|group| &**group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.into());
        }
        Self {
            name: name.into(),
            uid: uid.into(),
            groups,
        }
    }

    pub(super) fn of(subject: &Subject) -> Self {
        Self::new(&subject.user, "", subject.groups.clone())
    }
}

/// The name in one line of plain ASCII, whatever somebody managed to be called.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.name.bytes() {
            let shown = if byte.is_ascii_graphic() { byte } else { b'?' };
            fmt::Write::write_char(f, char::from(shown))?;
        }
        Ok(())
    }
}

/// Half of a SHA-256: whoever wants the answer to another question has to find a second one with the same.
type Key = [u8; 16];

fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_le_bytes());
        hash.update(part);
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

/// Answers, up to a number.
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
        let entry = Entry { key, until, user };
        if let Some(known) = entries.iter_mut().find(|known| known.key == key) {
            *known = entry;
        } else if entries.len() < self.most {
            entries.push(entry);
        } else {
            let rank = |entry: &Entry| (entry.user.is_some(), entry.until);
            let mut places = entries.iter_mut();
            let Some(mut least) = places.next() else {
                return;
            };
            for place in places {
                if rank(place) < rank(least) {
                    least = place;
                }
            }
            *least = entry;
        }
    }
}

/// What is known of callers.
pub(super) struct Reviews {
    tokens: Kept,
    accesses: Kept,
    /// One question at a time: whoever waits may find the answer there, and the Lease waits for one review at most.
    asking: Mutex<NoopRawMutex, ()>,
}

impl Default for Reviews {
    fn default() -> Self {
        Self {
            tokens: Kept::new(TOKENS),
            accesses: Kept::new(ACCESSES),
            asking: Mutex::new(()),
        }
    }
}

impl Reviews {
    /// Who holds `token`; `None` is nobody.
    ///
    /// # Errors
    /// When it is not known and the API server does not say.
    pub(super) async fn holder<P: Platform, N: Network, R: Runtime>(
        &self,
        agent: &Agent<P, N, R>,
        token: &str,
    ) -> Result<Option<Rc<User>>, ApiError> {
        let key = key(["token", token]);
        if let Some(known) = self.tokens.get(&key, agent.platform.uptime()) {
            return Ok(known);
        }
        let _one = self.asking.lock().await;
        if let Some(known) = self.tokens.get(&key, agent.platform.uptime()) {
            return Ok(known);
        }
        let mut body = Zeroizing::new(String::with_capacity(128 + token.len()));
        write_token_review(&mut body, token);
        let mut review = TokenReview::default();
        let request = Request {
            resource: Resource::TokenReviews,
            verb: Verb::Create,
            body: &body,
        };
        let asked = agent.get_soon(PATIENCE, &request, (TokenReview::SHAPE, &mut review));
        let asked = Box::pin(asked).await;
        drop(body);
        asked?;
        // A name that is too long to be read is none, and nobody is without a name.
        let user = (review.authenticated && !review.username.is_empty())
            .then(|| Rc::new(User::new(&review.username, &review.uid, review.groups)));
        self.tokens
            .put(key, user.clone(), agent.platform.uptime() + TOKEN);
        Ok(user)
    }

    /// Whether `user` may do `verb` to this subresource of this node.
    ///
    /// # Errors
    /// When it is not known and the API server does not say.
    pub(super) async fn allows<P: Platform, N: Network, R: Runtime>(
        &self,
        agent: &Agent<P, N, R>,
        user: &Rc<User>,
        verb: &str,
        subresource: &str,
    ) -> Result<bool, ApiError> {
        let groups = user.groups.iter().map(|group| &**group);
        let key = key(["access", &user.name, &user.uid, verb, subresource]
            .into_iter()
            .chain(groups));
        if let Some(known) = self.accesses.get(&key, agent.platform.uptime()) {
            return Ok(known.is_some());
        }
        let _one = self.asking.lock().await;
        if let Some(known) = self.accesses.get(&key, agent.platform.uptime()) {
            return Ok(known.is_some());
        }
        let mut body = String::with_capacity(384);
        let access = Access {
            user: &user.name,
            uid: &user.uid,
            groups: &user.groups,
            verb,
            node: &agent.settings.node_name,
            subresource,
        };
        access.write(&mut body);
        let mut review = SubjectAccessReview::default();
        let request = Request {
            resource: Resource::SubjectAccessReviews,
            verb: Verb::Create,
            body: &body,
        };
        let asked = agent.get_soon(PATIENCE, &request, (SubjectAccessReview::SHAPE, &mut review));
        Box::pin(asked).await?;
        let (kept, lasts) = if review.allowed {
            (Some(user.clone()), ALLOWED)
        } else {
            (None, DENIED)
        };
        self.accesses.put(key, kept, agent.platform.uptime() + lasts);
        Ok(review.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    const LATER: Duration = Duration::from_secs(10);

    fn user(name: &str) -> Rc<User> {
        Rc::new(User::new(name, "", Vec::new()))
    }

    #[test]
    fn an_answer_ends() {
        let kept = Kept::new(2);
        kept.put(key(["a"]), Some(user("a")), LATER);
        assert_eq!(
            kept.get(&key(["a"]), LATER - Duration::from_micros(1)),
            Some(Some(user("a")))
        );
        assert_eq!(kept.get(&key(["a"]), LATER), None);
        kept.put(key(["a"]), None, LATER * 3);
        kept.put(key(["a"]), Some(user("b")), LATER * 2);
        assert_eq!(
            kept.get(&key(["a"]), LATER),
            Some(Some(user("b"))),
            "the latest counts"
        );
        assert_eq!(kept.entries.borrow().len(), 1);
    }

    #[test]
    fn made_up_tokens_push_nobody_out() {
        let kept = Kept::new(4);
        for n in 0..3 {
            kept.put(key(["good", &format!("{n}")]), Some(user("good")), LATER);
        }
        for n in 0..1000 {
            kept.put(key(["bad", &format!("{n}")]), None, LATER * 2);
            assert!(kept.entries.borrow().len() <= 4);
        }
        for n in 0..3 {
            assert!(
                kept.get(&key(["good", &format!("{n}")]), Duration::ZERO)
                    .is_some(),
                "{n}"
            );
        }
        assert_eq!(kept.get(&key(["bad", "999"]), Duration::ZERO), Some(None));
    }

    #[test]
    fn no_two_questions_are_one() {
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_ne!(key(["a"]), key(["a", ""]));
        assert_ne!(key(["token", "x"]), key(["access", "x"]));
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(user("system:node:pico-1").to_string(), "system:node:pico-1");
        assert_eq!(user("a\n[INFO] b\u{1b}ö").to_string(), "a?[INFO]?b???");
    }
}
