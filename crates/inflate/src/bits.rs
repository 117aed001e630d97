//! Bits of the input, least significant first.

/// The input of one call, and the bits that earlier calls left over.
pub(crate) struct Bits<'a> {
    pub(crate) held: Held,
    input: &'a [u8],
    position: usize,
}

/// Bits that were read and not used, the first one lowest. The bits above `count` are zero.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    bits: u32,
    count: u32,
}

impl Held {
    pub(crate) const NONE: Self = Self { bits: 0, count: 0 };
}

impl<'a> Bits<'a> {
    pub(crate) fn new(held: Held, input: &'a [u8]) -> Self {
        Self {
            held,
            input,
            position: 0,
        }
    }

    /// Reads bytes until `count` bits are held; at most 25. False if the input ends before.
    #[inline]
    pub(crate) fn has(&mut self, count: u32) -> bool {
        while self.held.count < count {
            let Some(byte) = self.input.get(self.position) else {
                return false;
            };
            self.position += 1;
            self.held.bits |= u32::from(*byte) << self.held.count;
            self.held.count += 8;
        }
        true
    }

    /// The bits that are held, with zeros above them.
    #[inline]
    pub(crate) fn peek(&self) -> u32 {
        self.held.bits
    }

    /// How many bits are held.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.held.count
    }

    /// Drops bits that are held.
    #[inline]
    pub(crate) fn skip(&mut self, count: u32) {
        self.held.bits >>= count;
        self.held.count -= count;
    }

    /// Reads a number of at most 16 bits.
    #[inline]
    pub(crate) fn take(&mut self, count: u32) -> Option<u32> {
        if !self.has(count) {
            return None;
        }
        let bits = self.held.bits & ((1 << count) - 1);
        self.skip(count);
        Some(bits)
    }

    /// Drops the rest of the byte that was begun.
    pub(crate) fn align(&mut self) {
        self.skip(self.held.count % 8);
    }

    /// Gives whole bytes that are held back to the input, as far as they came from it, and returns how much of it is used.
    pub(crate) fn give_back(&mut self) -> usize {
        while self.held.count >= 8 && self.position > 0 {
            self.position -= 1;
            self.held.count -= 8;
        }
        self.held.bits &= (1 << self.held.count) - 1;
        self.position
    }
}
