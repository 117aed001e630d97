//! A node, its runtime and its API server in memory, with a clock that only moves when a test says so.

use crate::client::ApiError;
use crate::pods::report::Owed;
use crate::pods::run::Moment;
use crate::pods::table::{Pods, Site};
use alloc::boxed::Box;
use core::cell::{Cell, RefCell};
use core::fmt;
use embassy_futures::block_on;
use picolet_kube::envelope::Single;
use picolet_kube::event::Severity;
use picolet_kube::json::Writer;
use picolet_kube::metadata::Metadata;
use picolet_kube::node::Node;
use picolet_kube::pod::{Container, KnownStatus, Phase, Pod, PodReader, PullPolicy, RestartPolicy};
use picolet_kube::status::Status;
use picolet_kube::{Quantity, Timestamp};
use picolet_platform::Duration;
use picolet_runtime::{ContainerId, Exit, Image, LogPiece, Observed, PullError, Runtime, StartError};
use std::collections::{BTreeMap, VecDeque};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// A runtime that does what a test says.
#[derive(Default)]
pub(super) struct Script {
    pub(super) containers: RefCell<BTreeMap<String, Observed>>,
    /// `start`, `stop` and `kill` of containers, with the second in which they came.
    pub(super) calls: RefCell<Vec<String>>,
    pub(super) second: Cell<u64>,
    pub(super) pull: Cell<Option<PullError>>,
    pub(super) start: Cell<Option<StartError>>,
    /// How containers end that were just started; they run on where it is `None`.
    pub(super) exits: Cell<Option<i32>>,
    /// Whether containers do not end when they are asked to.
    pub(super) deaf: Cell<bool>,
    pub(super) not_ready: Cell<bool>,
    pub(super) forgotten: RefCell<Vec<String>>,
}

fn exit(code: i32) -> Observed {
    Observed::Exited(Exit {
        code,
        out_of_memory: false,
        message: heapless::String::new(),
    })
}

impl Script {
    fn called(&self, what: &str, id: ContainerId<'_>) {
        let call = format!("{what} {} @{}", id, self.second.get());
        self.calls.borrow_mut().push(call);
    }

    /// Ends a container that runs.
    pub(super) fn end(&self, id: &str, code: i32) {
        let mut containers = self.containers.borrow_mut();
        let container = containers
            .get_mut(id)
            .unwrap_or_else(|| panic!("{id} was never started"));
        assert_eq!(*container, Observed::Running, "{id}");
        *container = exit(code);
    }

