//! Who the node is to the API server, and whether the API server agrees.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use picolet_platform::Duration;

/// A refusal counts anew when the one before is longer ago: requests are repeated every ten seconds or so, and in between the
/// server did not answer.
const SILENCE: Duration = Duration::from_secs(30);

/// What a request shows of the node beside its certificate, and what came of it.
#[derive(Default)]
pub(crate) struct Credentials {
    /// The `Authorization` that requests carry while the node has no certificate.
    authorization: RefCell<Option<Rc<str>>>,
    /// When the API server refused the node's certificate first and last, as uptimes, if it has not accepted it since.
    refused: Cell<Option<(Duration, Duration)>>,
}

impl Credentials {
    /// The `Authorization` of a new connection.
    pub(super) fn authorization(&self) -> Option<Rc<str>> {
        self.authorization.borrow().clone()
    }

    /// Takes the status code of an answer, at an uptime.
    pub(super) fn answered(&self, code: u16, now: Duration) {
        if self.has_authorization() {
            return;
        }
        match code {
            401 => self.refused.set(Some(refused_again(self.refused.get(), now))),
            // Whoever is not authenticated gets no such answer; a proxy may give others.
            200..=299 | 403 | 404 | 409 => self.refused.set(None),
            _ => {}
        }
    }

    /// Whether requests show something else than the certificate.
    pub(crate) fn has_authorization(&self) -> bool {
        self.authorization.borrow().is_some()
    }

    /// New connections show this from now on, or nothing but the certificate.
    pub(crate) fn authorize(&self, authorization: Option<Rc<str>>) {
        self.authorization.replace(authorization);
    }

    /// Whether the API server refused the certificate when it was shown last.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.get().is_some()
    }

    /// How long the API server has refused the certificate, from the first to the last refusal.
    pub(crate) fn refused_for(&self) -> Option<Duration> {
        self.refused.get().map(|(first, last)| last.saturating_sub(first))
    }

    /// Counts refusals from `now` on, or forgets them.
    pub(crate) fn restart_refusals(&self, now: Option<Duration>) {
        self.refused.set(now.map(|now| (now, now)));
    }
}

/// When the certificate was refused first and last, now that it is refused again.
fn refused_again(before: Option<(Duration, Duration)>, now: Duration) -> (Duration, Duration) {
    let going_on = before.filter(|(_, last)| now.saturating_sub(*last) <= SILENCE);
    (going_on.map_or(now, |(first, _)| first), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_count_from_the_first_when_no_silence_is_between() {
        let seconds = Duration::from_secs;
        let first = refused_again(None, seconds(100));
        assert_eq!(first, (seconds(100), seconds(100)));
        assert_eq!(
            refused_again(Some(first), seconds(130)),
            (seconds(100), seconds(130))
        );
        assert_eq!(
            refused_again(Some(first), seconds(131)),
            (seconds(131), seconds(131))
        );
    }
}
