//! Emulated time, which all parts of a board agree on whatever their own clocks do.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

/// A moment of emulated time: nanoseconds since the board got power. A reset does not set it back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment that the board got power.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes: 584 years after power-on.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment that many nanoseconds after power-on.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The moment that many microseconds after power-on.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// The moment that many milliseconds after power-on.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since power-on.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since power-on.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Display for Time {
    /// Seconds with six decimals, as in a kernel's log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5}.{:06}",
            self.0 / 1_000_000_000,
            self.0 / 1_000 % 1_000_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate() {
        let late = Time::from_millis(2);
        assert_eq!(late.since(Time::from_micros(500)), Duration::from_micros(1500));
        assert_eq!(Time::ZERO.since(late), Duration::ZERO);
        assert_eq!(Time::NEVER + Duration::from_secs(1), Time::NEVER);
    }

    #[test]
    fn displays_seconds_and_microseconds() {
        assert_eq!(Time::from_micros(1_234_567).to_string(), "    1.234567");
    }
}
