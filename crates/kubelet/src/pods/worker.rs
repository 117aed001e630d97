//! One pod's life, as a state machine without I/O: what is to be done next, given the pod, the clock and the containers.
//!
//! It decides when images are fetched and containers started, asked to end and ended by force, in which phase the pod is
//! and what its status says; the table around it does these things and tells it how they went. It never talks to the API
//! server, and it never leaves a terminal phase.
//!
//! Sources in kubernetes 1.36: `getPhase`, `generateAPIPodStatus` and `convertToAPIContainerStatuses` in
//! `pkg/kubelet/kubelet_pods.go`; `TerminatePod` in `pkg/kubelet/status/status_manager.go`; `doBackOff` in
//! `pkg/kubelet/kuberuntime/kuberuntime_manager.go` with `k8s.io/client-go/util/flowcontrol/backoff.go`;
//! `calculateEffectiveGracePeriod` in `pkg/kubelet/pod_workers.go`; `pkg/kubelet/active_deadline.go`.

use super::run::{Ended, Moment, Run, StartFailure, State, Step, Wait};
use picolet_runtime::{ContainerId, Exit, Image, Observed, PullError, StartError};

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use picolet_kube::Timestamp;
use picolet_kube::event::Severity;
use picolet_kube::pod::{Conditions, Container, Phase, Pod};
use picolet_platform::Duration;

/// How long a failure to fetch an image is shown as such before it is shown as waiting.
const FAILURE_SHOWN: Duration = Duration::from_secs(1);
/// How often a container is ended by force that does not go.
const KILL_AGAIN: Duration = Duration::from_secs(1);
/// `terminationGracePeriodSeconds` where nobody says anything.
const GRACE: u32 = 30;

const DEADLINE: &str = "DeadlineExceeded";
const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// What a worker sees and does beyond itself. Everything returns at once.
pub(super) trait Outside {
    fn has_runtime(&self) -> bool;
    fn observe(&self, id: ContainerId<'_>) -> Observed;
    fn stop(&self, id: ContainerId<'_>);
    fn kill(&self, id: ContainerId<'_>);
    fn event(&self, severity: Severity, reason: &'static str, message: fmt::Arguments<'_>);
}

/// How fetching an image went.
pub(super) struct Fetched<'a> {
    pub(super) image: &'a str,
    pub(super) result: Result<Image, PullError>,
    pub(super) took: Duration,
}

/// Why a pod's containers are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It is deleted, or gone already.
    Deleted,
    /// `activeDeadlineSeconds` are over.
    Deadline,
    /// The API server says that it has ended in this phase.
    Told(Phase),
}

/// A pod's worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) runs: Vec<Run>,
    /// How many of them are init containers.
    pub(super) inits: usize,
    pub(super) start_time: Timestamp,
    pub(super) reason: Box<str>,
    pub(super) message: Box<str>,
    /// The conditions as they were reported.
    pub(super) reported: Conditions,
    /// Counts the changes of what is reported.
    pub(super) version: u32,
    ending: Option<Ending>,
    terminal: Option<Phase>,
}

impl Worker {
    /// A worker for a pod that the node did not know: a new one, or one of before a restart.
    pub(super) fn new(pod: &Pod, now: Moment) -> Self {
        let mut runs = Vec::with_capacity(pod.init_containers.len() + pod.containers.len());
        for container in pod.init_containers.iter().chain(&pod.containers) {
            runs.push(Run::known(pod, container, now));
        }
        Self {
            runs,
            inits: pod.init_containers.len(),
            start_time: pod.start_time.unwrap_or(now.time),
            reason: Box::default(),
            message: Box::default(),
            reported: pod.conditions,
            version: 0,
            ending: None,
            terminal: pod.phase.is_terminal().then_some(pod.phase),
        }
    }

