//! Whether the node believes a `Date` of the API server, and what it changes. The parent module gives the reasons.

use picolet_kube::Timestamp;
use picolet_platform::{Duration, Lifetime, TimeKeeper};

/// The longest latency of an answer that excuses a clock which seems to be ahead. A clock that agrees is 3 s ahead of the API
/// server's at most, and a hint may then set it forward by [`TimeKeeper::TOLERANCE`] more: 5 s in all.
const LATENCY: Duration = Duration::from_secs(1);

/// What the node believes before an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief {
    /// The time of day, if it is known.
    pub(super) now: Option<Timestamp>,
    /// The latest confirmed time, or `built`.
    pub(super) floor: Timestamp,
    /// `floor` plus the time since it was set: it cannot be earlier now.
    pub(super) earliest: Timestamp,
    /// The date of the build: no clock is below it.
    pub(super) built: Timestamp,
}

/// An answer of the API server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    /// Its `Date`.
    pub(crate) date: Timestamp,
    /// The time from the request to the answer.
    pub(crate) latency: Duration,
    /// When the server's certificates are valid.
    pub(crate) validity: Lifetime,
    /// Whether the handshake verified the dates of the certificates.
    pub(crate) dated: bool,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The time that the clock is set to; `None` if the clock agrees.
    pub(super) step: Option<Timestamp>,
    /// The floor from now on.
    pub(super) floor: Timestamp,
    /// Whether that floor may be stored.
    pub(super) confirmed: bool,
}

/// Judges an answer. `None`: the `Date` is not believed.
pub(super) fn judge(belief: &Belief, answer: &Answer) -> Option<Verdict> {
    let Belief {
        now,
        floor,
        earliest,
        built,
    } = *belief;
    let Lifetime {
        not_before,
        not_after,
    } = answer.validity;
    let time = answer.date.max(built);
    // A certificate may expire while its connection is open.
    let continues = answer.dated && now.is_some_and(|now| differ(now, time) <= TimeKeeper::AGREEMENT);
    let fits = (not_before..=not_after).contains(&time.seconds()) && earliest.seconds() <= not_after;
    if !continues && !fits {
        return None;
    }
    let latest = time.micros() + (TimeKeeper::TOLERANCE + answer.latency.min(LATENCY)).as_micros();
    let least = time.micros().saturating_sub(TimeKeeper::TOLERANCE.as_micros());
    let agrees = now.is_some_and(|now| (least..=latest).contains(&now.micros()));
    let confirmed = answer.dated && answer.validity != Lifetime::UNVERIFIED;
    let mut floor = floor.min(time);
    if confirmed {
        let reached = time.min(Timestamp::from_seconds(not_after)).micros();
        let reached = reached.saturating_sub(TimeKeeper::AGREEMENT.as_micros());
        floor = floor.max(Timestamp::from_micros(reached));
    }
    Some(Verdict {
        step: (!agrees).then_some(time),
        floor: floor.max(built),
        confirmed,
    })
}

