//! `Node`: how a node makes itself known, and how it finds itself again.

use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, Writer, fields, shape};
use crate::metadata::{self, LABELS, Metadata};
use crate::selector::Taint;
use crate::status::{CODE_ENTRY, MESSAGE_ENTRY, REASON_ENTRY};
use crate::text::{Collector, keep, set};
use crate::{Quantity, Timestamp};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

fields![
    BOOT_ID,
    MACHINE_ID,
    CONDITION,
    CONDITION_TYPE,
    CONDITION_STATUS,
    CONDITION_TRANSITION,
    TAINT,
    TAINT_KEY,
    TAINT_VALUE,
    TAINT_EFFECT,
];

/// The conditions that a node of this kind reports. Others on its Node are other controllers' and are not kept.
pub const CONDITIONS: [&str; 9] = [
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    "Ready",
    "TimeSynced",
    "ConfigurationApplied",
    "CertificatesValid",
    "FirmwareConfirmed",
    "WifiSignal",
];
/// Labels are kept up to so many bytes of keys and values …
const LABEL_BYTES: usize = 4096;
/// … and so many taints.
const TAINTS: usize = 32;

/// `v1.ConditionStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl Truth {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// A condition of the node as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: Box<str>,
    /// Whether it holds.
    pub status: Truth,
    /// Since when.
    pub last_transition: Option<Timestamp>,
}

/// `v1.Node`, as far as a node reads its own.
#[derive(Default)]
pub struct Node {
    /// Its metadata.
    pub metadata: Metadata,
    /// Its labels.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Its taints: who may not be here.
    pub taints: Vec<Taint>,
    /// The boot that reported last.
    pub boot_id: Box<str>,
    /// The machine that reported last.
    pub machine_id: Box<str>,
    /// Its conditions, as far as they are among [`CONDITIONS`].
    pub conditions: Vec<Condition>,
    /// Whether it has more labels or taints than are kept.
    pub truncated: bool,
    label_bytes: usize,
    /// The condition and the taint that are being read.
    condition: Condition,
    taint: Taint,
    key: Box<str>,
    collector: Collector,
}

impl Node {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(name, _)| &**name == key)
            .map(|(_, value)| &**value)
    }

    fn value(&mut self, field: Field, value: Option<&str>) {
        if self.metadata.value(field, value) {
            return;
        }
        match field {
            LABELS => {
                let (key, value) = (core::mem::take(&mut self.key), keep(value));
                self.label_bytes += key.len() + value.len();
                if self.label_bytes <= LABEL_BYTES {
                    self.labels.push((key, value));
                } else {
                    self.truncated = true;
                }
            }
            BOOT_ID => set(&mut self.boot_id, value),
            MACHINE_ID => set(&mut self.machine_id, value),
            CONDITION_TYPE => set(&mut self.condition.kind, value),
            CONDITION_STATUS => {
                self.condition.status = match value {
                    Some("True") => Truth::True,
                    Some("False") => Truth::False,
                    _ => Truth::Unknown,
                };
            }
            CONDITION_TRANSITION => self.condition.last_transition = value.and_then(Timestamp::parse),
            TAINT_KEY => set(&mut self.taint.key, value),
            TAINT_VALUE => set(&mut self.taint.value, value),
            TAINT_EFFECT => set(&mut self.taint.effect, value),
            _ => {}
        }
    }
}

impl Sink for Node {
    fn enter(&mut self, field: Field) {
        match field {
            CONDITION => self.condition = Condition::default(),
            TAINT => self.taint = Taint::default(),
            _ => {}
        }
    }

    fn leave(&mut self, field: Field) {
        match field {
            CONDITION => {
                let condition = core::mem::take(&mut self.condition);
                let is_own = CONDITIONS.contains(&&*condition.kind);
                if is_own && self.conditions.len() < CONDITIONS.len() {
                    self.conditions.push(condition);
                }
            }
            TAINT if self.taints.len() < TAINTS => self.taints.push(core::mem::take(&mut self.taint)),
            TAINT => self.truncated = true,
            _ => {}
        }
    }

    fn key(&mut self, _field: Field, key: &str) {
        self.key = key.into();
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        let mut collector = core::mem::take(&mut self.collector);
        if let Some(value) = collector.push(piece, last) {
            self.value(field, value);
        }
        self.collector = collector;
    }
}

impl Object for Node {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("metadata", metadata::SHAPE_WITH_LABELS),
        (
            "spec",
            Shape::Object(&[(
                "taints",
                Shape::List(&Shape::Group(
                    TAINT,
                    &Shape::Object(&[
                        ("key", Shape::Value(TAINT_KEY)),
                        ("value", Shape::Value(TAINT_VALUE)),
                        ("effect", Shape::Value(TAINT_EFFECT)),
                    ]),
                )),
            )]),
        ),
        (
            "status",
            Shape::Object(&[
                (
                    "nodeInfo",
                    Shape::Object(&[
                        ("bootID", Shape::Value(BOOT_ID)),
                        ("machineID", Shape::Value(MACHINE_ID)),
                    ]),
                ),
                (
                    "conditions",
                    Shape::List(&Shape::Group(
                        CONDITION,
                        &Shape::Object(&[
                            ("type", Shape::Value(CONDITION_TYPE)),
                            ("status", Shape::Value(CONDITION_STATUS)),
                            ("lastTransitionTime", Shape::Value(CONDITION_TRANSITION)),
                        ]),
                    )),
                ),
            ]),
        ),
        CODE_ENTRY,
        REASON_ENTRY,
        MESSAGE_ENTRY,
    ]));

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// `v1.NodeSystemInfo`.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names are Kubernetes' own, field by field")]
pub struct SystemInfo<'a> {
    pub machine_id: &'a str,
    pub system_uuid: &'a str,
    pub boot_id: &'a str,
    pub kernel_version: &'a str,
    pub os_image: &'a str,
    pub container_runtime_version: &'a str,
    pub kubelet_version: &'a str,
    pub operating_system: &'a str,
    pub architecture: &'a str,
}