    pub(super) fn running(&self) -> Vec<String> {
        let containers = self.containers.borrow();
        containers
            .iter()
            .filter(|(_, how)| **how == Observed::Running)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

impl Runtime for Script {
    fn version(&self) -> &'static str {
        "script://1.0.0"
    }

    fn is_ready(&self) -> bool {
        !self.not_ready.get()
    }

    fn has(&self, _image: &str) -> bool {
        false
    }

    async fn pull(&self, image: &str, _policy: PullPolicy) -> Result<Image, PullError> {
        match self.pull.get() {
            Some(error) => Err(error),
            None => {
                let id = format!("sha256:{image}").parse().expect("short");
                Ok(Image {
                    id,
                    bytes: 1000,
                    was_present: false,
                })
            }
        }
    }

    async fn start(&self, id: ContainerId<'_>, _image: &str) -> Result<(), StartError> {
        if let Some(error) = self.start.get() {
            return Err(error);
        }
        self.called("start", id);
        let how = self.exits.get().map_or(Observed::Running, exit);
        let before = self.containers.borrow_mut().insert(id.to_string(), how);
        assert_eq!(before, None, "{id} was started twice");
        Ok(())
    }

    fn stop(&self, id: ContainerId<'_>) {
        self.called("stop", id);
        if !self.deaf.get() {
            self.end(&id.to_string(), 143);
        }
    }

    fn kill(&self, id: ContainerId<'_>) {
        self.called("kill", id);
        self.end(&id.to_string(), 137);
    }

    fn observe(&self, id: ContainerId<'_>) -> Observed {
        self.containers
            .borrow()
            .get(&id.to_string())
            .cloned()
            .unwrap_or(Observed::Absent)
    }

    fn forget(&self, pod: &str) {
        assert!(
            !self.running().iter().any(|id| id.starts_with(&format!("{pod}_"))),
            "{pod} still runs"
        );
        self.forgotten.borrow_mut().push(pod.into());
    }

    async fn changed(&self) {}

    fn read_log(&self, _id: ContainerId<'_>, _offset: u64, _buffer: &mut [u8]) -> Option<LogPiece> {
        None
    }
}

/// What the watch tells.
enum Change {
    Applied(Pod),
    Deleted(Pod),
}

/// All of it.
pub(super) struct World {
    pub(super) pods: Pods,
    pub(super) runtime: Script,
    pub(super) node: Node,
    pub(super) up: Duration,
    /// What the API server has, by uid.
    pub(super) api: BTreeMap<String, Pod>,
    changes: VecDeque<Change>,
    /// There is no watch, since there is no list.
    unlisted: bool,
    /// The answer to everything while it is set: a code, 0 for none at all, and a message.
    pub(super) refusal: Option<(u16, &'static str)>,
    /// All that the node sent: `PATCH u Running`, `DELETE u`.
    pub(super) sent: Vec<String>,
    /// The last body that was sent.
    pub(super) body: String,
    pub(super) events: RefCell<Vec<String>>,
    /// How often the node was asked for.
    pub(super) node_asked: u32,
}

/// A pod of containers `a`, `b` …, after init containers `i`, `j` …
pub(super) fn pod(uid: &str, policy: RestartPolicy, inits: usize, containers: usize) -> Pod {
    let named = |first: u8, count: usize| {
        let name = |n: usize| (char::from(first) as u32 + n as u32) as u8 as char;
        (0..count)
            .map(|n| Container {
                name: name(n).to_string().into(),
                image: format!("{}:1", name(n)).into(),
                ..Container::default()
            })
            .collect()
    };
    Pod {
        metadata: Metadata {
            name: uid.into(),
            namespace: "default".into(),
            uid: uid.into(),
            ..Metadata::default()
        },
        node_name: "pico".into(),
        restart_policy: policy,
        init_containers: named(b'i', inits),
        containers: named(b'a', containers),
        ..Pod::default()
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut node = Node::default();
        node.metadata.uid = "node".into();
        Self {
            pods: Pods::default(),
            runtime: Script::default(),
            node,
            up: Duration::from_secs(100),
            api: BTreeMap::new(),
            changes: VecDeque::new(),
            unlisted: false,
            refusal: None,
            sent: Vec::new(),
            body: String::new(),
            events: RefCell::default(),
            node_asked: 0,
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            up: self.up,
            time: Timestamp::from_seconds(1_800_000_000 + self.up.as_secs() - 100),
        }
    }

    /// The API server has a pod, and says so.
    pub(super) fn put(&mut self, pod: Pod) {
        self.api.insert(pod.metadata.uid.to_string(), pod.clone());
        self.changes.push_back(Change::Applied(pod));
        self.settle();
    }

    /// Somebody deletes a pod.
    pub(super) fn delete(&mut self, uid: &str, grace: u32) {
        let deletion = self.now().time;
        let mut pod = self.api.get(uid).expect("there").clone();
        pod.metadata.deletion_timestamp.get_or_insert(deletion);
        pod.metadata.deletion_grace_seconds = Some(grace);
        self.put(pod);
    }

    /// Somebody takes a pod away without waiting for the node.
    pub(super) fn take_away(&mut self, uid: &str) {
        if let Some(mut pod) = self.api.remove(uid) {
            pod.metadata.deletion_grace_seconds = Some(0);
            self.changes.push_back(Change::Deleted(pod));
            self.settle();
        }
    }

    /// The watch is lost, and the list read anew: as far as there is room, and again when the API server is well.
    pub(super) fn relist(&mut self) {
        self.unlisted = true;
        self.settle();
        if matches!(self.refusal, Some((0, _))) {
            return;
        }
        self.pods.list_begins();
        for uid in self.api.keys().cloned().collect::<Vec<_>>() {
            for _ in 0..100 {
                self.settle();
                if !self.pods.has_room() && self.refusal.is_none() {
                    self.up += Duration::from_secs(1);
                }
            }
            if !self.pods.has_room() {
                return;
            }
            if let Some(mut pod) = self.api.get(&uid).cloned() {
                assert!(self.pods.applied(&mut pod, self.now()).0);
            }
        }
        self.pods.list_ends(self.now());
        self.unlisted = false;
        self.settle();
    }

    /// What the API server answers from now on.
    pub(super) fn refuse(&mut self, refusal: Option<(u16, &'static str)>) {
        self.refusal = refusal;
        if self.unlisted {
            self.relist();
        }
    }

    /// The node is restarted: it knows nothing any more, and nothing runs.
    pub(super) fn reboot(&mut self) {
        self.pods = Pods::default();
        self.runtime.containers.borrow_mut().clear();
        self.relist();
    }

    fn step(&mut self) -> Option<Duration> {
        self.runtime.second.set(self.up.as_secs() - 100);
        let allocatable = [("cpu", Quantity::new(1)), ("pods", Quantity::new(4))];
        self.pods
            .settle("127.0.77.1".parse().expect("short"), "script", 4);
        let (now, events) = (self.now(), &self.events);
        let say =
            |about: &Metadata, severity: Severity, reason: &'static str, message: fmt::Arguments<'_>| {
                let warning = if severity == Severity::Warning { "!" } else { "" };
                events
                    .borrow_mut()
                    .push(format!("{warning}{} {reason}: {message}", about.uid));
            };
        let site = Site {
            node: &self.node,
            node_name: "pico",
            os: "wasip1",
            allocatable: &allocatable,
            now,
        };
        let wake = self.pods.step(&site, &self.runtime, &say);
        if self.pods.wants_node() {
            self.node_asked += 1;
            self.pods.node_known();
            return Some(self.up);
        }
        while let Some(job) = self.pods.next_job() {
            match job.attempt {
                None => {
                    self.pods.pulling(&job, &say);
                    let result = block_on(self.runtime.pull(&job.image, job.policy));
                    let took = Duration::from_millis(7);
                    self.pods.pulled(&job, result, took, now, (&self.runtime, &say));
                }
                Some(attempt) => {
                    let id = ContainerId {
                        pod: &job.pod,
                        container: &job.container,
                        attempt,
                    };
                    let result = block_on(self.runtime.start(id, &job.image));
                    self.pods.started(&job, result, now, (&self.runtime, &say));
                }
            }
        }
        wake
    }

    /// Takes what the node sends; returns whether there was anything.
    fn listen(&mut self) -> bool {
        let Ok(telling) = self.pods.next_telling(self.now()) else {
            return false;
        };
        let answer = self.answer(&telling.uid, telling.owed, &telling.body);
        self.pods.told(&telling, answer.as_ref().copied(), self.now());
        true
    }

    fn answer(&mut self, uid: &str, owed: Owed, body: &str) -> Result<(), ApiError> {
        let status = |code, message: &str| {
            ApiError::Status(Box::new(Status {
                code,
                message: message.into(),
                ..Status::default()
            }))
        };
        self.body = body.into();
        match self.refusal {
            Some((0, _)) => return Err(ApiError::Timeout),
            Some((code, message)) if code < 500 && owed == Owed::Deletion && code != 409 => {
                let _ = (code, message); // a status that is refused does not mean that a deletion is
            }
            Some((code, message)) => return Err(status(code, message)),
            None => {}
        }
        if !self.api.contains_key(uid) {
            return Err(status(404, "not found"));
        }
        if owed == Owed::Deletion {
            assert!(
                body.contains(r#""gracePeriodSeconds":0"#) && body.contains(&format!(r#""uid":"{uid}""#))
            );
            let pod = self.api.remove(uid).expect("there");
            assert!(pod.metadata.deletion_timestamp.is_some(), "nobody deleted {uid}");
            self.sent.push(format!("DELETE {uid}"));
            self.changes.push_back(Change::Deleted(pod));
            return Ok(());
        }
        let mut single = Single::<PodReader>::default();
        single.feed(body.as_bytes()).expect("JSON");
        let told = single.finish().expect("whole").pod;
        assert_eq!(*told.metadata.uid, *uid);
        let pod = self.api.get_mut(uid).expect("there");
        let rank = |phase: Phase| match phase {
            Phase::Pending => 0,
            Phase::Running => 1,
            Phase::Succeeded | Phase::Failed => 2,
        };
        assert!(
            rank(told.phase) >= rank(pod.phase),
            "{uid} from {:?} to {:?}",
            pod.phase,
            told.phase
        );
        assert!(
            !pod.phase.is_terminal() || told.phase == pod.phase,
            "{uid} left {:?}",
            pod.phase
        );
        let restarts =
            |statuses: &[KnownStatus]| statuses.iter().map(|status| status.restart_count).sum::<u32>();
        if !told.statuses.is_empty() {
            assert!(
                restarts(&told.statuses) >= restarts(&pod.statuses),
                "{uid} restarted less often than before"
            );
            pod.statuses = told.statuses;
        }
        if told.phase.is_terminal() {
            assert_eq!(
                told.conditions[2..]
                    .iter()
                    .map(|c| c.map(|(holds, _)| holds))
                    .collect::<Vec<_>>(),
                [Some(false); 2]
            );
            assert!(
                !self
                    .runtime
                    .running()
                    .iter()
                    .any(|id| id.starts_with(&format!("{uid}_"))),
                "{uid} still runs"
            );
        }
        for (kept, told) in pod.conditions.iter_mut().zip(told.conditions) {
            *kept = told.or(*kept);
        }
        (pod.phase, pod.start_time) = (told.phase, told.start_time);
        self.sent.push(format!("PATCH {uid} {}", told.phase.as_str()));
        self.changes.push_back(Change::Applied(pod.clone()));
        Ok(())
    }

    /// Lets everything happen that is due now. Returns when something is due next.
    pub(super) fn settle(&mut self) -> Option<Duration> {
        for _ in 0..1000 {
            let wake = self.step();
            let mut heard = self.listen();
            if self.unlisted {
                self.changes.clear();
            }
            // While there is no room nothing is read, also not of what the node itself has caused.
            while self.pods.has_room()
                && let Some(change) = self.changes.pop_front()
            {
                heard = true;
                match change {
                    Change::Applied(mut pod) => assert!(self.pods.applied(&mut pod, self.now()).0, "no room"),
                    Change::Deleted(pod) => self.pods.deleted(&pod.metadata, self.now()),
                }
            }
            let again = self.pods.next_telling(self.now());
            let idle = !heard && again.is_err() && self.step() == wake && self.pods.next_job().is_none();
            if idle && wake.is_none_or(|at| at > self.up) {
                return [wake, again.err().flatten()].into_iter().flatten().min();
            }
        }
        panic!("it never comes to rest: {:?}", self.pods);
    }

    /// Lets time pass, second by second where something is due.
    pub(super) fn pass(&mut self, seconds: u64) {
        let until = self.up + Duration::from_secs(seconds);
        loop {
            match self.settle() {
                Some(at) if at < until => self.up = at,
                _ => break,
            }
        }
        self.up = until;
        self.settle();
    }

    /// A pod as `/pods` shows it.
    pub(super) fn shown(&self, n: usize) -> String {
        let mut out = String::new();
        assert!(self.pods.write_nth(n, false, &mut Writer::new(&mut out)));
        out
    }

    pub(super) fn phase(&self, uid: &str) -> Phase {
        self.api[uid].phase
    }

    pub(super) fn events(&self) -> Vec<String> {
        self.events.borrow().clone()
    }

    pub(super) fn calls(&self) -> Vec<String> {
        core::mem::take(&mut *self.runtime.calls.borrow_mut())
    }
}
