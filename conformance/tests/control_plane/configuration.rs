//! Configuration by ConfigMap, read back through the node's own API.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, Node, never, until};
use serde_json::{Value, json};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("applied_changed_deleted", applied_changed_deleted).essential(),
    beside("wrong_keeps_last_good", wrong_keeps_last_good),
    beside("pins", pins).essential(),
    beside("labelled_overlay", labelled_overlay),
    beside("before_the_node", before_the_node),
    beside("large", large).essential(),
];

/// Applies a ConfigMap; `node` is the value of the label that gives it to a node.
fn apply(case: &Case<'_>, namespace: &str, name: &str, node: Option<&str>, data: &Value) -> Result<()> {
    let mut metadata = json!({"name": name, "namespace": namespace});
    if let Some(node) = node {
        metadata["labels"] = json!({"picolet.dev/node": node});
    }
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    case.kubectl().apply(&object.to_string())?;
    Ok(())
}

fn delete(case: &Case<'_>, namespace: &str, name: &str) -> Result<()> {
    case.kubectl()
        .run(["delete", "configmap", name, "--namespace", namespace])?;
    Ok(())
}

/// Waits for a warning about a ConfigMap and returns its message.
fn warning(case: &Case<'_>, namespace: &str, name: &str) -> Result<String> {
    until(
        Duration::from_secs(10),
        &format!("a warning about ConfigMap {name}"),
        || {
            let events = case.cluster().events(namespace, "ConfigMap", name)?;
            let warning = events.iter().find(|event| event["type"] == "Warning");
            Ok(warning
                .and_then(|event| event["message"].as_str())
                .map(str::to_owned))
        },
    )
}

fn applied_changed_deleted(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().config_namespace(&namespace).start_ready()?;
    node.wait_memory(&[])?;
    // The very command of the README.
    let literal = "--from-literal=memory_values=0=0x42,1=0x43,2=0xFF";
    case.kubectl().run([
        "create",
        "configmap",
        "pico-config",
        "--namespace",
        &namespace,
        literal,
    ])?;
    node.wait_memory(&[(0, 0x42), (1, 0x43), (2, 0xFF)])?;
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"memory_values": "0=0x42,7=9,1023=255"}),
    )?;
    node.wait_memory(&[(0, 0x42), (7, 9), (1023, 255)])?;
    let update = node.get("/pico/memory")?.json()?["last_update"].clone();
    ensure!(
        update.as_str().is_some_and(|text| text.ends_with('Z')),
        "last_update is {update}"
    );
    delete(case, &namespace, "pico-config")?;
    node.wait_memory(&[])
}

fn wrong_keeps_last_good(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().config_namespace(&namespace).start_ready()?;
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"memory_values": "5=5"}),
    )?;
    node.wait_memory(&[(5, 5)])?;
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"memory_values": "6=6,1024=1"}),
    )?;
    let message = warning(case, &namespace, "pico-config")?;
    ensure!(
        message.contains("1024"),
        "the event does not name the entry: {message}"
    );
    ensure!(
        message.contains("memory_values"),
        "the event does not name the key: {message}"
    );
    // Rejected whole: neither its good entry nor an empty memory.
    let seen = || {
        Ok(Some(node.memory()?)
            .filter(|cells| *cells != [(5, 5)])
            .map(|cells| format!("{cells:?}")))
    };
    never(Duration::from_secs(2), "the last good state went", seen)?;
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"memory_values": "6=6"}),
    )?;
    node.wait_memory(&[(6, 6)])
}

fn pins(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().config_namespace(&namespace).start_ready()?;
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"gpio": "2=high,3=low,4=pwm:128", "led": "blink:250"}),
    )?;
    wait_pin(&node, 2, |pin| {
        pin["level"] == 1 || pin["level"] == "high" || pin["level"] == true
    })?;
    wait_pin(&node, 3, |pin| {
        pin["level"] == 0 || pin["level"] == "low" || pin["level"] == false
    })?;
    wait_pin(&node, 4, |pin| {
        pin["mode"].as_str().is_some_and(|mode| mode.contains("pwm"))
    })?;
    // A pin that a ConfigMap holds is not for others; another is.
    let caller = node.caller()?;
    let set = |pin: u8| {
        caller.post(
            &node.url("/pico/command"),
            &format!(r#"{{"command":"set_gpio","params":{{"pin":{pin},"value":"low"}}}}"#),
        )
    };
    ensure!(
        set(2)?.status == 409,
        "a pin of the ConfigMap could be set: {:?}",
        set(2)?
    );
    ensure!(
        set(5)?.status == 200,
        "a free pin could not be set: {:?}",
        set(5)?
    );
    // A pin that the board does not have rejects the ConfigMap.
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"gpio": "2=low,40=high"}),
    )?;
    let message = warning(case, &namespace, "pico-config")?;
    ensure!(
        message.contains("40"),
        "the event does not name the pin: {message}"
    );
    wait_pin(&node, 2, |pin| {
        pin["level"] == 1 || pin["level"] == "high" || pin["level"] == true
    })?;
    delete(case, &namespace, "pico-config")?;
    until(Duration::from_secs(10), "pin 2 is released", || {
        let pin = node.pin(2)?;
        let held = pin
            .as_ref()
            .is_some_and(|pin| pin["mode"].as_str().is_some_and(|mode| mode.contains("output")));
        Ok((!held).then_some(()))
    })
}

