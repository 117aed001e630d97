//! The folder of one running control plane, and the record of who runs it.
//!
//! The record names the owning process by id and start time, so that an id given out again is never mistaken for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const OWNER: &str = "owner";

/// A folder that lives as long as this value.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    keep: bool,
}

impl RunDirectory {
    /// Makes the folder `path`. Folders beside it whose owner was killed are removed first.
    ///
    /// # Errors
    ///
    /// When the folder belongs to a process that still runs, or cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let parent = path.parent().context("a run directory needs a parent folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        for entry in fs::read_dir(parent)?.flatten() {
            match owner(&entry.path()) {
                Owner::Dead => {
                    let _ = fs::remove_dir_all(entry.path());
                }
                Owner::Alive(_) | Owner::None => {}
            }
        }
        if let Owner::Alive(pid) = owner(path) {
            bail!(
                "a control plane runs there already (process {}): stop it first",
                pid.as_raw_nonzero()
            );
        }
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let this = rustix::process::getpid();
        let record = format!(
            "{} {}\n",
            this.as_raw_nonzero(),
            start_time(this).unwrap_or_default()
        );
        fs::write(path.join(OWNER), record)
            .with_context(|| format!("cannot write into {}", path.display()))?;
        Ok(Self {
            path: path.into(),
            keep: false,
        })
    }

    /// Returns the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder with its logs when this value is dropped. The next run removes it.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Says whether the control plane whose folder is `path` runs.
#[must_use]
pub fn is_running(path: &Path) -> bool {
    matches!(owner(path), Owner::Alive(_))
}

/// Stops the control plane whose folder is `path` and says whether one was running.
///
/// # Errors
///
/// When its process does not end within 20 s.
pub fn stop_recorded(path: &Path) -> Result<bool> {
    let Owner::Alive(pid) = owner(path) else {
        if path.join(OWNER).exists() {
            let _ = fs::remove_dir_all(path);
        }
        return Ok(false);
    };
    kill_process(pid, Signal::TERM).context("cannot signal the control plane's process")?;
    let start = Instant::now();
    while is_running(path) {
        if start.elapsed() > Duration::from_secs(20) {
            bail!("process {} did not stop within 20 s", pid.as_raw_nonzero());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

enum Owner {
    None,
    Dead,
    Alive(Pid),
}

fn owner(path: &Path) -> Owner {
    let Ok(record) = fs::read_to_string(path.join(OWNER)) else {
        return Owner::None;
    };
    let mut words = record.split_whitespace();
    let pid = words
        .next()
        .and_then(|word| word.parse().ok())
        .and_then(Pid::from_raw);
    match (pid, words.next()) {
        (Some(pid), Some(time)) if start_time(pid).as_deref() == Some(time) => Owner::Alive(pid),
        _ => Owner::Dead,
    }
}

/// The start time of a living process in clock ticks since boot: field 22 of `/proc/PID/stat`, proc_pid_stat(5).
fn start_time(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut after_name = stat[stat.rfind(')')? + 1..].split_whitespace();
    // A zombie has ended, only its parent has not asked yet.
    let state = after_name.next()?;
    if state == "Z" {
        None
    } else {
        after_name.nth(18).map(str::to_owned)
    }
}
