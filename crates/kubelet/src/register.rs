//! Becoming a node: creating the Node object, or adopting the one that is there.
//!
//! Source: `pkg/kubelet/kubelet_node_status.go`, `registerWithAPIServer`. Taints go into the first POST, since
//! NodeRestriction lets a node set them only then; labels are the only thing that is reconciled later.

use crate::agent::Agent;
use crate::backoff::Backoff;
use crate::client::ApiError;
use crate::host::Host;
use crate::status;
use crate::time;
use alloc::string::String;
use picolet_kube::event::Severity;
use picolet_kube::node::{Node, write_labels_patch, write_node};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{Duration, Level, Log, System};

/// What runs here is WebAssembly, whatever the machine is: this also keeps away the DaemonSets that select Linux.
pub(crate) const OPERATING_SYSTEM: &str = "wasip1";
/// See [`OPERATING_SYSTEM`].
pub(crate) const ARCHITECTURE: &str = "wasm";

impl<H: Host> Agent<H> {
    /// The labels that the node gives itself; all of them are allowed by NodeRestriction.
    pub(crate) fn labels(&self) -> [(&'static str, &str); 6] {
        let machine = self.platform.machine();
        [
            ("kubernetes.io/hostname", &self.settings.node_name),
            ("kubernetes.io/os", OPERATING_SYSTEM),
            ("kubernetes.io/arch", ARCHITECTURE),
            ("node.kubernetes.io/instance-type", machine.board),
            ("picolet.dev/board", machine.board),
            ("picolet.dev/mcu", machine.mcu),
        ]
    }
}

/// Registers the node, however long it takes, and keeps the Node as the API server has it.
pub(crate) async fn register<H: Host>(agent: &Agent<H>) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
    let mut told = String::new();
    loop {
        match try_to_register(agent).await {
            Ok(()) => break,
            Err(error) => {
                // The same trouble again is not worth a line each time.
                let words = alloc::format!("{error}");
                let level = if told == words { Level::Debug } else { Level::Warn };
                agent
                    .platform
                    .log(level, format_args!("the node is not registered yet: {words}"));
                if level == Level::Warn
                    && let Some(remedy) = remedy(error.code())
                {
                    agent.platform.log(Level::Warn, format_args!("{remedy}"));
                }
                told = words;
            }
        }
        backoff.wait(&agent.platform).await;
    }
    agent.platform.log(
        Level::Info,
        format_args!("registered as node {}", agent.settings.node_name),
    );
    #[cfg(feature = "identity")]
    {
        crate::identity::confirm(agent).await;
        agent.signals.certificates.signal(());
    }
    agent.signals.registered.signal(());
}

fn remedy(code: u16) -> Option<&'static str> {
    match code {
        401 => Some(
            "the API server does not accept the client certificate: is it of this cluster's CA, and not expired?",
        ),
        403 => Some(
            "the certificate must say CN=system:node:NAME and O=system:nodes for this node's name, and no other",
        ),
        422 => Some("the node's name must be a DNS subdomain: lower-case letters, digits, '-' and '.'"),
        _ => None,
    }
}

async fn try_to_register<H: Host>(agent: &Agent<H>) -> Result<(), ApiError> {
    let name = &*agent.settings.node_name;
    time::confirm(agent).await?;
    let mut body = String::new();
    status::with_report(agent, &Node::default(), false, &mut |report| {
        write_node(&mut body, &agent.labels(), &agent.settings.taints, report);
    });
    let create = Request {
        resource: Resource::Nodes,
        verb: Verb::Create,
        body: &body,
    };
    let mut node = Node::default();
    match agent.get(&create, &mut node).await {
        Ok(()) => {}
        Err(error) if error.code() == 409 => {
            agent.get(&Request::get(Resource::Node(name)), &mut node).await?;
            adopt(agent, &mut node).await?;
        }
        Err(error) => return Err(error),
    }
    *agent.node.borrow_mut() = node;
    Ok(())
}

/// Makes the Node that is there ours: its labels, and a word about the reboot.
async fn adopt<H: Host>(agent: &Agent<H>, found: &mut Node) -> Result<(), ApiError> {
    let name = &*agent.settings.node_name;
    let machine = agent.platform.machine();
    #[cfg(feature = "identity")]
    if !found.machine_id.is_empty() && &*found.machine_id != machine.machine_id {
        // A bootstrap token gets a certificate for any name: one that is taken must not be had by accident.
        if !agent.owns_name() {
            return Err(ApiError::NameTaken);
        }
        agent.platform.log(
            Level::Warn,
            format_args!("adopted the Node of machine ID {}", found.machine_id),
        );
    }
    if !found.boot_id.is_empty() && &*found.boot_id != machine.boot_id {
        agent.node_event(
            Severity::Warning,
            "Rebooted",
            format_args!("Node {name} has been rebooted, boot id: {}", machine.boot_id),
        );
        if let Some(crash) = agent.platform.last_crash() {
            agent.node_event(
                Severity::Warning,
                "Crashed",
                format_args!("The run before ended: {crash}"),
            );
        }
    }
    let labels = agent.labels();
    if labels.iter().all(|(key, value)| found.label(key) == Some(value)) {
        return Ok(());
    }
    let mut body = String::new();
    write_labels_patch(&mut body, &labels);
    *found = Node::default();
    let patch = Request {
        resource: Resource::Node(name),
        verb: Verb::StrategicMergePatch,
        body: &body,
    };
    agent.get(&patch, found).await
}
