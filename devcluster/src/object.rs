//! A stored object: its JSON, and beside it what lists and watches select by.
//!
//! The text is made once, when the object is written, and is what every get, list and watch sends: a thousand nodes
//! cost a thousand texts and no tree of values.

use crate::resources::ResourceId;
use serde_json::{Map, Value, json};
use std::rc::Rc;

/// An object as it was at one revision. It never changes.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) resource: ResourceId,
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
    pub(crate) revision: u64,
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    /// The values of the resource's selectable fields, in its order.
    pub(crate) fields: Box<[Box<str>]>,
    json: Rc<str>,
    /// Where the text goes on behind `{"kind":…,"apiVersion":…`.
    after_type: usize,
}

impl Object {
    /// Makes the stored form of `value`, whose `resourceVersion` becomes `revision`.
    pub(crate) fn new(resource: ResourceId, revision: u64, value: &mut Value) -> Self {
        value["metadata"]["resourceVersion"] = revision.to_string().into();
        let text = |pointer: &str| match value.pointer(pointer) {
            Some(Value::String(text)) => Box::from(text.as_str()),
            Some(Value::Bool(flag)) => Box::from(if *flag { "true" } else { "false" }),
            _ if pointer == "/spec/unschedulable" => Box::from("false"),
            _ => Box::from(""),
        };
        let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
        let labels = labels
            .map(|(key, value)| (key.as_str().into(), value.as_str().unwrap_or("").into()))
            .collect();
        let (json, after_type) = serialize(resource, value);
        Self {
            resource,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            uid: text("/metadata/uid"),
            revision,
            labels,
            fields: resource.fields.iter().map(|(_, pointer)| text(pointer)).collect(),
            json: json.into(),
            after_type,
        }
    }

    /// The object as it is sent alone.
    pub(crate) fn json(&self) -> &Rc<str> {
        &self.json
    }

    /// Writes the object as it stands among the items of a list: without its type.
    pub(crate) fn append_item(&self, list: &mut String) {
        list.push('{');
        // What follows the type starts with the comma before `metadata`.
        list.push_str(&self.json[self.after_type + 1..]);
    }

    /// The object as a tree, to be changed or looked into.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.json).expect("the text was written from a value")
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(of, _)| **of == *key)
            .map(|(_, value)| &**value)
    }

    /// The value of a selectable field, or `None` where the resource has no such field.
    pub(crate) fn field(&self, label: &str) -> Option<&str> {
        match label {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => {
                let place = self.resource.fields.iter().position(|(of, _)| *of == label)?;
                Some(&self.fields[place])
            }
        }
    }

    /// The object as it was, at a later revision: what a watcher is sent of an object that left its selection.
    pub(crate) fn at_revision(&self, revision: u64) -> Self {
        Self::new(self.resource, revision, &mut self.value())
    }
}

/// Writes kind, apiVersion and metadata first, as kube-apiserver does: a reader that keeps nothing needs them early.
fn serialize(resource: ResourceId, value: &Value) -> (String, usize) {
    let empty = Map::new();
    let fields = value.as_object().unwrap_or(&empty);
    let mut json = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\"",
        resource.kind,
        resource.api_version()
    );
    let after_type = json.len();
    let metadata = fields.get_key_value("metadata");
    let rest = fields
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion" | "metadata"));
    for (key, value) in metadata.into_iter().chain(rest) {
        json.push_str(&format!(",{}:{}", Value::String(key.clone()), value));
    }
    json.push('}');
    (json, after_type)
}

/// The object without anything but its metadata.
pub(crate) fn partial(object: &Object) -> Value {
    let metadata = object.value()["metadata"].take();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_has_the_order_of_the_real_server() {
        let resource = ResourceId::known("configmaps");
        let mut value = json!({
            "apiVersion": "v1", "data": {"a": "1"}, "kind": "ConfigMap",
            "metadata": {"name": "n", "namespace": "d", "labels": {"l": "v"}},
        });
        let object = Object::new(resource, 7, &mut value);
        let metadata = r#""metadata":{"labels":{"l":"v"},"name":"n","namespace":"d","resourceVersion":"7"}"#;
        assert_eq!(
            &**object.json(),
            format!(r#"{{"kind":"ConfigMap","apiVersion":"v1",{metadata},"data":{{"a":"1"}}}}"#)
        );
        let mut item = String::new();
        object.append_item(&mut item);
        assert_eq!(item, format!(r#"{{{metadata},"data":{{"a":"1"}}}}"#));
        assert_eq!(object.label("l"), Some("v"));
        assert_eq!(object.field("metadata.name"), Some("n"));
        assert_eq!(object.field("spec.nodeName"), None);
        assert_eq!(object.value()["metadata"]["resourceVersion"], "7");
    }
}
