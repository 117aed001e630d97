//! What a kubelet writes about a Pod.

use super::{Phase, Pod};
use crate::json::Writer;
use crate::{Quantity, Timestamp};
use alloc::string::String;

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
/// strategic merge.
#[derive(Clone, Debug)]
pub struct StatusPatch<'a> {
    /// The pod's uid: a pod of the same name that came later must not inherit this status.
    pub uid: &'a str,
    /// The phase.
    pub phase: Phase,
    /// Why it is in this phase; empty where there is nothing to say.
    pub reason: &'a str,
    /// The same for a person.
    pub message: &'a str,
    /// When the kubelet first saw it.
    pub start_time: Timestamp,
    /// Now: when a condition changed that is written here.
    pub now: Timestamp,
    /// The node's address; empty as long as there is none.
    pub host_ip: &'a str,
    /// Its containers, in the order of the spec.
    pub containers: &'a [ContainerStatus<'a>],
    /// Whether all its init containers have ended.
    pub initialized: bool,
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
        self.write_fields(&mut w);
        w.end();
        w.end();
    }

    fn write_fields(&self, w: &mut Writer<'_>) {
        w.string_at("phase", self.phase.as_str());
        if !self.reason.is_empty() {
            w.string_at("reason", self.reason);
        }
        if !self.message.is_empty() {
            w.string_at("message", self.message);
        }
        w.text_at("startTime", self.start_time.time());
        if !self.host_ip.is_empty() {
            w.string_at("hostIP", self.host_ip);
            w.array_at("hostIPs");
            w.object();
            w.string_at("ip", self.host_ip);
            w.end();
            w.end();
        }
        w.array_at("conditions");
        let ready = !self.phase.is_terminal()
            && self.phase == Phase::Running
            && !self.containers.is_empty()
            && self.containers.iter().all(|c| c.ready);
        let why = match self.phase {
            Phase::Succeeded => "PodCompleted",
            Phase::Failed => "PodFailed",
            _ if ready => "",
            _ => "ContainersNotReady",
        };
        let sandbox = self
            .containers
            .iter()
            .any(|c| matches!(c.state, ContainerState::Running { .. }));
        for (kind, holds, reason) in [
            ("PodReadyToStartContainers", sandbox, ""),
            (
                "Initialized",
                self.initialized,
                if self.initialized { "" } else { why },
            ),
            ("Ready", ready, why),
            ("ContainersReady", ready, why),
        ] {
            w.object();
            w.string_at("type", kind);
            w.string_at("status", if holds { "True" } else { "False" });
            if !reason.is_empty() {
                w.string_at("reason", reason);
            }
            w.text_at("lastTransitionTime", self.now.time());
            w.end();
        }
        w.end();
        if !self.containers.is_empty() {
            w.array_at("containerStatuses");
            for container in self.containers {
                container.write(w);
            }
            w.end();
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
        w.raw_at("restartCount", self.restart_count);
        w.object_at("state");
        self.state.write(w);
        w.end();
        w.object_at("lastState");
        if let Some(last) = &self.last_state {
            last.write(w);
        }
        w.end();
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
                w.raw_at("exitCode", exit_code);
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
        Some(status) => status.write_fields(w),
        None => w.string_at("phase", pod.phase.as_str()),
    }
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
    w.raw_at("gracePeriodSeconds", 0);
    w.object_at("preconditions");
    w.string_at("uid", uid);
    w.end();
    w.end();
}
