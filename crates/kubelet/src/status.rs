//! The node's status: what it is, what it offers, how it feels.
//!
//! Computed every ten seconds, sent at once when something changed and every five minutes otherwise, as a kubelet does
//! (`pkg/kubelet/kubelet_node_status.go`, `pkg/kubelet/nodestatus/setters.go`). Numbers that move belong into
//! `/metrics`: what is said here is quantised, so that noise is not a change.

use crate::address::Address;
use crate::agent::Agent;
use crate::client::ApiError;
use crate::fingerprint;
use crate::host::Host;
use crate::led::Mood;
use crate::register::{ARCHITECTURE, OPERATING_SYSTEM, register};
use crate::settings::VERSION;
use crate::time;
use alloc::string::String;
use core::fmt::Write as _;
use embassy_futures::select::select;
use picolet_kube::event::Severity;
use picolet_kube::node::{ConditionReport, Node, StatusReport, SystemInfo, Truth, write_status_patch};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_kube::{Integer, Quantity, Timestamp};
use picolet_platform::{Clock, Duration, Level, Log, Memory, Network, Pins, System};
use picolet_runtime::Runtime;

/// How often the status is computed and the Node looked at.
const COMPUTE: Duration = Duration::from_secs(10);
/// How often it is sent when nothing changed.
const REPORT: Duration = Duration::from_secs(300);
/// Less free heap than this is pressure …
const LOW_MEMORY: u64 = 16 * 1024;
/// … until there is this much again.
const ENOUGH_MEMORY: u64 = 24 * 1024;
/// Without a heartbeat for so long the cluster holds the node for lost.
const LOST: Duration = Duration::from_secs(40);

/// What has to be remembered from one computation to the next.
#[derive(Default)]
struct Reported {
    low_since: Option<Duration>,
    pressure: bool,
    /// The status that was sent last, by its hash, and when.
    sent: Option<(u64, Duration)>,
    was_ready: bool,
}

/// Registers the node and reports its status, for ever.
pub(crate) async fn run<H: Host>(agent: &Agent<H>) {
    agent.node_event(Severity::Normal, "Starting", format_args!("Starting kubelet."));
    register(agent).await;
    let mut memory = Reported::default();
    loop {
        let result = report(agent, &mut memory).await;
        match &result {
            Ok(()) => {}
            Err(error) if error.code() == 404 => {
                agent.platform.log(
                    Level::Warn,
                    format_args!("the Node was deleted: registering it again"),
                );
                memory.sent = None;
                *agent.node.borrow_mut() = Node::default();
                register(agent).await;
                continue;
            }
            Err(error) => agent
                .platform
                .log(Level::Warn, format_args!("the status was not reported: {error}")),
        }
        let heard = agent
            .metrics
            .last_heartbeat
            .get()
            .map(|(at, _)| agent.platform.uptime().saturating_sub(at));
        agent
            .led
            .borrow_mut()
            .feel(if heard.is_some_and(|ago| ago > LOST) {
                Mood::Trouble
            } else {
                Mood::Ready
            });
        agent.signals.led.signal(());
        select(agent.platform.sleep(COMPUTE), agent.signals.status.wait()).await;
    }
}

async fn report<H: Host>(agent: &Agent<H>, memory: &mut Reported) -> Result<(), ApiError> {
    let name = &*agent.settings.node_name;
    time::confirm(agent).await?;
    let mut node = Node::default();
    agent.get(&Request::get(Resource::Node(name)), &mut node).await?;
    let other = {
        let known = agent.node.borrow();
        known.metadata.uid != node.metadata.uid
    };
    if other {
        // Deleted and made again by somebody between two looks: a Lease that went with the old one must be made anew.
        agent.signals.registered.signal(());
    }
    *agent.node.borrow_mut() = node;
    memory.feel(agent);
    let uptime = agent.platform.uptime();
    let (body, hash, differs) = render(agent, memory.pressure);
    let due = memory
        .sent
        .is_none_or(|(sent, at)| sent != hash || uptime.saturating_sub(at) >= REPORT);
    if !due && !differs {
        return Ok(());
    }
    let mut node = Node::default();
    let patch = Request {
        resource: Resource::NodeStatus(name),
        verb: Verb::StrategicMergePatch,
        body: &body,
    };
    agent.get(&patch, &mut node).await?;
    *agent.node.borrow_mut() = node;
    memory.sent = Some((hash, uptime));
    agent.metrics.heartbeat(agent.platform.uptime(), agent.now());
    if !core::mem::replace(&mut memory.was_ready, true) {
        agent.node_event(
            Severity::Normal,
            "NodeReady",
            format_args!("Node {name} status is now: NodeReady"),
        );
    }
    Ok(())
}

