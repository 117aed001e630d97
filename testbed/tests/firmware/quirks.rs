//! What a radio and access points do now and then: the board survives each alone, and all of them in a fuzzed run.

use crate::is_long;
use crate::{Bench, NODE, READY};
use picolet_emulator::radio::{Change, Config as RadioConfig, FailureMode};
use picolet_emulator::{BoardQuirks, Time};
use picolet_testbed::{Options, Testbed};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// A bring-up that fails takes ten seconds, and the reset after it another start.
const RESTARTED: Duration = Duration::from_secs(30);
/// The longest that a board may be neither Ready nor reset.
const LOST: Duration = Duration::from_secs(600);

impl Bench {
    /// A board that never had power, with a radio of these quirks.
    fn quirky(quirks: &str) -> Self {
        let options = Options {
            radio: RadioConfig {
                quirks: quirks.parse().expect("quirks"),
                ..RadioConfig::default()
            },
            ..Options::default()
        };
        Self::with(options, &[])
    }

    /// Powers the board up, and says how long it takes to be Ready, which must be within `limit`.
    fn start(&mut self, limit: Duration) -> Duration {
        self.testbed.board.power_on();
        let took = self.within(limit, "Ready", |testbed| testbed.is_ready(NODE));
        println!("Ready after {took:?}, {} resets", self.resets());
        took
    }

    fn resets(&self) -> u32 {
        self.testbed.board.figures().resets
    }
}

#[test]
fn node_is_back_when_the_access_point_throws_it_out_without_a_link_event() {
    let mut bench = Bench::quirky("silent-deauth");
    bench.start(READY);
    for change in [Change::Deauthenticate(4), Change::Disassociate(8)] {
        let now = bench.testbed.now();
        bench.testbed.air().plan(now, change.clone());
        bench.expect("disconnected from the access point", Duration::from_secs(1));
        bench.expect_back(&format!("{change:?}"));
    }
    assert_eq!(bench.resets(), 0);
}

#[test]
fn board_goes_on_when_the_radio_refuses_to_leave() {
    let mut bench = Bench::quirky("refuses-disassoc");
    bench.testbed.set_access_point(false);
    bench.testbed.board.power_on();
    bench.run(MINUTE);
    assert_eq!(bench.resets(), 0, "{}", bench.log);
    bench.testbed.set_access_point(true);
    bench.expect_back("the radio refused to leave");
}

#[test]
fn board_is_ready_when_any_control_message_is_refused_or_its_answer_lost() {
    let mut bench = Bench::quirky("seed=1");
    bench.start(READY);
    let controls = bench.testbed.radio().controls();
    println!("{controls} control messages until Ready");
    assert!(controls > 20);
    let step = if is_long() { 1 } else { 7 };
    for quirk in ["refused", "lost-answer"] {
        for number in (1..=controls).step_by(step) {
            let mut bench = Bench::quirky(&format!("{quirk}={number}"));
            bench.start(RESTARTED);
            assert!(!bench.log.contains("panic at"), "{quirk} {number}: {}", bench.log);
        }
    }
}

#[test]
fn node_joins_when_handshakes_do_not_begin() {
    let mut bench = Bench::quirky("handshake-timeouts=2");
    bench.testbed.board.power_on();
    for _ in 0..2 {
        bench.expect(
            "not joined: the access point does not begin the handshake (SSID ",
            READY,
        );
    }
    bench.within(READY, "Ready", |testbed| testbed.is_ready(NODE));
}

#[test]
fn access_point_lets_the_board_in_at_once_after_a_restart() {
    let mut bench = Bench::quirky("comeback=3s");
    bench.start(READY);
    bench.run(Duration::from_secs(5));
    bench.testbed.board.feed_usb(b"restart\n");
    bench.expect("started by software", READY);
    bench.expect_ready();
    assert!(!bench.log.contains("not joined"), "{}", bench.log);

    // One that loses power cannot leave.
    bench.log.clear();
    bench.testbed.board.power_cycle();
    bench.expect_ready();
    assert!(
        bench.log.contains("not joined: the access point refuses"),
        "{}",
        bench.log
    );
}

#[test]
fn node_is_ready_soon_when_first_frames_after_the_join_are_lost() {
    for lost in 1..=2 {
        let took = Bench::quirky(&format!("lost-frames={lost}")).start(READY);
        assert!(took < Duration::from_secs(6), "{lost} lost: {took:?}");
    }
}

#[test]
fn node_joins_when_the_access_point_takes_its_time() {
    Bench::quirky("join-delay=15s").start(Duration::from_secs(25));
}

#[test]
fn radio_is_reset_when_it_must_be_without_power_for_long() {
    let mut bench = Bench::quirky("power-off=150ms");
    bench.start(READY);
    bench.testbed.break_radio(FailureMode::Mute, Some(1));
    bench.expect("the run before ended: radio stopped answering", RESTARTED);
    bench.expect_ready();
    assert_eq!(bench.resets(), 1, "{}", bench.log);
}

