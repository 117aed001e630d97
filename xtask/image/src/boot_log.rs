//! Boot logs, as firmware and bootloader write them.

use anyhow::{Result, anyhow, ensure};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use picolet_boot::{BootLog, ContentName, Refusal, ResetCause, Slot, State, decide};
use picolet_store::layout::SECTOR;
use std::convert::Infallible;

/// The two sectors of a boot log.
struct Flash(Vec<u8>);

impl ErrorType for Flash {
    type Error = Infallible;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// The boot log of a board on which firmware `name` in `slot` is confirmed, and the other slot is scratch: empty for slot A, the
/// entries of one update for slot B.
///
/// # Errors
/// The boot log does not allow the update: never.
pub fn confirmed(slot: Slot, name: ContentName) -> Result<Vec<u8>> {
    write(&confirmed_states(slot, name)?)
}

/// The boot log of a board on which firmware `name` in `slot` is about to start for its trial.
///
/// # Errors
/// The boot log does not allow the update: never.
pub fn on_trial(slot: Slot, name: ContentName) -> Result<Vec<u8>> {
    let mut states = confirmed_states(slot.other(), name)?;
    let last = states.last().copied().unwrap_or(State::INITIAL);
    states.push(last.start_trial(slot.other(), name).map_err(refused)?);
    write(&states)
}

/// What the last entry of a boot log says.
///
/// # Errors
/// `bytes` are not two sectors.
pub fn read(bytes: &[u8]) -> Result<State> {
    ensure!(bytes.len() == 2 * SECTOR as usize, "{} bytes", bytes.len());
    let log = BootLog::open(Flash(bytes.to_vec())).map_err(|error| anyhow!("boot log: {error:?}"))?;
    Ok(log.state())
}

fn confirmed_states(slot: Slot, name: ContentName) -> Result<Vec<State>> {
    if slot == Slot::A {
        return Ok(Vec::new());
    }
    let trial = State::INITIAL.start_trial(Slot::A, name).map_err(refused)?;
    let started = decide(trial, ResetCause::External, [true; 2]).state;
    let confirmed = started.confirm(slot).map_err(refused)?;
    let scratch = confirmed.mark_scratch(slot).map_err(refused)?;
    Ok(vec![trial, started, confirmed, scratch])
}

fn refused(refusal: Refusal) -> anyhow::Error {
    anyhow!("boot log: {refusal:?}")
}

fn write(states: &[State]) -> Result<Vec<u8>> {
    let mut flash = Flash(vec![0xff; 2 * SECTOR as usize]);
    let mut log = BootLog::open(&mut flash).map_err(|error| anyhow!("boot log: {error:?}"))?;
    for state in states {
        log.append(*state)
            .map_err(|error| anyhow!("boot log: {error:?}"))?;
    }
    Ok(flash.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_says_what_it_was_made_for() {
        let name = ContentName::from_digest(&[7; 32]);
        for slot in [Slot::A, Slot::B] {
            let state = read(&confirmed(slot, name).unwrap()).unwrap();
            assert_eq!((state.confirmed, state.trial), (slot, None));
            assert!(state.is_scratch(slot.other()));
            let state = read(&on_trial(slot, name).unwrap()).unwrap();
            assert_eq!((state.confirmed, state.trial_slot()), (slot.other(), Some(slot)));
        }
    }
}
