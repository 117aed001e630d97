//! The ConfigMaps that drive the device: layers, one over the other, applied whole or not at all.
//!
//! `pico-config` is the lowest layer; ConfigMaps with the label `picolet.dev/node` (this node's name, or `all`) lie over
//! it in the order of their names, and the later wins. What leaves its layer falls back to the one below, and below the
//! last to unset. A ConfigMap with one wrong entry is refused whole, its last good state stays, and an Event on it says
//! which entry and what to do. Nothing is polled, and nothing of it outlives a reboot.

mod values;

use crate::apart::{Task, together};
use crate::client::{Client, Store};
use crate::events::Recorder;
use crate::host::Host;
use crate::led::Display;
use crate::metrics::{Metrics, count};
use crate::node::{Condition, NodeRef, Reporter};
use crate::settings::Settings;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::pin::pin;
use picolet_kube::Timestamp;
use picolet_kube::config_map::{ConfigMap, Data};
use picolet_kube::event::{Reference, Severity};
use picolet_kube::metadata::Metadata;
use picolet_kube::node::Truth;
use picolet_kube::request::{Resource, Selection};
use picolet_kube::status::Status;
use picolet_platform::{LedMode, Level, Log, PinError, PinMode, PinSet, Pins};
pub use values::{CELLS, Problem, Rejection};
use values::{Stage, Values};

/// The ConfigMap that must just work.
pub const BASE: &str = "pico-config";
/// The label by which others are for this node.
pub const LABEL: &str = "picolet.dev/node";
/// Layers that are kept: each may hold a kilobyte.
const LAYERS: usize = 8;

/// One ConfigMap.
struct Layer {
    name: Box<str>,
    uid: Box<str>,
    resource_version: Box<str>,
    /// Its last good state.
    values: Values,
    /// What is wrong with its present state.
    rejection: Option<Rejection>,
    /// Whether the list that is being read has named it.
    listed: bool,
}

impl Layer {
    fn is_base(&self) -> bool {
        &*self.name == BASE
    }
}

/// What became of a ConfigMap.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing new: it was seen before.
    Known,
    /// Its values count from now on.
    Applied,
    /// It was refused.
    Rejected,
    /// There are too many.
    NoRoom,
}

/// The layers, and what came of them.
pub struct Configuration {
    allowed: PinSet,
    /// The base first, the others in the order of their names.
    layers: Vec<Layer>,
    /// The modes that were set on pins, by what is configured.
    driven: Vec<(u8, PinMode)>,
    last_update: Option<Timestamp>,
}

impl Configuration {
    /// No configuration, for a board with these pins.
    pub(crate) fn new(allowed: PinSet) -> Self {
        Self {
            allowed,
            layers: Vec::new(),
            driven: Vec::new(),
            last_update: None,
        }
    }

    /// The value of the topmost layer that has one.
    fn topmost<T>(&self, value: impl Fn(&Values) -> Option<T>) -> Option<T> {
        self.layers.iter().rev().find_map(|layer| value(&layer.values))
    }

    /// The memory cells that are set, ascending.
    pub fn cells(&self) -> impl Iterator<Item = (u16, u8)> {
        (0..CELLS as u16).filter_map(|address| Some((address, self.topmost(|values| values.cell(address))?)))
    }

    /// When the values last changed.
    pub fn last_update(&self) -> Option<Timestamp> {
        self.last_update
    }

    /// Whether a ConfigMap says what this pin does.
    pub fn holds_pin(&self, pin: u8) -> bool {
        self.topmost(|values| values.pin(pin)).is_some()
    }

    /// Whether a ConfigMap says what the LED shows.
    pub fn holds_led(&self) -> bool {
        self.led().is_some()
    }

    /// ConfigMaps that are followed.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The first ConfigMap that is refused at present, and why.
    pub fn rejected(&self) -> Option<(&str, &Rejection)> {
        self.layers
            .iter()
            .find_map(|layer| Some((&*layer.name, layer.rejection.as_ref()?)))
    }

    fn led(&self) -> Option<LedMode> {
        self.topmost(Values::led)
    }

