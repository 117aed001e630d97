//! The device: its pins, its LED and its memory cells, and who owns which of them.
//!
//! A ConfigMap owns what it sets as long as it is in force (`layers`); of the rest a command may take what it wants, until
//! a ConfigMap does. A change is planned for the whole device (`plan`), and applied whole or not at all. Nothing is polled,
//! and nothing of it outlives a reboot.

mod controller;
mod layers;
mod led;
mod plan;
mod problem;
#[cfg(test)]
pub(crate) mod tests;
mod values;

pub(crate) use controller::ConfigurationController;
pub(crate) use led::{Display, LedController};
pub use problem::{Problem, Rejection};
pub use values::CELLS;
pub(crate) use values::{Mode, OF_SLICE};

use crate::node::{Condition, Reporter};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt::{self, Write as _};
use layers::{Layers, Report};
use picolet_kube::Timestamp;
use picolet_kube::metadata::Metadata;
use picolet_kube::node::Truth;
use picolet_platform::{LedMode, PinMode, PinSet, Pins};
use plan::{Claim, Holder};
use values::Parser;

/// What is owned, and by whom.
#[derive(Default)]
struct State {
    pins: PinSet,
    layers: Layers,
    /// The owner of each pin that has one, and what it wants: the layers', and of commands what goes with those.
    claims: Vec<Claim>,
    /// The LED of commands, unless a ConfigMap owns it.
    commanded_led: Option<LedMode>,
    last_update: Option<Timestamp>,
}

impl State {
    /// What the LED shows by the topmost ConfigMap that says so, and the name of that.
    fn configured_led(&self) -> Option<(LedMode, &str)> {
        let mut layers = self.layers.iter().rev();
        layers.find_map(|layer| Some((layer.values()?.led()?, &*layer.name)))
    }

    /// Plans the whole device anew. A command keeps what no ConfigMap owns, and what goes with that.
    #[inline(never)]
    fn plan(&mut self) {
        let mut claims = self.layers.claims();
        for claim in &self.claims {
            let is_free = claims.iter().all(|other| other.pin != claim.pin);
            if claim.holder == Holder::Command && is_free && claim.conflict(&claims).is_none() {
                claims.push(*claim);
            }
        }
        self.claims = claims;
        if self.configured_led().is_some() {
            self.commanded_led = None;
        }
    }

    fn command_pin(&mut self, pin: u8, mode: PinMode) -> Result<(), String> {
        let claim = Claim {
            pin,
            mode,
            holder: Holder::Command,
        };
        let mut words = String::new();
        for other in &self.claims {
            let owner = self.layers.owner(other.holder);
            let _ = if other.pin == pin && other.holder != Holder::Command {
                let (kind, name, pin) = (owner.0, owner.1, u32::from(pin));
                write!(words, "{kind}{name} says what pin {pin} does: change it there")
            } else {
                claim.describe_conflict(other, owner, &mut words)
            };
            if !words.is_empty() {
                return Err(words);
            }
        }
        self.claims.retain(|other| other.pin != pin);
        self.claims.push(claim);
        Ok(())
    }

    /// The memory cells that are set, ascending.
    fn cells(&self) -> impl Iterator<Item = (u16, u8)> {
        (0..CELLS as u16).filter_map(|address| {
            let mut layers = self.layers.iter().rev();
            let value = layers.find_map(|layer| layer.values()?.cell(address));
            Some((address, value?))
        })
    }

    /// Writes in a sentence what is in force, for the node's condition.
    fn describe(&self, out: &mut String) -> fmt::Result {
        if let Some((name, why)) = self.layers.rejected() {
            let stays = if why.keeps_last_good() {
                ", its last good state stays"
            } else {
                ""
            };
            return write!(out, "ConfigMap {name} is rejected{stays}: {why}");
        }
        if self.layers.iter().next().is_none() {
            return out.write_str("no ConfigMap drives the device");
        }
        let cells = self.cells().count();
        let configured = |claim: &&Claim| claim.holder != Holder::Command;
        let pins = self.claims.iter().filter(configured).count();
        let many = |n| if n == 1 { "" } else { "s" };
        write!(
            out,
            "{cells} memory cell{}, {pins} pin{} and ",
            many(cells),
            many(pins)
        )?;
        out.write_str(match self.configured_led() {
            Some(_) => "the LED set by",
            None => "no LED set by",
        })?;
        for (n, layer) in self.layers.iter().enumerate() {
            write!(out, "{} {}", if n == 0 { "" } else { "," }, layer.name)?;
        }
        Ok(())
    }
}

/// Pins, LED and memory cells of one device.
pub(crate) struct Devices {
    state: RefCell<State>,
    /// What the LED shows.
    pub(crate) display: Display,
}

impl Devices {
    /// A device with these pins, of which nothing is owned.
    pub(crate) fn new(pins: PinSet) -> Self {
        let state = State {
            pins,
            layers: Layers::new(pins),
            ..State::default()
        };
        Self {
            state: RefCell::new(state),
            display: Display::default(),
        }
    }

