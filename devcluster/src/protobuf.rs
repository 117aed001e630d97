//! Protobuf bodies, as the typed clients of `kubectl` send them: `create configmap`, `certificate approve`, `drain`.
//!
//! They are turned into JSON at the door, by a table of the few messages that those commands send (the numbers are
//! those of the `generated.proto` files beside the types in staging/src/k8s.io). Nothing is ever answered in protobuf.

use crate::timestamp::rfc3339;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_platform::UnixMicros;
use serde_json::{Map, Value};

pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with (staging/src/k8s.io/apimachinery/pkg/runtime/serializer/protobuf).
const MAGIC: &[u8] = b"k8s\0";

/// What a field holds.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Bytes,
    Number,
    Flag,
    Time,
    Message(Message),
    /// A map from text to this.
    Map(&'static Shape),
    /// A list of these.
    List(&'static Shape),
}

/// The fields of a message: number, name in JSON, shape.
type Message = &'static [(u64, &'static str, Shape)];

use Shape::{Bytes, Flag, List, Map as MapOf, Message as Nested, Number, Text, Time};

const OBJECT_META: Message = &[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (8, "creationTimestamp", Time),
    (11, "labels", MapOf(&Text)),
    (12, "annotations", MapOf(&Text)),
    (13, "ownerReferences", List(&Nested(OWNER_REFERENCE))),
    (14, "finalizers", List(&Text)),
];
const OWNER_REFERENCE: Message = &[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Flag),
    (7, "blockOwnerDeletion", Flag),
];
const METADATA: (u64, &str, Shape) = (1, "metadata", Nested(OBJECT_META));

const CONFIG_MAP: Message = &[
    METADATA,
    (2, "data", MapOf(&Text)),
    (3, "binaryData", MapOf(&Bytes)),
    (4, "immutable", Flag),
];
const SECRET: Message = &[
    METADATA,
    (2, "data", MapOf(&Bytes)),
    (3, "type", Text),
    (4, "stringData", MapOf(&Text)),
    (5, "immutable", Flag),
];
const NAMESPACE: Message = &[METADATA];
const SERVICE_ACCOUNT: Message = &[METADATA, (4, "automountServiceAccountToken", Flag)];
const POLICY_RULE: Message = &[
    (1, "verbs", List(&Text)),
    (2, "apiGroups", List(&Text)),
    (3, "resources", List(&Text)),
    (4, "resourceNames", List(&Text)),
    (5, "nonResourceURLs", List(&Text)),
];
const ROLE: Message = &[METADATA, (2, "rules", List(&Nested(POLICY_RULE)))];
const SUBJECT: Message = &[
    (1, "kind", Text),
    (2, "apiGroup", Text),
    (3, "name", Text),
    (4, "namespace", Text),
];
const ROLE_REF: Message = &[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)];
const ROLE_BINDING: Message = &[
    METADATA,
    (2, "subjects", List(&Nested(SUBJECT))),
    (3, "roleRef", Nested(ROLE_REF)),
];
const SIGNING_REQUEST: Message = &[
    METADATA,
    (2, "spec", Nested(SIGNING_REQUEST_SPEC)),
    (
        3,
        "status",
        Nested(&[
            (1, "conditions", List(&Nested(SIGNING_REQUEST_CONDITION))),
            (2, "certificate", Bytes),
        ]),
    ),
];
const SIGNING_REQUEST_SPEC: Message = &[
    (1, "request", Bytes),
    (2, "username", Text),
    (3, "uid", Text),
    (4, "groups", List(&Text)),
    (5, "usages", List(&Text)),
    (7, "signerName", Text),
    (8, "expirationSeconds", Number),
];
const SIGNING_REQUEST_CONDITION: Message = &[
    (1, "type", Text),
    (2, "reason", Text),
    (3, "message", Text),
    (4, "lastUpdateTime", Time),
    (5, "lastTransitionTime", Time),
    (6, "status", Text),
];
const RESOURCE_ATTRIBUTES: Message = &[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
];
const ACCESS_REVIEW_SPEC: Message = &[
    (1, "resourceAttributes", Nested(RESOURCE_ATTRIBUTES)),
    (
        2,
        "nonResourceAttributes",
        Nested(&[(1, "path", Text), (2, "verb", Text)]),
    ),
    (3, "user", Text),
    (4, "groups", List(&Text)),
];
const ACCESS_REVIEW: Message = &[METADATA, (2, "spec", Nested(ACCESS_REVIEW_SPEC))];
const DELETE_OPTIONS: Message = &[
    (1, "gracePeriodSeconds", Number),
    (
        2,
        "preconditions",
        Nested(&[(1, "uid", Text), (2, "resourceVersion", Text)]),
    ),
    (4, "propagationPolicy", Text),
    (5, "dryRun", List(&Text)),
];
const EVICTION: Message = &[METADATA, (2, "deleteOptions", Nested(DELETE_OPTIONS))];

