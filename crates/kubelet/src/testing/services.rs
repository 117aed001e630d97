//! What controllers share, without an agent around it.

use super::{Machine, TestClock, Wires, settings};
use crate::client::Client;
use crate::events::Recorder;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::node::NodeRef;
use crate::settings::Settings;
use picolet_runtime::NoRuntime;
use std::rc::Rc;

/// The types of tests.
pub(crate) type TestHost = (Machine, Wires, NoRuntime);

/// What controllers of the node `pico-1` share.
pub(crate) struct Services {
    /// The time that they live in.
    pub(crate) clock: TestClock,
    pub(crate) settings: Settings,
    pub(crate) machine: Rc<Machine>,
    pub(crate) network: Rc<Wires>,
    pub(crate) time: Rc<crate::time::Time<Machine>>,
    pub(crate) metrics: Rc<Metrics>,
    pub(crate) client: Client<TestHost>,
    pub(crate) events: Recorder<Machine>,
    pub(crate) node: NodeRef,
    pub(crate) health: Health,
}

impl Services {
    /// Of a node with ordinary settings.
    pub(crate) fn new() -> Self {
        Self::with(settings(), &TestClock::default())
    }

    /// Of a node with `settings` that lives in the time of `clock`.
    pub(crate) fn with(settings: Settings, clock: &TestClock) -> Self {
        Self::on(Machine::new(clock.clone()), settings)
    }

    /// Of a node with `settings` on `machine`.
    pub(crate) fn on(machine: Machine, settings: Settings) -> Self {
        let clock = machine.time.clone();
        let (machine, network) = (Rc::new(machine), Rc::<Wires>::default());
        let metrics = Rc::<Metrics>::default();
        let time = Rc::new(crate::time::Time::new(machine.clone(), settings.built));
        Self {
            client: Client::new(machine.clone(), network.clone(), time.clone(), metrics.clone()),
            events: Recorder::new(machine.clone(), metrics.clone(), &settings.node_name),
            node: NodeRef::new(&settings.node_name),
            health: Health::default(),
            clock,
            settings,
            machine,
            network,
            time,
            metrics,
        }
    }

    /// The Node is registered.
    pub(crate) fn register(&self) {
        self.node.object.borrow_mut().metadata.uid = "uid-of-node".into();
        self.node.registered.signal(());
    }
}
