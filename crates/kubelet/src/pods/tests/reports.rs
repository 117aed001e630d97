//! What the API server is told of a pod, and what becomes of what it refuses.

use super::*;

#[test]
fn a_conflict_of_two_writers_is_tried_again() {
    let mut world = World::new();
    world.refusal = Some((
        409,
        "the object has been modified; please apply your changes to the latest version",
    ));
    world.put(pod("u", Always, 0, 1));
    world.pass(3);
    assert_eq!(world.runtime.running(), ["u_a_0"]);
    world.refusal = None;
    world.pass(10);
    assert_eq!(world.phase("u"), Phase::Running);
}

#[test]
fn a_status_that_nobody_takes_keeps_no_pod() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    world.refusal = Some((422, "invalid"));
    world.delete("u", 1);
    world.pass(60);
    assert!(world.api.is_empty(), "{:?}", world.sent);
}

#[test]
fn status_is_not_sent_again_when_it_is_refused_for_good() {
    for (refusal, sent) in [
        ((422, "invalid"), 0),
        ((403, "not yours"), 1),
        ((500, "broken"), 1),
    ] {
        let mut world = World::new();
        world.refusal = Some(refusal);
        world.put(pod("u", Never, 0, 1));
        world.pass(5);
        world.refusal = None;
        world.pass(600);
        assert_eq!(world.sent.len(), sent, "{refusal:?}: {:?}", world.sent);
        // What comes next is.
        world.runtime.end("u_a_0", 0);
        world.pass(5);
        assert_eq!(world.phase("u"), Phase::Succeeded);
    }
}

/// As many as there are places: the watch is read on, so that deletions are seen.
#[test]
fn watch_is_read_on_when_every_status_is_refused() {
    for refusal in [(422, "invalid"), (403, "not yours")] {
        let mut world = World::new();
        world.refusal = Some(refusal);
        for n in 0..11 {
            world.put(Pod {
                unsupported: Some("x"),
                ..pod(&std::format!("refused{n}"), Never, 0, 1)
            });
        }
        world.pass(60);
        assert!(world.pods.has_room(), "{refusal:?}");
    }
}

#[test]
fn what_the_api_server_missed_it_is_told_later() {
    let mut world = World::new();
    world.refusal = Some((0, ""));
    world.put(pod("u", Never, 0, 1));
    world.runtime.end("u_a_0", 0);
    world.pass(3600);
    assert!(world.sent.is_empty());
    world.refusal = None;
    world.pass(15);
    assert_eq!(world.sent, ["PATCH u Succeeded"], "once, within 15 s");
}

#[test]
fn a_phase_that_somebody_else_has_set_is_kept() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    let mut failed = world.api["u"].clone();
    failed.phase = Phase::Failed;
    world.put(failed);
    assert!(world.runtime.running().is_empty());
    assert_eq!(world.phase("u"), Phase::Failed);
}

#[test]
fn conditions_keep_their_times_and_are_set_right() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    let since = world.api["u"].conditions;
    assert_eq!(since.map(|c| c.map(|(holds, _)| holds)), [Some(true); 4]);
    world.pass(60);
    // As the node lifecycle controller does when it has not heard of the node.
    let mut pod = world.api["u"].clone();
    pod.conditions[2] = Some((false, world.now().time));
    world.put(pod);
    assert_eq!(
        world.api["u"].conditions, since,
        "it is set right, with the time that it had"
    );
    world.runtime.exits.set(Some(1));
    world.runtime.end("u_a_0", 1);
    world.settle();
    let now = world.now().time;
    let after = world.api["u"].conditions;
    assert_eq!((after[1], after[2]), (since[1], Some((false, now))));
}

#[test]
fn deleted_pod_keeps_its_place_when_its_status_was_refused() {
    let mut world = World::new();
    world.refuse(Some((403, "not yours")));
    for n in 0..13 {
        world.put(pod(&std::format!("u{n}"), Always, 0, 1));
        world.pass(3);
    }
    world.runtime.end("u0_a_0", 0);
    world.settle();
    world.refuse(None);
    // The others are deleted before the API server has been told of the first, and there are more than places.
    for n in 0..13 {
        world.delete(&std::format!("u{n}"), 30);
    }
    world.pass(200);
    assert!(world.api.is_empty(), "{:?}", world.sent);
}
