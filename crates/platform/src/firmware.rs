//! The two firmware slots of a board, and its boot log.
//!
//! What the boot log says and which changes are allowed is `picolet-boot`'s; the byte format is in
//! `docs/firmware-format.md`. A machine only stores: it reads and writes the slot that does not run, and appends to the
//! log. What is written there, and when a trial begins and ends, is decided elsewhere.

use alloc::string::String;
use core::fmt;
use picolet_boot::{ContentName, Reason, Refusal, Slot, State};

/// Why a firmware slot or the boot log was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// The boot log does not allow it now.
    Refused(Refusal),
    /// The flash cannot be read, erased or written, or does not hold what was written.
    Flash,
    /// The slot does not hold the firmware that it should.
    Damaged,
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused(Refusal::OnTrial) => "firmware is on trial",
            Self::Refused(Refusal::NotOnTrial) => "firmware is not on trial",
            Self::Refused(Refusal::NotConfirmed) => "the running firmware was reverted: restart the board",
            Self::Refused(Refusal::NotScratch) => "the other firmware slot is in use",
            Self::Refused(Refusal::OtherContent) => "the other firmware slot holds other firmware",
            Self::Refused(Refusal::TooManyRounds) => "firmware was on trial three times",
            Self::Refused(Refusal::NoReason) => "a revert needs a reason",
            Self::Flash => "flash cannot be read or written",
            Self::Damaged => "firmware in the other slot is damaged",
        })
    }
}

impl core::error::Error for SlotError {}

impl From<Refusal> for SlotError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The firmware slots of a board, and its boot log.
///
/// Calls block while flash works: up to 400 ms for a sector, up to 3 ms for a page. Offsets count from the start of a slot.
pub trait FirmwareSlots {
    /// The slot that holds the running firmware.
    fn running(&self) -> Slot;

    /// Bytes of each slot, a multiple of 4,096.
    fn slot_length(&self) -> u32;

    /// The last entry of the boot log, from memory.
    fn state(&self) -> State;

    /// Appends an entry to the boot log. Take `state` from the methods of [`State`], which check that the change is allowed.
    ///
    /// # Errors
    /// The log cannot be written. The last entry counts then.
    fn append(&self, state: State) -> Result<(), SlotError>;

    /// Reads from either slot.
    ///
    /// # Errors
    /// The bytes are not all within the slot, or flash cannot be read.
    fn read(&self, slot: Slot, offset: u32, bytes: &mut [u8]) -> Result<(), SlotError>;

    /// Erases a sector of the slot that does not run. `offset` is a multiple of 4,096.
    ///
    /// # Errors
    /// [`State::writable`] does not name that slot, `offset` is not within it, or flash cannot be erased.
    fn erase(&self, offset: u32) -> Result<(), SlotError>;

    /// Programs erased pages of the slot that does not run. `offset` and the length of `bytes` are multiples of 256.
    ///
    /// # Errors
    /// [`State::writable`] does not name that slot, the bytes are not all within it, or flash cannot be programmed.
    fn program(&self, offset: u32, bytes: &[u8]) -> Result<(), SlotError>;
}

