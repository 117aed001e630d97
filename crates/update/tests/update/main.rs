//! Updates of a board in memory: in one go, in pieces, refused, and with power cuts at each operation of flash.

mod console;
mod heap;

use picolet_boot::{Reason, ResetCause, Slot};
use picolet_firmware::{Code, Refusal, Text};
use picolet_platform::{FirmwareSlots, SlotError};
use picolet_update::testing::{MemoryBoard, Release, SLOT};
use picolet_update::{UpdateError, Updater};

/// Stages a file in pieces of this many bytes, verifies it and asks for its trial.
fn update(updater: &Updater<'_>, file: &[u8], piece: usize, downgrade: bool) -> Result<(), UpdateError> {
    let mut staging = updater.stage(downgrade)?;
    for bytes in file.chunks(piece) {
        staging.push(bytes)?;
    }
    let mut verification = staging.verify()?;
    while verification.step(3000)? > 0 {
        assert_eq!(
            verification.header().map(drop),
            Err(UpdateError::Refused(Refusal::Damaged)),
            "too early"
        );
    }
    verification.start_trial()
}

fn state(board: &MemoryBoard) -> picolet_boot::State {
    board.state()
}

#[test]
fn firmware_is_on_trial_in_the_other_slot_after_an_update() {
    let board = MemoryBoard::new("0.1.0");
    // Each slot in turn, and files in pieces of any length.
    for (version, piece, from) in [
        ("0.2.0", 1, Slot::A),
        ("0.3.0", 513, Slot::B),
        ("0.3.0", 4096, Slot::A),
        ("0.4.0", 1 << 20, Slot::B),
    ] {
        assert_eq!(board.boot(ResetCause::Forced), from);
        let release = Release::new(version);
        update(&board.updater(&[1]), &release.file(), piece, false).expect("it is taken");
        assert_eq!(state(&board).trial_slot(), Some(from.other()));
        assert_eq!(state(&board).name, Some(release.header.name()));
        let (slot, expected) = (board.slot(from.other()), release.slot(from.other()));
        assert_eq!(slot[..expected.len()], expected);
        // The trial starts, and no update begins in it.
        assert_eq!(board.boot(ResetCause::Forced), from.other());
        let refused = board.updater(&[1]).stage(false).map(drop);
        assert!(matches!(refused, Err(UpdateError::Slot(SlotError::Refused(_)))));
        let slots: &dyn FirmwareSlots = &board;
        slots.confirm().expect("it is on trial");
    }
}

#[test]
fn sector_is_not_written_again_when_it_is_right() {
    let board = MemoryBoard::new("0.1.0");
    // The slot is full of something else.
    board.fill(Slot::B, 0);
    let file = Release::new("0.2.0").file();
    let updater = board.updater(&[1]);
    let mut staging = updater.stage(false).expect("it may begin");
    staging.push(&file[..20_000]).expect("it is taken");
    let half = staging.counts();
    assert_eq!((half.written, half.unchanged), (2, 0));
    drop(staging);
    let erased = board.flash.erased.borrow().clone();
    let mut staging = updater.stage(false).expect("once more");
    staging.push(&file).expect("it is taken");
    let all = staging.counts();
    assert_eq!((all.written, all.unchanged), (5, 2));
    drop(staging);
    let slot_b = (2 * 4096 + SLOT as usize) / 4096;
    let once = board.flash.erased.borrow()[slot_b..]
        .iter()
        .all(|times| *times <= 1);
    assert!(once, "{:?} then {:?}", erased, board.flash.erased);
    let before = board.flash.operations.get();
    update(&updater, &file, 999, false).expect("it is taken");
    assert_eq!(board.flash.operations.get() - before, 1, "the trial entry alone");
}

#[test]
fn nothing_is_written_when_firmware_is_refused() {
    let refused = |release: &Release, keys: &[u8], expected: Code| {
        let board = MemoryBoard::new("0.1.5");
        let updater = board.updater(keys);
        let error = update(&updater, &release.file(), 700, false).expect_err("it is refused");
        match error {
            UpdateError::Refused(refusal) => assert_eq!(refusal.code(), expected, "{refusal}"),
            error => panic!("{error}"),
        }
        assert_eq!(board.flash.operations.get(), 0);
        assert_eq!(board.state(), picolet_boot::State::INITIAL);
    };
    let release = Release::new("0.2.0");
    refused(&release, &[], Code::BadSignature);
    refused(&release, &[2, 3], Code::BadSignature);
    refused(&Release::new("0.1.4"), &[1], Code::Older);
    let with = |change: fn(&mut Release)| {
        let mut release = Release::new("0.2.0");
        change(&mut release);
        release
    };
    refused(
        &with(|release| release.header.board = Text::new("pico-2-w").expect("a text")),
        &[1],
        Code::WrongBoard,
    );
    refused(
        &with(|release| release.header.variants[0].length = SLOT),
        &[1],
        Code::TooLarge,
    );
    refused(
        &with(|release| release.header.settings.oldest = 2),
        &[1],
        Code::Damaged,
    );
    refused(&with(|release| release.header.security = 0), &[1], Code::Older);
}

