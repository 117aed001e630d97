//! When a certificate is requested, and why: decisions without I/O.

use picolet_kube::Timestamp;
use picolet_platform::{Duration, Lifetime, Purpose};

/// How long the API server refuses a client certificate before the node requests another one with its bootstrap token: the
/// refusal may be that of a server that is restarting.
pub(super) const REFUSALS: Duration = Duration::from_secs(60);
/// What is known of one certificate.
pub(super) struct Situation {
    /// Whether the API server has the Node: signers compare a serving certificate with its addresses.
    pub(super) registered: bool,
    /// From the first to the last time that the API server refused the client certificate.
    pub(super) refused: Option<Duration>,
    /// Whether there is a certificate, and its time has not ended.
    pub(super) valid: bool,
    /// Whether it is time to renew it.
    pub(super) due: bool,
    /// Whether the serving certificate is for the address of the node; `None` while it has none.
    pub(super) serves: Option<bool>,
    /// Whether a request for another serving certificate was begun, for the address of now.
    pub(super) pending: bool,
}

/// Why a certificate is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A client certificate, and only the bootstrap token can be used to request it.
    Token,
    /// The time of the present one comes to its end.
    Age,
    /// There is none for the address of now, or a request was not finished.
    Replacement,
}

/// Whether a certificate for `purpose` is to be requested.
pub(super) fn need(purpose: Purpose, situation: &Situation) -> Option<Need> {
    let Situation { registered, .. } = *situation;
    let replace = match purpose {
        Purpose::Client => {
            let is_refused = situation.refused.is_some_and(|time| time >= REFUSALS);
            if is_refused || registered && !situation.valid {
                return Some(Need::Token);
            }
            false
        }
        Purpose::Serving => !situation.serves? || !situation.valid || situation.pending,
    };
    match registered {
        true if situation.due && situation.valid => Some(Need::Age),
        true if replace => Some(Need::Replacement),
        _ => None,
    }
}

/// How long a new certificate is used, however short it lives and wherever the node moves: each request costs a key, a write to
/// flash and an object in the cluster.
pub(super) const SHORTEST_USE: Duration = Duration::from_secs(60);
/// How long a certificate that the node has kept is used at least, unless it ends: a CA near its end, or one of k3s, signs
/// certificates that are due at once, and each restart would request another.
const RESTORED_USE: u64 = 600;

/// When the certificate for one purpose may be requested.
#[derive(Default)]
pub(super) struct Schedule {
    /// The uptime before which nothing is requested.
    earliest: Duration,
    /// What failed, for which address, and the uptime before which that is not tried again.
    failed: Option<(Need, [u8; 16], Duration)>,
    /// The end of the certificate in use, in Unix seconds, and when it is renewed.
    not_after: u64,
    renewal: Timestamp,
    limited: bool,
}

impl Schedule {
    /// Takes note of the certificate in use.
    pub(super) fn observe(&mut self, lifetime: Option<Lifetime>, now: Timestamp, random: u16) {
        if let Some(lifetime) = lifetime.filter(|lifetime| lifetime.not_after != self.not_after) {
            let left = lifetime.not_after.saturating_sub(now.seconds());
            let restored = Timestamp::from_seconds(now.seconds() + (left / 2).min(RESTORED_USE));
            self.not_after = lifetime.not_after;
            self.renewal = renewal(lifetime, None, random).max(restored);
        }
    }

