//! A TAP interface of the host: the device is a station on whatever the host bridges or routes it to. Linux only, and
//! with the right to open the interface.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::Link;
use crate::Time;

/// How often the interface is looked at, in emulated time.
const POLL: Duration = Duration::from_millis(1);
/// Room for any frame of the interface, with a VLAN's tag.
const FRAME: usize = 2048;

/// An interface of the host.
pub struct Tap {
    file: File,
    poll: Poll,
    events: Events,
    readable: bool,
    now: Time,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").finish_non_exhaustive()
    }
}

impl Tap {
    /// Opens the interface of that name, or makes it for as long as it is open.
    ///
    /// # Errors
    /// If the name is longer than 15 bytes, or the host refuses.
    pub fn open(name: &str) -> io::Result<Self> {
        // SAFETY: all fields of the C structure are integers and arrays of them, for which zeros are values.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains('\0') {
            let message = format!("{name:?} is no name of an interface: 1 to 15 bytes");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        let flags = libc::IFF_TAP | libc::IFF_NO_PI;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or_default();
        let explain = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot open the TAP interface {name:?}: {error}"),
            )
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(explain)?;
        // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which lives through the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if result < 0 {
            return Err(explain(io::Error::last_os_error()));
        }
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut SourceFd(&file.as_raw_fd()), Token(0), Interest::READABLE)?;
        Ok(Self {
            file,
            poll,
            events: Events::with_capacity(4),
            readable: true,
            now: Time::ZERO,
        })
    }

    fn look(&mut self, limit: Duration) -> bool {
        if self.poll.poll(&mut self.events, Some(limit)).is_err() {
            return false;
        }
        self.readable |= !self.events.is_empty();
        self.readable
    }
}

impl Link for Tap {
    fn send(&mut self, frame: &[u8], now: Time) {
        self.now = self.now.max(now);
        // What the interface does not take, because it is down or its queue is full, is lost, as on any wire.
        let _ = self.file.write(frame);
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        self.now = self.now.max(now);
        if !self.readable && !self.look(Duration::ZERO) {
            return None;
        }
        let mut frame = vec![0; FRAME];
        match self.file.read(&mut frame) {
            Ok(length) if length > 0 => {
                frame.truncate(length);
                Some(frame)
            }
            _ => {
                self.readable = false;
                None
            }
        }
    }

    fn next_event(&self) -> Option<Time> {
        Some(self.now + POLL)
    }

    fn wait_for_host(&mut self, limit: Duration) -> bool {
        self.look(limit)
    }

    fn duplicate(&self) -> Option<Box<dyn Link>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_is_refused() {
        for name in ["", "an interface's name this long", "a\0b"] {
            assert_eq!(
                Tap::open(name).expect_err("refused").kind(),
                ErrorKind::InvalidInput
            );
        }
    }
}
