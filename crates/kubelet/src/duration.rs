//! Durations as numbers, in arithmetic that a small core is good at: `Duration`'s own is of 128 bits.

use core::time::Duration;

/// From one uptime to a later one; nothing where it is not later.
#[inline(never)]
pub(crate) fn between(earlier: Duration, later: Duration) -> Duration {
    later.saturating_sub(earlier)
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u32 {
    let seconds = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    seconds
        .saturating_mul(1000)
        .saturating_add(duration.subsec_millis())
}

/// Whole microseconds.
#[inline(never)]
pub(crate) fn micros(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(duration.subsec_micros()))
}
