//! The node: settings made into an agent, and the agent run.

use crate::flash::DeviceRecords;
use crate::machine::{Board, Identity};
use crate::network::api::{Api, LIMITS, PORT};
use crate::pins::Bank;
use crate::{clock, log, memory};
use embassy_executor::Spawner;
use embassy_time::{Duration, Timer};
use picolet_kube::Timestamp;
use picolet_kube::selector::Taint;
use picolet_kubelet::{Agent, Capacity, Join, StaticToken};
use picolet_platform::Level;
use picolet_runtime::NoRuntime;
use picolet_store::settings::Settings;
use picolet_tls::SetupError;
use static_cell::StaticCell;

/// Where nothing is said.
const DEFAULT_TAINT: &str = "picolet.dev/microcontroller=true:NoSchedule";

/// The node of a board.
pub(crate) type Node = Agent<(Board, Api, NoRuntime)>;

/// The node's settings in the agent's words.
fn agent_settings(settings: Settings<'static>) -> picolet_kubelet::Settings {
    let parse = |text| Taint::parse(text);
    let taints = match settings.taints() {
        Some(taints) => taints.filter_map(parse).collect(),
        None => parse(DEFAULT_TAINT).into_iter().collect(),
    };
    let token = |one: picolet_store::settings::StaticToken<'_>| StaticToken {
        token: one.token.into(),
        user: one.user.into(),
    };
    // Who is given no certificate gets one by itself, or kept it when it ran before.
    let by_hand = settings.client_key().is_some() || settings.serving_key().is_some();
    let joins = !by_hand && settings.servers().any(|server| server.tls);
    picolet_kubelet::Settings {
        node_name: settings.node_name().into(),
        config_namespace: settings.config_namespace().into(),
        taints,
        capacity: Capacity::default(),
        reported_port: (!settings.hide_port()).then_some(PORT),
        static_tokens: settings.static_tokens().map(token).collect(),
        anonymous_health: false,
        join: joins.then(|| Join {
            token: settings.bootstrap_token().map(Into::into),
        }),
        limits: LIMITS,
        built: Timestamp::from_seconds(clock::BUILT),
    }
}

// The agent is large: made in a frame of its own, and then in its place.
#[inline(never)]
fn agent(
    identity: Identity,
    pins: Bank,
    records: DeviceRecords,
    settings: Settings<'static>,
) -> Result<&'static Node, SetupError> {
    static NODE: StaticCell<Node> = StaticCell::new();
    let network = Api::new(settings)?;
    Ok(NODE.init_with(|| {
        Agent::new(
            agent_settings(settings),
            Board {
                identity,
                pins,
                i2c: crate::i2c::Buses::new(),
                records,
            },
            network,
            NoRuntime,
        )
    }))
}

#[embassy_executor::task]
async fn run(node: &'static Node) -> ! {
    node.run().await
}

/// Between two lines about memory.
const FIGURES: Duration = Duration::from_secs(30);

/// Tells how much memory is used, for ever.
#[embassy_executor::task]
async fn tell_figures() -> ! {
    loop {
        Timer::after(FIGURES).await;
        let (heap, (stack, deepest)) = (memory::heap(), memory::stack());
        log::line(
            Level::Debug,
            format_args!(
                "heap {} of {} bytes, at most {}; stack at most {deepest} of {stack}",
                heap.used, heap.total, heap.peak
            ),
        );
    }
}

/// Starts the node on the thread's executor.
///
/// # Errors
/// The settings' certificates and keys are of no use.
pub(crate) fn spawn(
    spawner: Spawner,
    identity: Identity,
    pins: Bank,
    records: DeviceRecords,
    settings: Settings<'static>,
) -> Result<&'static Node, SetupError> {
    let node = agent(identity, pins, records, settings)?;
    spawner.spawn(run(node).expect("the node is spawned once"));
    spawner.spawn(tell_figures().expect("this is spawned once"));
    Ok(node)
}