    /// The memory cells that are set, ascending.
    pub(crate) fn cells(&self) -> Vec<(u16, u8)> {
        self.state.borrow().cells().collect()
    }

    /// When the values last changed.
    pub(crate) fn last_update(&self) -> Option<Timestamp> {
        self.state.borrow().last_update
    }

    /// ConfigMaps that are followed.
    pub(crate) fn layers(&self) -> usize {
        self.state.borrow().layers.iter().len()
    }

    /// Changes the layers, and plans the device anew where `change` returns that something has changed; then the device is to
    /// be driven.
    #[inline(never)]
    fn change(&self, now: Timestamp, change: &mut dyn FnMut(&mut Layers) -> bool) -> bool {
        let state = &mut *self.state.borrow_mut();
        let changed = change(&mut state.layers);
        if changed {
            state.plan();
            if state.layers.take_changed() {
                state.last_update = Some(now);
            }
        }
        changed
    }

    /// Takes a ConfigMap as it is now.
    fn apply(&self, metadata: &Metadata, parser: &mut Parser, now: Timestamp) -> bool {
        self.change(now, &mut |layers| layers.apply(metadata, parser))
    }

    /// A ConfigMap is gone.
    fn remove(&self, name: &str, now: Timestamp) -> bool {
        self.change(now, &mut |layers| layers.remove(&|layer| &*layer.name == name))
    }

    /// A list of the base or of the other ConfigMaps begins: what it does not name by its end is gone.
    fn list_begins(&self, base: bool) {
        self.state.borrow_mut().layers.list_begins(base);
    }

    /// A list of the base or of the other ConfigMaps was read whole.
    fn list_ends(&self, base: bool, now: Timestamp) -> bool {
        self.change(now, &mut |layers| layers.list_ends(base))
    }

    /// Whether a ConfigMap that was turned away has room now.
    fn has_room(&self) -> bool {
        self.state.borrow().layers.has_room()
    }

    /// Whether what the ConfigMap of that name says is in force.
    fn is_in_force(&self, name: &str) -> bool {
        let state = self.state.borrow();
        let mut layers = state.layers.iter();
        layers.any(|layer| &*layer.name == name && !layer.is_rejected())
    }

    /// Reports what became of ConfigMaps, where that was not reported yet.
    fn report(&self, report: Report<'_>) {
        self.state.borrow_mut().layers.report(report);
    }

    /// Brings pins and LED in line with what is planned.
    #[inline(never)]
    pub(crate) fn drive(&self, machine: &dyn Pins) {
        let state = self.state.borrow();
        for pin in state.pins.iter() {
            let claim = state.claims.iter().find(|claim| claim.pin == pin);
            let mode = claim.map_or(PinMode::Unset, |claim| claim.resolved(&state.claims));
            if machine.read_pin(pin).is_none_or(|reading| reading.mode != mode) {
                machine.set_pin(pin, mode);
            }
        }
        let configured = state.configured_led().map(|(mode, _)| mode);
        let led = configured.or(state.commanded_led);
        self.display.show_steadily(led.unwrap_or_default());
    }

    /// Has a command take a pin of the board. The device is to be driven then.
    ///
    /// # Errors
    /// Says who owns the pin, or which pin does not go with it.
    pub(crate) fn command_pin(&self, pin: u8, mode: PinMode) -> Result<(), String> {
        self.state.borrow_mut().command_pin(pin, mode)
    }

    /// Checks that the LED is free for commands.
    ///
    /// # Errors
    /// Says who owns it.
    pub(crate) fn check_led(&self) -> Result<(), String> {
        let state = self.state.borrow();
        let Some((_, name)) = state.configured_led() else {
            return Ok(());
        };
        let mut words = String::new();
        let _ = write!(words, "ConfigMap {name} says what the LED shows: change it there");
        Err(words)
    }

    /// Has a command take the LED, which must be free. The device is to be driven then.
    pub(crate) fn command_led(&self, mode: LedMode) {
        self.state.borrow_mut().commanded_led = Some(mode);
    }
}

impl Reporter for Devices {
    fn condition(&self, words: &mut String) -> Option<Condition> {
        let state = self.state.borrow();
        let _ = state.describe(words);
        let (status, reason) = match state.layers.rejected() {
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

/// Whether a ConfigMap for a board with these pins may consist of `value` under `key`.
///
/// # Errors
/// The first entry that is wrong, and the remedy.
pub fn check(key: &str, value: &str, pins: PinSet) -> Result<(), String> {
    use picolet_kube::config_map::Data;
    let mut parser = Parser::new(pins);
    parser.key(key);
    parser.piece(value.as_bytes(), true);
    let mut layers = Layers::new(pins);
    let metadata = Metadata {
        uid: "-".into(),
        ..Metadata::default()
    };
    layers.apply(&metadata, &mut parser);
    layers.rejected().map_or(Ok(()), |(_, why)| Err(why.to_string()))
}
