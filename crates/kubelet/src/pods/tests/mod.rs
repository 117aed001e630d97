//! The table, its workers and their reports together, against a runtime and an API server in memory.

mod controller;
mod laws;
mod own;
mod reports;
mod world;

use picolet_kube::pod::{KnownState, Phase, Pod, RestartPolicy};
use picolet_runtime::{PullError, StartError};
use std::vec::Vec;
use world::{World, pod};

use RestartPolicy::{Always, Never, OnFailure};

#[test]
fn a_pod_runs_and_ends() {
    let mut world = World::new();
    world.put(pod("u", Never, 0, 2));
    assert_eq!(world.runtime.running(), ["u_a_0", "u_b_0"]);
    assert_eq!(
        world.events(),
        [
            "u Pulling: Pulling image \"a:1\"",
            "u Pulled: Successfully pulled image \"a:1\" in 7ms (7ms including waiting). Image size: 1000 bytes.",
            "u Created: Container created",
            "u Started: Container started",
            "u Pulling: Pulling image \"b:1\"",
            "u Pulled: Successfully pulled image \"b:1\" in 7ms (7ms including waiting). Image size: 1000 bytes.",
            "u Created: Container created",
            "u Started: Container started",
        ]
    );
    assert_eq!((world.pods.len(), world.pods.running()), (1, 1));
    assert!(
        world.body.contains(r#""containerID":"script://u_a_0""#)
            && world.body.contains(r#""imageID":"sha256:a:1""#)
    );
    world.pass(5);
    world.runtime.end("u_a_0", 0);
    world.settle();
    assert_eq!(world.phase("u"), Phase::Running, "the other one runs");
    world.runtime.end("u_b_0", 0);
    world.settle();
    assert_eq!(world.phase("u"), Phase::Succeeded);
    assert_eq!(world.sent.first().map(|s| &**s), Some("PATCH u Running"));
    assert_eq!(world.sent.last().map(|s| &**s), Some("PATCH u Succeeded"));
    assert!(world.body.contains(r#""reason":"Completed""#), "{}", world.body);
    let sent = world.sent.len();
    world.pass(10_000);
    assert_eq!(world.sent.len(), sent, "a pod that has ended is silent");
}

#[test]
fn one_failure_among_successes_is_a_failure() {
    let mut world = World::new();
    world.put(pod("u", Never, 0, 2));
    world.runtime.end("u_a_0", 3);
    world.runtime.end("u_b_0", 0);
    world.settle();
    assert_eq!(world.phase("u"), Phase::Failed);
    assert!(
        world.body.contains(r#""exitCode":3,"reason":"Error""#),
        "{}",
        world.body
    );
}

#[test]
fn init_containers_run_in_order() {
    let mut world = World::new();
    world.put(pod("u", OnFailure, 2, 1));
    assert_eq!(
        (world.runtime.running(), world.phase("u")),
        (vec(["u_i_0"]), Phase::Pending)
    );
    assert!(
        world.body.contains(r#""waiting":{"reason":"PodInitializing"}"#),
        "{}",
        world.body
    );
    world.runtime.end("u_i_0", 1);
    world.settle();
    assert_eq!(world.runtime.running(), ["u_i_1"], "the first restart is at once");
    world.runtime.end("u_i_1", 0);
    world.settle();
    assert_eq!(world.runtime.running(), ["u_j_0"]);
    world.runtime.end("u_j_0", 0);
    world.settle();
    assert_eq!(
        (world.runtime.running(), world.phase("u")),
        (vec(["u_a_0"]), Phase::Running)
    );
    world.runtime.end("u_a_0", 0);
    world.settle();
    assert_eq!(world.phase("u"), Phase::Succeeded);
}

#[test]
fn an_init_container_that_fails_for_good_fails_the_pod() {
    let mut world = World::new();
    world.put(pod("u", Never, 2, 1));
    world.runtime.end("u_i_0", 1);
    world.settle();
    assert_eq!(
        (world.phase("u"), world.calls()),
        (Phase::Failed, vec(["start u_i_0 @0"]))
    );
    let states: Vec<_> = world.api["u"]
        .statuses
        .iter()
        .map(|status| (&*status.name, status.state))
        .collect();
    let waiting = KnownState::Waiting;
    assert_eq!(
        states,
        [("i", KnownState::Terminated), ("j", waiting), ("a", waiting)]
    );
}

fn vec<const N: usize>(texts: [&str; N]) -> Vec<std::string::String> {
    texts.map(Into::into).into()
}

#[test]
fn a_container_that_crashes_waits_longer_each_time() {
    let mut world = World::new();
    world.runtime.exits.set(Some(1));
    world.put(pod("u", Always, 0, 1));
    world.pass(25);
    assert_eq!(world.phase("u"), Phase::Running, "CrashLoopBackOff is Running");
    assert!(
        world.body.contains(r#""waiting":{"reason":"CrashLoopBackOff","message":"back-off 20s restarting failed container=a pod=u_default(u)"}"#),
        "{}",
        world.body
    );
    assert!(
        world
            .events()
            .contains(&"!u BackOff: Back-off restarting failed container a in pod u_default(u)".into())
    );
    world.pass(1200 - 25);
    let starts = [
        "start u_a_0 @0",
        "start u_a_1 @0",
        "start u_a_2 @10",
        "start u_a_3 @30",
        "start u_a_4 @70",
        "start u_a_5 @150",
        "start u_a_6 @310",
        "start u_a_7 @610",
        "start u_a_8 @910",
    ];
    assert_eq!(world.calls(), starts);
    assert!(world.body.contains("back-off 5m0s restarting"), "{}", world.body);
    // The next one runs for more than ten minutes, and all is forgiven.
    world.runtime.exits.set(None);
    world.pass(100 + 700);
    assert_eq!(world.calls(), ["start u_a_9 @1210"]);
    world.runtime.exits.set(Some(0));
    world.runtime.end("u_a_9", 0);
    world.pass(15);
    assert_eq!(world.calls(), ["start u_a_10 @2000", "start u_a_11 @2010"]);
}

#[test]
fn on_failure_restarts_only_failures() {
    let mut world = World::new();
    world.put(pod("u", OnFailure, 0, 1));
    world.runtime.end("u_a_0", 1);
    world.settle();
    world.runtime.end("u_a_1", 0);
    world.pass(20);
    assert_eq!(
        (world.phase("u"), world.calls()),
        (Phase::Succeeded, vec(["start u_a_0 @0", "start u_a_1 @0"]))
    );
}

#[test]
fn a_deleted_pod_is_asked_to_end_and_taken_out() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    world.pass(3);
    world.sent.clear();
    world.delete("u", 30);
    assert_eq!(world.calls(), ["start u_a_0 @0", "stop u_a_0 @3"]);
    assert!(world.events().contains(&"u Killing: Stopping container a".into()));
    assert_eq!(world.sent, ["PATCH u Failed", "DELETE u"]);
    assert_eq!((world.pods.len(), world.runtime.forgotten.borrow().len()), (0, 1));
}

#[test]
fn what_does_not_end_is_ended_by_force() {
    let mut world = World::new();
    world.runtime.deaf.set(true);
    world.put(pod("u", Always, 0, 1));
    world.delete("u", 30);
    world.pass(10);
    assert_eq!(
        world.phase("u"),
        Phase::Running,
        "nothing terminal is told while something runs"
    );
    // The time may become shorter, and not longer.
    world.delete("u", 5);
    world.delete("u", 60);
    world.pass(20);
    assert_eq!(
        world.calls(),
        ["start u_a_0 @0", "stop u_a_0 @0", "kill u_a_0 @15"]
    );
    assert!(world.api.is_empty());
}

#[test]
fn exit_codes_of_ended_containers_are_told() {
    for (deaf, code) in [(false, r#""exitCode":143"#), (true, r#""exitCode":137"#)] {
        let mut world = World::new();
        world.runtime.deaf.set(deaf);
        world.put(Pod {
            active_deadline_seconds: Some(1),
            termination_grace_seconds: Some(2),
            ..pod("u", Always, 0, 1)
        });
        world.pass(4);
        assert!(world.body.contains(code), "{}", world.body);
    }
}

#[test]
fn the_deadline() {
    let mut world = World::new();
    world.put(Pod {
        active_deadline_seconds: Some(60),
        ..pod("u", Always, 0, 1)
    });
    world.pass(59);
    assert_eq!(world.phase("u"), Phase::Running);
    world.pass(1);
    assert_eq!(world.phase("u"), Phase::Failed);
    let message = r#""reason":"DeadlineExceeded","message":"Pod was active on the node longer than the specified deadline""#;
    assert!(world.body.contains(message), "{}", world.body);
    assert!(world.events().contains(
        &"u DeadlineExceeded: Pod was active on the node longer than the specified deadline".into()
    ));
}

#[test]
fn images_that_cannot_be_had() {
    let mut world = World::new();
    world.runtime.pull.set(Some(PullError::NotFound));
    world.put(pod("u", Always, 0, 1));
    assert!(
        world
            .body
            .contains(r#""waiting":{"reason":"ErrImagePull","message":"the registry does not have it"}"#),
        "{}",
        world.body
    );
    world.pass(2);
    let message = r#""reason":"ImagePullBackOff","message":"Back-off pulling image \"a:1\": ErrImagePull: the registry does not have it""#;
    assert!(world.body.contains(message), "{}", world.body);
    world.pass(30 + 40 + 78);
    let pulls = |world: &World| {
        world
            .events()
            .iter()
            .filter(|event| event.contains("Pulling:"))
            .count()
    };
    assert_eq!(pulls(&world), 5, "at 0, 10, 30, 70 and 150");
    world.runtime.pull.set(None);
    world.pass(160);
    assert_eq!(
        (world.phase("u"), world.runtime.running()),
        (Phase::Running, vec(["u_a_0"]))
    );
    assert!(world.events().contains(&"!u Failed: Error: ErrImagePull".into()));
    assert!(
        world
            .events()
            .contains(&"u BackOff: Back-off pulling image \"a:1\"".into())
    );
}

#[test]
fn containers_that_cannot_be_started() {
    let mut world = World::new();
    world.runtime.start.set(Some(StartError::OutOfMemory));
    world.put(pod("u", Never, 0, 1));
    assert!(
        world.body.contains(r#""reason":"RunContainerError""#),
        "{}",
        world.body
    );
    assert_eq!(world.phase("u"), Phase::Pending);
    world.runtime.start.set(None);
    world.pass(10);
    assert_eq!(world.runtime.running(), ["u_a_0"]);
}

#[test]
fn another_image_restarts_a_container_whatever_the_policy() {
    let mut world = World::new();
    let mut pod = pod("u", Never, 0, 1);
    world.put(pod.clone());
    pod.containers[0].image = "a:2".into();
    world.api.get_mut("u").expect("there").containers = pod.containers;
    let changed = world.api["u"].clone();
    world.put(changed);
    assert_eq!(
        world.calls(),
        ["start u_a_0 @0", "stop u_a_0 @0", "start u_a_1 @0"]
    );
    assert!(
        world
            .events()
            .contains(&"u Killing: Container a definition changed, will be restarted".into())
    );
    assert!(world.body.contains(r#""image":"a:2""#));
}

#[test]
fn refused_pods_say_why_and_go_when_they_are_deleted() {
    let mut world = World::new();
    world.put(Pod {
        unsupported: Some("spec.hostNetwork"),
        ..pod("u", Always, 1, 1)
    });
    let why = "Pod requires node features that are not available: spec.hostNetwork. Take it out of the pod, or bind the pod to a node that has it";
    assert_eq!(world.events(), [std::format!("!u PodFeatureUnsupported: {why}")]);
    assert_eq!(world.sent, ["PATCH u Failed"]);
    assert!(
        world.body.contains(&std::format!(
            r#""reason":"PodFeatureUnsupported","message":"Pod was rejected: {why}""#
        )),
        "{}",
        world.body
    );
    assert!(!world.body.contains("tatuses"), "nothing of it was begun");
    world.relist();
    assert_eq!(world.sent.len(), 1, "it is not refused again");
    world.delete("u", 30);
    assert_eq!(world.sent, ["PATCH u Failed", "DELETE u"]);
    assert_eq!((world.pods.len(), world.calls().len()), (0, 0));
}

#[test]
fn a_pod_that_is_deleted_while_it_is_refused() {
    let mut world = World::new();
    world.refusal = Some((0, ""));
    world.put(Pod {
        unsupported: Some("x"),
        ..pod("u", Always, 0, 1)
    });
    world.delete("u", 30);
    world.pass(20);
    assert!(world.sent.is_empty());
    world.refusal = None;
    world.pass(20);
    assert_eq!(world.sent, ["PATCH u Failed", "DELETE u"]);
}

#[test]
fn a_pod_that_was_deleted_before_it_was_seen_is_never_started() {
    let mut world = World::new();
    let mut pod = pod("u", Always, 0, 1);
    pod.metadata.deletion_timestamp = Some(world.now().time);
    world.put(pod);
    assert_eq!(
        (world.sent.join(" "), world.calls().len()),
        ("PATCH u Failed DELETE u".into(), 0)
    );
}

#[test]
fn pod_waits_with_a_reason_when_the_node_has_no_runtime() {
    let mut world = World::new();
    world.runtime.not_ready.set(true);
    world.put(pod("u", Always, 0, 1));
    assert_eq!(world.phase("u"), Phase::Pending);
    let want =
        r#""waiting":{"reason":"CreateContainerError","message":"node pico has no container runtime"}"#;
    assert!(world.body.contains(want), "{}", world.body);
    assert_eq!(
        world.events(),
        ["!u Failed: Error: node pico has no container runtime"]
    );
    assert!(world.calls().is_empty(), "{:?}", world.calls());
    let told = world.sent.len();
    world.pass(600);
    assert_eq!(world.sent.len(), told, "nothing has changed: {:?}", world.sent);
    world.runtime.not_ready.set(false);
    world.pass(300);
    assert_eq!(world.phase("u"), Phase::Running);
}

#[test]
fn the_node_is_asked_for_before_a_pod_is_refused_for_its_labels() {
    let mut world = World::new();
    world.put(Pod {
        node_selector: [("a".into(), "b".into())].into(),
        ..pod("u", Always, 0, 1)
    });
    assert_eq!((world.node_asked, world.phase("u")), (1, Phase::Failed));
    assert_eq!(
        world.events(),
        ["!u NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"]
    );
}

#[test]
fn before_the_node_is_registered_nothing_is_decided() {
    let mut world = World::new();
    world.node.metadata.uid = "".into();
    world.put(pod("u", Always, 0, 1));
    assert!(world.sent.is_empty() && world.calls().is_empty());
    world.node.metadata.uid = "node".into();
    world.settle();
    assert_eq!(world.phase("u"), Phase::Running);
}

#[test]
fn after_a_restart_of_the_node_containers_are_started_again() {
    let mut world = World::new();
    world.put(pod("u", Always, 1, 1));
    world.runtime.end("u_i_0", 0);
    world.settle();
    world.reboot();
    assert_eq!(
        (world.runtime.running(), world.phase("u")),
        (vec(["u_a_1"]), Phase::Running)
    );
    assert!(world.body.contains(r#""restartCount":1"#), "{}", world.body);
    assert!(world.body.contains(r#""lastState":{"terminated":{"exitCode":137,"reason":"ContainerStatusUnknown","message":"The container could not be located when the pod was terminated""#), "{}", world.body);
}

#[test]
fn after_a_restart_of_the_node_what_must_not_run_twice_has_failed() {
    let mut world = World::new();
    world.put(pod("u", Never, 0, 2));
    world.runtime.end("u_a_0", 0);
    world.settle();
    world.calls();
    world.reboot();
    assert_eq!((world.phase("u"), world.calls().len()), (Phase::Failed, 0));
    let ends: Vec<_> = world.api["u"]
        .statuses
        .iter()
        .map(|s| s.ended.as_ref().map(|e| (e.exit_code, &*e.reason)))
        .collect();
    assert_eq!(
        ends,
        [Some((0, "Completed")), Some((137, "ContainerStatusUnknown"))]
    );
}

#[test]
fn after_a_restart_of_the_node_a_deleted_pod_goes() {
    let mut world = World::new();
    world.runtime.deaf.set(true);
    world.put(pod("u", Always, 0, 1));
    world.delete("u", 3600);
    world.sent.clear();
    world.reboot();
    assert_eq!(world.sent, ["PATCH u Failed", "DELETE u"]);
}

#[test]
fn a_pod_that_ran_and_is_refused_after_a_restart_tells_what_became_of_it() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    let taint = picolet_kube::selector::Taint::parse("maintenance:NoExecute");
    world.node.taints.extend(taint);
    world.reboot();
    assert_eq!(world.phase("u"), Phase::Failed);
    assert!(
        world
            .body
            .contains(r#""exitCode":137,"reason":"ContainerStatusUnknown""#),
        "{}",
        world.body
    );
}

#[test]
fn a_pod_that_is_taken_away_is_ended_without_a_word() {
    let mut world = World::new();
    world.runtime.deaf.set(true);
    world.put(pod("u", Always, 0, 1));
    world.sent.clear();
    world.take_away("u");
    world.pass(2);
    assert_eq!(
        world.calls(),
        ["start u_a_0 @0", "stop u_a_0 @0", "kill u_a_0 @1"]
    );
    assert!(world.sent.is_empty());
    assert_eq!(world.pods.len(), 0);
}

#[test]
fn a_pod_that_is_not_in_the_list_is_gone() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    world.put(pod("v", Always, 0, 1));
    world.api.remove("u");
    world.relist();
    assert_eq!(world.runtime.running(), ["v_a_0"]);
    assert_eq!(world.pods.len(), 1);
}

#[test]
fn a_pod_of_the_same_name_is_another_pod() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    world.refusal = Some((
        409,
        "Precondition failed: UID in precondition: u, UID in object meta: v",
    ));
    world.runtime.end("u_a_0", 1);
    world.settle();
    assert!(
        world.runtime.running().is_empty(),
        "it is gone, and so are its containers"
    );
    world.refusal = None;
    world.take_away("u");
    let mut second = pod("v", Always, 0, 1);
    second.metadata.name = "u".into();
    world.put(second);
    assert_eq!((world.phase("v"), world.pods.len()), (Phase::Running, 1));
    assert_eq!(
        world.pods.find("default", "u").map(|pod| &*pod.metadata.uid),
        Some("v")
    );
}

#[test]
fn mirror_pods_are_left_alone_until_they_are_deleted() {
    let mut world = World::new();
    world.put(Pod {
        mirror: Some("hash".into()),
        ..pod("u", Always, 0, 1)
    });
    assert_eq!((world.pods.len(), world.sent.len()), (0, 0));
    world.delete("u", 30);
    assert_eq!(world.sent, ["DELETE u"]);
}

#[test]
fn the_table_is_bounded_and_never_drops_a_pod() {
    let mut world = World::new();
    // Pods that have ended give way to those that come, however many there were.
    for n in 0..40 {
        let uid = std::format!("done{n}");
        world.put(pod(&uid, Never, 0, 1));
        world.runtime.end(&std::format!("{uid}_a_0"), 0);
        world.settle();
        assert_eq!(world.phase(&uid), Phase::Succeeded);
        assert!(world.pods.len() <= 12);
    }
    world.delete("done0", 30);
    assert!(
        !world.api.contains_key("done0"),
        "also one that had no place any more"
    );
    for n in 0..4 {
        world.put(pod(&std::format!("run{n}"), Always, 0, 1));
    }
    world.put(pod("fifth", Always, 0, 1));
    assert_eq!(world.phase("fifth"), Phase::Failed);
    assert!(
        world.events().contains(
            &"!fifth OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 4, capacity: 4"
                .into()
        )
    );
    // While nobody hears of them, refused pods keep their places until there is none.
    world.refusal = Some((0, ""));
    let mut taken = 0;
    while world.pods.has_room() {
        taken += 1;
        world.put(pod(&std::format!("late{taken}"), Always, 0, 1));
    }
    assert_eq!(
        taken, 7,
        "of twelve places four run, and one is kept for what is on its way"
    );
    world.refusal = None;
    world.pass(20);
    assert!(world.pods.has_room());
    assert_eq!(world.phase("late1"), Phase::Failed);
}

#[test]
fn pods_are_shown() {
    let mut world = World::new();
    world.put(pod("u", Always, 0, 1));
    world.put(Pod {
        unsupported: Some("x"),
        ..pod("v", Always, 0, 1)
    });
    assert!(
        world.shown(0).contains(r#""phase":"Running""#)
            && world.shown(0).contains(r#""hostIP":"127.0.77.1""#)
    );
    assert!(world.shown(1).contains(r#""phase":"Failed""#));
    let mut out = std::string::String::new();
    let mut w = picolet_kube::json::Writer::new(&mut out);
    assert!(world.pods.write_nth(0, true, &mut w) && !world.pods.write_nth(1, true, &mut w));
}
