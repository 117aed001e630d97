//! Whether a pod may run here: upstream's checks in upstream's order, with its reasons and its words.
//!
//! Sources in kubernetes 1.36: `pkg/kubelet/lifecycle/{predicate,handlers}.go`, `AdmissionCheck` in
//! `pkg/scheduler/eventhandlers.go`, `fitsRequest` in `pkg/scheduler/framework/plugins/noderesources/fit.go`.
//!
//! What a spec asks for that no picolet does is refused as `PodFeatureUnsupported`: since 1.36 that is the reason of the
//! kubelet's last check, for a pod that "requires node features that are not available", and a pod that asks for a host
//! network or a volume here is just that. Upstream has no other word for it, since a Linux node can do all of these.
//!
//! Only the first reason is told, as upstream does. A service account's projected volume is no reason: every ordinary
//! pod has one.

use alloc::format;
use alloc::string::String;
use picolet_kube::node::Node;
use picolet_kube::pod::Pod;
use picolet_kube::{Quantity, selector::Taint};

/// Why a pod may not run here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// One word.
    pub(super) reason: &'static str,
    /// For a person.
    pub(super) message: String,
    /// Whether it may only seem so because the node's labels or taints were changed a moment ago.
    pub(super) ask_again: bool,
}

/// What the answer depends on besides the pod.
pub(super) struct Circumstances<'a> {
    /// The node as the API server has it.
    pub(super) node: &'a Node,
    /// Its name.
    pub(super) node_name: &'a str,
    /// Its `kubernetes.io/os`.
    pub(super) os: &'a str,
    /// What pods may have in all.
    pub(super) allocatable: &'a [(&'static str, Quantity)],
    /// How many other pods there are that have not ended.
    pub(super) pods: usize,
    /// How much of a resource they have together.
    pub(super) used: &'a dyn Fn(&str) -> Quantity,
}

/// What the reasons begin with for resources that are known in advance. The resource follows.
const PREFIX: &str = "OutOf";
/// Those reasons. An Event's reason is a word of the program's own.
const OUT_OF: [&str; 13] = [
    "OutOfcpu",
    "OutOfmemory",
    "OutOfephemeral-storage",
    "OutOfpods",
    "OutOfpicolet.dev/gpio",
    "OutOfpicolet.dev/led",
    "OutOfpicolet.dev/adc",
    // The sizes of pages that processors have: besides those above the API server lets a pod ask for nothing else.
    "OutOfhugepages-64Ki",
    "OutOfhugepages-2Mi",
    "OutOfhugepages-32Mi",
    "OutOfhugepages-512Mi",
    "OutOfhugepages-1Gi",
    "OutOfhugepages-16Gi",
];
/// For sizes that no processor has: upstream's word where it counts them (`recordAdmissionRejection`).
const OUT_OF_OTHERS: &str = "OutOfExtendedResources";

fn refuse(reason: &'static str, message: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal {
        reason,
        message: message.into(),
        ask_again: false,
    })
}

/// Says whether `pod` may run.
///
/// # Errors
/// Says why not.
#[inline(never)]
pub(super) fn admit(pod: &Pod, here: &Circumstances<'_>) -> Result<(), Refusal> {
    if !pod.os_label.is_empty() && *pod.os_label != *here.os {
        return refuse(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        );
    }
    if !pod.os.is_empty() && *pod.os != *here.os {
        return refuse(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        );
    }
    if pod.strict_supplemental_groups {
        return refuse(
            "SupplementalGroupsPolicyNotSupported",
            "SupplementalGroupsPolicy=Strict is not supported in this node",
        );
    }
    resources(pod, here)?;
    affinity_and_taints(pod, here)?;
    if let Some(feature) = pod.unsupported {
        return refuse(
            "PodFeatureUnsupported",
            format!(
                "Pod requires node features that are not available: {feature}. Take it out of the pod, or bind the pod to a node that has it"
            ),
        );
    }
    Ok(())
}

/// Whether `name` is a resource that a node may offer on top of Kubernetes' own (`IsExtendedResourceName`).
fn is_extended(name: &str) -> bool {
    let domain = name.split_once('/').map(|(domain, _)| domain);
    domain.is_some_and(|domain| !domain.ends_with("kubernetes.io")) && !name.starts_with("requests.")
}

fn resources(pod: &Pod, here: &Circumstances<'_>) -> Result<(), Refusal> {
    let offered = |resource: &str| {
        let found = here.allocatable.iter().find(|(name, _)| *name == resource);
        found.map(|(_, amount)| *amount)
    };
    let check = |resource: &str, requested: Quantity, used: Quantity| {
        let capacity = offered(resource);
        // What no node of this kind offers may be the cluster's own and not the node's: upstream does not count it.
        if requested <= Quantity::ZERO || (capacity.is_none() && is_extended(resource)) {
            return Ok(());
        }
        // Processors are told in thousandths.
        let unit = |amount: Quantity| {
            if resource == "cpu" {
                amount.milli()
            } else {
                amount.value()
            }
        };
        let capacity = capacity.unwrap_or_default();
        let (requested, used, capacity) = (unit(requested), unit(used), unit(capacity));
        if requested <= capacity.saturating_sub(used) {
            return Ok(());
        }
        let known = OUT_OF
            .iter()
            .find(|reason| reason.strip_prefix(PREFIX) == Some(resource));
        refuse(
            known.unwrap_or(&OUT_OF_OTHERS),
            format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        )
    };
    let pods = i64::try_from(here.pods).unwrap_or(i64::MAX);
    check("pods", Quantity::new(1), Quantity::new(pods))?;
    const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
    let others = pod.resources();
    let others = others
        .iter()
        .filter(|name| !FIRST.contains(name) && **name != "pods");
    for resource in FIRST.iter().chain(others) {
        check(resource, pod.request(resource), (here.used)(resource))?;
    }
    Ok(())
}

