//! I2C, as embedded-hal has it.

use core::ptr;

use embedded_hal::i2c::{ErrorType, I2c as Bus, Operation};

use crate::error::Error;
use crate::raw;

/// A bus whose pins the pod was given.
#[derive(Debug)]
pub struct I2c {
    bus: u8,
}

impl I2c {
    /// The bus of that number. Whether it exists is found by its first transfer.
    #[must_use]
    pub const fn new(bus: u8) -> Self {
        Self { bus }
    }

    fn transfer(&mut self, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Error> {
        let (from, to) = (pointer(write), read.as_mut_ptr());
        // SAFETY: both buffers are borrowed for the call.
        let errno =
            unsafe { raw::i2c_transfer(self.bus.into(), address.into(), from, write.len(), to, read.len()) };
        Error::check(errno)
    }
}

const fn pointer(bytes: &[u8]) -> *const u8 {
    if bytes.is_empty() {
        ptr::null()
    } else {
        bytes.as_ptr()
    }
}

impl ErrorType for I2c {
    type Error = Error;
}

impl Bus for I2c {
    /// Does transfers of the forms that sensors use: a write, a read, or a write with a read after it.
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Error> {
        match operations {
            [] => Ok(()),
            [Operation::Write(write)] => self.transfer(address, write, &mut []),
            [Operation::Read(read)] => self.transfer(address, &[], read),
            [Operation::Write(write), Operation::Read(read)] => self.transfer(address, write, read),
            _ => Err(Error::NOT_SUPPORTED),
        }
    }
}
