//! The node's own Node: as the API server has it, and what the node offers.

use crate::settings::Settings;
use crate::signal::Signal;
use alloc::boxed::Box;
use alloc::string::String;
use core::cell::RefCell;
use picolet_kube::Quantity;
use picolet_kube::node::{Node, Truth};
use picolet_platform::Platform;

/// What runs here is WebAssembly, whatever the machine is: this also keeps away the DaemonSets that select Linux.
pub(crate) const OPERATING_SYSTEM: &str = "wasip1";
/// See [`OPERATING_SYSTEM`].
pub(crate) const ARCHITECTURE: &str = "wasm";

/// The Node, and who waits for it.
pub(crate) struct NodeRef {
    pub(crate) name: Box<str>,
    /// The Node as the API server had it last; its uid is empty until it is registered.
    pub(crate) object: RefCell<Node>,
    /// It was registered (again).
    pub(crate) registered: Signal,
    /// Something that the status tells has changed, or the Node may be gone.
    pub(crate) outdated: Signal,
}

impl NodeRef {
    /// The Node of that name, not registered yet.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            object: RefCell::default(),
            registered: Signal::new(),
            outdated: Signal::new(),
        }
    }

    /// Whether the API server has it.
    pub(crate) fn is_registered(&self) -> bool {
        !self.object.borrow().metadata.uid.is_empty()
    }
}

/// A condition of the Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) status: Truth,
    pub(crate) reason: &'static str,
}

/// Has a condition of the Node to report.
pub(crate) trait Reporter {
    /// The condition of now, and its message in `words`. `None` where the node has no such condition.
    fn condition(&self, words: &mut String) -> Option<Condition>;
}

/// Resources of the node and how much it has of each.
pub(crate) type Amounts = [(&'static str, Quantity); 7];

/// How many pods the node takes.
pub(crate) fn pod_capacity(settings: &Settings) -> Quantity {
    settings.capacity.pods.unwrap_or(Quantity::new(8))
}

/// What the node has, or what of it pods may have.
pub(crate) fn amounts(settings: &Settings, machine: &impl Platform, allocatable: bool) -> Amounts {
    let hardware = machine.machine();
    let capacity = &settings.capacity;
    let bytes = |bytes: u64| Quantity::new(i64::try_from(bytes).unwrap_or(i64::MAX));
    let memory = if allocatable {
        hardware.pod_memory_bytes
    } else {
        hardware.memory_bytes
    };
    // One core is the agent's own, where there is another.
    let cores = if allocatable {
        hardware.cores.saturating_sub(1).max(1)
    } else {
        hardware.cores
    };
    let adc = (0..=2)
        .filter(|channel| machine.read_adc(*channel).is_some())
        .count();
    [
        ("cpu", capacity.cpu.unwrap_or(Quantity::new(i64::from(cores)))),
        ("memory", capacity.memory.unwrap_or(bytes(memory))),
        (
            "ephemeral-storage",
            capacity
                .ephemeral_storage
                .unwrap_or(bytes(hardware.storage_bytes)),
        ),
        ("pods", pod_capacity(settings)),
        (
            "picolet.dev/gpio",
            Quantity::new(machine.pins().iter().count() as i64),
        ),
        ("picolet.dev/led", Quantity::new(1)),
        ("picolet.dev/adc", Quantity::new(adc as i64)),
    ]
}
