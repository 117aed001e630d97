//! Pods: which of them may run here, how they are run, and what the API server is told of them.
//!
//! The pods that are bound to the node are watched into a bounded table. Each has a worker, a state
//! machine that decides and never waits. Beside the watch three tasks serve all of them: one looks at every pod whenever
//! something has happened, one does what takes time (fetching images and starting containers, one after the other, as the
//! kubelet does by default), and one talks to the API server. So a pod costs some hundred bytes, and not a task with a
//! stack of its own.
//!
//! It never runs a container itself: that is the [`Runtime`](picolet_runtime::Runtime)'s.

mod admission;
mod own;
mod report;
mod table;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use table::Pods;

use crate::address::Address;
use crate::agent::Agent;
use crate::apart::{Task, together};
use crate::host::Host;
use crate::register::OPERATING_SYSTEM;
use crate::watch::{self, Store};
use alloc::boxed::Box;
use core::fmt::{self, Write as _};
use core::pin::pin;
use embassy_futures::select::{select, select3};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use picolet_kube::event::{Reference, Severity};
use picolet_kube::metadata::Metadata;
use picolet_kube::node::Node;
use picolet_kube::pod::{PodReader, PullPolicy};
use picolet_kube::request::{Request, Resource, Selection, Verb};
use picolet_platform::{Clock, Duration, Level, Log, Network, System};
use picolet_runtime::{ContainerId, Runtime};
use report::Owed;
use table::Site;
use worker::Moment;

/// The longest that pods are not looked at: the wall clock may have been set meanwhile, by which deadlines go.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often the registration is looked for in front of which no pod can be admitted.
const REGISTRATION: Duration = Duration::from_millis(500);
/// After the node could not be read.
const NODE_AGAIN: Duration = Duration::from_secs(2);

type Bell = Signal<NoopRawMutex, ()>;

/// Follows the pods of the node for ever.
pub(crate) async fn run<H: Host>(agent: &Agent<H>) {
    while agent.node.borrow().metadata.uid.is_empty() {
        agent.platform.sleep(REGISTRATION).await;
    }
    agent.settle_pods();
    agent.stand_for();
    let (jobs, tellings) = (Bell::new(), Bell::new());
    let store = Watched(agent);
    let refused = |status: &picolet_kube::status::Status| {
        agent.platform.log(
            Level::Error,
            format_args!(
                "the API server does not let this node watch its pods: {}",
                status.message
            ),
        );
    };
    let selection = Selection::NodeName(&agent.settings.node_name);
    let tasks: &mut [Task<'_>] = &mut [
        pin!(watch::run(agent, Resource::Pods, selection, &store, &refused)),
        pin!(look(agent, &jobs, &tellings)),
        pin!(work(agent, &jobs)),
        pin!(tell(agent, &tellings)),
    ];
    together(tasks).await;
}

impl<H: Host> Agent<H> {
    fn moment(&self) -> Moment {
        Moment {
            up: self.platform.uptime(),
            time: self.now(),
        }
    }

    /// Makes the pod that stands for the node.
    pub(crate) fn stand_for(&self) {
        let reset = own::Reset {
            reason: self.platform.reset_reason(),
            crash: self.platform.last_crash(),
        };
        let board = self.platform.machine().board;
        let image = alloc::format!("picolet.dev/{board}:{}", env!("CARGO_PKG_VERSION"));
        let own = own::Own::new(&self.settings.node_name, image, &reset, self.moment());
        self.pods.borrow_mut().stand_for(own);
    }

    fn say(&self, about: &Metadata, severity: Severity, reason: &'static str, message: fmt::Arguments<'_>) {
        let about = Reference {
            kind: "Pod",
            namespace: &about.namespace,
            name: &about.name,
            uid: &about.uid,
        };
        self.event(about, severity, reason, message);
    }

    /// Tells the table what may have changed about the node.
    fn settle_pods(&self) {
        let mut host_ip = heapless::String::new();
        if let Some(address) = self.network.address() {
            // The longest address fits.
            let _ = write!(host_ip, "{}", Address(address));
        }
        let version = self.runtime.version();
        let scheme = version.split_once(':').map_or(version, |(name, _)| name);
        let amounts = self.amounts(true);
        let pods = amounts
            .iter()
            .find(|(name, _)| *name == "pods")
            .map_or(0, |(_, amount)| amount.value());
        self.pods
            .borrow_mut()
            .settle(host_ip, scheme, usize::try_from(pods).unwrap_or(0));
    }
}

/// Looks at every pod whenever something may have happened.
async fn look<H: Host>(agent: &Agent<H>, jobs: &Bell, tellings: &Bell) {
    loop {
        agent.settle_pods();
        let now = agent.moment();
        let wake = {
            let (node, allocatable) = (agent.node.borrow(), agent.amounts(true));
            let site = Site {
                node: &node,
                node_name: &agent.settings.node_name,
                os: OPERATING_SYSTEM,
                allocatable: &allocatable,
                now,
            };
            let say = |about: &Metadata, severity, reason, message: fmt::Arguments<'_>| {
                agent.say(about, severity, reason, message);
            };
            agent.pods.borrow_mut().step(&site, &agent.runtime, &say)
        };
        jobs.signal(());
        tellings.signal(());
        let rest = wake.map_or(LOOK_AGAIN, |wake| wake.saturating_sub(now.up).min(LOOK_AGAIN));
        select3(
            agent.signals.pods.wait(),
            agent.runtime.changed(),
            agent.platform.sleep(rest),
        )
        .await;
    }
}

