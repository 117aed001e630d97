//! Pods: which of them may run here, how they are run, and what the API server is told of them.
//!
//! The pods that are bound to the node are watched into a bounded table. Each has a worker, a state
//! machine that decides and never waits. Beside the watch three tasks serve all of them: one looks at every pod whenever
//! something has happened, one does what takes time (fetching images and starting containers, one after the other, as the
//! kubelet does by default), and one talks to the API server. So a pod costs some hundred bytes, and not a task with a
//! stack of its own.
//!
//! It never runs a container itself: that is the [`Runtime`]'s.

mod admission;
mod own;
mod report;
mod run;
mod table;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use table::Pods;

use crate::apart::{Task, together};
use crate::client::{Client, Store, Wanted};
use crate::events::Recorder;
use crate::host::Host;
use crate::node::{NodeRef, OPERATING_SYSTEM, amounts, pod_capacity};
use crate::settings::Settings;
use crate::signal::Signal;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::string::String;
use core::cell::RefCell;
use core::fmt::{self, Write as _};
use core::pin::pin;
use embassy_futures::select::{select, select3};
use picolet_kube::Address;
use picolet_kube::event::{Reference, Severity};
use picolet_kube::metadata::Metadata;
use picolet_kube::node::Node;
use picolet_kube::pod::{PodReader, PullPolicy};
use picolet_kube::request::{Request, Resource, Selection, Verb};
use picolet_platform::{Clock, Duration, Level, Log, Network, System};
use picolet_runtime::{ContainerId, Runtime};
use report::Owed;
use run::Moment;
use table::Site;

/// The longest that pods are not looked at: the wall clock may have been set meanwhile, by which deadlines go.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often the registration is looked for in front of which no pod can be admitted.
const REGISTRATION: Duration = Duration::from_millis(500);
/// After the node could not be read.
const NODE_AGAIN: Duration = Duration::from_secs(2);

/// The pods of a node, and who waits for them.
#[derive(Default)]
pub(crate) struct PodStore {
    pub(crate) table: RefCell<Pods>,
    /// A pod has come, changed or gone, or its containers have.
    changed: Signal,
}

/// Runs the pods of the node.
pub(crate) struct PodController<'a, H: Host> {
    pub(crate) settings: &'a Settings,
    pub(crate) client: &'a Client<H>,
    pub(crate) machine: &'a H::Machine,
    pub(crate) network: &'a H::Network,
    pub(crate) runtime: &'a H::Runtime,
    pub(crate) time: &'a Time<H::Machine>,
    pub(crate) events: &'a Recorder<H::Machine>,
    pub(crate) node: &'a NodeRef,
    pub(crate) pods: &'a PodStore,
}

