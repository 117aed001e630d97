use super::*;
use crate::testing::{Machine, Services, TestClock, TestHost, settings};
use picolet_boot::ResetCause;
use picolet_update::Updater;
use picolet_update::testing::{MemoryBoard, Release};
use std::boxed::Box;
use std::format;
use std::string::ToString;
use std::vec::Vec;

const SECOND: Duration = Duration::from_secs(1);

/// A board that ran 0.1.0 in slot A and was updated to 0.2.0, which is on trial in slot B. It lives as long as the tests.
pub(crate) fn updated() -> &'static MemoryBoard {
    let board: &'static MemoryBoard = Box::leak(Box::new(MemoryBoard::new("0.1.0")));
    let updater = board.updater(&[1]);
    let mut staging = updater.stage(false).expect("it may begin");
    staging.push(&Release::new("0.2.0").file()).expect("it is taken");
    let mut verification = staging.verify().expect("it is there");
    verification.step(u32::MAX).expect("it can be read");
    verification.start_trial().expect("it is verified");
    assert_eq!(board.boot(ResetCause::Forced), Slot::B);
    board
}

/// The same after a revert: 0.1.0 runs.
fn reverted(reason: Reason) -> &'static MemoryBoard {
    let board = updated();
    let slots: &dyn FirmwareSlots = board;
    slots.revert(reason).expect("it is on trial");
    assert_eq!(board.boot(ResetCause::Forced), Slot::A);
    board
}

/// What one run of the board's firmware did.
struct Run {
    services: Services,
    status: FirmwareStatus,
}

impl Run {
    /// Runs for so long, while something happens to the node. `crash` is how the run before ended.
    fn new(
        board: &'static MemoryBoard,
        crash: Option<&'static str>,
        happens: impl AsyncFnOnce(&Services),
    ) -> Self {
        let updater: &'static Updater<'_> = Box::leak(Box::new(board.updater(&[1])));
        let mut machine = Machine::new(TestClock::default());
        machine.firmware.set(Some(updater));
        machine.crash = crash;
        let services = Services::on(machine, settings());
        let status = FirmwareStatus::default();
        let controller = FirmwareController::<TestHost> {
            machine: &services.machine,
            health: &services.health,
            events: &services.events,
            node: &services.node,
            metrics: &services.metrics,
            status: &status,
        };
        services.clock.run(controller.run(), happens(&services));
        Self { services, status }
    }

    /// The condition: status, reason and message.
    fn condition(&self) -> (Truth, &'static str, String) {
        let mut words = String::new();
        let condition = self.status.condition(&mut words).expect("there is one");
        assert_eq!(condition.kind, "FirmwareConfirmed");
        (condition.status, condition.reason, words)
    }

    /// The lines of the log with this word.
    fn lines(&self, word: &str) -> Vec<String> {
        let lines = self.services.machine.lines.borrow();
        lines.iter().filter(|line| line.contains(word)).cloned().collect()
    }

    fn reboots(&self) -> u32 {
        self.services.machine.reboots.get()
    }
}

/// The node becomes Ready at an uptime and renews its Lease every ten seconds, so many times.
async fn is_ready(services: &Services, at: u32, renewals: u32) {
    services.clock.sleep(SECOND * at).await;
    services.health.accept_ready(services.clock.now());
    for _ in 0..renewals {
        services.clock.sleep(SECOND * 10).await;
        services.health.count_renewal();
    }
}

#[test]
fn firmware_is_confirmed_when_the_node_was_ready_for_30_seconds() {
    let board = updated();
    let run = Run::new(board, None, async |services| {
        services.health.count_renewal();
        is_ready(services, 2, 2).await;
        services.clock.sleep(SECOND * 9).await;
        assert_eq!(board.state().trial_slot(), Some(Slot::B), "after 29 s");
        // The third comes late: 30 s alone are not enough.
        services.clock.sleep(SECOND * 20).await;
        assert_eq!(board.state().trial_slot(), Some(Slot::B), "two renewals");
        services.health.count_renewal();
        services.clock.sleep(SECOND * 2).await;
        assert_eq!(board.state().trial, None);
    });
    assert_eq!((board.state().confirmed, run.reboots()), (Slot::B, 0));
    assert_eq!(
        run.condition(),
        (Truth::True, "Confirmed", "firmware 0.2.0 in slot B".to_string())
    );
    assert_eq!(run.lines("is confirmed in slot B").len(), 1);
    assert_eq!(run.services.metrics.firmware_confirmed.get(), 1);
    let records = run.services.machine.records.borrow();
    assert_eq!(records[&(Record::SecurityFloor as u8)], [1, 0, 0, 0]);
}

#[test]
fn renewals_in_less_than_30_seconds_do_not_confirm_firmware() {
    let board = updated();
    Run::new(board, None, async |services| {
        is_ready(services, 2, 0).await;
        (0..10).for_each(|_| services.health.count_renewal());
        services.clock.sleep(SECOND * 29).await;
        assert_eq!(board.state().trial_slot(), Some(Slot::B));
    });
}

#[test]
fn firmware_is_reverted_when_it_is_not_confirmed_within_five_minutes() {
    // Never Ready; Ready, and the API server is gone after that; Ready at last, too late.
    for (at, renewals) in [(1000, 0), (3, 2), (290, 0)] {
        let board = updated();
        let run = Run::new(board, None, async |services| {
            embassy_futures::select::select(
                is_ready(services, at, renewals),
                services.clock.sleep(SECOND * 299),
            )
            .await;
            let rest = SECOND * 299 - services.clock.now();
            services.clock.sleep(rest).await;
            assert_eq!(services.machine.reboots.get(), 0);
            services.clock.sleep(SECOND * 2).await;
        });
        let state = board.state();
        assert_eq!((state.trial, state.reason), (None, Reason::NOT_READY));
        assert_eq!(run.reboots(), 1);
        assert_eq!(board.boot(ResetCause::Forced), Slot::A);
    }
}

