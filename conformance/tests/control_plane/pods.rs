//! Pods: kept away by the taint, refused or kept waiting in words when forced here, and always deleted to the end.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Case, never, until};
use serde_json::{Value, json};

use crate::{Entry, beside};

/// What must not hang gets so long: a machine that is busy with all the other cases is slow, and that is all it shows.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const CASES: &[Entry] = &[
    beside("daemonset_stays_away", daemonset_stays_away),
    beside("refused_for_each_reason", refused_for_each_reason),
    beside("refused_for_its_label", refused_for_its_label),
    beside("refused_for_no_room", refused_for_no_room).only_linux("a board has the capacity that it has"),
    beside("refused_for_a_noexecute_taint", refused_for_a_noexecute_taint),
    beside("waits_without_a_runtime", waits_without_a_runtime),
    beside("refused_status_is_whole", refused_status_is_whole),
    beside("delete_never_hangs", delete_never_hangs).essential(),
    beside("deleted_while_away", deleted_while_away),
    beside("recreated_pod_inherits_nothing", recreated_pod_inherits_nothing),
];

/// A pod that was bound to a node by whoever made it, with `extra` laid over its spec.
pub(crate) fn forced(name: &str, namespace: &str, node: &str, extra: &Value) -> Value {
    let mut spec = json!({
        "nodeName": node,
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "example.org/nothing:1"}],
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

/// Waits until a pod has failed and returns it.
pub(crate) fn wait_refused(case: &Case<'_>, namespace: &str, name: &str) -> Result<Value> {
    let mut last = Value::Null;
    until(PATIENCE, &format!("pod {name} is refused"), || {
        let pod = case.cluster().object(namespace, "pod", name)?.context("no pod")?;
        last = pod["status"].clone();
        Ok((pod["status"]["phase"] == "Failed").then_some(pod))
    })
    .with_context(|| format!("its status is {last}"))
}

/// Waits until a pod waits since the node has no runtime.
pub(crate) fn wait_without_runtime(case: &Case<'_>, namespace: &str, name: &str) -> Result<Value> {
    let mut last = Value::Null;
    until(PATIENCE, &format!("pod {name} waits for a runtime"), || {
        let pod = case.cluster().object(namespace, "pod", name)?.context("no pod")?;
        last = pod["status"].clone();
        let waiting = &last["containerStatuses"][0]["state"]["waiting"];
        Ok((waiting["reason"] == "CreateContainerError").then_some(pod))
    })
    .with_context(|| format!("its status is {last}"))
}

fn delete(case: &Case<'_>, namespace: &str, name: &str) -> Result<()> {
    case.kubectl()
        .run(["delete", "pod", name, "--namespace", namespace, "--timeout=60s"])?;
    Ok(())
}

fn daemonset_stays_away(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    let daemonset = |name: &str, tolerations: Value| {
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "tolerations": tolerations,
                        "containers": [{"name": "main", "image": "example.org/nothing:1"}],
                    },
                },
            },
        })
    };
    let pods_here = |app: &str| -> Result<Vec<Value>> {
        let node = format!("spec.nodeName={}", node.name());
        let app = format!("app={app}");
        let arguments = [
            "get",
            "pods",
            "--namespace",
            &namespace,
            "--field-selector",
            &node,
            "-l",
            &app,
            "-o=json",
        ];
        let list: Value = serde_json::from_str(&case.kubectl().run(arguments)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    };
    case.kubectl().apply(&daemonset("plain", json!([])).to_string())?;
    // One that tolerates the taint lands: the controller works, and only the taint keeps the other away.
    let tolerant = json!([{"key": "picolet.dev/microcontroller", "operator": "Exists"}]);
    case.kubectl()
        .apply(&daemonset("tolerant", tolerant).to_string())?;
    until(
        Duration::from_secs(20),
        "the tolerant DaemonSet's pod is here",
        || Ok((!pods_here("tolerant")?.is_empty()).then_some(())),
    )?;
    let landed = || {
        Ok(pods_here("plain")?
            .first()
            .map(|pod| pod["metadata"]["name"].to_string()))
    };
    never(
        Duration::from_secs(3),
        "a DaemonSet without toleration landed here",
        landed,
    )?;
    let status = case
        .cluster()
        .object(&namespace, "daemonset", "plain")?
        .context("no DaemonSet")?["status"]
        .clone();
    ensure!(
        status["observedGeneration"] == 1,
        "the controller has not seen it: {status}"
    );
    // Both go, and so do the pods that were refused here.
    case.kubectl().run([
        "delete",
        "daemonset",
        "plain",
        "tolerant",
        "--namespace",
        &namespace,
        "--timeout=20s",
    ])?;
    until(Duration::from_secs(20), "the DaemonSet's pods are gone", || {
        Ok(pods_here("tolerant")?.is_empty().then_some(()))
    })
}