fn wait_pin(node: &Node<'_>, pin: u64, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    let mut last = None;
    until(Duration::from_secs(10), &format!("pin {pin}"), || {
        last = node.pin(pin)?;
        Ok(last.as_ref().is_some_and(&wanted).then_some(()))
    })
    .with_context(|| format!("the node says {last:?}"))
}

fn labelled_overlay(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node_named("a").config_namespace(&namespace).start_ready()?;
    let other = case.node_named("b").config_namespace(&namespace).start_ready()?;
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"memory_values": "0=1,1=1,2=1"}),
    )?;
    apply(
        case,
        &namespace,
        "b-for-all",
        Some("all"),
        &json!({"memory_values": "1=2,2=2,3=2"}),
    )?;
    apply(
        case,
        &namespace,
        "c-for-one",
        Some(node.name()),
        &json!({"memory_values": "2=3"}),
    )?;
    apply(
        case,
        &namespace,
        "unlabelled",
        None,
        &json!({"memory_values": "9=9"}),
    )?;
    // pico-config lies lowest, then the labelled ones by name.
    node.wait_memory(&[(0, 1), (1, 2), (2, 3), (3, 2)])?;
    other.wait_memory(&[(0, 1), (1, 2), (2, 2), (3, 2)])?;
    // A wrong layer keeps its own last good state and leaves the others alone.
    apply(
        case,
        &namespace,
        "b-for-all",
        Some("all"),
        &json!({"memory_values": "1=2,2=2,3=999"}),
    )?;
    let message = warning(case, &namespace, "b-for-all")?;
    ensure!(
        message.contains("3=999"),
        "the event does not name the entry: {message}"
    );
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"memory_values": "0=7"}),
    )?;
    node.wait_memory(&[(0, 7), (1, 2), (2, 3), (3, 2)])?;
    // What leaves a layer falls back to the one below: by losing its label, by being deleted.
    case.kubectl().run([
        "label",
        "configmap",
        "c-for-one",
        "--namespace",
        &namespace,
        "picolet.dev/node-",
    ])?;
    node.wait_memory(&[(0, 7), (1, 2), (2, 2), (3, 2)])?;
    delete(case, &namespace, "b-for-all")?;
    node.wait_memory(&[(0, 7)])?;
    other.wait_memory(&[(0, 7)])
}

fn before_the_node(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    apply(
        case,
        &namespace,
        "pico-config",
        None,
        &json!({"memory_values": "4=4"}),
    )?;
    let mut node = case.node().config_namespace(&namespace).start_ready()?;
    node.wait_memory(&[(4, 4)])?;
    // What happens while it is away counts when it is back.
    node.kill();
    delete(case, &namespace, "pico-config")?;
    apply(
        case,
        &namespace,
        "late",
        Some("all"),
        &json!({"memory_values": "8=8"}),
    )?;
    node.start()?;
    until(Duration::from_secs(20), "the node serves again", || {
        node.get("/healthz").map(Some)
    })?;
    node.wait_memory(&[(8, 8)])
}

fn large(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().config_namespace(&namespace).start_ready()?;
    // Nearly the largest that etcd takes: what the node does not know it skips.
    let noise = "x".repeat(1_000_000);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "pico-config", "namespace": namespace},
        "data": {"a-page": noise, "memory_values": "1=1"},
    });
    let create = ["create", "--filename", "-"];
    case.kubectl().run_with_input(create, &object.to_string())?;
    node.wait_memory(&[(1, 1)])?;
    let before = node.run_id()?;
    case.kubectl().run([
        "patch",
        "configmap",
        "pico-config",
        "--namespace",
        &namespace,
        "--patch",
        r#"{"data":{"memory_values":"1=2"}}"#,
    ])?;
    node.wait_memory(&[(1, 2)])?;
    thread::sleep(Duration::from_secs(1));
    ensure!(node.run_id()? == before, "the node was restarted");
    Ok(())
}
