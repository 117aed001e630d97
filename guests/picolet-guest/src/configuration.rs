//! Memory cells and keys of `pico-config`.

use crate::error::Error;
use crate::raw;

/// The value of a memory cell.
///
/// # Errors
/// `NOT_FOUND`.
pub fn cell(index: u32) -> Result<u32, Error> {
    let mut value = 0;
    // SAFETY: the result is this function's.
    Error::check(unsafe { raw::cell_get(index.cast_signed(), &raw mut value) })?;
    Ok(value)
}

/// Copies the value of a key into `buffer` and returns that part of it.
///
/// # Errors
/// `NOT_FOUND`, `RANGE` if it does not fit.
pub fn config<'b>(key: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
    let mut length = 0;
    let (at, capacity) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: key and buffer are borrowed for the call, and the result is this function's.
    let errno = unsafe { raw::config_get(key.as_ptr(), key.len(), at, capacity, &raw mut length) };
    Error::check(errno)?;
    buffer.get(..length).ok_or(Error::RANGE)
}
