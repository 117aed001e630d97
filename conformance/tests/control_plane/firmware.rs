//! The pod that stands for a node's own firmware: it is there, shows the node's log, and nobody can do without it for long.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, Node, until};
use picolet_controlplane::Process;
use serde_json::Value;

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("shows_the_log", shows_the_log).essential(),
    beside("comes_back", comes_back),
];

const NAMESPACE: &str = "kube-system";
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the pod runs, and returns it.
fn running(case: &Case<'_>, node: &Node<'_>, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
    let name = format!("picolet-{}", node.name());
    until(LIMIT, "the node's own pod runs", || {
        let pod = case.cluster().object(NAMESPACE, "pod", &name)?;
        Ok(pod.filter(|pod| {
            pod["status"]["containerStatuses"][0]["state"]["running"].is_object() && is_it(pod)
        }))
    })
}

fn logs(case: &Case<'_>, node: &Node<'_>, options: &[&str]) -> Result<String> {
    let name = format!("picolet-{}", node.name());
    Ok(case.kubectl().system_logs(&name, options)?)
}

fn shows_the_log(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let pod = running(case, &node, |_| true)?;
    ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
    let status = &pod["status"]["containerStatuses"][0];
    ensure!(status["restartCount"] == 0 && status["ready"] == true, "{status}");
    let board = if case.on_board() { "pico-w" } else { "linux" };
    let image = status["image"].as_str().unwrap_or_default();
    ensure!(image.starts_with(&format!("picolet.dev/{board}:")), "{image}");
    ensure!(
        pod["spec"]["serviceAccountName"].is_null() && pod["spec"]["volumes"].is_null(),
        "{}",
        pod["spec"]
    );
    ensure!(
        node.get("/pods")?.body.contains("\"picolet-"),
        "it is not in /pods"
    );

    let registered = "registered as node";
    let all = logs(case, &node, &[])?;
    ensure!(all.contains(registered), "{all}");
    let tail = logs(case, &node, &["--tail=2"])?;
    ensure!(tail.lines().count() == 2, "{tail}");
    let stamped = logs(case, &node, &["--tail=1", "--timestamps"])?;
    let (time, text) = stamped.split_once(' ').context("no time")?;
    let today = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default();
    ensure!(
        time.get(..2) == today.get(..2) && time.ends_with('Z') && text.contains("INFO"),
        "{stamped}"
    );
    ensure!(logs(case, &node, &["--limit-bytes=10"])?.len() == 10);
    ensure!(logs(case, &node, &["--since=1h"])?.contains(registered));
    // What was said since a time is what was said at it, and after it.
    let since = logs(case, &node, &[&format!("--since-time={time}"), "--timestamps"])?;
    ensure!(
        since.lines().all(|line| line >= &time[..20]),
        "{since} after {time}"
    );
    let before = logs(case, &node, &["--previous"]);
    let words = before.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(words.contains("previous terminated container"), "{words:?}");

    drop(follow(case, &node)?);

    node.caller()?
        .post(&node.url("/pico/command"), r#"{"command":"reboot"}"#)?;
    let after = running(case, &node, |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"] == 1
    })?;
    ensure!(
        after["metadata"]["uid"] == pod["metadata"]["uid"],
        "it was made anew"
    );
    let last = &after["status"]["containerStatuses"][0]["lastState"]["terminated"];
    ensure!(
        last["reason"] == "Software" && last["exitCode"] == 0,
        "{}",
        after["status"]
    );
    until(LIMIT, "the log of the run before", || {
        let previous = logs(case, &node, &["--previous"])?;
        Ok(previous.contains("endpoint=/pico/command").then_some(()))
    })?;
    let now = logs(case, &node, &[])?;
    ensure!(!now.contains(MARK), "the run before is in {now}");
    Ok(())
}

/// What a command leaves in the log.
const MARK: &str = "endpoint=/pico/command";

/// Sends the node a command that changes nothing.
pub(crate) fn identify(node: &Node<'_>) -> Result<()> {
    let command = r#"{"command":"identify","params":{"seconds":1}}"#;
    let answer = node.caller()?.post(&node.url("/pico/command"), command)?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

/// `kubectl logs -f` of the node's own pod: what was logged last, and what is logged from then on. It goes on until it is dropped.
pub(crate) fn follow(case: &Case<'_>, node: &Node<'_>) -> Result<Process> {
    running(case, node, |_| true)?;
    let mut command = case.kubectl().command();
    let name = format!("picolet-{}", node.name());
    command.args(["logs", "--namespace", NAMESPACE, &name, "--follow", "--tail=1"]);
    command.stdin(Stdio::null());
    let directory = case.cluster().control_plane().directory();
    let log = directory.join("log").join(format!("{name}.follow.log"));
    let following = Process::start("kubectl-logs", command, &log)?;
    let read = || std::fs::read_to_string(&log).context("nothing was followed");
    until(LIMIT, "the last line", || Ok((!read()?.is_empty()).then_some(())))?;
    ensure!(!read()?.contains(MARK));
    identify(node)?;
    until(LIMIT, "a later line", || Ok(read()?.contains(MARK).then_some(())))?;
    Ok(following)
}

fn comes_back(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let before = running(case, &node, |_| true)?;
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let name = format!("picolet-{}", node.name());
    for force in [&[][..], &["--force", "--grace-period=0"]] {
        let before = running(case, &node, |_| true)?;
        let mut arguments = vec!["delete", "pod", "--namespace", NAMESPACE, &name, "--wait=false"];
        arguments.extend(force);
        case.kubectl().run(&arguments)?;
        running(case, &node, |pod| uid(pod) != uid(&before))?;
    }
    case.kubectl()
        .run(["drain", node.name(), "--ignore-daemonsets", "--timeout=60s"])?;
    let after = running(case, &node, |_| true)?;
    ensure!(after["metadata"]["deletionTimestamp"].is_null(), "drain took it");
    case.kubectl().run(["uncordon", node.name()])?;
    // The node is made anew, and so is what it owns.
    case.kubectl()
        .run(["delete", "node", node.name(), "--timeout=30s"])?;
    let again = running(case, &node, |pod| uid(pod) != uid(&after))?;
    let owner = &again["metadata"]["ownerReferences"][0]["uid"];
    ensure!(*owner == node.object()?["metadata"]["uid"], "{owner}");
    ensure!(uid(&again) != uid(&before));
    Ok(())
}
