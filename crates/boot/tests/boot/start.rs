//! The rules of the bootloader one by one, and what firmware may change.

use crate::flash::{Failing, Flash};
use picolet_boot::{
    BootLog, ContentName, Decision, Reason, Refusal, ResetCause, Slot, Start, State, Trial, decide, start,
};

const BOTH: [bool; 2] = [true, true];
const NAME: ContentName = ContentName::from_digest(&[9; 32]);
const OTHER_NAME: ContentName = ContentName::from_digest(&[8; 32]);

fn on_trial(attempts: u8, restarts: u8, restart_requested: bool) -> State {
    State {
        confirmed: Slot::A,
        trial: Some(Trial {
            attempts,
            restarts,
            restart_requested,
        }),
        scratch: [false; 2],
        reason: Reason::NONE,
        round: 1,
        name: Some(NAME),
    }
}

fn reverted(reason: Reason) -> State {
    State {
        trial: None,
        scratch: [false, true],
        reason,
        ..on_trial(1, 0, false)
    }
}

/// Both firmwares confirmed, B last.
const UPDATED: State = State {
    confirmed: Slot::B,
    trial: None,
    scratch: [false; 2],
    reason: Reason::NONE,
    round: 0,
    name: Some(NAME),
};

#[test]
fn bootloader_follows_the_table() {
    use ResetCause::{External, Forced, Watchdog};
    let (a, b) = (Start::Slot(Slot::A), Start::Slot(Slot::B));
    let rows = [
        (on_trial(0, 0, false), External, on_trial(1, 0, false), b),
        (on_trial(0, 0, false), Forced, on_trial(1, 0, false), b),
        (on_trial(0, 0, false), Watchdog, on_trial(1, 0, false), b),
        (on_trial(1, 0, false), External, on_trial(2, 0, false), b),
        (on_trial(2, 2, true), External, on_trial(3, 2, false), b),
        (on_trial(3, 0, false), External, reverted(Reason::POWER_LOST), a),
        (on_trial(3, 0, true), External, reverted(Reason::POWER_LOST), a),
        (on_trial(1, 0, true), Forced, on_trial(1, 1, false), b),
        (on_trial(3, 2, true), Forced, on_trial(3, 3, false), b),
        (on_trial(1, 3, true), Forced, reverted(Reason::RESTARTS), a),
        (on_trial(1, 0, false), Forced, reverted(Reason::CRASHED), a),
        (on_trial(1, 0, false), Watchdog, reverted(Reason::WATCHDOG), a),
        (on_trial(1, 0, true), Watchdog, reverted(Reason::WATCHDOG), a),
        (State::INITIAL, External, State::INITIAL, a),
        (reverted(Reason::CRASHED), Watchdog, reverted(Reason::CRASHED), a),
        (UPDATED, Forced, UPDATED, b),
    ];
    for (last, cause, state, start) in rows {
        let decision = decide(last, cause, BOTH);
        assert_eq!(
            (decision.state, decision.start),
            (state, start),
            "{last:?} {cause:?}"
        );
        assert_eq!(decision.otherwise, Start::Slot(last.confirmed));
    }
}

#[test]
fn slot_without_an_image_does_not_start() {
    for cause in [ResetCause::External, ResetCause::Watchdog, ResetCause::Forced] {
        let decision = |state, has_image| {
            let Decision { state, start, .. } = decide(state, cause, has_image);
            (state, start)
        };
        // On trial: the confirmed one.
        let state = decision(on_trial(0, 0, false), [true, false]);
        assert_eq!(state, (reverted(Reason::NO_IMAGE), Start::Slot(Slot::A)));
        // Confirmed: the one before it.
        let fallback = State {
            confirmed: Slot::A,
            trial: None,
            scratch: [false, true],
            reason: Reason::NO_IMAGE,
            round: 0,
            name: None,
        };
        assert_eq!(decision(UPDATED, [true, false]), (fallback, Start::Slot(Slot::A)));
        // Neither, or the other one is scratch or on trial.
        assert_eq!(decision(UPDATED, [false; 2]), (UPDATED, Start::UsbDrive));
        let scratch = UPDATED.mark_scratch(Slot::B).expect("it runs");
        assert_eq!(decision(scratch, [true, false]), (scratch, Start::UsbDrive));
        assert_eq!(
            decision(State::INITIAL, [false, true]),
            (State::INITIAL, Start::UsbDrive)
        );
        let failed = decide(on_trial(3, 3, false), cause, [false, true]);
        assert_eq!(failed.start, Start::UsbDrive);
        assert_eq!(failed.otherwise, Start::UsbDrive);
    }
}

#[test]
fn trial_does_not_start_when_its_entry_cannot_be_written() {
    let mut flash = Flash::<4096>::blank();
    let mut log = BootLog::open(&mut flash).expect("the flash can be read");
    log.append(on_trial(0, 0, false)).expect("appended");
    for failing in [
        Failing {
            writes: true,
            ..Failing::default()
        },
        Failing {
            ignored: true,
            ..Failing::default()
        },
    ] {
        flash.failing = failing;
        let started = start(&mut flash, ResetCause::External, BOTH);
        assert_eq!(started.ok(), Some(Start::Slot(Slot::A)));
    }
    flash.failing = Failing {
        reads: true,
        ..Failing::default()
    };
    assert!(start(&mut flash, ResetCause::External, BOTH).is_err());
    flash.failing = Failing::default();
    let started = start(&mut flash, ResetCause::External, BOTH);
    assert_eq!(started.ok(), Some(Start::Slot(Slot::B)));
}

