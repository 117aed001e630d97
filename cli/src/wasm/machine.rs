//! The host of a module that runs on this machine.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use picolet_platform::Entropy;
use picolet_wasi::files::Source;
use picolet_wasi::{Clock, Errno, Input, Output, Stream, Wait};

/// Clock, randomness, and the standard streams of this process.
pub(crate) struct Machine {
    start: Instant,
    /// What was read of standard input; `None` where it is not read.
    input: Option<Arc<Standard>>,
    /// Whether it is being read.
    reader: Once,
    /// Whether output is dropped.
    silent: bool,
}

/// Standard input, as a thread reads it.
#[derive(Default)]
struct Standard {
    state: Mutex<Buffer>,
    changed: Condvar,
}

#[derive(Default)]
struct Buffer {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// How long a module sleeps at a time that waits for nothing that can happen.
const IDLE: Duration = Duration::from_secs(1);

/// Bytes that are read ahead of the module.
const READ_AHEAD: usize = 64 * 1024;

impl Standard {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads standard input to its end, never far ahead of the module.
    fn fill(&self) {
        let mut chunk = [0; 4_096];
        loop {
            let count = io::stdin().read(&mut chunk).unwrap_or(0);
            let mut state = self.lock();
            state.bytes.extend(chunk.get(..count).unwrap_or_default());
            state.ended = count == 0;
            self.changed.notify_all();
            if state.ended {
                return;
            }
            while state.bytes.len() > READ_AHEAD {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Machine {
    /// A machine whose streams are those of this process.
    pub(crate) fn with_streams() -> Self {
        Self {
            start: Instant::now(),
            input: Some(Arc::default()),
            reader: Once::new(),
            silent: false,
        }
    }

    /// A machine without input, that drops output.
    pub(crate) fn silent() -> Self {
        Self {
            start: Instant::now(),
            input: None,
            reader: Once::new(),
            silent: true,
        }
    }

    /// The input, which is read from the first time on that the module asks for it: what it does not read stays for others.
    fn input(&self) -> Option<&Standard> {
        let input = self.input.as_ref()?;
        self.reader.call_once(|| {
            let reader = input.clone();
            // It ends with the process at the latest.
            thread::spawn(move || reader.fill());
        });
        Some(input)
    }

    /// Waits until a call can be resumed.
    pub(crate) fn wait(&self, wait: Wait) {
        let now = self.monotonic();
        let left = wait
            .deadline
            .map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        let listens = wait.interest.intersects(picolet_wasi::Interest::INPUT);
        let Some(input) = self.input().filter(|_| listens) else {
            // Nothing else ends it.
            return thread::sleep(left.unwrap_or(IDLE));
        };
        let state = input.lock();
        let nothing = |state: &mut Buffer| !state.ended && state.bytes.is_empty();
        // Whatever ends it, the call looks again.
        match left {
            Some(left) => drop(input.changed.wait_timeout_while(state, left, nothing)),
            None => drop(input.changed.wait_while(state, nothing)),
        }
    }
}

impl Clock for Machine {
    fn realtime(&self) -> Option<u64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok()
    }

    fn monotonic(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Entropy for Machine {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system has randomness");
    }
}

impl Output for Machine {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        if self.silent {
            return;
        }
        // Whoever reads may have gone away; the module goes on, as in a pod.
        let _ = match stream {
            Stream::Output => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Stream::Error => io::stderr().write_all(bytes),
        };
    }
}

impl Input for Machine {
    fn read(&self, bytes: &mut [u8]) -> Result<usize, Errno> {
        let Some(input) = self.input() else { return Ok(0) };
        let mut state = input.lock();
        if state.bytes.is_empty() && !state.ended {
            return Err(Errno::Again);
        }
        let count = state.bytes.len().min(bytes.len());
        for (to, from) in bytes.iter_mut().zip(state.bytes.drain(..count)) {
            *to = from;
        }
        input.changed.notify_all();
        Ok(count)
    }

    fn available(&self) -> Option<u32> {
        let Some(input) = self.input() else { return Some(0) };
        let state = input.lock();
        (state.ended || !state.bytes.is_empty())
            .then_some(u32::try_from(state.bytes.len()).unwrap_or(u32::MAX))
    }
}

/// A file of this machine as a part of an image: it is read when the module reads it.
pub(crate) struct HostFile(pub(crate) File);

impl Source for HostFile {
    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        self.0.read_exact_at(bytes, offset.into()).map_err(|_| Errno::Io)
    }
}
