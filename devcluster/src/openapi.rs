//! As much OpenAPI v3 as makes `kubectl` leave the checking of fields to the server: it looks for the parameter
//! `fieldValidation` of each kind's PATCH, and for nothing else.

use crate::discovery::groups;
use crate::resources::ResourceId;
use serde_json::{Map, Value, json};

/// The document that lists the others.
pub(crate) fn index() -> Value {
    let mut paths = Map::new();
    let names = groups()
        .into_iter()
        .map(|(group, version)| format!("apis/{group}/{version}"));
    for name in names.chain(["api/v1".to_owned()]) {
        let url = format!("/openapi/v3/{name}");
        paths.insert(name, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The document of a group and version, `api/v1` or `apis/GROUP/VERSION`.
pub(crate) fn document(name: &str) -> Option<Value> {
    let parts: Vec<&str> = name.split('/').collect();
    let (group, version) = match parts[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let parameter =
        json!({"name": "fieldValidation", "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let mut paths = Map::new();
    for resource in ResourceId::all().filter(|id| id.group == group && id.version == version) {
        let namespace = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let kind = json!({"group": group, "version": version, "kind": resource.kind});
        let operation = json!({
            "parameters": [parameter], "responses": {"200": {"description": "OK"}},
            "x-kubernetes-group-version-kind": kind,
        });
        paths.insert(
            format!("/{name}{namespace}/{}/{{name}}", resource.plural),
            json!({"patch": operation}),
        );
    }
    let title = json!({"title": "Kubernetes", "version": "v1.36.0"});
    (!paths.is_empty()).then(|| json!({"openapi": "3.0.0", "info": title, "paths": paths, "components": {}}))
}
