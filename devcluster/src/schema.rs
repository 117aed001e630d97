//! What a kind looks like: fields that it does not have are found, and values of the wrong type.
//!
//! The types are those of `k8s-openapi`, generated from Kubernetes's own description: an object is read into its type,
//! and what does not come out again was not known.

use crate::error::ApiError;
use crate::resources::ResourceId;
use k8s_openapi::api::{
    certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core, node::v1 as node,
    rbac::v1 as rbac,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Takes out of `value` what its kind does not have. Returns the paths of what was taken.
pub(crate) fn prune(resource: ResourceId, value: &mut Value) -> Result<Vec<String>, ApiError> {
    let round_trip = match resource.plural {
        "events" => through::<core::Event>,
        "configmaps" => through::<core::ConfigMap>,
        "namespaces" => through::<core::Namespace>,
        "nodes" => through::<core::Node>,
        "pods" => through::<core::Pod>,
        "secrets" => through::<core::Secret>,
        "serviceaccounts" => through::<core::ServiceAccount>,
        "certificatesigningrequests" => through::<certificates::CertificateSigningRequest>,
        "leases" => through::<coordination::Lease>,
        "runtimeclasses" => through::<node::RuntimeClass>,
        "clusterrolebindings" => through::<rbac::ClusterRoleBinding>,
        "clusterroles" => through::<rbac::ClusterRole>,
        "rolebindings" => through::<rbac::RoleBinding>,
        "roles" => through::<rbac::Role>,
        _ => return Ok(Vec::new()),
    };
    quantities_as_text(value);
    let known = round_trip(value).map_err(|error| {
        let (version, kind) = (resource.version, resource.kind);
        ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {error}"
        ))
    })?;
    let mut unknown = Vec::new();
    compare(value, &known, "", &mut unknown);
    Ok(unknown)
}

fn through<T: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(T::deserialize(value)?)
}

/// A quantity may be written as a number; it is kept as text.
fn quantities_as_text(value: &mut Value) {
    const FIELDS: [&str; 6] = [
        "capacity",
        "allocatable",
        "limits",
        "requests",
        "overhead",
        "podFixed",
    ];
    match value {
        Value::Object(map) => {
            for (field, value) in map {
                if let (true, Value::Object(quantities)) = (FIELDS.contains(&field.as_str()), &mut *value) {
                    for quantity in quantities.values_mut().filter(|quantity| quantity.is_number()) {
                        *quantity = quantity.to_string().into();
                    }
                }
                quantities_as_text(value);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(quantities_as_text),
        _ => {}
    }
}

/// Takes nulls out too: they say what absence says.
fn compare(value: &mut Value, known: &Value, path: &str, unknown: &mut Vec<String>) {
    match (value, known) {
        (Value::Object(fields), Value::Object(known)) => {
            let taken = std::mem::take(fields);
            *fields = taken
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect::<Map<_, _>>();
            fields.retain(|field, value| {
                let path = if path.is_empty() {
                    field.clone()
                } else {
                    format!("{path}.{field}")
                };
                match known.get(field) {
                    Some(known) => compare(value, known, &path, unknown),
                    None => unknown.push(path),
                }
                known.contains_key(field)
            });
        }
        (Value::Array(list), Value::Array(known)) => {
            for (place, (value, known)) in list.iter_mut().zip(known).enumerate() {
                compare(value, known, &format!("{path}[{place}]"), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_kind_does_not_have_is_taken_out() {
        let mut pod = json!({
            "metadata": {"name": "p", "labels": null, "annotations": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "imagePolicy": "x", "resources": {"limits": {"cpu": 1}}}]},
            "stats": {},
        });
        let unknown = prune(ResourceId::known("pods"), &mut pod).expect("a pod");
        assert_eq!(unknown, ["spec.containers[0].imagePolicy", "stats"]);
        let limits = json!({"limits": {"cpu": "1"}});
        assert_eq!(
            pod,
            json!({"metadata": {"name": "p", "annotations": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "resources": limits}]}})
        );
    }

    #[test]
    fn types_are_checked() {
        for (plural, wrong) in [
            ("nodes", json!({"status": {"conditions": {}}})),
            ("pods", json!({"spec": {"containers": [null]}})),
            ("configmaps", json!({"data": {"a": 5}})),
            ("configmaps", json!({"metadata": {"labels": {"a": {}}}})),
            ("leases", json!({"spec": {"renewTime": "tomorrow"}})),
            ("secrets", json!({"data": {"a": "no base64!"}})),
        ] {
            let error = prune(ResourceId::known(plural), &mut wrong.clone()).expect_err(plural);
            assert_eq!(error.code, 400, "{wrong}");
        }
    }

    #[test]
    fn every_field_that_a_node_writes_is_known() {
        let mut node = json!({"metadata": {"name": "n"}, "status": {
            "declaredFeatures": ["x"], "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}},
            "images": [{"names": ["a"], "sizeBytes": 1}], "capacity": {"picolet.dev/gpio": "1"}}});
        assert_eq!(prune(ResourceId::known("nodes"), &mut node), Ok(vec![]));
    }
}