#[test]
fn condition_is_on_trial_until_firmware_is_confirmed() {
    let run = Run::new(updated(), None, async |services| {
        services.clock.sleep(SECOND).await
    });
    let message = "firmware 0.2.0 in slot B, attempt 1 of 3".to_string();
    assert_eq!(run.condition(), (Truth::Unknown, "OnTrial", message));
    assert_eq!(run.lines("starts in slot B, on trial").len(), 1);
}

#[test]
fn revert_is_reported_once_with_its_reason_and_place() {
    let board = reverted(Reason::CRASHED);
    let crash = Some("panic at crates/tls/src/x.rs:12 after 2 s");
    let sentence = "firmware 0.2.0 was reverted: panic at crates/tls/src/x.rs:12 after 2 s; 0.1.0 runs again"
        .to_string();
    let run = Run::new(board, crash, async |services| {
        services.clock.sleep(SECOND * 5).await;
        assert_eq!(services.metrics.firmware_reverted.get(), 0, "not Ready yet");
        is_ready(services, 1, 0).await;
        services.clock.sleep(SECOND * 2).await;
    });
    assert_eq!(run.condition(), (Truth::False, "Reverted", sentence.clone()));
    assert_eq!(
        run.lines("was reverted"),
        [format!("Warn FirmwareReverted (Node pico-1): {sentence}")]
    );
    assert_eq!(
        (run.reboots(), run.services.metrics.firmware_reverted.get()),
        (0, 1)
    );
    assert_eq!(board.state().name, None);
    // After another restart the condition says the same, and nothing is reported anew.
    let record = run.services.machine.records.borrow()[&(Record::FirmwareResult as u8)].clone();
    board.boot(ResetCause::External);
    let again = Run::new(board, None, async |services| {
        let records = &services.machine.records;
        records.borrow_mut().insert(Record::FirmwareResult as u8, record);
        is_ready(services, 1, 3).await;
    });
    assert_eq!(again.condition(), (Truth::False, "Reverted", sentence));
    assert!(again.lines("reverted").is_empty());
    assert_eq!(again.services.metrics.firmware_reverted.get(), 0);
}

#[test]
fn crash_of_an_earlier_run_is_not_the_reason_of_a_revert() {
    let board = reverted(Reason::WATCHDOG);
    let run = Run::new(board, Some("panic at old.rs:1 after 2 s"), async |services| {
        is_ready(services, 1, 1).await;
    });
    let (.., message) = run.condition();
    assert_eq!(message, "firmware 0.2.0 was reverted: watchdog; 0.1.0 runs again");
}

#[test]
fn trial_is_repeated_when_the_node_is_not_ready_with_the_old_firmware_either() {
    let board = reverted(Reason::NOT_READY);
    for round in [2, 3] {
        let run = Run::new(board, None, async |services| {
            services.clock.sleep(SECOND * 900).await;
            assert_eq!(board.state().trial, None, "the cluster is still away");
            is_ready(services, 1, 0).await;
            services.clock.sleep(SECOND * 5).await;
        });
        assert_eq!((board.state().round, run.reboots()), (round, 1));
        assert_eq!(run.services.metrics.firmware_repeated.get(), 1);
        assert_eq!(run.services.metrics.firmware_reverted.get(), 0);
        assert_eq!(run.lines("The cluster was away").len(), 1);
        assert_eq!(board.boot(ResetCause::Forced), Slot::B);
        let slots: &dyn FirmwareSlots = board;
        slots.revert(Reason::NOT_READY).expect("it is on trial");
        assert_eq!(board.boot(ResetCause::Forced), Slot::A);
    }
    // Three times are enough.
    let run = Run::new(board, None, async |services| {
        is_ready(services, 900, 1).await;
    });
    assert_eq!(
        (run.reboots(), run.services.metrics.firmware_reverted.get()),
        (0, 1)
    );
    assert_eq!(run.condition().1, "Reverted");
}

#[test]
fn trial_is_not_repeated_when_it_was_the_firmware() {
    for (reason, ready_at) in [
        (Reason::NOT_READY, 200),
        (Reason::CRASHED, 900),
        (Reason::RADIO_SILENT, 900),
    ] {
        let board = reverted(reason);
        let run = Run::new(board, None, async |services| {
            is_ready(services, ready_at, 1).await;
        });
        assert_eq!((board.state().trial, run.reboots()), (None, 0));
        assert_eq!(run.services.metrics.firmware_reverted.get(), 1);
    }
}

#[test]
fn trial_is_not_repeated_when_its_content_is_damaged() {
    let board = reverted(Reason::NOT_READY);
    board.fill(Slot::B, 0x55);
    let run = Run::new(board, None, async |services| {
        is_ready(services, 900, 1).await;
    });
    assert_eq!((board.state().trial, run.reboots()), (None, 0));
    assert_eq!(run.lines("is not repeated").len(), 1);
    assert_eq!(run.services.metrics.firmware_reverted.get(), 1);
}

#[test]
fn confirmed_firmware_is_reported_at_each_start() {
    let board = Box::leak(Box::new(MemoryBoard::new("0.1.0")));
    let run = Run::new(board, None, async |services| services.clock.sleep(SECOND).await);
    let message = "firmware 0.1.0 in slot A".to_string();
    assert_eq!(run.condition(), (Truth::True, "Confirmed", message));
    assert!(run.lines("firmware").is_empty(), "no event");
}