#[test]
fn fallback_starts_when_its_entry_cannot_be_written() {
    let mut flash = Flash::<4096>::blank();
    BootLog::open(&mut flash)
        .expect("the flash can be read")
        .append(UPDATED)
        .expect("appended");
    flash.failing.writes = true;
    let started = start(&mut flash, ResetCause::External, [true, false]);
    assert_eq!(started.ok(), Some(Start::Slot(Slot::A)));
}

#[test]
fn update_confirms_the_other_slot() {
    let state = State::INITIAL.start_trial(Slot::A, NAME).expect("B is scratch");
    assert_eq!(state, on_trial(0, 0, false));
    let state = decide(state, ResetCause::Forced, BOTH).state;
    assert_eq!(state.confirm(Slot::B), Ok(UPDATED));
}

#[test]
fn changes_are_refused_to_firmware_that_may_not_make_them() {
    let trial = on_trial(1, 0, false);
    for running in [Slot::A, Slot::B] {
        assert_eq!(trial.mark_scratch(running), Err(Refusal::OnTrial));
        assert_eq!(trial.start_trial(running, NAME), Err(Refusal::OnTrial));
        assert_eq!(trial.repeat_trial(running, NAME), Err(Refusal::OnTrial));
        assert_eq!(trial.writable(running), None);
    }
    // Only who is on trial ends it.
    assert_eq!(trial.confirm(Slot::A), Err(Refusal::NotOnTrial));
    assert_eq!(trial.revert(Slot::A, Reason::NOT_READY), Err(Refusal::NotOnTrial));
    assert_eq!(trial.request_restart(Slot::A), Err(Refusal::NotOnTrial));
    assert_eq!(trial.revert(Slot::B, Reason::NONE), Err(Refusal::NoReason));
    // Firmware that was reverted and still runs changes nothing.
    let state = trial.revert(Slot::B, Reason::NOT_READY).expect("on trial");
    assert_eq!(state, reverted(Reason::NOT_READY));
    assert_eq!(state.mark_scratch(Slot::B), Err(Refusal::NotConfirmed));
    assert_eq!(state.start_trial(Slot::B, NAME), Err(Refusal::NotConfirmed));
    assert_eq!(state.repeat_trial(Slot::B, NAME), Err(Refusal::NotConfirmed));
    assert_eq!(state.confirm(Slot::B), Err(Refusal::NotOnTrial));
    assert_eq!(state.writable(Slot::B), None);
}

#[test]
fn trial_that_never_started_is_ended_by_nobody() {
    let trial = on_trial(0, 0, false);
    for running in [Slot::A, Slot::B] {
        assert_eq!(trial.request_restart(running), Err(Refusal::NotOnTrial));
        assert_eq!(trial.confirm(running), Err(Refusal::NotOnTrial));
        let reverted = trial.revert(running, Reason::NOT_READY);
        assert_eq!(reverted, Err(Refusal::NotOnTrial));
    }
}

#[test]
fn other_slot_is_written_only_as_scratch() {
    assert_eq!(UPDATED.writable(Slot::B), None, "it holds confirmed firmware");
    assert_eq!(UPDATED.start_trial(Slot::B, NAME), Err(Refusal::NotScratch));
    let nameless = State {
        name: None,
        ..UPDATED
    };
    assert_eq!(nameless.writable(Slot::B), None, "also when its name is unknown");
    let state = UPDATED.mark_scratch(Slot::B).expect("it runs");
    assert_eq!(state.writable(Slot::B), Some(Slot::A));
    assert_eq!(state.mark_scratch(Slot::B), Ok(state), "once is enough");
    let state = reverted(Reason::CRASHED);
    assert_eq!(state.writable(Slot::A), None, "its content may be tried again");
    let state = state.mark_scratch(Slot::A).expect("it runs");
    assert_eq!(state.writable(Slot::A), Some(Slot::B));
    assert_eq!(
        state.reason,
        Reason::CRASHED,
        "the reason is reported until the next trial"
    );
    assert_eq!(state.repeat_trial(Slot::A, NAME), Err(Refusal::OtherContent));
}

#[test]
fn trial_is_repeated_twice() {
    let mut state = on_trial(0, 0, false);
    for round in 1..=3 {
        assert_eq!(state.round, round);
        state = decide(state, ResetCause::Forced, BOTH).state;
        state = state.revert(Slot::B, Reason::NOT_READY).expect("on trial");
        assert_eq!(
            state.repeat_trial(Slot::A, OTHER_NAME),
            Err(Refusal::OtherContent)
        );
        match state.repeat_trial(Slot::A, NAME) {
            Ok(next) => state = next,
            Err(refusal) => assert_eq!((refusal, round), (Refusal::TooManyRounds, 3)),
        }
    }
    assert_eq!(state.trial, None);
}