impl dyn FirmwareSlots + '_ {
    /// Bytes that are erased at once.
    pub const SECTOR: u32 = 4096;
    /// Bytes that are programmed at once.
    pub const PAGE: u32 = 256;

    /// Whether the running firmware is on trial. A restart in any state but confirmed may start the other slot.
    pub fn is_on_trial(&self) -> bool {
        self.state().trial_slot() == Some(self.running())
    }

    /// Confirms the running firmware.
    ///
    /// # Errors
    /// It is not on trial, or the log cannot be written.
    pub fn confirm(&self) -> Result<(), SlotError> {
        self.append(self.state().confirm(self.running())?)
    }

    /// Ends the trial of the running firmware. Restart then: the other slot starts.
    ///
    /// # Errors
    /// It is not on trial, or the log cannot be written.
    pub fn revert(&self, reason: Reason) -> Result<(), SlotError> {
        self.append(self.state().revert(self.running(), reason)?)
    }

    /// Records that a restart is on request, where the running firmware is on trial: the trial is repeated. Restart then.
    ///
    /// # Errors
    /// The log cannot be written: the restart ends the trial.
    pub fn request_restart(&self) -> Result<(), SlotError> {
        match self.state().request_restart(self.running()) {
            Ok(state) => self.append(state),
            // Confirmed firmware needs no record.
            Err(_) => Ok(()),
        }
    }

    /// Marks the slot that does not run as scratch: it never starts, and may be written to.
    ///
    /// # Errors
    /// A trial is under way, or the log cannot be written.
    pub fn mark_scratch(&self) -> Result<(), SlotError> {
        self.append(self.state().mark_scratch(self.running())?)
    }

    /// Puts the slot that does not run on trial, as content `name`. Its header, signature and digest must have been verified
    /// from flash. Restart then.
    ///
    /// # Errors
    /// A trial is under way, the slot was not marked as scratch, or the log cannot be written.
    pub fn start_trial(&self, name: ContentName) -> Result<(), SlotError> {
        self.append(self.state().start_trial(self.running(), name)?)
    }

    /// Puts content on trial again that was reverted. It must have been verified from flash again. Restart then.
    ///
    /// # Errors
    /// The slot was written to since, the content was on trial three times, or the log cannot be written.
    pub fn repeat_trial(&self, name: ContentName) -> Result<(), SlotError> {
        self.append(self.state().repeat_trial(self.running(), name)?)
    }
}

/// The firmware of a board, as its node sees it.
pub trait Firmware {
    /// The firmware slots, and the boot log.
    fn slots(&self) -> &dyn FirmwareSlots;

    /// Appends the version in a slot's header to `version`, and returns the name of that content. `None` where there is no header.
    /// What is in the slot that does not run is not verified.
    fn identify(&self, slot: Slot, version: &mut String) -> Option<ContentName>;

    /// The security number of the running firmware.
    fn security_number(&self) -> u32;

    /// Verifies the firmware that was reverted, and puts it on trial again. Restart then. Blocks for up to half a second.
    ///
    /// # Errors
    /// It is not there any more or damaged, was on trial three times, or the boot log cannot be written.
    fn repeat_trial(&self) -> Result<(), SlotError>;

    /// How much firmware was refused since the start.
    fn refused(&self) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    /// A board of which only the log works.
    struct Log {
        running: Slot,
        state: Cell<State>,
    }

    impl FirmwareSlots for Log {
        fn running(&self) -> Slot {
            self.running
        }

        fn slot_length(&self) -> u32 {
            0
        }

        fn state(&self) -> State {
            self.state.get()
        }

        fn append(&self, state: State) -> Result<(), SlotError> {
            self.state.set(state);
            Ok(())
        }

        fn read(&self, _: Slot, _: u32, _: &mut [u8]) -> Result<(), SlotError> {
            Err(SlotError::Flash)
        }

        fn erase(&self, _: u32) -> Result<(), SlotError> {
            Err(SlotError::Flash)
        }

        fn program(&self, _: u32, _: &[u8]) -> Result<(), SlotError> {
            Err(SlotError::Flash)
        }
    }

    #[test]
    fn restart_is_recorded_only_when_firmware_is_on_trial() {
        let name = ContentName::from_digest(&[7; 32]);
        let trial = State::INITIAL.start_trial(Slot::A, name).expect("B is scratch");
        let started = picolet_boot::decide(trial, picolet_boot::ResetCause::External, [true; 2]).state;
        let log = |running, state| Log {
            running,
            state: Cell::new(state),
        };
        let (old, new) = (log(Slot::A, State::INITIAL), log(Slot::B, started));
        let (slots, new_slots): (&dyn FirmwareSlots, &dyn FirmwareSlots) = (&old, &new);
        assert!(!slots.is_on_trial() && new_slots.is_on_trial());
        assert_eq!(slots.request_restart(), Ok(()));
        assert_eq!(old.state.get(), State::INITIAL);
        assert_eq!(new_slots.request_restart(), Ok(()));
        assert!(new.state.get().trial.is_some_and(|trial| trial.restart_requested));
        assert_eq!(slots.confirm(), Err(SlotError::Refused(Refusal::NotOnTrial)));
        assert_eq!(new_slots.confirm(), Ok(()));
        assert_eq!(new.state.get().confirmed, Slot::B);
    }
}
