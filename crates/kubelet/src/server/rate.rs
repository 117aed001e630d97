//! How many requests one peer may make: a token bucket each, in a table of fixed size.

use crate::settings::Limits;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::IpAddr;
use picolet_platform::Duration;

/// Peers that are remembered. When there are more, the one that was quiet longest is forgotten: its bucket was the
/// fullest.
const PEERS: usize = 16;

struct Bucket {
    /// See [`who`].
    peer: u64,
    /// Thousandths of a request that may be made at once.
    milli: u32,
    /// When it was filled last.
    at: Duration,
}

/// The buckets of all peers.
#[derive(Default)]
pub(super) struct Rate {
    buckets: RefCell<Vec<Bucket>>,
}

impl Rate {
    /// Takes one request from the peer's bucket.
    ///
    /// # Errors
    /// The seconds until there is one.
    #[inline(never)]
    pub(super) fn take(&self, peer: IpAddr, now: Duration, limits: &Limits) -> Result<(), u32> {
        let peer = who(peer);
        let full = limits.burst.max(1).saturating_mul(1000);
        let per_second = limits.requests_per_second.max(1);
        let mut buckets = self.buckets.borrow_mut();
        if !buckets.iter().any(|bucket| bucket.peer == peer) {
            let oldest = buckets.iter().enumerate().min_by_key(|(_, bucket)| bucket.at);
            if let Some((oldest, _)) = oldest.filter(|_| buckets.len() >= PEERS) {
                buckets.swap_remove(oldest);
            }
            let milli = full;
            buckets.push(Bucket { peer, milli, at: now });
        }
        let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.peer == peer) else {
            return Ok(()); // it was put there
        };
        let passed = now.saturating_sub(bucket.at).as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        bucket.milli = bucket
            .milli
            .saturating_add(passed.saturating_mul(per_second))
            .min(full);
        bucket.at = now;
        if let Some(left) = bucket.milli.checked_sub(1000) {
            bucket.milli = left;
            return Ok(());
        }
        Err((1000 - bucket.milli).div_ceil(per_second.saturating_mul(1000)))
    }
}

/// Whom an address belongs to: with IPv6 a network of 64 bits, since one host may use any address in it. No network in use
/// begins with 32 bits of zero, so none looks like an IPv4 address.
fn who(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;

    fn peer(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    const LIMITS: Limits = Limits {
        connections: 1,
        request_timeout: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        head_bytes: 0,
        body_bytes: 0,
        requests_per_second: 2,
        burst: 3,
    };

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate::default();
        let mut at = Duration::from_secs(9);
        for _ in 0..3 {
            assert_eq!(rate.take(peer(1), at, &LIMITS), Ok(()));
        }
        assert_eq!(rate.take(peer(1), at, &LIMITS), Err(1));
        assert_eq!(
            rate.take(peer(2), at, &LIMITS),
            Ok(()),
            "another peer is not to blame"
        );
        at += Duration::from_millis(499);
        assert_eq!(rate.take(peer(1), at, &LIMITS), Err(1));
        at += Duration::from_millis(1);
        assert_eq!(rate.take(peer(1), at, &LIMITS), Ok(()));
        assert_eq!(rate.take(peer(1), at, &LIMITS), Err(1));
    }

    #[test]
    fn an_ipv6_host_has_one_bucket_and_a_mapped_address_is_ipv4() {
        let v6 = |text: &str| who(text.parse().expect("an address"));
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::ffff:1"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(
            v6("::ffff:192.0.2.1"),
            who(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
        );
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_burst_and_rate(calls in prop::collection::vec((0u64..2000, 1..PEERS as u32), 1..400)) {
            let rate = Rate::default();
            let mut now = Duration::ZERO;
            let mut granted = 0;
            for (wait, other) in calls {
                now += Duration::from_millis(wait);
                granted += u64::from(rate.take(peer(0), now, &LIMITS).is_ok());
                let _ = rate.take(peer(other), now, &LIMITS);
            }
            prop_assert!(granted <= 3 + now.as_millis() * 2 / 1000);
        }

        #[test]
        fn any_number_of_peers_fits(peers in prop::collection::vec(any::<u32>(), 1..200)) {
            let rate = Rate::default();
            for (n, address) in peers.into_iter().enumerate() {
                let _ = rate.take(peer(address), Duration::from_millis(n as u64), &LIMITS);
                prop_assert!(rate.buckets.borrow().len() <= PEERS);
            }
        }
    }
}
