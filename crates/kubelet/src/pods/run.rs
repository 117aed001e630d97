//! One container of a pod: where it is, how it ended, and when it is tried again.
//!
//! Sources in kubernetes 1.36: `doBackOff` in `pkg/kubelet/kuberuntime/kuberuntime_manager.go` with
//! `k8s.io/client-go/util/flowcontrol/backoff.go`.

use alloc::boxed::Box;
use core::fmt;
use picolet_kube::Timestamp;
use picolet_kube::pod::{Container, KnownState, Pod, RestartPolicy};
use picolet_platform::Duration;
use picolet_runtime::{PullError, StartError};

/// The first delay after a failure, of a container or of its image.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// The longest (`MaxContainerBackOff`, `MaxImageBackOff`).
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A container that ran for longer than this since its last restart begins again with the first delay.
const FORGIVEN: Duration = Duration::from_secs(600);
/// What the API server is told of a container of which nothing is left.
const UNKNOWN: &str = "ContainerStatusUnknown";
const UNKNOWN_MESSAGE: &str = "The container could not be located when the pod was terminated";

/// A point in time, by both clocks: delays are measured by the first, people are told the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) up: Duration,
    pub(super) time: Timestamp,
}

/// How a container ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) exit_code: i32,
    pub(super) reason: Box<str>,
    pub(super) message: Box<str>,
    pub(super) started: Option<Timestamp>,
    pub(super) finished: Timestamp,
}

/// What a container waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its turn.
    Turn,
    /// The delay after it ended.
    Restart(Duration),
    /// Its image could not be fetched.
    Pull(PullError),
    /// The same, and it is not tried for a while.
    PullDelay(PullError),
    /// It could not be started.
    Start(StartError),
}

/// Where a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting(Wait),
    Running(Timestamp),
    /// It ended as [`Run::last`] says.
    Ended,
}

/// Why a container of a pod did not start, for a person.
pub(super) struct StartFailure<'a> {
    pub(super) pod: &'a Pod,
    pub(super) error: StartError,
}

impl fmt::Display for StartFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error {
            StartError::NoRuntime => write!(f, "node {} has no container runtime", self.pod.node_name),
            error => error.fmt(f),
        }
    }
}

/// What is being done for a container that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Its image is wanted.
    Pull,
    /// It is to be started.
    Start,
    /// It is being started, which cannot be called off.
    Starting,
}

/// One container.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) state: State,
    pub(super) last: Option<Ended>,
    pub(super) restarts: u32,
    pub(super) image_id: Box<str>,
    pub(super) step: Step,
    /// Whether any attempt was ever begun.
    pub(super) begun: bool,
    /// Until when nothing is tried.
    pub(super) hold: Duration,
    /// The delay after it ended last, and when it was started again then.
    pub(super) restart_delay: Option<(Duration, Duration)>,
    /// The delay after its image or its start failed last; none where they did not.
    pub(super) failure_delay: Duration,
    pub(super) ended_at: Duration,
    /// It was asked to end, and is ended by force at that time.
    pub(super) kill_at: Option<Duration>,
    /// Its image was changed: it is started again whatever the policy says.
    pub(super) replaced: bool,
}

impl Run {
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    pub(super) fn succeeded(&self) -> bool {
        self.state == State::Ended && self.last.as_ref().is_some_and(|last| last.exit_code == 0)
    }

    pub(super) fn next_attempt(&self) -> u32 {
        self.restarts.saturating_add(u32::from(self.begun))
    }

    /// What is known of a container when its pod is seen first.
    pub(super) fn known(pod: &Pod, container: &Container, now: Moment) -> Self {
        let known = pod.statuses.iter().find(|status| status.name == container.name);
        let last = known.and_then(|status| status.ended.as_ref()).map(|ended| Ended {
            exit_code: ended.exit_code,
            reason: ended.reason.clone(),
            message: Box::default(),
            started: ended.started,
            finished: ended.finished.unwrap_or(now.time),
        });
        let state = match known.map(|status| status.state) {
            // Whether it still runs is seen when it is looked at.
            Some(KnownState::Running(since)) => State::Running(since),
            Some(KnownState::Terminated) => State::Ended,
            Some(KnownState::Waiting) | None => State::Waiting(Wait::Turn),
        };
        let restarts = known.map_or(0, |status| status.restart_count);
        Self {
            begun: last.is_some() || restarts > 0 || matches!(state, State::Running(_)),
            state,
            last,
            restarts,
            image_id: Box::default(),
            step: Step::Nothing,
            hold: Duration::ZERO,
            restart_delay: None,
            failure_delay: Duration::ZERO,
            ended_at: now.up,
            kill_at: None,
            replaced: false,
        }
    }

    /// Notes that nothing is left of a container.
    pub(super) fn lost(&mut self, now: Moment) {
        let started = match self.state {
            State::Running(since) => Some(since),
            _ => None,
        };
        self.last = Some(Ended {
            exit_code: 137,
            reason: UNKNOWN.into(),
            message: UNKNOWN_MESSAGE.into(),
            started,
            finished: now.time,
        });
        self.state = State::Ended;
        self.ended_at = now.up;
        self.kill_at = None;
    }

    /// Whether a container that ended is started again.
    pub(super) fn restarts(&self, policy: RestartPolicy, init: bool) -> bool {
        let failed = self.last.as_ref().is_some_and(|last| last.exit_code != 0);
        match policy {
            RestartPolicy::Always => failed || !init,
            RestartPolicy::OnFailure => failed,
            RestartPolicy::Never => false,
        }
    }

    /// The delay that a container still has to wait which ended; the first restart is at once.
    pub(super) fn restart_delay_left(&self, now: Moment) -> Option<Duration> {
        let (delay, restarted) = self.restart_delay?;
        let forgiven = self.ended_at.saturating_sub(restarted) > FORGIVEN;
        (!forgiven && now.up < self.ended_at + delay).then_some(delay)
    }

    /// Notes that a container is started again: the next time it waits longer.
    pub(super) fn note_restart(&mut self, now: Moment) {
        let delay = match self.restart_delay {
            Some((delay, restarted)) if self.ended_at.saturating_sub(restarted) <= FORGIVEN => {
                (delay * 2).min(LONGEST_DELAY)
            }
            _ => FIRST_DELAY,
        };
        self.restart_delay = Some((delay, now.up));
    }

    /// Notes that a container could not be begun: it is tried again later, and later still.
    pub(super) fn failed(&mut self, wait: Wait, now: Moment) {
        self.failure_delay = (self.failure_delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        self.hold = now.up + self.failure_delay;
        self.state = State::Waiting(wait);
        self.step = Step::Nothing;
    }
}
