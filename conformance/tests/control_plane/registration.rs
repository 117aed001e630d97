//! How a node appears, and what a person then sees of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, until};
use serde_json::Value;

use crate::{Entry, alone, beside};

pub(crate) const CASES: &[Entry] = &[
    alone("ready_within_3_seconds", ready_within_3_seconds)
        .only_linux("a board joins Wi-Fi first; its time has a line in budgets.toml"),
    beside("node_object", node_object).essential(),
    beside("conditions", conditions),
    beside("lease", lease).essential(),
    beside("first_events", first_events),
    beside("described_like_prose", described_like_prose),
    beside("credentials_by_flags", credentials_by_flags).only_linux("boards have no command line"),
    beside("taints_and_capacity_by_flags", taints_and_capacity_by_flags)
        .only_linux("a board has the capacity that it has"),
    beside("adopts_an_existing_node", adopts_an_existing_node),
    beside("takes_back_a_stale_status", takes_back_a_stale_status),
];

/// What the nodes of this case are.
fn instance_type(case: &Case<'_>) -> &'static str {
    if case.on_board() { "pico-w" } else { "linux" }
}

fn ready_within_3_seconds(case: &Case<'_>) -> Result<()> {
    let node = case.node().start()?;
    // A watch sees it the moment it happens; polling would add its own pause.
    let object = format!("node/{}", node.name());
    case.kubectl()
        .run(["wait", "--for=create", &object, "--timeout=3s"])?;
    case.kubectl()
        .run(["wait", "--for=condition=Ready", &object, "--timeout=3s"])?;
    let took = node.age();
    ensure!(
        took <= Duration::from_secs(3),
        "Ready only {:.2} s after the start",
        took.as_secs_f32()
    );
    Ok(())
}

fn node_object(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let object = node.object()?;
    let labels = &object["metadata"]["labels"];
    let expected = [
        ("kubernetes.io/hostname", node.name()),
        ("kubernetes.io/os", "wasip1"),
        ("kubernetes.io/arch", "wasm"),
        ("node.kubernetes.io/instance-type", instance_type(case)),
    ];
    for (label, value) in expected {
        ensure!(
            labels[label] == value,
            "label {label} is {}, not {value}",
            labels[label]
        );
    }
    ensure!(
        labels["picolet.dev/board"].is_string(),
        "no label picolet.dev/board in {labels}"
    );

    let taints = object["spec"]["taints"].as_array().context("no taints")?;
    let taint = taints
        .iter()
        .find(|taint| taint["key"] == "picolet.dev/microcontroller")
        .context("no taint")?;
    ensure!(
        taint["value"] == "true" && taint["effect"] == "NoSchedule",
        "the taint is {taint}"
    );

    let status = &object["status"];
    let addresses = status["addresses"].as_array().context("no addresses")?;
    let address = |kind: &str| {
        addresses
            .iter()
            .find(|address| address["type"] == kind)
            .map(|it| &it["address"])
    };
    ensure!(
        address("InternalIP") == Some(&Value::from(node.address().to_string())),
        "addresses: {addresses:?}"
    );
    ensure!(address("Hostname").is_some(), "no Hostname among {addresses:?}");
    ensure!(
        status["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10250,
        "{}",
        status["daemonEndpoints"]
    );

    for resource in [
        "cpu",
        "memory",
        "ephemeral-storage",
        "pods",
        "picolet.dev/gpio",
        "picolet.dev/led",
        "picolet.dev/adc",
    ] {
        ensure!(
            status["capacity"][resource].is_string(),
            "capacity has no {resource}: {}",
            status["capacity"]
        );
        ensure!(
            status["allocatable"][resource].is_string(),
            "allocatable has no {resource}: {}",
            status["allocatable"]
        );
    }
    let info = &status["nodeInfo"];
    for field in [
        "machineID",
        "systemUUID",
        "bootID",
        "kernelVersion",
        "osImage",
        "containerRuntimeVersion",
    ] {
        ensure!(
            info[field].as_str().is_some_and(|text| !text.is_empty()),
            "nodeInfo.{field} is empty: {info}"
        );
    }
    ensure!(
        info["operatingSystem"] == "wasip1" && info["architecture"] == "wasm",
        "{info}"
    );
    let version = info["kubeletVersion"].as_str().unwrap_or_default();
    ensure!(
        version.starts_with("v1.36.") && version.contains("-picolet."),
        "kubeletVersion is {version}"
    );
    let runtime = info["containerRuntimeVersion"].as_str().unwrap_or_default();
    ensure!(runtime.contains("://"), "containerRuntimeVersion is {runtime}");
    Ok(())
}

fn conditions(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let expected = [
        ("Ready", "True", "KubeletReady"),
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
    ];
    for (kind, status, reason) in expected {
        let condition = node
            .condition(kind)?
            .with_context(|| format!("no condition {kind}"))?;
        ensure!(
            condition["status"] == status && condition["reason"] == reason,
            "{condition}"
        );
    }
    // What does not change must not be transitioned, and the heartbeat of a quiet node is its Lease, not its status.
    if case.on_board() {
        // A report of its own follows the first one, when its radio and its memory have come to rest.
        std::thread::sleep(Duration::from_secs(25));
    }
    let version = node.object()?["metadata"]["resourceVersion"].clone();
    let transition = node.condition("Ready")?.context("no Ready")?["lastTransitionTime"].clone();
    std::thread::sleep(Duration::from_secs(12));
    ensure!(
        node.condition("Ready")?.context("no Ready")?["lastTransitionTime"] == transition,
        "Ready flipped"
    );
    let later = node.object()?["metadata"]["resourceVersion"].clone();
    ensure!(
        version == later,
        "the status of a quiet node was written within 12 s ({version} to {later})"
    );
    Ok(())
}

fn lease(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    let lease = until(Duration::from_secs(5), "a lease", || node.lease().map(Some))?;
    ensure!(
        lease["spec"]["holderIdentity"] == node.name(),
        "{}",
        lease["spec"]
    );
    ensure!(lease["spec"]["leaseDurationSeconds"] == 40, "{}", lease["spec"]);
    let owner = &lease["metadata"]["ownerReferences"][0];
    let uid = node.object()?["metadata"]["uid"].clone();
    ensure!(
        owner["kind"] == "Node" && owner["uid"] == uid,
        "the owner is {owner}, the node is {uid}"
    );
    let first = lease["spec"]["renewTime"]
        .as_str()
        .context("no renewTime")?
        .to_owned();
    until(Duration::from_secs(13), "a renewed lease", || {
        let next = node.lease()?["spec"]["renewTime"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        // Both are RFC 3339 in UTC with microseconds: text compares as time does.
        Ok((next > first).then_some(()))
    })
}

fn first_events(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    for reason in ["Starting", "NodeReady"] {
        let event = until(Duration::from_secs(5), &format!("the event {reason}"), || {
            let events = case.cluster().events("default", "Node", node.name())?;
            Ok(events.into_iter().find(|event| event["reason"] == reason))
        })?;
        ensure!(event["source"]["component"] == "kubelet", "{event}");
        ensure!(event["source"]["host"] == node.name(), "{event}");
        ensure!(event["type"] == "Normal", "{event}");
    }
    Ok(())
}

fn described_like_prose(case: &Case<'_>) -> Result<()> {
    let node = case.node().start_ready()?;
    until(Duration::from_secs(5), "a lease", || node.lease().map(Some))?;
    let table = case
        .kubectl()
        .run(["get", "node", node.name(), "--no-headers", "--output=wide"])?;
    let words: Vec<&str> = table.split_whitespace().collect();
    ensure!(words.get(1) == Some(&"Ready"), "{table}");
    ensure!(
        words.contains(&node.address().to_string().as_str()),
        "no address in {table}"
    );
    let text = case.kubectl().run(["describe", "node", node.name()])?;
    for expected in [
        "kubelet is posting ready status",
        "picolet.dev/microcontroller=true:NoSchedule",
        "RenewTime:",
    ] {
        ensure!(
            text.contains(expected),
            "`kubectl describe node` does not say {expected:?}:\n{text}"
        );
    }
    for wrong in ["<nil>", "<unknown>", "<invalid>", "%!"] {
        ensure!(
            !text.contains(wrong),
            "`kubectl describe node` says {wrong:?}:\n{text}"
        );
    }
    Ok(())
}

fn credentials_by_flags(case: &Case<'_>) -> Result<()> {
    let mut node = case.node().flags_instead_of_kubeconfig().start_ready()?;
    node.stop()
}

fn taints_and_capacity_by_flags(case: &Case<'_>) -> Result<()> {
    let node = case
        .node()
        .arguments([
            "--register-with-taints",
            "example.org/lab=yes:NoExecute",
            "--capacity",
            "pods=3,memory=1Mi",
        ])
        .start_ready()?;
    let object = node.object()?;
    let taints = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let keys: Vec<&str> = taints.iter().filter_map(|taint| taint["key"].as_str()).collect();
    ensure!(keys.contains(&"example.org/lab"), "taints: {taints:?}");
    ensure!(
        !keys.contains(&"picolet.dev/microcontroller"),
        "the default taint stayed beside the given one: {taints:?}"
    );
    let capacity = &object["status"]["capacity"];
    ensure!(
        capacity["pods"] == "3" && capacity["memory"] == "1Mi",
        "capacity: {capacity}"
    );
    Ok(())
}

fn adopts_an_existing_node(case: &Case<'_>) -> Result<()> {
    // Somebody made the Node before, with a label of their own and another instance type.
    let setup = case.node();
    let name = setup.name().to_owned();
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"example.org/room": "attic", "node.kubernetes.io/instance-type": "toaster"}},
    });
    case.kubectl().apply(&object.to_string())?;
    let uid = case
        .cluster()
        .object("default", "node", &name)?
        .context("no node")?["metadata"]["uid"]
        .clone();
    let node = setup.start_ready()?;
    let object = node.object()?;
    ensure!(object["metadata"]["uid"] == uid, "the node was made anew");
    let labels = &object["metadata"]["labels"];
    ensure!(
        labels["example.org/room"] == "attic",
        "somebody's label was removed: {labels}"
    );
    ensure!(
        labels["node.kubernetes.io/instance-type"] == instance_type(case),
        "the own label was not reconciled: {labels}"
    );
    Ok(())
}

