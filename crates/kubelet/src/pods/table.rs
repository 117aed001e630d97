//! The pods that the node has to do with: a bounded table, known by uid.
//!
//! A pod has its place from the moment the API server names it until nothing of it runs here and the API server has let
//! go of it. There are places for the pods that the node may run and a few more, for those that are being refused or
//! ended. A pod that has ended, and of which the API server knows, gives up its place when another needs it. When
//! there is none left to give, the watch is not read on: a pod is never dropped.
//!
//! Nothing here waits: [`super::run`] does.

use super::admission::{Circumstances, admit};
use super::own::Own;
use super::report::{Owed, Report, is_overridden, rejected, with_status};
use super::run::{Moment, Step};
use super::worker::{Fetched, Outside, Worker, container};
use crate::client::ApiError;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::mem::take;
use picolet_kube::Quantity;
use picolet_kube::event::Severity;
use picolet_kube::json::Writer;
use picolet_kube::metadata::Metadata;
use picolet_kube::node::Node;
use picolet_kube::pod::{self, Conditions, Pod, PullPolicy};
use picolet_platform::Duration;
use picolet_runtime::{ContainerId, Image, Observed, PullError, Runtime, StartError};

/// Places beyond the pods that the node may run.
const SPARE: usize = 8;
/// How many pods may come in one piece of what is read (1 KiB; the smallest Pod that an API server sends is larger).
const MARGIN: usize = 2;
/// How many pods are remembered that lost their places. They are forgotten long after everything about them was read.
const EVICTED: usize = 32;

/// Whether a pod may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// It was not yet asked.
    Due,
    /// It may not, as the node was known: it is asked again with the node as it is.
    NodeWanted,
    /// The same, with the node as it is.
    Last,
    /// It was asked.
    Done,
}

#[derive(Debug)]
struct Entry {
    pod: Pod,
    worker: Worker,
    report: Report,
    admission: Admission,
    /// Whether the list that is being read names it.
    listed: bool,
    /// Whether the watch has told that it is gone.
    told_gone: bool,
}

impl Entry {
    /// Whether nothing is left to do for it. It stays, since of what is already on its way about it nothing must be taken
    /// for a new pod.
    fn is_over(&self) -> bool {
        self.report.gone && self.worker.is_done()
    }

    fn is_evictable(&self) -> bool {
        self.is_over() || self.has_ended()
    }

    /// Whether it ended, and the API server knows, or refuses to hear of it. One that is to be deleted has to be taken out yet.
    fn has_ended(&self) -> bool {
        let ended = self.worker.is_done() && !self.worker.is_running();
        let is_settled = self.report.is_taken(&self.worker) || self.report.is_refused();
        ended && is_settled && self.pod.metadata.deletion_timestamp.is_none()
    }

    /// Whether it counts against what the node has.
    fn is_active(&self) -> bool {
        self.admission == Admission::Done && !self.worker.is_done()
    }
}

/// What takes time and is to be done for a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) pod: Box<str>,
    pub(super) index: usize,
    pub(super) container: Box<str>,
    pub(super) image: Box<str>,
    pub(super) policy: PullPolicy,
    /// Which attempt to start; `None` where the image is wanted.
    pub(super) attempt: Option<u32>,
}

/// What is to be told to the API server.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) uid: Box<str>,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) owed: Owed,
    pub(super) conditions: Conditions,
    pub(super) body: String,
}

/// The node, as far as pods are concerned.
pub(super) struct Site<'a> {
    pub(super) node: &'a Node,
    pub(super) node_name: &'a str,
    pub(super) os: &'a str,
    pub(super) allocatable: &'a [(&'static str, Quantity)],
    pub(super) now: Moment,
}

/// Tells a person of something about a pod.
pub(super) type Say<'a> = &'a dyn Fn(&Metadata, Severity, &'static str, fmt::Arguments<'_>);

/// A runtime and a voice, for the worker of one pod.
struct Around<'a, R> {
    runtime: &'a R,
    say: Say<'a>,
    metadata: &'a Metadata,
}

