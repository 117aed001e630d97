//! The radio's firmware, as it lies in a region of flash of its own, beside the slots of ours.
//!
//! A header of 32 bytes, then three pieces, each at a multiple of four: firmware, table of countries, parameters of the board. The
//! firmware is a DEFLATE stream with a window of [`WINDOW`] bytes. All numbers are little-endian words: magic, the lengths of the three
//! as they are stored, a CRC-32 of all three, the [name](Radio::name), one that is zero, and a CRC-32 of the header. The firmware is
//! somebody else's and is never looked into.

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable, Table};
use picolet_inflate::{Inflater, Ring, Window};
use sha2::{Digest, Sha256};

const MAGIC: u32 = u32::from_le_bytes(*b"cyw2");
/// Bytes of the window of the compressed firmware.
pub const WINDOW: usize = 4096;
const HEADER: usize = 32;

/// The three pieces, each at an address that a driver can read words from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Radio<'a> {
    /// What the radio's processor runs, compressed. [`Firmware`] decompresses it.
    pub firmware: &'a [u8],
    /// What it may send where: the country locale matrix.
    pub countries: &'a [u8],
    /// What it must know of the board: the NVRAM, as [`parameters`] makes it.
    pub parameters: &'a [u8],
    /// What firmware names it by that needs this one: [`name`].
    pub name: [u8; 4],
}

/// The first bytes of the SHA-256 of the radio's firmware, its table of countries and its parameters, one behind the other and not
/// compressed.
#[must_use]
pub fn name(firmware: &[u8], countries: &[u8], parameters: &[u8]) -> [u8; 4] {
    let mut hash = Sha256::new();
    for piece in [firmware, countries, parameters] {
        hash.update(piece);
    }
    let hash = hash.finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The radio's firmware, decompressed piece by piece. It takes 7 KB.
pub struct Firmware<'a> {
    compressed: &'a [u8],
    inflater: Inflater,
    window: Ring<WINDOW>,
    is_done: bool,
}

impl<'a> Firmware<'a> {
    /// The firmware whose compressed form is [`Radio::firmware`].
    #[must_use]
    pub fn new(compressed: &'a [u8]) -> Self {
        Self {
            compressed,
            inflater: Inflater::new(),
            window: Ring::new(),
            is_done: false,
        }
    }

    /// The next piece: [`WINDOW`] bytes, less at the end, then none. `None` if the stream is damaged.
    pub fn next_piece(&mut self) -> Option<&[u8]> {
        self.window.take();
        if !self.is_done {
            let progress = self.inflater.inflate(self.compressed, &mut self.window).ok()?;
            self.compressed = self.compressed.get(progress.used..)?;
            self.is_done = progress.is_done;
            if !self.is_done && self.window.room() > 0 {
                return None;
            }
        }
        Some(self.window.output())
    }
}

/// Why a region is not a radio's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RadioError {
    /// There is nothing, or something else.
    Absent,
    /// It is damaged.
    Damaged,
}

impl fmt::Display for RadioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "there is no radio firmware: drag the whole image onto the board",
            Self::Damaged => "the radio firmware is damaged: drag the whole image onto the board",
        })
    }
}

impl core::error::Error for RadioError {}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

impl<'a> Radio<'a> {
    /// Finds the three pieces in a region, and checks that its header is whole. What is checked of the pieces is
    /// [`Radio::is_whole`]'s.
    ///
    /// # Errors
    /// It is not there or damaged.
    pub fn find(region: &'a [u8]) -> Result<Self, RadioError> {
        let (header, rest) = region.split_at_checked(HEADER).ok_or(RadioError::Absent)?;
        let word = |n: usize| {
            let bytes = header
                .get(4 * n..4 * n + 4)
                .and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        if word(0) != MAGIC {
            return Err(RadioError::Absent);
        }
        if word(7) != slow(&header[..28]) {
            return Err(RadioError::Damaged);
        }
        let mut rest = rest;
        let mut pieces = [&[][..]; 3];
        for (n, piece) in pieces.iter_mut().enumerate() {
            let length = word(n + 1) as usize;
            let end = length.checked_next_multiple_of(4).ok_or(RadioError::Damaged)?;
            let (this, others) = rest.split_at_checked(end).ok_or(RadioError::Damaged)?;
            (*piece, rest) = (&this[..length], others);
        }
        let [firmware, countries, parameters] = pieces;
        Ok(Self {
            firmware,
            countries,
            parameters,
            name: word(5).to_le_bytes(),
        })
    }

    /// Whether the pieces of this region are what was put there. It reads all of them.
    pub fn is_whole(&self, region: &[u8]) -> bool {
        region
            .get(16..20)
            .is_some_and(|check| check == self.sum().to_le_bytes())
    }

    fn sum(&self) -> u32 {
        const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);
        let mut digest = CRC.digest();
        for piece in [self.firmware, self.countries, self.parameters] {
            digest.update(piece);
        }
        digest.finalize()
    }

