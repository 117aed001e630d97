//! What is changed or refused after a request has been authorized: the plugins NodeRestriction
//! (plugin/pkg/admission/noderestriction/admission.go) and TaintNodesByCondition.

use crate::error::ApiError;
use crate::json::text;
use crate::target::{By, Target};
use serde_json::{Value, json};

const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

fn forbidden(target: &Target<'_>, why: impl core::fmt::Display) -> ApiError {
    ApiError::forbidden(target.resource.group, target.resource.plural, target.name, why)
}

pub(crate) fn on_create(by: &By<'_>, target: &Target<'_>, value: &mut Value) -> Result<(), ApiError> {
    if let Some(node) = by.identity.node_name() {
        match target.resource.plural {
            "nodes" => {
                own_node(node, target)?;
                for (label, _) in value["metadata"]["labels"].as_object().into_iter().flatten() {
                    if !may_label(label) {
                        let why = format!("is not allowed to set the following labels: {label}");
                        return Err(forbidden(target, format!("node {node:?} {why}")));
                    }
                }
                if value.pointer("/spec/configSource").is_some() {
                    return Err(forbidden(
                        target,
                        format!("node {node:?} is not allowed to create a node with a configSource"),
                    ));
                }
            }
            "pods" => mirror_pod(node, target, value)?,
            "leases" => own_lease(node, target)?,
            _ => {}
        }
    }
    if target.resource.plural == "nodes" {
        taint_until_ready(value);
    }
    Ok(())
}

pub(crate) fn on_update(
    by: &By<'_>,
    target: &Target<'_>,
    old: &Value,
    value: &mut Value,
) -> Result<(), ApiError> {
    let Some(node) = by.identity.node_name() else {
        return Ok(());
    };
    match target.resource.plural {
        "nodes" => {
            own_node(node, target)?;
            if value["spec"]["taints"] != old["spec"]["taints"] {
                return Err(forbidden(
                    target,
                    format!("node {node:?} is not allowed to modify taints"),
                ));
            }
            let (before, now) = (&old["metadata"]["labels"], &value["metadata"]["labels"]);
            let labels = before.as_object().into_iter().chain(now.as_object()).flatten();
            if let Some((label, _)) = labels
                .into_iter()
                .find(|(label, _)| before.get(label.as_str()) != now.get(label.as_str()) && !may_label(label))
            {
                let why = format!("node {node:?} is not allowed to modify labels: {label}");
                return Err(forbidden(target, why));
            }
            if value["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
                return Err(forbidden(
                    target,
                    format!("node {node:?} is not allowed to modify ownerReferences"),
                ));
            }
        }
        "pods" => {
            if target.subresource != "status" {
                return Err(forbidden(
                    target,
                    "unexpected operation \"UPDATE\", node can only update pods/status",
                ));
            }
            own_pod(node, target, old)?;
            if value["metadata"]["labels"] != old["metadata"]["labels"] {
                return Err(forbidden(
                    target,
                    format!("node {node:?} cannot update labels through pod status"),
                ));
            }
        }
        "leases" => own_lease(node, target)?,
        _ => {}
    }
    Ok(())
}

pub(crate) fn on_delete(by: &By<'_>, target: &Target<'_>, old: &Value) -> Result<(), ApiError> {
    let Some(node) = by.identity.node_name() else {
        return Ok(());
    };
    match target.resource.plural {
        "nodes" => own_node(node, target),
        "pods" => own_pod(node, target, old),
        "leases" => own_lease(node, target),
        _ => Ok(()),
    }
}

fn own_node(node: &str, target: &Target<'_>) -> Result<(), ApiError> {
    if target.name == node {
        return Ok(());
    }
    Err(forbidden(
        target,
        format!("node {node:?} is not allowed to modify node {:?}", target.name),
    ))
}

fn own_pod(node: &str, target: &Target<'_>, pod: &Value) -> Result<(), ApiError> {
    if text(pod, "/spec/nodeName") == Some(node) {
        return Ok(());
    }
    Err(forbidden(
        target,
        format!("node {node:?} can only act on pods with spec.nodeName set to itself"),
    ))
}

fn own_lease(node: &str, target: &Target<'_>) -> Result<(), ApiError> {
    if target.namespace != "kube-node-lease" {
        return Err(forbidden(
            target,
            "can only access leases in the \"kube-node-lease\" system namespace",
        ));
    }
    if target.name != node {
        return Err(forbidden(
            target,
            "can only access node lease with the same name as the requesting node",
        ));
    }
    Ok(())
}

/// A node may create mirror pods for itself, and only such as need nothing of the cluster.
fn mirror_pod(node: &str, target: &Target<'_>, pod: &Value) -> Result<(), ApiError> {
    if pod.pointer(MIRROR).is_none() {
        let why = format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        );
        return Err(forbidden(target, why));
    }
    own_pod(node, target, pod)?;
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let good =
        |owner: &Value| owner["kind"] == "Node" && owner["name"] == node && owner["controller"] == true;
    if !owners.is_some_and(|owners| owners.len() == 1 && owners.iter().all(good)) {
        return Err(forbidden(
            target,
            format!("node {node:?} can only create pods with a single owner reference set to itself"),
        ));
    }
    if text(pod, "/spec/serviceAccountName").is_some_and(|name| !name.is_empty()) {
        return Err(forbidden(
            target,
            format!("node {node:?} can not create pods that reference a service account"),
        ));
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        for kind in ["secret", "configMap", "persistentVolumeClaim", "projected"] {
            if volume.get(kind).is_some() {
                return Err(forbidden(
                    target,
                    format!("node {node:?} can not create pods that reference a {kind}"),
                ));
            }
        }
    }
    Ok(())
}

/// Labels that a node may set on itself: the kubelet's own, and those that are not Kubernetes's.
fn may_label(label: &str) -> bool {
    const KUBELETS: [&str; 11] = [
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
    ];
    let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
    let within = |domain: &str| {
        prefix == domain
            || prefix
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    KUBELETS.contains(&label)
        || within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
        || !(within("kubernetes.io") || within("k8s.io"))
}

/// A new node takes no pods before it has said that it is ready.
fn taint_until_ready(node: &mut Value) {
    const KEY: &str = "node.kubernetes.io/not-ready";
    let taint = json!({"key": KEY, "effect": "NoSchedule"});
    match &mut node["spec"]["taints"] {
        Value::Array(taints)
            if taints
                .iter()
                .any(|of| of["key"] == KEY && of["effect"] == "NoSchedule") => {}
        Value::Array(taints) => taints.push(taint),
        taints => *taints = json!([taint]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_node() {
        for good in [
            "kubernetes.io/os",
            "node.kubernetes.io/instance-type",
            "x.node.kubernetes.io/y",
            "picolet.dev/board",
            "plain",
            "notk8s.io/x",
        ] {
            assert!(may_label(good), "{good}");
        }
        for bad in [
            "node-role.kubernetes.io/x",
            "node-restriction.kubernetes.io/x",
            "a.k8s.io/b",
            "kubernetes.io/x",
        ] {
            assert!(!may_label(bad), "{bad}");
        }
    }
}
