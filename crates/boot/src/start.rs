//! What the bootloader starts.

use crate::log::{BootLog, LogError};
use crate::state::{MAX_ATTEMPTS, MAX_RESTARTS, Reason, Slot, State, Trial};
use embedded_storage::nor_flash::NorFlash;

/// What caused the reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResetCause {
    /// Power-on, brown-out, RUN pin or debugger: it says nothing about the firmware. So does the reset of a program that the
    /// bootloader did not start.
    External,
    /// The watchdog's timer ran out.
    Watchdog,
    /// Software asked the watchdog for a reset: a requested restart, a panic or a fault.
    Forced,
}

/// What to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// The image in a slot.
    Slot(Slot),
    /// The boot ROM's USB drive: no slot may start.
    UsbDrive,
}

/// What the bootloader does, by its rules alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The state to append, if it is not the last one.
    pub state: State,
    /// What to start then.
    pub start: Start,
    /// What to start if the state cannot be appended.
    pub otherwise: Start,
}

/// Decides what to start after the last entry `state`. `has_image` says by [`Slot::index`] which slots have an image.
pub fn decide(state: State, cause: ResetCause, has_image: [bool; 2]) -> Decision {
    // At most one entry is appended: a slot that a revert leaves behind is scratch, and no fallback.
    let (fallback, otherwise) = confirmed_start(state, has_image);
    let Some(trial) = state.trial else {
        return Decision {
            state: fallback,
            start: otherwise,
            otherwise,
        };
    };
    let slot = state.confirmed.other();
    let next = if has_image[slot.index()] {
        next_trial(trial, cause)
    } else {
        Err(Reason::NO_IMAGE)
    };
    match next {
        Ok(trial) => Decision {
            state: State {
                trial: Some(trial),
                ..state
            },
            start: Start::Slot(slot),
            otherwise,
        },
        Err(reason) => Decision {
            state: state.reverted(reason),
            start: otherwise,
            otherwise,
        },
    }
}

/// The trial with one more start, or why it is reverted.
fn next_trial(trial: Trial, cause: ResetCause) -> Result<Trial, Reason> {
    let cause = if trial.attempts == 0 {
        ResetCause::External
    } else {
        cause
    };
    let (attempts, restarts) = match cause {
        ResetCause::External if trial.attempts < MAX_ATTEMPTS => (trial.attempts + 1, trial.restarts),
        ResetCause::External => return Err(Reason::POWER_LOST),
        ResetCause::Watchdog => return Err(Reason::WATCHDOG),
        ResetCause::Forced if !trial.restart_requested => return Err(Reason::CRASHED),
        ResetCause::Forced if trial.restarts < MAX_RESTARTS => (trial.attempts, trial.restarts + 1),
        ResetCause::Forced => return Err(Reason::RESTARTS),
    };
    Ok(Trial {
        attempts,
        restarts,
        restart_requested: false,
    })
}

/// Starts the confirmed slot. Where it has no image, the other one if it was confirmed before and not written to since.
fn confirmed_start(state: State, has_image: [bool; 2]) -> (State, Start) {
    let other = state.confirmed.other();
    if has_image[state.confirmed.index()] {
        (state, Start::Slot(state.confirmed))
    } else if has_image[other.index()] && !state.is_scratch(other) && state.trial.is_none() {
        (state.without_image(), Start::Slot(other))
    } else {
        (state, Start::UsbDrive)
    }
}

/// Reads the boot log, decides what to start and appends the decision. A trial starts only if that succeeded.
///
/// # Errors
/// The log cannot be read: nothing is known about either slot, and only a reset can help.
pub fn start<F: NorFlash>(
    flash: F,
    cause: ResetCause,
    has_image: [bool; 2],
) -> Result<Start, LogError<F::Error>> {
    let mut log = BootLog::open(flash)?;
    let decision = decide(log.state(), cause, has_image);
    Ok(match log.append(decision.state) {
        Ok(()) => decision.start,
        Err(_) => decision.otherwise,
    })
}
