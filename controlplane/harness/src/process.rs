//! Child processes that never outlive us.
//!
//! The kernel ends them when the thread that started them ends (`PR_SET_PDEATHSIG`), which is why one thread that lives
//! as long as the process starts them all. Each is the leader of a process group of its own, so that Ctrl-C reaches us
//! first and we stop them in order.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};

type Request = (Command, mpsc::Sender<io::Result<Child>>);

static SPAWNER: LazyLock<Mutex<mpsc::Sender<Request>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::channel::<Request>();
    thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            for (mut command, answer) in receiver {
                // The asker may have gone away: the child then ends with the dropped handle's `Process`, or with us.
                let _ = answer.send(command.spawn());
            }
        })
        .expect("a process that cannot start one thread cannot start any child");
    Mutex::new(sender)
});

/// A child process, ended when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own. What it prints is appended to `log`.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened or the program cannot be run.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only two system calls are made, nothing is allocated and no lock is taken.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // If we died before the line above, the signal never comes.
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe));
                }
                Ok(())
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let (answer, started) = mpsc::channel();
        SPAWNER
            .lock()
            .expect("no holder of this lock panics")
            .send((command, answer))
            .expect("the spawner lives");
        let child = started
            .recv()
            .expect("the spawner answers")
            .with_context(|| format!("cannot run {program}"))?;
        Ok(Self {
            name: name.into(),
            child,
            log: log.into(),
        })
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the file that holds what the process printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns how the process ended, or nothing while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    ///
    /// When the process ends or `limit` passes first; the error shows the end of its log.
    pub fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.exit_status() {
                bail!("{} ended ({status}):\n{}", self.name, self.log_tail());
            }
            if start.elapsed() > limit {
                bail!(
                    "{} is not ready after {} s:\n{}",
                    self.name,
                    limit.as_secs(),
                    self.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Asks the process to end (SIGTERM), and ends it (SIGKILL) when `grace` has passed.
    pub fn stop(&mut self, grace: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < grace {
            if let Some(status) = self.exit_status() {
                return status;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.kill()
    }

    /// Ends the process at once, as a power cut would.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.child
            .wait()
            .unwrap_or_else(|_| ExitStatus::from_raw(Signal::KILL.as_raw()))
    }

    fn signal(&mut self, signal: Signal) {
        // A process that was waited for has given its id back: another may have it by now.
        if self.exit_status().is_none()
            && let Some(group) = Pid::from_raw(self.child.id().cast_signed())
        {
            let _ = kill_process_group(group, signal);
        }
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(5));
    }
}
