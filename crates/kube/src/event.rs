//! `Event`: what a person finds under `kubectl describe`.

use crate::Timestamp;
use crate::json::Writer;
use alloc::string::String;

/// The object that an event is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reference<'a> {
    /// `Node`, `Pod`, `ConfigMap`. All of them are of the core group's `v1`.
    pub kind: &'a str,
    /// Its namespace; empty for a Node.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its uid. For a Node, its name (as the kubelet does, so that `kubectl describe node` finds it).
    pub uid: &'a str,
}

impl<'a> Reference<'a> {
    /// A reference to the node itself.
    pub const fn node(name: &'a str) -> Self {
        Self {
            kind: "Node",
            namespace: "",
            name,
            uid: name,
        }
    }

    /// The namespace in which events about it live.
    pub const fn event_namespace(&self) -> &'a str {
        if self.namespace.is_empty() {
            "default"
        } else {
            self.namespace
        }
    }
}

/// Whether an event is good or bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody should look.
    Warning,
}

/// `v1.Event` as the kubelet's recorder makes it (`k8s.io/client-go/tools/record`).
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its name: unique in its namespace.
    pub name: &'a str,
    /// What it is about.
    pub about: Reference<'a>,
    /// Good or bad.
    pub severity: Severity,
    /// One word.
    pub reason: &'a str,
    /// What happened and, if it is bad, what to do.
    pub message: &'a str,
    /// The node that reports it.
    pub host: &'a str,
    /// When it was seen first.
    pub first: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
    /// How often.
    pub count: u32,
}

impl Event<'_> {
    /// Writes it, to be created.
    #[inline(never)]
    pub fn write(&self, out: &mut String) {
        let mut w = Writer::new(out);
        w.object();
        w.string_at("apiVersion", "v1");
        w.string_at("kind", "Event");
        w.object_at("metadata");
        w.string_at("name", self.name);
        w.string_at("namespace", self.about.event_namespace());
        w.end();
        w.object_at("involvedObject");
        w.string_at("apiVersion", "v1");
        w.string_at("kind", self.about.kind);
        w.string_at("name", self.about.name);
        if !self.about.namespace.is_empty() {
            w.string_at("namespace", self.about.namespace);
        }
        w.string_at("uid", self.about.uid);
        w.end();
        w.string_at(
            "type",
            if self.severity == Severity::Normal {
                "Normal"
            } else {
                "Warning"
            },
        );
        w.string_at("reason", self.reason);
        w.string_at("message", self.message);
        w.object_at("source");
        w.string_at("component", "kubelet");
        w.string_at("host", self.host);
        w.end();
        w.string_at("reportingComponent", "kubelet");
        w.string_at("reportingInstance", self.host);
        w.text_at("firstTimestamp", self.first.time());
        self.counted(&mut w);
        w.end();
    }

    /// Writes the patch that counts it once more.
    pub fn write_count(&self, out: &mut String) {
        let mut w = Writer::new(out);
        w.object();
        self.counted(&mut w);
        w.end();
    }

    fn counted(&self, w: &mut Writer<'_>) {
        w.text_at("lastTimestamp", self.last.time());
        w.number_at("count", self.count);
    }
}