fn message_of(kind: &str) -> Option<Message> {
    Some(match kind {
        "ConfigMap" => CONFIG_MAP,
        "Secret" => SECRET,
        "Namespace" => NAMESPACE,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "Role" | "ClusterRole" => ROLE,
        "RoleBinding" | "ClusterRoleBinding" => ROLE_BINDING,
        "CertificateSigningRequest" => SIGNING_REQUEST,
        "SelfSubjectAccessReview" | "SubjectAccessReview" => ACCESS_REVIEW,
        "SelfSubjectReview" => &[METADATA],
        "DeleteOptions" => DELETE_OPTIONS,
        "Eviction" => EVICTION,
        _ => return None,
    })
}

/// Turns a body into JSON; the error says for a person what is wrong with it.
pub(crate) fn decode(body: &[u8]) -> Result<Value, String> {
    const UNKNOWN: Message = &[
        (1, "type", Nested(&[(1, "apiVersion", Text), (2, "kind", Text)])),
        (2, "raw", Bytes),
    ];
    let envelope = body
        .strip_prefix(MAGIC)
        .ok_or("it does not begin as Kubernetes's protobuf does")?;
    let truncated = "it is cut short or malformed";
    let kind = read_message(UNKNOWN, envelope).ok_or(truncated)?;
    let kind = kind.get("type").cloned().unwrap_or_default();
    let name = kind["kind"].as_str().unwrap_or("");
    let message =
        message_of(name).ok_or_else(|| format!("a {name} in protobuf is not understood: send JSON"))?;
    let mut raw: &[u8] = &[];
    let mut reader = Reader(envelope);
    while let Some((number, field)) = reader.field().ok_or(truncated)? {
        if let (2, Field::Bytes(bytes)) = (number, field) {
            raw = bytes;
        }
    }
    let mut object = read_message(message, raw).ok_or(truncated)?;
    for field in ["kind", "apiVersion"] {
        object.insert(field.into(), kind[field].clone());
    }
    Ok(Value::Object(object))
}

fn read_message(message: Message, bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, field)) = reader.field()? {
        let Some((_, name, shape)) = message.iter().find(|(of, ..)| *of == number) else {
            continue;
        };
        match shape {
            List(shape) => {
                let list = object.entry(*name).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut()?.push(read_value(shape, field)?);
            }
            MapOf(shape) => {
                let Field::Bytes(bytes) = field else { return None };
                let (mut key, mut value) = (String::new(), Value::from(""));
                let mut entry = Reader(bytes);
                while let Some((number, field)) = entry.field()? {
                    match (number, field) {
                        (1, Field::Bytes(bytes)) => key = String::from_utf8(bytes.to_vec()).ok()?,
                        (2, field) => value = read_value(shape, field)?,
                        _ => {}
                    }
                }
                object
                    .entry(*name)
                    .or_insert_with(|| Value::Object(Map::new()))
                    .as_object_mut()?
                    .insert(key, value);
            }
            shape => {
                // Go writes empty texts and times where JSON has nothing.
                let value = read_value(shape, field)?;
                if !value.is_null() && value != "" {
                    object.insert((*name).into(), value);
                }
            }
        }
    }
    Some(object)
}

fn read_value(shape: &Shape, field: Field<'_>) -> Option<Value> {
    Some(match (shape, field) {
        (Text, Field::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).ok()?.into(),
        (Bytes, Field::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Number, Field::Number(number)) => number.cast_signed().into(),
        (Flag, Field::Number(number)) => (number != 0).into(),
        (Nested(message), Field::Bytes(bytes)) => Value::Object(read_message(message, bytes)?),
        (Time, Field::Bytes(bytes)) => {
            let parts = read_message(&[(1, "seconds", Number)], bytes)?;
            let seconds = parts.get("seconds").and_then(Value::as_u64);
            seconds.map_or(Value::Null, |seconds| {
                rfc3339(UnixMicros(seconds.saturating_mul(1_000_000))).into()
            })
        }
        _ => return None,
    })
}

/// A field as it stands on the wire.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of fixed width; no message of the table has one.
    Other,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next field; `Some(None)` at the end, `None` if there is no sense in it.
    fn field(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.number()?;
        let field = match tag & 7 {
            0 => Field::Number(self.number()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some(Some((tag >> 3, field)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("short")];
        out.extend_from_slice(bytes);
        out
    }

    fn body(kind: &str, raw: &[u8]) -> Vec<u8> {
        let kind = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &kind), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map() {
        let metadata = [field(1, b"pico-config"), field(3, b""), field(8, b"")].concat();
        let entry = [field(1, b"led"), field(2, b"on")].concat();
        let raw = [field(1, &metadata), field(2, &entry), vec![4 << 3, 1]].concat();
        assert_eq!(
            decode(&body("ConfigMap", &raw)),
            Ok(
                json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "pico-config"},
                "data": {"led": "on"}, "immutable": true})
            )
        );
    }

    #[test]
    fn refusals() {
        assert!(decode(b"{}").is_err());
        assert!(
            decode(&body("Deployment", b""))
                .expect_err("unknown")
                .contains("Deployment")
        );
        let whole = body("ConfigMap", &field(1, &field(1, b"n")));
        assert!(decode(&whole[..whole.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_breaks_the_reader(raw in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = decode(&body("CertificateSigningRequest", &raw));
            let mut bytes = MAGIC.to_vec();
            bytes.extend(raw);
            let _ = decode(&bytes);
        }
    }
}
