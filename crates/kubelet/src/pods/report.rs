//! What the API server is told of a pod, and whether it has heard it.
//!
//! A status is sent when it changed and again until it was taken; a pod that is to be deleted is taken out once its last
//! status was taken. Whoever answers that the pod is not there, or is another one by now, is believed: it is gone.

use super::run::{Ended, Moment, Run, StartFailure, State, Wait};
use super::worker::{Worker, container};
use crate::client::ApiError;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use picolet_kube::Timestamp;
use picolet_kube::pod::{Conditions, ContainerState, ContainerStatus, Pod, StatusPatch};
use picolet_platform::Duration;
use picolet_runtime::ContainerId;

/// After the first refusal, and at most.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// After so many refusals of a status a pod that is to be deleted is taken out without it: better gone than stuck.
const PATIENCE: u32 = 3;

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// That the node's own pod is there.
    Creation,
    /// The status, of this version.
    Status(u32),
    /// That the pod has ended and may go.
    Deletion,
}

/// How far the API server has heard of a pod.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The version of the status that it has.
    taken: u32,
    refusals: u32,
    delay: Duration,
    not_before: Duration,
    /// It is no longer there.
    pub(super) gone: bool,
}

impl Report {
    /// What is to be told of a pod now.
    pub(super) fn owed(&self, pod: &Pod, worker: &Worker) -> Option<Owed> {
        let status = (self.taken != worker.version).then_some(Owed::Status(worker.version));
        let may_go = worker.is_done() && pod.metadata.deletion_timestamp.is_some();
        match status {
            _ if self.gone => None,
            None => may_go.then_some(Owed::Deletion),
            Some(_) if may_go && self.refusals >= PATIENCE => Some(Owed::Deletion),
            status => status,
        }
    }

    /// Before when nothing is told, since the last time was a failure.
    pub(super) fn not_before(&self) -> Duration {
        self.not_before
    }

    /// Whether the API server has refused several times in a row to hear of the pod.
    pub(super) fn is_refused(&self) -> bool {
        self.refusals >= PATIENCE
    }

    /// Whether the API server has the status as it is.
    pub(super) fn is_taken(&self, worker: &Worker) -> bool {
        self.taken == worker.version
    }

    /// Takes the answer.
    pub(super) fn answered(
        &mut self,
        owed: Owed,
        conditions: Conditions,
        result: Result<(), &ApiError>,
        worker: &mut Worker,
        now: Moment,
    ) {
        match (result, owed) {
            (Ok(()), Owed::Status(version)) => {
                self.taken = version;
                worker.reported = conditions;
                (self.refusals, self.delay) = (0, Duration::ZERO);
            }
            (Ok(()), Owed::Deletion) => self.gone = true,
            (Ok(()), Owed::Creation) => {}
            (Err(error), _) if is_gone(error, owed) => self.gone = true,
            // It would be refused for ever, and what waits behind it would never be heard.
            (Err(error), Owed::Status(version)) if error.is_permanent() => self.taken = version,
            (Err(error), _) => {
                self.refusals += u32::from(matches!(error.code(), 400..=428 | 430..=499));
                self.delay = (self.delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
                if error.code() == 0 {
                    // Nobody heard it: it is asked again soon after the server is back.
                    self.delay = self.delay.min(FIRST_DELAY * 8);
                }
                self.not_before = now.up + self.delay;
            }
        }
    }
}

/// Whether the answer means that this very pod is no longer there. A conflict may also be of two that write at once: only
/// one about the precondition (the uid) says so of a status.
fn is_gone(error: &ApiError, owed: Owed) -> bool {
    const PRECONDITION: &[u8] = b"precondition";
    let of_uid = |error: &ApiError| match error {
        ApiError::Status(status) => {
            let mut places = status.message.as_bytes().windows(PRECONDITION.len());
            places.any(|place| place.eq_ignore_ascii_case(PRECONDITION))
        }
        _ => false,
    };
    match (error.code(), owed) {
        (404, _) | (409, Owed::Deletion) => true,
        (409, Owed::Status(_)) => of_uid(error),
        _ => false,
    }
}

/// A delay as Go writes it: `40s`, `1m20s`, `5m0s`.
struct GoDuration(Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds >= 60 {
            write!(f, "{}m", seconds / 60)?;
        }
        write!(f, "{}s", seconds % 60)
    }
}

/// What a container's status borrows, since it is put together here.
struct Texts {
    id: String,
    message: String,
}

