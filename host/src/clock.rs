//! The time of day that a node goes by.

use clap::ValueEnum;
use picolet_platform::{TimeSource, UnixMicros};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the time of day comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// The operating system.
    System,
    /// The API server, as on a board that no time server answers.
    ApiServer,
}

/// A clock of the day. Clones are the same clock.
#[derive(Clone)]
pub(crate) struct WallClock(Option<Arc<Told>>);

/// A clock that somebody has to tell the time.
struct Told {
    started: Instant,
    /// The time at `started`, in microseconds; 0 as long as nobody has told it.
    then: AtomicU64,
}

impl WallClock {
    pub(crate) fn new(source: Source) -> Self {
        Self(match source {
            Source::System => None,
            Source::ApiServer => Some(Arc::new(Told {
                started: Instant::now(),
                then: AtomicU64::new(0),
            })),
        })
    }

    pub(crate) fn now(&self) -> Option<UnixMicros> {
        let Some(told) = &self.0 else {
            return system();
        };
        match told.then.load(Ordering::Relaxed) {
            0 => None,
            then => Some(UnixMicros(then + told.elapsed())),
        }
    }

    pub(crate) fn source(&self) -> TimeSource {
        match (&self.0, self.now()) {
            (_, None) => TimeSource::Unknown,
            (None, _) => TimeSource::Synchronized,
            (Some(_), _) => TimeSource::ApiServer,
        }
    }

    pub(crate) fn set(&self, now: UnixMicros) {
        if let Some(told) = &self.0 {
            told.then
                .store(now.0.saturating_sub(told.elapsed()).max(1), Ordering::Relaxed);
        }
    }
}

/// The operating system's; `None` where it says that it is before 1970.
pub(crate) fn system() -> Option<UnixMicros> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_micros()).ok().map(UnixMicros)
}

impl Told {
    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The clock by which certificates are judged.
impl picolet_tls::Time for WallClock {
    fn unix_seconds(&self) -> Option<u64> {
        self.now().map(UnixMicros::seconds)
    }
}
