//! How the node is. LED, health endpoints, conditions and the machine read it; whoever notices something writes it.

use crate::signal::Signal;
use core::cell::Cell;
use picolet_kube::Timestamp;
use picolet_platform::Duration;

/// Without a heartbeat for so long the cluster holds the node for lost (`node-monitor-grace-period` of
/// kube-controller-manager).
const LOST: Duration = Duration::from_secs(40);
/// Less free heap than this is pressure …
pub(crate) const LOW_MEMORY: u64 = 16 * 1024;
/// … if it lasts for so long …
const LOW_FOR: Duration = Duration::from_secs(10);
/// … until there is this much again.
const ENOUGH_MEMORY: u64 = 24 * 1024;

/// What the cluster thinks of the node, as far as the node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Not yet a node.
    #[default]
    Joining,
    /// Ready.
    Ready,
    /// It was Ready and does not reach its API server any more.
    Lost,
}

/// How the node is.
#[derive(Default)]
pub(crate) struct Health {
    state: Cell<State>,
    /// The state has changed.
    pub(crate) changed: Signal,
    heartbeat: Cell<Option<(Duration, Timestamp)>>,
    /// When the API server accepted Ready first, and how often it renewed the Lease since: the uptime, and a number.
    ready: Cell<Option<(Duration, u32)>>,
    low_since: Cell<Option<Duration>>,
    pressure: Cell<bool>,
}

impl Health {
    /// What the cluster thinks of the node.
    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// The API server took a Lease or a status, at that uptime and that time of day.
    pub(crate) fn heard(&self, uptime: Duration, time: Timestamp) {
        self.heartbeat.set(Some((uptime, time)));
    }

    /// The API server accepted a status that says Ready.
    pub(crate) fn accept_ready(&self, uptime: Duration) {
        if self.ready.get().is_none() {
            self.ready.set(Some((uptime, 0)));
        }
    }

    /// The API server renewed the Lease.
    pub(crate) fn count_renewal(&self) {
        let counted = self
            .ready
            .get()
            .map(|(since, count)| (since, count.saturating_add(1)));
        self.ready.set(counted);
    }

    /// Since when the API server has accepted Ready, as uptime, and how often it renewed the Lease since.
    pub(crate) fn ready(&self) -> Option<(Duration, u32)> {
        self.ready.get()
    }

    /// When the API server last took a Lease or a status: the uptime then, and the time of day.
    pub(crate) fn heartbeat(&self) -> Option<(Duration, Timestamp)> {
        self.heartbeat.get()
    }

    /// Looks at the state of a node that was registered.
    pub(crate) fn look(&self, uptime: Duration) {
        let lost = self
            .heartbeat
            .get()
            .is_some_and(|(at, _)| uptime.saturating_sub(at) > LOST);
        self.state.set(if lost { State::Lost } else { State::Ready });
        self.changed.signal(());
    }

    /// Looks at the free heap. Returns whether there is pressure, if that has changed.
    pub(crate) fn look_at_memory(&self, free: u64, uptime: Duration) -> Option<bool> {
        let before = self.pressure.get();
        if free >= ENOUGH_MEMORY {
            self.low_since.set(None);
            self.pressure.set(false);
        } else if free >= LOW_MEMORY {
            // Not enough to end pressure, and no longer so little that it would begin.
            self.low_since.set(None);
        } else {
            let since = self.low_since.get().unwrap_or(uptime);
            self.low_since.set(Some(since));
            self.pressure
                .set(before || uptime.saturating_sub(since) >= LOW_FOR);
        }
        let now = self.pressure.get();
        (now != before).then_some(now)
    }

    /// Whether little memory is left.
    pub(crate) fn has_memory_pressure(&self) -> bool {
        self.pressure.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_pressure_needs_memory_to_be_low_without_a_break() {
        let health = Health::default();
        let at = Duration::from_secs;
        assert_eq!(health.look_at_memory(LOW_MEMORY - 1, at(0)), None);
        // It recovers, if not by much, and dips again much later.
        assert_eq!(health.look_at_memory(LOW_MEMORY, at(5)), None);
        assert_eq!(health.look_at_memory(LOW_MEMORY - 1, at(100)), None);
        assert_eq!(health.look_at_memory(LOW_MEMORY - 1, at(110)), Some(true));
        assert_eq!(health.look_at_memory(LOW_MEMORY, at(111)), None);
        assert!(health.has_memory_pressure(), "until there is enough");
        assert_eq!(health.look_at_memory(ENOUGH_MEMORY, at(112)), Some(false));
    }

    #[test]
    fn node_is_lost_when_nothing_was_heard_for_longer_than_the_grace_period() {
        let health = Health::default();
        assert_eq!(health.state(), State::Joining);
        health.heard(Duration::from_secs(1), Timestamp::default());
        health.look(Duration::from_secs(41));
        assert_eq!(health.state(), State::Ready);
        health.look(Duration::from_secs(42));
        assert_eq!(health.state(), State::Lost);
    }
}
