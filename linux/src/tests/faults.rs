//! Whatever the API server does, in the end the node is Ready and its values are those of the ConfigMap.

use super::heap::{Tracked, settled};
use super::world::{Caller, World, eventually, is_alone, spawn};
use picolet_devcluster::host::HostOptions;
use picolet_devcluster::{Fault, FaultKind, RandomFaults, Restart};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Changes the configuration while `faults` are in force, ends them, and looks at what came of it.
fn suffers(name: &str, faults: Vec<Fault>) {
    let world = World::start(HostOptions::default());
    let (node, caller) = world.node(name, false);
    world.configure("0=1".into());
    let _running = spawn(node, None);
    eventually("Ready before the fault", PATIENCE, || world.is_ready(name));
    eventually("configured before the fault", PATIENCE, || {
        caller.cells() == Some(vec![(0, 1)])
    });
    world.with(move |cluster| {
        cluster.faults(|f| faults.into_iter().for_each(|fault| f.add(fault)));
        cluster.cut_connections();
    });
    for value in 2..=4 {
        world.configure(format!("0={value},1={value}"));
        std::thread::sleep(Duration::from_millis(300));
    }
    recovers(&world, name, &caller, vec![(0, 4), (1, 4)], 4);
}

/// Ends all faults; then all must be well.
fn recovers(world: &World, name: &str, caller: &Caller, cells: Vec<(u64, u64)>, changes: u32) {
    let struck = world.with(|cluster| {
        cluster.faults(|faults| {
            let struck = faults.struck();
            faults.clear();
            struck
        })
    });
    assert!(struck > 0, "no fault struck: the test is about nothing");
    // A restart may have lost the ConfigMap with all else.
    if world.get("configmaps", "default", "pico-config").is_none() {
        let text: Vec<String> = cells.iter().map(|(at, value)| format!("{at}={value}")).collect();
        world.configure(text.join(","));
    }
    eventually("the values are those of the ConfigMap", PATIENCE, || {
        caller.cells().as_ref() == Some(&cells)
    });
    eventually("Ready after the fault", PATIENCE, || world.is_ready(name));
    let applied = caller
        .metric("picolet_configuration_changes_total{result=\"applied\"}")
        .expect("the metric");
    assert!(
        applied <= f64::from(changes) + 1.0,
        "{applied} changes applied, but only {changes} made"
    );
}

fn status(code: u16) -> Vec<Fault> {
    vec![Fault::status(code).times(12)]
}

fn every(kind: FaultKind) -> Vec<Fault> {
    vec![Fault::new(kind).times(8)]
}

#[test]
fn unauthorized() {
    suffers("pico-401", status(401));
}

#[test]
fn forbidden() {
    suffers("pico-403", status(403));
}

#[test]
fn conflict() {
    suffers("pico-409", status(409));
}

#[test]
fn gone() {
    suffers("pico-410", status(410));
}

#[test]
fn too_many_requests() {
    suffers(
        "pico-429",
        vec![
            Fault::new(FaultKind::Status {
                code: 429,
                retry_after: Some(1),
            })
            .times(6),
        ],
    );
}

#[test]
fn server_error() {
    suffers("pico-500", status(500));
}

#[test]
fn slow() {
    suffers("pico-slow", every(FaultKind::Slow { milliseconds: 1500 }));
}

#[test]
fn no_answer() {
    suffers("pico-hang", vec![Fault::new(FaultKind::Hang).times(2)]);
}

#[test]
fn cut() {
    suffers("pico-cut", every(FaultKind::Cut));
}

#[test]
fn lost_answer() {
    suffers("pico-lost", every(FaultKind::LoseAnswer));
}

#[test]
fn cut_in_the_answer() {
    suffers("pico-half", every(FaultKind::CutMidAnswer));
}

#[test]
fn cut_in_an_event() {
    suffers("pico-event", vec![Fault::new(FaultKind::CutMidEvent).times(3)]);
}

#[test]
fn expired_watch() {
    suffers("pico-expired", vec![Fault::new(FaultKind::ExpireWatch).times(3)]);
}

#[test]
fn restart_without_history() {
    suffers(
        "pico-history",
        vec![
            Fault::new(FaultKind::Restart {
                lose: Restart::History,
            })
            .times(2),
        ],
    );
}

#[test]
fn restart_without_objects() {
    suffers(
        "pico-objects",
        vec![
            Fault::new(FaultKind::Restart {
                lose: Restart::Objects,
            })
            .times(1),
        ],
    );
}

#[test]
fn clock_skew() {
    let world = World::start(HostOptions::default());
    world.with(|cluster| cluster.faults(|faults| faults.set_clock_skew(-86_400)));
    let (node, _) = world.node("pico-skew", false);
    let _running = spawn(node, None);
    eventually(
        "Ready though the server's clock is a day behind",
        PATIENCE,
        || world.is_ready("pico-skew"),
    );
}

/// Every kind at random, for as long as `PICOLET_SOAK_SECONDS` says (20 if it says nothing), and the heap back where it
/// was.
#[test]
fn at_random() {
    // The keys that TLS has prepared are the whole process's: here one test would free what another allocated.
    if !is_alone("tests::faults::at_random") {
        return;
    }
    let seconds = std::env::var("PICOLET_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    let world = World::start(HostOptions::default());
    let (node, caller) = world.node("pico-random", false);
    world.configure("0=0".into());
    let live = Tracked::default();
    let _running = spawn(node, Some(live));
    eventually("Ready", PATIENCE, || world.is_ready("pico-random"));
    eventually("configured", PATIENCE, || caller.cells() == Some(vec![(0, 0)]));
    // Keys that come back are prepared by TLS, a few and once for all: let that be done before anything is compared.
    for _ in 0..4 {
        world.with(|cluster| cluster.cut_connections());
        std::thread::sleep(Duration::from_secs(2));
        eventually("called again", PATIENCE, || caller.cells().is_some());
    }
    let before = at_rest(&world, live);
    world.with(|cluster| {
        cluster.faults(|faults| {
            faults.set_random(Some(RandomFaults {
                per_thousand: 250,
                seed: 7,
            }))
        });
    });
    let begun = Instant::now();
    let mut changes = 1;
    while begun.elapsed() < Duration::from_secs(seconds) {
        changes += 1;
        world.configure(format!("0={},{}=1", changes % 256, changes % 1000 + 1));
        std::thread::sleep(Duration::from_millis(500));
    }
    let at = u64::from(changes % 1000 + 1);
    recovers(
        &world,
        "pico-random",
        &caller,
        vec![(0, u64::from(changes % 256)), (at, 1)],
        changes,
    );
    let after = at_rest(&world, live);
    println!("heap: {before} bytes before the faults, {after} after");
    // Tickets, prepared keys and remembered events differ a little and are bounded; what grew with every fault would be
    // far beyond it.
    assert!(
        after < before + 8 * 1024,
        "the heap was {before} bytes before the faults and is {after} after"
    );
}

/// The heap of the only node of `world` once its connections are those of a node at rest: each has its buffers, and one
/// that is still in its back-off has none.
fn at_rest(world: &World, heap: Tracked) -> usize {
    let is_whole = || {
        let counters = world.with(|cluster| cluster.counters());
        counters.open_connections == 4 && counters.open_watches == 3
    };
    loop {
        eventually("three watches and a connection for requests", PATIENCE, is_whole);
        let bytes = settled(heap);
        if is_whole() {
            return bytes;
        }
    }
}
