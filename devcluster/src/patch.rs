//! The three ways to change an object in part.
//!
//! Merge patch and JSON patch are a library's. Strategic merge patch is Kubernetes's own
//! (staging/src/k8s.io/apimachinery/pkg/util/strategicpatch/patch.go): like merge patch, but lists whose type says so
//! are merged by a key of their elements. What it needs to know of the types is the table [`merge_key`].

use crate::error::ApiError;
use crate::resources::ResourceId;
use serde_json::{Map, Value};

/// Media types of patches that are understood.
pub(crate) const MEDIA_TYPES: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// How a list of a type is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    /// Its elements are objects, told apart by this field.
    By(&'static str),
    /// Its elements are plain values, each at most once.
    Set,
}

/// The `patchMergeKey` tags of staging/src/k8s.io/api, by field. A list that is not here is replaced whole: the taints
/// of a node are.
fn merge_key(resource: ResourceId, field: &str) -> Option<Merge> {
    let merge = match field {
        "ownerReferences" => Merge::By("uid"),
        "finalizers" => Merge::Set,
        "conditions" if matches!(resource.kind, "Node" | "Pod" | "Namespace") => Merge::By("type"),
        "addresses" if resource.kind == "Node" => Merge::By("type"),
        "podCIDRs" if resource.kind == "Node" => Merge::Set,
        "secrets" if resource.kind == "ServiceAccount" => Merge::By("name"),
        _ if resource.kind != "Pod" => return None,
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates" => Merge::By("name"),
        "ports" => Merge::By("containerPort"),
        "volumeMounts" => Merge::By("mountPath"),
        "volumeDevices" => Merge::By("devicePath"),
        "hostAliases" | "podIPs" | "hostIPs" => Merge::By("ip"),
        "topologySpreadConstraints" => Merge::By("topologyKey"),
        _ => return None,
    };
    Some(merge)
}

/// Changes `object` as `body`, a patch of type `media_type`, says.
pub(crate) fn apply(
    resource: ResourceId,
    object: &mut Value,
    media_type: &str,
    body: &[u8],
) -> Result<(), ApiError> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    match media_type {
        "application/json-patch+json" => {
            let patch: json_patch::Patch = serde_json::from_value(patch)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(object, &patch).map_err(|_| ApiError::unfitting_patch())
        }
        "application/merge-patch+json" if patch.is_object() => {
            json_patch::merge(object, &patch);
            Ok(())
        }
        "application/strategic-merge-patch+json" => match patch {
            Value::Object(patch) => merge_strategically(resource, object, patch),
            _ => Err(ApiError::bad_request("a strategic merge patch is an object")),
        },
        "application/merge-patch+json" => {
            Err(ApiError::bad_request("a merge patch of an object is an object"))
        }
        _ => Err(ApiError::unsupported_patch(MEDIA_TYPES)),
    }
}

fn merge_strategically(
    resource: ResourceId,
    target: &mut Value,
    patch: Map<String, Value>,
) -> Result<(), ApiError> {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else {
        return Ok(());
    };
    merge_map(resource, target, patch)
}

fn merge_map(
    resource: ResourceId,
    target: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<(), ApiError> {
    match patch
        .remove("$patch")
        .as_ref()
        .map(|directive| directive.as_str())
    {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            *target = patch;
            return Ok(());
        }
        Some(Some("delete")) => {
            target.clear();
            return Ok(());
        }
        Some(_) => {
            return Err(ApiError::bad_request(
                "unknown $patch: one of delete, merge and replace is known",
            ));
        }
    }
    if let Some(retained) = patch.remove("$retainKeys") {
        let retained = retained
            .as_array()
            .ok_or_else(|| ApiError::bad_request("$retainKeys is a list"))?
            .clone();
        target.retain(|key, _| retained.iter().any(|of| of == key));
    }
    let mut orders = Vec::new();
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$setElementOrder/") {
            orders.push((field.to_owned(), value));
        } else if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(list)), Value::Array(gone)) = (target.get_mut(field), value) {
                list.retain(|element| !gone.contains(element));
            }
        } else {
            merge_field(resource, target, key, value)?;
        }
    }
    for (field, order) in orders {
        if let (Some(Value::Array(list)), Value::Array(order)) = (target.get_mut(&field), order) {
            reorder(list, &order, merge_key(resource, &field));
        }
    }
    Ok(())
}

