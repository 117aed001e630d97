//! The radio fails: it stops answering, does not start, or delivers no frame. And what looks like that and is none of it.

use crate::{Bench, NODE, READY, is_long};
use picolet_emulator::radio::FailureMode;
use std::time::Duration;

/// The signal is measured every ten seconds, and the radio has five to answer.
const NOTICED: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Bench {
    /// Runs until the board resets, at most for `limit`; says how long that took.
    fn until_reset(&mut self, limit: Duration) -> Option<Duration> {
        let resets = self.testbed.board.figures().resets;
        // Nothing else is looked at, since this runs for hours.
        let reset = self
            .testbed
            .until(limit, |testbed| testbed.board.figures().resets > resets);
        let log = self.testbed.board.take_uart(0);
        self.log.push_str(&String::from_utf8_lossy(&log));
        reset.unwrap_or_else(|error| panic!("{error:#}:\n{}", self.log))
    }

    /// Runs until the board resets, which must be within `limit`; says how long that took.
    fn expect_reset(&mut self, limit: Duration) -> Duration {
        let took = self.until_reset(limit);
        took.unwrap_or_else(|| panic!("no reset within {limit:?}:\n{}", self.log))
    }

    /// Runs for so long, in which the board must not reset.
    fn expect_no_reset(&mut self, duration: Duration) {
        let reset = self.until_reset(duration);
        assert_eq!(reset, None, "the board was reset:\n{}", self.log);
    }

    /// Breaks the radio until it loses power, and runs until the board has reset for that after `delay` and is Ready again.
    fn expect_reset_for(&mut self, mode: FailureMode, delay: Duration) {
        self.testbed.break_radio(mode, Some(1));
        let took = self.expect_reset(delay + NOTICED);
        println!("{mode:?}: reset after {took:?}");
        assert!(took >= delay, "{mode:?}: reset after {took:?}");
        self.expect("the run before ended: radio stopped answering after", READY);
        self.expect_ready();
        assert!(self.reason().contains("radio"), "{mode:?}: {}", self.reason());
    }
}

#[test]
fn board_resets_with_backoff_when_its_radio_stops_answering() {
    let mut bench = Bench::ready();
    for (mode, delay) in [
        (FailureMode::BusLow, Duration::ZERO),
        (FailureMode::Mute, MINUTE),
        (FailureMode::NoInterrupt, 2 * MINUTE),
    ] {
        bench.expect_reset_for(mode, delay);
    }
    bench.within(READY, "an event", |testbed| {
        let events = testbed.cluster.list("events", "", "", "").expect("events");
        events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            event["reason"] == "Crashed"
                && message.starts_with("The run before ended: radio stopped answering after")
        })
    });

    // It answers again before the board is reset.
    bench.testbed.break_radio(FailureMode::NoAnswer, None);
    bench.expect("radio stopped answering: resetting the board in 240 s", NOTICED);
    bench.expect_no_reset(MINUTE);
    bench.testbed.mend_radio();
    bench.expect("radio answers again", MINUTE + NOTICED);
    bench.expect_back("the radio did not answer for a minute");
    bench.expect_no_reset(4 * MINUTE);
}

#[test]
fn board_resets_with_backoff_while_its_radio_does_not_start() {
    for (mode, delays) in [
        (FailureMode::Mute, &[Duration::ZERO, MINUTE, 2 * MINUTE][..]),
        (FailureMode::BusLow, &[Duration::ZERO]),
        (FailureMode::BusHigh, &[Duration::ZERO]),
    ] {
        let mut bench = Bench::new();
        bench.testbed.break_radio(mode, Some(delays.len() as u32));
        bench.testbed.board.power_on();
        for delay in delays {
            let took = bench.expect_reset(*delay + NOTICED);
            println!("{mode:?}: reset after {took:?}");
            assert!(took >= *delay, "{mode:?}: reset after {took:?}");
            bench.expect("the run before ended: radio did not start after", READY);
        }
        bench.expect_ready();
        assert!(bench.reason().contains("radio"), "{mode:?}: {}", bench.reason());
    }
}

#[test]
fn board_resets_when_its_status_or_data_line_is_stuck_high_or_credit_is_missing() {
    let mut bench = Bench::ready();
    for (mode, delay) in [
        (FailureMode::BusHigh, Duration::ZERO),
        (FailureMode::StatusHigh, MINUTE),
        (FailureMode::NoCredit, 2 * MINUTE),
    ] {
        bench.expect_reset_for(mode, delay);
    }
}

#[test]
fn board_joins_twice_again_and_resets_when_no_frame_arrives() {
    let mut bench = Bench::ready();
    bench.testbed.break_radio(FailureMode::Deaf, Some(1));
    bench.expect("no frame received for minutes", 5 * MINUTE + NOTICED);
    bench.expect("no frame received for minutes", 2 * MINUTE + NOTICED);
    bench.expect_reset(2 * MINUTE + NOTICED);
    bench.expect("the run before ended: radio received no frame after", READY);
    bench.expect_ready();
    assert!(bench.reason().contains("radio"), "{}", bench.reason());

    // Frames arrive again after the first such join.
    bench.testbed.break_radio(FailureMode::Deaf, None);
    bench.expect("no frame received for minutes", 5 * MINUTE + NOTICED);
    bench.testbed.mend_radio();
    bench.expect_back("no frame arrived for five minutes");
    bench.expect_no_reset(10 * MINUTE);
}

#[test]
fn board_does_not_reset_while_only_others_are_away() {
    if !is_long() {
        return;
    }
    let mut bench = Bench::ready();
    bench.testbed.cluster.set_down((3 * HOUR).into());
    bench.expect_no_reset(3 * HOUR);
    bench.expect_back("the API server was away for three hours");

    bench.testbed.set_access_point(false);
    bench.expect_no_reset(3 * HOUR);
    assert!(!bench.testbed.is_ready(NODE));
    bench.testbed.set_access_point(true);
    bench.expect_back("the access point was away for three hours");
}
