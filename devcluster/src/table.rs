//! Objects as rows: what `kubectl get` prints (pkg/printers/internalversion/printers.go).

use crate::error::ApiError;
use crate::json::text;
use crate::object::{Object, partial};
use crate::resources::ResourceId;
use crate::timestamp;
use picolet_kube::human_duration;
use picolet_platform::UnixMicros;
use serde_json::{Value, json};
use std::rc::Rc;

/// How much of the object a row carries besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Whole,
}

impl Include {
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        match text {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::Nothing),
            "Object" => Ok(Self::Whole),
            _ => Err(ApiError::bad_request(format!(
                "includeObject: {text:?} is none of Metadata, None and Object"
            ))),
        }
    }
}

/// A column: its name, and whether only `-o wide` shows it.
type Column = (&'static str, bool);

const fn always(name: &'static str) -> Column {
    (name, false)
}

const fn wide(name: &'static str) -> Column {
    (name, true)
}

const POD: &[Column] = &[
    always("Name"),
    always("Ready"),
    always("Status"),
    always("Restarts"),
    always("Age"),
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
];
const NODE: &[Column] = &[
    always("Name"),
    always("Status"),
    always("Roles"),
    always("Age"),
    always("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];
const EVENT: &[Column] = &[
    always("Last Seen"),
    always("Type"),
    always("Reason"),
    always("Object"),
    wide("Subobject"),
    wide("Source"),
    always("Message"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];

const NAME: Column = always("Name");
const AGE: Column = always("Age");
const DATA: Column = always("Data");

fn columns(resource: ResourceId) -> &'static [Column] {
    match resource.plural {
        "pods" => POD,
        "nodes" => NODE,
        "events" => EVENT,
        "configmaps" => const { &[NAME, DATA, AGE] },
        "leases" => const { &[NAME, always("Holder"), AGE] },
        "namespaces" => const { &[NAME, always("Status"), AGE] },
        "secrets" => const { &[NAME, always("Type"), DATA, AGE] },
        "runtimeclasses" => const { &[NAME, always("Handler"), AGE] },
        "certificatesigningrequests" => {
            const {
                let duration = always("RequestedDuration");
                &[
                    NAME,
                    AGE,
                    always("SignerName"),
                    always("Requestor"),
                    duration,
                    always("Condition"),
                ]
            }
        }
        "rolebindings" | "clusterrolebindings" => const { &[NAME, always("Role"), AGE] },
        _ => const { &[NAME, AGE] },
    }
}

/// Makes a `meta.k8s.io/v1` Table of `items`.
pub(crate) fn render(
    resource: ResourceId,
    items: &[Rc<Object>],
    revision: u64,
    metadata: Option<Value>,
    include: Include,
    with_columns: bool,
    now: UnixMicros,
) -> Value {
    let columns = columns(resource);
    let definitions: Vec<Value> = columns
        .iter()
        .map(|(name, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": i32::from(*wide)})
        })
        .collect();
    let rows: Vec<Value> = items
        .iter()
        .map(|item| {
            let value = item.value();
            let mut row = json!({"cells": cells(resource, item, &value, now)});
            match include {
                Include::Nothing => {}
                Include::Metadata => row["object"] = partial(item),
                Include::Whole => row["object"] = value,
            }
            row
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata.unwrap_or_else(|| json!({"resourceVersion": revision.to_string()})),
        "columnDefinitions": if with_columns { Value::from(definitions) } else { json!([]) },
        "rows": rows,
    })
}

fn cells(resource: ResourceId, object: &Object, value: &Value, now: UnixMicros) -> Vec<Value> {
    let name = || Value::from(&*object.name);
    let at = |pointer: &str| {
        Value::from(
            text(value, pointer)
                .filter(|text| !text.is_empty())
                .unwrap_or("<none>"),
        )
    };
    let age = || Value::from(age(text(value, "/metadata/creationTimestamp"), now));
    let count = |fields: &[&str]| -> Value {
        fields
            .iter()
            .filter_map(|field| value[*field].as_object())
            .map(serde_json::Map::len)
            .sum::<usize>()
            .into()
    };
    match resource.plural {
        "pods" => pod(object, value, now),
        "nodes" => node(object, value, now),
        "events" => event(object, value, now),
        "configmaps" => vec![name(), count(&["data", "binaryData"]), age()],
        "leases" => vec![
            name(),
            text(value, "/spec/holderIdentity").unwrap_or("").into(),
            age(),
        ],
        "namespaces" => vec![name(), at("/status/phase"), age()],
        "secrets" => vec![name(), at("/type"), count(&["data"]), age()],
        "runtimeclasses" => vec![name(), at("/handler"), age()],
        "certificatesigningrequests" => {
            let seconds = value["spec"]["expirationSeconds"].as_u64();
            let duration = seconds.map_or("<none>".to_owned(), |seconds| human_duration(seconds as i64));
            vec![
                name(),
                age(),
                at("/spec/signerName"),
                at("/spec/username"),
                duration.into(),
                csr(value).into(),
            ]
        }
        "rolebindings" | "clusterrolebindings" => {
            let of = |field| text(value, field).unwrap_or("");
            vec![
                name(),
                format!("{}/{}", of("/roleRef/kind"), of("/roleRef/name")).into(),
                age(),
            ]
        }
        _ => vec![name(), age()],
    }
}

fn csr(value: &Value) -> String {
    let has = |kind: &str| {
        value["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == kind)
    };
    let mut states: Vec<&str> = ["Approved", "Denied", "Failed"]
        .into_iter()
        .filter(|kind| has(kind))
        .collect();
    if states.is_empty() {
        states.push("Pending");
    }
    if text(value, "/status/certificate").is_some_and(|pem| !pem.is_empty()) {
        states.push("Issued");
    }
    states.join(",")
}

fn node(object: &Object, value: &Value, now: UnixMicros) -> Vec<Value> {
    let conditions = value["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Ready");
    let mut status = match ready.map(|condition| condition["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if value["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let roles: Vec<&str> = object
        .labels
        .iter()
        .filter_map(|(key, role)| match &**key {
            "kubernetes.io/role" => Some(&**role),
            key => key.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    let roles = if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    };
    let address = |kind: &str| {
        let addresses = value["status"]["addresses"].as_array();
        let found = addresses
            .into_iter()
            .flatten()
            .find(|address| address["type"] == kind);
        found
            .and_then(|address| address["address"].as_str())
            .unwrap_or("<none>")
            .to_owned()
    };
    let info = |field: &str| {
        let text = value["status"]["nodeInfo"][field]
            .as_str()
            .filter(|text| !text.is_empty());
        Value::from(text.unwrap_or("<unknown>"))
    };
    vec![
        Value::from(&*object.name),
        status.into(),
        roles.into(),
        age(text(value, "/metadata/creationTimestamp"), now).into(),
        value["status"]["nodeInfo"]["kubeletVersion"].clone(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn pod(object: &Object, value: &Value, now: UnixMicros) -> Vec<Value> {
    let statuses = || {
        value["status"]["containerStatuses"]
            .as_array()
            .into_iter()
            .flatten()
    };
    let total = value["spec"]["containers"].as_array().map_or(0, Vec::len);
    let ready = statuses().filter(|status| status["ready"] == true).count();
    let restarts: u64 = statuses()
        .filter_map(|status| status["restartCount"].as_u64())
        .sum();
    let mut reason = text(value, "/status/phase").unwrap_or("").to_owned();
    if let Some(own) = text(value, "/status/reason").filter(|reason| !reason.is_empty()) {
        own.clone_into(&mut reason);
    }
    for status in statuses() {
        let state = &status["state"];
        let named = |of: &Value| {
            of["reason"]
                .as_str()
                .filter(|reason| !reason.is_empty())
                .map(str::to_owned)
        };
        if let Some(waiting) = named(&state["waiting"]) {
            reason = waiting;
        } else if let Some(terminated) = named(&state["terminated"]) {
            reason = terminated;
        } else if let Some(code) = state["terminated"]["exitCode"].as_i64() {
            reason = format!("ExitCode:{code}");
        }
    }
    if value.pointer("/metadata/deletionTimestamp").is_some() {
        reason = if text(value, "/status/reason") == Some("NodeLost") {
            "Unknown"
        } else {
            "Terminating"
        }
        .to_owned();
    }
    let at = |pointer: &str| {
        Value::from(
            text(value, pointer)
                .filter(|text| !text.is_empty())
                .unwrap_or("<none>"),
        )
    };
    vec![
        Value::from(&*object.name),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.to_string().into(),
        age(text(value, "/metadata/creationTimestamp"), now).into(),
        at("/status/podIP"),
        at("/spec/nodeName"),
        at("/status/nominatedNodeName"),
        "<none>".into(),
    ]
}

fn event(object: &Object, value: &Value, now: UnixMicros) -> Vec<Value> {
    let at = |pointer: &str| text(value, pointer).unwrap_or("");
    let time = |pointers: &[&str]| {
        let found = pointers.iter().find_map(|pointer| text(value, pointer));
        Value::from(age(found, now))
    };
    let subject = format!(
        "{}/{}",
        at("/involvedObject/kind").to_lowercase(),
        at("/involvedObject/name")
    );
    let source = match (at("/source/component"), at("/source/host")) {
        ("", _) => at("/reportingComponent").to_owned(),
        (component, "") => component.to_owned(),
        (component, host) => format!("{component}, {host}"),
    };
    let count = value["series"]["count"]
        .as_u64()
        .or(value["count"].as_u64())
        .unwrap_or(1);
    vec![
        time(&["/series/lastObservedTime", "/lastTimestamp", "/eventTime"]),
        at("/type").into(),
        at("/reason").into(),
        subject.into(),
        at("/involvedObject/fieldPath").into(),
        source.into(),
        at("/message").trim().into(),
        time(&["/firstTimestamp", "/eventTime"]),
        count.into(),
        Value::from(&*object.name),
    ]
}

fn age(since: Option<&str>, now: UnixMicros) -> String {
    match since.and_then(timestamp::parse) {
        Some(since) => human_duration(now.seconds() as i64 - since.seconds() as i64),
        None => "<unknown>".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        for resource in ResourceId::all() {
            let object = Object::new(resource, 1, &mut json!({"metadata": {"name": "n"}}));
            let table = render(
                resource,
                &[Rc::new(object)],
                1,
                None,
                Include::Metadata,
                true,
                UnixMicros(0),
            );
            let cells = table["rows"][0]["cells"].as_array().expect("cells").len();
            assert_eq!(
                cells,
                table["columnDefinitions"].as_array().expect("columns").len(),
                "{}",
                resource.plural
            );
        }
    }
}