/// The difference of two times.
pub(super) fn differ(one: Timestamp, other: Timestamp) -> Duration {
    Duration::from_micros(one.micros().abs_diff(other.micros()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUILT: u64 = 1_000_000;
    const DAY: u64 = 86_400;
    /// The certificate of most cases.
    const VALID: Lifetime = Lifetime {
        not_before: BUILT,
        not_after: BUILT + 365 * DAY,
    };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn belief(now: Option<u64>, floor: u64) -> Belief {
        Belief {
            now: now.map(at),
            floor: at(floor),
            earliest: at(floor),
            built: at(BUILT),
        }
    }

    fn answer(date: u64, dated: bool) -> Answer {
        Answer {
            date: at(date),
            latency: Duration::ZERO,
            validity: VALID,
            dated,
        }
    }

    fn verdict(step: Option<u64>, floor: u64, confirmed: bool) -> Option<Verdict> {
        Some(Verdict {
            step: step.map(at),
            floor: at(floor),
            confirmed,
        })
    }

    #[test]
    fn date_is_believed_when_the_certificate_fits_it() {
        let now = BUILT + 30 * DAY;
        let end = VALID.not_after;
        for (name, belief, answer, expected) in [
            (
                "the first answer",
                belief(None, BUILT),
                answer(now, false),
                verdict(Some(now), BUILT, false),
            ),
            (
                "a hint that is right",
                belief(Some(now), BUILT),
                answer(now, true),
                verdict(None, now - 300, true),
            ),
            (
                "a hint 20 days ahead",
                belief(Some(now + 20 * DAY), BUILT),
                answer(now, true),
                verdict(Some(now), now - 300, true),
            ),
            (
                "a hint 20 days behind",
                belief(Some(now - 20 * DAY), BUILT),
                answer(now, true),
                verdict(Some(now), now - 300, true),
            ),
            (
                "a hint after the certificate's end",
                belief(Some(end + 1), BUILT),
                answer(now, false),
                verdict(Some(now), BUILT, false),
            ),
            (
                "2 s ahead",
                belief(Some(now + 2), BUILT),
                answer(now, true),
                verdict(None, now - 300, true),
            ),
            (
                "3 s ahead",
                belief(Some(now + 3), BUILT),
                answer(now, true),
                verdict(Some(now), now - 300, true),
            ),
            (
                "3 s behind",
                belief(Some(now - 3), BUILT),
                answer(now, true),
                verdict(Some(now), now - 300, true),
            ),
            (
                "a server before the build",
                belief(None, BUILT),
                answer(BUILT - DAY, false),
                verdict(Some(BUILT), BUILT, false),
            ),
            (
                "a server after its certificate",
                belief(Some(now), BUILT),
                answer(end + 1, true),
                None,
            ),
            (
                "the same without a time",
                belief(None, BUILT),
                answer(end + 1, false),
                None,
            ),
            (
                "a certificate that expires on an open connection",
                belief(Some(end + 1), end - 300),
                answer(end + 2, true),
                verdict(None, end - 300, true),
            ),
            (
                "the same, but asked for the time",
                belief(Some(end + 1), end - 300),
                answer(end + 2, false),
                None,
            ),
            (
                "a floor that is too high",
                belief(None, now + DAY),
                answer(now, false),
                verdict(Some(now), now, false),
            ),
            (
                "a floor that is too high, confirmed",
                belief(Some(now + DAY), now + DAY),
                answer(now, true),
                verdict(Some(now), now, true),
            ),
            (
                "a stolen certificate that expired before the floor",
                belief(None, end + 1),
                answer(end - 1, false),
                None,
            ),
        ] {
            assert_eq!(judge(&belief, &answer), expected, "{name}");
        }
    }

    #[test]
    fn latency_excuses_a_clock_that_seems_ahead() {
        let now = BUILT + DAY;
        for (latency, ahead, agrees) in [
            (0, 3, false),
            (1, 3, true),
            (2, 3, true),
            (2, 4, false),
            (30, 4, false),
        ] {
            let mut answer = answer(now, true);
            answer.latency = Duration::from_secs(latency);
            let verdict = judge(&belief(Some(now + ahead), BUILT), &answer);
            assert_eq!(
                verdict.map(|verdict| verdict.step.is_none()),
                Some(agrees),
                "{latency} s, {ahead} s ahead"
            );
        }
    }

    #[test]
    fn floor_is_not_raised_without_tls() {
        let mut answer = answer(BUILT + DAY, true);
        answer.validity = Lifetime::UNVERIFIED;
        assert_eq!(
            judge(&belief(None, BUILT), &answer),
            verdict(Some(BUILT + DAY), BUILT, false)
        );
    }

    prop_compose! {
        fn any_case()(
            now in proptest::option::of(BUILT..BUILT + 100 * DAY),
            floor in BUILT..BUILT + 100 * DAY,
            date in 0..BUILT + 100 * DAY,
            not_before in 0..BUILT + 100 * DAY,
            life in 0..100 * DAY,
            latency in 0u64..40,
            dated: bool,
        ) -> (Belief, Answer) {
            let validity = Lifetime { not_before, not_after: not_before + life };
            let latency = Duration::from_secs(latency);
            // The clock is never below the floor.
            let now = now.map(|now| now.max(floor));
            (belief(now, floor), Answer { date: at(date), latency, validity, dated })
        }
    }

    proptest! {
        #[test]
        fn clock_is_near_the_server_and_above_the_build((belief, answer) in any_case()) {
            if let Some(verdict) = judge(&belief, &answer) {
                let clock = verdict.step.or(belief.now).expect("the time is known then");
                prop_assert!(clock >= belief.built);
                prop_assert!(clock.micros() <= answer.date.max(belief.built).micros() + 3_000_000);
                prop_assert!(clock.micros() + 2_000_000 >= answer.date.micros());
                prop_assert!(clock.micros() + 2_000_000 >= verdict.floor.micros());
            }
        }

        #[test]
        fn floor_is_never_beyond_the_certificate_or_the_date((belief, answer) in any_case()) {
            if let Some(verdict) = judge(&belief, &answer) {
                prop_assert!(verdict.floor >= belief.built);
                prop_assert!(verdict.floor <= answer.date.max(belief.built));
                let bound = belief.floor.max(at(answer.validity.not_after));
                prop_assert!(verdict.floor <= bound);
                prop_assert!(answer.dated || verdict.floor <= belief.floor);
            }
        }

        #[test]
        fn certificate_that_expired_before_the_floor_tells_no_time((belief, answer) in any_case()) {
            let expired = answer.validity.not_after < belief.floor.seconds();
            if expired && !answer.dated {
                prop_assert_eq!(judge(&belief, &answer), None);
            }
        }
    }
}
