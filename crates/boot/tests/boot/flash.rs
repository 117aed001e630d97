//! Two sectors of NOR flash in memory whose power can be cut in the middle of any operation.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

/// What is left of the operation in which the power was cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tear {
    /// Nothing of it was done.
    Before,
    /// The first bytes were done, and the byte after them in part.
    Prefix(usize),
    /// The last bytes were done, and the byte before them in part.
    Suffix(usize),
    /// Each bit was done or not, by a seed.
    Bits(u32),
    /// All of it was done.
    After,
}

impl Tear {
    /// In sixteenths of the length of the operation. `Prefix(4)` ends an entry within its flags, `Prefix(12)` within its CRC.
    pub(crate) const ALL: [Self; 10] = [
        Self::Before,
        Self::Prefix(0),
        Self::Prefix(4),
        Self::Prefix(12),
        Self::Prefix(15),
        Self::Suffix(1),
        Self::Suffix(11),
        Self::Bits(1),
        Self::Bits(2),
        Self::After,
    ];
}

/// The driver reports an error: the power is off, or the flash is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// Operations that fail without a power cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failing {
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    pub(crate) erases: bool,
    /// Programs change nothing and report success.
    pub(crate) ignored: bool,
}

/// Two sectors of `SECTOR` bytes, erased to ones; programming turns ones to zeros.
#[derive(Clone)]
pub(crate) struct Flash<const SECTOR: usize> {
    pub(crate) bytes: Vec<u8>,
    /// Operations that still succeed, and what is left of the one after them. Then the power is off.
    pub(crate) cut: Option<(usize, Tear)>,
    /// Programs and erases that were begun.
    pub(crate) operations: usize,
    /// Erases of each sector.
    pub(crate) erases: [u32; 2],
    pub(crate) failing: Failing,
    pub(crate) is_off: bool,
}

impl<const SECTOR: usize> Flash<SECTOR> {
    pub(crate) fn with_bytes(bytes: Vec<u8>) -> Self {
        assert_eq!(bytes.len(), 2 * SECTOR);
        Self {
            bytes,
            cut: None,
            operations: 0,
            erases: [0; 2],
            failing: Failing::default(),
            is_off: false,
        }
    }

    pub(crate) fn blank() -> Self {
        Self::with_bytes(vec![0xff; 2 * SECTOR])
    }

    /// Turns the bytes from `at` on into `target`, or a part of them if the power is cut.
    fn change(&mut self, at: usize, target: &[u8]) -> Result<(), Failed> {
        if self.is_off {
            return Err(Failed);
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
        self.is_off = tear.is_some();
        let length = target.len();
        let done = |sixteenths: usize| length * sixteenths / 16;
        match tear {
            None | Some(Tear::After) => place.copy_from_slice(target),
            Some(Tear::Before) => {}
            Some(Tear::Prefix(part)) => {
                let done = done(part);
                place[..done].copy_from_slice(&target[..done]);
                place[done] = mix(place[done], target[done], 0b0101_1010);
            }
            Some(Tear::Suffix(part)) => {
                let rest = length - done(part);
                place[rest..].copy_from_slice(&target[rest..]);
                place[rest - 1] = mix(place[rest - 1], target[rest - 1], 0b1010_0101);
            }
            Some(Tear::Bits(seed)) => {
                let mut random = seed.wrapping_mul(0x9e37_79b9) | 1;
                for (byte, target) in place.iter_mut().zip(target) {
                    // xorshift32
                    random ^= random << 13;
                    random ^= random >> 17;
                    random ^= random << 5;
                    *byte = mix(*byte, *target, random as u8);
                }
            }
        }
        if self.is_off { Err(Failed) } else { Ok(()) }
    }
}

/// The bits of `to` where `done` is set, and those of `from` elsewhere.
fn mix(from: u8, to: u8, done: u8) -> u8 {
    from & !done | to & done
}

impl<const SECTOR: usize> ErrorType for Flash<SECTOR> {
    type Error = Failed;
}

impl<const SECTOR: usize> ReadNorFlash for Flash<SECTOR> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        if self.is_off || self.failing.reads {
            return Err(Failed);
        }
        bytes.copy_from_slice(&self.bytes[at as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const SECTOR: usize> NorFlash for Flash<SECTOR> {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        let (from, to) = (from as usize, to as usize);
        assert!(
            from.is_multiple_of(SECTOR) && to == from + SECTOR,
            "one whole sector is erased at a time"
        );
        if self.failing.erases {
            return Err(Failed);
        }
        self.erases[from / SECTOR] += 1;
        self.change(from, &[0xff; SECTOR])
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
        let at = at as usize;
        assert!(
            self.bytes[at..at + bytes.len()].iter().all(|byte| *byte == 0xff),
            "programmed twice at {at:#x}"
        );
        if self.failing.writes {
            return Err(Failed);
        }
        if self.failing.ignored {
            return Ok(());
        }
        self.change(at, bytes)
    }
}
