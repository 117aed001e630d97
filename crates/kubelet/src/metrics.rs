//! What the node counts about itself, for `/metrics`. Everything has a fixed size.

use core::cell::Cell;
use picolet_platform::Duration;

/// Adds one to a counter.
pub(crate) fn count(counter: &Cell<u32>) {
    counter.set(counter.get().wrapping_add(1));
}

/// Upper bounds of a latency histogram's buckets, in milliseconds.
pub(crate) const BUCKETS_MS: [u32; 9] = [5, 10, 25, 50, 100, 250, 500, 1000, 5000];

/// A histogram of latencies.
#[derive(Default)]
pub(crate) struct Histogram {
    /// How many fell into each bucket alone (not cumulated), the last one being all beyond.
    pub(crate) buckets: [Cell<u32>; BUCKETS_MS.len() + 1],
    /// All of them together, in microseconds.
    pub(crate) sum_micros: Cell<u64>,
}

impl Histogram {
    pub(crate) fn record(&self, latency: Duration) {
        let micros = latency.as_micros();
        let bucket = BUCKETS_MS
            .iter()
            .position(|bound| micros <= u64::from(*bound) * 1000);
        count(&self.buckets[bucket.unwrap_or(BUCKETS_MS.len())]);
        self.sum_micros.set(self.sum_micros.get().saturating_add(micros));
    }
}

/// The counters of one node.
#[derive(Default)]
pub(crate) struct Metrics {
    /// How long requests to the API server took, watches apart.
    pub(crate) api_latency: Histogram,
    /// How long renewing the Lease took.
    pub(crate) lease_latency: Histogram,
    /// Requests to the API server that were answered with a success.
    pub(crate) api_ok: Cell<u32>,
    /// Those that were refused: 4xx but for 409 and 429, 5xx.
    pub(crate) api_refused: Cell<u32>,
    /// Those that were answered by 409.
    pub(crate) api_conflict: Cell<u32>,
    /// Those that were answered by 429.
    pub(crate) api_throttled: Cell<u32>,
    /// Those that got no answer.
    pub(crate) api_failed: Cell<u32>,
    /// Lists that were read, each because a watch had lost its place or had none.
    pub(crate) relists: Cell<u32>,
    /// Watches that were begun.
    pub(crate) watches: Cell<u32>,
    /// Changes of configuration that were applied.
    pub(crate) configuration_applied: Cell<u32>,
    /// Changes of configuration that were refused.
    pub(crate) configuration_rejected: Cell<u32>,
    /// Firmware that was confirmed.
    pub(crate) firmware_confirmed: Cell<u32>,
    /// Firmware that was reverted, as the firmware before it reports.
    pub(crate) firmware_reverted: Cell<u32>,
    /// Trials that are repeated, since the node was not Ready with the firmware before either.
    pub(crate) firmware_repeated: Cell<u32>,
    /// Events that were dropped because too many came at once.
    pub(crate) events_dropped: Cell<u32>,
}
