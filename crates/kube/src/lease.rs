//! `Lease`: the heartbeat.

use crate::Timestamp;
use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, Writer, shape};
use crate::metadata::{self, Metadata};
use crate::status::{CODE_ENTRY, MESSAGE_ENTRY, REASON_ENTRY};
use crate::text::Collector;
use alloc::string::String;

const RENEW_TIME: Field = Field(32);

/// The namespace of node leases.
pub const NAMESPACE: &str = "kube-node-lease";

/// `coordination.k8s.io/v1.Lease`, the part that is read.
#[derive(Default)]
pub struct Lease {
    /// Its metadata.
    pub metadata: Metadata,
    /// When it was renewed last.
    pub renew_time: Option<Timestamp>,
    collector: Collector,
}

impl Sink for Lease {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if let Some(value) = self.collector.push(piece, last)
            && !self.metadata.value(field, value)
            && field == RENEW_TIME
        {
            self.renew_time = value.and_then(Timestamp::parse);
        }
    }
}

impl Object for Lease {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("metadata", metadata::SHAPE),
        ("spec", Shape::Object(&[("renewTime", Shape::Value(RENEW_TIME))])),
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

/// Writes the Lease of a node, to create it or to replace the one of `resource_version`.
pub fn write(
    out: &mut String,
    node: &str,
    node_uid: &str,
    resource_version: Option<&str>,
    renew_time: Timestamp,
    duration_seconds: u32,
) {
    let mut w = Writer::new(out);
    w.object();
    w.string_at("apiVersion", "coordination.k8s.io/v1");
    w.string_at("kind", "Lease");
    w.object_at("metadata");
    w.string_at("name", node);
    w.string_at("namespace", NAMESPACE);
    if let Some(version) = resource_version {
        w.string_at("resourceVersion", version);
    }
    if !node_uid.is_empty() {
        w.array_at("ownerReferences");
        w.object();
        w.string_at("apiVersion", "v1");
        w.string_at("kind", "Node");
        w.string_at("name", node);
        w.string_at("uid", node_uid);
        w.end();
        w.end();
    }
    w.end();
    w.object_at("spec");
    w.string_at("holderIdentity", node);
    w.number_at("leaseDurationSeconds", duration_seconds);
    w.text_at("renewTime", renew_time.micro_time());
    w.end();
    w.end();
}