    /// Says in a sentence what is in force, for the node's condition.
    fn describe(&self, out: &mut impl fmt::Write) -> fmt::Result {
        if let Some((name, rejection)) = self.rejected() {
            return write!(
                out,
                "ConfigMap {name} is refused, its last good state stays: {rejection}"
            );
        }
        if self.layers.is_empty() {
            return out.write_str("no ConfigMap drives the device");
        }
        let cells = self.cells().count();
        let pins = self.allowed.iter().filter(|pin| self.holds_pin(*pin)).count();
        let many = |n| if n == 1 { "" } else { "s" };
        write!(
            out,
            "{cells} memory cell{}, {pins} pin{} and ",
            many(cells),
            many(pins)
        )?;
        out.write_str(if self.holds_led() {
            "the LED set by"
        } else {
            "no LED set by"
        })?;
        for (n, layer) in self.layers.iter().enumerate() {
            write!(out, "{} {}", if n == 0 { "" } else { "," }, layer.name)?;
        }
        Ok(())
    }

    fn apply(&mut self, metadata: &Metadata, stage: &mut Stage, now: Timestamp) -> Outcome {
        let at = self.layers.iter().position(|layer| layer.name == metadata.name);
        if let Some(layer) = at.and_then(|at| self.layers.get_mut(at)) {
            layer.listed = true;
            if layer.uid == metadata.uid && layer.resource_version == metadata.resource_version {
                return Outcome::Known;
            }
        }
        let at = match at {
            Some(at) => at,
            None if self.layers.len() == LAYERS => return Outcome::NoRoom,
            None => {
                let base = &*metadata.name == BASE;
                let at = self
                    .layers
                    .partition_point(|layer| !base && (layer.is_base() || layer.name < metadata.name));
                self.layers.insert(
                    at,
                    Layer {
                        name: metadata.name.clone(),
                        uid: Box::default(),
                        resource_version: Box::default(),
                        values: Values::default(),
                        rejection: None,
                        listed: true,
                    },
                );
                at
            }
        };
        let Some(layer) = self.layers.get_mut(at) else {
            return Outcome::NoRoom;
        };
        if layer.uid != metadata.uid {
            // Another ConfigMap of the same name: the last good state of the old one is not its.
            layer.values = Values::default();
        }
        layer.uid = metadata.uid.clone();
        layer.resource_version = metadata.resource_version.clone();
        layer.rejection = stage.rejection.take();
        if layer.rejection.is_some() {
            return Outcome::Rejected;
        }
        layer.values = core::mem::take(&mut stage.values);
        self.last_update = Some(now);
        Outcome::Applied
    }

    /// Takes away the layers for which `gone` holds; returns whether there were any.
    #[inline(never)]
    fn remove(&mut self, now: Timestamp, gone: &dyn Fn(&Layer) -> bool) -> bool {
        let before = self.layers.len();
        self.layers.retain(|layer| !gone(layer));
        let removed = self.layers.len() < before;
        if removed {
            self.last_update = Some(now);
        }
        removed
    }

    /// Makes pins do what the layers say. Returns the first that the board could not do.
    fn drive(&mut self, set: impl Fn(u8, PinMode) -> Result<(), PinError>) -> Result<(), (u8, PinMode)> {
        let mut result = Ok(());
        for pin in self.allowed.iter() {
            let wanted = self.topmost(|values| values.pin(pin));
            let driven = self.driven.iter().position(|(number, _)| *number == pin);
            let now = driven.and_then(|at| self.driven.get(at)).map(|(_, mode)| *mode);
            if wanted == now {
                continue;
            }
            let mode = wanted.unwrap_or(PinMode::Unset);
            if set(pin, mode).is_err() {
                result = result.and(Err((pin, mode)));
                continue;
            }
            if let Some(at) = driven {
                self.driven.swap_remove(at);
            }
            self.driven.extend(wanted.map(|mode| (pin, mode)));
        }
        result
    }
}

impl Reporter for RefCell<Configuration> {
    fn condition(&self, words: &mut String) -> Option<Condition> {
        let configuration = self.borrow();
        let _ = configuration.describe(words);
        let (status, reason) = match configuration.rejected() {
            Some(_) => (Truth::False, "ConfigurationRejected"),
            None => (Truth::True, "ConfigurationApplied"),
        };
        Some(Condition {
            kind: "ConfigurationApplied",
            status,
            reason,
        })
    }
}

