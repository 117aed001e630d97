//! What the API server's audit log says of the nodes: every write strict, nothing forbidden, nothing in a hurry.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, until};
use serde_json::{Value, json};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("writes_are_strict", writes_are_strict).essential(),
    beside("quiet_node_is_quiet", quiet_node_is_quiet),
];

/// What the API server answered to one user.
fn requests_of(case: &Case<'_>, user: &str) -> Result<Vec<Value>> {
    let log = fs::read_to_string(case.cluster().control_plane().audit_log()).context("no audit log")?;
    // The last line may be half written.
    let entries = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(entries
        .filter(|entry| entry["user"]["username"] == user)
        .collect())
}

fn writes_are_strict(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let mut node = case.node().config_namespace(&namespace).start_ready()?;
    // Every kind of write that there is: Node, status, Lease, Events, a pod's status and its end.
    let literal = "--from-literal=memory_values=0=999";
    case.kubectl().run([
        "create",
        "configmap",
        "pico-config",
        "--namespace",
        &namespace,
        literal,
    ])?;
    case.kubectl()
        .apply(&crate::pods::forced("refused", &namespace, node.name(), &json!({})).to_string())?;
    crate::pods::wait_without_runtime(case, &namespace, "refused")?;
    case.kubectl().run([
        "delete",
        "pod",
        "refused",
        "--namespace",
        &namespace,
        "--timeout=10s",
    ])?;
    node.kill();
    node.start()?;
    let user = format!("system:node:{}", node.name());
    let mut writes = BTreeMap::new();
    let wanted = [
        ("create", "nodes"),
        ("create", "leases"),
        ("update", "leases"),
        ("patch", "nodes/status"),
        ("create", "events"),
        ("patch", "pods/status"),
    ];
    until(Duration::from_secs(30), "every kind of write", || {
        writes.clear();
        for entry in requests_of(case, &user)? {
            let verb = entry["verb"].as_str().unwrap_or_default().to_owned();
            if ["create", "update", "patch"].contains(&verb.as_str()) {
                let target = &entry["objectRef"];
                let mut resource = target["resource"].as_str().unwrap_or_default().to_owned();
                if let Some(subresource) = target["subresource"].as_str() {
                    resource += &format!("/{subresource}");
                }
                writes
                    .entry((verb, resource))
                    .or_insert_with(Vec::new)
                    .push(entry);
            }
        }
        let missing = wanted
            .iter()
            .find(|(verb, resource)| !writes.contains_key(&((*verb).into(), (*resource).into())));
        missing.map_or(Ok(Some(())), |missing| {
            Err(anyhow::anyhow!("no {} of {} yet", missing.0, missing.1))
        })
    })?;
    for ((verb, resource), entries) in &writes {
        for entry in entries {
            let uri = entry["requestURI"].as_str().unwrap_or_default();
            ensure!(
                uri.contains("fieldValidation=Strict"),
                "{verb} of {resource} is not strict: {uri}"
            );
            let code = entry["responseStatus"]["code"].as_u64().unwrap_or(0);
            ensure!(
                code < 400 || code == 404 || code == 409,
                "{verb} of {resource}: {code} {entry}"
            );
        }
    }
    let agents: Vec<Value> = requests_of(case, &user)?
        .into_iter()
        .filter(|entry| entry["responseStatus"]["code"] == 403)
        .collect();
    ensure!(agents.is_empty(), "the API server forbade: {agents:?}");
    let log = node.log();
    ensure!(
        !log.contains("BEGIN") && !log.contains("PRIVATE KEY"),
        "the log shows a key"
    );
    Ok(())
}

fn quiet_node_is_quiet(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().config_namespace(&namespace).start_ready()?;
    let user = format!("system:node:{}", node.name());
    std::thread::sleep(Duration::from_secs(5));
    let before = requests_of(case, &user)?.len();
    std::thread::sleep(Duration::from_secs(20));
    let after = requests_of(case, &user)?;
    let new: Vec<String> = after[before..]
        .iter()
        .map(|entry| format!("{} {}", entry["verb"], entry["requestURI"]))
        .collect();
    // Two renewals of the lease, or three, and now and then a watch that is begun again.
    ensure!(
        new.len() <= 6,
        "{} requests in 20 quiet seconds: {new:#?}",
        new.len()
    );
    ensure!(
        new.iter().any(|request| request.contains("leases")),
        "the lease was not renewed: {new:?}"
    );
    Ok(())
}
