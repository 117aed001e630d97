//! What a request may say: the type of an object, its fields, its namespace, and the rules of the kinds that a node or
//! a person runs into.

use crate::defaults;
use crate::error::ApiError;
use crate::json::{remove, text};
use crate::resources::ResourceId;
use crate::schema;
use crate::target::{By, Target};
use serde_json::{Value, json};

/// How much a ConfigMap or a Secret may hold (pkg/apis/core/types.go `MaxSecretSize`).
const MAX_DATA: usize = 1024 * 1024;

/// Fills in kind and version, or refuses others.
pub(crate) fn check_type(resource: ResourceId, value: &mut Value) -> Result<(), ApiError> {
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the body of the request is no {}",
            resource.kind
        )));
    };
    let version = resource.api_version();
    for (field, expected) in [("kind", resource.kind), ("apiVersion", version.as_str())] {
        match fields.get(field).and_then(Value::as_str) {
            None | Some("") => {
                fields.insert(field.into(), expected.into());
            }
            Some(found) if found != expected => {
                return Err(ApiError::bad_request(format!(
                    "the {field} of the object ({found}) does not match the expected {field} ({expected})"
                )));
            }
            Some(_) => {}
        }
    }
    if fields.get("metadata").is_none_or(Value::is_null) {
        fields.insert("metadata".into(), json!({}));
    }
    Ok(())
}

/// Takes out what the kind does not have, or refuses it.
pub(crate) fn check_fields(by: &By<'_>, resource: ResourceId, value: &mut Value) -> Result<(), ApiError> {
    let unknown = schema::prune(resource, value)?;
    match unknown.first() {
        Some(field) if by.strict => Err(ApiError::bad_request(format!(
            "{0} in version {1:?} cannot be handled as a {0}: strict decoding error: unknown field {field:?}",
            resource.kind, resource.version
        ))),
        _ => Ok(()),
    }
}

/// Fills in the namespace of the request, or refuses another.
pub(crate) fn check_namespace(
    resource: ResourceId,
    namespace: &str,
    value: &mut Value,
) -> Result<(), ApiError> {
    match text(value, "/metadata/namespace").unwrap_or("") {
        "" if resource.namespaced => value["metadata"]["namespace"] = namespace.into(),
        "" => remove(&mut value["metadata"], "namespace"),
        found if found == namespace => {}
        found => {
            return Err(ApiError::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({found}, not \
                 {namespace:?})"
            )));
        }
    }
    Ok(())
}

/// Puts back what the kind of request may not change.
pub(crate) fn keep_what_the_server_owns(target: &Target<'_>, old: &Value, value: &mut Value) {
    let resource = target.resource;
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        match old["metadata"].get(field) {
            Some(kept) => value["metadata"][field] = kept.clone(),
            None => remove(&mut value["metadata"], field),
        }
    }
    let kept: &[&str] = match target.subresource {
        "status" | "approval" => &["spec", "data", "ownerReferences"],
        _ if resource.subresource("status").is_some() => &["status"],
        _ => &[],
    };
    for field in kept {
        match old.get(*field) {
            Some(kept) => value[*field] = kept.clone(),
            None => remove(value, field),
        }
    }
    if resource.plural == "secrets" {
        defaults::fold_string_data(value);
    }
    if value["spec"] != old["spec"]
        && let Some(generation) = old["metadata"]["generation"].as_i64()
    {
        value["metadata"]["generation"] = (generation + 1).into();
    }
}

/// The rules of a kind that a node or a person runs into.
pub(crate) fn validate(target: &Target<'_>, value: &Value) -> Result<(), ApiError> {
    match target.resource.plural {
        "configmaps" | "secrets" => {
            let maps = ["data", "binaryData"]
                .into_iter()
                .filter_map(|field| value[field].as_object());
            let size: usize = maps
                .clone()
                .flatten()
                .map(|(_, value)| value.as_str().map_or(0, str::len))
                .sum();
            if size > MAX_DATA {
                let what = format!("may not be more than {MAX_DATA} bytes");
                return Err(target.invalid("", "FieldValueTooLong", what));
            }
            for (key, _) in maps.flatten() {
                let good = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
                let path = format!("data[{key}]");
                if key.is_empty() || key.len() > 253 || !key.chars().all(good) || key == "." || key == ".." {
                    let what = format!(
                        "{key:?}: a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                    );
                    return Err(target.invalid(&path, "FieldValueInvalid", what));
                }
            }
        }
        "leases" => {
            for field in ["leaseDurationSeconds", "leaseTransitions"] {
                if value["spec"][field]
                    .as_i64()
                    .is_some_and(|number| number < i64::from(field.ends_with("Seconds")))
                {
                    let what = format!("{}: must be greater than 0", value["spec"][field]);
                    return Err(target.invalid(&format!("spec.{field}"), "FieldValueInvalid", what));
                }
            }
        }
        "pods" if value["spec"]["containers"].as_array().is_none_or(Vec::is_empty) => {
            return Err(target.invalid("spec.containers", "FieldValueRequired", ""));
        }
        _ => {}
    }
    Ok(())
}