fn takes_back_a_stale_status(case: &Case<'_>) -> Result<()> {
    let hidden: &[&str] = if case.on_board() { &[] } else { &["--hide-port"] };
    let node = case.node().arguments(hidden.iter().copied()).start_ready()?;
    let own = node.object()?["status"]["addresses"].clone();
    // What a run with other settings has left, and what another controller reports.
    let patch = r#"{"status": {
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "addresses": [{"type": "ExternalIP", "address": "203.0.113.9"}],
        "conditions": [
            {"type": "CertificatesValid", "status": "False", "reason": "Old", "message": ""},
            {"type": "example.org/Foreign", "status": "True", "reason": "Theirs", "message": ""}]}}"#;
    case.kubectl().run([
        "patch",
        "node",
        node.name(),
        "--subresource=status",
        "--patch",
        patch,
    ])?;
    until(Duration::from_secs(25), "the old condition is deleted", || {
        Ok(node.condition("CertificatesValid")?.is_none().then_some(()))
    })?;
    let status = node.object()?["status"].clone();
    ensure!(
        status["addresses"] == own,
        "the old address stays: {}",
        status["addresses"]
    );
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        .as_u64()
        .unwrap_or(0);
    ensure!(hidden.is_empty() || port == 0, "the port stays: {port}");
    ensure!(
        node.condition("example.org/Foreign")?.is_some(),
        "another controller's condition was taken: {}",
        status["conditions"]
    );
    Ok(())
}
