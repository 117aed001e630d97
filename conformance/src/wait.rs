//! Waiting for what a cluster does in its own time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(100);

/// Asks `probe` until it answers, and returns its answer.
///
/// # Errors
///
/// When `limit` passes first; the error names `what` and the last error of the probe.
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut last;
    loop {
        match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => last = String::new(),
            Err(error) => last = format!(" ({error:#})"),
        }
        if start.elapsed() > limit {
            bail!("{what}: not within {:.1} s{last}", limit.as_secs_f32());
        }
        thread::sleep(PAUSE);
    }
}

/// Watches for `duration` that `probe` never finds anything.
///
/// # Errors
///
/// When it does, with what it found, or when it fails.
pub fn never(
    duration: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<Option<String>>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < duration {
        if let Some(found) = probe()? {
            bail!("{what}: {found}");
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}