fn merge_field(
    resource: ResourceId,
    target: &mut Map<String, Value>,
    key: String,
    value: Value,
) -> Result<(), ApiError> {
    match (value, merge_key(resource, &key)) {
        (Value::Null, _) => {
            target.remove(&key);
        }
        (Value::Object(patch), _) => {
            merge_strategically(resource, target.entry(key).or_insert(Value::Null), patch)?;
        }
        (Value::Array(patch), Some(merge)) => {
            let list = target.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            if !list.is_array() {
                *list = Value::Array(Vec::new());
            }
            if let Value::Array(list) = list {
                match merge {
                    Merge::Set => list.extend(
                        patch
                            .into_iter()
                            .filter(|new| !list.contains(new))
                            .collect::<Vec<_>>(),
                    ),
                    Merge::By(field) => merge_list(resource, list, patch, field)?,
                }
            }
        }
        (value, _) => {
            target.insert(key, value);
        }
    }
    Ok(())
}

fn merge_list(
    resource: ResourceId,
    list: &mut Vec<Value>,
    patch: Vec<Value>,
    field: &'static str,
) -> Result<(), ApiError> {
    if patch.iter().any(|element| element["$patch"] == "replace") {
        list.clear();
    }
    for element in patch {
        let Value::Object(mut element) = element else {
            return Err(ApiError::bad_request(format!(
                "a list that is merged by {field:?} holds objects"
            )));
        };
        if element
            .get("$patch")
            .is_some_and(|directive| directive == "replace")
        {
            element.remove("$patch");
            if element.is_empty() {
                continue;
            }
        }
        let Some(key) = element.get(field).cloned() else {
            return Err(ApiError::without_reason(format!(
                "map: {} does not contain declared merge key: {field}",
                Value::Object(element)
            )));
        };
        let place = list.iter().position(|of| of[field] == key);
        match (
            place,
            element
                .get("$patch")
                .is_some_and(|directive| directive == "delete"),
        ) {
            (_, true) => list.retain(|of| of[field] != key),
            (Some(place), false) => merge_strategically(resource, &mut list[place], element)?,
            (None, false) => {
                let mut new = Value::Null;
                merge_strategically(resource, &mut new, element)?;
                list.push(new);
            }
        }
    }
    Ok(())
}

