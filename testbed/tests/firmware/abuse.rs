//! Callers who are up to something: the Lease never misses, memory is bounded, and others are served afterwards.

use crate::{Bench, NODE};
use embedded_io_async::Write;
use picolet_platform::Clock;
use picolet_testbed::abuse::{exchange, is_refused, no_handshakes, requests};
use picolet_testbed::{EmulatedClock, Testbed};
use std::time::Duration;

/// A Lease is renewed every ten seconds: after twice that, one was missed.
const MISSED: Duration = Duration::from_secs(20);
/// How long others may have to wait once it is over: the callers who were let in have five seconds each for a handshake, or
/// thirty of silence.
const SERVED: Duration = Duration::from_secs(45);
/// Handed out of the heap afterwards, beside what was before: who called and what they may do is kept for minutes, and a key that
/// comes back gets its table.
const ROOM: u64 = 3 * 1024;
/// A longer record is refused before it is read.
const LONGEST_RECORD: usize = 7 * 1024;

/// Runs for so long, `meanwhile` with each slice of time; the Lease is renewed all along.
fn run_with_lease(
    bench: &mut Bench,
    what: &str,
    duration: Duration,
    mut meanwhile: impl FnMut(&mut Testbed, Duration),
) {
    let begun = bench.testbed.now();
    let (mut lease, mut at, mut longest) = (String::new(), begun, Duration::ZERO);
    bench.until(duration, |testbed| {
        meanwhile(testbed, testbed.now().since(begun));
        let object = testbed
            .cluster
            .get("leases", "kube-node-lease", NODE)
            .expect("a Lease");
        let renewed = object["spec"]["renewTime"].as_str().unwrap_or_default();
        if renewed != lease {
            (lease, at) = (renewed.to_owned(), testbed.now());
        }
        longest = longest.max(testbed.now().since(at));
        false
    });
    println!("{what}: the Lease was renewed after {longest:?} at most");
    assert!(
        longest < MISSED,
        "{what}: no Lease for {longest:?}:\n{}",
        bench.log
    );
    assert!(bench.testbed.is_ready(NODE), "{what}");
}

/// Waits until the node serves others again.
fn expect_served(bench: &mut Bench, what: &str) {
    let begun = bench.testbed.now();
    loop {
        let answer = bench.testbed.get("/healthz");
        let took = bench.testbed.now().since(begun);
        match answer {
            Ok((200, _)) => return println!("{what}: others are served {took:?} after it"),
            _ => assert!(
                took < SERVED,
                "{what}: nobody is served for {took:?}: {answer:?}\n{}",
                bench.log
            ),
        }
        bench.run(Duration::from_millis(500));
    }
}

async fn seconds(clock: &EmulatedClock, seconds: u64) {
    clock.sleep(picolet_platform::Duration::from_secs(seconds)).await;
}

/// Opens a connection without TLS, sends `bytes`, and holds it for so long.
fn hold(testbed: &Testbed, bytes: Vec<u8>, held: u64) {
    let (call, clock) = (testbed.call(), testbed.clock());
    testbed.spawn(async move {
        if let Ok(mut socket) = call.await {
            let _ = socket.write_all(&bytes).await;
            seconds(&clock, held).await;
        }
    });
}

/// As the API server, sends `begin`, then `more` once a second for so long, and reads nothing.
fn dawdle(testbed: &Testbed, begin: String, more: &'static str, held: u64) {
    let (call, clock) = (testbed.call_tls().expect("a certificate"), testbed.clock());
    testbed.spawn(async move {
        let Ok(mut stream) = call.await else { return };
        if stream.write_all(begin.as_bytes()).await.is_err() {
            return;
        }
        let _ = stream.flush().await;
        for _ in 0..held {
            seconds(&clock, 1).await;
            if !more.is_empty() && stream.write_all(more.as_bytes()).await.is_err() {
                return;
            }
            let _ = stream.flush().await;
        }
    });
}

