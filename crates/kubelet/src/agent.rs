//! One node: what it is made of, and how its controllers run side by side.

use crate::apart::{Task, apart, together};
use crate::client::Client;
use crate::devices::{ConfigurationController, Devices, LedController};
use crate::events::{EventSender, Recorder};
use crate::firmware::{FirmwareController, FirmwareStatus};
use crate::health::{Health, State};
use crate::host::Host;
use crate::identity::{Certificates, IdentityController};
use crate::lease::LeaseController;
use crate::metrics::Metrics;
use crate::node::{NodeRef, Reporter};
use crate::node_status::StatusController;
use crate::pods::{PodController, PodStore};
use crate::server::{self, ServedNode};
use crate::settings::Settings;
use crate::time::Time;
use alloc::rc::Rc;
use core::future::pending;
use core::pin::pin;
use picolet_platform::Pins;

#[cfg(test)]
mod tests;

/// A node agent on one machine. Everything in it runs on one thread: what its controllers share is in cells, and no borrow
/// is ever held across an `await`. Nothing else knows all of them.
pub struct Agent<H: Host> {
    settings: Settings,
    machine: Rc<H::Machine>,
    network: Rc<H::Network>,
    /// What runs the containers of pods.
    runtime: H::Runtime,
    time: Rc<Time<H::Machine>>,
    metrics: Rc<Metrics>,
    client: Client<H>,
    events: Recorder<H::Machine>,
    node: NodeRef,
    health: Health,
    devices: Devices,
    pods: PodStore,
    certificates: Certificates,
    firmware: FirmwareStatus,
}

impl<H: Host> Agent<H> {
    /// An agent that has not begun.
    // In a frame of its own: where it is made it would be built in place, at addresses that are far from each other.
    #[inline(never)]
    pub fn new(settings: Settings, machine: H::Machine, network: H::Network, runtime: H::Runtime) -> Self {
        let (machine, network, metrics) = (Rc::new(machine), Rc::new(network), Rc::<Metrics>::default());
        let time = Rc::new(Time::new(machine.clone(), settings.built));
        let client = Client::new(machine.clone(), network.clone(), time.clone(), metrics.clone());
        Self {
            client,
            events: Recorder::new(machine.clone(), metrics.clone(), &settings.node_name),
            node: NodeRef::new(&settings.node_name),
            health: Health::default(),
            devices: Devices::new(machine.pins()),
            pods: PodStore::default(),
            certificates: Certificates::default(),
            firmware: FirmwareStatus::default(),
            settings,
            machine,
            network,
            runtime,
            time,
            metrics,
        }
    }

    /// Runs the node for ever: everything side by side, on the thread that polls it.
    pub async fn run(&self) -> ! {
        let identity = self.identity();
        let reporters: &[&dyn Reporter] = &[&*self.time, &self.devices, &identity, &self.firmware];
        let status = self.status(&identity, reporters);
        let (lease, configuration, pods) = (self.lease(), self.configuration(), self.pods());
        let (led, sender, served) = (self.led(), self.sender(), self.served());
        let firmware = self.firmware();
        let cluster = async {
            apart(self.time.load()).await;
            self.client.learn_time().await;
            apart(identity.join_cluster()).await;
            let tasks: &mut [Task<'_>] = &mut [
                &mut pin!(lease.run()),
                &mut pin!(status.run()),
                &mut pin!(configuration.run()),
                &mut pin!(pods.run()),
                &mut pin!(identity.keep()),
            ];
            together(tasks).await;
        };
        let tasks: &mut [Task<'_>] = &mut [
            &mut pin!(cluster),
            &mut pin!(server::run(&served)),
            &mut pin!(sender.run()),
            &mut pin!(led.run()),
            &mut pin!(self.time.keep()),
            &mut pin!(firmware.run()),
        ];
        together(tasks).await;
        pending().await
    }

    fn identity(&self) -> IdentityController<'_, H> {
        IdentityController {
            settings: &self.settings,
            client: &self.client,
            machine: &self.machine,
            network: &self.network,
            time: &self.time,
            node: &self.node,
            certificates: &self.certificates,
        }
    }

    fn status<'a>(
        &'a self,
        identity: &'a IdentityController<'a, H>,
        reporters: &'a [&'a dyn Reporter],
    ) -> StatusController<'a, H> {
        StatusController {
            settings: &self.settings,
            client: &self.client,
            machine: &self.machine,
            network: &self.network,
            runtime: &self.runtime,
            time: &self.time,
            events: &self.events,
            node: &self.node,
            health: &self.health,
            identity,
            reporters,
        }
    }

    fn lease(&self) -> LeaseController<'_, H> {
        LeaseController {
            client: &self.client,
            machine: &self.machine,
            time: &self.time,
            node: &self.node,
            health: &self.health,
            metrics: &self.metrics,
        }
    }

    fn configuration(&self) -> ConfigurationController<'_, H> {
        ConfigurationController {
            settings: &self.settings,
            client: &self.client,
            machine: &self.machine,
            time: &self.time,
            events: &self.events,
            node: &self.node,
            metrics: &self.metrics,
            devices: &self.devices,
        }
    }

    fn pods(&self) -> PodController<'_, H> {
        PodController {
            settings: &self.settings,
            client: &self.client,
            machine: &self.machine,
            network: &self.network,
            runtime: &self.runtime,
            time: &self.time,
            events: &self.events,
            node: &self.node,
            pods: &self.pods,
        }
    }

    fn sender(&self) -> EventSender<'_, H> {
        EventSender {
            client: &self.client,
            machine: &self.machine,
            time: &self.time,
            recorder: &self.events,
        }
    }

    fn led(&self) -> LedController<'_, H> {
        LedController {
            machine: &self.machine,
            health: &self.health,
            display: &self.devices.display,
        }
    }

    fn firmware(&self) -> FirmwareController<'_, H> {
        FirmwareController {
            machine: &self.machine,
            health: &self.health,
            events: &self.events,
            node: &self.node,
            metrics: &self.metrics,
            status: &self.firmware,
        }
    }

    fn served(&self) -> ServedNode<'_, H> {
        ServedNode {
            settings: &self.settings,
            client: &self.client,
            machine: &self.machine,
            network: &self.network,
            time: &self.time,
            health: &self.health,
            metrics: &self.metrics,
            devices: &self.devices,
            pods: &self.pods.table,
        }
    }

    /// The machine that the agent runs on.
    pub fn machine(&self) -> &H::Machine {
        &self.machine
    }

    /// Whether the API server has the node as Ready, as far as the agent knows.
    pub fn is_ready(&self) -> bool {
        self.health.state() == State::Ready
    }

    /// The network that the agent uses.
    pub fn network(&self) -> &H::Network {
        &self.network
    }
}