#[test]
fn older_firmware_is_taken_when_it_is_asked_for() {
    let board = MemoryBoard::new("0.2.0");
    update(&board.updater(&[1]), &Release::new("0.1.0").file(), 4096, true).expect("it is taken");
    assert_eq!(board.boot(ResetCause::Forced), Slot::B);
}

#[test]
fn trial_does_not_begin_when_flash_is_damaged_after_staging() {
    let board = MemoryBoard::new("0.1.0");
    let updater = board.updater(&[1]);
    let file = Release::new("0.2.0").file();
    let mut staging = updater.stage(false).expect("it may begin");
    staging.push(&file).expect("it is taken");
    assert!(
        updater
            .stage(false)
            .is_err_and(|error| error == UpdateError::Busy)
    );
    board.program(5 * 4096, &[0; 256]).expect("flash loses a page");
    let mut verification = staging.verify().expect("the header is right");
    assert_eq!(verification.step(u32::MAX), Ok(0));
    assert_eq!(
        verification.start_trial(),
        Err(UpdateError::Refused(Refusal::Damaged))
    );
    assert_eq!(board.state().trial, None);
    // Mended by the next update, which finds the sector.
    update(&updater, &file, 4096, false).expect("it is taken");
}

#[test]
fn missing_bytes_are_found() {
    let board = MemoryBoard::new("0.1.0");
    let updater = board.updater(&[1]);
    let file = Release::new("0.2.0").file();
    assert_eq!(
        update(&updater, &file[..file.len() - 1], 4096, false),
        Err(UpdateError::Incomplete)
    );
    assert_eq!(board.boot(ResetCause::External), Slot::A);
}

#[test]
fn trial_is_repeated_when_its_content_is_still_there() {
    let board = MemoryBoard::new("0.2.0");
    update(&board.updater(&[1]), &Release::new("0.1.0").file(), 4096, true).expect("it is taken");
    for round in 1..=3 {
        assert_eq!(board.boot(ResetCause::Forced), Slot::B);
        assert_eq!(board.state().round, round);
        let slots: &dyn FirmwareSlots = &board;
        slots.revert(Reason::NOT_READY).expect("it is on trial");
        assert_eq!(board.boot(ResetCause::Forced), Slot::A);
        let updater = board.updater(&[1]);
        let mut verification = updater.verify().expect("it is there");
        assert_eq!(verification.step(u32::MAX), Ok(0));
        let repeated = verification.repeat_trial();
        assert_eq!(repeated.is_ok(), round < 3, "{repeated:?}");
    }
}

#[test]
fn board_starts_and_ends_an_update_when_power_is_cut_at_any_operation() {
    let file = Release::new("0.2.0").file();
    let whole = {
        let board = MemoryBoard::new("0.1.0");
        board.fill(Slot::B, 0x55);
        update(&board.updater(&[1]), &file, 4096, false).expect("it is taken");
        board.flash.operations.get()
    };
    assert!(whole > 100, "{whole}");
    for cut in 1..=whole {
        let board = MemoryBoard::new("0.1.0");
        board.fill(Slot::B, 0x55);
        board.cut_power_at(Some(cut));
        update(&board.updater(&[1]), &file, 4096, false).expect_err("power was lost");
        let before = board.flash.operations.get();
        assert_eq!(board.boot(ResetCause::External), Slot::A, "operation {cut}");
        assert_eq!(board.state().trial, None, "operation {cut}");
        let erased: u32 = board.flash.erased.borrow().iter().sum();
        update(&board.updater(&[1]), &file, 4096, false).expect("it is taken");
        assert_eq!(board.boot(ResetCause::Forced), Slot::B, "operation {cut}");
        assert!(
            board.flash.operations.get() - before <= whole + 20 - cut.min(whole),
            "operation {cut}"
        );
        let again = board.flash.erased.borrow().iter().sum::<u32>() - erased;
        assert!(again <= 9, "operation {cut}: {again} erases");
    }
}