    /// Notes that the API server has another version of the pod. `before` is the one that was known.
    pub(super) fn update(&mut self, before: &Pod, pod: &Pod, now: Moment) {
        for (index, run) in self.runs.iter_mut().enumerate() {
            let images =
                container(before, index).map(|c| &c.image) != container(pod, index).map(|c| &c.image);
            if images && matches!(run.step, Step::Pull | Step::Start) {
                run.step = Step::Nothing;
            }
            run.replaced |= images && (run.is_running() || run.step == Step::Starting);
        }
        if pod.phase.is_terminal() && self.terminal.is_none() {
            self.ending.get_or_insert(Ending::Told(pod.phase));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            self.end(pod, now);
        }
    }

    /// Notes that the pod is to end, or is gone from the API server.
    pub(super) fn end(&mut self, pod: &Pod, now: Moment) {
        self.ending.get_or_insert(Ending::Deleted);
        // The time that it is given may only become shorter.
        let kill_at = now.up + grace(pod);
        for run in &mut self.runs {
            run.kill_at = run.kill_at.map(|at| at.min(kill_at));
        }
    }

    /// Notes that there is something to report.
    pub(super) fn changed(&mut self) {
        self.version = self.version.wrapping_add(1);
    }

    /// Notes that the pod may run.
    pub(super) fn accept(&mut self) {
        self.changed();
    }

    /// Notes that the pod is not for this worker to run or to report.
    pub(super) fn leave(&mut self) {
        self.runs.clear();
        self.terminal = Some(Phase::Failed);
    }

    /// Ends a pod that was never begun.
    pub(super) fn refuse(&mut self, reason: &str, message: Box<str>, now: Moment) {
        // Whatever ran here before a restart is gone.
        let known = self.runs.iter().any(|run| run.begun);
        for run in &mut self.runs {
            match run.last {
                _ if run.is_running() => run.lost(now),
                Some(_) => run.state = State::Ended,
                None => {}
            }
        }
        if !known {
            self.runs.clear();
            self.inits = 0;
        }
        self.reason = reason.into();
        self.message = message;
        self.terminal = Some(Phase::Failed);
        self.changed();
    }

    /// Whether the pod is in a terminal phase. Nothing of it runs then.
    pub(super) fn is_done(&self) -> bool {
        self.terminal.is_some()
    }

    /// Whether any container runs.
    pub(super) fn is_running(&self) -> bool {
        self.runs.iter().any(Run::is_running)
    }

