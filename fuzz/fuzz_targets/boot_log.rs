//! The boot log: whatever is in it, what starts is what the last entry allows, and what is appended is read back.
#![no_main]

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use libfuzzer_sys::fuzz_target;
use picolet_boot::{BootLog, ContentName, Reason, ResetCause, Slot, Start, State, start};
use std::convert::Infallible;

/// Bytes of a sector: four entries.
const SECTOR: usize = 64;

struct Flash([u8; 2 * SECTOR]);

impl ErrorType for Flash {
    type Error = Infallible;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0[at as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Infallible> {
        for (place, byte) in self.0[at as usize..].iter_mut().zip(bytes) {
            assert_eq!(*place, 0xff, "programmed twice");
            *place = *byte;
        }
        Ok(())
    }
}

fn state(flash: &mut Flash) -> State {
    let log = BootLog::open(flash).expect("the flash can be read");
    log.state()
}

fuzz_target!(|data: &[u8]| {
    let Some((bytes, actions)) = data.split_first_chunk::<{ 2 * SECTOR }>() else {
        return;
    };
    let mut flash = Flash(*bytes);
    // With the right CRC, if a fuzzer cannot find it. The first action says for which entries.
    let Some((mended, actions)) = actions.split_first() else {
        return;
    };
    for (index, entry) in flash.0.chunks_mut(16).enumerate() {
        if mended & 1 << index != 0 {
            let sum = crc32(&entry[..12]);
            entry[12..].copy_from_slice(&sum.to_le_bytes());
        }
    }
    for action in actions.iter().take(64) {
        let before = state(&mut flash);
        let running = if action & 0x80 == 0 { Slot::A } else { Slot::B };
        let name = ContentName::from_digest(&[action & 3; 32]);
        let next = match action & 15 {
            0 => before.mark_scratch(running),
            1 => before.start_trial(running, name),
            2 => before.repeat_trial(running, before.name.unwrap_or(name)),
            3 => before.request_restart(running),
            4 => before.confirm(running),
            5 => before.revert(running, Reason(*action)),
            cause => {
                let cause =
                    [ResetCause::External, ResetCause::Watchdog, ResetCause::Forced][usize::from(cause) % 3];
                let has_image = [action & 0x10 != 0, action & 0x20 != 0];
                let Ok(started) = start(&mut flash, cause, has_image) else {
                    // The sequence number cannot grow any more.
                    continue;
                };
                let after = state(&mut flash);
                if let Start::Slot(slot) = started {
                    assert!(has_image[slot.index()] && !before.is_scratch(slot));
                    // Where the log is full for good, the slot that was confirmed before starts without an entry.
                    let is_fallback = before.trial.is_none() && !has_image[before.confirmed.index()];
                    assert!(
                        slot == before.confirmed
                            || slot == after.confirmed
                            || after.trial_slot() == Some(slot)
                            || is_fallback
                    );
                }
                continue;
            }
        };
        let Ok(next) = next else { continue };
        if let Some(slot) = next.writable(running) {
            assert!(slot != running && next.is_scratch(slot) && next.trial.is_none());
        }
        let mut log = BootLog::open(&mut flash).expect("the flash can be read");
        if log.append(next).is_ok() {
            assert_eq!(state(&mut flash), next);
        } else {
            assert_eq!(state(&mut flash), before);
        }
    }
});

/// CRC-32/ISO-HDLC.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ 0xedb8_8320 & (sum & 1).wrapping_neg();
        }
    }
    !sum
}
