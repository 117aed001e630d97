//! Reading and appending: where entries go, and what is left when that fails.

use crate::flash::{Failed, Failing, Flash, Tear};
use picolet_boot::{BootLog, ENTRY, LogError, Reason, State};

type Sectors = Flash<4096>;

/// A state that tells by its reason which one it is.
fn state(number: u8) -> State {
    State {
        reason: Reason(number),
        ..State::INITIAL
    }
}

fn open(flash: &mut Sectors) -> BootLog<&mut Sectors> {
    BootLog::open(flash).expect("the flash can be read")
}

#[test]
fn log_keeps_the_last_state_when_sectors_fill_up() {
    let mut flash = Sectors::blank();
    for count in 1..=3000_u32 {
        let next = state((count % 250) as u8 + 1);
        let mut log = open(&mut flash);
        log.append(next).expect("appended");
        assert_eq!((log.state(), log.sequence()), (next, count));
        let log = open(&mut flash);
        assert_eq!((log.state(), log.sequence()), (next, count));
    }
    // 256 entries a sector; the first use of sector 0 needs no erase.
    assert_eq!(flash.erases, [5, 6]);
}

#[test]
fn log_without_reopening_does_the_same() {
    let (mut flash, mut same) = (Sectors::blank(), Sectors::blank());
    let mut log = open(&mut same);
    for count in 0..1200_u32 {
        let next = state((count % 250) as u8 + 1);
        log.append(next).expect("appended");
        open(&mut flash).append(next).expect("appended");
    }
    assert_eq!(flash.bytes, same.bytes);
}

#[test]
fn append_writes_nothing_when_the_state_is_the_same() {
    let mut flash = Sectors::blank();
    open(&mut flash).append(State::INITIAL).expect("nothing to do");
    assert_eq!(flash.operations, 0);
    open(&mut flash).append(state(1)).expect("appended");
    open(&mut flash).append(state(1)).expect("nothing to do");
    assert_eq!(flash.operations, 1);
}

#[test]
fn state_is_old_or_new_when_power_is_cut_anywhere() {
    let mut flash = Sectors::blank();
    for count in 0..600_u32 {
        let (old, new) = (open(&mut flash).state(), state((count % 250) as u8 + 1));
        let mut whole = flash.clone();
        whole.operations = 0;
        open(&mut whole).append(new).expect("appended");
        for operation in 0..whole.operations {
            for tear in Tear::ALL {
                let mut cut = flash.clone();
                cut.cut = Some((operation, tear));
                assert_eq!(open(&mut cut).append(new), Err(LogError::Flash(Failed)));
                (cut.cut, cut.is_off) = (None, false);
                let found = open(&mut cut).state();
                assert!(found == old || found == new, "{tear:?} at entry {count}");
                // And it can be made up for.
                open(&mut cut).append(new).expect("appended");
                assert_eq!(open(&mut cut).state(), new);
            }
        }
        flash = whole;
    }
}

#[test]
fn place_is_not_used_again_when_a_write_failed() {
    let mut flash = Sectors::blank();
    let mut log = open(&mut flash);
    log.append(state(1)).expect("appended");
    flash.failing.ignored = true;
    let mut log = open(&mut flash);
    assert_eq!(log.append(state(2)), Err(LogError::Verify));
    assert_eq!(log.state(), state(1));
    flash.failing.ignored = false;
    // A log that stays open goes on behind the place that failed.
    let mut flash = FailsOnce { flash, fails: true };
    let mut log = BootLog::open(&mut flash).expect("the flash can be read");
    assert_eq!(log.append(state(3)), Err(LogError::Flash(Failed)));
    log.append(state(3)).expect("appended");
    assert_eq!(log.state(), state(3));
    assert!(
        flash.flash.bytes[ENTRY..2 * ENTRY]
            .iter()
            .all(|byte| *byte == 0xff)
    );
    assert_eq!(open(&mut flash.flash).state(), state(3));
}

#[test]
fn errors_are_reported_and_leave_the_state() {
    let mut flash = Sectors::blank();
    for number in 0..=255 {
        open(&mut flash).append(state(number % 2 + 1)).expect("appended");
    }
    let last = open(&mut flash).state();
    let failing = [
        Failing {
            erases: true,
            ..Failing::default()
        },
        Failing {
            writes: true,
            ..Failing::default()
        },
        Failing {
            ignored: true,
            ..Failing::default()
        },
    ];
    for failing in failing {
        flash.failing = failing;
        assert!(open(&mut flash).append(state(9)).is_err(), "{failing:?}");
        flash.failing = Failing::default();
        assert_eq!(open(&mut flash).state(), last, "{failing:?}");
    }
    open(&mut flash).append(state(9)).expect("appended");
    assert_eq!(open(&mut flash).state(), state(9));
    flash.failing.reads = true;
    assert!(BootLog::open(&mut flash).is_err());
}

#[test]
fn append_refuses_a_state_that_could_not_be_read_back() {
    let mut flash = Sectors::blank();
    let inconsistent = State {
        scratch: [true; 2],
        ..State::INITIAL
    };
    let mut log = open(&mut flash);
    assert_eq!(log.append(inconsistent), Err(LogError::Inconsistent));
    assert_eq!(log.state(), State::INITIAL);
    assert_eq!(flash.operations, 0);
}

#[test]
fn append_fails_at_the_last_sequence_number() {
    let mut flash = Sectors::blank();
    open(&mut flash).append(state(1)).expect("appended");
    flash.bytes[..4].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    let sum = crate::format::crc32(&flash.bytes[..12]);
    flash.bytes[12..ENTRY].copy_from_slice(&sum.to_le_bytes());
    let mut log = open(&mut flash);
    assert_eq!(log.sequence(), u32::MAX - 1);
    assert_eq!(log.append(state(2)), Err(LogError::Exhausted));
    assert_eq!(log.state(), state(1));
}

#[test]
fn log_starts_in_sector_0_when_both_hold_garbage() {
    let mut flash = Sectors::with_bytes(vec![0x5a; 8192]);
    assert_eq!(open(&mut flash).state(), State::INITIAL);
    open(&mut flash).append(state(1)).expect("appended");
    assert_eq!((open(&mut flash).state(), flash.erases), (state(1), [1, 0]));
}

#[test]
fn sectors_wear_alike_when_power_is_never_cut() {
    let mut flash = Flash::<{ 4 * ENTRY }>::blank();
    for number in 0..100_000_u32 {
        let mut log = BootLog::open(&mut flash).expect("the flash can be read");
        log.append(state((number % 250) as u8 + 1)).expect("appended");
    }
    let [first, second] = flash.erases;
    assert!(first.abs_diff(second) <= 1, "{first} and {second}");
    assert!(first + second <= 100_000 / 4);
}

/// A flash whose next program fails with an error and changes nothing.
struct FailsOnce {
    flash: Sectors,
    fails: bool,
}

impl embedded_storage::nor_flash::ErrorType for FailsOnce {
    type Error = Failed;
}

impl embedded_storage::nor_flash::ReadNorFlash for FailsOnce {
    const READ_SIZE: usize = 1;

    fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        self.flash.read(at, bytes)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl embedded_storage::nor_flash::NorFlash for FailsOnce {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        self.flash.erase(from, to)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
        if std::mem::take(&mut self.fails) {
            return Err(Failed);
        }
        self.flash.write(at, bytes)
    }
}
