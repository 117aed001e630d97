//! The controllers that a node meets: node lifecycle (pkg/controller/nodelifecycle/node_lifecycle_controller.go), the
//! collector of pods whose node is gone, and the expiry of Events.

use crate::cluster::Cluster;
use crate::deletion::DeleteOptions;
use crate::identity::Identity;
use crate::json::text;
use crate::object::Object;
use crate::resources::ResourceId;
use crate::selectors::Selection;
use crate::state::State;
use crate::target::{By, Target};
use crate::timestamp::{parse, rfc3339};
use picolet_platform::Duration;
use picolet_platform::{Clock, UnixMicros};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// `--node-monitor-period`.
const PERIOD: Duration = Duration::from_secs(5);

/// How long the API server keeps an Event (`--event-ttl`).
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// How long a pod outlives its node (`quarantineTime` of the pod garbage collector).
const ORPHAN_TIME: Duration = Duration::from_secs(40);

/// What the controller remembers of a node.
struct Health {
    uid: Box<str>,
    /// The revision of the Lease that was looked at last, and its `renewTime`.
    lease: u64,
    renewed: UnixMicros,
    /// When a sign of life was last seen, by the controller's own clock.
    seen: Duration,
    node: u64,
}

impl<C: Clock> Cluster<C> {
    /// Runs the controllers. Never completes; dropping the future stops them.
    pub async fn run_controllers(&self) {
        let mut controllers = Controllers::default();
        loop {
            let (now, uptime) = (self.now(), self.0.clock.uptime());
            if !self.is_down() {
                controllers.tick(&mut self.0.state.borrow_mut(), now, uptime);
            }
            self.0.clock.sleep(PERIOD).await;
        }
    }
}

#[derive(Default)]
struct Controllers {
    nodes: BTreeMap<Box<str>, Health>,
    orphans: BTreeMap<Box<str>, Duration>,
    /// The Events by uid, with their revision and when that was first seen.
    events: BTreeMap<Box<str>, (u64, Duration)>,
}

impl Controllers {
    fn tick(&mut self, state: &mut State, now: UnixMicros, uptime: Duration) {
        let admin = Identity::admin();
        let by = By {
            identity: &admin,
            now,
            dry_run: false,
            strict: false,
        };
        let everything = Selection::default();
        let nodes = state.store.select(ResourceId::known("nodes"), &everything);
        self.nodes
            .retain(|name, _| nodes.iter().any(|node| node.name == *name));
        for node in &nodes {
            self.monitor(state, &by, node, uptime);
        }
        self.collect_orphans(state, &by, uptime);
        self.expire_events(state, uptime);
    }

    /// Looks after one node.
    fn monitor(&mut self, state: &mut State, by: &By<'_>, node: &Rc<Object>, uptime: Duration) {
        let fresh = || Health {
            uid: node.uid.clone(),
            lease: 0,
            renewed: UnixMicros(0),
            seen: uptime,
            node: 0,
        };
        let mut is_new = false;
        let health = self.nodes.entry(node.name.clone()).or_insert_with(|| {
            is_new = true;
            fresh()
        });
        if health.uid != node.uid {
            *health = fresh();
            is_new = true;
        }
        if is_new {
            let message = format!(
                "Node {} event: Registered Node {} in Controller",
                node.name, node.name
            );
            record(state, by, node, "Normal", "RegisteredNode", &message);
        }
        let lease = state
            .store
            .get(ResourceId::known("leases"), "kube-node-lease", &node.name);
        if let Some(lease) = lease.filter(|lease| lease.revision != health.lease) {
            health.lease = lease.revision;
            let renewed = text(&lease.value(), "/spec/renewTime")
                .and_then(parse)
                .unwrap_or(UnixMicros(0));
            // A time that does not move forward is no sign of life.
            if renewed > health.renewed {
                health.renewed = renewed;
                health.seen = uptime;
            }
        }
        let grace = state.options.node_grace;
        let stale = uptime.saturating_sub(health.seen) > grace;
        if !stale && health.node == node.revision {
            return;
        }
        let mut value = node.value();
        let ready_before = ready(&value);
        if stale && ready_before.as_deref() != Some("Unknown") {
            mark_unknown(&mut value, by.now);
        }
        reconcile_taints(&mut value);
        copy_labels(&mut value);
        let ready_now = ready(&value);
        health.node = state.store.put(ResourceId::known("nodes"), value).revision;
        if ready_before.as_deref() == Some("True") && ready_now.as_deref() != Some("True") {
            let message = format!("Node {} status is now: NodeNotReady", node.name);
            record(state, by, node, "Normal", "NodeNotReady", &message);
        }
    }

