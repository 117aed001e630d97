//! Values that are wanted whole.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

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

/// Reads a whole number, decimal or hexadecimal. The one that all are read by: `core`'s takes a third of a kilobyte of
/// flash more, and again for each width.
#[inline(never)]
pub fn integer(text: &str, radix: u32) -> Option<i64> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut magnitude = 0u64;
    for digit in digits {
        // Another digit behind so much is too much for 63 bits in either radix, and still fits into 64.
        if magnitude >> 60 != 0 {
            return None;
        }
        magnitude = magnitude * u64::from(radix) + u64::from(char::from(*digit).to_digit(radix)?);
    }
    if magnitude > i64::MAX as u64 + u64::from(negative) {
        return None;
    }
    let value = magnitude as i64;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// A whole number that may be negative, as text. As with reading, each width that is written takes a third of a kilobyte
/// of flash: so a sign is put in front of the one width that has none.
pub struct Integer(pub i64);

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        self.0.unsigned_abs().fmt(f)
    }
}

/// Reads a whole number that is kept.
#[inline(never)]
pub(crate) fn whole(value: Option<&str>) -> Option<u32> {
    u32::try_from(integer(value?, 10)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, string::ToString};

    #[test]
    fn whole_numbers_to_the_last() {
        for text in [
            "",
            "-",
            "+",
            "--1",
            "1 ",
            "1_0",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(integer(text, 10), None, "{text}");
        }
        assert_eq!(integer("-9223372036854775808", 10), Some(i64::MIN));
        assert_eq!(integer("9223372036854775807", 10), Some(i64::MAX));
        assert_eq!(integer("-8000000000000000", 16), Some(i64::MIN));
        assert_eq!(integer("8000000000000000", 16), None);
        assert_eq!(integer("0000000000000000000000000007", 10), Some(7));
    }

    proptest! {
        #[test]
        fn as_the_standard_library_reads_them(text in "[+-]?[0-9a-f]{0,21}", number in any::<i64>()) {
            for radix in [10, 16] {
                prop_assert_eq!(integer(&text, radix), i64::from_str_radix(&text, radix).ok());
            }
            prop_assert_eq!(Integer(number).to_string(), number.to_string());
            prop_assert_eq!(integer(&number.to_string(), 10), Some(number));
            prop_assert_eq!(integer(&format!("{number:x}"), 16), i64::try_from(number as u64).ok());
        }
    }
}
