//! What the server adds to a new object: the defaults of its type, and the fields that are always there.

use crate::json::{remove, text};
use crate::resources::ResourceId;
use crate::state::State;
use crate::target::By;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub(crate) fn on_create(state: &mut State, by: &By<'_>, resource: ResourceId, value: &mut Value) {
    match resource.plural {
        "pods" => pod(state, value),
        "nodes" => node(value),
        "namespaces" => {
            let name = value["metadata"]["name"].clone();
            value["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            value["spec"] = json!({"finalizers": ["kubernetes"]});
            value["status"] = json!({"phase": "Active"});
        }
        "secrets" => {
            fold_string_data(value);
            fill(value, json!({"type": "Opaque"}));
        }
        "leases" => fill(value, json!({"spec": {}})),
        "certificatesigningrequests" => {
            value["status"] = json!({});
            value["spec"]["username"] = by.identity.user.as_str().into();
            value["spec"]["groups"] = by.identity.groups.as_slice().into();
        }
        _ => {}
    }
    always(resource, value);
}

/// Puts in what is there even when it says nothing: fields that Go writes whatever they hold.
pub(crate) fn always(resource: ResourceId, value: &mut Value) {
    let defaults = match resource.plural {
        "events" => json!({
            "eventTime": null, "firstTimestamp": null, "lastTimestamp": null, "source": {},
            "reportingComponent": "", "reportingInstance": "",
        }),
        "roles" | "clusterroles" => json!({"rules": null}),
        "nodes" => json!({"spec": {}, "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": {
            "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "",
            "osImage": "", "systemUUID": "",
        }}}),
        "pods" => json!({"status": {}}),
        _ => return,
    };
    fill(value, defaults);
    let elements: &[(&str, Value)] = match resource.plural {
        "nodes" => &[(
            "/status/conditions",
            json!({"lastHeartbeatTime": null, "lastTransitionTime": null}),
        )],
        "pods" => {
            let container = json!({
                "image": "", "imageID": "", "lastState": {}, "ready": false, "restartCount": 0, "state": {}});
            &[
                (
                    "/status/conditions",
                    json!({"lastProbeTime": null, "lastTransitionTime": null}),
                ),
                ("/status/containerStatuses", container.clone()),
                ("/status/initContainerStatuses", container),
            ]
        }
        _ => &[],
    };
    for (list, defaults) in elements {
        for element in value
            .pointer_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            fill(element, defaults.clone());
        }
    }
}

/// Turns the `stringData` of a Secret into `data`.
pub(crate) fn fold_string_data(value: &mut Value) {
    if let Value::Object(plain) = value["stringData"].take() {
        for (key, text) in plain {
            value["data"][key] = STANDARD.encode(text.as_str().unwrap_or("")).into();
        }
    }
    remove(value, "stringData");
}

/// Puts in what is missing, at every depth.
fn fill(value: &mut Value, defaults: Value) {
    match (value, defaults) {
        (Value::Object(fields), Value::Object(defaults)) => {
            for (field, default) in defaults {
                fill(fields.entry(field).or_insert(Value::Null), default);
            }
        }
        (value @ Value::Null, default) => *value = default,
        _ => {}
    }
}

/// What a node does not set aside is there for pods.
fn node(value: &mut Value) {
    let capacity = value.pointer("/status/capacity").cloned();
    if let (Some(capacity), None) = (capacity, value.pointer("/status/allocatable")) {
        value["status"]["allocatable"] = capacity;
    }
}

/// Defaults of pkg/apis/core/v1/defaults.go, and what the admission plugins ServiceAccount, Priority and
/// DefaultTolerationSeconds add.
fn pod(state: &mut State, value: &mut Value) {
    let mirror = value
        .pointer("/metadata/annotations/kubernetes.io~1config.mirror")
        .is_some();
    value["metadata"]["generation"] = 1.into();
    fill(
        value,
        json!({"spec": {
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0, "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
            "terminationGracePeriodSeconds": 30, "containers": [],
        }}),
    );
    if !mirror {
        service_account(state, value);
        tolerate_for_five_minutes(value);
    }
    let spec = &mut value["spec"];
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            container_defaults(container);
        }
        if spec[list].is_null() {
            remove(spec, list);
        }
    }
    let class = quality(&value["spec"]);
    value["status"] = json!({"phase": "Pending", "qosClass": class});
}

fn container_defaults(container: &mut Value) {
    let tag = text(container, "/image")
        .and_then(|image| image.rsplit('/').next())
        .unwrap_or("");
    let latest = !tag.contains('@') && (!tag.contains(':') || tag.ends_with(":latest"));
    fill(
        container,
        json!({
            "imagePullPolicy": if latest { "Always" } else { "IfNotPresent" },
            "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        }),
    );
    for port in container["ports"].as_array_mut().into_iter().flatten() {
        fill(port, json!({"protocol": "TCP"}));
    }
    if container["ports"].is_null() {
        remove(container, "ports");
    }
    // Limits are requests where no others are made.
    if let Some(limits) = container
        .pointer("/resources/limits")
        .filter(|limits| limits.is_object())
        .cloned()
    {
        fill(container, json!({"resources": {"requests": limits}}));
    }
}

/// The plugin ServiceAccount: an account, and a volume with its token that nearly every pod has therefore.
fn service_account(state: &mut State, value: &mut Value) {
    fill(value, json!({"spec": {"serviceAccountName": "default"}}));
    let account = value["spec"]["serviceAccountName"].clone();
    value["spec"]["serviceAccount"] = account;
    if value["spec"]["automountServiceAccountToken"] == false {
        return;
    }
    let name = format!("kube-api-access-{}", state.suffix());
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    append(&mut value["spec"]["volumes"], volume);
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    for list in ["containers", "initContainers"] {
        for container in value["spec"][list].as_array_mut().into_iter().flatten() {
            let mount = json!({"name": name, "readOnly": true, "mountPath": path});
            append(&mut container["volumeMounts"], mount);
        }
    }
}

/// The plugin DefaultTolerationSeconds.
fn tolerate_for_five_minutes(value: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerations = value["spec"]["tolerations"].as_array();
        let covered = tolerations.into_iter().flatten().any(|toleration| {
            let effect = text(toleration, "/effect").unwrap_or("");
            let of = text(toleration, "/key").unwrap_or("");
            matches!(effect, "" | "NoExecute") && (of == key || of.is_empty())
        });
        if !covered {
            let toleration =
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            append(&mut value["spec"]["tolerations"], toleration);
        }
    }
}

fn append(list: &mut Value, element: Value) {
    match list {
        Value::Array(list) => list.push(element),
        _ => *list = json!([element]),
    }
}

/// `Guaranteed` where each container has limits for cpu and memory and requests no less; `BestEffort` where none asks
/// for anything.
fn quality(spec: &Value) -> &'static str {
    let containers = || {
        ["containers", "initContainers"]
            .into_iter()
            .filter_map(|list| spec[list].as_array())
            .flatten()
    };
    let asks = |container: &Value| {
        ["requests", "limits"].into_iter().any(|kind| {
            container["resources"][kind]
                .as_object()
                .is_some_and(|map| !map.is_empty())
        })
    };
    let guaranteed = |container: &Value| {
        ["cpu", "memory"].into_iter().all(|resource| {
            let limit = &container["resources"]["limits"][resource];
            !limit.is_null() && container["resources"]["requests"][resource] == *limit
        })
    };
    if !containers().any(asks) {
        "BestEffort"
    } else if containers().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}