    /// What to write into the region, byte by byte.
    pub fn region(&self) -> impl Iterator<Item = u8> + use<'a> {
        let pieces = [self.firmware, self.countries, self.parameters];
        let mut header = [0; HEADER];
        let lengths = pieces.map(|piece| piece.len() as u32);
        let name = u32::from_le_bytes(self.name);
        let words = [MAGIC, lengths[0], lengths[1], lengths[2], self.sum(), name, 0];
        for (place, word) in header.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let check = slow(&header[..28]);
        header[28..].copy_from_slice(&check.to_le_bytes());
        let padded = |piece: &'a [u8]| {
            let padding = aligned(piece.len()) - piece.len();
            piece.iter().copied().chain(core::iter::repeat_n(0, padding))
        };
        header.into_iter().chain(pieces.into_iter().flat_map(padded))
    }
}

fn slow(header: &[u8]) -> u32 {
    Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC).checksum(header)
}

/// Makes the parameters out of readable text: a line `key=value` each, comments behind `#`. The radio wants them
/// ended by zeros, with another zero at the end.
pub fn parameters(text: &str) -> impl Iterator<Item = u8> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .flat_map(|line| line.bytes().chain([0]))
        .chain([0])
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn parameters_are_made_of_text() {
        let made: Vec<u8> =
            parameters("# board\nNVRAMRev=$Rev$\n\n  boardrev=0x1100 # of a Pico W\n").collect();
        assert_eq!(made, b"NVRAMRev=$Rev$\0boardrev=0x1100\0\0");
    }

    #[test]
    fn an_erased_region_holds_nothing() {
        assert_eq!(Radio::find(&[0xff; 4096]), Err(RadioError::Absent));
        assert_eq!(Radio::find(&[]), Err(RadioError::Absent));
    }

    /// A stored block of `length` bytes (RFC 1951, 3.2.4), the last one.
    fn stored(bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len() as u16;
        let mut stream = std::vec![1];
        stream.extend(length.to_le_bytes());
        stream.extend((!length).to_le_bytes());
        stream.extend(bytes);
        stream
    }

    #[test]
    fn firmware_comes_in_pieces_of_the_window_when_it_is_longer() {
        for length in [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW] {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 % 251) as u8).collect();
            let stream = stored(&bytes);
            let (mut firmware, mut found) = (Firmware::new(&stream), Vec::new());
            loop {
                let piece = firmware.next_piece().expect("it is whole");
                if piece.is_empty() {
                    break;
                }
                assert!(piece.len() == WINDOW || found.len() + piece.len() == length);
                found.extend_from_slice(piece);
            }
            assert_eq!(found, bytes);
            assert_eq!(firmware.next_piece(), Some(&[][..]));
        }
    }

    #[test]
    fn firmware_is_damaged_when_its_stream_is_cut() {
        let stream = stored(&[7; 2 * WINDOW]);
        let mut firmware = Firmware::new(&stream[..stream.len() - 1]);
        assert!(firmware.next_piece().is_some());
        assert_eq!(firmware.next_piece(), None);
        assert_eq!(Firmware::new(&[7]).next_piece(), None);
    }

    proptest! {
        #[test]
        fn what_was_put_there_is_found(
            firmware in prop::collection::vec(any::<u8>(), 0..99),
            countries in prop::collection::vec(any::<u8>(), 0..99),
            parameters in prop::collection::vec(any::<u8>(), 0..99),
            erased in 0_usize..99,
        ) {
            let radio = Radio { firmware: &firmware, countries: &countries, parameters: &parameters, name: *b"name" };
            let mut region: Vec<u8> = radio.region().collect();
            prop_assert_eq!(region.len() % 4, 0);
            region.extend(core::iter::repeat_n(0xff, erased));
            let found = Radio::find(&region).expect("it was put there");
            prop_assert_eq!(found, radio);
            prop_assert!(found.is_whole(&region));
        }

        /// A bit that flips is found, wherever it is, except in the padding.
        #[test]
        fn damage_is_found(firmware in prop::collection::vec(any::<u8>(), 1..99), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let radio = Radio { firmware: &firmware, countries: b"1234", parameters: b"1234", name: *b"name" };
            let mut region: Vec<u8> = radio.region().collect();
            let at = at.index(region.len());
            region[at] ^= 1 << bit;
            let found = Radio::find(&region);
            let padding = (HEADER + firmware.len()..HEADER + aligned(firmware.len())).contains(&at);
            prop_assert_eq!(found.is_ok_and(|found| found.is_whole(&region)), padding);
        }

        #[test]
        fn any_region_is_judged(region in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut region = region;
            if let Some(magic) = region.get_mut(..4) {
                magic.copy_from_slice(&MAGIC.to_le_bytes());
            }
            if region.len() >= HEADER {
                let check = slow(&region[..28]);
                region[28..32].copy_from_slice(&check.to_le_bytes());
            }
            let _ = Radio::find(&region);
        }
    }
}
