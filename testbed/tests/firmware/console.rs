//! The console on USB, and hosts that echo, suspend the bus, close it, or go away.

use crate::{Bench, READY};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

impl Bench {
    /// What the console sends for so long.
    fn console(&mut self, duration: Duration) -> String {
        let mut console = Vec::new();
        self.until(duration, |testbed| {
            console.extend(testbed.board.take_usb());
            false
        });
        String::from_utf8_lossy(&console).into_owned()
    }

    fn expect_answer(&mut self) {
        self.testbed.board.feed_usb(b"\nhello\n");
        let console = self.console(SECOND);
        assert!(console.contains("% ok picolet 1 pico-w\r\n"), "{console}");
    }
}

#[test]
fn console_does_not_answer_its_echo() {
    let mut bench = Bench::new();
    bench.testbed.board.set_usb_echo(true);
    bench.testbed.board.power_on();
    bench.expect_ready();
    bench.expect_answer();
    bench.run(READY);
    let console = bench.console(READY);
    assert!(!console.contains('%'), "{console}");
}

#[test]
fn console_waits_before_it_sends_to_a_program_that_opens_it() {
    let mut bench = Bench::new();
    bench.testbed.board.set_usb_open(false);
    bench.testbed.board.power_on();
    bench.expect_ready();
    assert_eq!(
        bench.console(SECOND),
        "",
        "nothing is sent before the console is open"
    );
    bench.testbed.board.set_usb_open(true);
    assert_eq!(bench.console(Duration::from_millis(95)), "");
    let console = bench.console(SECOND);
    assert!(console.starts_with("0."), "{console}");
    assert!(console.contains(" started by power-on\r\n"), "{console}");
    // Once more, from the start.
    bench.testbed.board.set_usb_open(false);
    bench.run(SECOND);
    bench.testbed.board.set_usb_open(true);
    assert!(bench.console(SECOND).contains(" started by power-on\r\n"));
    bench.expect_answer();
}

#[test]
fn console_goes_on_when_its_host_comes_back() {
    let mut bench = Bench::ready();
    bench.console(SECOND);
    bench.testbed.board.set_usb_suspended(true);
    bench.testbed.board.feed_usb(b"\nhello\n");
    assert_eq!(bench.console(60 * SECOND), "");
    bench.testbed.board.set_usb_suspended(false);
    let console = bench.console(SECOND);
    assert!(console.contains("% ok picolet 1 pico-w\r\n"), "{console}");
    bench.expect_answer();

    bench.testbed.board.set_usb_attached(false);
    assert_eq!(bench.console(60 * SECOND), "");
    bench.testbed.board.set_usb_attached(true);
    let console = bench.console(SECOND);
    assert!(console.contains(" started by power-on\r\n"), "{console}");
    bench.expect_answer();
}

#[test]
fn board_restarts_when_its_host_asks_for_that_and_goes_away() {
    let mut bench = Bench::ready();
    bench.console(SECOND);
    bench.testbed.board.feed_usb(b"\nrestart\n");
    // The host has sent it, and reads no answer.
    bench.run(Duration::from_millis(1));
    bench.testbed.board.set_usb_attached(false);
    bench.within(SECOND, "a restart", |testbed| testbed.board.figures().resets > 0);
    bench.expect_ready();
}
