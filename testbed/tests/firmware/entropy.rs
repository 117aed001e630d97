//! Keys are made of the ring oscillator's noise, whatever that oscillator is like, or the board says why not and tries again.

use crate::{Bench, NODE, READY, is_long};
use picolet_emulator::Oscillator;
use picolet_testbed::{Options, Testbed};
use std::sync::Mutex;
use std::time::Duration;

/// What keys need, by SP 800-90A for a generator of full strength.
const NEEDED: f64 = 256.0;
/// Between two attempts of a board whose noise is not good enough.
const RETRY: Duration = Duration::from_secs(60);

/// A board that has not joined yet, with an oscillator whose output does not move.
fn stuck() -> Bench {
    let mut bench = Bench::joining(Options::default());
    bench.testbed.board.set_oscillator(STUCK);
    bench.testbed.board.power_on();
    bench
}

const STUCK: Oscillator = Oscillator {
    hz: 6.5e6,
    duty: 0.5,
    jitter: 0.001,
    ripple: 0.0,
    ripple_hz: 0.0,
    stuck: true,
};

/// Frequency of the divided output, in Hz: the datasheet's range, swept in 200 steps.
fn frequency(step: u32) -> f64 {
    1.8e6 + f64::from(step) * (12.0e6 - 1.8e6) / 199.0
}

#[test]
fn board_makes_keys_of_256_bits_at_each_frequency_of_its_oscillator() {
    let apart = if is_long() { 1 } else { 40 };
    // A run that was cut off goes on from here.
    let first = std::env::var("PICOLET_STEP").map_or(0, |step| step.parse().expect("a number"));
    let steps = Mutex::new((first..200).step_by(apart));
    let work = || {
        let (mut least, mut retried) = (f64::INFINITY, 0);
        loop {
            let step = steps.lock().expect("no thread panics").next();
            let Some(step) = step else {
                return (least, retried);
            };
            let (entropy, waits) = make_keys(step);
            least = least.min(entropy);
            retried += waits;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (least, retried) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().expect("keys are made"));
        results.fold((f64::INFINITY, 0), |sum, it| (sum.0.min(it.0), sum.1 + it.1))
    });
    println!("at least {least:.0} bits; {retried} waits of a minute");
    assert!(least >= NEEDED, "{least}");
}

/// Runs a board with the oscillator of that step until it has made its keys. Returns the min-entropy of its samples, and how often it had
/// to wait for its next attempt.
fn make_keys(step: u32) -> (f64, u32) {
    let mut bench = Bench::joining(Options {
        seed: u64::from(step) + 1,
        ..Options::default()
    });
    bench.testbed.board.set_oscillator(Oscillator {
        hz: frequency(step),
        ..Oscillator::default()
    });
    bench.testbed.board.power_on();
    let made_keys = |testbed: &mut Testbed| {
        let requests = testbed.certificate_requests(NODE, "client");
        requests.is_ok_and(|requests| !requests.is_empty())
    };
    let mut retried = 0;
    while !made_keys(&mut bench.testbed) {
        let before = bench.log.len();
        if bench.until(READY, made_keys).is_none() {
            let log = &bench.log[before..];
            assert!(log.contains("noise source"), "step {step}:\n{}", bench.log);
            retried += 1;
            bench.run(RETRY);
        }
    }
    let entropy = bench.testbed.board.randombit_min_entropy();
    println!(
        "step {step}: {:.3} MHz: {entropy:.0} bits of min-entropy",
        frequency(step) / 1e6
    );
    (entropy, retried)
}

#[test]
fn board_joins_when_its_noise_source_works_only_later() {
    let mut bench = stuck();
    bench.expect(
        "noise source failed: it repeats one value; no keys, trying again every 60 s",
        READY,
    );
    bench.expect("noise source failed: it repeats one value", RETRY);
    bench.run(RETRY);
    assert!(!bench.testbed.is_ready(NODE));
    assert_eq!(bench.testbed.board.figures().resets, 0);

    bench.testbed.board.set_oscillator(Oscillator::default());
    bench.within(2 * RETRY, "Ready", |testbed| testbed.is_ready(NODE));
    assert!(bench.testbed.board.randombit_min_entropy() >= NEEDED);
    assert_eq!(bench.testbed.board.figures().resets, 1);
}

#[test]
fn board_that_has_a_seed_starts_when_its_noise_source_fails() {
    let mut bench = Bench::joining(Options::default());
    bench.testbed.board.power_on();
    bench.expect_ready();
    bench.testbed.board.set_oscillator(STUCK);
    bench.testbed.board.power_cycle();
    bench.expect("using the stored seed", READY);
    bench.expect_ready();
}

#[test]
fn board_gathers_noise_for_a_full_seed_at_each_start() {
    let mut bench = Bench::ready();
    bench.testbed.board.power_cycle();
    let before = bench.testbed.board.randombit_min_entropy();
    bench.expect_ready();
    let start = bench.testbed.board.randombit_min_entropy() - before;
    assert!(start >= NEEDED / 4.0, "{start}");
    bench.run(RETRY);
    let more = bench.testbed.board.randombit_min_entropy() - before - start;
    assert!(more >= NEEDED, "{more}");
    // Until the next hour it takes none.
    let full = bench.testbed.board.randombit_min_entropy();
    bench.run(RETRY);
    assert!(bench.testbed.board.randombit_min_entropy() - full < 1.0);
}

#[test]
fn console_sends_raw_samples_when_asked_for_noise() {
    for mut bench in [Bench::ready(), stuck()] {
        bench.run(READY);
        bench.testbed.board.take_usb();
        bench.testbed.board.feed_usb(b"noise 8\n");
        let mut console = String::new();
        bench.within(READY, "the samples", |testbed| {
            console.push_str(&String::from_utf8_lossy(&testbed.board.take_usb()));
            console.contains("% ok noise")
        });
        let lines: Vec<_> = console
            .lines()
            .filter_map(|line| line.strip_prefix("% noise "))
            .collect();
        assert_eq!(lines.len(), 8, "{console}");
        let ones: u32 = lines
            .iter()
            .flat_map(|line| line.chars())
            .map(|digit| digit.to_digit(16).expect("hexadecimal").count_ones())
            .sum();
        let moves = bench.testbed.is_ready(NODE);
        assert_eq!((8 * 256 / 4..8 * 256 * 3 / 4).contains(&ones), moves, "{ones}");
        assert!(lines.iter().all(|line| line.len() == 64));
    }
}
