//! Values that are wanted whole.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// The longest value that is kept whole: twice the longest name, and an image with its digest.
pub(crate) const VALUE_BYTES: usize = 512;

/// Puts the pieces of one value together, up to 512 bytes.
#[derive(Default)]
pub struct Collector {
    /// On the heap and only as long as it needs to be: readers lie in the futures of the agent, where they count always.
    buffer: Vec<u8>,
    overflow: bool,
    done: bool,
}

impl Collector {
    // Called by every sink, so never inlined; nor are the others here.
    /// Takes a piece. With the last one returns the value: `Some(None)` where it was too long or no UTF-8.
    #[inline(never)]
    pub fn push(&mut self, piece: &[u8], last: bool) -> Option<Option<&str>> {
        if core::mem::take(&mut self.done) {
            self.buffer.clear();
            self.overflow = false;
        }
        append(&mut self.buffer, piece, VALUE_BYTES, &mut self.overflow);
        self.done = last;
        last.then(|| {
            if self.overflow {
                None
            } else {
                core::str::from_utf8(&self.buffer).ok()
            }
        })
    }
}

/// Appends `piece`, unless there would be more than `limit` bytes.
#[inline(never)]
pub(crate) fn append(buffer: &mut Vec<u8>, piece: &[u8], limit: usize, overflow: &mut bool) {
    if piece.len() > limit.saturating_sub(buffer.len()) {
        *overflow = true;
    } else {
        buffer.extend_from_slice(piece);
    }
}

/// Replaces a value that is kept; see [`keep`].
#[inline(never)]
pub(crate) fn set(place: &mut Box<str>, value: Option<&str>) {
    *place = keep(value);
}

/// Copies a value that is kept; one that was too long becomes empty, which no name, image or version is.
#[inline(never)]
pub(crate) fn keep(value: Option<&str>) -> Box<str> {
    value.unwrap_or_default().into()
}

/// Reads a whole number, decimal or hexadecimal. Not inlined, and for one width, since all numbers are read by it.
#[inline(never)]
pub fn integer(text: &str, radix: u32) -> Option<i64> {
    i64::from_str_radix(text, radix).ok()
}

/// Reads a whole number that is kept.
#[inline(never)]
pub(crate) fn whole(value: Option<&str>) -> Option<u32> {
    u32::try_from(integer(value?, 10)?).ok()
}