/// Whether `value` may stand under `key` in a ConfigMap for a board with these pins.
///
/// # Errors
/// The first entry that is wrong, and the remedy.
pub fn check(key: &str, value: &str, pins: PinSet) -> Result<(), Rejection> {
    let mut stage = Stage::new(pins);
    stage.key(key);
    stage.piece(value.as_bytes(), true);
    stage.rejection.map_or(Ok(()), Err)
}

/// Follows either the base or the labelled ConfigMaps.
struct Follower<'a, H: Host> {
    controller: &'a ConfigurationController<'a, H>,
    base: bool,
}

impl<H: Host> Follower<'_, H> {
    /// Whether this follower is the one for a layer of that name.
    fn follows(&self, name: &str) -> bool {
        (name == BASE) == self.base
    }

    /// Brings pins and LED in line with the layers.
    fn drive(&self) {
        let controller = self.controller;
        let mut configuration = controller.configuration.borrow_mut();
        let led = configuration.led();
        let failed = configuration
            .drive(|pin, mode| controller.machine.set_pin(pin, mode))
            .err();
        if let Some((pin, _)) = failed {
            let mut entry = heapless::String::new();
            let _ = fmt::Write::write_fmt(&mut entry, format_args!("{}", u32::from(pin)));
            let rejection = Rejection {
                key: "gpio",
                entry,
                problem: Problem::Hardware,
            };
            if let Some(layer) = configuration
                .layers
                .iter_mut()
                .rev()
                .find(|layer| layer.values.pin(pin).is_some())
            {
                layer.rejection = Some(rejection);
            }
        }
        drop(configuration);
        controller.display.configure(led);
        controller.node.outdated.signal(());
    }

    fn tell(&self, metadata: &Metadata, reason: &'static str, message: fmt::Arguments<'_>) {
        let about = Reference {
            kind: "ConfigMap",
            namespace: &metadata.namespace,
            name: &metadata.name,
            uid: &metadata.uid,
        };
        self.controller
            .events
            .record(about, Severity::Warning, reason, message);
    }
}