impl<R: Runtime> Outside for Around<'_, R> {
    fn has_runtime(&self) -> bool {
        self.runtime.is_ready()
    }

    fn observe(&self, id: ContainerId<'_>) -> Observed {
        self.runtime.observe(id)
    }

    fn stop(&self, id: ContainerId<'_>) {
        self.runtime.stop(id);
    }

    fn kill(&self, id: ContainerId<'_>) {
        self.runtime.kill(id);
    }

    #[inline(never)]
    fn event(&self, severity: Severity, reason: &'static str, message: fmt::Arguments<'_>) {
        (self.say)(self.metadata, severity, reason, message);
    }
}

/// The pods of the node.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    entries: Vec<Entry>,
    /// Pods that ended and lost their places lately: they must not be taken for new ones when news of them come that are
    /// older than their end.
    evicted: Vec<u64>,
    /// How many pods the node may run.
    capacity: usize,
    host_ip: String,
    scheme: &'static str,
    now: Option<Moment>,
    /// How many pods were let in since the start, and how many were refused.
    admissions: (u32, u32),
    /// The pod that stands for the node itself. It takes none of the places.
    own: Option<Box<Own>>,
}

impl Pods {
    /// How many pods are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shown().count()
    }

    fn shown(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.is_over())
    }

    /// How many pods were let in since the start, and how many were refused.
    pub(crate) fn admissions(&self) -> (u32, u32) {
        self.admissions
    }

    /// How many pods have a container that runs.
    pub(crate) fn running(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.worker.is_running())
            .count()
            + usize::from(self.own.is_some())
    }

    /// From here on that pod stands for the node itself.
    pub(super) fn stand_for(&mut self, own: Own) {
        self.own = Some(Box::new(own));
    }

    /// Whether that pod stands for the node itself.
    pub(crate) fn is_own(&self, pod: &Pod) -> bool {
        self.own.as_ref().is_some_and(|own| own.is(&pod.metadata))
    }

    /// Writes what makes the mirror of the node's own pod.
    pub(super) fn write_mirror(&self, out: &mut String, node_uid: &str) {
        if let Some(own) = &self.own {
            own.write_mirror(out, node_uid);
        }
    }

    /// The pod of that name. Of two, since one is ending, the newer.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<&Pod> {
        let is_it = |metadata: &Metadata| *metadata.namespace == *namespace && *metadata.name == *name;
        let own = self.own.iter().map(|own| &own.pod);
        own.chain(self.shown().rev().map(|entry| &entry.pod))
            .find(|pod| is_it(&pod.metadata))
    }

    /// Writes the `n`th pod as an element of a `PodList`: of all, or only of those that run. Returns whether there is one.
    pub(crate) fn write_nth(&self, n: usize, running: bool, w: &mut Writer<'_>) -> bool {
        let Some(now) = self.now else {
            return false;
        };
        let own = self.own.iter().map(|own| (&own.pod, &own.worker));
        let others = self.shown().map(|entry| (&entry.pod, &entry.worker));
        let mut shown = own
            .chain(others)
            .filter(|(_, worker)| !running || worker.is_running());
        let Some((pod, worker)) = shown.nth(n) else {
            return false;
        };
        with_status(pod, worker, now, &self.host_ip, self.scheme, &mut |status| {
            pod::write_pod(w, pod, Some(status));
        });
        true
    }

    /// Says what is told with every status: the address of the node, and the runtime's name.
    pub(super) fn settle(&mut self, host_ip: String, scheme: &'static str, capacity: usize) {
        self.host_ip = host_ip;
        self.scheme = scheme;
        self.capacity = capacity;
    }

    fn places(&self) -> usize {
        self.capacity + SPARE
    }

    /// Whether the next pods can be taken.
    pub(super) fn has_room(&self) -> bool {
        let kept = self.entries.iter().filter(|entry| !entry.is_evictable()).count();
        kept + MARGIN <= self.places()
    }

    /// Takes a pod as the API server has it. Returns `false` if it had no place, and the uid of a pod that lost its own.
    #[inline(never)]
    pub(super) fn applied(&mut self, pod: &mut Pod, now: Moment) -> (bool, Option<Box<str>>) {
        if let Some(own) = &mut self.own
            && pod.mirror.is_some()
            && own.is(&pod.metadata)
        {
            own.applied(take(pod));
            return (true, None);
        }
        let ending = pod.metadata.deletion_timestamp.is_some();
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.pod.metadata.uid == pod.metadata.uid)
        {
            entry.listed = true;
            if entry.report.gone {
                return (true, None);
            }
            entry.worker.update(&entry.pod, pod, now);
            if entry.admission == Admission::Done {
                forget_selectors(pod);
            }
            entry.pod = take(pod);
            if entry.report.is_taken(&entry.worker) && is_overridden(&entry.pod, &entry.worker) {
                entry.worker.changed();
            }
            return (true, None);
        }
        // What it made itself the node knows better; only when somebody deletes it the API server waits for us.
        if pod.mirror.is_some() && !ending {
            return (true, None);
        }
        let known = fingerprint(&pod.metadata.uid);
        let ended = self.evicted.contains(&known);
        if ended && !ending && !pod.phase.is_terminal() {
            // News from before it ended.
            return (true, None);
        }
        let mut evicted = None;
        if self.entries.len() >= self.places() {
            if pod.phase.is_terminal() && !ending {
                return (true, None);
            }
            let Some(index) = self.entries.iter().position(Entry::is_evictable) else {
                return (false, None);
            };
            let uid = take(&mut self.entries[index].pod.metadata.uid);
            self.entries.remove(index);
            if self.evicted.len() == EVICTED {
                self.evicted.remove(0);
            }
            self.evicted.push(fingerprint(&uid));
            evicted = Some(uid);
        }
        let mut worker = Worker::new(pod, now);
        if pod.mirror.is_some() || (ended && !pod.phase.is_terminal()) {
            worker.leave();
        } else if ending {
            worker.end(pod, now);
        }
        pod.statuses = Vec::new();
        let admission = if ending || worker.is_done() {
            Admission::Done
        } else {
            Admission::Due
        };
        self.entries.push(Entry {
            pod: take(pod),
            worker,
            report: Report::default(),
            admission,
            listed: true,
            told_gone: false,
        });
        (true, evicted)
    }

    /// Notes that the API server no longer has a pod; `last` is what it had last.
    pub(super) fn deleted(&mut self, last: &Metadata, now: Moment) {
        if let Some(own) = &mut self.own {
            own.deleted(&last.uid);
        }
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.pod.metadata.uid == last.uid)
        {
            entry.pod.metadata.deletion_grace_seconds = last.deletion_grace_seconds;
            entry.vanish(now);
        }
    }

    /// A list begins.
    pub(super) fn list_begins(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.listed = false);
        if let Some(own) = &mut self.own {
            own.list_begins();
        }
    }

    /// The list was read whole: what it does not name is gone.
    pub(super) fn list_ends(&mut self, now: Moment) {
        self.entries
            .iter_mut()
            .filter(|entry| !entry.listed)
            .for_each(|entry| entry.vanish(now));
        if let Some(own) = &mut self.own {
            own.list_ends();
        }
    }

    /// Looks at every pod once, and does what is due and takes no time. Returns when to look again, at the latest.
    pub(super) fn step<R: Runtime>(
        &mut self,
        site: &Site<'_>,
        runtime: &R,
        say: Say<'_>,
    ) -> Option<Duration> {
        let now = site.now;
        self.now = Some(now);
        for index in 0..self.entries.len() {
            self.admit(index, site, say);
            let Entry {
                pod,
                worker,
                admission,
                ..
            } = &mut self.entries[index];
            if *admission == Admission::Done {
                worker.step(
                    pod,
                    now,
                    &Around {
                        runtime,
                        say,
                        metadata: &pod.metadata,
                    },
                );
            }
        }
        self.entries.retain(|entry| {
            let over = entry.told_gone && (entry.worker.is_done() || entry.admission != Admission::Done);
            if over {
                runtime.forget(&entry.pod.metadata.uid);
            }
            !over
        });
        let mut first = None;
        for entry in &self.entries {
            if let Some(at) = entry.worker.wake(&entry.pod, now)
                && first.is_none_or(|first| at < first)
            {
                first = Some(at);
            }
        }
        first
    }

    #[inline(never)]
    fn admit(&mut self, index: usize, site: &Site<'_>, say: Say<'_>) {
        let entry = &self.entries[index];
        if entry.report.gone {
            return;
        }
        if entry.pod.metadata.deletion_timestamp.is_some() || entry.worker.is_done() {
            self.entries[index].admission = Admission::Done;
        }
        let (pods, unasked) = (&self.entries, self.entries[index].admission);
        // Before the node is registered nothing is known of its labels and taints.
        if !matches!(unasked, Admission::Due | Admission::Last) || site.node.metadata.uid.is_empty() {
            return;
        }
        let active = || pods.iter().filter(|entry| entry.is_active());
        let used = |resource: &str| {
            active()
                .map(|entry| entry.pod.request(resource))
                .fold(Quantity::ZERO, Quantity::plus)
        };
        let circumstances = Circumstances {
            node: site.node,
            node_name: site.node_name,
            os: site.os,
            allocatable: site.allocatable,
            pods: active().count(),
            used: &used,
        };
        let verdict = admit(&pods[index].pod, &circumstances);
        let Entry {
            pod,
            worker,
            admission,
            ..
        } = &mut self.entries[index];
        match verdict {
            Ok(()) => {
                self.admissions.0 = self.admissions.0.wrapping_add(1);
                worker.accept();
            }
            Err(refusal) if refusal.ask_again && unasked == Admission::Due => {
                *admission = Admission::NodeWanted;
                return;
            }
            Err(refusal) => {
                self.admissions.1 = self.admissions.1.wrapping_add(1);
                let message = &refusal.message;
                say(
                    &pod.metadata,
                    Severity::Warning,
                    refusal.reason,
                    format_args!("{message}"),
                );
                worker.refuse(refusal.reason, rejected(message), site.now);
            }
        }
        *admission = Admission::Done;
        forget_selectors(pod);
    }

    /// Whether somebody waits for the node as the API server has it now.
    pub(super) fn wants_node(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.admission == Admission::NodeWanted)
    }

    /// Notes that the node is known as the API server has it, or that it is not to be had.
    pub(super) fn node_known(&mut self) {
        for entry in &mut self.entries {
            if entry.admission == Admission::NodeWanted {
                entry.admission = Admission::Last;
            }
        }
    }

    /// The next thing that takes time. A start is thereby begun.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        self.entries.iter_mut().find_map(|Entry { pod, worker, .. }| {
            let index = worker
                .runs
                .iter()
                .position(|run| matches!(run.step, Step::Pull | Step::Start))?;
            let container = container(pod, index)?;
            let attempt = worker.starting(index).then(|| worker.next_id(pod, index).attempt);
            Some(Job {
                pod: pod.metadata.uid.clone(),
                index,
                container: container.name.clone(),
                image: container.image.clone(),
                policy: container.pull_policy,
                attempt,
            })
        })
    }

    /// Says of a job's pod that it is begun.
    pub(super) fn pulling(&self, job: &Job, say: Say<'_>) {
        if let Some(entry) = self
            .entries
            .iter()
            .find(|entry| entry.pod.metadata.uid == job.pod)
        {
            let message = format_args!("Pulling image \"{}\"", job.image);
            say(&entry.pod.metadata, Severity::Normal, "Pulling", message);
        }
    }

    /// Takes how fetching an image went.
    pub(super) fn pulled<R: Runtime>(
        &mut self,
        job: &Job,
        result: Result<Image, PullError>,
        took: Duration,
        now: Moment,
        (runtime, say): (&R, Say<'_>),
    ) {
        if let Some(Entry { pod, worker, .. }) = self.entry(&job.pod) {
            let around = Around {
                runtime,
                say,
                metadata: &pod.metadata,
            };
            let image = &job.image;
            worker.pulled(pod, job.index, Fetched { image, result, took }, now, &around);
        }
    }

    /// Takes how starting a container went.
    pub(super) fn started<R: Runtime>(
        &mut self,
        job: &Job,
        result: Result<(), StartError>,
        now: Moment,
        (runtime, say): (&R, Say<'_>),
    ) {
        if let Some(Entry { pod, worker, .. }) = self.entry(&job.pod) {
            worker.started(
                pod,
                job.index,
                result,
                now,
                &Around {
                    runtime,
                    say,
                    metadata: &pod.metadata,
                },
            );
        }
    }

    /// What the API server is to be told now.
    ///
    /// # Errors
    /// There is nothing to tell now; says when there is.
    pub(super) fn next_telling(&self, now: Moment) -> Result<Telling, Option<Duration>> {
        let mut first: Option<(&Pod, &Worker, Owed, Duration)> = None;
        let mut offer = |pod, worker, owed, not_before| {
            if first.is_none_or(|(.., least)| not_before < least) {
                first = Some((pod, worker, owed, not_before));
            }
        };
        for Entry {
            pod,
            worker,
            report,
            admission,
            ..
        } in &self.entries
        {
            if *admission == Admission::Done
                && let Some(owed) = report.owed(pod, worker)
            {
                offer(pod, worker, owed, report.not_before());
            }
        }
        if let Some(own) = &self.own
            && let Some((owed, not_before)) = own.owed()
        {
            offer(&own.pod, &own.worker, owed, not_before);
        }
        let Some((pod, worker, owed, not_before)) = first else {
            return Err(None);
        };
        if not_before > now.up {
            return Err(Some(not_before));
        }
        let (mut body, mut conditions) = (String::new(), Conditions::default());
        match owed {
            Owed::Status(_) => with_status(pod, worker, now, &self.host_ip, self.scheme, &mut |status| {
                status.write(&mut body);
                conditions = status.conditions();
            }),
            Owed::Deletion => pod::write_delete_options(&mut body, &pod.metadata.uid),
            // Who its owner is the node knows.
            Owed::Creation => {}
        }
        let Metadata {
            uid, namespace, name, ..
        } = pod.metadata.clone();
        Ok(Telling {
            uid,
            namespace,
            name,
            owed,
            conditions,
            body,
        })
    }

    /// Takes the API server's answer. Returns whether a person should hear of it.
    pub(super) fn told(&mut self, telling: &Telling, result: Result<(), &ApiError>, now: Moment) -> bool {
        let Telling {
            uid,
            owed,
            conditions,
            ..
        } = telling;
        if let Some(own) = &mut self.own
            && own.is_told(uid)
        {
            return own.answered(*owed, *conditions, result, now);
        }
        if let Some(entry) = self.entry(&telling.uid) {
            let was_gone = entry.report.gone;
            let Entry { worker, report, .. } = entry;
            report.answered(telling.owed, telling.conditions, result, worker, now);
            if entry.report.gone && !was_gone {
                entry.worker.end(&entry.pod, now);
            }
        }
        false
    }

    fn entry(&mut self, uid: &str) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| *entry.pod.metadata.uid == *uid)
    }
}

impl Entry {
    /// The API server no longer has it: what runs is ended, and nothing is told any more.
    fn vanish(&mut self, now: Moment) {
        self.report.gone = true;
        self.told_gone = true;
        self.worker.end(&self.pod, now);
    }
}

/// Stands for a uid.
fn fingerprint(uid: &str) -> u64 {
    crate::fingerprint::of(uid.bytes())
}

/// Drops what only admission looks at.
fn forget_selectors(pod: &mut Pod) {
    pod.node_selector = Vec::new();
    pod.node_affinity = None;
    pod.tolerations = Vec::new();
    pod.statuses = Vec::new();
}
