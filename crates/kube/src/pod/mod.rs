//! `Pod`: what a kubelet needs in order to admit, run and end it.
//!
//! A Pod is bounded on arrival: what is more than the device could ever serve is not kept, and what it cannot do is
//! noted by name in [`Pod::unsupported`], so that admission can refuse it in words.

mod decode;
mod encode;

use crate::metadata::Metadata;
use crate::selector::{Term, Toleration};
use crate::{Quantity, Timestamp};
use alloc::boxed::Box;
use alloc::vec::Vec;
pub use decode::PodReader;
pub use encode::{
    ContainerState, ContainerStatus, StatusPatch, write_delete_options, write_mirror, write_pod,
};

/// The conditions of a pod that are its kubelet's, in the order in which they are written.
pub const CONDITIONS: [&str; 4] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
];

/// For each of [`CONDITIONS`] whether it holds and since when; `None` for one that was never reported.
pub type Conditions = [Option<(bool, Timestamp)>; 4];

/// More containers than a device of this size can run in one pod.
pub const CONTAINERS: usize = 8;

/// `v1.Pod`, the part that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its metadata.
    pub metadata: Metadata,
    /// `metadata.generation`: how often the spec was changed; 0 where the API server does not count it.
    pub generation: u64,
    /// The label `kubernetes.io/os`, or empty.
    pub os_label: Box<str>,
    /// What its maker tells one content of it from another by, if the node itself made it (annotation
    /// `kubernetes.io/config.mirror`).
    pub mirror: Option<Box<str>>,
    /// `spec.nodeName`.
    pub node_name: Box<str>,
    /// `spec.os.name`, or empty.
    pub os: Box<str>,
    /// What is done when a container ends.
    pub restart_policy: RestartPolicy,
    /// Seconds that it is given to end.
    pub termination_grace_seconds: Option<u32>,
    /// Seconds that it may run in all.
    pub active_deadline_seconds: Option<u32>,
    /// `spec.nodeSelector`.
    pub node_selector: Vec<(Box<str>, Box<str>)>,
    /// The terms of `requiredDuringSchedulingIgnoredDuringExecution`; one of them must match. `None` where the pod has
    /// no such affinity.
    pub node_affinity: Option<Vec<Term>>,
    /// Whether `spec.securityContext.supplementalGroupsPolicy` is `Strict`.
    pub strict_supplemental_groups: bool,
    /// `spec.tolerations`.
    pub tolerations: Vec<Toleration>,
    /// `spec.initContainers`.
    pub init_containers: Vec<Container>,
    /// `spec.containers`.
    pub containers: Vec<Container>,
    /// `spec.resources.requests`, which count instead of the containers' where they are given.
    pub requests: Requests,
    /// `spec.overhead`.
    pub overhead: Requests,
    /// The first part of the spec that asks for something that no picolet does, as a path with what it is.
    pub unsupported: Option<&'static str>,
    /// `status.phase`.
    pub phase: Phase,
    /// `status.startTime`.
    pub start_time: Option<Timestamp>,
    /// Those of `status.conditions` that are the kubelet's.
    pub conditions: Conditions,
    /// `status.initContainerStatuses` and `status.containerStatuses`: what a node that was restarted knows of them.
    pub statuses: Vec<KnownStatus>,
}

/// What the API server knows of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownStatus {
    /// The container's name.
    pub name: Box<str>,
    /// How often it was started again.
    pub restart_count: u32,
    /// Where it was when that was written.
    pub state: KnownState,
    /// How it ended last, if it ever did.
    pub ended: Option<KnownEnd>,
}

/// The state of a container, as far as the API server knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KnownState {
    /// Not yet running, or waiting to run again.
    #[default]
    Waiting,
    /// Running, since then.
    Running(Timestamp),
    /// Ended.
    Terminated,
}

/// How a container ended, as far as the API server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownEnd {
    /// 0 is success.
    pub exit_code: i32,
    /// One word.
    pub reason: Box<str>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

/// `spec.containers[].imagePullPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask for it even where there is one.
    Always,
    /// Fetch it unless there is one.
    #[default]
    IfNotPresent,
    /// Never fetch it.
    Never,
}

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever happened.
    #[default]
    Always,
    /// After a failure.
    OnFailure,
    /// Not at all.
    Never,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Accepted by the cluster, not yet running.
    #[default]
    Pending,
    /// At least one container runs, or waits to be started again.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, at least one badly; or the node refused it.
    Failed,
}

impl Phase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Whether a pod never leaves it.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A container, init container included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: Box<str>,
    /// Its image; empty where it was longer than any that exists.
    pub image: Box<str>,
    /// When its image is fetched.
    pub pull_policy: PullPolicy,
    /// What it asks for.
    pub requests: Requests,
}

/// Amounts asked for, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests(pub Vec<(Box<str>, Quantity)>);

impl Requests {
    /// How much of `resource`, if it is mentioned.
    pub fn get(&self, resource: &str) -> Option<Quantity> {
        self.0
            .iter()
            .find(|(name, _)| &**name == resource)
            .map(|(_, amount)| *amount)
    }

    /// Appends the names that are not there yet.
    fn name_to<'a>(&'a self, names: &mut Vec<&'a str>) {
        for (name, _) in &self.0 {
            if !names.contains(&&**name) {
                names.push(name);
            }
        }
    }
}

impl Pod {
    /// How much of `resource` the pod occupies: the containers together or the largest init container, whichever is
    /// more, and the overhead (`k8s.io/component-helpers/resource`, `PodRequests`).
    pub fn request(&self, resource: &str) -> Quantity {
        let of = |container: &Container| container.requests.get(resource).unwrap_or_default();
        let together = self
            .containers
            .iter()
            .map(of)
            .fold(Quantity::ZERO, Quantity::plus);
        let initially = self.init_containers.iter().map(of).max().unwrap_or_default();
        let containers = self.requests.get(resource).unwrap_or(together.max(initially));
        containers.plus(self.overhead.get(resource).unwrap_or_default())
    }

    /// The names of all resources that it asks for, each once.
    pub fn resources(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for containers in [&self.init_containers, &self.containers] {
            for container in containers {
                container.requests.name_to(&mut names);
            }
        }
        self.requests.name_to(&mut names);
        self.overhead.name_to(&mut names);
        names
    }
}