#[test]
fn requests_that_can_be_misunderstood_are_refused_and_hide_nothing() {
    let mut bench = Bench::ready();
    let (resets, heap) = (
        bench.testbed.board.figures().resets,
        bench.figure("picolet_heap_used_bytes"),
    );
    for bad in requests() {
        let answer = bench.testbed.ask(&bad.request).expect("an answer");
        let unread = answer.is_empty() && bad.request.len() > LONGEST_RECORD;
        assert!(unread || is_refused(&bad, &answer), "{}: {answer}", bad.what);
        bench.run(Duration::from_millis(100));
    }
    expect_served(&mut bench, "bad requests");
    let after = bench.figure("picolet_heap_used_bytes");
    assert!(after <= heap + ROOM, "{heap} bytes before, {after} after");
    assert_eq!(bench.testbed.board.figures().resets, resets);
}

#[test]
fn board_takes_a_token_of_four_kibibytes() {
    let mut bench = Bench::ready();
    for (bytes, code) in [(1670, 200), (4096, 200), (6144, 431), (4096, 200)] {
        let token = "t".repeat(bytes);
        let request = format!(
            "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let answer = bench.testbed.ask(&request).expect("an answer");
        let expected = format!("HTTP/1.1 {code} ");
        assert!(
            answer.starts_with(&expected),
            "a token of {bytes} bytes: {answer}"
        );
    }
    println!("heap: {} bytes at most", bench.figure("picolet_heap_peak_bytes"));
}

#[test]
fn whoever_dawdles_or_floods_costs_no_lease_and_others_are_served_afterwards() {
    let mut bench = Bench::ready();
    let (resets, heap) = (
        bench.testbed.board.figures().resets,
        bench.figure("picolet_heap_used_bytes"),
    );
    let head = "GET /livez HTTP/1.1\r\nHost: x\r\n".to_owned();
    let body = "POST /pico/command HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n".to_owned();
    let answers = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10);
    for (what, begin, more) in [
        ("slow heads", &head, "X: y\r\n"),
        ("slow bodies", &body, "{"),
        ("slow readers", &answers, ""),
    ] {
        for _ in 0..4 {
            dawdle(&bench.testbed, begin.clone(), more, 20);
        }
        run_with_lease(&mut bench, what, Duration::from_secs(22), |_, _| {});
        expect_served(&mut bench, what);
    }
    for _ in 0..6 {
        hold(&bench.testbed, Vec::new(), 20);
    }
    run_with_lease(&mut bench, "silent callers", Duration::from_secs(22), |_, _| {});
    expect_served(&mut bench, "silent callers");
    for bytes in no_handshakes() {
        hold(&bench.testbed, bytes, 10);
        run_with_lease(&mut bench, "no handshake", Duration::from_secs(2), |_, _| {});
    }
    expect_served(&mut bench, "no handshakes");

    // A hundred connections a second, of all kinds.
    let long = std::env::var_os("PICOLET_LONG_TESTS").is_some();
    let duration = Duration::from_secs(if long { 600 } else { 20 });
    let (mut begun, bytes) = (0, no_handshakes());
    run_with_lease(
        &mut bench,
        "100 connections a second",
        duration,
        |testbed, passed| {
            while begun < passed.as_millis() / 10 {
                match begun % 10 {
                    0..3 => drop(testbed.dial_inward()),
                    3 => {
                        let (call, clock) = (testbed.call_tls().expect("a certificate"), testbed.clock());
                        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                        testbed.spawn(async move {
                            if let Ok(mut stream) = call.await {
                                exchange(&mut stream, request, async || seconds(&clock, 5).await).await;
                            }
                        });
                    }
                    4 => hold(testbed, Vec::new(), 2),
                    n => hold(testbed, bytes[(n as usize) % bytes.len()].clone(), 1),
                }
                begun += 1;
            }
        },
    );
    println!("{begun} connections");
    expect_served(&mut bench, "100 connections a second");
    // What was refused is let go of.
    bench.run(Duration::from_secs(10));
    let (after, peak) = (
        bench.figure("picolet_heap_used_bytes"),
        bench.figure("picolet_heap_peak_bytes"),
    );
    println!("heap: {heap} bytes before, {after} after, {peak} at most");
    assert!(after <= heap + ROOM, "{heap} bytes before, {after} after");
    assert_eq!(bench.testbed.board.figures().resets, resets);
    bench.drive(true);
}