    /// Takes out Events that nobody has written to for a while, whatever times they carry.
    fn expire_events(&mut self, state: &mut State, uptime: Duration) {
        let resource = ResourceId::known("events");
        let events = state.store.select(resource, &Selection::default());
        let before = std::mem::take(&mut self.events);
        for event in events {
            let seen = before
                .get(&event.uid)
                .filter(|(revision, _)| *revision == event.revision);
            let since = seen.map_or(uptime, |(_, since)| *since);
            if uptime.saturating_sub(since) >= EVENT_TTL {
                state.store.remove(resource, &event.namespace, &event.name, None);
            } else {
                self.events.insert(event.uid.clone(), (event.revision, since));
            }
        }
    }

    /// Deletes the pods of nodes that have been gone for a while.
    fn collect_orphans(&mut self, state: &mut State, by: &By<'_>, uptime: Duration) {
        let pods = ResourceId::known("pods");
        let nodes = ResourceId::known("nodes");
        let orphans: Vec<_> = state
            .store
            .select(pods, &Selection::default())
            .into_iter()
            .filter(|pod| {
                pod.field("spec.nodeName")
                    .is_some_and(|node| !node.is_empty() && state.store.get(nodes, "", node).is_none())
            })
            .collect();
        self.orphans
            .retain(|uid, _| orphans.iter().any(|pod| pod.uid == *uid));
        for pod in orphans {
            let since = *self.orphans.entry(pod.uid.clone()).or_insert(uptime);
            if uptime.saturating_sub(since) >= ORPHAN_TIME {
                let target = Target {
                    resource: pods,
                    namespace: &pod.namespace,
                    name: &pod.name,
                    subresource: "",
                };
                let options = DeleteOptions {
                    grace: Some(0),
                    ..DeleteOptions::default()
                };
                // A pod that cannot be deleted now is tried again with the next tick.
                let _ = state.delete(by, &target, &options);
            }
        }
    }
}

fn ready(node: &Value) -> Option<String> {
    let conditions = node["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Ready")?;
    found["status"].as_str().map(str::to_owned)
}

/// Sets the four conditions that a silent node can no longer vouch for.
fn mark_unknown(node: &mut Value, now: UnixMicros) {
    let now = rfc3339(now);
    let created = node["metadata"]["creationTimestamp"].clone();
    if !node["status"].is_object() {
        node["status"] = json!({});
    }
    if !node["status"]["conditions"].is_array() {
        node["status"]["conditions"] = json!([]);
    }
    let Some(conditions) = node["status"]["conditions"].as_array_mut() else {
        return;
    };
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        match conditions.iter_mut().find(|condition| condition["type"] == kind) {
            None => conditions.push(json!({
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": created, "lastTransitionTime": now,
            })),
            Some(condition) if condition["status"] != "Unknown" => {
                condition["status"] = "Unknown".into();
                condition["reason"] = "NodeStatusUnknown".into();
                condition["message"] = "Kubelet stopped posting node status.".into();
                condition["lastTransitionTime"] = now.clone().into();
            }
            Some(_) => {}
        }
    }
}

