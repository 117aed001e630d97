//! The time of day that a node goes by.

use picolet_platform::{Duration, TimeKeeper, TimeSource, UnixMicros};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the time of day comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operating system.
    System,
    /// The API server, as on a board that no time server answers.
    ApiServer,
}

/// The time of day of one node. Clones are the same clock.
///
/// The operating system's clock is a hint for it, as a time server's is on a board: what the node writes follows the API server
/// when the two differ. Certificates are verified by the operating system's clock all the same, which is its administrator's.
#[derive(Clone)]
pub(crate) struct WallClock(Arc<Inner>);

struct Inner {
    source: Source,
    started: Instant,
    keeper: Mutex<TimeKeeper>,
}

impl WallClock {
    pub(crate) fn new(source: Source) -> Self {
        Self(Arc::new(Inner {
            source,
            started: Instant::now(),
            keeper: Mutex::new(TimeKeeper::new(UnixMicros(0))),
        }))
    }

    /// Whether certificates are verified by the operating system's clock.
    pub(crate) fn is_system(&self) -> bool {
        self.0.source == Source::System
    }

    /// Runs `change` on the clock at the uptime of now.
    fn with<R>(&self, change: impl FnOnce(&mut TimeKeeper, Duration) -> R) -> R {
        let Inner { started, keeper, .. } = &*self.0;
        let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let uptime = Duration::from(started.elapsed());
        if self.is_system()
            && let Some(now) = system()
        {
            // Where it is wrong, the condition `TimeSynced` says so.
            let _agrees = keeper.hint(now, uptime);
        }
        change(&mut keeper, uptime)
    }

    pub(crate) fn now(&self) -> Option<UnixMicros> {
        self.with(|keeper, uptime| keeper.now(uptime))
    }

    pub(crate) fn source(&self) -> TimeSource {
        self.with(|keeper, _| keeper.source())
    }

    pub(crate) fn set(&self, now: UnixMicros, source: TimeSource) {
        self.with(|keeper, uptime| keeper.set(now, source, uptime));
    }
}

/// The operating system's; `None` where it says that it is before 1970.
pub fn system() -> Option<UnixMicros> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok().map(UnixMicros)
}

/// The clock by which certificates are judged.
impl picolet_tls::Time for WallClock {
    fn unix_seconds(&self) -> Option<u64> {
        let now = if self.is_system() { system() } else { self.now() };
        now.map(UnixMicros::seconds)
    }
}
