//! A node is deleted, killed, cordoned and drained.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, Node, never, until};
use picolet_controlplane::Process;
use serde_json::Value;

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("deleted_node_comes_back", deleted_node_comes_back).essential(),
    beside("killed_and_restarted", killed_and_restarted).essential(),
    beside("stopped_in_order", stopped_in_order).only_linux("a board ends by its plug"),
    beside("cordon_and_drain", cordon_and_drain),
];

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn deleted_node_comes_back(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let before = node.object()?;
    case.kubectl()
        .run(["delete", "node", node.name(), "--timeout=10s"])?;
    let after = until(
        Duration::from_secs(15),
        "the deleted node is back and Ready",
        || {
            let object = node.object()?;
            let ready = node
                .condition("Ready")?
                .is_some_and(|condition| condition["status"] == "True");
            Ok((ready && uid(&object) != uid(&before)).then_some(object))
        },
    )?;
    // Controllers add taints of their own.
    let taints = after["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let own = taints
        .iter()
        .any(|taint| taint["key"] == "picolet.dev/microcontroller");
    ensure!(own, "the node came back without its taint: {taints:?}");
    until(
        Duration::from_secs(60),
        "the lease belongs to the new node",
        || {
            let lease = node.lease()?;
            Ok((lease["metadata"]["ownerReferences"][0]["uid"] == uid(&after)).then_some(()))
        },
    )
}

/// Writes a line for every value that the node's Lease has from now on, as a watch sees it.
pub(crate) fn watch_lease(case: &Case<'_>, node: &Node<'_>) -> Result<Process> {
    let mut command = case.kubectl().command();
    command.args([
        "get",
        "lease",
        node.name(),
        "--namespace=kube-node-lease",
        "--watch",
    ]);
    command.arg("--output=jsonpath={.spec.renewTime}{\"\\n\"}");
    let log = format!("log/{}.lease.log", node.name());
    let directory = case.cluster().control_plane().directory();
    Process::start("lease-watch", command, &directory.join(log))
}

fn killed_and_restarted(case: &Case<'_>) -> Result<()> {
    let mut node = case.node().start_ready()?;
    let node_name = &node.name().to_owned();
    let before = node.object()?;
    until(Duration::from_secs(5), "a lease", || node.lease().map(Some))?;
    let watch = watch_lease(case, &node)?;
    let rebooted = || -> Result<u64> {
        let events = case.cluster().events("default", "Node", node_name)?;
        let rebooted = events.iter().filter(|event| event["reason"] == "Rebooted");
        Ok(rebooted.map(|event| event["count"].as_u64().unwrap_or(1)).sum())
    };
    for times in 1..=2 {
        node.kill();
        node.start()?;
        until(Duration::from_secs(20), "the node serves again", || {
            node.get("/healthz").map(Some)
        })?;
        // Ready it was all the time, as far as the cluster knows.
        until(
            Duration::from_secs(20),
            "the node says that it was restarted",
            || Ok((rebooted()? >= times).then_some(())),
        )?;
        node.wait_ready(Duration::from_secs(20))?;
    }
    let after = until(Duration::from_secs(10), "a new bootID", || {
        let object = node.object()?;
        let (new, old) = (
            &object["status"]["nodeInfo"]["bootID"],
            &before["status"]["nodeInfo"]["bootID"],
        );
        Ok((new != old).then_some(object))
    })?;
    ensure!(uid(&after) == uid(&before), "the node was made anew");
    ensure!(
        after["status"]["nodeInfo"]["machineID"] == before["status"]["nodeInfo"]["machineID"],
        "another machineID after a restart"
    );
    // Long enough for a lease that is renewed, and for an event that comes twice.
    std::thread::sleep(Duration::from_secs(12));
    let times = rebooted()?;
    ensure!(times == 2, "restarted twice, `Rebooted` {times} times");
    let seen = std::fs::read_to_string(watch.log()).context("the watch of the lease wrote nothing")?;
    let seen: Vec<&str> = seen.lines().collect();
    ensure!(seen.len() >= 3, "the lease was seen {} times only", seen.len());
    ensure!(seen.is_sorted(), "the lease went backwards: {seen:?}");
    Ok(())
}

fn stopped_in_order(case: &Case<'_>) -> Result<()> {
    let mut node = case.node().start_ready()?;
    node.stop()?;
    // The node stays: it is away, not gone.
    node.object()?;
    Ok(())
}

fn cordon_and_drain(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    case.kubectl().run(["cordon", node.name()])?;
    ensure!(
        node.object()?["spec"]["unschedulable"] == true,
        "cordon did nothing"
    );
    // Registration reconciles; it must not undo what an administrator did.
    let undone =
        || Ok((node.object()?["spec"]["unschedulable"] != true).then(|| "the node is schedulable".into()));
    never(Duration::from_secs(11), "cordon was undone", undone)?;
    let namespace = case.namespace()?;
    let pod = crate::pods::forced("to-be-drained", &namespace, node.name(), &serde_json::json!({}));
    case.kubectl().apply(&pod.to_string())?;
    crate::pods::wait_without_runtime(case, &namespace, "to-be-drained")?;
    case.kubectl().run([
        "drain",
        node.name(),
        "--force",
        "--ignore-daemonsets",
        "--timeout=30s",
    ])?;
    case.kubectl().run(["uncordon", node.name()])?;
    ensure!(
        node.object()?["spec"]["unschedulable"].is_null(),
        "uncordon did nothing"
    );
    Ok(())
}
