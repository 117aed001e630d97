//! The ConfigMaps that drive the device, one over the other, and which of their states is in force.
//!
//! `pico-config` is the lowest layer; the others lie over it in the order of their names, and the later wins. A layer is in
//! force whole or not at all. What is in force is decided anew with every change, for all layers and from their contents
//! alone: the order in which they came does not matter.

use super::plan::{Claim, Holder, Owner, claims, conflict};
use super::problem::Rejection;
use super::values::{Mode, Parser, Values};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use picolet_kube::metadata::Metadata;
use picolet_platform::PinSet;

/// The ConfigMap that is the lowest layer.
pub(super) const BASE: &str = "pico-config";
/// ConfigMaps that are followed beside the base: each may hold a kilobyte, and twice that while a change of it is rejected.
pub(super) const LABELLED: usize = 8;

/// Which state of a layer is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Force {
    #[default]
    Nothing,
    /// The last one that was in force, since the present one is rejected.
    LastGood,
    Present,
}

/// One ConfigMap.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) name: Box<str>,
    uid: Box<str>,
    resource_version: Box<str>,
    /// What it says; `None` where an entry of it is wrong.
    present: Option<Values>,
    /// What it said when it was last in force, where that is not what it says.
    last_good: Option<Values>,
    force: Force,
    /// The entry that is wrong.
    wrong: Option<Rejection>,
    /// What it claims and what it conflicts with, where that is why it is not in force.
    conflict: Option<(Claim, Claim)>,
    /// What was in force before the change that is being made.
    was: Force,
    /// What was in force, and the conflict, when that was last reported; `None` where the present state was not.
    reported: Option<(Force, Option<(Claim, Claim)>)>,
    /// Whether the list that is being read has named it.
    listed: bool,
}

impl Layer {
    fn is_base(&self) -> bool {
        &*self.name == BASE
    }

    /// What of it is in force.
    pub(super) fn values(&self) -> Option<&Values> {
        match self.force {
            Force::Nothing => None,
            Force::LastGood => self.last_good.as_ref(),
            Force::Present => self.present.as_ref(),
        }
    }

    /// Whether what it says is not in force.
    pub(super) fn is_rejected(&self) -> bool {
        self.force != Force::Present
    }

    /// Whether what it said before is in force.
    pub(super) fn keeps_last_good(&self) -> bool {
        self.force == Force::LastGood
    }
}

/// Why what a ConfigMap says is not in force.
pub(super) struct Why<'a> {
    layers: &'a Layers,
    layer: &'a Layer,
}

impl Why<'_> {
    /// Whether what it said before is in force.
    pub(super) fn keeps_last_good(&self) -> bool {
        self.layer.keeps_last_good()
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((claim, other)) = &self.layer.conflict {
            write!(
                f,
                "gpio: entry \"{}={}\": ",
                u32::from(claim.pin),
                Mode(claim.mode)
            )?;
            claim.describe_conflict(other, self.layers.owner(other.holder), f)
        } else if let Some(rejection) = &self.layer.wrong {
            rejection.fmt(f)
        } else {
            Ok(())
        }
    }
}

/// What became of a ConfigMap.
pub(super) enum Outcome<'a> {
    /// Its values are in force.
    Applied,
    /// Its values are in force, after what was in their way is gone.
    Cured,
    /// What it says is not in force.
    Rejected(Why<'a>),
    /// There are too many.
    NoRoom,
}

