//! Becoming a node: creating the Node object, or adopting the one that is there.
//!
//! Source: `pkg/kubelet/kubelet_node_status.go`, `registerWithAPIServer`. Taints go into the first POST, since
//! NodeRestriction lets a node set them only then; labels are the only thing that is reconciled later.

use super::StatusController;
use crate::backoff::Backoff;
use crate::client::{ApiError, Wanted};
use crate::host::Host;
use crate::node::{ARCHITECTURE, OPERATING_SYSTEM};
use alloc::string::String;
use picolet_kube::event::Severity;
use picolet_kube::node::{Node, write_labels_patch, write_node};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{Duration, Level, Log, System};

impl<H: Host> StatusController<'_, H> {
    /// The labels that the node gives itself; all of them are allowed by NodeRestriction.
    fn labels(&self) -> [(&'static str, &str); 7] {
        let machine = self.machine.machine();
        [
            ("kubernetes.io/hostname", &self.node.name),
            ("kubernetes.io/os", OPERATING_SYSTEM),
            ("kubernetes.io/arch", ARCHITECTURE),
            ("node.kubernetes.io/instance-type", machine.board),
            // Nothing behind a load balancer runs here.
            ("node.kubernetes.io/exclude-from-external-load-balancers", ""),
            ("picolet.dev/board", machine.board),
            ("picolet.dev/mcu", machine.mcu),
        ]
    }

    /// Registers the node, however long it takes, and keeps the Node as the API server has it.
    pub(super) async fn register(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
        let mut told = String::new();
        loop {
            match self.try_to_register().await {
                Ok(()) => break,
                Err(error) => {
                    // The same trouble again is not worth a line each time.
                    let words = alloc::format!("{error}");
                    let level = if told == words { Level::Debug } else { Level::Warn };
                    self.machine
                        .log(level, format_args!("the node is not registered yet: {words}"));
                    if level == Level::Warn
                        && let Some(remedy) = remedy(error.code())
                    {
                        self.machine.log(Level::Warn, format_args!("{remedy}"));
                    }
                    told = words;
                }
            }
            backoff.wait(self.machine).await;
        }
        self.machine.log(
            Level::Info,
            format_args!("registered as node {}", self.settings.node_name),
        );
        {
            self.identity.confirm().await;
        }
        self.node.registered.signal(());
    }

    async fn try_to_register(&self) -> Result<(), ApiError> {
        let name = &*self.node.name;
        self.client.confirm_time().await?;
        let mut body = String::new();
        self.with_report(&Node::default(), &mut |report| {
            write_node(&mut body, &self.labels(), &self.settings.taints, report);
        });
        let create = Request {
            resource: Resource::Nodes,
            verb: Verb::Create,
            body: &body,
        };
        let mut node = Node::default();
        let named = Resource::Node(name);
        let wanted = Wanted::object(&mut node);
        match self.client.create(&create, named, wanted).await {
            Ok(()) => {}
            Err(error) if error.code() == 409 => {
                self.client.get(&Request::get(named), &mut node).await?;
            }
            Err(error) => return Err(error),
        }
        // One that was found may be of somebody else; in one that was created there is nothing to do.
        self.adopt(&mut node).await?;
        *self.node.object.borrow_mut() = node;
        Ok(())
    }

    /// Makes the Node that is there ours: its labels, and a word about the reboot.
    async fn adopt(&self, found: &mut Node) -> Result<(), ApiError> {
        let name = &*self.node.name;
        let machine = self.machine.machine();
        if !found.machine_id.is_empty() && &*found.machine_id != machine.machine_id {
            // A bootstrap token gets a certificate for any name: one that is taken must not be had by accident.
            if !self.identity.owns_name() {
                return Err(ApiError::NameTaken);
            }
            self.machine.log(
                Level::Warn,
                format_args!("adopted the Node of machine ID {}", found.machine_id),
            );
        }
        if !found.boot_id.is_empty() && &*found.boot_id != machine.boot_id {
            self.events.node(
                Severity::Warning,
                "Rebooted",
                format_args!("Node {name} has been rebooted, boot id: {}", machine.boot_id),
            );
            if let Some(crash) = self.machine.last_crash() {
                self.events.node(
                    Severity::Warning,
                    "Crashed",
                    format_args!("The run before ended: {crash}"),
                );
            }
        }
        let labels = self.labels();
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
        self.client.get(&patch, found).await
    }
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