/// A condition as the node reports it.
#[derive(Clone, Copy, Debug)]
pub struct ConditionReport<'a> {
    /// Its type.
    pub kind: &'a str,
    /// Whether it holds.
    pub status: Truth,
    /// One word.
    pub reason: &'a str,
    /// For a person.
    pub message: &'a str,
    /// Since when.
    pub last_transition: Timestamp,
}

/// The status of a node as it reports it.
#[derive(Clone, Copy, Debug)]
pub struct StatusReport<'a> {
    /// The node's name, which is its hostname too.
    pub name: &'a str,
    /// Its address, or empty while it has none.
    pub address: &'a str,
    /// The port of its API; `None` leaves it out (k3s then dials directly).
    pub port: Option<u16>,
    /// What there is.
    pub capacity: &'a [(&'a str, Quantity)],
    /// What pods may have of it.
    pub allocatable: &'a [(&'a str, Quantity)],
    /// Who it is.
    pub info: SystemInfo<'a>,
    /// How it is.
    pub conditions: &'a [ConditionReport<'a>],
    /// Now.
    pub heartbeat: Timestamp,
}

impl StatusReport<'_> {
    /// Writes it as a new Node has it, or as a strategic merge patch that also takes back what is no longer so: all other
    /// addresses, the port, and the `stale` conditions.
    fn write(&self, w: &mut Writer<'_>, stale: Option<&[&str]>) {
        w.object_at("status");
        w.array_at("addresses");
        if stale.is_some() {
            w.object();
            w.string_at("$patch", "replace");
            w.end();
        }
        for (kind, address) in [("InternalIP", self.address), ("Hostname", self.name)] {
            if !address.is_empty() {
                w.object();
                w.string_at("type", kind);
                w.string_at("address", address);
                w.end();
            }
        }
        w.end();
        if let Some(port) = self.port {
            w.object_at("daemonEndpoints");
            w.object_at("kubeletEndpoint");
            w.number_at("Port", port);
            w.end();
            w.end();
        } else if stale.is_some() {
            w.null_at("daemonEndpoints");
        }
        for (key, amounts) in [("capacity", self.capacity), ("allocatable", self.allocatable)] {
            w.object_at(key);
            for (resource, amount) in amounts {
                w.text_at(resource, amount);
            }
            w.end();
        }
        w.object_at("nodeInfo");
        for (key, value) in [
            ("machineID", self.info.machine_id),
            ("systemUUID", self.info.system_uuid),
            ("bootID", self.info.boot_id),
            ("kernelVersion", self.info.kernel_version),
            ("osImage", self.info.os_image),
            ("containerRuntimeVersion", self.info.container_runtime_version),
            ("kubeletVersion", self.info.kubelet_version),
            ("kubeProxyVersion", ""),
            ("operatingSystem", self.info.operating_system),
            ("architecture", self.info.architecture),
        ] {
            w.string_at(key, value);
        }
        w.end();
        w.array_at("conditions");
        for condition in self.conditions {
            w.object();
            w.string_at("type", condition.kind);
            w.string_at("status", condition.status.as_str());
            w.text_at("lastHeartbeatTime", self.heartbeat.time());
            w.text_at("lastTransitionTime", condition.last_transition.time());
            w.string_at("reason", condition.reason);
            w.string_at("message", condition.message);
            w.end();
        }
        for kind in stale.unwrap_or_default() {
            w.object();
            w.string_at("type", kind);
            w.string_at("$patch", "delete");
            w.end();
        }
        w.end();
        w.end();
    }
}

/// Writes the Node that a node creates: taints can be set only here (NodeRestriction).
pub fn write_node(out: &mut String, labels: &[(&str, &str)], taints: &[Taint], status: &StatusReport<'_>) {
    let mut w = Writer::new(out);
    w.object();
    w.string_at("apiVersion", "v1");
    w.string_at("kind", "Node");
    w.object_at("metadata");
    w.string_at("name", status.name);
    write_labels(&mut w, labels);
    w.end();
    w.object_at("spec");
    if !taints.is_empty() {
        w.array_at("taints");
        for taint in taints {
            w.object();
            w.string_at("key", &taint.key);
            if !taint.value.is_empty() {
                w.string_at("value", &taint.value);
            }
            w.string_at("effect", &taint.effect);
            w.end();
        }
        w.end();
    }
    w.end();
    status.write(&mut w, None);
    w.end();
}

/// Writes the strategic merge patch that sets labels.
pub fn write_labels_patch(out: &mut String, labels: &[(&str, &str)]) {
    let mut w = Writer::new(out);
    w.object();
    w.object_at("metadata");
    write_labels(&mut w, labels);
    w.end();
    w.end();
}

/// Writes the strategic merge patch of the node's `status`. Conditions of the `stale` types are deleted; those of others stay.
pub fn write_status_patch(out: &mut String, status: &StatusReport<'_>, stale: &[&str]) {
    let mut w = Writer::new(out);
    w.object();
    status.write(&mut w, Some(stale));
    w.end();
}

fn write_labels(w: &mut Writer<'_>, labels: &[(&str, &str)]) {
    w.object_at("labels");
    for (key, value) in labels {
        w.string_at(key, value);
    }
    w.end();
}
