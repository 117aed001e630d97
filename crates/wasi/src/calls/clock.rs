//! Clocks.

use crate::context::{Call, Wasi};
use crate::errno::Errno;
use crate::host::Clock;
use crate::outcome::Result;

/// `clockid`.
pub(super) const REALTIME: u32 = 0;
pub(super) const MONOTONIC: u32 = 1;

/// Nanoseconds of a clock. The time of day starts in 1970 until the machine knows it.
pub(super) fn now(clock: &dyn Clock, id: u32) -> core::result::Result<u64, Errno> {
    match id {
        REALTIME => Ok(clock.realtime().unwrap_or_else(|| clock.monotonic())),
        MONOTONIC => Ok(clock.monotonic()),
        _ => Err(Errno::Invalid),
    }
}

impl Wasi {
    pub(super) fn clock_res_get(&mut self, call: &mut Call<'_>) -> Result {
        if !matches!(call.slot(0), REALTIME | MONOTONIC) {
            return Err(Errno::Invalid.into());
        }
        // The timers of all boards count microseconds.
        call.put_u64(1, 1_000)
    }

    pub(super) fn clock_time_get(&mut self, call: &mut Call<'_>) -> Result {
        let time = now(call.host.clock, call.slot(0))?;
        call.put_u64(3, time)
    }
}
