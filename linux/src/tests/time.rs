//! Nodes that nobody has told the time, against a cluster whose clock is not ours.

use super::world::{World, eventually, spawn};
use crate::clock::Source;
use picolet_devcluster::host::HostOptions;
use picolet_kube::Timestamp;
use picolet_platform::TimeFloor;
use std::time::{Duration, SystemTime};

const PATIENCE: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400;

fn renewed(world: &World, name: &str) -> Option<i64> {
    let lease = world.get("leases", "kube-node-lease", name)?;
    let renewed = Timestamp::parse(lease["spec"]["renewTime"].as_str()?)?;
    i64::try_from(renewed.seconds()).ok()
}

fn now() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock");
    i64::try_from(since.as_secs()).expect("an age that is written in seconds")
}

/// The build is older than the server's certificate, and the server's clock is three days ahead.
#[test]
fn the_server_is_asked_before_anything_is_shown() {
    let world = World::start(HostOptions::default());
    world.with(|cluster| cluster.faults(|faults| faults.set_clock_skew(3 * DAY)));
    let (mut node, _) = world.node("pico-time", false);
    node.clock = Source::ApiServer;
    node.settings.built = Timestamp::from_seconds(1_700_000_000);
    let _running = spawn(node, None);
    eventually("a Lease", PATIENCE, || renewed(&world, "pico-time").is_some());
    let ahead = renewed(&world, "pico-time").expect("a Lease") - now();
    assert!((3 * DAY - 60..=3 * DAY + 60).contains(&ahead), "{ahead} s ahead");
    let reason = || {
        let node = world.get("nodes", "", "pico-time")?;
        let conditions = node["status"]["conditions"].as_array()?;
        let synced = conditions.iter().find(|c| c["type"] == "TimeSynced")?;
        Some(synced["reason"].as_str()?.to_owned())
    };
    eventually("the node says whose time it has", PATIENCE, || {
        reason().as_deref() == Some("ClockFollowsApiServer")
    });
}

/// A server whose own certificate has not begun by its clock: it gets no credential until that is mended.
#[test]
fn a_time_that_does_not_fit_the_certificate_is_not_believed() {
    let world = World::start(HostOptions::default());
    world.with(|cluster| cluster.faults(|faults| faults.set_clock_skew(-2 * DAY)));
    let (mut node, _) = world.node("pico-wrong", false);
    node.clock = Source::ApiServer;
    node.settings.built = Timestamp::from_seconds(1_700_000_000);
    let _running = spawn(node, None);
    std::thread::sleep(Duration::from_secs(3));
    assert!(world.get("nodes", "", "pico-wrong").is_none(), "it came in");
    world.with(|cluster| cluster.faults(|faults| faults.set_clock_skew(0)));
    eventually("Ready", PATIENCE, || world.is_ready("pico-wrong"));
}

fn with_floor(world: &World, state: &std::path::Path, name: &str, floor: i64) -> crate::node::Node {
    let record = TimeFloor(floor.cast_unsigned()).to_record();
    std::fs::write(state.join(format!("{name}.TimeFloor")), record).expect("a record");
    let (mut node, _) = world.node(name, false);
    node.clock = Source::ApiServer;
    let directory = crate::state::StateDirectory::open(state).expect("a state directory");
    node.state = Some(directory.node(name));
    node
}

/// Its certificate is valid at the floor and now: the server's clock was ahead once.
#[test]
fn time_floor_is_dropped_when_a_verified_server_contradicts_it() {
    let world = World::start(HostOptions::default());
    let state = tempfile::tempdir().expect("a folder");
    let _running = spawn(
        with_floor(&world, state.path(), "pico-kept", now() + 5 * DAY),
        None,
    );
    eventually("a Lease", PATIENCE, || renewed(&world, "pico-kept").is_some());
    let ahead = renewed(&world, "pico-kept").expect("a Lease") - now();
    assert!((-60..=5).contains(&ahead), "{ahead} s ahead");
}

/// A certificate that had expired by then could be stolen.
#[test]
fn server_is_refused_when_its_certificate_expired_before_the_time_floor() {
    let world = World::start(HostOptions::default());
    let state = tempfile::tempdir().expect("a folder");
    let floor = now() + 3650 * DAY;
    let _running = spawn(with_floor(&world, state.path(), "pico-kept", floor), None);
    std::thread::sleep(Duration::from_secs(3));
    assert!(world.get("nodes", "", "pico-kept").is_none(), "it came in");
}

/// The clock of the operating system is three days ahead of the API server's, or behind.
#[test]
fn timestamps_follow_the_server_when_the_system_clock_differs() {
    for (name, skew) in [("pico-behind", -3 * DAY), ("pico-ahead", 3 * DAY)] {
        let world = World::start(HostOptions::default());
        world.with(move |cluster| cluster.faults(|faults| faults.set_clock_skew(skew)));
        let (mut node, _) = world.node(name, false);
        node.settings.built = Timestamp::from_seconds(1_700_000_000);
        let _running = spawn(node, None);
        eventually("a Lease", PATIENCE, || renewed(&world, name).is_some());
        let ahead = renewed(&world, name).expect("a Lease") - now() - skew;
        assert!((-60..=5).contains(&ahead), "{name}: {ahead} s ahead");
    }
}
