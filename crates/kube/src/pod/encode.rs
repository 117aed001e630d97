//! What a kubelet writes about a Pod.

use super::{CONDITIONS, Conditions, Phase, Pod};
use crate::json::Writer;
use crate::{Quantity, Timestamp};
use alloc::string::String;
use core::fmt;

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState<'a> {
    /// Not yet running, or waiting to run again.
    Waiting {
        /// `ContainerCreating`, `CrashLoopBackOff`, `ErrImagePull` …
        reason: &'a str,
        /// For a person.
        message: &'a str,
    },
    /// Running.
    Running {
        /// Since when.
        started: Timestamp,
    },
    /// Ended.
    Terminated {
        /// 0 is success; 137 killed, 143 ended when asked to.
        exit_code: i32,
        /// `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown` …
        reason: &'a str,
        /// For a person.
        message: &'a str,
        /// When it was started; `None` for one that never was.
        started: Option<Timestamp>,
        /// When it ended.
        finished: Timestamp,
    },
}

/// `v1.ContainerStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus<'a> {
    /// The container's name.
    pub name: &'a str,
    /// Its image.
    pub image: &'a str,
    /// The image's identity, or empty as long as it is unknown.
    pub image_id: &'a str,
    /// `scheme://…`, or empty for one that was never made.
    pub container_id: &'a str,
    /// Where it is.
    pub state: ContainerState<'a>,
    /// Where it was before its last restart.
    pub last_state: Option<ContainerState<'a>>,
    /// Whether it may be sent work.
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
}

/// The status of a pod as its kubelet reports it. What belongs to others (`PodScheduled`, gates) is left alone by the
/// strategic merge, and so are the containers' statuses where none are given.
#[derive(Clone, Debug)]
pub struct StatusPatch<'a> {
    /// The pod's uid: a pod of the same name that came later must not inherit this status.
    pub uid: &'a str,
    /// The `metadata.generation` that this status is about; 0 where the API server does not count it.
    pub generation: u64,
    /// The phase.
    pub phase: Phase,
    /// Why it is in this phase; empty where there is nothing to say.
    pub reason: &'a str,
    /// The same for a person.
    pub message: &'a str,
    /// When the kubelet first saw it.
    pub start_time: Timestamp,
    /// Now: since when a condition holds that did not before.
    pub now: Timestamp,
    /// What was reported before: a condition that did not change keeps its time.
    pub before: Conditions,
    /// The node's address; empty as long as there is none.
    pub host_ip: &'a str,
    /// The pod's own address, or empty where it has none.
    pub pod_ip: &'a str,
    /// Its init containers, in the order of the spec.
    pub init_containers: &'a [ContainerStatus<'a>],
    /// Its containers, in the order of the spec.
    pub containers: &'a [ContainerStatus<'a>],
}

/// Why a condition does not hold, and which containers are to blame.
struct Verdict<'a> {
    holds: bool,
    reason: &'a str,
    /// What is wrong with the containers that are not `ready`; nothing is said where it is empty.
    fault: &'a str,
    containers: &'a [ContainerStatus<'a>],
}

/// The names of those containers that are not ready, as Go prints a list.
impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "containers with {} status: [", self.fault)?;
        let mut separator = "";
        for container in self.containers.iter().filter(|container| !container.ready) {
            write!(f, "{separator}{}", container.name)?;
            separator = " ";
        }
        f.write_str("]")
    }
}

