//! What time it is: how long the board has been up, and the time of day once somebody has told it.

use core::cell::Cell;
use critical_section::Mutex;
use embassy_time::Instant;
use picolet_platform::{TimeSource, UnixMicros};

/// Seconds since the epoch at the commit that this was built from. No time of day is below it.
pub(crate) const BUILT: u64 = match option_env!("PICOLET_COMMIT_TIME") {
    Some(text) => seconds(text),
    None => 0,
};

/// Digits as a number.
const fn seconds(text: &str) -> u64 {
    let (bytes, mut at, mut value) = (text.as_bytes(), 0, 0);
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        value = value * 10 + (bytes[at] - b'0') as u64;
        at += 1;
    }
    value
}

/// Microseconds since the epoch, below which no time of day is believed.
static FLOOR: Mutex<Cell<u64>> = Mutex::new(Cell::new(BUILT * 1_000_000));

/// Begins with the latest time of day that an earlier run was certain of, in seconds since the epoch.
pub(crate) fn start(kept: u64) {
    let floor = BUILT.max(kept).saturating_mul(1_000_000);
    critical_section::with(|section| FLOOR.borrow(section).set(floor));
}

/// The time of day at the start of the board, in microseconds since the epoch, and who told it.
static STARTED: Mutex<Cell<(u64, TimeSource)>> = Mutex::new(Cell::new((0, TimeSource::Unknown)));

fn started() -> (u64, TimeSource) {
    critical_section::with(|section| STARTED.borrow(section).get())
}

/// The time of day.
pub(crate) fn now() -> Option<UnixMicros> {
    let (started, source) = started();
    (source != TimeSource::Unknown).then(|| UnixMicros(started + Instant::now().as_micros()))
}

/// Who told the time of day.
pub(crate) fn source() -> TimeSource {
    started().1
}

/// Tells the time of day. A time before the firmware was made, or before one that was certain, is a lie or a mistake: it
/// is not believed, and `false` is returned. An API server is not listened to any more once a time server has answered,
/// which is the more exact one.
pub(crate) fn set(now: UnixMicros, teller: TimeSource) -> bool {
    critical_section::with(|section| {
        if now.0 < FLOOR.borrow(section).get() {
            return false;
        }
        let clock = STARTED.borrow(section);
        if teller == TimeSource::Synchronized || clock.get().1 != TimeSource::Synchronized {
            clock.set((now.0.saturating_sub(Instant::now().as_micros()), teller));
        }
        true
    })
}

/// The clock by which certificates are judged.
pub(crate) fn unix_seconds() -> Option<u64> {
    now().map(UnixMicros::seconds)
}
