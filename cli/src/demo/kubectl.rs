//! What kubectl would print, of the objects that the demo's cluster has.

use crate::nodes::is_ready;
use picolet_devcluster::host::DevCluster;
use picolet_kube::Timestamp;
use picolet_linux::clock;
use serde_json::Value;

/// Shows what a person types.
pub(super) fn typed(command: &str) {
    println!("$ {command}");
}

/// The text that a value is, or none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `kubectl get nodes`.
pub(super) fn get_nodes(nodes: &[Value]) {
    println!("NAME     STATUS     ROLES    AGE   VERSION");
    for node in nodes {
        let status = match is_ready(node) {
            true => "Ready",
            false => "NotReady",
        };
        println!(
            "{:<8} {status:<10} {:<8} {:<5} {}",
            text(&node["metadata"]["name"]),
            "<none>",
            age(node),
            text(&node["status"]["nodeInfo"]["kubeletVersion"])
        );
    }
    println!();
}

/// How long ago an object was made.
fn age(object: &Value) -> String {
    let created = Timestamp::parse(text(&object["metadata"]["creationTimestamp"]));
    match created.zip(clock::system()) {
        Some((created, now)) => format!("{}s", now.seconds().saturating_sub(created.seconds())),
        None => "<unknown>".to_owned(),
    }
}

/// `kubectl describe node`.
pub(super) fn describe(cluster: &DevCluster, node: &Value) {
    let pairs = |value: &Value, line: &dyn Fn(&str, &str) -> String| -> Vec<String> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| line(key, text(value)))
            .collect()
    };
    let labels = pairs(&node["metadata"]["labels"], &|key, value| {
        format!("{key}={value}")
    });
    println!("Name:         {}", text(&node["metadata"]["name"]));
    println!("Labels:       {}", labels.join("\n              "));
    for taint in node["spec"]["taints"].as_array().into_iter().flatten() {
        println!(
            "Taints:       {}={}:{}",
            text(&taint["key"]),
            text(&taint["value"]),
            text(&taint["effect"])
        );
    }
    println!("Conditions:");
    for condition in node["status"]["conditions"].as_array().into_iter().flatten() {
        println!(
            "  {:<21} {:<6} {:<28} {}",
            text(&condition["type"]),
            text(&condition["status"]),
            text(&condition["reason"]),
            text(&condition["message"])
        );
    }
    let capacity = pairs(&node["status"]["capacity"], &|key, value| {
        format!("  {key:<20} {value}")
    });
    println!("Capacity:\n{}", capacity.join("\n"));
    let info = pairs(&node["status"]["nodeInfo"], &|key, value| {
        format!("  {key:<24} {value}")
    });
    println!("System Info:\n{}", info.join("\n"));
    println!("Events:");
    for event in cluster.list("events", "default", "", "").into_iter().flatten() {
        print_event(&event);
    }
    println!();
}

/// A line of `kubectl get events`.
pub(super) fn print_event(event: &Value) {
    println!(
        "  {:<8} {:<20} {}",
        text(&event["type"]),
        text(&event["reason"]),
        text(&event["message"])
    );
}