    /// Whether it is time to renew it.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.renewal
    }

    /// How long to wait before a request for that reason and address, at this uptime.
    pub(super) fn pause(&self, need: Need, address: [u8; 16], uptime: Duration) -> Duration {
        let until = match self.failed {
            Some((failed, at, until)) if failed == need && at == address => until.max(self.earliest),
            _ => self.earliest,
        };
        until.saturating_sub(uptime)
    }

    /// Takes note of a failure, after which the same is tried again after `delay`, and anything else after `others`.
    pub(super) fn fail(
        &mut self,
        (need, address): (Need, [u8; 16]),
        uptime: Duration,
        delay: Duration,
        others: Duration,
    ) {
        self.failed = Some((need, address, uptime + delay));
        self.earliest = uptime + others;
    }

    /// Takes note of a new certificate, issued at `now`.
    pub(super) fn renew(
        &mut self,
        need: Need,
        lifetime: Option<Lifetime>,
        (now, uptime): (Timestamp, Duration),
        random: u16,
    ) {
        self.failed = None;
        self.earliest = uptime + SHORTEST_USE;
        if let Some(lifetime) = lifetime {
            self.limited = need == Need::Age && lifetime.not_after <= self.not_after;
            self.not_after = lifetime.not_after;
            self.renewal = renewal(lifetime, Some(now), random);
        }
    }

    /// Whether the last renewal has gained nothing.
    pub(super) fn is_limited(&self) -> bool {
        self.limited
    }
}