    /// What names the attempt that runs or ran last.
    pub(super) fn id<'a>(&self, pod: &'a Pod, index: usize) -> ContainerId<'a> {
        let container = container(pod, index).map_or("", |container| &container.name);
        ContainerId {
            pod: &pod.metadata.uid,
            container,
            attempt: self.runs.get(index).map_or(0, |run| run.restarts),
        }
    }

    /// What names the attempt that is to be started.
    pub(super) fn next_id<'a>(&self, pod: &'a Pod, index: usize) -> ContainerId<'a> {
        let attempt = self.runs.get(index).map_or(0, Run::next_attempt);
        ContainerId {
            attempt,
            ..self.id(pod, index)
        }
    }

    /// Looks at everything once and does what is due. What takes time is noted in [`Run::step`].
    #[inline(never)]
    pub(super) fn step(&mut self, pod: &Pod, now: Moment, outside: &dyn Outside) {
        for index in 0..self.runs.len() {
            self.observe(pod, index, now, outside);
        }
        if self.is_done() {
            return;
        }
        let active = now.time.micros().saturating_sub(self.start_time.micros()) / 1_000_000;
        if self.ending.is_none()
            && pod
                .active_deadline_seconds
                .is_some_and(|limit| active >= u64::from(limit))
        {
            outside.event(Severity::Normal, DEADLINE, format_args!("{DEADLINE_MESSAGE}"));
            self.ending = Some(Ending::Deadline);
        }
        if self.ending.is_some() {
            for index in 0..self.runs.len() {
                let run = &mut self.runs[index];
                if run.step != Step::Starting {
                    run.step = Step::Nothing;
                }
                self.stop(pod, index, now, outside, "Stopping container", "");
            }
        } else {
            let next = self.runs[..self.inits].iter().position(|run| !run.succeeded());
            let range = next.map_or(self.inits..self.runs.len(), |index| index..index + 1);
            // Once a container of the pod was begun its init containers have had their turn.
            let range = if self.runs[self.inits..].iter().any(|run| run.begun) {
                self.inits..self.runs.len()
            } else {
                range
            };
            for index in range {
                self.advance(pod, index, now, outside);
            }
        }
        let still = self
            .runs
            .iter()
            .any(|run| run.is_running() || run.step == Step::Starting);
        if !still && (self.ending.is_some() || self.phase_of(pod, false).is_terminal()) {
            self.finish(pod, now);
        }
    }

    /// When something is due that no signal tells of.
    pub(super) fn wake(&self, pod: &Pod, now: Moment) -> Option<Duration> {
        if self.is_done() {
            return None;
        }
        let mut wake = match pod.active_deadline_seconds {
            Some(limit) if self.ending.is_none() => {
                let end = self.start_time.micros() + u64::from(limit) * 1_000_000;
                Some(now.up + Duration::from_micros(end.saturating_sub(now.time.micros())))
            }
            _ => None,
        };
        for run in &self.runs {
            let due = match run.state {
                State::Running(_) => run.kill_at,
                _ if self.ending.is_some() || run.step != Step::Nothing || run.hold <= now.up => None,
                State::Waiting(Wait::Pull(_)) => Some(run.hold - run.failure_delay + FAILURE_SHOWN),
                _ => Some(run.hold),
            };
            if let Some(due) = due {
                wake = Some(wake.map_or(due, |wake| wake.min(due)));
            }
        }
        wake
    }

    /// Notes that the start of a container was begun. Returns whether it is still wanted.
    pub(super) fn starting(&mut self, index: usize) -> bool {
        let run = self.runs.get_mut(index).filter(|run| run.step == Step::Start);
        run.is_some_and(|run| {
            run.step = Step::Starting;
            run.replaced = false;
            true
        })
    }

    /// Takes how fetching an image went, if it is still wanted.
    pub(super) fn pulled(
        &mut self,
        pod: &Pod,
        index: usize,
        Fetched { image, result, took }: Fetched<'_>,
        now: Moment,
        outside: &dyn Outside,
    ) {
        let wanted = container(pod, index).is_some_and(|container| *container.image == *image);
        let Some(run) = self
            .runs
            .get_mut(index)
            .filter(|run| wanted && run.step == Step::Pull)
        else {
            return;
        };
        match result {
            Ok(pulled) => {
                if pulled.was_present {
                    outside.event(
                        Severity::Normal,
                        "Pulled",
                        format_args!(
                            "Container image \"{image}\" already present on machine and can be accessed by the pod"
                        ),
                    );
                } else {
                    let (took, bytes) = (took.as_millis(), pulled.bytes);
                    outside.event(
                        Severity::Normal,
                        "Pulled",
                        format_args!(
                            "Successfully pulled image \"{image}\" in {took}ms ({took}ms including waiting). Image size: {bytes} bytes."
                        ),
                    );
                }
                run.image_id = (*pulled.id).into();
                run.failure_delay = Duration::ZERO;
                run.step = Step::Start;
            }
            Err(error) => {
                outside.event(
                    Severity::Warning,
                    "Failed",
                    format_args!("Failed to pull image \"{image}\": {error}"),
                );
                outside.event(
                    Severity::Warning,
                    "Failed",
                    format_args!("Error: {}", error.reason()),
                );
                run.failed(Wait::Pull(error), now);
                self.changed();
            }
        }
    }

    /// Takes how starting a container went.
    pub(super) fn started(
        &mut self,
        pod: &Pod,
        index: usize,
        result: Result<(), StartError>,
        now: Moment,
        outside: &dyn Outside,
    ) {
        let Some(run) = self.runs.get_mut(index).filter(|run| run.step == Step::Starting) else {
            return;
        };
        match result {
            Ok(()) => {
                outside.event(Severity::Normal, "Created", format_args!("Container created"));
                outside.event(Severity::Normal, "Started", format_args!("Container started"));
                run.restarts = run.next_attempt();
                run.begun = true;
                run.failure_delay = Duration::ZERO;
                run.step = Step::Nothing;
                run.state = State::Running(now.time);
            }
            Err(error) => {
                outside.event(
                    Severity::Warning,
                    "Failed",
                    format_args!("Error: {}", StartFailure { pod, error }),
                );
                run.failed(Wait::Start(error), now);
            }
        }
        self.changed();
    }

    /// The phase, as it may be told: a terminal one only when nothing runs any more.
    pub(super) fn phase(&self, pod: &Pod) -> Phase {
        self.terminal.unwrap_or_else(|| match self.phase_of(pod, false) {
            // It is on its way there.
            phase if !phase.is_terminal() => phase,
            _ if self.runs[self.inits..].iter().any(|run| run.begun) => Phase::Running,
            _ => Phase::Pending,
        })
    }

    fn observe(&mut self, pod: &Pod, index: usize, now: Moment, outside: &dyn Outside) {
        let id = self.id(pod, index);
        let run = &mut self.runs[index];
        let State::Running(since) = run.state else {
            return;
        };
        match outside.observe(id) {
            Observed::Running => return,
            Observed::Absent => run.lost(now),
            Observed::Exited(Exit {
                code,
                out_of_memory,
                message,
            }) => {
                let reason = match code {
                    _ if out_of_memory => "OOMKilled",
                    0 => "Completed",
                    _ => "Error",
                };
                run.last = Some(Ended {
                    exit_code: code,
                    reason: reason.into(),
                    message: message.as_str().into(),
                    started: Some(since),
                    finished: now.time,
                });
                run.state = State::Ended;
                run.ended_at = now.up;
                run.kill_at = None;
            }
        }
        self.changed();
    }

    /// Asks a container to end that runs, and ends it by force when its time is over.
    fn stop(&mut self, pod: &Pod, index: usize, now: Moment, outside: &dyn Outside, what: &str, why: &str) {
        let id = self.id(pod, index);
        let run = &mut self.runs[index];
        if !run.is_running() {
            return;
        }
        match run.kill_at {
            None => {
                outside.event(
                    Severity::Normal,
                    "Killing",
                    format_args!("{what} {}{why}", id.container),
                );
                outside.stop(id);
                run.kill_at = Some(now.up + grace(pod));
            }
            Some(at) if at <= now.up => {
                outside.kill(id);
                run.kill_at = Some(now.up + KILL_AGAIN);
            }
            Some(_) => return,
        }
        // It may have ended at once.
        self.observe(pod, index, now, outside);
    }

    /// Brings a container on whose turn it is.
    #[inline(never)]
    fn advance(&mut self, pod: &Pod, index: usize, now: Moment, outside: &dyn Outside) {
        let Some(container) = container(pod, index) else {
            return;
        };
        if self.runs[index].replaced && self.runs[index].is_running() {
            self.stop(
                pod,
                index,
                now,
                outside,
                "Container",
                " definition changed, will be restarted",
            );
        }
        let run = &mut self.runs[index];
        if run.is_running() || run.step != Step::Nothing {
            return;
        }
        if let State::Waiting(Wait::Pull(error)) = run.state
            && now.up + run.failure_delay >= run.hold + FAILURE_SHOWN
        {
            outside.event(
                Severity::Normal,
                "BackOff",
                format_args!("Back-off pulling image \"{}\"", container.image),
            );
            outside.event(
                Severity::Warning,
                "Failed",
                format_args!("Error: ImagePullBackOff"),
            );
            run.state = State::Waiting(Wait::PullDelay(error));
            self.version = self.version.wrapping_add(1);
        }
        if run.last.is_some() && !run.replaced {
            if !run.restarts(pod.restart_policy, index < self.inits) {
                return;
            }
            if run.state == State::Ended
                && let Some(delay) = run.restart_delay_left(now)
            {
                let Pod { metadata, .. } = pod;
                outside.event(
                    Severity::Warning,
                    "BackOff",
                    format_args!(
                        "Back-off restarting failed container {} in pod {}_{}({})",
                        container.name, metadata.name, metadata.namespace, metadata.uid
                    ),
                );
                run.state = State::Waiting(Wait::Restart(delay));
                run.hold = run.ended_at + delay;
                self.version = self.version.wrapping_add(1);
            }
        }
        if now.up < run.hold {
            return;
        }
        if matches!(run.state, State::Ended | State::Waiting(Wait::Restart(_))) && run.begun {
            run.note_restart(now);
        }
        if !outside.has_runtime() {
            let (error, before) = (StartError::NoRuntime, run.state);
            run.failed(Wait::Start(error), now);
            let changed = run.state != before;
            outside.event(
                Severity::Warning,
                "Failed",
                format_args!("Error: {}", StartFailure { pod, error }),
            );
            if changed {
                self.changed();
            }
            return;
        }
        run.step = Step::Pull;
    }

    /// Takes the pod to its terminal phase, now that nothing of it runs.
    #[inline(never)]
    fn finish(&mut self, pod: &Pod, now: Moment) {
        let initialized = self.inits == 0
            || self.runs[self.inits..].iter().any(|run| run.begun)
            || self.runs[self.inits - 1]
                .last
                .as_ref()
                .is_some_and(|last| last.exit_code == 0);
        for run in &mut self.runs {
            run.step = Step::Nothing;
            if run.last.is_some() {
                // It waited to be started again, which will not happen.
                run.state = State::Ended;
            }
        }
        let phase = match self.ending {
            Some(Ending::Told(phase)) => phase,
            Some(Ending::Deadline) => {
                self.reason = DEADLINE.into();
                self.message = DEADLINE_MESSAGE.into();
                Phase::Failed
            }
            _ => match self.phase_of(pod, true) {
                phase if phase.is_terminal() => phase,
                _ => Phase::Failed,
            },
        };
        // Of what should have run and did not end nothing good can be said. Init containers whose turn never came may
        // stay as they are, and so may the others where theirs never came.
        let begun = self.runs[..self.inits]
            .iter()
            .rposition(|run| run.begun)
            .unwrap_or(0);
        for (index, run) in self.runs.iter_mut().enumerate() {
            let had_its_turn = if index < self.inits {
                index <= begun
            } else {
                initialized
            };
            if had_its_turn && run.state != State::Ended {
                run.lost(now);
            }
        }
        self.terminal = Some(phase);
        self.changed();
    }

    /// The phase by the containers alone. `ended`: none of them will be started again.
    fn phase_of(&self, pod: &Pod, ended: bool) -> Phase {
        let (mut pending, mut running, mut stopped, mut for_good, mut succeeded) = (0, 0, 0, 0, 0);
        for (index, run) in self.runs.iter().enumerate() {
            let init = index < self.inits;
            let over = run.last.is_some() && !run.restarts(pod.restart_policy, init);
            match (run.state, init) {
                (State::Running(_), true) => pending += 1,
                (State::Running(_), false) => running += 1,
                (State::Waiting(_), _) if run.last.is_none() => pending += 1,
                (_, true) if over && !run.succeeded() && !run.replaced => return Phase::Failed,
                (_, true) => {}
                (state, false) => {
                    stopped += 1;
                    for_good += u32::from(over && !run.replaced);
                    succeeded += u32::from(state == State::Ended && run.succeeded());
                }
            }
        }
        match () {
            () if pending > 0 => Phase::Pending,
            () if running > 0 => Phase::Running,
            () if stopped == 0 => Phase::Pending,
            () if !ended && stopped != for_good => Phase::Running,
            () if stopped == succeeded => Phase::Succeeded,
            () => Phase::Failed,
        }
    }
}

/// The container of that place: init containers first.
pub(super) fn container(pod: &Pod, index: usize) -> Option<&Container> {
    pod.init_containers.iter().chain(&pod.containers).nth(index)
}

/// How long a pod's containers are given to end.
fn grace(pod: &Pod) -> Duration {
    let seconds = pod
        .metadata
        .deletion_grace_seconds
        .or(pod.termination_grace_seconds);
    Duration::from_secs(u64::from(seconds.unwrap_or(GRACE).max(1)))
}
