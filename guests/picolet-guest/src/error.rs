//! Error numbers of WASI.

use core::fmt;

use embedded_hal::{digital, i2c, pwm};

/// Why a call failed, as an `errno` of WASI preview 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(pub u16);

impl Error {
    /// Nothing is there yet.
    pub const AGAIN: Self = Self(6);
    /// A ConfigMap or another pod drives it.
    pub const BUSY: Self = Self(10);
    /// An argument is out of range.
    pub const INVALID: Self = Self(28);
    /// The transfer failed.
    pub const IO: Self = Self(29);
    /// The board has no such pin, channel, bus or sensor.
    pub const NO_DEVICE: Self = Self(43);
    /// There is no such key or cell.
    pub const NOT_FOUND: Self = Self(44);
    /// The board cannot do this.
    pub const NOT_SUPPORTED: Self = Self(58);
    /// Nothing on the bus answers at the address.
    pub const NO_SUCH_ADDRESS: Self = Self(60);
    /// The pod was not given it.
    pub const NOT_PERMITTED: Self = Self(63);
    /// The value does not fit in the buffer.
    pub const RANGE: Self = Self(68);

    /// The result of a call that returned `errno`.
    pub(crate) const fn check(errno: i32) -> Result<(), Self> {
        if errno == 0 {
            Ok(())
        } else {
            Err(Self(errno as u16))
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AGAIN => "not yet",
            Self::BUSY => "in use",
            Self::INVALID => "invalid argument",
            Self::IO => "input/output error",
            Self::NO_DEVICE => "no such device",
            Self::NOT_FOUND => "not found",
            Self::NOT_SUPPORTED => "not supported",
            Self::NO_SUCH_ADDRESS => "no answer at this address",
            Self::NOT_PERMITTED => "not permitted",
            Self::RANGE => "buffer too small",
            _ => "error",
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (errno {})", self.as_str(), self.0)
    }
}

impl core::error::Error for Error {}

impl digital::Error for Error {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

impl pwm::Error for Error {
    fn kind(&self) -> pwm::ErrorKind {
        pwm::ErrorKind::Other
    }
}

impl i2c::Error for Error {
    fn kind(&self) -> i2c::ErrorKind {
        match *self {
            Self::NO_SUCH_ADDRESS => i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Address),
            Self::IO => i2c::ErrorKind::Bus,
            _ => i2c::ErrorKind::Other,
        }
    }
}
