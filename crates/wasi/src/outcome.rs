//! How a call ends.

use crate::errno::Errno;
use crate::memory::MemoryError;

/// How a call ended, for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call returns this i32: an errno, 0 for success. A function without a result returns 0.
    Return(u32),
    /// The instance ends with this exit code.
    Exit(u32),
    /// The call goes on with [`crate::Wasi::resume`] once one of these may have happened.
    Suspend(Wait),
    /// The instance ends because it reached its memory limit.
    OutOfMemory,
}

/// What a suspended call waits for: the first of all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Monotonic time in nanoseconds at which to resume at the latest. A time that has passed asks only for a turn of the event loop.
    pub deadline: Option<u64>,
    /// Sources any of whose changes resume the call. A call that is resumed too early suspends again.
    pub interest: Interest,
}

impl Wait {
    /// Resumes at the next turn of the event loop.
    pub(crate) const YIELD: Self = Self {
        deadline: Some(0),
        interest: Interest::NONE,
    };

    /// Waits for `interest` without a deadline.
    pub(crate) const fn on(interest: Interest) -> Self {
        Self {
            deadline: None,
            interest,
        }
    }
}

/// A set of sources of readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest(pub u8);

impl Interest {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Standard input.
    pub const INPUT: Self = Self(1);
    /// Sockets and listeners of the instance.
    pub const SOCKETS: Self = Self(2);
    /// Watched pins of the instance.
    pub const PINS: Self = Self(4);
    /// Signals to the instance.
    pub const SIGNALS: Self = Self(8);
    /// The I2C bus.
    pub const I2C: Self = Self(16);

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have a common source.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// Why the code of a call stops early; `?` makes one of an errno or of a failure of guest memory.
///
/// It is one byte, since nearly every line of every call returns one: what is waited for is in the call.
pub(crate) enum Stop {
    Errno(Errno),
    Exit,
    Wait,
    OutOfMemory,
}

const _: () = assert!(size_of::<Result>() == 1, "a result is a byte");

/// The result inside of a call.
pub(crate) type Result<T = ()> = core::result::Result<T, Stop>;

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<MemoryError> for Stop {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Fault => Self::Errno(Errno::Fault),
            MemoryError::OutOfMemory => Self::OutOfMemory,
        }
    }
}
