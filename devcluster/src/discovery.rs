//! What a client asks before anything else: which groups, versions and resources there are.

use crate::answer::Answer;
use crate::resources::{Resource, ResourceId};
use serde_json::{Value, json};

/// The Kubernetes version that this API follows.
const MINOR: &str = "36";

/// The media type of aggregated discovery; clients compare it letter by letter.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(crate) fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+picolet"), "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

/// The groups, the core group left out, in the order of their names, each with its version.
pub(crate) fn groups() -> Vec<(&'static str, &'static str)> {
    let mut groups: Vec<_> = ResourceId::all()
        .filter(|id| !id.group.is_empty())
        .map(|id| (id.group, id.version))
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Whether a path lies in a group and version that are served.
pub(crate) fn is_below_version(path: &str) -> bool {
    let roots = groups()
        .into_iter()
        .map(|(group, version)| format!("/apis/{group}/{version}/"));
    roots
        .chain(["/api/v1/".to_owned()])
        .any(|root| path.starts_with(&root))
}

/// Returns the document at `path`, if it is one of discovery's.
pub(crate) fn document(path: &str, accept: &str) -> Option<Answer> {
    let aggregated = accept.split(',').any(|range| {
        let mut parameters = range.split(';').map(str::trim);
        parameters.clone().any(|of| of == "g=apidiscovery.k8s.io") && parameters.any(|of| of == "v=v2")
    });
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let document = match parts[..] {
        ["api"] if aggregated => return Some(aggregate(&[("", "v1")])),
        ["apis"] if aggregated => return Some(aggregate(&groups())),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        ["apis"] => {
            let groups: Vec<Value> = groups()
                .into_iter()
                .map(|(group, version)| api_group(group, version))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let (group, version) = groups().into_iter().find(|(group, _)| *group == name)?;
            let mut document = api_group(group, version);
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            document
        }
        ["api", version] => resource_list("", version)?,
        ["apis", group, version] => resource_list(group, version)?,
        _ => return None,
    };
    Some(Answer::json(200, document.to_string()))
}

fn api_group(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn of(group: &str, version: &str) -> Vec<ResourceId> {
    ResourceId::all()
        .filter(|id| id.group == group && id.version == version)
        .collect()
}

fn resource_list(group: &str, version: &str) -> Option<Value> {
    let found = of(group, version);
    let version = found.first()?.api_version();
    let mut resources = Vec::new();
    for id in found {
        let resource: &Resource = &id;
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs(),
        });
        add_names(&mut entry, resource);
        resources.push(entry);
        for subresource in resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, subresource.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": subresource.kind, "verbs": subresource.verbs,
            });
            if subresource.group != resource.group {
                entry["group"] = subresource.group.into();
                entry["version"] = subresource.version.into();
            }
            resources.push(entry);
        }
    }
    let mut list = json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn add_names(entry: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.into();
    }
}

/// KEP-3352: everything in one document.
fn aggregate(groups: &[(&str, &str)]) -> Answer {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, version)| aggregated_group(group, version))
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    Answer {
        content_type: AGGREGATED,
        ..Answer::json(200, document.to_string())
    }
}

fn aggregated_group(group: &str, version: &str) -> Value {
    let resources: Vec<Value> = of(group, version)
        .into_iter()
        .map(|resource| {
            let subresources: Vec<Value> = resource
                .subresources
                .iter()
                .map(|subresource| {
                    let kind = json!({"group": subresource.group, "version": subresource.version,
                        "kind": subresource.kind});
                    json!({"subresource": subresource.name, "responseKind": kind, "verbs": subresource.verbs})
                })
                .collect();
            let mut entry = json!({
                "resource": resource.plural, "singularResource": resource.singular, "verbs": resource.verbs(),
                "responseKind": {"group": group, "version": version, "kind": resource.kind},
                "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
            });
            add_names(&mut entry, &resource);
            if !subresources.is_empty() {
                entry["subresources"] = subresources.into();
            }
            entry
        })
        .collect();
    let mut metadata = json!({});
    if !group.is_empty() {
        metadata["name"] = group.into();
    }
    json!({"metadata": metadata, "versions": [{"version": version, "resources": resources, "freshness": "Current"}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, accept: &str) -> Value {
        serde_json::from_str(&document(path, accept).expect(path).body).expect("JSON")
    }

    #[test]
    fn both_forms_name_the_same_resources() {
        for (group, version) in groups().into_iter().chain([("", "v1")]) {
            let (path, root) = match group {
                "" => (format!("/api/{version}"), "/api"),
                group => (format!("/apis/{group}/{version}"), "/apis"),
            };
            let plain = read(&path, "");
            let plain = plain["resources"].as_array().expect("resources").clone();
            let plain: Vec<_> = plain
                .iter()
                .filter_map(|resource| resource["name"].as_str())
                .filter(|name| !name.contains('/'))
                .collect();
            let aggregated = read(root, AGGREGATED);
            let items = aggregated["items"].as_array().expect("items").clone();
            let item = items
                .iter()
                .find(|item| item["metadata"]["name"].as_str().unwrap_or("") == group);
            let resources = item.expect(group)["versions"][0]["resources"]
                .as_array()
                .expect("resources")
                .clone();
            let names: Vec<_> = resources
                .iter()
                .filter_map(|resource| resource["resource"].as_str())
                .collect();
            assert_eq!(plain, names);
        }
        assert!(document("/apis/none", "").is_none());
        assert!(document("/api/v2", "").is_none());
    }
}