/// Takes the name and the uid of a ConfigMap, and what became of it.
pub(super) type Report<'a> = &'a mut dyn FnMut(&str, &str, Outcome<'_>);

/// All layers.
#[derive(Default)]
pub(super) struct Layers {
    pins: PinSet,
    /// The base first, the others in the order of their names.
    layers: Vec<Layer>,
    /// Name and uid of the ConfigMap that was turned away last, until that is reported.
    turned_away: Option<(Box<str>, Box<str>)>,
    /// A ConfigMap was turned away for want of room.
    crowded: bool,
    /// There is room again for one that was.
    has_room: bool,
    /// What is in force has changed.
    changed: bool,
}

impl Layers {
    /// No layers, for a board with these pins.
    pub(super) fn new(pins: PinSet) -> Self {
        Self {
            pins,
            ..Self::default()
        }
    }

    /// From the base upwards.
    pub(super) fn iter(&self) -> core::slice::Iter<'_, Layer> {
        self.layers.iter()
    }

    /// The owner of what is claimed.
    pub(super) fn owner(&self, holder: Holder) -> Owner<'_> {
        let Holder::Layer(at) = holder else {
            return Owner("a command", "");
        };
        let layer = self.layers.get(usize::from(at));
        Owner("ConfigMap ", layer.map_or("", |layer| &layer.name))
    }

    /// What the layers claim of the pins.
    #[inline(never)]
    pub(super) fn claims(&self) -> Vec<Claim> {
        claims(self.pins, self.layers.iter().map(Layer::values))
    }

    /// The first ConfigMap that is rejected at present, and why.
    pub(super) fn rejected(&self) -> Option<(&str, Why<'_>)> {
        let layer = self.layers.iter().find(|layer| layer.is_rejected())?;
        Some((&layer.name, Why { layers: self, layer }))
    }

    /// Whether what is in force has changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// Whether a ConfigMap that was turned away has room now.
    pub(super) fn has_room(&self) -> bool {
        self.has_room
    }

    /// A list of the base or of the others begins.
    pub(super) fn list_begins(&mut self, base: bool) {
        if !base {
            (self.crowded, self.has_room) = (false, false);
        }
        for layer in &mut self.layers {
            layer.listed &= layer.is_base() != base;
        }
    }

    /// It was read whole: what it did not name is gone. Returns whether anything is.
    pub(super) fn list_ends(&mut self, base: bool) -> bool {
        self.remove(&|layer| layer.is_base() == base && !layer.listed)
    }

    /// Takes the layers away for which `gone` holds; returns whether there were any.
    pub(super) fn remove(&mut self, gone: &dyn Fn(&Layer) -> bool) -> bool {
        let before = self.layers.len();
        self.layers.retain(|layer| !gone(layer));
        let removed = self.layers.len() < before;
        if removed {
            self.has_room = self.crowded && self.labelled() < LABELLED;
            self.settle();
            self.changed = true;
        }
        removed
    }

    fn labelled(&self) -> usize {
        self.layers.iter().filter(|layer| !layer.is_base()).count()
    }

    /// The index of the layer of that name, which is made where there is none.
    fn place(&mut self, name: &str) -> usize {
        let mut at = 0;
        while let Some(layer) = self.layers.get(at) {
            if &*layer.name == name {
                return at;
            }
            if name == BASE || !layer.is_base() && *layer.name > *name {
                break;
            }
            at += 1;
        }
        let layer = Layer {
            name: name.into(),
            ..Layer::default()
        };
        self.layers.insert(at, layer);
        at
    }

    /// Takes a ConfigMap as it is now; returns whether it is new or has changed, and what is in force with it.
    pub(super) fn apply(&mut self, metadata: &Metadata, parser: &mut Parser) -> bool {
        let at = self.place(&metadata.name);
        let Some(layer) = self.layers.get_mut(at) else {
            return false;
        };
        layer.listed = true;
        let same = layer.uid == metadata.uid;
        if same && layer.resource_version == metadata.resource_version {
            return false;
        }
        if !same {
            // Another ConfigMap of the same name: the last good state of the old one is not its.
            self.changed |= layer.force != Force::Nothing;
            (layer.last_good, layer.force) = (None, Force::Nothing);
        } else if layer.force == Force::Present {
            (layer.last_good, layer.force) = (layer.present.take(), Force::LastGood);
        }
        layer.uid = metadata.uid.clone();
        layer.resource_version = metadata.resource_version.clone();
        layer.wrong = parser.rejection.take();
        let values = core::mem::take(&mut parser.values);
        layer.present = layer.wrong.is_none().then_some(values);
        layer.reported = None;
        // Of too many the first by their names are followed: those that a node takes that has just started.
        if self.labelled() > LABELLED {
            self.turned_away = self.layers.pop().map(|last| (last.name, last.uid));
            self.crowded = true;
        }
        self.settle();
        true
    }

    /// Decides what is in force: from the base upwards what goes with the layers below; then what the layers above cure; and of
    /// what is rejected, the last good state where that goes with the rest.
    #[inline(never)]
    fn settle(&mut self) {
        for layer in &mut self.layers {
            (layer.was, layer.force, layer.conflict) = (layer.force, Force::Nothing, None);
        }
        for force in [Force::Present, Force::Present, Force::LastGood] {
            for at in 0..self.layers.len() {
                self.promote(at, force);
            }
        }
        for layer in &mut self.layers {
            self.changed |= layer.force != layer.was;
            if layer.force == Force::Present {
                layer.last_good = None;
            }
        }
    }

    /// Puts a state of a layer of which nothing is in force, in force if it goes with the others.
    fn promote(&mut self, at: usize, force: Force) {
        let Some(layer) = self
            .layers
            .get_mut(at)
            .filter(|layer| layer.force == Force::Nothing)
        else {
            return;
        };
        layer.force = force;
        // The others go with each other, so a conflict is one of this layer.
        let found = conflict(&self.claims());
        let Some(layer) = self.layers.get_mut(at) else {
            return;
        };
        if force == Force::Present {
            let mine = Holder::Layer(at as u8);
            layer.conflict = found.map(|(one, other)| match one.holder == mine {
                true => (one, other),
                false => (other, one),
            });
        }
        if found.is_some() || layer.values().is_none() {
            layer.force = Force::Nothing;
        }
    }

    /// Reports what became of ConfigMaps, where that was not reported yet.
    pub(super) fn report(&mut self, report: Report<'_>) {
        if let Some((name, uid)) = self.turned_away.take() {
            report(&name, &uid, Outcome::NoRoom);
        }
        for at in 0..self.layers.len() {
            let Some(layer) = self.layers.get_mut(at) else {
                break;
            };
            let state = (layer.force, layer.conflict);
            let arrived = layer.reported.is_none();
            if layer.reported.replace(state) == Some(state) {
                continue;
            }
            let Some(layer) = self.layers.get(at) else { break };
            let outcome = match layer.force {
                Force::Present if arrived => Outcome::Applied,
                Force::Present => Outcome::Cured,
                _ => Outcome::Rejected(Why { layers: self, layer }),
            };
            report(&layer.name, &layer.uid, outcome);
        }
    }
}
