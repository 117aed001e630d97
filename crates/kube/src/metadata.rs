//! `ObjectMeta`, as far as a node looks at it.

use crate::Timestamp;
use crate::json::{Field, Shape};
use crate::text::{set, whole};
use alloc::boxed::Box;

const NAME: Field = Field(8);
const NAMESPACE: Field = Field(9);
const UID: Field = Field(10);
const RESOURCE_VERSION: Field = Field(11);
const DELETION_TIMESTAMP: Field = Field(12);
const DELETION_GRACE: Field = Field(13);

/// The shape of metadata, with what a type keeps of it besides.
macro_rules! shape {
    ($($extra:expr),*) => {
        Shape::Object(&[
            ("name", Shape::Value(NAME)),
            ("namespace", Shape::Value(NAMESPACE)),
            ("uid", Shape::Value(UID)),
            ("resourceVersion", Shape::Value(RESOURCE_VERSION)),
            ("deletionTimestamp", Shape::Value(DELETION_TIMESTAMP)),
            ("deletionGracePeriodSeconds", Shape::Value(DELETION_GRACE)),
            $($extra),*
        ])
    };
}

/// What is kept of every object's metadata.
pub const SHAPE: Shape = shape!();

/// The annotation by which a kubelet marks the pods that it made itself.
pub(crate) const MIRROR: Field = Field(14);
/// The one label of a pod that a kubelet looks at: `kubernetes.io/os`.
pub(crate) const OS_LABEL: Field = Field(16);
/// Counts the changes of an object's spec.
pub(crate) const GENERATION: Field = Field(17);
/// [`SHAPE`] and what a kubelet looks at besides.
pub(crate) const SHAPE_OF_POD: Shape = shape!(
    ("generation", Shape::Value(GENERATION)),
    (
        "annotations",
        Shape::Object(&[("kubernetes.io/config.mirror", Shape::Value(MIRROR))])
    ),
    (
        "labels",
        Shape::Object(&[("kubernetes.io/os", Shape::Value(OS_LABEL))])
    )
);

/// The field under which [`SHAPE_WITH_LABELS`] tells labels.
pub(crate) const LABELS: Field = Field(15);
/// [`SHAPE`] and the labels.
pub(crate) const SHAPE_WITH_LABELS: Shape = shape!(("labels", Shape::Map(LABELS)));

/// `k8s.io/apimachinery/pkg/apis/meta/v1.ObjectMeta`, the part that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The object's name.
    pub name: Box<str>,
    /// Its namespace; empty for what has none.
    pub namespace: Box<str>,
    /// Tells it from an earlier object of the same name.
    pub uid: Box<str>,
    /// Its version, opaque.
    pub resource_version: Box<str>,
    /// When it is to be gone, once somebody has deleted it.
    pub deletion_timestamp: Option<Timestamp>,
    /// Seconds that it was given to end.
    pub deletion_grace_seconds: Option<u32>,
}

impl Metadata {
    /// Takes a field, when it is one of metadata's. Returns whether it was.
    pub fn value(&mut self, field: Field, value: Option<&str>) -> bool {
        match field {
            NAME => set(&mut self.name, value),
            NAMESPACE => set(&mut self.namespace, value),
            UID => set(&mut self.uid, value),
            RESOURCE_VERSION => set(&mut self.resource_version, value),
            DELETION_TIMESTAMP => self.deletion_timestamp = value.and_then(Timestamp::parse),
            DELETION_GRACE => self.deletion_grace_seconds = whole(value),
            _ => return false,
        }
        true
    }
}
