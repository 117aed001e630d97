//! The boot log, and which of two firmware slots a board starts.
//!
//! The bootloader calls [`start`]. Firmware opens the [`BootLog`], derives the next [`State`] from the last one by the methods
//! of `State`, and appends it. The byte format and all rules are in `docs/firmware-format.md`.
//!
//! This crate reads and writes the two sectors of the log and nothing else. It never looks into a slot, never verifies
//! firmware, and never resets: that is for its callers. It does not allocate and does not panic, whatever the flash holds.
#![no_std]
#![forbid(unsafe_code)]

mod log;
mod start;
mod state;

pub use log::{BootLog, ENTRY, LogError};
pub use start::{Decision, ResetCause, Start, decide, start};
pub use state::{ContentName, MAX_ATTEMPTS, MAX_RESTARTS, MAX_ROUNDS, Reason, Refusal, Slot, State, Trial};