impl StatusPatch<'_> {
    /// Writes the strategic merge patch of the pod's `status`.
    pub fn write(&self, out: &mut String) {
        let mut w = Writer::new(out);
        w.object();
        w.object_at("metadata");
        w.string_at("uid", self.uid);
        w.end();
        w.object_at("status");
        self.write_fields(&mut w, true);
        w.end();
        w.end();
    }

    /// The conditions that this status tells.
    pub fn conditions(&self) -> Conditions {
        core::array::from_fn(|index| {
            let holds = self.verdict(index)?.holds;
            let since = self.before[index].filter(|(before, _)| *before == holds);
            Some((holds, since.map_or(self.now, |(_, since)| since.min(self.now))))
        })
    }

    /// What is true of the condition of that place in [`CONDITIONS`]; `None` where there is nothing to say, since a pod
    /// without containers was never begun. Source: `pkg/kubelet/status/generate.go`.
    fn verdict(&self, index: usize) -> Option<Verdict<'_>> {
        let yes = Verdict {
            holds: true,
            reason: "",
            fault: "",
            containers: &[],
        };
        let no = |reason| Verdict {
            holds: false,
            reason,
            ..yes
        };
        let begun = !self.init_containers.is_empty() || !self.containers.is_empty();
        let has_run = |c: &ContainerStatus<'_>| {
            c.last_state.is_some() || !matches!(c.state, ContainerState::Waiting { .. })
        };
        let runs = |c: &ContainerStatus<'_>| matches!(c.state, ContainerState::Running { .. });
        let verdict = match index {
            0 if !begun => return None,
            0 if !self.phase.is_terminal()
                && self.init_containers.iter().chain(self.containers).any(runs) =>
            {
                yes
            }
            0 => no(""),
            1 if !begun => return None,
            1 if self.phase == Phase::Succeeded => Verdict {
                reason: "PodCompleted",
                ..yes
            },
            1 if self.containers.iter().any(has_run) || self.init_containers.iter().all(|c| c.ready) => yes,
            1 => Verdict {
                fault: "incomplete",
                containers: self.init_containers,
                ..no("ContainersNotInitialized")
            },
            _ if self.phase == Phase::Failed => no("PodFailed"),
            _ if self.phase == Phase::Succeeded => no("PodCompleted"),
            _ if begun && self.containers.iter().all(|c| c.ready) => yes,
            _ => Verdict {
                fault: "unready",
                containers: self.containers,
                ..no("ContainersNotReady")
            },
        };
        Some(verdict)
    }

    fn write_generation(&self, w: &mut Writer<'_>) {
        // An API server that does not count generations would refuse the field.
        if self.generation > 0 {
            w.number_at(
                "observedGeneration",
                i64::try_from(self.generation).unwrap_or(i64::MAX),
            );
        }
    }

    /// As a `patch` it also takes away what was said of a condition while it did not hold.
    fn write_fields(&self, w: &mut Writer<'_>, patch: bool) {
        self.write_generation(w);
        w.string_at("phase", self.phase.as_str());
        if !self.reason.is_empty() {
            w.string_at("reason", self.reason);
        }
        if !self.message.is_empty() {
            w.string_at("message", self.message);
        }
        w.text_at("startTime", self.start_time.time());
        for (one, all, address) in [
            ("hostIP", "hostIPs", self.host_ip),
            ("podIP", "podIPs", self.pod_ip),
        ] {
            if !address.is_empty() {
                w.string_at(one, address);
                w.array_at(all);
                w.object();
                w.string_at("ip", address);
                w.end();
                w.end();
            }
        }
        w.array_at("conditions");
        for (index, condition) in self.conditions().iter().enumerate() {
            let (Some(verdict), Some((holds, since))) = (self.verdict(index), condition) else {
                continue;
            };
            w.object();
            w.string_at("type", CONDITIONS[index]);
            self.write_generation(w);
            w.string_at("status", if *holds { "True" } else { "False" });
            if !verdict.reason.is_empty() {
                w.string_at("reason", verdict.reason);
            } else if patch {
                w.null_at("reason");
            }
            if !verdict.fault.is_empty() {
                w.text_at("message", &verdict);
            } else if patch {
                w.null_at("message");
            }
            w.text_at("lastTransitionTime", since.time());
            w.end();
        }
        w.end();
        for (key, containers) in [
            ("initContainerStatuses", self.init_containers),
            ("containerStatuses", self.containers),
        ] {
            if !containers.is_empty() {
                w.array_at(key);
                for container in containers {
                    container.write(w);
                }
                w.end();
            }
        }
    }
}

impl ContainerStatus<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        w.object();
        w.string_at("name", self.name);
        w.string_at("image", self.image);
        w.string_at("imageID", self.image_id);
        if !self.container_id.is_empty() {
            w.string_at("containerID", self.container_id);
        }
        w.bool_at("ready", self.ready);
        w.bool_at("started", matches!(self.state, ContainerState::Running { .. }));
        w.number_at("restartCount", self.restart_count);
        w.object_at("state");
        self.state.write(w);
        w.end();
        if let Some(last) = &self.last_state {
            w.object_at("lastState");
            last.write(w);
            w.end();
        }
        w.end();
    }
}

impl ContainerState<'_> {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Waiting { reason, message } => {
                w.object_at("waiting");
                w.string_at("reason", reason);
                if !message.is_empty() {
                    w.string_at("message", message);
                }
            }
            Self::Running { started } => {
                w.object_at("running");
                w.text_at("startedAt", started.time());
            }
            Self::Terminated {
                exit_code,
                reason,
                message,
                started,
                finished,
            } => {
                w.object_at("terminated");
                w.number_at("exitCode", *exit_code);
                w.string_at("reason", reason);
                if !message.is_empty() {
                    w.string_at("message", message);
                }
                if let Some(started) = started {
                    w.text_at("startedAt", started.time());
                }
                w.text_at("finishedAt", finished.time());
            }
        }
        w.end();
    }
}

