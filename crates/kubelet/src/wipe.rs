//! Memory that held a token or a key is overwritten before it is let go of.

use alloc::string::String;
use core::mem::take;

/// A text with a token in it.
pub(crate) struct Wiped(pub(crate) String);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut take(&mut self.0).into_bytes());
    }
}

/// Overwrites it.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    // It is not left out for want of a reader.
    core::hint::black_box(bytes);
}