/// When a certificate is renewed: after 70 to 90 % of its life, `random` of 65536 parts of the way (`nextRotationDeadline` in
/// `k8s.io/client-go/util/certificate`). One that was issued just now, at `issued`, is used for half of the time that is left
/// to it: a CA that signs nothing beyond its own end would be asked without a pause otherwise.
pub(super) fn renewal(lifetime: Lifetime, issued: Option<Timestamp>, random: u16) -> Timestamp {
    let Lifetime {
        not_before,
        not_after,
    } = lifetime;
    // Bounded, so that the product fits: a certificate ends with the year 9999 at the latest (RFC 5280, section 4.1.2.5).
    let life = not_after.saturating_sub(not_before).min(1 << 40);
    let share = life * (7 * 65536 + 2 * u64::from(random)) / 655_360;
    let earliest = issued.map_or(0, |issued| {
        let left = not_after.saturating_sub(issued.seconds());
        issued.seconds() + left / 2
    });
    Timestamp::from_seconds((not_before.saturating_add(share)).max(earliest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn certificate_is_renewed_after_70_to_90_per_cent_of_its_life() {
        let lifetime = |not_before, not_after| Lifetime {
            not_before,
            not_after,
        };
        for (random, after) in [(0, 700), (32768, 800), (u16::MAX, 899)] {
            assert_eq!(renewal(lifetime(1000, 2000), None, random), at(1000 + after));
            let issued = Some(at(1300));
            assert_eq!(renewal(lifetime(1000, 2000), issued, random), at(1000 + after));
        }
        renewal(lifetime(0, u64::MAX), None, u16::MAX);
        renewal(lifetime(u64::MAX, u64::MAX), Some(at(0)), u16::MAX);
        assert_eq!(
            renewal(lifetime(2000, 1000), None, 7),
            at(2000),
            "a life that ends before it begins"
        );
    }

    #[test]
    fn new_certificate_is_used_for_half_of_its_time() {
        // Issued at 1000, valid from 300 s before.
        for (ends, renewed) in [(1155, 1077), (1010, 1005), (900, 1000)] {
            let lifetime = Lifetime {
                not_before: 700,
                not_after: ends,
            };
            assert_eq!(renewal(lifetime, Some(at(1000)), 0), at(renewed), "{ends}");
        }
    }

    const HERE: [u8; 16] = [1; 16];
    const THERE: [u8; 16] = [2; 16];

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Valid for a hundred days from 1000 on.
    const LONG: Lifetime = Lifetime {
        not_before: 1000,
        not_after: 1000 + 100 * 86_400,
    };

    #[test]
    fn refusal_delays_only_what_was_refused() {
        let mut schedule = Schedule::default();
        assert_eq!(
            schedule.pause(Need::Replacement, HERE, seconds(5)),
            Duration::ZERO
        );
        let refused = (Need::Replacement, HERE);
        schedule.fail(refused, seconds(100), seconds(3600), seconds(60));
        for (need, address, pause) in [
            (Need::Replacement, HERE, 3590),
            (Need::Replacement, THERE, 50),
            (Need::Age, HERE, 50),
        ] {
            assert_eq!(schedule.pause(need, address, seconds(110)), seconds(pause));
        }
        // The new one is used for a while, whatever happens.
        schedule.renew(Need::Replacement, Some(LONG), (at(2000), seconds(200)), 0);
        for need in [Need::Replacement, Need::Age, Need::Token] {
            assert_eq!(schedule.pause(need, THERE, seconds(210)), seconds(50));
        }
    }

    #[test]
    fn kept_certificate_is_renewed_in_time_and_not_at_each_start() {
        for (not_after, now, due) in [
            // Long before, and when it is due already.
            (LONG.not_after, 2000, 1000 + 70 * 86_400),
            (LONG.not_after, 1000 + 80 * 86_400, 1000 + 80 * 86_400 + 600),
            // Near its end.
            (5000, 4600, 4800),
            (5000, 6000, 6000),
        ] {
            let mut schedule = Schedule::default();
            let lifetime = Some(Lifetime { not_after, ..LONG });
            schedule.observe(lifetime, at(now), 0);
            // Looking again changes nothing, and neither does a certificate that is withheld.
            schedule.observe(None, at(now + 1), u16::MAX);
            schedule.observe(lifetime, at(now + 2), u16::MAX);
            assert!(
                !schedule.is_due(at(due - 1)) && schedule.is_due(at(due)),
                "{not_after} {now}"
            );
        }
    }

    #[test]
    fn renewal_is_limited_when_its_certificate_ends_no_later() {
        for (need, not_after, limited) in [
            (Need::Age, LONG.not_after, true),
            (Need::Age, LONG.not_after - 1, true),
            (Need::Age, LONG.not_after + 1, false),
            (Need::Replacement, LONG.not_after, false),
        ] {
            let mut schedule = Schedule::default();
            schedule.observe(Some(LONG), at(2000), 0);
            let renewed = Lifetime { not_after, ..LONG };
            schedule.renew(need, Some(renewed), (at(3000), seconds(0)), 0);
            assert_eq!(schedule.is_limited(), limited, "{need:?} {not_after}");
        }
    }

    #[test]
    fn need_follows_from_the_situation() {
        const GOOD: Situation = Situation {
            registered: true,
            refused: None,
            valid: true,
            due: false,
            serves: Some(true),
            pending: false,
        };
        let refused = |seconds| Situation {
            refused: Some(Duration::from_secs(seconds)),
            ..GOOD
        };
        #[rustfmt::skip]
        let cases = [
            ("good", GOOD, None, None),
            ("due", Situation { due: true, ..GOOD }, Some(Need::Age), Some(Need::Age)),
            ("missing", Situation { valid: false, due: true, ..GOOD }, Some(Need::Token), Some(Need::Replacement)),
            ("missing, no address", Situation { valid: false, serves: None, ..GOOD }, Some(Need::Token), None),
            ("no address", Situation { serves: None, due: true, ..GOOD }, Some(Need::Age), None),
            ("pending", Situation { pending: true, ..GOOD }, None, Some(Need::Replacement)),
            ("not registered", Situation { registered: false, valid: false, pending: true, ..GOOD }, None, None),
            ("refused for a moment", refused(59), None, None),
            ("refused", refused(60), Some(Need::Token), None),
            ("refused, not registered", Situation { registered: false, ..refused(60) }, Some(Need::Token), None),
        ];
        for (name, situation, client, serving) in cases {
            assert_eq!(need(Purpose::Client, &situation), client, "client: {name}");
            assert_eq!(need(Purpose::Serving, &situation), serving, "serving: {name}");
        }
        let moved = Situation {
            serves: Some(false),
            ..GOOD
        };
        assert_eq!(need(Purpose::Serving, &moved), Some(Need::Replacement));
    }
}