/// The taints that follow from conditions, and from `spec.unschedulable`.
fn reconcile_taints(node: &mut Value) {
    const NOT_READY: &str = "node.kubernetes.io/not-ready";
    const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
    const PRESSURES: [(&str, &str); 3] = [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ];
    let status = |kind: &str| {
        let conditions = node["status"]["conditions"].as_array();
        let found = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == kind);
        found
            .and_then(|condition| condition["status"].as_str())
            .unwrap_or("")
            .to_owned()
    };
    let mut wanted: Vec<(&str, &str)> = match status("Ready").as_str() {
        "True" => vec![],
        "Unknown" => vec![(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")],
        // A node that has reported nothing so far keeps the taint that it got when it was created.
        "" => vec![(NOT_READY, "NoSchedule")],
        _ => vec![(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")],
    };
    wanted.extend(
        PRESSURES
            .iter()
            .filter(|(kind, _)| status(kind) == "True")
            .map(|(_, taint)| (*taint, "NoSchedule")),
    );
    if node["spec"]["unschedulable"] == true {
        wanted.push(("node.kubernetes.io/unschedulable", "NoSchedule"));
    }
    let ours = |taint: &Value| {
        let key = taint["key"].as_str().unwrap_or("");
        matches!(key, NOT_READY | UNREACHABLE | "node.kubernetes.io/unschedulable")
            || PRESSURES.iter().any(|(_, of)| *of == key)
    };
    let before = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let is_wanted = |taint: &Value| {
        wanted
            .iter()
            .any(|(key, effect)| taint["key"] == *key && taint["effect"] == *effect)
    };
    let mut taints: Vec<Value> = before
        .iter()
        .filter(|taint| !ours(taint) || is_wanted(taint))
        .cloned()
        .collect();
    for (key, effect) in &wanted {
        if !taints
            .iter()
            .any(|taint| taint["key"] == *key && taint["effect"] == *effect)
        {
            taints.push(json!({"key": key, "effect": effect}));
        }
    }
    if !node["spec"].is_object() {
        node["spec"] = json!({});
    }
    if taints.is_empty() {
        crate::json::remove(&mut node["spec"], "taints");
    } else {
        node["spec"]["taints"] = taints.into();
    }
}

/// The old names of two labels follow the new ones.
fn copy_labels(node: &mut Value) {
    for label in ["os", "arch"] {
        let new = node["metadata"]["labels"]
            .get(format!("kubernetes.io/{label}"))
            .cloned();
        if let Some(value) = new {
            node["metadata"]["labels"][format!("beta.kubernetes.io/{label}")] = value;
        }
    }
}

/// Leaves an Event about a node, as the controller manager does.
fn record(state: &mut State, by: &By<'_>, node: &Object, kind: &str, reason: &str, message: &str) {
    let now = rfc3339(by.now);
    let name = format!("{}.{:016x}", node.name, state.random.u64(..));
    let event = json!({
        "metadata": {"name": name},
        "involvedObject": {"kind": "Node", "apiVersion": "v1", "name": node.name, "uid": node.uid},
        "reason": reason, "message": message, "type": kind, "count": 1,
        "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": "node-controller"}, "reportingComponent": "node-controller",
    });
    // An Event that cannot be stored is an Event less.
    let _ = state.create(by, ResourceId::known("events"), "default", event);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    const START: u64 = 1_795_354_103;

    struct World {
        state: State,
        controllers: Controllers,
    }

    impl World {
        fn new() -> Self {
            let mut state = State::new(Options::default());
            state.populate(UnixMicros(START * 1_000_000));
            Self {
                state,
                controllers: Controllers::default(),
            }
        }

        fn at<R>(&mut self, seconds: u64, act: impl FnOnce(&mut State, &By<'_>) -> R) -> R {
            let admin = Identity::admin();
            let now = UnixMicros((START + seconds) * 1_000_000);
            act(
                &mut self.state,
                &By {
                    identity: &admin,
                    now,
                    dry_run: false,
                    strict: false,
                },
            )
        }

        fn tick(&mut self, seconds: u64) {
            let now = UnixMicros((START + seconds) * 1_000_000);
            self.controllers
                .tick(&mut self.state, now, Duration::from_secs(seconds));
        }

        fn renew(&mut self, at: u64, renew_time: u64) {
            self.at(at, |state, by| {
                let time = rfc3339(UnixMicros((START + renew_time) * 1_000_000));
                let lease = json!({"metadata": {"name": "n"}, "spec": {"renewTime": time}});
                let target = Target {
                    resource: ResourceId::known("leases"),
                    namespace: "kube-node-lease",
                    name: "n",
                    subresource: "",
                };
                if state.store.get(target.resource, target.namespace, "n").is_none() {
                    state
                        .create(by, target.resource, target.namespace, lease)
                        .expect("created");
                } else {
                    state
                        .patch(
                            by,
                            &target,
                            "application/merge-patch+json",
                            lease.to_string().as_bytes(),
                        )
                        .expect("patched");
                }
            });
        }

        fn node(&self) -> Value {
            self.state
                .store
                .require(ResourceId::known("nodes"), "", "n")
                .expect("there")
                .value()
        }

        fn taints(&self) -> Vec<String> {
            let node = self.node();
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            taints
                .iter()
                .map(|taint| {
                    format!(
                        "{}:{}",
                        taint["key"].as_str().unwrap_or(""),
                        taint["effect"].as_str().unwrap_or("")
                    )
                })
                .collect()
        }
    }

    fn with_ready_node() -> World {
        let mut world = World::new();
        world.at(0, |state, by| {
            let status =
                json!({"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]});
            let node = json!({"metadata": {"name": "n"}, "status": status,
                "spec": {"taints": [{"key": "own", "effect": "NoSchedule"}]}});
            state
                .create(by, ResourceId::known("nodes"), "", node)
                .expect("created");
        });
        world
    }

    #[test]
    fn a_silent_node_is_unknown_after_the_grace_period_and_comes_back() {
        let mut world = with_ready_node();
        assert_eq!(
            world.taints(),
            ["own:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule"]
        );
        world.tick(0);
        assert_eq!(world.taints(), ["own:NoSchedule"]);
        world.renew(10, 10);
        world.tick(10);
        world.tick(60);
        assert_eq!(ready(&world.node()).as_deref(), Some("True"));
        world.tick(61);
        let node = world.node();
        assert_eq!(ready(&node).as_deref(), Some("Unknown"));
        assert_eq!(node["status"]["conditions"][0]["reason"], "NodeStatusUnknown");
        assert_eq!(
            node["status"]["conditions"][1]["reason"],
            "NodeStatusNeverUpdated"
        );
        assert_eq!(
            world.taints()[1..],
            [
                "node.kubernetes.io/unreachable:NoSchedule",
                "node.kubernetes.io/unreachable:NoExecute"
            ]
        );
        world.renew(70, 70);
        world.at(70, |state, by| {
            let target = Target {
                resource: ResourceId::known("nodes"),
                namespace: "",
                name: "n",
                subresource: "status",
            };
            let patch = br#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
            state
                .patch(by, &target, "application/strategic-merge-patch+json", patch)
                .expect("patched");
        });
        world.tick(71);
        assert_eq!(world.taints(), ["own:NoSchedule"]);
        assert_eq!(ready(&world.node()).as_deref(), Some("True"));
        let reasons: Vec<_> = world
            .state
            .store
            .select(ResourceId::known("events"), &Selection::default());
        let mut reasons: Vec<_> = reasons
            .iter()
            .map(|event| event.field("reason").unwrap_or("").to_owned())
            .collect();
        reasons.sort();
        assert_eq!(reasons, ["NodeNotReady", "RegisteredNode"]);
    }

    #[test]
    fn a_renew_time_that_stands_still_is_no_sign_of_life() {
        let mut world = with_ready_node();
        world.renew(10, 10);
        world.tick(10);
        world.renew(40, 9);
        world.tick(40);
        world.tick(61);
        assert_eq!(ready(&world.node()).as_deref(), Some("Unknown"));
    }

    #[test]
    fn a_pod_does_not_outlive_its_node_for_long_and_a_lease_not_at_all() {
        let mut world = with_ready_node();
        let (pods, nodes) = (ResourceId::known("pods"), ResourceId::known("nodes"));
        world.at(0, |state, by| {
            let uid = state.store.require(nodes, "", "n").expect("there").uid.clone();
            let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid}]);
            let lease = json!({"metadata": {"name": "n", "ownerReferences": owner}});
            state.create(by, ResourceId::known("leases"), "kube-node-lease", lease).expect("created");
            let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}});
            state.create(by, pods, "default", pod).expect("created");
            let target = Target { resource: nodes, namespace: "", name: "n", subresource: "" };
            state.delete(by, &target, &DeleteOptions::default()).expect("deleted");
            assert!(state.store.get(ResourceId::known("leases"), "kube-node-lease", "n").is_none());
        });
        world.tick(1);
        world.tick(40);
        assert!(world.state.store.get(pods, "default", "p").is_some());
        world.tick(41);
        assert!(world.state.store.get(pods, "default", "p").is_none());
    }

    #[test]
    fn events_expire() {
        let mut world = with_ready_node();
        world.tick(0);
        world.renew(3000, 3000);
        world.tick(3000);
        world.tick(3602);
        let events = world
            .state
            .store
            .select(ResourceId::known("events"), &Selection::default());
        assert!(
            events
                .iter()
                .all(|event| event.field("reason") != Some("RegisteredNode")),
            "{events:?}"
        );
    }
}