fn refused_for_each_reason(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    let requests = |resource: &str, amount: &str| {
        let amounts = json!({"requests": {resource: amount}, "limits": {resource: amount}});
        json!({"containers": [{"name": "main", "image": "example.org/nothing:1", "resources": amounts}]})
    };
    let container = |extra: Value| {
        let mut container = json!({"name": "main", "image": "example.org/nothing:1"});
        for (key, value) in extra.as_object().into_iter().flatten() {
            container[key] = value.clone();
        }
        json!({"containers": [container]})
    };
    // Name, what is wrong with the pod, the reason, and a word that the message must have.
    let cases = [
        ("os", json!({"os": {"name": "linux"}}), "PodOSNotSupported", "OS"),
        (
            "os-selector",
            json!({"nodeSelector": {"kubernetes.io/os": "linux"}}),
            "NodeAffinity",
            "node",
        ),
        (
            "groups",
            json!({"securityContext": {"supplementalGroupsPolicy": "Strict"}}),
            "SupplementalGroupsPolicyNotSupported",
            "SupplementalGroupsPolicy",
        ),
        (
            "selector",
            json!({"nodeSelector": {"example.org/room": "attic"}}),
            "NodeAffinity",
            "node",
        ),
        (
            "affinity",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]}]}}}}),
            "NodeAffinity",
            "node",
        ),
        ("cpu", requests("cpu", "64"), "OutOfcpu", "cpu"),
        ("memory", requests("memory", "64Gi"), "OutOfmemory", "memory"),
        (
            "storage",
            requests("ephemeral-storage", "64Gi"),
            "OutOfephemeral-storage",
            "ephemeral-storage",
        ),
        (
            "pins",
            requests("picolet.dev/gpio", "999"),
            "OutOfpicolet.dev/gpio",
            "picolet.dev/gpio",
        ),
        (
            "host-network",
            json!({"hostNetwork": true}),
            "PodFeatureUnsupported",
            "hostNetwork",
        ),
        (
            "host-path",
            json!({"volumes": [{"name": "etc", "hostPath": {"path": "/etc"}}]}),
            "PodFeatureUnsupported",
            "volume",
        ),
        (
            "privileged",
            container(json!({"securityContext": {"privileged": true}})),
            "PodFeatureUnsupported",
            "privileged",
        ),
        (
            "exec-probe",
            container(json!({"livenessProbe": {"exec": {"command": ["true"]}}})),
            "PodFeatureUnsupported",
            "Probe",
        ),
    ];
    for (name, extra, _, _) in &cases {
        case.kubectl()
            .apply(&forced(name, &namespace, node.name(), extra).to_string())?;
    }
    let mut wrong = Vec::new();
    for (name, _, reason, word) in &cases {
        match wait_refused(case, &namespace, name) {
            Ok(pod) => {
                let status = &pod["status"];
                let message = status["message"].as_str().unwrap_or_default();
                if status["reason"] != *reason {
                    wrong.push(format!(
                        "{name}: the reason is {}, not {reason}: {message}",
                        status["reason"]
                    ));
                } else if !message.contains(word) {
                    wrong.push(format!(
                        "{name}: the message does not mention {word:?}: {message}"
                    ));
                }
            }
            Err(error) => wrong.push(format!("{name}: {error:#}")),
        }
        if let Err(error) = delete(case, &namespace, name) {
            wrong.push(format!("{name}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

fn refused_for_its_label(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    // Upstream looks at the pod's own label here, not at its selector.
    let mut pod = forced("for-linux", &namespace, node.name(), &json!({}));
    pod["metadata"]["labels"] = json!({"kubernetes.io/os": "linux"});
    case.kubectl().apply(&pod.to_string())?;
    let status = wait_refused(case, &namespace, "for-linux")?["status"].clone();
    ensure!(
        status["reason"] == "PodOSSelectorNodeLabelDoesNotMatch",
        "{status}"
    );
    delete(case, &namespace, "for-linux")
}

fn refused_for_no_room(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().arguments(["--capacity", "pods=0"]).start_ready()?;
    case.kubectl()
        .apply(&forced("one-too-many", &namespace, node.name(), &json!({})).to_string())?;
    let status = wait_refused(case, &namespace, "one-too-many")?["status"].clone();
    ensure!(status["reason"] == "OutOfpods", "{status}");
    delete(case, &namespace, "one-too-many")
}

fn refused_for_a_noexecute_taint(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    case.kubectl()
        .run(["taint", "node", node.name(), "example.org/away=now:NoExecute"])?;
    // The node learns of the taint when it next reads its Node.
    std::thread::sleep(Duration::from_secs(11));
    // It tolerates the taint for a while, so that the taint manager does not delete it first.
    let untolerating = forced("untolerating", &namespace, node.name(), &json!({}));
    case.kubectl().apply(&untolerating.to_string())?;
    // Either the node refuses it, or the taint manager was faster and has deleted it: never may it stay.
    until(Duration::from_secs(20), "the pod is refused or evicted", || {
        let Some(pod) = case.cluster().object(&namespace, "pod", "untolerating")? else {
            return Ok(Some(()));
        };
        let refused = pod["status"]["phase"] == "Failed";
        ensure!(
            !refused || pod["status"]["reason"] == "TaintToleration",
            "{}",
            pod["status"]
        );
        Ok(refused.then_some(()))
    })?;
    let tolerations = json!({"tolerations": [{"operator": "Exists"}]});
    case.kubectl()
        .apply(&forced("tolerating", &namespace, node.name(), &tolerations).to_string())?;
    let status = wait_without_runtime(case, &namespace, "tolerating")?["status"].clone();
    ensure!(
        status["phase"] == "Pending",
        "a tolerated taint is no reason to refuse: {status}"
    );
    delete(case, &namespace, "tolerating")
}

/// More than any node has.
fn greedy() -> Value {
    json!({"containers": [{"name": "main", "image": "example.org/nothing:1", "resources": {"requests": {"cpu": "64"}}}]})
}

fn waits_without_a_runtime(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "idle"}},
            "template": {
                "metadata": {"labels": {"app": "idle"}},
                "spec": forced("", "", node.name(), &json!({"restartPolicy": "Always"}))["spec"],
            },
        },
    });
    case.kubectl().apply(&deployment.to_string())?;
    let pods = || -> Result<Vec<Value>> {
        let arguments = [
            "get",
            "pods",
            "--namespace",
            &namespace,
            "-l",
            "app=idle",
            "-o=json",
        ];
        let list: Value = serde_json::from_str(&case.kubectl().run(arguments)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    };
    let pod = until(PATIENCE, "the Deployment has a pod", || {
        Ok(pods()?
            .first()
            .map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()))
    })?;
    let status = wait_without_runtime(case, &namespace, &pod)?["status"].clone();
    let message = &status["containerStatuses"][0]["state"]["waiting"]["message"];
    ensure!(
        *message == format!("node {} has no container runtime", node.name()),
        "{message}"
    );
    until(PATIENCE, "an event about the pod that waits", || {
        let events = case.cluster().events(&namespace, "Pod", &pod)?;
        Ok(events
            .iter()
            .any(|event| event["reason"] == "Failed")
            .then_some(()))
    })?;
    never(
        Duration::from_secs(20),
        "the Deployment made another pod, or the pod is no longer Pending",
        || {
            let pods = pods()?;
            let same = pods.len() == 1 && pods.iter().all(|pod| pod["status"]["phase"] == "Pending");
            Ok((!same).then(|| json!(pods).to_string()))
        },
    )?;
    node.wait_ready(PATIENCE)?;
    case.kubectl().run([
        "delete",
        "deployment",
        "idle",
        "--namespace",
        &namespace,
        "--timeout=60s",
    ])?;
    until(PATIENCE, "the Deployment's pod is gone", || {
        Ok(pods()?.is_empty().then_some(()))
    })
}

