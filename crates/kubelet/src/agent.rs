//! One node: what its tasks share, and how they run side by side.

#[cfg(feature = "identity")]
use crate::apart::apart;
use crate::apart::{Task, together};
use crate::client::Client;
use crate::configuration::Configuration;
use crate::events::Events;
use crate::host::{Host, Outbound};
use crate::led::Director;
use crate::metrics::Metrics;
use crate::pods::Pods;
use crate::settings::Settings;
use crate::time::TimeState;
use alloc::rc::Rc;
#[cfg(feature = "identity")]
use core::cell::Cell;
use core::cell::RefCell;
use core::pin::pin;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use picolet_kube::node::Node;
use picolet_platform::Pins;
#[cfg(feature = "identity")]
use picolet_platform::{Clock, Duration};

/// A node agent on one machine. Everything in it runs on one thread: what its tasks share is in cells, and no borrow is
/// ever held across an `await`.
pub struct Agent<H: Host> {
    pub(crate) settings: Settings,
    pub(crate) platform: H::Machine,
    pub(crate) network: H::Network,
    /// What runs the containers of pods.
    pub(crate) runtime: H::Runtime,
    /// The one connection for requests, used in turn.
    pub(crate) client: Mutex<NoopRawMutex, Client<Outbound<H>>>,
    /// The Node as the API server had it last; its uid is empty until the node is registered.
    pub(crate) node: RefCell<Node>,
    pub(crate) configuration: RefCell<Configuration>,
    pub(crate) pods: RefCell<Pods>,
    pub(crate) led: RefCell<Director>,
    pub(crate) events: RefCell<Events>,
    #[cfg(feature = "identity")]
    pub(crate) certificates: RefCell<crate::identity::Certificates>,
    /// When the API server refused the node's certificate first and last, as uptimes, if it has not accepted it since.
    #[cfg(feature = "identity")]
    pub(crate) refused: Cell<Option<(Duration, Duration)>>,
    /// The `Authorization` that requests carry as long as the node has no certificate.
    pub(crate) bootstrap: RefCell<Option<Rc<str>>>,
    pub(crate) metrics: Metrics,
    pub(crate) time: TimeState,
    pub(crate) signals: Signals,
}

/// How the tasks wake each other.
#[derive(Default)]
pub(crate) struct Signals {
    /// Something that the status tells has changed, or the Node may be gone.
    pub(crate) status: Signal<NoopRawMutex, ()>,
    /// The node was registered (again).
    pub(crate) registered: Signal<NoopRawMutex, ()>,
    /// The serving certificate may have to be requested.
    #[cfg(feature = "identity")]
    pub(crate) certificates: Signal<NoopRawMutex, ()>,
    /// There is an event to send.
    pub(crate) event: Signal<NoopRawMutex, ()>,
    /// A pod has come, changed or gone, or its containers have.
    pub(crate) pods: Signal<NoopRawMutex, ()>,
    /// What the LED shows may have changed.
    pub(crate) led: Signal<NoopRawMutex, ()>,
}

impl<H: Host> Agent<H> {
    /// An agent that has not begun.
    pub fn new(settings: Settings, platform: H::Machine, network: H::Network, runtime: H::Runtime) -> Self {
        let pins = platform.pins();
        Self {
            time: TimeState::new(settings.built, platform.time_source()),
            settings,
            platform,
            network,
            runtime,
            client: Mutex::new(Client::default()),
            node: RefCell::default(),
            configuration: RefCell::new(Configuration::new(pins)),
            pods: RefCell::default(),
            led: RefCell::default(),
            events: RefCell::default(),
            #[cfg(feature = "identity")]
            certificates: RefCell::default(),
            #[cfg(feature = "identity")]
            refused: Cell::default(),
            bootstrap: RefCell::default(),
            metrics: Metrics::default(),
            signals: Signals::default(),
        }
    }

    /// Runs the node for ever: everything side by side, on the thread that polls it.
    pub async fn run(&self) {
        let cluster = async {
            crate::time::learn(self).await;
            #[cfg(feature = "identity")]
            apart(crate::identity::join_cluster(self)).await;
            let tasks: &mut [Task<'_>] = &mut [
                pin!(crate::lease::run(self)),
                pin!(crate::status::run(self)),
                pin!(crate::configuration::run(self)),
                pin!(crate::pods::run(self)),
                #[cfg(feature = "identity")]
                pin!(crate::identity::keep(self)),
            ];
            together(tasks).await;
        };
        let tasks: &mut [Task<'_>] = &mut [
            pin!(cluster),
            pin!(crate::server::run(self)),
            pin!(crate::events::run(self)),
            pin!(crate::led::run(self)),
            pin!(crate::time::keep(self)),
        ];
        together(tasks).await;
    }

    /// The machine that the agent runs on.
    pub fn platform(&self) -> &H::Machine {
        &self.platform
    }

    /// Whether the API server has the node as Ready, as far as the agent knows.
    pub fn is_ready(&self) -> bool {
        self.led.borrow().is_ready()
    }

    /// The network that the agent uses.
    pub fn network(&self) -> &H::Network {
        &self.network
    }
}