impl<H: Host> PodController<'_, H> {
    /// Follows the pods of the node for ever.
    pub(crate) async fn run(&self) {
        while !self.node.is_registered() {
            self.machine.sleep(REGISTRATION).await;
        }
        self.settle();
        self.stand_for();
        let (jobs, tellings) = (Signal::new(), Signal::new());
        let store = Watched(self);
        let refused = |status: &picolet_kube::status::Status| {
            self.machine.log(
                Level::Error,
                format_args!(
                    "the API server does not let this node watch its pods: {}",
                    status.message
                ),
            );
        };
        let selection = Selection::NodeName(&self.node.name);
        let tasks: &mut [Task<'_>] = &mut [
            &mut pin!(self.client.follow(Resource::Pods, selection, &store, &refused)),
            &mut pin!(self.look(&jobs, &tellings)),
            &mut pin!(self.work(&jobs)),
            &mut pin!(self.tell(&tellings)),
        ];
        together(tasks).await;
    }

    fn moment(&self) -> Moment {
        Moment {
            up: self.machine.uptime(),
            time: self.time.now(),
        }
    }

    /// Makes the pod that stands for the node.
    #[inline(never)]
    pub(crate) fn stand_for(&self) {
        let reset = own::Reset {
            reason: self.machine.reset_reason(),
            crash: self.machine.last_crash(),
        };
        let board = self.machine.machine().board;
        let image = alloc::format!("picolet.dev/{board}:{}", env!("CARGO_PKG_VERSION"));
        let own = own::Own::new(&self.node.name, image, &reset, self.moment());
        self.pods.table.borrow_mut().stand_for(own);
    }

    fn say(&self, about: &Metadata, severity: Severity, reason: &'static str, message: fmt::Arguments<'_>) {
        let about = Reference {
            kind: "Pod",
            namespace: &about.namespace,
            name: &about.name,
            uid: &about.uid,
        };
        self.events.record(about, severity, reason, message);
    }

    /// Tells the table what may have changed about the node.
    fn settle(&self) {
        let mut host_ip = String::new();
        if let Some(address) = self.network.address() {
            let _ = write!(host_ip, "{}", Address(address));
        }
        let version = self.runtime.version();
        let scheme = version.split_once(':').map_or(version, |(name, _)| name);
        let capacity = usize::try_from(pod_capacity(self.settings).value()).unwrap_or(0);
        self.pods.table.borrow_mut().settle(host_ip, scheme, capacity);
    }

    /// Looks at every pod whenever something may have happened.
    async fn look(&self, jobs: &Signal, tellings: &Signal) {
        loop {
            self.settle();
            let now = self.moment();
            let wake = {
                let (node, allocatable) = (
                    self.node.object.borrow(),
                    amounts(self.settings, self.machine, true),
                );
                let site = Site {
                    node: &node,
                    node_name: &self.node.name,
                    os: OPERATING_SYSTEM,
                    allocatable: &allocatable,
                    now,
                };
                let say = |about: &Metadata, severity, reason, message: fmt::Arguments<'_>| {
                    self.say(about, severity, reason, message);
                };
                self.pods.table.borrow_mut().step(&site, self.runtime, &say)
            };
            jobs.signal(());
            tellings.signal(());
            let rest = wake.map_or(LOOK_AGAIN, |wake| wake.saturating_sub(now.up).min(LOOK_AGAIN));
            select3(
                self.pods.changed.wait(),
                self.runtime.changed(),
                self.machine.sleep(rest),
            )
            .await;
        }
    }

    /// Fetches images and starts containers, one after the other.
    async fn work(&self, bell: &Signal) {
        let say = |about: &Metadata, severity, reason, message: fmt::Arguments<'_>| {
            self.say(about, severity, reason, message);
        };
        loop {
            let job = self.pods.table.borrow_mut().next_job();
            let Some(job) = job else {
                bell.wait().await;
                continue;
            };
            let begun = self.machine.uptime();
            match job.attempt {
                None => {
                    if job.policy == PullPolicy::Always || !self.runtime.has(&job.image) {
                        self.pods.table.borrow().pulling(&job, &say);
                    }
                    let result = self.runtime.pull(&job.image, job.policy).await;
                    let took = self.machine.uptime().saturating_sub(begun);
                    let now = self.moment();
                    self.pods
                        .table
                        .borrow_mut()
                        .pulled(&job, result, took, now, (self.runtime, &say));
                }
                Some(attempt) => {
                    let id = ContainerId {
                        pod: &job.pod,
                        container: &job.container,
                        attempt,
                    };
                    let result = self.runtime.start(id, &job.image).await;
                    let now = self.moment();
                    self.pods
                        .table
                        .borrow_mut()
                        .started(&job, result, now, (self.runtime, &say));
                }
            }
            self.pods.changed.signal(());
        }
    }

    /// Tells the API server what it has not heard yet.
    async fn tell(&self, bell: &Signal) {
        loop {
            let wants_node = self.pods.table.borrow().wants_node();
            if wants_node {
                let name = Resource::Node(&self.node.name);
                let mut node = Node::default();
                match Box::pin(self.client.get(&Request::get(name), &mut node)).await {
                    Ok(()) => *self.node.object.borrow_mut() = node,
                    Err(error) if error.code() == 0 || error.code() >= 429 => {
                        self.machine.sleep(NODE_AGAIN).await;
                        continue;
                    }
                    // What is known must do.
                    Err(_) => {}
                }
                self.pods.table.borrow_mut().node_known();
                self.pods.changed.signal(());
            }
            let next = self.pods.table.borrow().next_telling(self.moment());
            let mut telling = match next {
                Ok(telling) => telling,
                Err(None) => {
                    bell.wait().await;
                    continue;
                }
                Err(Some(at)) => {
                    let rest = at.saturating_sub(self.machine.uptime());
                    select(bell.wait(), self.machine.sleep(rest)).await;
                    continue;
                }
            };
            let (namespace, name) = (&*telling.namespace, &*telling.name);
            let (resource, verb) = match telling.owed {
                Owed::Status(_) => (Resource::PodStatus { namespace, name }, Verb::StrategicMergePatch),
                Owed::Deletion => (Resource::Pod { namespace, name }, Verb::Delete),
                Owed::Creation => (Resource::PodsIn { namespace }, Verb::Create),
            };
            let mut body = core::mem::take(&mut telling.body);
            if telling.owed == Owed::Creation {
                let node = self.node.object.borrow();
                self.pods
                    .table
                    .borrow()
                    .write_mirror(&mut body, &node.metadata.uid);
            }
            let body = &*body;
            // It is large, rare and one at a time: on the heap it costs nothing while nothing is told.
            let request = Request { resource, verb, body };
            let result = if telling.owed == Owed::Creation {
                let named = Resource::Pod { namespace, name };
                Box::pin(self.client.create(&request, named, Wanted::Nothing)).await
            } else {
                Box::pin(self.client.post(&request)).await
            };
            if let Err(error) = &result {
                // This status is not sent again.
                let dropped = matches!(telling.owed, Owed::Status(_)) && error.is_permanent();
                let level = if dropped { Level::Warn } else { Level::Debug };
                self.machine
                    .log(level, format_args!("{} {resource}: {error}", verb.name()));
            }
            let now = self.moment();
            let told = result.as_ref().copied();
            let is_news = self.pods.table.borrow_mut().told(&telling, told, now);
            if is_news && let Err(error) = &result {
                let line = format_args!(
                    "the pod {}/{} that stands for this node is not there, and `kubectl logs` of it neither: {error}",
                    telling.namespace, telling.name
                );
                self.machine.log(Level::Warn, line);
            }
            self.pods.changed.signal(());
        }
    }
}

