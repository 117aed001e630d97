//! Who the board talks to goes away and comes back, sends much, or wants much at once.

use crate::{BACK, Bench, NODE, PIN};
use picolet_devcluster::Restart;
use picolet_store::settings::Field;
use picolet_testbed::{Options, SERVER, SERVER_PORT, SILENT, Silence};
use serde_json::json;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The most cycles of a handshake with the API server that goes on from an earlier one, and of one from the beginning.
const RESUMED: u64 = 11_000_000;
const FULL: u64 = 26_000_000;
/// What an echo or a new connection may take: two of the slices in which the network at rest is looked at, and its frames.
const SOON: Duration = Duration::from_millis(12);
/// Three times what a silent server is waited for, and what it takes to become Ready.
const FAILOVER: Duration = Duration::from_secs(45);
/// Longer than a node's Lease lasts.
const OUTAGE: Duration = Duration::from_secs(180);

#[test]
fn whatever_was_away_the_node_is_ready_soon_after_it_is_back() {
    let mut bench = Bench::ready();
    let resets = bench.testbed.board.figures().resets;

    // All connections are cut: what comes then goes on from before, and is cheaper.
    let before = bench.testbed.handshakes().len();
    bench.testbed.cluster.cut_connections();
    bench.within(BACK, "four new connections", |testbed| {
        testbed.handshakes().len() >= before + 4
    });
    bench.drive(true);
    let (first, later) = bench.testbed.handshakes().split_at(before);
    let longest = |all: &[picolet_testbed::Handshake]| all.iter().map(|one| one.cycles).max().unwrap_or(0);
    let full: Vec<_> = first.iter().filter(|one| !one.resumed).copied().collect();
    println!(
        "handshakes: full at most {}, resumed at most {} cycles",
        longest(&full),
        longest(later)
    );
    assert!(later.iter().all(|one| one.resumed && one.certified), "{later:?}");
    assert!(!full.is_empty() && longest(&full) <= FULL, "{full:?}");
    assert!(longest(later) <= RESUMED, "{later:?}");

    // The node is deleted: it is a new one soon.
    let uid = bench.object()["metadata"]["uid"].clone();
    let deleted = bench.testbed.cluster.delete("nodes", "", NODE, None);
    deleted.expect("there is a node");
    bench.within(BACK, "a new node", |testbed| {
        let node = testbed.cluster.get("nodes", "", NODE).unwrap_or_default();
        node["metadata"]["uid"].is_string() && node["metadata"]["uid"] != uid && testbed.is_ready(NODE)
    });
    bench.drive(false);

    // The API server is restarted, and has forgotten what happened before.
    bench.testbed.cluster.restart(Restart::History);
    bench.drive(true);
    assert!(bench.testbed.is_ready(NODE));

    // It is away.
    bench.testbed.cluster.set_down(OUTAGE.into());
    bench.run(OUTAGE);
    bench.expect_back("the API server was away for three minutes");
    bench.drive(false);

    // So is the access point.
    bench.testbed.set_access_point(false);
    bench.run(OUTAGE);
    assert!(
        !bench.testbed.is_ready(NODE),
        "who was away for so long is not Ready"
    );
    bench.testbed.set_access_point(true);
    bench.expect_back("the access point was away for three minutes");
    bench.drive(true);
    assert_eq!(
        bench.testbed.board.figures().resets,
        resets,
        "it was done without a restart"
    );
}

/// A board whose servers are these.
fn served_by(servers: &[&str]) -> Bench {
    let fields: Vec<(Field, &[u8])> = servers
        .iter()
        .map(|server| (Field::Server, server.as_bytes()))
        .collect();
    Bench::with(Options::default(), &fields)
}

#[test]
fn board_registers_when_three_servers_before_a_good_one_are_silent() {
    let mut bench = served_by(&[
        "https://10.0.2.2:7001",
        "https://10.0.2.2:7002",
        "https://10.0.2.2:7003",
        "https://10.0.2.2:6443",
    ]);
    for port in 7001..7004 {
        bench.testbed.network.serve(port, || Silence);
    }
    bench.testbed.board.power_on();
    let took = bench.within(FAILOVER, "Ready", |testbed| testbed.is_ready(NODE));
    println!("Ready after {took:?}, three of four servers silent");
    bench.expect_back("three servers were silent");
}

#[test]
fn board_registers_when_the_first_address_of_a_server_is_silent() {
    let mut bench = served_by(&[&format!("https://kubernetes:{SERVER_PORT}")]);
    bench.testbed.network.name("kubernetes", &[SILENT, SERVER]);
    bench.testbed.board.power_on();
    let took = bench.within(FAILOVER, "Ready", |testbed| testbed.is_ready(NODE));
    println!("Ready after {took:?}, one of two addresses silent");
}