#[test]
fn radio_starts_when_its_test_register_answers_late() {
    Bench::quirky("start-reads=100").start(READY);
}

#[test]
fn bus_is_slower_after_a_reset_when_bits_flip() {
    // One in a thousand bits is seen by the test of the bus, one in a million by the comparison of the firmware.
    for errors in ["1000000", "1000"] {
        let mut bench = Bench::quirky(&format!("bit-errors={errors}/0.035us"));
        bench.start(RESTARTED);
        assert_eq!(bench.resets(), 1, "{}", bench.log);
        assert!(
            bench.log.contains("the run before ended: radio did not start"),
            "{}",
            bench.log
        );
    }
}

#[test]
fn board_does_not_panic_when_bits_flip_while_frames_arrive() {
    let mut bench = Bench::quirky("bit-errors=100000/0.035us/5s");
    bench.start(READY);
    for _ in 0..2000 {
        bench.testbed.ping();
        bench.run(Duration::from_millis(10));
    }
    for crash in ["panic at", "fault at"] {
        assert!(!bench.log.contains(crash), "{}", bench.log);
    }
}

/// Runs a board with the radio, oscillator, flash and USB host of that seed until its failures are over and the node has been Ready for a minute. Returns what went
/// wrong.
fn survive(seed: u64) -> Result<(), String> {
    let quirks = BoardQuirks::fuzzed(seed);
    let described = format!("seed {seed}: {quirks:?}");
    let radio = RadioConfig {
        quirks: quirks.radio.clone(),
        failures: quirks.failures.clone(),
        ..RadioConfig::default()
    };
    let mut bench = Bench::with(
        Options {
            seed,
            radio,
            ..Options::default()
        },
        &[],
    );
    // What access points do: thrown out, and off the air for half a minute.
    let mut random = fastrand::Rng::with_seed(seed);
    let mut moment = || Time::from_millis(random.u64(0..180_000));
    let changes = [
        (moment(), Change::Deauthenticate(4)),
        (moment(), Change::Disassociate(8)),
    ];
    let away = moment();
    let bssid = bench.testbed.air().access_points()[0].bssid;
    for (at, change) in changes.into_iter().chain([
        (away, Change::Present(bssid, false)),
        (away + Duration::from_secs(30), Change::Present(bssid, true)),
    ]) {
        bench.testbed.air().plan(at, change);
    }
    bench.testbed.board.set_quirks(&quirks);
    bench.testbed.board.power_on();
    let mut watch = Watch {
        settled: Time::from_millis(215_000),
        ..Watch::default()
    };
    let log = &mut bench.log;
    let done = bench
        .testbed
        .until(6 * LOST, |testbed| watch.is_over(testbed, log));
    let wrong = match done {
        Err(error) => format!("{error:#}"),
        Ok(None) => "it never settles".to_owned(),
        Ok(Some(_)) if watch.is_lost => "neither Ready nor reset for ten minutes".to_owned(),
        Ok(Some(_)) if bench.log.contains("panic at") || bench.log.contains("fault at") => {
            "a crash".to_owned()
        }
        Ok(Some(took)) => {
            println!("seed {seed}: {} resets, over after {took:?}", bench.resets());
            return Ok(());
        }
    };
    Err(format!("{wrong}: {described}\n{}", bench.log))
}

/// Looks at a board once a second.
#[derive(Default)]
struct Watch {
    /// When the last failure has begun.
    settled: Time,
    next: Time,
    resets: u32,
    /// When the board was last Ready or reset, and since when it has been Ready.
    good: Time,
    ready_since: Option<Time>,
    is_lost: bool,
}

impl Watch {
    /// Whether the run is over, well or not.
    fn is_over(&mut self, testbed: &mut Testbed, log: &mut String) -> bool {
        let now = testbed.now();
        if now < self.next {
            return false;
        }
        self.next = now + Duration::from_secs(1);
        log.push_str(&String::from_utf8_lossy(&testbed.board.take_uart(0)));
        let (ready, resets) = (testbed.is_ready(NODE), testbed.board.figures().resets);
        if ready || resets != self.resets {
            (self.good, self.resets) = (now, resets);
        }
        let fresh = self.ready_since.filter(|_| ready);
        self.ready_since = fresh.or(ready.then_some(now));
        self.is_lost = now.since(self.good) > LOST;
        let steady = self.ready_since.is_some_and(|since| now.since(since) >= MINUTE);
        self.is_lost || steady && now >= self.settled && !testbed.radio().has_failures()
    }
}

#[test]
fn no_board_stays_lost_whatever_its_quirks() {
    let seeds = if is_long() { 1000 } else { 12 };
    let first = std::env::var("PICOLET_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    let next = AtomicU64::new(first);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                break;
            }
            if let Err(what) = survive(seed) {
                println!("{what}");
                wrong.lock().expect("no thread panics").push(what);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().expect("no thread panics");
    assert!(
        wrong.is_empty(),
        "{} of {seeds} seeds:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}
