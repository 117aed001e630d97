//! The few calls of WASI that a module without `std` needs.

use embedded_hal::delay::DelayNs;

use crate::error::Error;
use crate::raw::{self, Vector};

/// Writes to standard output; what cannot be written is dropped.
pub fn print(text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let vector = Vector {
            address: rest.as_ptr(),
            length: rest.len(),
        };
        let mut written = 0;
        // SAFETY: the buffer and the result are this function's, and outlive the call.
        let errno = unsafe { raw::fd_write(1, &raw const vector, 1, &raw mut written) };
        if errno != 0 || written == 0 {
            return;
        }
        rest = rest.get(written..).unwrap_or_default();
    }
}

/// Ends the module with an exit code.
pub fn exit(code: i32) -> ! {
    // SAFETY: no memory is passed.
    unsafe { raw::proc_exit(code) }
}

/// Sleeps, and lets others run meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay;

impl DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        sleep(ns.into());
    }

    fn delay_us(&mut self, us: u32) {
        sleep(u64::from(us) * 1_000);
    }

    fn delay_ms(&mut self, ms: u32) {
        sleep(u64::from(ms) * 1_000_000);
    }
}

fn sleep(nanoseconds: u64) {
    // The type of event 0, a clock; clock 1, monotonic; the time, its precision, no flags.
    let subscription = [0, 0, 1, nanoseconds, 0, 0];
    let mut event = [0; 4];
    let mut happened = 0;
    // SAFETY: subscription, event and result are this function's, of the size that WASI gives them, and outlive the call.
    unsafe { raw::poll_oneoff(&raw const subscription, &raw mut event, 1, &raw mut happened) };
}

/// Reads from a descriptor of the host module.
pub(crate) fn read(descriptor: u32, bytes: &mut [u8]) -> Result<usize, Error> {
    let vector = Vector {
        address: bytes.as_mut_ptr(),
        length: bytes.len(),
    };
    let mut read = 0;
    // SAFETY: the buffer is borrowed for the call, and the result is this function's.
    let errno = unsafe { raw::fd_read(descriptor, &raw const vector, 1, &raw mut read) };
    Error::check(errno)?;
    Ok(read)
}

/// Closes a descriptor of the host module.
pub(crate) fn close(descriptor: u32) {
    // SAFETY: no memory is passed.
    unsafe { raw::fd_close(descriptor) };
}
