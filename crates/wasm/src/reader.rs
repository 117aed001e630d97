//! Reads the parts of a module from bytes that may end at any point.

use crate::error::{ErrorKind, Reason};

/// Why an item could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The item goes on in bytes that have not arrived.
    Incomplete,
    /// The item is wrong, at [`Cursor::error_offset`].
    Error(ErrorKind),
}

impl From<ErrorKind> for Stop {
    fn from(kind: ErrorKind) -> Self {
        Self::Error(kind)
    }
}

pub(crate) type Step<T> = Result<T, Stop>;

/// A position in a piece of a module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of `bytes[0]` in the module.
    base: u32,
    /// Offset of an error that is returned: by default that of `bytes[0]`, where the item starts. It is kept here so that a result
    /// fits in registers.
    error_offset: u32,
    /// Whether `bytes` ends where the section or the function does: then more bytes are no remedy.
    bounded: bool,
}

impl<'a> Cursor<'a> {
    /// Reads `bytes`, which lie at `base` of the module, up to the offset `end` of the module.
    pub(crate) fn new(bytes: &'a [u8], base: u32, end: u32) -> Self {
        let available = end.saturating_sub(base) as usize;
        match bytes.get(..available) {
            Some(bytes) => Self {
                bytes,
                at: 0,
                base,
                error_offset: base,
                bounded: true,
            },
            None => Self {
                bytes,
                at: 0,
                base,
                error_offset: base,
                bounded: false,
            },
        }
    }

    /// Reads a module that is whole, from `offset`.
    pub(crate) fn whole(bytes: &'a [u8], offset: u32) -> Self {
        let start = (offset as usize).min(bytes.len());
        Self {
            bytes: &bytes[start..],
            at: 0,
            base: offset,
            error_offset: offset,
            bounded: true,
        }
    }

    /// Offset in the module.
    pub(crate) fn offset(&self) -> u32 {
        self.base.wrapping_add(self.at as u32)
    }

    pub(crate) fn consumed(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn error_offset(&self) -> u32 {
        self.error_offset
    }

    /// Sets the offset of errors that follow to that of the next byte.
    pub(crate) fn mark(&mut self) {
        self.error_offset = self.offset();
    }

    /// Fails at an offset of the module.
    pub(crate) fn fail_at<T>(&mut self, offset: u32, kind: ErrorKind) -> Step<T> {
        self.error_offset = offset;
        Err(Stop::Error(kind))
    }

    /// Fails at the next byte.
    pub(crate) fn fail<T>(&mut self, kind: ErrorKind) -> Step<T> {
        self.fail_at(self.offset(), kind)
    }

    /// Steps back over the byte that was read last.
    pub(crate) fn back(&mut self) {
        self.at -= 1;
    }

    /// Fails at the byte that was read last.
    pub(crate) fn fail_last<T>(&mut self, kind: ErrorKind) -> Step<T> {
        self.back();
        self.fail(kind)
    }

    pub(crate) fn byte(&mut self) -> Step<u8> {
        let Some(&byte) = self.bytes.get(self.at) else {
            return if self.bounded {
                self.fail(ErrorKind::Malformed(Reason::UnexpectedEnd))
            } else {
                Err(Stop::Incomplete)
            };
        };
        self.at += 1;
        Ok(byte)
    }

    /// Up to `count` of the bytes that are there.
    pub(crate) fn take(&mut self, count: u32) -> &'a [u8] {
        let count = self.remaining().min(count as usize);
        let bytes = &self.bytes[self.at..self.at + count];
        self.at += count;
        bytes
    }

    /// An unsigned number of 32 bits.
    pub(crate) fn u32(&mut self) -> Step<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            if shift == 28 && byte > 0x0f {
                return self.fail_last(ErrorKind::Malformed(Reason::Number));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// A signed number of `bits` (33 or 64, or 32) bits.
    pub(crate) fn signed(&mut self, bits: u32) -> Step<i64> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let left = bits - shift;
            if left < 8 {
                // The unused bits of the last byte must repeat the sign.
                let sign_and_unused = (byte as i8) << 1 >> left;
                if byte >= 0x80 || (sign_and_unused != 0 && sign_and_unused != -1) {
                    return self.fail_last(ErrorKind::Malformed(Reason::Number));
                }
            }
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                if byte & 0x40 != 0 && shift < 64 {
                    value |= u64::MAX << shift;
                }
                return Ok(value as i64);
            }
        }
    }

    /// Bytes of a number in little-endian order.
    pub(crate) fn little_endian(&mut self, bytes: u32) -> Step<u64> {
        let mut value = 0;
        for index in 0..bytes {
            value |= u64::from(self.byte()?) << (8 * index);
        }
        Ok(value)
    }
}

