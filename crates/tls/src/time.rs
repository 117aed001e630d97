//! What time it is, for the dates of certificates and the age of tickets.

use alloc::boxed::Box;
use core::fmt;
use core::time::Duration;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// A wall clock. Closures are clocks: `|| Some(1_790_000_000)`.
pub trait Time: Send + Sync {
    /// Seconds since 1970-01-01T00:00:00Z, or `None` as long as nobody has told the time.
    fn unix_seconds(&self) -> Option<u64>;
}

impl<F: Fn() -> Option<u64> + Send + Sync> Time for F {
    fn unix_seconds(&self) -> Option<u64> {
        self()
    }
}

/// A clock in the form that rustls takes.
pub(crate) struct Clock(Box<dyn Time>);

impl Clock {
    pub(crate) fn new(time: impl Time + 'static) -> Self {
        Self(Box::new(time))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.unix_seconds().map(unix_time)
    }
}

/// Seconds as rustls writes them.
pub(crate) fn unix_time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
