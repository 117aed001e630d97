//! Time: how long the device has been up, and what time it is elsewhere.

use crate::Duration;
use core::future::Future;

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted (as POSIX does).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }
}

/// Where the time of day comes from, and whether the API server has confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The time of day is not known.
    Unknown,
    /// A time server or the operating system. The API server has not confirmed it: a hint.
    Hint,
    /// The API server, by the `Date` of an answer. A time server did not answer, or with another time.
    ApiServer,
    /// A time server or the operating system, and the API server agrees.
    Synchronized,
}

/// A monotonic clock, a time of day that may be unknown, and sleep.
pub trait Clock {
    /// Time since the device (or the process) started. Never goes backwards.
    fn uptime(&self) -> Duration;

    /// The time of day, or `None` while it is unknown.
    fn now(&self) -> Option<UnixMicros>;

    /// Where the time of day comes from.
    fn time_source(&self) -> TimeSource;

    /// Sets the time of day to what the API server confirmed. [`TimeKeeper::set`] says what that means for hints.
    fn set_time(&self, now: UnixMicros, source: TimeSource);

    /// Completes once `duration` has passed. Dropping the future cancels it.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}

/// Counts the time of day from the uptime, and judges hints: times from a source that is not authenticated.
///
/// It does no I/O; the platform calls it with the uptime and serializes the calls.
#[derive(Clone, Copy, Debug)]
pub struct TimeKeeper {
    /// Microseconds since the epoch at uptime zero.
    started: u64,
    source: TimeSource,
    /// Microseconds since the epoch below which no hint is accepted.
    floor: u64,
}

impl TimeKeeper {
    /// How far two clocks may differ and still agree: a `Date` has whole seconds.
    pub const TOLERANCE: Duration = Duration::from_secs(2);
    /// How far a time server may differ from the API server before it counts as wrong.
    pub const AGREEMENT: Duration = Duration::from_secs(300);

    /// A clock that does not know the time of day, and accepts no hint below `floor`.
    #[must_use]
    pub const fn new(floor: UnixMicros) -> Self {
        Self {
            started: 0,
            source: TimeSource::Unknown,
            floor: floor.0,
        }
    }

    /// The time of day at that uptime.
    #[must_use]
    pub fn now(&self, uptime: Duration) -> Option<UnixMicros> {
        let now = UnixMicros(self.started.saturating_add(uptime.as_micros()));
        (self.source != TimeSource::Unknown).then_some(now)
    }

    /// Where the time of day comes from.
    #[must_use]
    pub const fn source(&self) -> TimeSource {
        self.source
    }

    /// Sets the time of day. From then on a hint changes it only if it agrees within [`Self::TOLERANCE`].
    pub fn set(&mut self, now: UnixMicros, source: TimeSource, uptime: Duration) {
        self.started = now.0.saturating_sub(uptime.as_micros());
        self.source = source;
    }

    /// Takes a hint. Returns `false` if it is wrong: below the floor, or more than [`Self::AGREEMENT`] from the time that
    /// the API server confirmed.
    pub fn hint(&mut self, time: UnixMicros, uptime: Duration) -> bool {
        let difference = match (self.source, self.now(uptime)) {
            (TimeSource::ApiServer | TimeSource::Synchronized, Some(now)) => now.0.abs_diff(time.0),
            _ if time.0 < self.floor => return false,
            _ => {
                self.set(time, TimeSource::Hint, uptime);
                return true;
            }
        };
        if difference <= Self::TOLERANCE.as_micros() {
            self.set(time, TimeSource::Synchronized, uptime);
        }
        difference <= Self::AGREEMENT.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: u64 = 1_000_000_000_000_000;
    const NOW: u64 = FLOOR + 86_400_000_000;
    const SECOND: i64 = 1_000_000;

    fn keeper() -> TimeKeeper {
        TimeKeeper::new(UnixMicros(FLOOR))
    }

    #[test]
    fn hint_sets_the_clock_when_it_is_unconfirmed_and_above_the_floor() {
        let uptime = Duration::from_secs(10);
        let mut keeper = keeper();
        assert_eq!(keeper.now(uptime), None);
        assert!(!keeper.hint(UnixMicros(FLOOR - 1), uptime));
        assert_eq!(keeper.source(), TimeSource::Unknown);
        for time in [NOW, FLOOR, 2 * NOW] {
            assert!(keeper.hint(UnixMicros(time), uptime));
            assert_eq!(
                (keeper.now(uptime), keeper.source()),
                (Some(UnixMicros(time)), TimeSource::Hint)
            );
        }
        assert_eq!(
            keeper.now(Duration::from_secs(11)),
            Some(UnixMicros(2 * NOW + 1_000_000))
        );
    }

    #[test]
    fn hint_changes_a_confirmed_clock_only_when_it_agrees() {
        use TimeSource::{ApiServer, Synchronized};
        for (source, seconds, accepted, expected) in [
            (ApiServer, 0, true, Synchronized),
            (ApiServer, 2, true, Synchronized),
            (ApiServer, -2, true, Synchronized),
            (ApiServer, 3, true, ApiServer),
            (ApiServer, -300, true, ApiServer),
            (ApiServer, 301, false, ApiServer),
            (Synchronized, 3, true, Synchronized),
            (Synchronized, -301, false, Synchronized),
            (Synchronized, 20 * 86_400, false, Synchronized),
        ] {
            let (uptime, mut keeper) = (Duration::from_secs(7), keeper());
            keeper.set(UnixMicros(NOW), source, uptime);
            let time = UnixMicros(NOW.saturating_add_signed(seconds * SECOND));
            assert_eq!(keeper.hint(time, uptime), accepted, "{seconds} s");
            assert_eq!(keeper.source(), expected, "{seconds} s");
            let moved = keeper.now(uptime) == Some(time);
            assert_eq!(moved, seconds.abs() <= 2, "{seconds} s");
        }
    }
}
