//! What time it is: how long the board has been up, and the time of day once somebody has told it.

use core::cell::Cell;
use critical_section::Mutex;
use embassy_time::Instant;
use picolet_platform::UnixMicros;

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

/// The time of day at the start of the board, in microseconds since the epoch.
static STARTED: Mutex<Cell<Option<u64>>> = Mutex::new(Cell::new(None));

/// The time of day.
pub(crate) fn now() -> Option<UnixMicros> {
    let started = critical_section::with(|section| STARTED.borrow(section).get())?;
    Some(UnixMicros(started + Instant::now().as_micros()))
}

/// Tells the time of day. A time before the firmware was made is a lie or a mistake, and not believed.
pub(crate) fn set(now: UnixMicros) {
    if now < UnixMicros(BUILT * 1_000_000) {
        return;
    }
    let started = now.0.saturating_sub(Instant::now().as_micros());
    critical_section::with(|section| STARTED.borrow(section).set(Some(started)));
}

/// The clock by which certificates are judged.
pub(crate) fn unix_seconds() -> Option<u64> {
    now().map(UnixMicros::seconds)
}
