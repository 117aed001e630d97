//! What a machine and a pod provide to an instance.

use picolet_platform::Entropy;

use crate::descriptors::Stream;
use crate::device::Device;
use crate::errno::Errno;

/// All that calls use of the world around the instance.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Randomness.
    pub entropy: &'a dyn Entropy,
    /// Where standard output and standard error go.
    pub output: &'a dyn Output,
    /// Standard input.
    pub input: &'a dyn Input,
    /// Connections of the instance.
    pub sockets: &'a dyn Sockets,
    /// Signals to the instance.
    pub signals: &'a dyn Signals,
    /// Pins, LED, sensors and configuration, or `None` where the `picolet` module has no device: its functions then return ENODEV.
    pub device: Option<&'a Device<'a>>,
}

/// Time of day and monotonic time. Every [`picolet_platform::Clock`] is one.
pub trait Clock {
    /// Nanoseconds since 1970, or `None` while the time of day is not known: guests then see a clock that starts in 1970.
    fn realtime(&self) -> Option<u64>;

    /// Nanoseconds since some moment; never goes backwards.
    fn monotonic(&self) -> u64;
}

impl<T: picolet_platform::Clock> Clock for T {
    fn realtime(&self) -> Option<u64> {
        self.now().map(|now| now.0.saturating_mul(1_000))
    }

    fn monotonic(&self) -> u64 {
        self.uptime().as_micros().saturating_mul(1_000)
    }
}

/// The log of a container.
pub trait Output {
    /// Takes what the instance writes; it never blocks. Lines are the implementor's to find.
    fn write(&self, stream: Stream, bytes: &[u8]);
}

/// Standard input of a container.
pub trait Input {
    /// Reads up to `bytes.len()` bytes. 0 is the end of the stream.
    ///
    /// # Errors
    /// [`Errno::Again`] while there is nothing to read.
    fn read(&self, bytes: &mut [u8]) -> Result<usize, Errno>;

    /// Bytes that can be read at once, `Some(0)` at the end of the stream, `None` while there is nothing to read.
    fn available(&self) -> Option<u32>;
}

/// What can be done with a socket without waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes to read, or connections to accept: `None` if a read would block.
    pub read: Option<u32>,
    /// Bytes that can be sent: `None` if a send would block.
    pub write: Option<u32>,
    /// The peer has closed its side.
    pub hangup: bool,
}

/// Which directions of a connection end: `sdflags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Nothing more is received.
    pub receive: bool,
    /// Nothing more is sent.
    pub send: bool,
}

/// TCP listeners and connections, by the numbers that the implementor gives them. No method blocks: where POSIX would, it returns
/// [`Errno::Again`].
pub trait Sockets {
    /// Accepts a connection.
    ///
    /// # Errors
    /// As `accept(2)`.
    fn accept(&self, listener: u8) -> Result<u8, Errno>;

    /// Receives up to `bytes.len()` bytes; 0 is the end of the stream. `peek` leaves them to be read again.
    ///
    /// # Errors
    /// As `recv(2)`.
    fn receive(&self, socket: u8, bytes: &mut [u8], peek: bool) -> Result<usize, Errno>;

    /// Sends a first part of `bytes`, at least one byte if there is one, and returns its length.
    ///
    /// # Errors
    /// As `send(2)`.
    fn send(&self, socket: u8, bytes: &[u8]) -> Result<usize, Errno>;

    /// Ends directions of a connection.
    ///
    /// # Errors
    /// As `shutdown(2)`.
    fn shutdown(&self, socket: u8, how: Shutdown) -> Result<(), Errno>;

    /// What a listener or a connection is ready for.
    fn readiness(&self, socket: u8) -> Readiness;

    /// Closes a listener or a connection.
    fn close(&self, socket: u8);
}

/// Signals to an instance, by their Linux numbers.
pub trait Signals {
    /// The oldest pending signal, without taking it.
    fn pending(&self) -> Option<u8>;

    /// Takes the oldest pending signal.
    fn take(&self) -> Option<u8>;
}

/// A host part that is not there: no input, no sockets, no signals; output is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Absent;

impl Output for Absent {
    fn write(&self, _: Stream, _: &[u8]) {}
}

impl Input for Absent {
    fn read(&self, _: &mut [u8]) -> Result<usize, Errno> {
        Ok(0)
    }

    fn available(&self) -> Option<u32> {
        Some(0)
    }
}

impl Sockets for Absent {
    fn accept(&self, _: u8) -> Result<u8, Errno> {
        Err(Errno::NotSocket)
    }

    fn receive(&self, _: u8, _: &mut [u8], _: bool) -> Result<usize, Errno> {
        Err(Errno::NotSocket)
    }

    fn send(&self, _: u8, _: &[u8]) -> Result<usize, Errno> {
        Err(Errno::NotSocket)
    }

    fn shutdown(&self, _: u8, _: Shutdown) -> Result<(), Errno> {
        Err(Errno::NotSocket)
    }

    fn readiness(&self, _: u8) -> Readiness {
        Readiness::default()
    }

    fn close(&self, _: u8) {}
}

impl Signals for Absent {
    fn pending(&self) -> Option<u8> {
        None
    }

    fn take(&self) -> Option<u8> {
        None
    }
}
