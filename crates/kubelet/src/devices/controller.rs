//! Follows the ConfigMaps that drive the device, and reports on each what became of it.

use super::Devices;
use super::layers::{BASE, LABELLED, Outcome};
use super::values::Parser;
use crate::apart::{Task, together};
use crate::client::{Client, Store};
use crate::events::Recorder;
use crate::host::Host;
use crate::metrics::{Metrics, count};
use crate::node::NodeRef;
use crate::settings::Settings;
use crate::time::Time;
use core::fmt;
use core::pin::pin;
use picolet_kube::config_map::ConfigMap;
use picolet_kube::event::{Reference, Severity};
use picolet_kube::request::{Resource, Selection};
use picolet_kube::status::Status;
use picolet_platform::{Level, Log, Pins};

/// The label by which a ConfigMap is for a node of that name, or for `all`.
const LABEL: &str = "picolet.dev/node";

/// Follows either the base or the labelled ConfigMaps.
struct Follower<'a, H: Host> {
    controller: &'a ConfigurationController<'a, H>,
    base: bool,
}

impl<H: Host> Follower<'_, H> {
    /// Whether this follower is the one for a ConfigMap of that name.
    fn follows(&self, name: &str) -> bool {
        (name == BASE) == self.base
    }

    /// Reports what became of ConfigMaps, and brings the device in line with them where they changed.
    fn update(&self, changed: bool) {
        let controller = self.controller;
        controller
            .devices
            .report(&mut |name, uid, outcome| self.report(name, uid, &outcome));
        if changed {
            controller.devices.drive(controller.machine);
            controller.node.outdated.signal(());
        }
    }

    fn record(
        &self,
        (name, uid): (&str, &str),
        severity: Severity,
        reason: &'static str,
        message: fmt::Arguments<'_>,
    ) {
        let about = Reference {
            kind: "ConfigMap",
            namespace: &self.controller.settings.config_namespace,
            name,
            uid,
        };
        self.controller.events.record(about, severity, reason, message);
    }

    fn report(&self, name: &str, uid: &str, outcome: &Outcome<'_>) {
        let (metrics, map) = (self.controller.metrics, (name, uid));
        match outcome {
            Outcome::Applied => {
                count(&metrics.configuration_applied);
                let line = format_args!("ConfigMap {name} applied");
                self.controller.machine.log(Level::Info, line);
            }
            Outcome::Cured => {
                count(&metrics.configuration_applied);
                let message = format_args!("applied: what it conflicted with has changed");
                self.record(map, Severity::Normal, "ConfigurationApplied", message);
            }
            Outcome::Rejected(why) => {
                count(&metrics.configuration_rejected);
                let rest = if why.keeps_last_good() {
                    "change was applied; the last good state stays"
                } else {
                    "ConfigMap is applied"
                };
                let message = format_args!("{why}. Nothing of this {rest}.");
                self.record(map, Severity::Warning, "InvalidConfiguration", message);
            }
            Outcome::NoRoom => {
                let message = format_args!(
                    "the node follows {} ConfigMaps beside {BASE}, the first by their names, and has no room for this one: put its values into another",
                    LABELLED as u32
                );
                self.record(map, Severity::Warning, "TooManyConfigMaps", message);
            }
        }
    }
}

impl<H: Host> Store for Follower<'_, H> {
    type Object = ConfigMap<Parser>;

    fn reader(&self) -> Self::Object {
        ConfigMap::new(Parser::new(self.controller.machine.pins()))
    }

    fn list_begins(&self) {
        self.controller.devices.list_begins(self.base);
    }

    fn applied(&self, map: &mut Self::Object) {
        let controller = self.controller;
        if !self.follows(&map.metadata.name) {
            return; // the base, which happens to carry the label too
        }
        let now = controller.time.now();
        let changed = controller.devices.apply(&map.metadata, &mut map.data, now);
        self.update(changed);
        if changed
            && let Some(key) = &map.data.unknown
            && controller.devices.is_in_force(&map.metadata.name)
        {
            self.record(
                (&map.metadata.name, &map.metadata.uid),
                Severity::Warning,
                "UnknownConfiguration",
                format_args!(
                    "{key}: no such key; memory_values, gpio and led are known. The others were applied."
                ),
            );
        }
    }

    fn deleted(&self, map: &mut Self::Object) {
        let (controller, name) = (self.controller, &map.metadata.name);
        let removed = self.follows(name) && controller.devices.remove(name, controller.time.now());
        if removed {
            controller.machine.log(
                Level::Info,
                format_args!("ConfigMap {name} is gone, and its values with it"),
            );
        }
        self.update(removed);
    }

    fn list_ends(&self) {
        let controller = self.controller;
        self.update(controller.devices.list_ends(self.base, controller.time.now()));
    }

    fn is_outdated(&self) -> bool {
        !self.base && self.controller.devices.has_room()
    }
}

/// Follows the ConfigMaps that drive the device.
pub(crate) struct ConfigurationController<'a, H: Host> {
    pub(crate) settings: &'a Settings,
    pub(crate) client: &'a Client<H>,
    pub(crate) machine: &'a H::Machine,
    pub(crate) time: &'a Time<H::Machine>,
    pub(crate) events: &'a Recorder<H::Machine>,
    pub(crate) node: &'a NodeRef,
    pub(crate) metrics: &'a Metrics,
    pub(crate) devices: &'a Devices,
}

impl<H: Host> ConfigurationController<'_, H> {
    /// Follows the ConfigMaps, for ever.
    pub(crate) async fn run(&self) {
        let namespace = &*self.settings.config_namespace;
        let name = &*self.node.name;
        let resource = Resource::ConfigMaps { namespace };
        let refused = |what: &str, status: &Status| {
            self.events.node(
            Severity::Warning,
            "ConfigurationForbidden",
            format_args!(
                "{what} of namespace {namespace} may not be watched (HTTP {}); apply deploy/rbac.yaml in that namespace",
                u32::from(status.code)
            ),
        );
        };
        let base = Follower {
            controller: self,
            base: true,
        };
        let labelled = Follower {
            controller: self,
            base: false,
        };
        let base_refused = |status: &Status| refused("ConfigMap pico-config", status);
        let labelled_refused =
            |status: &Status| refused("ConfigMaps with the label picolet.dev/node", status);
        let (name, label) = (Selection::Name(BASE), Selection::LabelIn(LABEL, [name, "all"]));
        let tasks: &mut [Task<'_>] = &mut [
            &mut pin!(self.client.follow(resource, name, &base, &base_refused)),
            &mut pin!(self.client.follow(resource, label, &labelled, &labelled_refused)),
        ];
        together(tasks).await;
    }
}