fn refused_status_is_whole(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    case.kubectl()
        .apply(&forced("whole", &namespace, node.name(), &greedy()).to_string())?;
    let status = wait_refused(case, &namespace, "whole")?["status"].clone();
    ensure!(status["startTime"].is_string(), "no startTime: {status}");
    // A refused pod is terminal: nobody may count it as Ready.
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    for condition in conditions
        .iter()
        .filter(|it| it["type"] == "Ready" || it["type"] == "ContainersReady")
    {
        ensure!(condition["status"] == "False", "{condition}");
    }
    let events = until(Duration::from_secs(5), "an event about the refused pod", || {
        let events = case.cluster().events(&namespace, "Pod", "whole")?;
        Ok((!events.is_empty()).then_some(events))
    })?;
    ensure!(
        events.iter().any(|event| event["reason"] == "OutOfcpu"),
        "{events:?}"
    );
    // It stays Failed, and the node serves on.
    let changed = || {
        let pod = case
            .cluster()
            .object(&namespace, "pod", "whole")?
            .context("no pod")?;
        Ok((pod["status"] != status).then(|| pod["status"].to_string()))
    };
    never(
        Duration::from_secs(3),
        "a terminal status was written again",
        changed,
    )?;
    delete(case, &namespace, "whole")
}