#[inline(never)]
fn texts(pod: &Pod, worker: &Worker, index: usize, run: &Run, scheme: &str) -> Texts {
    let id: ContainerId<'_> = worker.id(pod, index);
    let began = run.last.is_some() || matches!(run.state, State::Running(_));
    let image = container(pod, index).map_or("", |container| &container.image);
    let message = match run.state {
        State::Waiting(Wait::Restart(delay)) => {
            let (delay, name, metadata) = (GoDuration(delay), id.container, &pod.metadata);
            format!(
                "back-off {delay} restarting failed container={name} pod={}_{}({})",
                metadata.name, metadata.namespace, metadata.uid
            )
        }
        State::Waiting(Wait::Pull(error)) => error.to_string(),
        State::Waiting(Wait::PullDelay(error)) => {
            format!("Back-off pulling image \"{image}\": {}: {error}", error.reason())
        }
        State::Waiting(Wait::Start(error)) => StartFailure { pod, error }.to_string(),
        _ => String::new(),
    };
    let id = if began {
        format!("{scheme}://{id}")
    } else {
        String::new()
    };
    Texts { id, message }
}

// No time that is reported is ahead of `now`: the clock may have been stepped back.
fn terminated(ended: &Ended, now: Timestamp) -> ContainerState<'_> {
    ContainerState::Terminated {
        exit_code: ended.exit_code,
        reason: &ended.reason,
        message: &ended.message,
        started: ended.started.map(|started| started.min(now)),
        finished: ended.finished.min(now),
    }
}

fn container_status<'a>(
    pod: &'a Pod,
    worker: &'a Worker,
    index: usize,
    run: &'a Run,
    texts: &'a Texts,
    now: Timestamp,
) -> Option<ContainerStatus<'a>> {
    let container = container(pod, index)?;
    let terminated = |ended: &'a Ended| terminated(ended, now);
    let init = index < worker.inits;
    let last = run.last.as_ref();
    let (state, last_state) = match (run.state, last) {
        (State::Running(started), last) => {
            let started = started.min(now);
            (ContainerState::Running { started }, last.map(terminated))
        }
        (State::Ended, Some(last)) => (terminated(last), None),
        (State::Waiting(wait), last) => {
            let reason = match wait {
                Wait::Turn if worker.inits > 0 => "PodInitializing",
                Wait::Turn => "ContainerCreating",
                Wait::Restart(_) => "CrashLoopBackOff",
                Wait::Pull(error) => error.reason(),
                Wait::PullDelay(_) => "ImagePullBackOff",
                Wait::Start(error) => error.reason(),
            };
            (
                ContainerState::Waiting {
                    reason,
                    message: &texts.message,
                },
                last.map(terminated),
            )
        }
        (State::Ended, None) => (
            ContainerState::Waiting {
                reason: "",
                message: "",
            },
            None,
        ),
    };
    let succeeded = run.state == State::Ended && last.is_some_and(|last| last.exit_code == 0);
    Some(ContainerStatus {
        name: &container.name,
        image: &container.image,
        image_id: &run.image_id,
        container_id: &texts.id,
        ready: if init {
            succeeded
        } else {
            matches!(run.state, State::Running(_))
        },
        state,
        last_state,
        restart_count: run.restarts,
    })
}

/// Puts the status of a pod together and hands it to `use_it`. `scheme` is the runtime's name.
pub(super) fn with_status(
    pod: &Pod,
    worker: &Worker,
    now: Moment,
    host_ip: &str,
    scheme: &str,
    use_it: &mut dyn FnMut(&StatusPatch<'_>),
) {
    let mut all = Vec::with_capacity(worker.runs.len());
    for (index, run) in worker.runs.iter().enumerate() {
        all.push(texts(pod, worker, index, run, scheme));
    }
    let mut statuses = Vec::with_capacity(all.len());
    for (index, (run, texts)) in worker.runs.iter().zip(&all).enumerate() {
        statuses.extend(container_status(pod, worker, index, run, texts, now.time));
    }
    let (init_containers, containers) = statuses.split_at(worker.inits.min(statuses.len()));
    use_it(&StatusPatch {
        uid: &pod.metadata.uid,
        generation: pod.generation,
        phase: worker.phase(pod),
        reason: &worker.reason,
        message: &worker.message,
        start_time: worker.start_time.min(now.time),
        now: now.time,
        before: worker.reported,
        host_ip,
        // One that the node made itself is on the host's network.
        pod_ip: if pod.mirror.is_some() { host_ip } else { "" },
        init_containers,
        containers,
    });
}

/// The message of a refused pod, as upstream's `rejectPod` writes it.
pub(super) fn rejected(message: &str) -> Box<str> {
    format!("Pod was rejected: {message}").into()
}

/// Whether the API server shows other conditions than were reported: somebody else has changed them, as the node
/// lifecycle controller does when a node is not heard of.
pub(super) fn is_overridden(pod: &Pod, worker: &Worker) -> bool {
    let both = pod.conditions.iter().zip(&worker.reported);
    both.into_iter()
        .any(|(theirs, ours)| ours.is_some_and(|(ours, _)| theirs.map(|(holds, _)| holds) != Some(ours)))
}
