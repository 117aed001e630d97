//! The time of day, shared by the time servers' task, the agent and TLS.

use core::cell::Cell;
use critical_section::Mutex;
use embassy_time::Instant;
use picolet_platform::{Duration, TimeFloor, TimeKeeper, TimeSource, UnixMicros};

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

static KEEPER: Mutex<Cell<TimeKeeper>> = Mutex::new(Cell::new(keeper(BUILT)));

const fn keeper(floor_seconds: u64) -> TimeKeeper {
    TimeKeeper::new(UnixMicros(floor_seconds.saturating_mul(1_000_000)))
}

/// Runs `change` on the clock at the uptime of now.
fn with<R>(change: impl FnOnce(&mut TimeKeeper, Duration) -> R) -> R {
    critical_section::with(|section| {
        let cell = KEEPER.borrow(section);
        let mut keeper = cell.get();
        let result = change(&mut keeper, Duration::from_micros(Instant::now().as_micros()));
        cell.set(keeper);
        result
    })
}

/// Begins with the time floor that an earlier run stored.
pub(crate) fn start(floor: Option<TimeFloor>) {
    let floor = floor.map_or(BUILT, |floor| floor.0.max(BUILT));
    with(|clock, _| *clock = keeper(floor));
}

/// The time of day.
pub(crate) fn now() -> Option<UnixMicros> {
    with(|clock, uptime| clock.now(uptime))
}

/// Where the time of day comes from.
pub(crate) fn source() -> TimeSource {
    with(|clock, _| clock.source())
}

/// Sets the time of day to what the API server confirmed.
pub(crate) fn set(now: UnixMicros, source: TimeSource) {
    with(|clock, uptime| clock.set(now, source, uptime));
}

/// Takes the answer of a time server; `false` if it is wrong.
pub(crate) fn hint(time: UnixMicros) -> bool {
    with(|clock, uptime| clock.hint(time, uptime))
}

/// The clock by which certificates are judged.
pub(crate) fn unix_seconds() -> Option<u64> {
    now().map(UnixMicros::seconds)
}
