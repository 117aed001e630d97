//! The pod that stands for the node's own firmware: `picolet-NODE` in `kube-system`, for `kubectl logs` and `describe`.
//!
//! It is what Kubernetes calls a static pod: nobody admits it, nobody can end it, and what the API server has of it is a
//! mirror, made again when it is gone (`pkg/kubelet/pod/mirror_client.go`). Its restarts are the node's, and how its
//! container ended last is why the node was reset. What was counted is read from the mirror of the run before, so that nothing
//! is written to flash for it.

use super::report::{Owed, Report, is_overridden};
use super::run::{Ended, Moment};
use super::worker::Worker;
use crate::client::ApiError;
use crate::fingerprint;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::fmt;
use picolet_kube::Timestamp;
use picolet_kube::metadata::Metadata;
use picolet_kube::pod::{self, Conditions, Container, KnownState, KnownStatus, Phase, Pod, PullPolicy};
use picolet_platform::{Duration, ResetReason};

/// Where static pods of the system live.
const NAMESPACE: &str = "kube-system";
/// The one container.
const CONTAINER: &str = "picolet";
/// After an attempt to make the mirror, and at most.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// What the API server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mirror {
    /// That is not known before the first list.
    Unknown,
    /// None.
    Absent,
    /// The right one.
    Present,
    /// One that is to go: somebody has deleted it, or it is of other firmware.
    Stale,
}

/// How the run before ended, as far as the machine knows.
pub(super) struct Reset<'a> {
    pub(super) reason: ResetReason,
    pub(super) crash: Option<&'a dyn fmt::Display>,
}

impl Reset<'_> {
    /// As the container of that run has it.
    fn ended(&self, started: Option<Timestamp>, finished: Timestamp) -> Ended {
        // 128 and the number of the signal that would have done the same to a process.
        let (reason, exit_code) = match self.reason {
            ResetReason::PowerOn => ("PowerOn", 137),
            ResetReason::Software => ("Software", 0),
            ResetReason::Watchdog => ("Watchdog", 137),
            ResetReason::Panic => ("Panic", 134),
            ResetReason::Radio => ("Radio", 137),
        };
        Ended {
            exit_code,
            reason: reason.into(),
            message: self.crash.map(ToString::to_string).unwrap_or_default().into(),
            started,
            finished,
        }
    }
}

/// The node's own pod.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) pod: Pod,
    pub(super) worker: Worker,
    report: Report,
    mirror: Mirror,
    /// Whether the list that is being read names it.
    listed: bool,
    /// How the run before ended, until it is known how often there was one.
    reset: Option<Ended>,
    /// When this run began.
    boot: Timestamp,
    delay: Duration,
    not_before: Duration,
}

impl Own {
    /// The pod of a node that came to run so. `image` names its firmware.
    pub(super) fn new(node: &str, image: String, reset: &Reset<'_>, now: Moment) -> Self {
        let boot = Timestamp::from_micros(now.time.micros().saturating_sub(now.up.as_micros()));
        let hash = alloc::format!("{:016x}", fingerprint::of(image.bytes()));
        let mut pod = Pod {
            metadata: Metadata {
                name: format!("picolet-{node}").into(),
                namespace: NAMESPACE.into(),
                ..Metadata::default()
            },
            mirror: Some(hash.into()),
            node_name: node.into(),
            containers: vec![Container {
                name: CONTAINER.into(),
                image: image.into(),
                pull_policy: PullPolicy::Never,
                ..Container::default()
            }],
            phase: Phase::Running,
            start_time: Some(boot),
            statuses: vec![KnownStatus {
                name: CONTAINER.into(),
                state: KnownState::Running(boot),
                ..KnownStatus::default()
            }],
            ..Pod::default()
        };
        let mut worker = Worker::new(&pod, now);
        pod.statuses = vec![];
        worker.accept();
        let ended = reset.ended(None, boot);
        // Power that comes on says nothing about a run before.
        if let Some(run) = worker.runs.first_mut()
            && reset.reason != ResetReason::PowerOn
        {
            (run.restarts, run.last) = (1, Some(ended.clone()));
        }
        Self {
            pod,
            worker,
            report: Report::default(),
            mirror: Mirror::Unknown,
            listed: false,
            reset: Some(ended),
            boot,
            delay: Duration::ZERO,
            not_before: Duration::ZERO,
        }
    }

