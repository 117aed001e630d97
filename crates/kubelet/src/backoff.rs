//! Waiting longer after each failure, and never in step with other nodes.

use picolet_platform::{Clock, Duration, Entropy};

/// A delay that doubles up to a limit.
pub(crate) struct Backoff {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            next: first,
        }
    }

    /// Starts over, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// The delay and up to half of it more. The next one is twice as long.
    pub(crate) fn next(&mut self, platform: &impl Entropy) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.limit);
        jittered(platform, delay, 50)
    }

    /// Waits for [`Backoff::next`].
    pub(crate) async fn wait(&mut self, platform: &(impl Clock + Entropy)) {
        let delay = self.next(platform);
        platform.sleep(delay).await;
    }
}

/// `duration` and up to `percent` per cent more.
pub(crate) fn jittered(platform: &impl Entropy, duration: Duration, percent: u32) -> Duration {
    let mut random = [0; 2];
    platform.fill(&mut random);
    let most = duration.as_micros() * u64::from(percent) / 100;
    let more = most * u64::from(u16::from_le_bytes(random)) / 65536;
    duration + Duration::from_micros(more)
}
