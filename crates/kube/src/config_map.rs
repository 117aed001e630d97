//! `ConfigMap`: its data is handed on in pieces and never held, since a value may be a megabyte.

use crate::envelope::Object;
use crate::json::{Code, Field, Shape, Sink, fields, shape};
use crate::metadata::{self, Metadata};
use crate::status::{CODE_ENTRY, MESSAGE_ENTRY, REASON_ENTRY};
use crate::text::Collector;

fields![DATA, BINARY_DATA,];

/// Takes the data of a ConfigMap.
pub trait Data {
    /// A key begins. Its value follows, in pieces.
    fn key(&mut self, key: &str);
    /// A piece of the value; `last` with the last one, which may be empty.
    fn piece(&mut self, piece: &[u8], last: bool);
    /// A key of `binaryData`, where clients put what is not UTF-8. Its value is skipped.
    fn binary(&mut self, key: &str);
    /// Forgets what was taken, in front of the next ConfigMap.
    fn reset(&mut self);
}

/// `v1.ConfigMap`, the part that is read.
#[derive(Default)]
pub struct ConfigMap<D> {
    /// Its metadata.
    pub metadata: Metadata,
    /// What took its data.
    pub data: D,
    collector: Collector,
}

impl<D> ConfigMap<D> {
    /// Reads ConfigMaps, their data into `data`.
    pub fn new(data: D) -> Self {
        Self {
            metadata: Metadata::default(),
            data,
            collector: Collector::default(),
        }
    }
}

impl<D: Data> Sink for ConfigMap<D> {
    fn key(&mut self, field: Field, key: &str) {
        match field {
            DATA => self.data.key(key),
            BINARY_DATA => self.data.binary(key),
            _ => {}
        }
    }

    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if field == BINARY_DATA {
            return;
        }
        if field == DATA {
            self.data.piece(piece, last);
        } else if let Some(value) = self.collector.push(piece, last) {
            self.metadata.value(field, value);
        }
    }
}

impl<D: Data> Object for ConfigMap<D> {
    const SHAPE: Code = shape!(Shape::Object(&[
        ("metadata", metadata::SHAPE),
        ("data", Shape::Map(DATA)),
        ("binaryData", Shape::Map(BINARY_DATA)),
        CODE_ENTRY,
        REASON_ENTRY,
        MESSAGE_ENTRY,
    ]));

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn reset(&mut self) {
        self.metadata = Metadata::default();
        self.data.reset();
    }
}
