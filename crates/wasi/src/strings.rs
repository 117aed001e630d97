//! Arguments and environment of an instance.

use alloc::vec::Vec;

use crate::errno::Errno;

/// Strings as WASI hands them out: each ends with a NUL, one after another.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    bytes: Vec<u8>,
    count: u32,
}

impl Strings {
    /// Bytes that all strings may have together: guests copy them into their memory at start.
    pub const LONGEST: usize = 128 * 1024;

    /// No strings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            count: 0,
        }
    }

    /// Appends a string: an argument, or `NAME=value`.
    ///
    /// # Errors
    /// `Invalid` if it has a NUL, `TooBig` beyond [`Self::LONGEST`], `NoMemory`.
    pub fn push(&mut self, string: &str) -> Result<(), Errno> {
        self.push_parts(&[string])
    }

    /// Appends an environment variable. See [`Self::push`] for errors.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_variable(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        self.push_parts(&[name, "=", value])
    }

    fn push_parts(&mut self, parts: &[&str]) -> Result<(), Errno> {
        let mut length = 1;
        for part in parts {
            if part.as_bytes().contains(&0) {
                return Err(Errno::Invalid);
            }
            length += part.len();
        }
        if length > Self::LONGEST - self.bytes.len() {
            return Err(Errno::TooBig);
        }
        self.bytes
            .try_reserve_exact(length)
            .map_err(|_| Errno::NoMemory)?;
        for part in parts {
            self.bytes.extend_from_slice(part.as_bytes());
        }
        self.bytes.push(0);
        self.count += 1;
        Ok(())
    }

    /// How many strings there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// All of them, each with its NUL.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