    /// Whether these are its namespace and name.
    pub(super) fn is(&self, metadata: &Metadata) -> bool {
        self.pod.metadata.namespace == metadata.namespace && self.pod.metadata.name == metadata.name
    }

    /// Takes the mirror as the API server has it.
    pub(super) fn applied(&mut self, mirror: Pod) {
        self.listed = true;
        if let Some(reset) = self.reset.take() {
            self.go_on_from(&mirror, reset);
        }
        if mirror.metadata.uid != self.pod.metadata.uid {
            self.forget();
            self.worker.reported = mirror.conditions;
        }
        // Only by the hash, as upstream does (`IsMirrorPodOf` in `pkg/kubelet/pod/mirror_client.go`): admission may change the rest.
        let right = mirror.metadata.deletion_timestamp.is_none()
            && !mirror.phase.is_terminal()
            && mirror.mirror == self.pod.mirror;
        self.mirror = if right { Mirror::Present } else { Mirror::Stale };
        let is_told = mirror.phase == Phase::Running && !is_overridden(&mirror, &self.worker);
        if self.report.is_taken(&self.worker) && !is_told {
            self.worker.changed();
        }
        self.pod.metadata = mirror.metadata;
        self.pod.generation = mirror.generation;
    }

    /// Goes on counting where the run before was.
    fn go_on_from(&mut self, mirror: &Pod, reset: Ended) {
        let known = mirror.statuses.iter().find(|status| *status.name == *CONTAINER);
        let (Some(known), Some(run)) = (known, self.worker.runs.first_mut()) else {
            return;
        };
        let KnownState::Running(since) = known.state else {
            return; // nobody has told anything yet
        };
        if since.seconds() == self.boot.seconds() {
            run.restarts = known.restart_count;
            return;
        }
        run.restarts = known.restart_count.saturating_add(1);
        run.last = Some(Ended {
            started: Some(since),
            finished: reset.finished.max(since),
            ..reset
        });
        self.worker.changed();
    }

    /// The API server no longer has the mirror of that uid.
    pub(super) fn deleted(&mut self, uid: &str) {
        if *self.pod.metadata.uid == *uid {
            self.forget();
            self.mirror = Mirror::Absent;
        }
    }

    pub(super) fn list_begins(&mut self) {
        self.listed = false;
    }

    pub(super) fn list_ends(&mut self) {
        if !self.listed {
            self.forget();
            self.mirror = Mirror::Absent;
            // Nothing of a run before is known there.
            self.reset = None;
        }
    }

    fn forget(&mut self) {
        self.pod.metadata.uid = Box::default();
        self.report = Report::default();
        self.worker.reported = Conditions::default();
    }

    /// What is to be told of it, and from when on.
    pub(super) fn owed(&self) -> Option<(Owed, Duration)> {
        match self.mirror {
            Mirror::Unknown => None,
            Mirror::Absent => Some((Owed::Creation, self.not_before)),
            // Until the watch tells that it is gone.
            _ if self.report.gone => None,
            Mirror::Stale => Some((Owed::Deletion, self.report.not_before())),
            Mirror::Present => {
                let owed = self.report.owed(&self.pod, &self.worker)?;
                Some((owed, self.report.not_before()))
            }
        }
    }

    /// Writes what makes the mirror.
    pub(super) fn write_mirror(&self, out: &mut String, node_uid: &str) {
        pod::write_mirror(out, &self.pod, node_uid);
    }

    /// Whether that is the uid under which something was told of it; one that is not there has none.
    pub(super) fn is_told(&self, uid: &str) -> bool {
        *self.pod.metadata.uid == *uid
    }

    /// Takes the API server's answer. Returns whether a person should hear of it.
    pub(super) fn answered(
        &mut self,
        owed: Owed,
        conditions: Conditions,
        result: Result<(), &ApiError>,
        now: Moment,
    ) -> bool {
        if owed == Owed::Creation {
            let long_ago = now.up.saturating_sub(self.not_before) > LONGEST_DELAY;
            let delay = if long_ago { Duration::ZERO } else { self.delay * 2 };
            self.delay = delay.clamp(FIRST_DELAY, LONGEST_DELAY);
            // Whether it is there the watch tells; two at once are one too many.
            self.not_before = now.up + self.delay;
            // The first refusals may be of an API server that does not know the Node yet.
            return result.is_err_and(|error| error.code() != 409) && self.delay == FIRST_DELAY * 4;
        }
        self.report
            .answered(owed, conditions, result, &mut self.worker, now);
        false
    }
}