fn affinity_and_taints(pod: &Pod, here: &Circumstances<'_>) -> Result<(), Refusal> {
    let failed = |name: &'static str, why: &str, ask_again: bool| {
        Err(Refusal {
            reason: name,
            message: format!("Predicate {name} failed: {why}"),
            ask_again,
        })
    };
    let label = |key: &str| here.node.label(key);
    let selected = pod
        .node_selector
        .iter()
        .all(|(key, value)| label(key) == Some(value));
    let terms = pod.node_affinity.as_ref();
    let matches =
        selected && terms.is_none_or(|terms| terms.iter().any(|term| term.matches(here.node_name, label)));
    // A label that is wanted may be one of those that were not kept. Whoever bound the pod knew them all.
    if !matches && !here.node.truncated {
        return failed(
            "NodeAffinity",
            "node(s) didn't match Pod's node affinity/selector",
            true,
        );
    }
    if *pod.node_name != *here.node_name {
        return failed("NodeName", "node(s) didn't match the requested node name", false);
    }
    let tolerated = |taint: &Taint| {
        pod.tolerations
            .iter()
            .any(|toleration| toleration.tolerates(taint))
    };
    let mut no_execute = here
        .node
        .taints
        .iter()
        .filter(|taint| &*taint.effect == "NoExecute");
    if !no_execute.all(tolerated) {
        return failed(
            "TaintToleration",
            "node(s) had taints that the pod didn't tolerate",
            true,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use picolet_kube::pod::{Container, Requests};
    use picolet_kube::selector::{Expression, Operator, Term, Toleration};

    fn node() -> Node {
        let mut node = Node::default();
        node.labels = vec![
            ("kubernetes.io/os".into(), "wasip1".into()),
            ("disk".into(), "flash".into()),
        ];
        node
    }

    fn pod() -> Pod {
        Pod {
            node_name: "pico".into(),
            containers: vec![Container::default()],
            ..Pod::default()
        }
    }

    fn asks(resource: &str, amount: &str) -> Pod {
        let mut pod = pod();
        let amount = Quantity::parse(amount).expect("a quantity");
        pod.containers[0].requests = Requests(vec![(resource.into(), amount)]);
        pod
    }

    fn verdict_at(pod: &Pod, node: &Node, pods: usize) -> Result<(), Refusal> {
        let allocatable = [
            ("cpu", Quantity::new(1)),
            ("memory", Quantity::new(64 * 1024)),
            ("pods", Quantity::new(2)),
            ("picolet.dev/gpio", Quantity::new(4)),
        ];
        let used = |resource: &str| match resource {
            "cpu" => Quantity::from_milli(600),
            "picolet.dev/gpio" => Quantity::new(3),
            _ => Quantity::ZERO,
        };
        let here = Circumstances {
            node,
            node_name: "pico",
            os: "wasip1",
            allocatable: &allocatable,
            pods,
            used: &used,
        };
        admit(pod, &here)
    }

    fn verdict(pod: &Pod) -> Result<(), Refusal> {
        verdict_at(pod, &node(), 1)
    }

    #[test]
    fn pod_is_not_refused_for_a_label_when_not_all_labels_are_kept() {
        let mut node = node();
        let pod = Pod {
            node_selector: vec![("of-many".into(), "x".into())],
            ..pod()
        };
        assert!(verdict_at(&pod, &node, 0).is_err());
        node.truncated = true;
        assert_eq!(verdict_at(&pod, &node, 0), Ok(()));
    }

    #[test]
    fn every_reason_with_its_words() {
        let selecting = |key: &str, value: &str| Pod {
            node_selector: vec![(key.into(), value.into())],
            ..pod()
        };
        let affine = |value: &str| {
            let expression = Expression {
                on_field: false,
                key: "disk".into(),
                operator: Operator::In,
                values: vec![value.into()],
            };
            Pod {
                node_affinity: Some(vec![Term {
                    expressions: vec![expression],
                }]),
                ..pod()
            }
        };
        let not_enough = "Node didn't have enough resource: ";
        let affinity = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        let cases: [(Pod, &str, String, bool); 17] = [
            (
                Pod { os_label: "linux".into(), ..pod() },
                "PodOSSelectorNodeLabelDoesNotMatch",
                "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label".into(),
                false,
            ),
            (
                Pod { os: "linux".into(), ..pod() },
                "PodOSNotSupported",
                "Failed to admit pod as the OS field doesn't match node OS".into(),
                false,
            ),
            (
                Pod { strict_supplemental_groups: true, ..pod() },
                "SupplementalGroupsPolicyNotSupported",
                "SupplementalGroupsPolicy=Strict is not supported in this node".into(),
                false,
            ),
            (asks("cpu", "500m"), "OutOfcpu", format!("{not_enough}cpu, requested: 500, used: 600, capacity: 1000"), false),
            (
                asks("memory", "1Mi"),
                "OutOfmemory",
                format!("{not_enough}memory, requested: 1048576, used: 0, capacity: 65536"),
                false,
            ),
            (
                asks("ephemeral-storage", "1"),
                "OutOfephemeral-storage",
                format!("{not_enough}ephemeral-storage, requested: 1, used: 0, capacity: 0"),
                false,
            ),
            (
                asks("picolet.dev/gpio", "2"),
                "OutOfpicolet.dev/gpio",
                format!("{not_enough}picolet.dev/gpio, requested: 2, used: 3, capacity: 4"),
                false,
            ),
            (
                asks("hugepages-2Mi", "2Mi"),
                "OutOfhugepages-2Mi",
                format!("{not_enough}hugepages-2Mi, requested: 2097152, used: 0, capacity: 0"),
                false,
            ),
            (
                asks("hugepages-3Mi", "3Mi"),
                "OutOfExtendedResources",
                format!("{not_enough}hugepages-3Mi, requested: 3145728, used: 0, capacity: 0"),
                false,
            ),
            (selecting("disk", "ssd"), "NodeAffinity", affinity.into(), true),
            (selecting("no-such-label", ""), "NodeAffinity", affinity.into(), true),
            (affine("ssd"), "NodeAffinity", affinity.into(), true),
            (Pod { node_affinity: Some(vec![]), ..pod() }, "NodeAffinity", affinity.into(), true),
            (
                Pod { node_name: "other".into(), ..pod() },
                "NodeName",
                "Predicate NodeName failed: node(s) didn't match the requested node name".into(),
                false,
            ),
            (
                Pod { unsupported: Some("spec.hostNetwork"), ..pod() },
                "PodFeatureUnsupported",
                "Pod requires node features that are not available: spec.hostNetwork. Take it out of the pod, or bind the pod to a node that has it".into(),
                false,
            ),
            // The first that fails in upstream's order is told.
            (Pod { os: "linux".into(), unsupported: Some("x"), ..asks("cpu", "9") }, "PodOSNotSupported",
                "Failed to admit pod as the OS field doesn't match node OS".into(), false),
            (Pod { node_name: "other".into(), ..asks("cpu", "9") }, "OutOfcpu",
                format!("{not_enough}cpu, requested: 9000, used: 600, capacity: 1000"), false),
        ];
        for (pod, reason, message, ask_again) in cases {
            assert_eq!(
                verdict(&pod),
                Err(Refusal {
                    reason,
                    message,
                    ask_again
                })
            );
        }
    }

    #[test]
    fn too_many_pods_is_told_before_all_other_resources() {
        let refusal = verdict_at(&asks("cpu", "9"), &node(), 2).expect_err("full");
        assert_eq!(
            (refusal.reason, &*refusal.message),
            (
                "OutOfpods",
                "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
            )
        );
    }

    #[test]
    fn taints() {
        let mut node = node();
        node.taints = vec![
            Taint::parse("picolet.dev/microcontroller=true:NoSchedule").expect("a taint"),
            Taint::parse("maintenance:NoExecute").expect("a taint"),
        ];
        let refusal = verdict_at(&pod(), &node, 0).expect_err("not tolerated");
        assert_eq!(
            (refusal.reason, &*refusal.message, refusal.ask_again),
            (
                "TaintToleration",
                "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
                true
            )
        );
        let toleration = Toleration {
            key: "maintenance".into(),
            exists: true,
            ..Toleration::default()
        };
        assert_eq!(
            verdict_at(
                &Pod {
                    tolerations: vec![toleration],
                    ..pod()
                },
                &node,
                0
            ),
            Ok(())
        );
    }

    #[test]
    fn what_fits_is_admitted() {
        let named = Expression {
            on_field: true,
            key: "metadata.name".into(),
            operator: Operator::In,
            values: vec!["pico".into()],
        };
        for pod in [
            pod(),
            asks("cpu", "400m"),
            asks("picolet.dev/gpio", "1"),
            asks("memory", "64Ki"),
            // Not this node's to count, as upstream sees it.
            asks("example.com/dongle", "1"),
            asks("hugepages-2Mi", "0"),
            Pod {
                os_label: "wasip1".into(),
                ..pod()
            },
            Pod {
                node_selector: vec![("disk".into(), "flash".into())],
                ..pod()
            },
            Pod {
                node_affinity: Some(vec![
                    Term::default(),
                    Term {
                        expressions: vec![named],
                    },
                ]),
                ..pod()
            },
        ] {
            assert_eq!(verdict(&pod), Ok(()), "{pod:?}");
        }
    }
}
