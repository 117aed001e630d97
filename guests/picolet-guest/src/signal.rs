//! Signals. A module that uses any of this is asked to stop, with SIGTERM, before it is stopped.

use crate::error::Error;
use crate::{raw, wasi};

/// Takes the oldest pending signal, if there is one: 15 is SIGTERM.
///
/// # Errors
/// None that a host is known to return.
pub fn pending_signal() -> Result<Option<u8>, Error> {
    let mut number = 0;
    // SAFETY: the result is this function's.
    Error::check(unsafe { raw::signal(&raw mut number) })?;
    Ok((number != 0).then_some(number as u8))
}

/// A descriptor that is readable while a signal is pending.
#[derive(Debug)]
pub struct Signals {
    descriptor: u32,
}

impl Signals {
    /// Opens the descriptor.
    ///
    /// # Errors
    /// Too many descriptors are open.
    pub fn new() -> Result<Self, Error> {
        let mut descriptor = 0;
        // SAFETY: the result is this function's.
        Error::check(unsafe { raw::signal_watch(&raw mut descriptor) })?;
        Ok(Self { descriptor })
    }

    /// Its number, for `poll_oneoff`.
    #[must_use]
    pub const fn descriptor(&self) -> u32 {
        self.descriptor
    }

    /// Waits for a signal and takes it.
    ///
    /// # Errors
    /// `IO`.
    pub fn wait(&mut self) -> Result<u8, Error> {
        let mut number = [0; 4];
        if wasi::read(self.descriptor, &mut number)? < number.len() {
            return Err(Error::IO);
        }
        Ok(number[0])
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        wasi::close(self.descriptor);
    }
}
