//! Verifying what lies in the slot that does not run, and putting it on trial.

use crate::{Turn, UpdateError, Updater};
use picolet_boot::ContentName;
use picolet_firmware::{Header, IMAGE_OFFSET, SlotCheck};

/// Bytes that are read at once.
const PIECE: usize = 256;

/// Firmware in flash that is being verified. Its header and signature were; its digest is, in steps.
pub struct Verification<'a> {
    updater: &'a Updater<'a>,
    check: SlotCheck,
    offset: u32,
    _turn: Turn<'a>,
}

impl<'a> Verification<'a> {
    pub(crate) fn new(
        updater: &'a Updater<'a>,
        turn: Turn<'a>,
        allow_downgrade: bool,
    ) -> Result<Self, UpdateError> {
        let slots = updater.slots;
        let slot = slots.running().other();
        let mut block = [0; IMAGE_OFFSET];
        slots.read(slot, 0, &mut block)?;
        Ok(Self {
            updater,
            check: SlotCheck::new(&block, slot, &updater.policy(allow_downgrade))?,
            offset: IMAGE_OFFSET as u32,
            _turn: turn,
        })
    }

    /// Reads and hashes the next `most` bytes, and returns how many are left. 64 KB take an RP2040 about 25 ms.
    ///
    /// # Errors
    /// Flash cannot be read.
    pub fn step(&mut self, most: u32) -> Result<u32, UpdateError> {
        let slots = self.updater.slots;
        let mut left = most.min(self.check.rest());
        while left > 0 {
            let mut bytes = [0; PIECE];
            let piece = &mut bytes[..PIECE.min(left as usize)];
            slots.read(slots.running().other(), self.offset, piece)?;
            self.check.push(piece);
            self.offset += piece.len() as u32;
            left -= piece.len() as u32;
        }
        Ok(self.check.rest())
    }

    /// The header, once nothing is left.
    ///
    /// # Errors
    /// Not all was read, or the digest is another one.
    pub fn header(&self) -> Result<&Header, UpdateError> {
        Ok(self.check.finish()?)
    }

    fn name(&self) -> Result<ContentName, UpdateError> {
        Ok(self.header()?.name())
    }

    /// Puts the firmware on trial. Restart then.
    ///
    /// # Errors
    /// It is not verified, or the boot log does not allow it or cannot be written.
    pub fn start_trial(self) -> Result<(), UpdateError> {
        Ok(self.updater.slots.start_trial(self.name()?)?)
    }

    /// Puts the firmware on trial again. Restart then.
    ///
    /// # Errors
    /// It is not verified, or the boot log does not allow it or cannot be written.
    pub fn repeat_trial(self) -> Result<(), UpdateError> {
        Ok(self.updater.slots.repeat_trial(self.name()?)?)
    }
}
