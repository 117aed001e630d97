//! Reading and appending entries.

use crate::state::State;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use embedded_storage::nor_flash::NorFlash;

/// Bytes of an entry.
pub const ENTRY: usize = 16;

const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
const BLANK: [u8; ENTRY] = [0xff; ENTRY];

/// Why the log could not be read or appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError<E> {
    /// The flash driver reports an error.
    Flash(E),
    /// An entry does not read back as it was written.
    Verify,
    /// The sequence number cannot grow any more.
    Exhausted,
    /// The fields of the state do not agree with each other: its entry would not be whole.
    Inconsistent,
}

impl<E> From<E> for LogError<E> {
    fn from(error: E) -> Self {
        Self::Flash(error)
    }
}

/// A whole entry.
#[derive(Clone, Copy)]
struct Entry {
    sequence: u32,
    state: State,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..4].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.state.to_bytes());
        let sum = CRC.checksum(&bytes[..12]);
        bytes[12..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY]) -> Option<Self> {
        let ([sequence, first, second, sum], []) = bytes.as_chunks::<4>() else {
            return None;
        };
        if CRC.checksum(&bytes[..12]) != u32::from_le_bytes(*sum) {
            return None;
        }
        let sequence = u32::from_le_bytes(*sequence);
        let [s0, s1, s2, s3] = *first;
        let [s4, s5, s6, s7] = *second;
        let state = State::from_bytes([s0, s1, s2, s3, s4, s5, s6, s7])?;
        (sequence != 0 && sequence != u32::MAX).then_some(Self { sequence, state })
    }
}

/// What is in one sector.
#[derive(Clone, Copy)]
struct Sector {
    last: Option<Entry>,
    /// Entries from the start of the sector up to its last place that is not blank.
    used: u32,
}

/// The boot log in the first two sectors of `F`.
pub struct BootLog<F> {
    flash: F,
    last: Option<Entry>,
    /// The sector of the last entry: 0 or 1.
    sector: u32,
    /// Where the next entry goes in that sector, counted in entries.
    next: u32,
}

impl<F: NorFlash> BootLog<F> {
    const SECTOR: u32 = F::ERASE_SIZE as u32;
    const PLACES: u32 = Self::SECTOR / ENTRY as u32;

    /// Reads the log.
    ///
    /// # Errors
    /// The flash cannot be read.
    pub fn open(mut flash: F) -> Result<Self, LogError<F::Error>> {
        const {
            assert!(F::ERASE_SIZE.is_multiple_of(ENTRY) && F::ERASE_SIZE >= ENTRY);
            assert!(ENTRY.is_multiple_of(F::WRITE_SIZE) && ENTRY.is_multiple_of(F::READ_SIZE));
        }
        let sectors = [
            Self::read_sector(&mut flash, 0)?,
            Self::read_sector(&mut flash, 1)?,
        ];
        let sequences = sectors.map(|sector| sector.last.map_or(0, |entry| entry.sequence));
        let sector = u32::from(sequences[1] > sequences[0]);
        let Sector { last, used } = sectors[sector as usize];
        Ok(Self {
            flash,
            last,
            sector,
            next: used,
        })
    }

    fn read_sector(flash: &mut F, sector: u32) -> Result<Sector, LogError<F::Error>> {
        let mut used = 0;
        for place in (0..Self::PLACES).rev() {
            let bytes = Self::read_place(flash, sector, place)?;
            if used == 0 && bytes != BLANK {
                used = place + 1;
            }
            let last = Entry::from_bytes(&bytes);
            if last.is_some() {
                return Ok(Sector { last, used });
            }
        }
        Ok(Sector { last: None, used })
    }

    fn read_place(flash: &mut F, sector: u32, place: u32) -> Result<[u8; ENTRY], LogError<F::Error>> {
        let mut bytes = BLANK;
        flash.read(Self::offset(sector, place), &mut bytes)?;
        Ok(bytes)
    }

    const fn offset(sector: u32, place: u32) -> u32 {
        sector * Self::SECTOR + place * ENTRY as u32
    }

    /// What the last entry says.
    pub fn state(&self) -> State {
        self.last.map_or(State::INITIAL, |entry| entry.state)
    }

    /// The sequence number of the last entry, 0 without one.
    pub fn sequence(&self) -> u32 {
        self.last.map_or(0, |entry| entry.sequence)
    }

    /// Appends an entry and reads it back. Does nothing if the last entry says the same.
    ///
    /// # Errors
    /// The flash cannot be erased, written or read, the entry does not read back, the log is at its last sequence number, or
    /// the state is inconsistent.
    /// The state is the one before then, as far as the flash can be read.
    pub fn append(&mut self, state: State) -> Result<(), LogError<F::Error>> {
        if state == self.state() {
            return Ok(());
        }
        if !state.is_consistent() {
            return Err(LogError::Inconsistent);
        }
        let sequence = self.sequence() + 1;
        if sequence == u32::MAX {
            return Err(LogError::Exhausted);
        }
        let entry = Entry { sequence, state };
        let (sector, place) = self.make_room()?;
        // A place that was written to is not used again, whatever became of it.
        (self.sector, self.next) = match self.last {
            Some(_) if sector != self.sector => (self.sector, self.next),
            _ => (sector, place + 1),
        };
        let bytes = entry.to_bytes();
        self.flash.write(Self::offset(sector, place), &bytes)?;
        if Self::read_place(&mut self.flash, sector, place)? != bytes {
            return Err(LogError::Verify);
        }
        (self.last, self.sector, self.next) = (Some(entry), sector, place + 1);
        Ok(())
    }

    /// Returns the sector and the place for the next entry. Never erases the sector of the last entry.
    fn make_room(&mut self) -> Result<(u32, u32), LogError<F::Error>> {
        let sector = match self.last {
            Some(_) if self.next < Self::PLACES => return Ok((self.sector, self.next)),
            Some(_) => 1 - self.sector,
            None if self.next == 0 => return Ok((self.sector, 0)),
            None => self.sector,
        };
        let start = Self::offset(sector, 0);
        self.flash.erase(start, start + Self::SECTOR)?;
        Ok((sector, 0))
    }
}
