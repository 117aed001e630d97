//! Who may do what: administrators everything, nodes what the Node authorizer lets them
//! (plugin/pkg/auth/authorizer/node/node_authorizer.go), everybody what roles grant.

use crate::identity::Identity;
use crate::json::text;
use crate::resources::ResourceId;
use crate::selectors::Selection;
use crate::state::State;
use serde_json::Value;

/// What a request asks for, in the terms of authorization.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What a list or a watch is narrowed to.
    pub(crate) selection: Option<&'a Selection>,
}

/// Paths that anybody may read (the ClusterRoles `system:public-info-viewer` and `system:discovery`).
pub(crate) fn may_read_path(identity: &Identity, path: &str) -> bool {
    let public = ["/healthz", "/livez", "/readyz", "/version"];
    let discovery = ["/api", "/apis", "/openapi"];
    let under = |roots: &[&str]| {
        roots.iter().any(|root| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    under(&public)
        || identity.is_in("system:masters")
        || identity.is_in("system:authenticated") && under(&discovery)
}

/// Whether the request is allowed; else why not.
pub(crate) fn authorize(state: &State, identity: &Identity, asked: &Attributes<'_>) -> Result<(), String> {
    if identity.is_in("system:masters") {
        return Ok(());
    }
    let mut reason = String::new();
    if let Some(node) = identity.node_name() {
        match node_may(state, node, asked) {
            Ok(()) => return Ok(()),
            Err(why) => reason = why,
        }
    }
    if everybody_may(identity, asked) || granted(state, identity, asked) {
        return Ok(());
    }
    let resource = match asked.subresource {
        "" => asked.resource.to_owned(),
        subresource => format!("{}/{subresource}", asked.resource),
    };
    let scope = match asked.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let mut message = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {scope}",
        identity.user, asked.verb, asked.group
    );
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    Err(message)
}

/// What the ClusterRoles `system:basic-user` and `system:node-bootstrapper` grant.
fn everybody_may(identity: &Identity, asked: &Attributes<'_>) -> bool {
    match asked.resource {
        "selfsubjectreviews" | "selfsubjectaccessreviews" => {
            asked.verb == "create" && identity.is_in("system:authenticated")
        }
        "certificatesigningrequests" => {
            matches!(asked.verb, "create" | "get" | "list" | "watch")
                && identity.is_in("system:bootstrappers")
        }
        _ => false,
    }
}

fn node_may(state: &State, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    let verb = asked.verb;
    let reads = matches!(verb, "get" | "list" | "watch");
    let own = |what: &str| {
        if asked.name == node {
            Ok(())
        } else {
            Err(format!("node {node:?} cannot {verb} {what} of other nodes"))
        }
    };
    let selected = |field: &str| {
        let required = asked.selection.and_then(|selection| selection.required(field));
        let why = || {
            Err(format!(
                "can only {verb} {} with field selector {field}={node}",
                asked.resource
            ))
        };
        if required == Some(node) { Ok(()) } else { why() }
    };
    let no = || Err(String::new());
    match (asked.resource, asked.subresource) {
        ("nodes", "" | "status") if reads => own("the Node object"),
        // Whose node it is, admission looks at.
        ("nodes", "") if verb == "create" => Ok(()),
        ("nodes", "" | "status") if matches!(verb, "update" | "patch") => Ok(()),
        ("pods", "") if matches!(verb, "list" | "watch") => selected("spec.nodeName"),
        ("pods", "") if verb == "get" => {
            match state
                .store
                .get(ResourceId::known("pods"), asked.namespace, asked.name)
            {
                Some(pod) if pod.field("spec.nodeName") == Some(node) => Ok(()),
                _ => Err(format!(
                    "no relationship found between node {node:?} and this object"
                )),
            }
        }
        ("pods", "") if matches!(verb, "create" | "delete") => Ok(()),
        ("pods", "status") if matches!(verb, "get" | "update" | "patch") => Ok(()),
        ("pods", "eviction") if verb == "create" => Ok(()),
        ("leases", "") if asked.namespace != "kube-node-lease" => {
            Err("can only access leases in the \"kube-node-lease\" system namespace".into())
        }
        ("leases", "") if verb == "create" => Ok(()),
        ("leases", "") if matches!(verb, "get" | "update" | "patch" | "delete") => own("the Lease"),
        ("events", "") if matches!(verb, "create" | "update" | "patch") => Ok(()),
        ("configmaps" | "secrets", "") if reads => {
            let name = asked.name;
            if name.is_empty() {
                Err(format!("No Object name found for {verb} of {}", asked.resource))
            } else if referenced(state, node, asked, name) {
                Ok(())
            } else {
                Err(format!(
                    "no relationship found between node {node:?} and this object"
                ))
            }
        }
        ("runtimeclasses", "") if reads => Ok(()),
        ("certificatesigningrequests", "") if reads || verb == "create" => Ok(()),
        ("tokenreviews" | "subjectaccessreviews", "") if verb == "create" => Ok(()),
        _ => no(),
    }
}

/// Whether a pod of this node names the ConfigMap or the Secret anywhere in its specification.
fn referenced(state: &State, node: &str, asked: &Attributes<'_>, name: &str) -> bool {
    let selection = Selection {
        namespace: Some(asked.namespace.to_owned()),
        ..Selection::default()
    };
    let pods = state.store.select(ResourceId::known("pods"), &selection);
    let bound = pods.iter().filter(|pod| pod.field("spec.nodeName") == Some(node));
    bound
        .into_iter()
        .any(|pod| names(&pod.value()["spec"], asked.resource == "secrets", name))
}

fn names(value: &Value, secret: bool, name: &str) -> bool {
    let fields: &[&str] = if secret {
        &["secret", "secretRef", "secretKeyRef"]
    } else {
        &["configMap", "configMapRef", "configMapKeyRef"]
    };
    match value {
        Value::Object(map) => map.iter().any(|(field, value)| {
            fields.contains(&field.as_str())
                && [&value["name"], &value["secretName"]]
                    .into_iter()
                    .any(|of| of == name)
                || names(value, secret, name)
        }),
        Value::Array(list) => list.iter().any(|value| names(value, secret, name)),
        _ => false,
    }
}

/// Role-based access control over the roles and bindings that are stored.
fn granted(state: &State, identity: &Identity, asked: &Attributes<'_>) -> bool {
    let everywhere = state
        .store
        .select(ResourceId::known("clusterrolebindings"), &Selection::default());
    let here = match asked.namespace {
        "" => Vec::new(),
        namespace => {
            let selection = Selection {
                namespace: Some(namespace.to_owned()),
                ..Selection::default()
            };
            state.store.select(ResourceId::known("rolebindings"), &selection)
        }
    };
    everywhere
        .iter()
        .chain(&here)
        .map(|binding| binding.value())
        .any(|binding| {
            let subjects = binding["subjects"].as_array();
            if !subjects
                .into_iter()
                .flatten()
                .any(|subject| is_subject(identity, subject))
            {
                return false;
            }
            let name = text(&binding, "/roleRef/name").unwrap_or("");
            let role = match text(&binding, "/roleRef/kind") {
                Some("ClusterRole") => state.store.get(ResourceId::known("clusterroles"), "", name),
                _ => state.store.get(ResourceId::known("roles"), asked.namespace, name),
            };
            let Some(role) = role.map(|role| role.value()) else {
                return false;
            };
            role["rules"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|rule| allows(rule, asked))
        })
}

fn is_subject(identity: &Identity, subject: &Value) -> bool {
    let name = text(subject, "/name").unwrap_or("");
    match text(subject, "/kind") {
        Some("User") => identity.user == name,
        Some("Group") => identity.is_in(name),
        Some("ServiceAccount") => {
            let namespace = text(subject, "/namespace").unwrap_or("");
            identity.user == format!("system:serviceaccount:{namespace}:{name}")
        }
        _ => false,
    }
}

fn allows(rule: &Value, asked: &Attributes<'_>) -> bool {
    let has = |field: &str, wanted: &str| {
        rule[field]
            .as_array()
            .into_iter()
            .flatten()
            .any(|of| of == "*" || of == wanted)
    };
    let resource = match asked.subresource {
        "" => asked.resource.to_owned(),
        subresource => format!("{}/{subresource}", asked.resource),
    };
    let names = rule["resourceNames"]
        .as_array()
        .is_none_or(|names| names.is_empty() || names.iter().any(|of| of == asked.name));
    has("verbs", asked.verb) && has("apiGroups", asked.group) && has("resources", &resource) && names
}