impl<H: Host> Store for Follower<'_, H> {
    type Object = ConfigMap<Stage>;

    fn reader(&self) -> Self::Object {
        ConfigMap::new(Stage::new(self.controller.machine.pins()))
    }

    fn list_begins(&self) {
        for layer in &mut self.controller.configuration.borrow_mut().layers {
            layer.listed &= !self.follows(&layer.name);
        }
    }

    fn applied(&self, map: &mut Self::Object) {
        let controller = self.controller;
        if !self.follows(&map.metadata.name) {
            return; // the base, which happens to carry the label too
        }
        let outcome =
            controller
                .configuration
                .borrow_mut()
                .apply(&map.metadata, &mut map.data, controller.time.now());
        match outcome {
            Outcome::Known => return,
            Outcome::NoRoom => {
                self.tell(
                    &map.metadata,
                    "TooManyConfigMaps",
                    format_args!("the node follows {LAYERS} ConfigMaps and has no room for this one: put its values into another"),
                );
                return;
            }
            Outcome::Rejected => count(&controller.metrics.configuration_rejected),
            Outcome::Applied => {
                count(&controller.metrics.configuration_applied);
                controller.machine.log(
                    Level::Info,
                    format_args!("ConfigMap {} applied", map.metadata.name),
                );
                self.drive();
            }
        }
        let rejection = {
            let configuration = controller.configuration.borrow();
            let layer = configuration
                .layers
                .iter()
                .find(|layer| layer.name == map.metadata.name);
            layer.and_then(|layer| layer.rejection.clone())
        };
        if let Some(rejection) = rejection {
            self.tell(
                &map.metadata,
                "InvalidConfiguration",
                format_args!("{rejection}. Nothing of this change was applied; the last good state stays."),
            );
            controller.node.outdated.signal(());
        } else if let Some(key) = &map.data.unknown {
            self.tell(
                &map.metadata,
                "UnknownConfiguration",
                format_args!(
                    "{key}: no such key; memory_values, gpio and led are known. The others were applied."
                ),
            );
        }
    }

    fn deleted(&self, map: &mut Self::Object) {
        let (controller, name) = (self.controller, &map.metadata.name);
        let removed = self.follows(name)
            && controller
                .configuration
                .borrow_mut()
                .remove(controller.time.now(), &|layer| layer.name == *name);
        if removed {
            controller.machine.log(
                Level::Info,
                format_args!("ConfigMap {name} is gone, and its values with it"),
            );
            self.drive();
        }
    }

    fn list_ends(&self) {
        let now = self.controller.time.now();
        let removed = self
            .controller
            .configuration
            .borrow_mut()
            .remove(now, &|layer| self.follows(&layer.name) && !layer.listed);
        if removed {
            self.drive();
        }
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
    pub(crate) display: &'a Display,
    pub(crate) configuration: &'a RefCell<Configuration>,
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
            pin!(self.client.follow(resource, name, &base, &base_refused)),
            pin!(self.client.follow(resource, label, &labelled, &labelled_refused)),
        ];
        together(tasks).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::string::String;
    use std::{format, vec};

    fn map(name: &str, version: u32, data: &[(&str, &str)]) -> (Metadata, Stage) {
        let metadata = Metadata {
            name: name.into(),
            namespace: "default".into(),
            uid: format!("uid-{name}").into(),
            resource_version: format!("{version}").into(),
            ..Metadata::default()
        };
        let mut stage = Stage::new(PinSet::range(2, 22));
        for (key, value) in data {
            stage.key(key);
            stage.piece(value.as_bytes(), true);
        }
        (metadata, stage)
    }

    fn apply(configuration: &mut Configuration, name: &str, version: u32, data: &[(&str, &str)]) -> Outcome {
        let (metadata, mut stage) = map(name, version, data);
        configuration.apply(&metadata, &mut stage, Timestamp::from_seconds(u64::from(version)))
    }

    /// What `pico-config` with this data makes of the device, for the tests of others.
    pub(crate) fn configured(data: &[(&str, &str)]) -> Configuration {
        let mut configuration = Configuration::new(PinSet::range(2, 22));
        let (metadata, mut stage) = map(BASE, 1, data);
        configuration.apply(&metadata, &mut stage, crate::testing::START);
        configuration
    }

    fn delete(configuration: &mut Configuration, name: &str) {
        assert!(configuration.remove(Timestamp::default(), &|layer: &Layer| &*layer.name == name));
    }

    fn cells(configuration: &Configuration) -> Vec<(u16, u8)> {
        configuration.cells().collect()
    }

    #[test]
    fn layers_lie_over_each_other() {
        let mut c = Configuration::new(PinSet::range(2, 22));
        assert_eq!(
            apply(&mut c, "zoo", 1, &[("memory_values", "1=3")]),
            Outcome::Applied
        );
        assert_eq!(
            apply(&mut c, BASE, 2, &[("memory_values", "0=1,1=1"), ("led", "on")]),
            Outcome::Applied
        );
        assert_eq!(
            apply(&mut c, "ant", 3, &[("memory_values", "1=2,2=2")]),
            Outcome::Applied
        );
        assert_eq!(
            cells(&c),
            [(0, 1), (1, 3), (2, 2)],
            "the later name wins, the base is the lowest"
        );
        assert_eq!(apply(&mut c, "zoo", 4, &[]), Outcome::Applied);
        assert_eq!(
            cells(&c),
            [(0, 1), (1, 2), (2, 2)],
            "what leaves its layer falls back"
        );
        delete(&mut c, "ant");
        assert_eq!(cells(&c), [(0, 1), (1, 1)]);
        delete(&mut c, BASE);
        assert_eq!((cells(&c), c.holds_led()), (vec![], false));
    }

    #[test]
    fn a_wrong_entry_refuses_the_whole_and_keeps_the_last_good_state() {
        let mut c = Configuration::new(PinSet::range(2, 22));
        apply(&mut c, BASE, 1, &[("memory_values", "0=1"), ("gpio", "2=high")]);
        assert_eq!(
            apply(&mut c, BASE, 2, &[("memory_values", "0=9"), ("gpio", "2=maybe")]),
            Outcome::Rejected
        );
        assert_eq!(cells(&c), [(0, 1)]);
        assert_eq!(c.last_update(), Some(Timestamp::from_seconds(1)));
        let mut text = String::new();
        c.describe(&mut text).expect("a string takes all");
        assert!(text.contains("gpio: entry \"2=maybe\""), "{text}");
        assert_eq!(
            apply(&mut c, BASE, 2, &[]),
            Outcome::Known,
            "the same version again changes nothing"
        );
        assert_eq!(
            apply(&mut c, BASE, 3, &[("memory_values", "0=9")]),
            Outcome::Applied
        );
        assert_eq!((cells(&c), c.rejected().is_some()), (vec![(0, 9)], false));
    }

    #[test]
    fn a_successor_of_the_same_name_does_not_inherit() {
        let mut c = Configuration::new(PinSet::range(2, 22));
        apply(&mut c, BASE, 1, &[("memory_values", "0=1")]);
        let (mut metadata, mut stage) = map(BASE, 2, &[("memory_values", "bad")]);
        metadata.uid = "another".into();
        assert_eq!(
            c.apply(&metadata, &mut stage, Timestamp::default()),
            Outcome::Rejected
        );
        assert_eq!(cells(&c), []);
    }

    #[test]
    fn pins_follow_and_are_let_go() {
        use core::cell::RefCell;
        let set = RefCell::new(vec![]);
        let drive = |c: &mut Configuration| {
            let result = c.drive(|pin, mode| {
                set.borrow_mut().push((pin, mode));
                if pin == 7 {
                    Err(PinError::Unsupported)
                } else {
                    Ok(())
                }
            });
            (core::mem::take(&mut *set.borrow_mut()), result.is_ok())
        };
        let mut c = Configuration::new(PinSet::range(2, 22));
        apply(&mut c, BASE, 1, &[("gpio", "2=high,3=low")]);
        assert_eq!(drive(&mut c), (vec![(2, PinMode::High), (3, PinMode::Low)], true));
        assert_eq!(drive(&mut c), (vec![], true), "nothing is applied twice");
        apply(&mut c, "over", 2, &[("gpio", "2=low")]);
        assert_eq!(drive(&mut c), (vec![(2, PinMode::Low)], true));
        delete(&mut c, BASE);
        assert_eq!(drive(&mut c), (vec![(3, PinMode::Unset)], true));
        delete(&mut c, "over");
        assert_eq!(drive(&mut c), (vec![(2, PinMode::Unset)], true));
        apply(&mut c, BASE, 3, &[("gpio", "7=high,8=high")]);
        assert_eq!(
            drive(&mut c),
            (vec![(7, PinMode::High), (8, PinMode::High)], false)
        );
    }

    #[test]
    fn more_layers_than_there_is_room_for() {
        let mut c = Configuration::new(PinSet::range(2, 22));
        for n in 0..LAYERS as u32 {
            assert_eq!(apply(&mut c, &format!("map-{n}"), n, &[]), Outcome::Applied);
        }
        assert_eq!(apply(&mut c, "map-9", 9, &[]), Outcome::NoRoom);
        assert_eq!(c.layers(), LAYERS);
    }

    proptest! {
        /// The order in which ConfigMaps come does not matter, only what they say.
        #[test]
        fn layering_is_a_function_of_the_maps(maps in prop::collection::btree_map(prop::sample::select(vec![BASE, "a", "m", "q", "z"]), prop::collection::btree_map(0u16..8, any::<u8>(), 0..6), 0..5), order in any::<prop::sample::Index>()) {
            let mut c = Configuration::new(PinSet::range(2, 22));
            let mut entries: Vec<_> = maps.iter().collect();
            if !entries.is_empty() {
                let at = order.index(entries.len());
                entries.rotate_left(at);
            }
            for (n, (name, values)) in entries.iter().enumerate() {
                let text: Vec<String> = values.iter().map(|(at, value)| format!("{at}={value}")).collect();
                apply(&mut c, name, n as u32, &[("memory_values", &text.join(","))]);
            }
            let mut want = BTreeMap::new();
            for name in [BASE, "a", "m", "q", "z"] {
                want.extend(maps.get(name).into_iter().flatten().map(|(at, value)| (*at, *value)));
            }
            prop_assert_eq!(c.cells().collect::<BTreeMap<_, _>>(), want);
        }
    }
}
