//! Spans of time as one number.
//!
//! Why not `core::time::Duration`: it keeps seconds and nanoseconds apart, which costs a 32-bit core several times the code wherever two
//! are added or compared, 4.9 KB in the agent (docs/decisions/0005-size-tricks.md). Use this one everywhere, and convert with `into()` where
//! another library wants `core`'s.

use core::fmt;
use core::ops::{Add, AddAssign, Mul, Sub};

/// A span of time in whole microseconds.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

impl Duration {
    /// None.
    pub const ZERO: Self = Self(0);

    /// So many microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// So many milliseconds; half a million years at most.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// So many seconds; half a million years at most.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whether there is none.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or the longest span that there is.
    #[must_use]
    pub const fn saturating_add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }

    /// The difference, or none where `less` is longer.
    // Not inlined: a call takes less flash.
    #[inline(never)]
    #[must_use]
    pub const fn saturating_sub(self, less: Self) -> Self {
        Self(self.0.saturating_sub(less.0))
    }
}

impl Add for Duration {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(self.0 + more.0)
    }
}

impl AddAssign for Duration {
    fn add_assign(&mut self, more: Self) {
        self.0 += more.0;
    }
}

impl Sub for Duration {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self(self.0 - less.0)
    }
}

impl Mul<u32> for Duration {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        Self(self.0 * u64::from(times))
    }
}

impl From<core::time::Duration> for Duration {
    fn from(duration: core::time::Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Duration> for core::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_micros(duration.0)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::time::Duration::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        let span = Duration::from_millis(1500) + Duration::from_micros(7);
        assert_eq!(
            (span.as_secs(), span.as_millis(), span.as_micros()),
            (1, 1500, 1_500_007)
        );
        assert_eq!(Duration::from_secs(3), Duration::from_millis(1000) * 3);
        assert_eq!(core::time::Duration::from(span).as_micros(), 1_500_007);
        assert_eq!(Duration::from(core::time::Duration::MAX).as_micros(), u64::MAX);
    }

    #[test]
    fn beyond_the_ends() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(u64::MAX));
        assert_eq!(short.saturating_sub(long), Duration::ZERO);
        assert_eq!(long.saturating_sub(short) + short, long);
        assert_eq!(long.saturating_add(short), long);
    }
}