/// The patch of this moment, its hash but for the time, and whether the API server has other conditions.
fn render<H: Host>(agent: &Agent<H>, pressure: bool) -> (String, u64, bool) {
    // What a status takes, so that it need not grow by doubling.
    let mut body = String::with_capacity(3072);
    let mut hash = 0;
    let mut differs = false;
    let node = agent.node.borrow();
    with_report(agent, &node, pressure, &mut |report| {
        differs = node.boot_id.as_ref() != report.info.boot_id
            || report.conditions.iter().any(|ours| {
                !node
                    .conditions
                    .iter()
                    .any(|theirs| &*theirs.kind == ours.kind && theirs.status == ours.status)
            });
        write_status_patch(
            &mut body,
            &StatusReport {
                heartbeat: Timestamp::default(),
                ..*report
            },
        );
        hash = fingerprint::of(body.bytes());
        body.clear();
        write_status_patch(&mut body, report);
    });
    // It is kept until it is answered, with the Node that the answer is beside it.
    body.shrink_to_fit();
    (body, hash, differs)
}

impl Reported {
    /// Looks at the heap; says so when pressure begins or ends.
    fn feel<H: Host>(&mut self, agent: &Agent<H>) {
        let now = agent.platform.uptime();
        let free = agent.platform.heap().free();
        let before = self.pressure;
        if free >= ENOUGH_MEMORY {
            self.low_since = None;
            self.pressure = false;
        } else if free < LOW_MEMORY {
            let since = *self.low_since.get_or_insert(now);
            self.pressure |= now.saturating_sub(since) >= COMPUTE;
        }
        if before != self.pressure {
            let reason = if self.pressure {
                "NodeHasInsufficientMemory"
            } else {
                "NodeHasSufficientMemory"
            };
            let name = &*agent.settings.node_name;
            agent.node_event(
                Severity::Normal,
                reason,
                format_args!("Node {name} status is now: {reason}"),
            );
        }
    }
}