/// Writes a pod as an element of `/pods`: what is kept of it, and its status.
pub fn write_pod(w: &mut Writer<'_>, pod: &Pod, status: Option<&StatusPatch<'_>>) {
    w.object();
    w.object_at("metadata");
    w.string_at("name", &pod.metadata.name);
    w.string_at("namespace", &pod.metadata.namespace);
    w.string_at("uid", &pod.metadata.uid);
    w.string_at("resourceVersion", &pod.metadata.resource_version);
    if let Some(deletion) = pod.metadata.deletion_timestamp {
        w.text_at("deletionTimestamp", deletion.time());
    }
    w.end();
    w.object_at("spec");
    w.string_at("nodeName", &pod.node_name);
    w.string_at(
        "restartPolicy",
        match pod.restart_policy {
            super::RestartPolicy::Always => "Always",
            super::RestartPolicy::OnFailure => "OnFailure",
            super::RestartPolicy::Never => "Never",
        },
    );
    for (key, containers) in [
        ("initContainers", &pod.init_containers),
        ("containers", &pod.containers),
    ] {
        if containers.is_empty() && key == "initContainers" {
            continue;
        }
        w.array_at(key);
        for container in containers {
            w.object();
            w.string_at("name", &container.name);
            w.string_at("image", &container.image);
            w.object_at("resources");
            if !container.requests.0.is_empty() {
                w.object_at("requests");
                for (resource, amount) in &container.requests.0 {
                    write_quantity(w, resource, *amount);
                }
                w.end();
            }
            w.end();
            w.end();
        }
        w.end();
    }
    w.end();
    w.object_at("status");
    match status {
        Some(status) => status.write_fields(w, false),
        None => w.string_at("phase", pod.phase.as_str()),
    }
    w.end();
    w.end();
}

/// Writes a mirror pod, by which a kubelet shows the API server what it runs by itself: as the admission plugin NodeRestriction
/// lets a node create it (`plugin/pkg/admission/noderestriction/admission.go`, `admitPodCreate`), owned by its Node,
/// without a service account or a volume.
pub fn write_mirror(out: &mut String, pod: &Pod, node_uid: &str) {
    let mut w = Writer::new(out);
    w.object();
    w.string_at("apiVersion", "v1");
    w.string_at("kind", "Pod");
    w.object_at("metadata");
    w.string_at("name", &pod.metadata.name);
    w.string_at("namespace", &pod.metadata.namespace);
    w.object_at("annotations");
    w.string_at(
        "kubernetes.io/config.mirror",
        pod.mirror.as_deref().unwrap_or_default(),
    );
    w.end();
    w.array_at("ownerReferences");
    w.object();
    w.string_at("apiVersion", "v1");
    w.string_at("kind", "Node");
    w.string_at("name", &pod.node_name);
    w.string_at("uid", node_uid);
    w.bool_at("controller", true);
    w.end();
    w.end();
    w.end();
    w.object_at("spec");
    w.string_at("nodeName", &pod.node_name);
    w.bool_at("hostNetwork", true);
    // Or it would be evicted when the node is not heard of.
    w.array_at("tolerations");
    w.object();
    w.string_at("operator", "Exists");
    w.string_at("effect", "NoExecute");
    w.end();
    w.end();
    w.array_at("containers");
    for container in &pod.containers {
        w.object();
        w.string_at("name", &container.name);
        w.string_at("image", &container.image);
        w.string_at("imagePullPolicy", "Never");
        w.end();
    }
    w.end();
    w.end();
    w.end();
}

pub(crate) fn write_quantity(w: &mut Writer<'_>, resource: &str, amount: Quantity) {
    w.text_at(resource, amount);
}

/// Writes the `DeleteOptions` by which a kubelet takes a pod out at last: at once, and only this very pod.
pub fn write_delete_options(out: &mut String, uid: &str) {
    let mut w = Writer::new(out);
    w.object();
    w.string_at("apiVersion", "v1");
    w.string_at("kind", "DeleteOptions");
    w.number_at("gracePeriodSeconds", 0);
    w.object_at("preconditions");
    w.string_at("uid", uid);
    w.end();
    w.end();
}
