//! Canonical Huffman codes.

use crate::bits::Bits;

/// Codes of up to this many bits are looked up; longer ones are rare and found bit by bit.
const FAST: u32 = 8;
/// Bits of the longest code.
const LONGEST: usize = 15;
/// Symbols of the largest alphabet.
pub(crate) const SYMBOLS: usize = 288;

/// A code for up to [`SYMBOLS`] symbols.
pub(crate) struct Code {
    /// By the next [`FAST`] bits: symbol and length of the code, 0 where it is longer or not assigned.
    fast: [u16; 1 << FAST],
    /// How many codes have each length.
    counts: [u16; LONGEST + 1],
    /// The symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
}

/// Why no symbol was read.
pub(crate) enum NoSymbol {
    /// The input ends before its code does.
    Input,
    /// The bits are no code.
    Invalid,
}

impl Code {
    pub(crate) const fn new() -> Self {
        Self {
            fast: [0; 1 << FAST],
            counts: [0; LONGEST + 1],
            symbols: [0; SYMBOLS],
        }
    }

    /// Assigns codes by their lengths, 0 for a symbol without a code. Returns whether the code is complete: each sequence of bits
    /// is one. A code for one symbol, of one bit, and a code for none count as complete if `may_be_partial`.
    #[must_use]
    pub(crate) fn assign(&mut self, lengths: &[u8], may_be_partial: bool) -> bool {
        self.counts = [0; LONGEST + 1];
        self.fast = [0; 1 << FAST];
        for length in lengths {
            self.counts[usize::from(*length) % (LONGEST + 1)] += 1;
        }
        let used = lengths.len() as u16 - self.counts[0];
        self.counts[0] = 0;
        // Codes of each length that are not taken by shorter ones, and the next code and place of that length.
        let (mut free, mut code, mut place) = (1_i32, 0_u16, 0_u16);
        let (mut codes, mut places) = ([0_u16; LONGEST + 1], [0_u16; LONGEST + 1]);
        for length in 1..=LONGEST {
            let count = self.counts[length];
            free = free * 2 - i32::from(count);
            if free < 0 {
                return false;
            }
            code <<= 1;
            (codes[length], places[length]) = (code, place);
            code = code.wrapping_add(count);
            place += count;
        }
        for (symbol, length) in (0_u16..).zip(lengths) {
            let length = usize::from(*length) % (LONGEST + 1);
            if length == 0 {
                continue;
            }
            if let Some(entry) = self.symbols.get_mut(usize::from(places[length])) {
                *entry = symbol;
            }
            places[length] += 1;
            let code = codes[length];
            codes[length] += 1;
            if length as u32 <= FAST {
                let first = usize::from(code.reverse_bits() >> (16 - length));
                for entry in self.fast.iter_mut().skip(first).step_by(1 << length) {
                    *entry = symbol << 4 | length as u16;
                }
            }
        }
        free == 0 || may_be_partial && (used == 0 || used == 1 && self.counts[1] == 1)
    }

    /// Reads a symbol. Reads no byte behind the one in which its code ends.
    #[inline]
    pub(crate) fn read(&self, bits: &mut Bits<'_>) -> Result<u16, NoSymbol> {
        loop {
            let entry = self.fast[bits.peek() as usize % (1 << FAST)];
            let length = u32::from(entry & 15);
            if length != 0 && length <= bits.count() {
                bits.skip(length);
                return Ok(entry >> 4);
            }
            if length == 0 && bits.count() >= FAST {
                return self.read_long(bits);
            }
            if !bits.has(bits.count() + 1) {
                return Err(NoSymbol::Input);
            }
        }
    }

    /// Reads a symbol bit by bit.
    #[inline(never)]
    fn read_long(&self, bits: &mut Bits<'_>) -> Result<u16, NoSymbol> {
        let (mut code, mut first, mut index) = (0_u32, 0_u32, 0_u32);
        for length in 1..=LONGEST as u32 {
            if !bits.has(length) {
                return Err(NoSymbol::Input);
            }
            code |= bits.peek() >> (length - 1) & 1;
            let count = u32::from(self.counts[length as usize]);
            if code < first + count {
                bits.skip(length);
                let symbol = self.symbols.get((index + code - first) as usize);
                return symbol.copied().ok_or(NoSymbol::Invalid);
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        Err(NoSymbol::Invalid)
    }
}
