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

/// Who told the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// Nobody has yet.
    Unknown,
    /// An API server, by the `Date` of an answer: right to a second or two.
    ApiServer,
    /// A time server, or the operating system.
    Synchronized,
}

/// A monotonic clock, a wall clock that may not be known yet, and sleep.
pub trait Clock {
    /// Time since the device (or the process) started. Never goes backwards.
    fn uptime(&self) -> Duration;

    /// The time of day, or `None` as long as nobody has told it.
    fn now(&self) -> Option<UnixMicros>;

    /// Who told it.
    fn time_source(&self) -> TimeSource;

    /// Tells the time of day as an API server has it. A platform whose clock is synchronized ignores it.
    fn set_now(&self, now: UnixMicros);

    /// Completes once `duration` has passed. Dropping the future cancels it.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}
