//! The node's status: what it is, what it offers, how it is.
//!
//! Computed every ten seconds, sent at once when something changed and every five minutes otherwise, as a kubelet does
//! (`pkg/kubelet/kubelet_node_status.go`, `pkg/kubelet/nodestatus/setters.go`). Numbers that move belong into
//! `/metrics`: what is said here is quantised, so that noise is not a change.

mod register;
mod report;

use crate::backoff::Backoff;
use crate::client::{ApiError, Client};
use crate::events::Recorder;
use crate::health::Health;
use crate::host::Host;
use crate::identity::IdentityController;
use crate::node::{NodeRef, Reporter};
use crate::settings::{KUBERNETES_MINOR, Settings, VERSION};
use crate::time::Time;
use alloc::boxed::Box;
use embassy_futures::select::select;
use picolet_kube::event::Severity;
use picolet_kube::node::Node;
use picolet_kube::request::{Request, Resource, Verb};
use picolet_kube::version::ServerVersion;
use picolet_platform::{Clock, Duration, Level, Log, Memory};

/// How often the status is computed and the Node looked at.
const COMPUTE: Duration = Duration::from_secs(10);
/// How often it is sent when nothing changed.
const REPORT: Duration = Duration::from_secs(300);

/// What was sent.
#[derive(Default)]
struct Reported {
    /// The status that was sent last, by its hash, and when.
    last: Option<(u64, Duration)>,
    was_ready: bool,
    /// Whether the API server's version was looked at.
    knows_version: bool,
}

/// Registers the node and reports its status.
pub(crate) struct StatusController<'a, H: Host> {
    pub(crate) settings: &'a Settings,
    pub(crate) client: &'a Client<H>,
    pub(crate) machine: &'a H::Machine,
    pub(crate) network: &'a H::Network,
    pub(crate) runtime: &'a H::Runtime,
    pub(crate) time: &'a Time<H::Machine>,
    pub(crate) events: &'a Recorder<H::Machine>,
    pub(crate) node: &'a NodeRef,
    pub(crate) health: &'a Health,
    pub(crate) identity: &'a IdentityController<'a, H>,
    /// Who has a condition to report, beside those of every kubelet.
    pub(crate) reporters: &'a [&'a dyn Reporter],
}

impl<H: Host> StatusController<'_, H> {
    /// Registers the node and reports its status, for ever.
    pub(crate) async fn run(&self) {
        self.events
            .node(Severity::Normal, "Starting", format_args!("Starting kubelet."));
        self.register().await;
        let mut reported = Reported::default();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        loop {
            match self.report(&mut reported).await {
                Ok(()) => {
                    backoff.reset();
                    if !reported.knows_version {
                        reported.knows_version = self.check_version().await;
                    }
                }
                Err(error) if error.code() == 404 => {
                    self.machine.log(
                        Level::Warn,
                        format_args!("the Node was deleted: registering it again"),
                    );
                    reported.last = None;
                    *self.node.object.borrow_mut() = Node::default();
                    // An API server that takes the Node may not have it afterwards.
                    backoff.wait(self.machine).await;
                    self.register().await;
                    continue;
                }
                Err(error) => self
                    .machine
                    .log(Level::Warn, format_args!("the status was not reported: {error}")),
            }
            self.health.look(self.machine.uptime());
            select(self.machine.sleep(COMPUTE), self.node.outdated.wait()).await;
        }
    }

    async fn report(&self, reported: &mut Reported) -> Result<(), ApiError> {
        let name = &*self.node.name;
        self.client.confirm_time().await?;
        let node = self.read().await?;
        if self.node.object.borrow().metadata.uid != node.metadata.uid {
            // Deleted and made again by somebody between two looks: a Lease that went with the old one must be made anew.
            self.node.registered.signal(());
        }
        *self.node.object.borrow_mut() = node;
        self.look_at_memory();
        let uptime = self.machine.uptime();
        let (body, hash, differs) = self.render();
        let due = reported
            .last
            .is_none_or(|(sent, at)| sent != hash || uptime.saturating_sub(at) >= REPORT);
        if !due && !differs {
            return Ok(());
        }
        let mut node = Node::default();
        let patch = Request {
            resource: Resource::NodeStatus(name),
            verb: Verb::StrategicMergePatch,
            body: &body,
        };
        self.client.get(&patch, &mut node).await?;
        *self.node.object.borrow_mut() = node;
        reported.last = Some((hash, uptime));
        self.health.heard(self.machine.uptime(), self.time.now());
        self.health.accept_ready(self.machine.uptime());
        if !core::mem::replace(&mut reported.was_ready, true) {
            self.events.node(
                Severity::Normal,
                "NodeReady",
                format_args!("Node {name} status is now: NodeReady"),
            );
        }
        Ok(())
    }

    /// Warns if the API server is older than the kubelet that this node says it is, which Kubernetes does not support
    /// (<https://kubernetes.io/releases/version-skew-policy/#kubelet>). Returns whether it is known.
    async fn check_version(&self) -> bool {
        let mut version = ServerVersion::default();
        let request = Request::get(Resource::Version);
        // On the heap, since it is asked once.
        if Box::pin(self.client.get(&request, &mut version)).await.is_err() {
            return false;
        }
        if version.minor.is_some_and(|minor| minor < KUBERNETES_MINOR) {
            self.events.node(
                Severity::Warning,
                "VersionSkew",
                format_args!(
                    "the API server ({}) is older than this kubelet ({VERSION}), which Kubernetes does not support: upgrade the control plane",
                    version.text
                ),
            );
        }
        true
    }

    /// Reads the Node as the API server has it at hand (`resourceVersion=0`), as a kubelet does: that asks no quorum of etcd. What
    /// is at hand may be old, so that another Node, or none, is confirmed by a quorum.
    async fn read(&self) -> Result<Node, ApiError> {
        let mut node = Node::default();
        for verb in [Verb::GetCached, Verb::Get] {
            let request = Request {
                resource: Resource::Node(&self.node.name),
                verb,
                body: "",
            };
            match self.client.get(&request, &mut node).await {
                Ok(()) if self.node.object.borrow().metadata.uid == node.metadata.uid => break,
                Ok(()) => {}
                Err(error) if error.code() == 404 && verb == Verb::GetCached => {}
                Err(error) => return Err(error),
            }
        }
        Ok(node)
    }

    /// Looks at the heap; says so when pressure begins or ends.
    fn look_at_memory(&self) {
        let free = self.machine.heap().free();
        let Some(pressure) = self.health.look_at_memory(free, self.machine.uptime()) else {
            return;
        };
        let reason = if pressure {
            "NodeHasInsufficientMemory"
        } else {
            "NodeHasSufficientMemory"
        };
        let name = &*self.node.name;
        self.events.node(
            Severity::Normal,
            reason,
            format_args!("Node {name} status is now: {reason}"),
        );
    }
}

#[cfg(test)]
mod tests;
