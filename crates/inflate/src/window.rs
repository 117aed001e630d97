//! Where output goes, and where earlier output is repeated from.

/// A window cannot take or repeat output: it is too small for the stream, or its memory failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowError;

/// Takes the output of an [`crate::Inflater`] and repeats earlier output.
pub trait Window {
    /// Bytes that can be appended now. The inflater pauses at 0.
    fn room(&self) -> usize;

    /// Appends a byte. Called only while there is room.
    ///
    /// # Errors
    /// The memory failed.
    fn put(&mut self, byte: u8) -> Result<(), WindowError>;

    /// Appends `length` bytes, each the one `distance` before it: with a distance below the length, bytes of the same call
    /// are repeated. `distance` is 1 to 32,768 and not more than the stream's output so far; `length` is 1 to 258 and not more than the room.
    ///
    /// # Errors
    /// The window does not reach back that far, or the memory failed.
    fn copy_back(&mut self, distance: usize, length: usize) -> Result<(), WindowError>;
}

/// A window of `N` bytes of memory, from which output is taken in pieces.
///
/// It is enough for streams whose compressor used a window of at most `N` bytes.
pub struct Ring<const N: usize> {
    bytes: [u8; N],
    /// Where the next byte goes; `N` if the ring is to start over.
    end: usize,
    /// Where the output begins that was not taken.
    start: usize,
    is_full: bool,
}

impl<const N: usize> Ring<N> {
    /// An empty window.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            end: 0,
            start: 0,
            is_full: false,
        }
    }

    /// Output that was not taken.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes the output: makes room for more. To be called when there is no room, and between any two calls of the inflater.
    pub fn take(&mut self) {
        if self.end >= N {
            self.end = 0;
            self.is_full = true;
        }
        self.start = self.end;
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Window for Ring<N> {
    fn room(&self) -> usize {
        N - self.end
    }

    #[inline]
    fn put(&mut self, byte: u8) -> Result<(), WindowError> {
        *self.bytes.get_mut(self.end).ok_or(WindowError)? = byte;
        self.end += 1;
        Ok(())
    }

    fn copy_back(&mut self, distance: usize, length: usize) -> Result<(), WindowError> {
        let available = if self.is_full { N } else { self.end };
        if distance == 0 || distance > available || length > self.room() {
            return Err(WindowError);
        }
        let mut from = if distance > self.end {
            self.end + N - distance
        } else {
            self.end - distance
        };
        for _ in 0..length {
            let byte = *self.bytes.get(from).ok_or(WindowError)?;
            self.put(byte)?;
            from = if from + 1 == N { 0 } else { from + 1 };
        }
        Ok(())
    }
}