/// Checks UTF-8 that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8 {
    /// Continuation bytes that must follow.
    expected: u8,
    /// Bounds of the next continuation byte: they exclude overlong forms, surrogates and what lies beyond U+10FFFF.
    low: u8,
    high: u8,
}

impl Utf8 {
    /// The first of `bytes` that cannot follow what was checked before.
    pub(crate) fn first_wrong(&mut self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|&byte| !self.accepts_byte(byte))
    }

    /// Whether no character is cut short.
    pub(crate) fn is_complete(&self) -> bool {
        self.expected == 0
    }

    fn accepts_byte(&mut self, byte: u8) -> bool {
        if self.expected > 0 {
            let valid = (self.low..=self.high).contains(&byte);
            (self.low, self.high) = (0x80, 0xbf);
            self.expected -= 1;
            return valid;
        }
        (self.expected, self.low, self.high) = match byte {
            0x00..=0x7f => (0, 0x80, 0xbf),
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return false,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8]) -> Cursor<'_> {
        Cursor::whole(bytes, 0)
    }

    #[test]
    fn unsigned_number_is_refused_when_it_exceeds_32_bits() {
        assert_eq!(whole(&[0xff, 0xff, 0xff, 0xff, 0x0f]).u32(), Ok(u32::MAX));
        assert!(whole(&[0xff, 0xff, 0xff, 0xff, 0x1f]).u32().is_err());
        assert!(whole(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]).u32().is_err());
    }

    #[test]
    fn signed_number_is_refused_when_unused_bits_differ_from_the_sign() {
        assert_eq!(
            whole(&[0x80, 0x80, 0x80, 0x80, 0x78]).signed(32),
            Ok(i64::from(i32::MIN))
        );
        assert_eq!(
            whole(&[0xff, 0xff, 0xff, 0xff, 0x07]).signed(32),
            Ok(i64::from(i32::MAX))
        );
        assert!(whole(&[0xff, 0xff, 0xff, 0xff, 0x0f]).signed(32).is_err());
        assert!(whole(&[0x80, 0x80, 0x80, 0x80, 0x70]).signed(32).is_err());
        assert!(
            whole(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])
                .signed(64)
                .is_err()
        );
    }

    #[test]
    fn number_is_incomplete_when_the_piece_ends_in_it() {
        let mut cursor = Cursor::new(&[0x80], 0, 100);
        assert_eq!(cursor.u32(), Err(Stop::Incomplete));
        let mut cursor = Cursor::new(&[0x80], 0, 1);
        assert!(matches!(cursor.u32(), Err(Stop::Error(_))));
    }

    proptest! {
        #[test]
        fn utf8_agrees_with_the_standard_library_when_cut(bytes in proptest::collection::vec(any::<u8>(), 0..6), cut in 0usize..6) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut utf8 = Utf8::default();
            let valid = utf8.first_wrong(first).or(utf8.first_wrong(second)).is_none() && utf8.is_complete();
            prop_assert_eq!(valid, core::str::from_utf8(&bytes).is_ok());
        }

        #[test]
        fn signed_numbers_are_read_as_written(value: i64) {
            let mut bytes = std::vec::Vec::new();
            let mut rest = value;
            loop {
                let byte = (rest & 0x7f) as u8;
                rest >>= 7;
                if (rest == 0 && byte & 0x40 == 0) || (rest == -1 && byte & 0x40 != 0) {
                    bytes.push(byte);
                    break;
                }
                bytes.push(byte | 0x80);
            }
            prop_assert_eq!(whole(&bytes).signed(64), Ok(value));
        }
    }
}
