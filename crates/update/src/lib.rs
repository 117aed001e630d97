//! Staging firmware into the slot that does not run, and asking for its trial.
//!
//! An [`Updater`] knows what the board is and which keys it trusts. [`Updater::stage`] takes a firmware file in pieces of any
//! length, from whatever brings it, and writes one variant of it; [`Updater::verify`] reads the slot back and puts it on trial.
//! [`console`] is the way over a serial line. The order of writes is in `docs/firmware-format.md`.
//!
//! Nothing is written before header and signature were checked. A sector whose content is right already is not written again, and
//! no sector is erased twice in an update. Staging takes less than 12 KB of heap and at rest nothing.
//!
//! This crate has no I/O of its own and never waits: a call blocks for as long as flash takes for one sector.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod console;
mod staging;
#[cfg(feature = "testing")]
pub mod testing;
mod verification;

pub use staging::Staging;
pub use verification::Verification;

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use picolet_boot::{ContentName, Slot};
use picolet_firmware::{Board, Header, IMAGE_OFFSET, Policy, Refusal, SignedHeader, TrustedKey};
use picolet_platform::{Firmware, FirmwareSlots, SlotError};

/// Why firmware was not staged or not put on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// The board does not take the firmware.
    Refused(Refusal),
    /// Boot log or flash do not allow it.
    Slot(SlotError),
    /// Another update is under way.
    Busy,
    /// There is no memory for it now.
    Memory,
    /// Bytes are missing.
    Incomplete,
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Slot(error) => error.fmt(f),
            Self::Busy => f.write_str("another firmware update is under way"),
            Self::Memory => f.write_str("not enough memory for a firmware update: try again"),
            Self::Incomplete => f.write_str("firmware is not complete"),
        }
    }
}

impl core::error::Error for UpdateError {}

impl From<Refusal> for UpdateError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<SlotError> for UpdateError {
    fn from(error: SlotError) -> Self {
        Self::Slot(error)
    }
}

/// What updates of a board go by. One is staged or verified at a time.
pub struct Updater<'a> {
    slots: &'a dyn FirmwareSlots,
    keys: Vec<TrustedKey>,
    board: Board,
    security: u32,
    is_busy: Cell<bool>,
    refused: Cell<u32>,
}

/// The one staging or verification that is under way.
struct Turn<'a>(&'a Cell<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<'a> Updater<'a> {
    /// Updates of a board that trusts `keys`. Without a key it takes none.
    pub fn new(slots: &'a dyn FirmwareSlots, keys: Vec<TrustedKey>, board: Board) -> Self {
        let running = read_header(slots, slots.running());
        Self {
            slots,
            keys,
            board,
            security: running.map_or(0, |header| header.security),
            is_busy: Cell::new(false),
            refused: Cell::new(0),
        }
    }

    /// What the board is.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Whether the board trusts a key, so that it takes updates.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Begins to stage firmware.
    ///
    /// # Errors
    /// The board trusts no key, the running firmware is on trial or was reverted, another update is under way, or there is no memory.
    pub fn stage(&self, allow_downgrade: bool) -> Result<Staging<'_>, UpdateError> {
        Staging::new(self, allow_downgrade)
    }

    /// Begins to verify what lies in the slot that does not run. For a content that was on trial already.
    ///
    /// # Errors
    /// There is no firmware, the board does not take it, or another update is under way.
    pub fn verify(&self) -> Result<Verification<'_>, UpdateError> {
        // Whether it may be older was decided when it was staged.
        Verification::new(self, self.turn()?, true)
    }

    /// Counts firmware that is refused.
    fn count(&self, refusal: Refusal) -> UpdateError {
        self.refused.set(self.refused.get().wrapping_add(1));
        UpdateError::Refused(refusal)
    }

    fn turn(&self) -> Result<Turn<'_>, UpdateError> {
        if self.is_busy.replace(true) {
            return Err(UpdateError::Busy);
        }
        Ok(Turn(&self.is_busy))
    }

    fn policy(&self, allow_downgrade: bool) -> Policy<'_> {
        Policy {
            keys: &self.keys,
            board: &self.board,
            allow_downgrade,
        }
    }
}

impl Firmware for Updater<'_> {
    fn slots(&self) -> &dyn FirmwareSlots {
        self.slots
    }

    fn identify(&self, slot: Slot, version: &mut String) -> Option<ContentName> {
        let header = read_header(self.slots, slot)?;
        version.push_str(header.version.as_str());
        Some(header.name())
    }

    fn security_number(&self) -> u32 {
        self.security
    }

    fn repeat_trial(&self) -> Result<(), SlotError> {
        let repeat = || {
            let mut verification = self.verify()?;
            verification.step(u32::MAX)?;
            verification.repeat_trial()
        };
        repeat().map_err(|error| match error {
            UpdateError::Slot(error) => error,
            _ => SlotError::Damaged,
        })
    }

    fn refused(&self) -> u32 {
        self.refused.get()
    }
}

/// The header in a slot. Nothing is verified: for a slot that was, or for its words only.
pub fn read_header(slots: &dyn FirmwareSlots, slot: Slot) -> Option<Header> {
    let mut block = [0; IMAGE_OFFSET];
    slots.read(slot, 0, &mut block).ok()?;
    SignedHeader::parse(&block).ok().map(|signed| signed.header)
}