impl<H: Host> Agent<H> {
    /// What the node has, or what of it pods may have.
    pub(crate) fn amounts(&self, allocatable: bool) -> [(&'static str, Quantity); 7] {
        let machine = self.platform.machine();
        let capacity = &self.settings.capacity;
        let bytes = |bytes: u64| Quantity::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        let memory = if allocatable {
            machine.pod_memory_bytes
        } else {
            machine.memory_bytes
        };
        // One core is the agent's own, where there is another.
        let cores = if allocatable {
            machine.cores.saturating_sub(1).max(1)
        } else {
            machine.cores
        };
        let adc = (0..=2)
            .filter(|channel| self.platform.read_adc(*channel).is_some())
            .count();
        [
            ("cpu", capacity.cpu.unwrap_or(Quantity::new(i64::from(cores)))),
            ("memory", capacity.memory.unwrap_or(bytes(memory))),
            (
                "ephemeral-storage",
                capacity.ephemeral_storage.unwrap_or(bytes(machine.storage_bytes)),
            ),
            ("pods", capacity.pods.unwrap_or(Quantity::new(8))),
            (
                "picolet.dev/gpio",
                Quantity::new(self.platform.pins().iter().count() as i64),
            ),
            ("picolet.dev/led", Quantity::new(1)),
            ("picolet.dev/adc", Quantity::new(adc as i64)),
        ]
    }
}

/// Makes the report of this moment. A condition that is in `node`, as the API server has it, and has not flipped keeps
/// its time.
pub(crate) fn with_report<H: Host>(
    agent: &Agent<H>,
    node: &Node,
    pressure: bool,
    use_it: &mut dyn FnMut(&StatusReport<'_>),
) {
    let now = agent.now();
    let machine = agent.platform.machine();
    let capacity = agent.amounts(false);
    let allocatable = agent.amounts(true);
    let address = agent.network.address();
    let mut address_text = heapless::String::<48>::new();
    if let Some(address) = address {
        let _ = write!(address_text, "{}", Address(address));
    }
    let configuration = agent.configuration.borrow();
    let mut configuration_text = String::new();
    let _ = configuration.describe(&mut configuration_text);
    let rejected = configuration.rejected().is_some();
    let mut wifi_text = heapless::String::<48>::new();
    let signal = agent.network.rssi_dbm();
    if let Some(dbm) = signal {
        // In steps of 5 dB: a signal never stands still.
        let _ = write!(
            wifi_text,
            "about {} dBm",
            Integer(i64::from(i32::from(dbm).div_euclid(5) * 5))
        );
    }
    let mut time_text = heapless::String::new();
    let synced = agent.describe_time(&mut time_text);
    let mut runtime = heapless::String::<48>::new();
    let _ = write!(runtime, "{}", agent.runtime.version());

    #[cfg(feature = "identity")]
    let mut certificates_text = String::new();
    #[cfg(feature = "identity")]
    let certificates = agent.describe_certificates(&mut certificates_text);

    let mut conditions = heapless::Vec::<ConditionReport<'_>, 9>::new();
    let mut add = |kind: &'static str, status: Truth, reason, message| {
        let known = node
            .conditions
            .iter()
            .find(|c| &*c.kind == kind && c.status == status);
        // One that is ahead was written by a clock that was wrong.
        let last_transition = known.and_then(|c| c.last_transition).unwrap_or(now).min(now);
        // There are fewer kinds than places.
        let _ = conditions.push(ConditionReport {
            kind,
            status,
            reason,
            message,
            last_transition,
        });
    };
    if pressure {
        add(
            "MemoryPressure",
            Truth::True,
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
        );
    } else {
        add(
            "MemoryPressure",
            Truth::False,
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        );
    }
    let full =
        agent.platform.storage_used_bytes().saturating_mul(100) >= machine.storage_bytes.saturating_mul(95);
    if full && machine.storage_bytes > 0 {
        add(
            "DiskPressure",
            Truth::True,
            "KubeletHasDiskPressure",
            "kubelet has disk pressure",
        );
    } else {
        add(
            "DiskPressure",
            Truth::False,
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        );
    }
    add(
        "PIDPressure",
        Truth::False,
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    );
    add(
        "Ready",
        Truth::True,
        "KubeletReady",
        "kubelet is posting ready status",
    );
    let (truth, reason) = synced;
    add("TimeSynced", truth, reason, &time_text);
    let (truth, reason) = if rejected {
        (Truth::False, "ConfigurationRejected")
    } else {
        (Truth::True, "ConfigurationApplied")
    };
    add("ConfigurationApplied", truth, reason, &configuration_text);
    #[cfg(feature = "identity")]
    if let Some((valid, reason)) = certificates {
        add("CertificatesValid", valid.into(), reason, &certificates_text);
    }
    if let Some(dbm) = signal {
        let good = dbm >= -75;
        add(
            "WifiSignal",
            good.into(),
            if good { "SignalGood" } else { "SignalWeak" },
            &wifi_text,
        );
    }
    use_it(&StatusReport {
        name: &agent.settings.node_name,
        address: &address_text,
        #[cfg(feature = "identity")]
        port: agent.reported_port(),
        #[cfg(not(feature = "identity"))]
        port: agent.settings.reported_port,
        capacity: &capacity,
        allocatable: &allocatable,
        info: SystemInfo {
            machine_id: machine.machine_id,
            system_uuid: machine.system_uuid,
            boot_id: machine.boot_id,
            kernel_version: machine.kernel_version,
            os_image: machine.os_image,
            container_runtime_version: &runtime,
            kubelet_version: VERSION,
            operating_system: OPERATING_SYSTEM,
            architecture: ARCHITECTURE,
        },
        conditions: &conditions,
        heartbeat: now,
    });
}
