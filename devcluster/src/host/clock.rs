//! The system's clock.

use picolet_platform::{Clock, Duration, TimeSource, UnixMicros};
use std::time::{Instant, SystemTime};

/// Time as the system and tokio tell it.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn uptime(&self) -> Duration {
        self.0.elapsed().into()
    }

    fn now(&self) -> Option<UnixMicros> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_micros()).ok().map(UnixMicros)
    }

    fn time_source(&self) -> TimeSource {
        TimeSource::Synchronized
    }

    fn set_time(&self, _: UnixMicros, _: TimeSource) {}

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration.into()).await;
    }
}
