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
    /// Whether a request for another serving certificate was begun.
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
