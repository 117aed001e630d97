//! The few small things that outlive a reboot.

use core::fmt;
use core::future::Future;

/// What may be kept. The numbers are the keys in flash: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Record {
    /// Seconds since the epoch, little-endian: the latest time that was certain. The clock never starts below it.
    TimeFloor = 1,
}

/// Why a record was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The storage is full.
    Full,
    /// The storage does not work.
    Io,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the device's storage is full",
            Self::Io => "the device's storage cannot be written",
        })
    }
}

impl core::error::Error for RecordError {}

/// Storage that survives a power cut: after a cut a record has its old or its new value, never neither.
pub trait Records {
    /// Reads `record` into `buffer` and returns its length, or `None` where it was never written or does not fit.
    fn load(&self, record: Record, buffer: &mut [u8]) -> impl Future<Output = Option<usize>>;

    /// Writes `record`.
    ///
    /// # Errors
    /// The old value is still there when it fails.
    fn store(&self, record: Record, value: &[u8]) -> impl Future<Output = Result<(), RecordError>>;
}
