//! The API server goes away and comes back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use picolet_conformance::{Case, Node, until};

use crate::{Entry, alone};

pub(crate) const CASES: &[Entry] =
    &[alone("api_server_away_and_back", api_server_away_and_back).only_boards()];

/// A board and a process at once, since no other case can run meanwhile.
fn api_server_away_and_back(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let board = case.node().config_namespace(&namespace).start_ready()?;
    let process = case.node_named("process").as_process();
    let nodes = [board, process.config_namespace(&namespace).start_ready()?];
    let set = |value: &str| {
        let literal = format!("--from-literal=memory_values={value}");
        let text = case.kubectl().run([
            "create",
            "configmap",
            "pico-config",
            "--namespace",
            &namespace,
            &literal,
            "--dry-run=client",
            "--output=json",
        ])?;
        case.kubectl().apply(&text)
    };
    set("0=1")?;
    let mut before = Vec::new();
    for node in &nodes {
        node.wait_memory(&[(0, 1)])?;
        before.push(until(Duration::from_secs(20), "a lease", || {
            lease(node).map(Some)
        })?);
        // Who may ask is remembered for five minutes; nobody new is let in while the API server cannot be asked.
        for path in ["/healthz", "/readyz"] {
            let answer = node.get(path)?;
            ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.body);
        }
    }

    case.cluster().control_plane().stop_apiserver();
    // Longer than the lease lasts: a node that only looked alive would be found out.
    thread::sleep(Duration::from_secs(70));
    let observed = nodes.iter().try_for_each(without_api_server);
    // Other cases need it, whatever became of this one.
    case.cluster().control_plane().start_apiserver()?;
    observed?;
    let back = Instant::now();
    let left = || Duration::from_secs(20).saturating_sub(back.elapsed());
    for (node, before) in nodes.iter().zip(before) {
        until(left(), "the lease is renewed", || {
            Ok((lease(node)? > before).then_some(()))
        })?;
        node.wait_ready(left())?;
    }
    // The watches are back too, within the same time.
    set("0=2")?;
    for (node, pod) in nodes.iter().zip(["after-1", "after-2"]) {
        until(
            Duration::from_secs(20),
            "the watch of the configuration is back",
            || Ok((node.memory()? == [(0, 2)]).then_some(())),
        )?;
        let forced = crate::pods::forced(pod, &namespace, node.name(), &serde_json::json!({}));
        case.kubectl().apply(&forced.to_string())?;
        crate::pods::wait_without_runtime(case, &namespace, pod)?;
        let ready = node.get("/readyz")?;
        ensure!(
            ready.status == 200,
            "/readyz with the API server back: {} {}",
            ready.status,
            ready.body
        );
    }
    Ok(())
}

/// When the node renewed its Lease.
fn lease(node: &Node<'_>) -> Result<String> {
    let time = &node.lease()?["spec"]["renewTime"];
    Ok(time.as_str().unwrap_or_default().to_owned())
}

/// What a node says whose API server is away for 70 s; there is a cell with the value 1.
fn without_api_server(node: &Node<'_>) -> Result<()> {
    // What it was told stays, and it says what is wrong.
    node.wait_memory(&[(0, 1)])?;
    ensure!(
        node.get("/healthz")?.status == 200,
        "the node is not alive without its API server"
    );
    let ready = node.get("/readyz")?;
    ensure!(
        ready.status == 503,
        "/readyz without an API server for 70 s: {} {}",
        ready.status,
        ready.body
    );
    Ok(())
}