/// The table, as what the watch writes to.
struct Watched<'a, H: Host>(&'a PodController<'a, H>);

impl<H: Host> Store for Watched<'_, H> {
    type Object = PodReader;

    fn reader(&self) -> PodReader {
        PodReader::default()
    }

    fn list_begins(&self) {
        self.0.pods.table.borrow_mut().list_begins();
    }

    fn applied(&self, object: &mut PodReader) {
        let pod = &mut object.pod;
        if pod.metadata.uid.is_empty() {
            return; // it had none, or one that was longer than any
        }
        let now = self.0.moment();
        let (taken, evicted) = self.0.pods.table.borrow_mut().applied(pod, now);
        if let Some(uid) = evicted {
            self.0.runtime.forget(&uid);
        }
        if !taken {
            let line = format_args!(
                "more pods came at once than the node has places for: one is left until the next list"
            );
            self.0.machine.log(Level::Error, line);
        }
        self.0.pods.changed.signal(());
    }

    fn deleted(&self, object: &mut PodReader) {
        let now = self.0.moment();
        self.0.pods.table.borrow_mut().deleted(&object.pod.metadata, now);
        self.0.pods.changed.signal(());
    }

    fn list_ends(&self) {
        let now = self.0.moment();
        self.0.pods.table.borrow_mut().list_ends(now);
        self.0.pods.changed.signal(());
    }

    fn room(&self) -> bool {
        self.0.pods.table.borrow().has_room()
    }
}
