//! Entries byte by byte, as `docs/firmware-format.md` has them.

use crate::flash::Flash;
use picolet_boot::{BootLog, ContentName, ENTRY, Reason, Slot, State, Trial};

type Sector = Flash<4096>;

/// CRC-32/ISO-HDLC, written down anew.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ 0xedb8_8320 & (sum & 1).wrapping_neg();
        }
    }
    !sum
}

/// An entry, encoded anew from the document.
pub(crate) fn encode(sequence: u32, state: &State) -> [u8; ENTRY] {
    let slot = |slot| if slot == Slot::A { 0 } else { 1 };
    let mut bytes = [0; ENTRY];
    bytes[..4].copy_from_slice(&sequence.to_le_bytes());
    bytes[4] = slot(state.confirmed);
    bytes[4] += 8 * u8::from(state.scratch[0]) + 16 * u8::from(state.scratch[1]);
    if let Some(trial) = state.trial {
        bytes[4] += 2 * (2 - slot(state.confirmed)) + 32 * u8::from(trial.restart_requested);
        bytes[5] = 16 * trial.restarts + trial.attempts;
    }
    bytes[6] = state.reason.0;
    bytes[7] = 0x10 + state.round;
    if let Some(name) = state.name {
        bytes[8..12].copy_from_slice(&name.to_bytes());
    }
    let sum = crc32(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// A flash whose first entry has these twelve bytes and the right CRC.
fn with_entry(bytes: [u8; 12]) -> Sector {
    let mut flash = Sector::blank();
    flash.bytes[..12].copy_from_slice(&bytes);
    flash.bytes[12..ENTRY].copy_from_slice(&crc32(&bytes).to_le_bytes());
    flash
}

/// What an entry with these twelve bytes says, if it is whole.
fn read(bytes: [u8; 12]) -> Option<State> {
    let log = BootLog::open(with_entry(bytes)).expect("the flash can be read");
    (log.sequence() != 0).then(|| log.state())
}

/// The example of the document.
const EXAMPLE: [u8; 16] = [
    0x07, 0, 0, 0, 0x04, 0x01, 0x00, 0x11, 0x9f, 0x31, 0xc2, 0xd0, 0xd1, 0x8d, 0x65, 0xcf,
];

fn example() -> State {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&[0x9f, 0x31, 0xc2, 0xd0]);
    State {
        confirmed: Slot::A,
        trial: Some(Trial {
            attempts: 1,
            restarts: 0,
            restart_requested: false,
        }),
        scratch: [false; 2],
        reason: Reason::NONE,
        round: 1,
        name: Some(ContentName::from_digest(&digest)),
    }
}

#[test]
fn entry_has_the_documented_bytes() {
    let mut flash = Sector::blank();
    flash.bytes[..ENTRY].copy_from_slice(&EXAMPLE);
    let log = BootLog::open(&mut flash).expect("the flash can be read");
    assert_eq!((log.state(), log.sequence()), (example(), 7));

    // The same, written: it is the seventh entry.
    let mut flash = Sector::blank();
    let mut log = BootLog::open(&mut flash).expect("the flash can be read");
    for attempt in 0..6 {
        let state = State {
            reason: Reason(10 + attempt),
            ..State::INITIAL
        };
        log.append(state).expect("appended");
    }
    log.append(example()).expect("appended");
    assert_eq!(flash.bytes[6 * ENTRY..7 * ENTRY], EXAMPLE);
    assert_eq!(encode(7, &example()), EXAMPLE);
}

#[test]
fn every_flag_has_its_bit() {
    let state = |bytes: [u8; 8]| {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = bytes;
        read([1, 0, 0, 0, b0, b1, b2, b3, b4, b5, b6, b7])
    };
    let trial = |attempts, restarts, restart_requested| {
        Some(Trial {
            attempts,
            restarts,
            restart_requested,
        })
    };
    let b_tries_a = state([0x01 | 0x02 | 0x20, 0x33, 0, 0x13, 1, 2, 3, 4]).expect("whole");
    assert_eq!(b_tries_a.confirmed, Slot::B);
    assert_eq!(b_tries_a.trial_slot(), Some(Slot::A));
    assert_eq!(b_tries_a.trial, trial(3, 3, true));
    assert_eq!(b_tries_a.round, 3);
    assert_eq!(b_tries_a.name.map(ContentName::to_bytes), Some([1, 2, 3, 4]));
    let b_alone = state([0x01 | 0x08, 0, 0xfe, 0x10, 0, 0, 0, 0]).expect("whole");
    assert_eq!((b_alone.scratch, b_alone.reason), ([true, false], Reason(0xfe)));
    let a_alone = state([0x10, 0, 5, 0x12, 1, 0, 0, 0]).expect("whole");
    assert_eq!((a_alone.scratch, a_alone.round), ([false, true], 2));
    assert_eq!(
        a_alone.reason,
        Reason::RADIO_SILENT,
        "a revert keeps round and name"
    );
}

#[test]
fn inconsistent_entry_is_not_whole() {
    // Flags, counts, reason, round and format, name.
    let wrong: [(&str, [u8; 5]); 24] = [
        ("flag 6", [0x40, 0, 0, 0x10, 0]),
        ("flag 7", [0x80, 0, 0, 0x10, 0]),
        ("format 0", [0, 0, 0, 0x00, 0]),
        ("format 2", [0, 0, 0, 0x20, 0]),
        ("format 15", [0, 0, 0, 0xf0, 0]),
        ("trial of the confirmed slot A", [0x02, 1, 0, 0x11, 1]),
        ("trial of the confirmed slot B", [0x05, 1, 0, 0x11, 1]),
        ("trial of both", [0x06, 1, 0, 0x11, 1]),
        ("confirmed slot A is scratch", [0x08, 0, 0, 0x10, 0]),
        ("confirmed slot B is scratch", [0x11, 0, 0, 0x10, 0]),
        ("trial slot is scratch", [0x14, 1, 0, 0x11, 1]),
        ("4 attempts", [0x04, 4, 0, 0x11, 1]),
        ("4 restarts", [0x04, 0x41, 0, 0x11, 1]),
        ("round 0 of a trial", [0x04, 1, 0, 0x10, 1]),
        ("round 4 of a trial", [0x04, 1, 0, 0x14, 1]),
        ("trial without a name", [0x04, 1, 0, 0x11, 0]),
        ("trial with a reason", [0x04, 1, 1, 0x11, 1]),
        ("restarts before the first start", [0x04, 0x10, 0, 0x11, 1]),
        ("restart requested before the first start", [0x24, 0, 0, 0x11, 1]),
        ("attempts without a trial", [0x00, 1, 0, 0x10, 0]),
        ("restart requested without a trial", [0x20, 0, 0, 0x10, 0]),
        ("round without a name", [0x10, 0, 1, 0x11, 0]),
        ("round without a reason", [0x10, 0, 0, 0x11, 1]),
        ("round while the other slot is not scratch", [0x00, 0, 1, 0x11, 1]),
    ];
    for (what, [flags, counts, reason, round, name]) in wrong {
        let bytes = [1, 0, 0, 0, flags, counts, reason, round, 0, 0, 0, name];
        assert_eq!(read(bytes), None, "{what}");
    }
    for (what, [flags, counts, reason, round, name]) in [
        ("confirmed content with a reason", [0x00, 0, 1, 0x10, 1]),
        ("confirmed content beside a scratch slot", [0x10, 0, 0, 0x10, 1]),
        ("round 4 without a trial", [0x10, 0, 1, 0x14, 1]),
    ] {
        let bytes = [1, 0, 0, 0, flags, counts, reason, round, 0, 0, 0, name];
        assert_eq!(read(bytes), None, "{what}");
    }
    for sequence in [0, u32::MAX] {
        let mut bytes = [0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0];
        bytes[..4].copy_from_slice(&sequence.to_le_bytes());
        assert_eq!(read(bytes), None, "sequence number {sequence}");
    }
    assert!(read([1, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0]).is_some());
}

#[test]
fn entry_is_not_whole_when_any_bit_flips() {
    for bit in 0..8 * ENTRY {
        let mut flash = Sector::blank();
        flash.bytes[..ENTRY].copy_from_slice(&EXAMPLE);
        flash.bytes[bit / 8] ^= 1 << (bit % 8);
        let log = BootLog::open(flash).expect("the flash can be read");
        assert_eq!((log.state(), log.sequence()), (State::INITIAL, 0), "bit {bit}");
    }
}

#[test]
fn name_is_never_zero() {
    assert_eq!(ContentName::from_digest(&[0; 32]).to_bytes(), [0, 0, 0, 1]);
    assert_eq!(ContentName::from_digest(&[7; 32]).to_bytes(), [7; 4]);
}