/// Brings the elements that `order` names into its order; each of the others stays behind the one it stood behind.
fn reorder(list: &mut Vec<Value>, order: &[Value], merge: Option<Merge>) {
    let same = |element: &Value, of: &Value| match merge {
        Some(Merge::By(field)) => element[field] == of[field],
        _ => element == of,
    };
    let original = std::mem::take(list);
    list.extend(
        order
            .iter()
            .filter_map(|of| original.iter().find(|element| same(element, of)).cloned()),
    );
    let mut previous: Option<&Value> = None;
    for element in &original {
        if !order.iter().any(|of| same(element, of)) {
            let behind = previous.and_then(|previous| list.iter().position(|of| of == previous));
            list.insert(behind.map_or(0, |place| place + 1), element.clone());
        }
        previous = Some(element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const STRATEGIC: &str = "application/strategic-merge-patch+json";

    fn patched(kind: &str, object: &Value, patch: &Value) -> Value {
        let mut object = object.clone();
        apply(
            ResourceId::known(kind),
            &mut object,
            STRATEGIC,
            patch.to_string().as_bytes(),
        )
        .expect("a patch");
        object
    }

    #[test]
    fn conditions_and_addresses_merge_by_type() {
        let node = json!({"status": {
            "conditions": [{"type": "Ready", "status": "False", "reason": "r"}, {"type": "Other", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        let patch = json!({"status": {
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "New", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n"}],
            "$setElementOrder/conditions": [{"type": "New"}, {"type": "Ready"}]}});
        assert_eq!(
            patched("nodes", &node, &patch),
            json!({"status": {
                "conditions": [
                    {"type": "New", "status": "True"},
                    {"type": "Ready", "status": "True", "reason": "r"},
                    {"type": "Other", "status": "True"}],
                "addresses": [
                    {"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n"}]}})
        );
    }

    #[test]
    fn a_list_without_a_key_is_replaced() {
        let node = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
        let patch = json!({"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}});
        assert_eq!(patched("nodes", &node, &patch), patch);
    }

    #[test]
    fn directives() {
        let pod = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {
            "containers": [{"name": "a", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}],
            "securityContext": {"runAsUser": 1}, "volumes": [{"name": "v", "emptyDir": {}}]}});
        let patch = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["b", "c"]},
            "spec": {
                "containers": [{"name": "b", "$patch": "delete"},
                    {"name": "a", "env": [{"name": "Y", "value": "2", "valueFrom": null}]}],
                "securityContext": {"$patch": "replace", "runAsGroup": 2},
                "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}});
        assert_eq!(
            patched("pods", &pod, &patch),
            json!({"metadata": {"finalizers": ["b", "c"]}, "spec": {
                "containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}],
                "securityContext": {"runAsGroup": 2},
                "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}})
        );
        let replaced = json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}});
        assert_eq!(
            patched("pods", &pod, &replaced)["spec"]["containers"],
            json!([{"name": "z"}])
        );
    }

    #[test]
    fn refusals() {
        let nodes = ResourceId::known("nodes");
        let refused = |media_type: &str, patch: &str| {
            apply(nodes, &mut json!({"status": {}}), media_type, patch.as_bytes())
                .expect_err(patch)
                .code
        };
        assert_eq!(refused(STRATEGIC, "["), 400);
        assert_eq!(refused(STRATEGIC, "[]"), 400);
        assert_eq!(
            refused(STRATEGIC, r#"{"status":{"conditions":[{"status":"True"}]}}"#),
            500
        );
        assert_eq!(refused(STRATEGIC, r#"{"status":{"$patch":"maybe"}}"#), 400);
        assert_eq!(refused("application/merge-patch+json", "1"), 400);
        assert_eq!(
            refused("application/json-patch+json", r#"[{"op":"remove","path":"/x"}]"#),
            422
        );
        assert_eq!(refused("application/apply-patch+yaml", "{}"), 415);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            "[ab]".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof!["[a-c]", Just("conditions".to_owned()), Just("$patch".to_owned())];
            let element =
                ("[xyz]", inner.clone()).prop_map(|(kind, value)| json!({"type": kind, "v": value}));
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec(element, 0..3).prop_map(|list| json!({"conditions": list})),
                prop::collection::btree_map(key, inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    /// Objects without lists that are merged and without directives.
    fn plain_object() -> impl Strategy<Value = Value> {
        let map = |inner| prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| json!(map));
        let leaf = prop_oneof![
            Just(json!(null)),
            Just(json!([1, 2])),
            "[ab]".prop_map(Value::from)
        ];
        map(leaf
            .prop_recursive(3, 24, 4, move |inner| map(inner.boxed()))
            .boxed())
    }

    proptest! {
        #[test]
        fn a_patch_without_lists_to_merge_is_a_merge_patch(object in plain_object(), patch in plain_object()) {
            let mut merged = object.clone();
            json_patch::merge(&mut merged, &patch);
            prop_assert_eq!(patched("nodes", &object, &patch), merged);
        }

        #[test]
        fn applied_twice_is_applied_once(object in plain_object(), patch in any_value()) {
            let nodes = ResourceId::known("nodes");
            let (mut once, body) = (object, patch.to_string());
            if apply(nodes, &mut once, STRATEGIC, body.as_bytes()).is_ok() {
                let mut twice = once.clone();
                apply(nodes, &mut twice, STRATEGIC, body.as_bytes()).expect("it was good once");
                prop_assert_eq!(once, twice);
            }
        }

        #[test]
        fn a_merged_list_holds_each_key_once(
            keys in prop::collection::btree_set("[a-f]", 0..5), patch in prop::collection::vec("[a-f]", 0..5),
        ) {
            let list = |keys: Vec<&String>| keys.iter().map(|key| json!({"type": key})).collect::<Vec<_>>();
            let object = json!({"status": {"conditions": list(keys.iter().collect())}});
            let patch_value = json!({"status": {"conditions": list(patch.iter().collect())}});
            let merged = patched("nodes", &object, &patch_value);
            let mut found: Vec<_> = merged["status"]["conditions"].as_array().expect("a list").iter()
                .map(|of| of["type"].as_str().expect("a type").to_owned()).collect();
            found.sort();
            let mut expected: Vec<_> = keys.iter().chain(&patch).cloned().collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(found, expected);
        }
    }
}
