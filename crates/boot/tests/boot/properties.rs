//! Any content of the log at all.

use crate::flash::Flash;
use picolet_boot::{BootLog, ENTRY, ResetCause, Slot, Start, State, start};
use proptest::prelude::*;

type Small = Flash<{ 4 * ENTRY }>;

/// Entries whose CRC is right and whose fields are near to what is valid.
fn entry() -> impl Strategy<Value = [u8; ENTRY]> {
    let fields = (
        0..8_u32,
        0..64_u8,
        0..5_u8,
        0..9_u8,
        0..4_u8,
        0x0f..0x15_u8,
        0..3_u8,
    );
    fields.prop_map(|(sequence, flags, attempts, restarts, reason, round, name)| {
        let mut bytes = [0; ENTRY];
        bytes[..4].copy_from_slice(&sequence.to_le_bytes());
        bytes[4..12].copy_from_slice(&[flags, attempts | restarts << 4, reason, round, 0, 0, 0, name]);
        let sum = crate::format::crc32(&bytes[..12]);
        bytes[12..].copy_from_slice(&sum.to_le_bytes());
        bytes
    })
}

fn place() -> impl Strategy<Value = [u8; ENTRY]> {
    prop_oneof![4 => entry(), 1 => any::<[u8; ENTRY]>(), 2 => Just([0xff; ENTRY])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn bootloader_starts_only_what_an_entry_allows(
        places in proptest::collection::vec(place(), 8),
        cause in prop_oneof![Just(ResetCause::External), Just(ResetCause::Watchdog), Just(ResetCause::Forced)],
        has_image in any::<[bool; 2]>(),
    ) {
        let mut flash = Small::with_bytes(places.concat());
        let state = BootLog::open(&mut flash).expect("the flash can be read").state();
        let started = start(&mut flash, cause, has_image).expect("the flash can be read");
        if let Start::Slot(slot) = started {
            prop_assert!(has_image[slot.index()]);
            prop_assert!(!state.is_scratch(slot));
        }
        let after = BootLog::open(&mut flash).expect("the flash can be read").state();
        // What starts next, without another reset of the firmware's, is the same or its trial goes on.
        prop_assert!(after == state || flash.operations > 0);
        prop_assert!(started == Start::UsbDrive || started == Start::Slot(after.confirmed)
            || started == after.trial_slot().map_or(Start::UsbDrive, Start::Slot));
    }

    #[test]
    fn firmware_cannot_write_to_the_slot_that_starts(
        places in proptest::collection::vec(place(), 8),
        running in prop_oneof![Just(Slot::A), Just(Slot::B)],
    ) {
        let state: State = BootLog::open(Small::with_bytes(places.concat())).expect("the flash can be read").state();
        if let Some(slot) = state.writable(running) {
            prop_assert!(slot != running && slot != state.confirmed && state.trial.is_none());
            prop_assert!(state.is_scratch(slot));
        }
    }

    #[test]
    fn what_firmware_appends_is_read_back(
        places in proptest::collection::vec(place(), 8),
        running in prop_oneof![Just(Slot::A), Just(Slot::B)],
        change in 0..6_u8,
    ) {
        let mut flash = Small::with_bytes(places.concat());
        let mut log = BootLog::open(&mut flash).expect("the flash can be read");
        let state = log.state();
        let name = picolet_boot::ContentName::from_digest(&[3; 32]);
        let next = match change {
            0 => state.mark_scratch(running),
            1 => state.start_trial(running, name),
            2 => state.repeat_trial(running, state.name.unwrap_or(name)),
            3 => state.request_restart(running),
            4 => state.confirm(running),
            _ => state.revert(running, picolet_boot::Reason(77)),
        };
        if let Ok(next) = next {
            log.append(next).expect("appended");
            prop_assert_eq!(BootLog::open(&mut flash).expect("the flash can be read").state(), next);
        }
    }
}
