//! Nodes that nobody has told the time, against a cluster whose clock is not ours.

use super::world::{World, eventually, spawn};
use crate::clock::Source;
use picolet_devcluster::host::HostOptions;
use picolet_kube::Timestamp;
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

/// The time that was kept before the restart counts, where the server's is behind it.
#[test]
fn time_never_goes_back_behind_what_was_kept() {
    let world = World::start(HostOptions::default());
    let state = tempfile::tempdir().expect("a folder");
    let kept = now() + 5 * DAY;
    std::fs::write(state.path().join("pico-kept.TimeFloor"), kept.to_le_bytes()).expect("a record");
    let (mut node, _) = world.node("pico-kept", false);
    node.clock = Source::ApiServer;
    let directory = crate::state::StateDirectory::open(state.path()).expect("a state directory");
    node.state = Some(directory.node("pico-kept"));
    let _running = spawn(node, None);
    eventually("a Lease", PATIENCE, || renewed(&world, "pico-kept").is_some());
    let renewed = renewed(&world, "pico-kept").expect("a Lease");
    assert!((kept..kept + 60).contains(&renewed), "{} s off", renewed - kept);
}
