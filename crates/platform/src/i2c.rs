//! I2C buses, as their controller.

use crate::PinSet;

/// Bytes that a transfer writes at most, and reads at most.
pub const LONGEST_TRANSFER: usize = 256;

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum I2cError {
    /// Another transfer is running: try again.
    Busy,
    /// There is no such bus.
    NoBus,
    /// No device acknowledged the address.
    NoAddress,
    /// A device did not acknowledge a byte that was written to it.
    NoAcknowledge,
    /// Arbitration was lost, a line was held low, or the transfer took too long.
    Bus,
}

/// I2C buses with 7-bit addresses. A transfer is started and then asked for, so that nobody waits for a bus while others could run.
pub trait I2c {
    /// The pins of `bus`, or `None` where there is no such bus.
    fn bus_pins(&self, bus: u8) -> Option<PinSet>;

    /// Starts a transfer: writes `write`, then reads `read` bytes after a repeated start; either may be empty, not both. Neither is longer
    /// than [`LONGEST_TRANSFER`].
    ///
    /// # Errors
    /// [`I2cError::Busy`] and [`I2cError::NoBus`].
    fn start(&self, bus: u8, address: u8, write: &[u8], read: usize) -> Result<(), I2cError>;

    /// Ends the transfer that was started on `bus` and copies what was read into `read`; `None` while it is running.
    fn finish(&self, bus: u8, read: &mut [u8]) -> Option<Result<(), I2cError>>;

    /// Gives up the transfer that was started on `bus`: nobody will ask for it.
    fn abandon(&self, bus: u8);
}
