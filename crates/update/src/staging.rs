//! Writing one variant of a firmware file into the slot that does not run.

use crate::{Turn, UpdateError, Updater, Verification};
use alloc::vec::Vec;
use picolet_firmware::{Header, IMAGE_OFFSET, Piece, Reader, Refusal};
use picolet_platform::{FirmwareSlots, SlotError};

const SECTOR: usize = <dyn FirmwareSlots>::SECTOR as usize;
const PAGE: usize = <dyn FirmwareSlots>::PAGE as usize;

/// Firmware that is being staged. Dropped, it leaves the slot as scratch space.
pub struct Staging<'a> {
    updater: &'a Updater<'a>,
    turn: Turn<'a>,
    allow_downgrade: bool,
    reader: Reader<'a>,
    /// Sector 0 of the slot, which is written last, and then the sector that is being filled.
    sectors: Vec<u8>,
    /// Where in the slot the sector that is being filled begins.
    filling: u32,
    is_written: bool,
    counts: Counts,
}

/// Sectors of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sectors that were erased or programmed.
    pub written: u32,
    /// Sectors whose content was right.
    pub unchanged: u32,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(updater: &'a Updater<'a>, allow_downgrade: bool) -> Result<Self, UpdateError> {
        if !updater.has_keys() {
            return Err(updater.count(Refusal::NoTrustedKey));
        }
        let (slots, turn) = (updater.slots, updater.turn()?);
        // Nothing is appended before the header was checked.
        slots
            .state()
            .mark_scratch(slots.running())
            .map_err(SlotError::Refused)?;
        let mut sectors = Vec::new();
        sectors
            .try_reserve_exact(2 * SECTOR)
            .map_err(|_| UpdateError::Memory)?;
        sectors.resize(2 * SECTOR, 0xff);
        Ok(Self {
            updater,
            turn,
            allow_downgrade,
            reader: Reader::new(updater.policy(allow_downgrade), slots.running().other()),
            sectors,
            filling: SECTOR as u32,
            is_written: false,
            counts: Counts::default(),
        })
    }

    /// Takes the next bytes of the file. Only whole sectors are written, so that up to 4 KB of them wait in memory.
    ///
    /// # Errors
    /// The firmware is refused, or the slot cannot be written. Begin anew then.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), UpdateError> {
        while !bytes.is_empty() {
            let pushed = self.reader.push(bytes);
            let (count, piece) = pushed.map_err(|refusal| self.updater.count(refusal))?;
            bytes = &bytes[count..];
            match piece {
                Piece::Nothing => {}
                Piece::Block => {
                    self.updater.slots.mark_scratch()?;
                    if let Some(block) = self.reader.block() {
                        self.sectors[..IMAGE_OFFSET].copy_from_slice(block);
                    }
                }
                Piece::Image { offset, bytes } => self.place(offset, bytes)?,
            }
            if self.reader.is_complete() && !self.is_written {
                self.write_rest()?;
            }
        }
        Ok(())
    }

    /// Has the next bytes be those of the variant for this slot, from its first on. Call it when the header was pushed.
    pub fn skip_other_variant(&mut self) {
        self.reader.skip_other_variant();
    }

    /// The header, once it was checked.
    pub fn header(&self) -> Option<&Header> {
        self.reader.header()
    }

    /// Whether the variant is complete and written. What follows in the file need not be pushed.
    pub fn is_complete(&self) -> bool {
        self.is_written
    }

    /// Sectors so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Ends staging, and verifies what lies in flash. The buffers are freed.
    ///
    /// # Errors
    /// Bytes are missing, or header and signature do not lie in flash as they were received.
    pub fn verify(self) -> Result<Verification<'a>, UpdateError> {
        if !self.is_written {
            return Err(UpdateError::Incomplete);
        }
        Verification::new(self.updater, self.turn, self.allow_downgrade)
    }

    fn place(&mut self, mut offset: u32, mut bytes: &[u8]) -> Result<(), UpdateError> {
        while !bytes.is_empty() {
            let within = offset as usize % SECTOR;
            let is_first = offset < SECTOR as u32;
            let start = if is_first { within } else { SECTOR + within };
            let count = bytes.len().min(SECTOR - within);
            self.sectors[start..start + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            offset += count as u32;
            if !is_first && within + count == SECTOR {
                self.write(1)?;
                self.filling = offset;
            }
        }
        Ok(())
    }

    /// Writes what is left: the end of the image, and sector 0.
    fn write_rest(&mut self) -> Result<(), UpdateError> {
        let slot = self.updater.slots.running().other();
        let length = self
            .reader
            .header()
            .map_or(0, |header| header.variant(slot).length);
        if self.filling < IMAGE_OFFSET as u32 + length {
            self.write(1)?;
        }
        self.filling = 0;
        self.write(0)?;
        self.is_written = true;
        Ok(())
    }

    /// Writes a buffered sector, if flash does not hold it already. What comes into its buffer next is of the sector behind it.
    fn write(&mut self, buffer: usize) -> Result<(), UpdateError> {
        let slots = self.updater.slots;
        let sector = &mut self.sectors[buffer * SECTOR..][..SECTOR];
        let (mut is_same, mut is_erased) = (true, true);
        for (page, offset) in sector.chunks(PAGE).zip((self.filling..).step_by(PAGE)) {
            let mut found = [0; PAGE];
            slots.read(slots.running().other(), offset, &mut found)?;
            is_same &= page == found;
            is_erased &= is_blank(&found);
        }
        if is_same {
            self.counts.unchanged += 1;
        } else {
            if !is_erased {
                slots.erase(self.filling)?;
            }
            for (page, offset) in sector.chunks(PAGE).zip((self.filling..).step_by(PAGE)) {
                if !is_blank(page) {
                    slots.program(offset, page)?;
                }
            }
            self.counts.written += 1;
        }
        sector.fill(0xff);
        Ok(())
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xff)
}