#[test]
fn a_megabyte_in_records_of_16_kib_does_no_harm() {
    let mut bench = Bench::ready();
    let resets = bench.testbed.board.figures().resets;
    // What is made once for each peer and each kind of object is there after some calls.
    for round in 0..6 {
        bench.figure("picolet_heap_used_bytes");
        bench.drive(round % 2 == 0);
    }
    let mut heap = Vec::new();
    for _ in 0..6 {
        bench.drive(true);
        // All that a ConfigMap may have: 1 MiB of data.
        let gpio = format!("{PIN}=low");
        let room = (1 << 20) - "othergpio".len() - gpio.len();
        let patch = json!({"data": {"other": "x".repeat(room), "gpio": gpio}});
        let cluster = &bench.testbed.cluster;
        let patched = cluster.patch("configmaps", "default", "pico-config", &patch);
        patched.expect("it is taken");
        let took = bench.within(BACK, "the pin of a large ConfigMap", |testbed| {
            !testbed.board.pin(PIN)
        });
        println!("a ConfigMap of 1 MiB was applied after {took:?}");
        let small = json!({"data": {"other": null}});
        let cluster = &bench.testbed.cluster;
        let patched = cluster.patch("configmaps", "default", "pico-config", &small);
        patched.expect("it is taken");
        bench.run(Duration::from_secs(10));
        assert!(bench.testbed.is_ready(NODE));
        heap.push(bench.figure("picolet_heap_used_bytes"));
    }
    println!("heap after each: {heap:?}");
    // A request that is under way takes some hundred bytes, and it is not known when one is: the least of some rounds tells. What a
    // record or the value left behind would be thousands.
    let (first, last) = heap.split_at(3);
    assert!(
        last.iter().min() <= first.iter().min().map(|least| least + 512).as_ref(),
        "{heap:?}"
    );
    assert_eq!(bench.testbed.board.figures().resets, resets);
}

#[test]
fn echo_and_tcp_go_on_during_a_handshake() {
    let mut bench = Bench::ready();
    // At rest, and then all through a handshake.
    let at_rest = bench.testbed.dial_inward();
    bench.testbed.ping();
    bench.run(Duration::from_secs(1));
    let (rest, opened) = (bench.testbed.echoes(), at_rest.get());
    println!("at rest: {rest:?}, TCP opened in {opened:?}");
    assert!(rest[0].took.is_some_and(|took| took < SOON), "{rest:?}");
    assert!(opened.is_some_and(|took| took < SOON), "{opened:?}");
    let every = Duration::from_millis(2);
    let (mut next, mut second) = (bench.testbed.now(), None::<Rc<Cell<Option<Duration>>>>);
    let begun = bench.testbed.now();
    let cycles = bench.testbed.handshake_inward_and(|testbed| {
        if testbed.now() >= next {
            next = testbed.now() + every;
            testbed.ping();
        }
        // In the middle of the signature.
        if second.is_none() && testbed.now().since(begun) > Duration::from_millis(40) {
            second = Some(testbed.dial_inward());
        }
    });
    let cycles = cycles.expect("a handshake");
    let took = bench.testbed.now().since(begun);
    let echoes = &bench.testbed.echoes()[1..];
    let (count, late) = (echoes.len(), echoes.iter().filter_map(|echo| echo.took).max());
    let dialled = second
        .and_then(|second| second.get())
        .expect("a second connection was opened meanwhile");
    println!(
        "a handshake of {cycles} cycles in {took:?}: {count} echoes, the latest after {late:?}; TCP opened in {dialled:?}"
    );
    assert!(
        took > Duration::from_millis(60) && count > 25,
        "the handshake is too short to say anything"
    );
    // The last one may still be under way.
    let lost = echoes[..count - 1]
        .iter()
        .filter(|echo| echo.took.is_none())
        .count();
    assert_eq!(lost, 0, "{echoes:?}");
    assert!(late.is_some_and(|late| late < SOON), "{late:?}");
    assert!(dialled < SOON, "{dialled:?}");
}

#[test]
fn log_of_a_board_keeps_its_lines_however_often_it_is_read() {
    let mut bench = Bench::ready();
    for _ in 0..60 {
        let (status, _) = bench.testbed.get("/healthz").expect("an answer");
        assert_eq!(status, 200);
    }
    bench.run(Duration::from_secs(120));
    let path = format!("/containerLogs/kube-system/picolet-{NODE}/picolet");
    let (status, log) = bench.testbed.get(&path).expect("the log");
    assert_eq!(status, 200);
    for line in ["started by power-on", "registered as node", "NodeReady"] {
        assert!(log.contains(line), "{log}");
    }
    assert!(!log.contains("endpoint=") && !log.contains("DEBUG"), "{log}");
    // Who reads the UART sees them.
    assert!(bench.log.contains("DEBUG endpoint=/healthz"), "{}", bench.log);
    assert!(bench.log.contains("DEBUG heap "), "{}", bench.log);
}