/// Fetches images and starts containers, one after the other.
async fn work<H: Host>(agent: &Agent<H>, bell: &Bell) {
    let say = |about: &Metadata, severity, reason, message: fmt::Arguments<'_>| {
        agent.say(about, severity, reason, message);
    };
    loop {
        let job = agent.pods.borrow_mut().next_job();
        let Some(job) = job else {
            bell.wait().await;
            continue;
        };
        let begun = agent.platform.uptime();
        match job.attempt {
            None => {
                if job.policy == PullPolicy::Always || !agent.runtime.has(&job.image) {
                    agent.pods.borrow().pulling(&job, &say);
                }
                let result = agent.runtime.pull(&job.image, job.policy).await;
                let took = agent.platform.uptime().saturating_sub(begun);
                let now = agent.moment();
                agent
                    .pods
                    .borrow_mut()
                    .pulled(&job, result, took, now, (&agent.runtime, &say));
            }
            Some(attempt) => {
                let id = ContainerId {
                    pod: &job.pod,
                    container: &job.container,
                    attempt,
                };
                let result = agent.runtime.start(id, &job.image).await;
                let now = agent.moment();
                agent
                    .pods
                    .borrow_mut()
                    .started(&job, result, now, (&agent.runtime, &say));
            }
        }
        agent.signals.pods.signal(());
    }
}

/// Tells the API server what it has not heard yet.
async fn tell<H: Host>(agent: &Agent<H>, bell: &Bell) {
    loop {
        let wants_node = agent.pods.borrow().wants_node();
        if wants_node {
            let name = Resource::Node(&agent.settings.node_name);
            let mut node = Node::default();
            match Box::pin(agent.get(&Request::get(name), &mut node)).await {
                Ok(()) => *agent.node.borrow_mut() = node,
                Err(error) if error.code() == 0 || error.code() >= 429 => {
                    agent.platform.sleep(NODE_AGAIN).await;
                    continue;
                }
                // What is known must do.
                Err(_) => {}
            }
            agent.pods.borrow_mut().node_known();
            agent.signals.pods.signal(());
        }
        let next = agent.pods.borrow().next_telling(agent.moment());
        let mut telling = match next {
            Ok(telling) => telling,
            Err(None) => {
                bell.wait().await;
                continue;
            }
            Err(Some(at)) => {
                let rest = at.saturating_sub(agent.platform.uptime());
                select(bell.wait(), agent.platform.sleep(rest)).await;
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
            let node = agent.node.borrow();
            agent.pods.borrow().write_mirror(&mut body, &node.metadata.uid);
        }
        let body = &*body;
        // It is large, rare and one at a time: on the heap it costs nothing while nothing is told.
        let result = Box::pin(agent.post(&Request { resource, verb, body })).await;
        if let Err(error) = &result {
            agent
                .platform
                .log(Level::Debug, format_args!("{} {resource}: {error}", verb.name()));
        }
        let now = agent.moment();
        let told = result.as_ref().copied();
        let is_news = agent.pods.borrow_mut().told(&telling, told, now);
        if is_news && let Err(error) = &result {
            let line = format_args!(
                "the pod {}/{} that stands for this node is not there, and `kubectl logs` of it neither: {error}",
                telling.namespace, telling.name
            );
            agent.platform.log(Level::Warn, line);
        }
        agent.signals.pods.signal(());
    }
}

/// The table, as what the watch writes to.
struct Watched<'a, H: Host>(&'a Agent<H>);

impl<H: Host> Store for Watched<'_, H> {
    type Object = PodReader;

    fn reader(&self) -> PodReader {
        PodReader::default()
    }

    fn list_begins(&self) {
        self.0.pods.borrow_mut().list_begins();
    }

    fn applied(&self, object: &mut PodReader) {
        let pod = &mut object.pod;
        if pod.metadata.uid.is_empty() {
            return; // it had none, or one that was longer than any
        }
        let now = self.0.moment();
        let (taken, evicted) = self.0.pods.borrow_mut().applied(pod, now);
        if let Some(uid) = evicted {
            self.0.runtime.forget(&uid);
        }
        if !taken {
            let line = format_args!(
                "more pods came at once than the node has places for: one is left until the next list"
            );
            self.0.platform.log(Level::Error, line);
        }
        self.0.signals.pods.signal(());
    }

    fn deleted(&self, object: &mut PodReader) {
        let now = self.0.moment();
        self.0.pods.borrow_mut().deleted(&object.pod.metadata, now);
        self.0.signals.pods.signal(());
    }

    fn list_ends(&self) {
        let now = self.0.moment();
        self.0.pods.borrow_mut().list_ends(now);
        self.0.signals.pods.signal(());
    }

    fn room(&self) -> bool {
        self.0.pods.borrow().has_room()
    }
}
