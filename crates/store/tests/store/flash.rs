//! A NOR flash in memory whose power can be cut in the middle of any operation.

use embedded_storage_async::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use picolet_store::device::WORD;

pub(crate) const SECTOR: usize = 4096;

/// What is left of the operation in which the power went.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tear {
    /// It had not begun.
    Before,
    /// The first so many 256ths of its bytes were done, the byte after them in part.
    Prefix(u8),
    /// So many of its bytes were done.
    Bytes(usize),
    /// Each bit was done or not, by a number.
    Bits(u32),
    /// It was done, and nobody was told.
    After,
}

impl Tear {
    pub(crate) const SOME: [Self; 8] = [
        Self::Before,
        Self::Prefix(0),
        Self::Prefix(3),
        Self::Prefix(128),
        Self::Prefix(255),
        Self::Bits(1),
        Self::Bits(2),
        Self::After,
    ];
}

/// A flash like the one on the boards: sectors of 4 KiB, erased to ones; programming turns ones to zeros.
#[derive(Clone)]
pub(crate) struct Flash {
    pub(crate) bytes: Vec<u8>,
    /// Operations that still succeed, and what becomes of the one after them. Then there is no power.
    pub(crate) cut: Option<(usize, Tear)>,
    /// Programs and erases that were begun.
    pub(crate) operations: usize,
    /// Times that each sector was erased.
    pub(crate) erased: Vec<u32>,
    /// Operations of these kinds fail, and change nothing.
    pub(crate) failing: Failing,
    off: bool,
}

/// What a flash that is broken cannot do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failing {
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    pub(crate) erases: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPower;

impl NorFlashError for NoPower {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl Flash {
    pub(crate) fn new(sectors: usize) -> Self {
        Self {
            bytes: vec![0xff; sectors * SECTOR],
            cut: None,
            operations: 0,
            erased: vec![0; sectors],
            failing: Failing::default(),
            off: false,
        }
    }

    /// The same flash when the power is back.
    pub(crate) fn powered(mut self) -> Self {
        self.cut = None;
        self.off = false;
        self
    }

    /// Turns the bytes from `at` on to `target`, or a part of them if the power goes now.
    fn change(&mut self, at: usize, target: &[u8]) -> Result<(), NoPower> {
        assert!(at + target.len() <= self.bytes.len(), "beyond the flash");
        if self.off {
            return Err(NoPower);
        }
        let tear = match &mut self.cut {
            Some((0, tear)) => Some(*tear),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        self.operations += 1;
        let place = &mut self.bytes[at..at + target.len()];
        let Some(tear) = tear else {
            place.copy_from_slice(target);
            return Ok(());
        };
        self.off = true;
        match tear {
            Tear::Before => {}
            Tear::Prefix(part) => {
                let done = target.len() * usize::from(part) / 256;
                place[..done].copy_from_slice(&target[..done]);
                place[done] = mixed(place[done], target[done], 0b0101_1010);
            }
            Tear::Bytes(done) => {
                let done = done.min(target.len());
                place[..done].copy_from_slice(&target[..done]);
            }
            Tear::Bits(mut seed) => {
                seed = seed.wrapping_mul(0x9e37_79b9) | 1;
                for (byte, target) in place.iter_mut().zip(target) {
                    // xorshift32
                    seed ^= seed << 13;
                    seed ^= seed >> 17;
                    seed ^= seed << 5;
                    *byte = mixed(*byte, *target, seed as u8);
                }
            }
            Tear::After => place.copy_from_slice(target),
        }
        Err(NoPower)
    }
}

fn mixed(from: u8, to: u8, done: u8) -> u8 {
    from & !done | to & done
}

impl ErrorType for Flash {
    type Error = NoPower;
}

impl ReadNorFlash for Flash {
    // As the boards' flash has it.
    const READ_SIZE: usize = WORD;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), NoPower> {
        let at = at as usize;
        assert!(
            at.is_multiple_of(Self::READ_SIZE) && bytes.len().is_multiple_of(Self::READ_SIZE),
            "not aligned"
        );
        bytes.copy_from_slice(&self.bytes[at..at + bytes.len()]);
        if self.off || self.failing.reads {
            Err(NoPower)
        } else {
            Ok(())
        }
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR;

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), NoPower> {
        if self.failing.writes {
            return Err(NoPower);
        }
        let at = at as usize;
        let old = &self.bytes[at..at + bytes.len()];
        assert!(
            old.iter().zip(bytes).all(|(old, new)| old & new == *new),
            "programming cannot turn a zero to a one"
        );
        let bytes = bytes.to_vec();
        self.change(at, &bytes)
    }

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NoPower> {
        if self.failing.erases {
            return Err(NoPower);
        }
        let (from, to) = (from as usize, to as usize);
        assert!(
            from.is_multiple_of(SECTOR) && to.is_multiple_of(SECTOR),
            "not a sector"
        );
        for sector in (from..to).step_by(SECTOR) {
            self.change(sector, &[0xff; SECTOR])?;
            self.erased[sector / SECTOR] += 1;
        }
        Ok(())
    }
}

impl MultiwriteNorFlash for Flash {}