fn delete_never_hangs(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    // At once, before the node can have seen it.
    for round in 0..3 {
        let name = format!("hasty-{round}");
        case.kubectl()
            .apply(&forced(&name, &namespace, node.name(), &json!({})).to_string())?;
        delete(case, &namespace, &name)?;
    }
    // With a grace of its own, after it was seen.
    let patient = json!({"terminationGracePeriodSeconds": 600});
    case.kubectl()
        .apply(&forced("patient", &namespace, node.name(), &patient).to_string())?;
    wait_without_runtime(case, &namespace, "patient")?;
    delete(case, &namespace, "patient")?;
    // With a finalizer, which is somebody else's business: the node must not fight it, and it goes when that is gone.
    let mut pod = forced("held", &namespace, node.name(), &json!({}));
    pod["metadata"]["finalizers"] = json!(["example.org/hold"]);
    case.kubectl().apply(&pod.to_string())?;
    wait_without_runtime(case, &namespace, "held")?;
    case.kubectl()
        .run(["delete", "pod", "held", "--namespace", &namespace, "--wait=false"])?;
    std::thread::sleep(Duration::from_secs(2));
    let release = r#"{"metadata":{"finalizers":null}}"#;
    case.kubectl().run([
        "patch",
        "pod",
        "held",
        "--namespace",
        &namespace,
        "--patch",
        release,
    ])?;
    until(PATIENCE, "the pod is gone without its finalizer", || {
        Ok(case
            .cluster()
            .object(&namespace, "pod", "held")?
            .is_none()
            .then_some(()))
    })?;
    // A whole namespace of them.
    for index in 0..5 {
        let name = format!("many-{index}");
        case.kubectl()
            .apply(&forced(&name, &namespace, node.name(), &json!({})).to_string())?;
    }
    case.kubectl()
        .run(["delete", "namespace", &namespace, "--timeout=90s"])?;
    Ok(())
}

fn deleted_while_away(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let mut node = case.node().start_ready()?;
    case.kubectl()
        .apply(&forced("orphan", &namespace, node.name(), &json!({})).to_string())?;
    wait_without_runtime(case, &namespace, "orphan")?;
    node.kill();
    // Made and deleted while nobody is there: the API server waits for the node.
    case.kubectl()
        .apply(&forced("unseen", &namespace, node.name(), &json!({})).to_string())?;
    for name in ["orphan", "unseen"] {
        case.kubectl()
            .run(["delete", "pod", name, "--namespace", &namespace, "--wait=false"])?;
    }
    node.start()?;
    until(
        Duration::from_secs(20),
        "pods deleted while the node was away are gone",
        || {
            let gone = |name| {
                case.cluster()
                    .object(&namespace, "pod", name)
                    .map(|pod| pod.is_none())
            };
            Ok((gone("orphan")? && gone("unseen")?).then_some(()))
        },
    )
}

fn recreated_pod_inherits_nothing(case: &Case<'_>) -> Result<()> {
    let namespace = case.namespace()?;
    let node = case.node().start_ready()?;
    for _ in 0..3 {
        case.kubectl()
            .apply(&forced("twin", &namespace, node.name(), &greedy()).to_string())?;
        let reason = wait_refused(case, &namespace, "twin")?["status"]["reason"].clone();
        ensure!(reason == "OutOfcpu", "{reason}");
        delete(case, &namespace, "twin")?;
        case.kubectl()
            .apply(&forced("twin", &namespace, node.name(), &json!({})).to_string())?;
        let status = wait_without_runtime(case, &namespace, "twin")?["status"].clone();
        ensure!(
            status["phase"] == "Pending" && status["reason"].is_null(),
            "the second pod of this name has the first one's state: {status}"
        );
        delete(case, &namespace, "twin")?;
    }
    Ok(())
}
