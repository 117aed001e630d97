//! The heartbeat: a Lease renewed every ten seconds.
//!
//! Source: `k8s.io/component-helpers/apimachinery/lease/controller.go`. The Lease alone keeps a node Ready, so nothing
//! else may hold it up: it needs one request on a connection that is open already.

use crate::agent::Agent;
use crate::backoff::{Backoff, jittered};
use crate::client::ApiError;
use crate::host::Host;
use alloc::boxed::Box;
use alloc::string::String;
use embassy_futures::select::select;
use picolet_kube::Timestamp;
use picolet_kube::lease::{self, Lease};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{Clock, Duration, Level, Log};

/// Seconds after which a Lease that was not renewed is void.
const DURATION_SECONDS: u32 = 40;
const INTERVAL: Duration = Duration::from_secs(10);
const JITTER_PERCENT: u32 = 4;

/// The Lease as the API server has it.
#[derive(Default)]
struct Held {
    /// `None` while it is not known, or not there.
    resource_version: Option<Box<str>>,
    renew_time: Timestamp,
}

/// Renews the Lease for ever, beginning when the node is registered.
pub(crate) async fn run<H: Host>(agent: &Agent<H>) {
    agent.signals.registered.wait().await;
    let mut held = Held::default();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
    loop {
        match renew(agent, &mut held).await {
            Ok(()) => {
                backoff.reset();
                agent
                    .platform
                    .sleep(jittered(&agent.platform, INTERVAL, JITTER_PERCENT))
                    .await;
            }
            Err(error) => {
                agent
                    .platform
                    .log(Level::Warn, format_args!("the Lease was not renewed: {error}"));
                // A new registration ends the waiting: the Lease of a Node that was deleted went with it.
                select(backoff.wait(&agent.platform), agent.signals.registered.wait()).await;
            }
        }
    }
}

async fn renew<H: Host>(agent: &Agent<H>, held: &mut Held) -> Result<(), ApiError> {
    let name = &*agent.settings.node_name;
    let mut known = held.resource_version.is_some();
    let begun = agent.platform.uptime();
    // At most: replaced by somebody else, read, replaced; or gone, made.
    for _ in 0..3 {
        if !known {
            let mut found = Lease::default();
            match agent.get(&Request::get(Resource::Lease(name)), &mut found).await {
                Ok(()) => keep(held, found),
                Err(error) if error.code() == 404 => held.resource_version = None,
                Err(error) => return Err(error),
            }
        }
        // Strictly later than what is there, even where our clock is behind: the node lifecycle controller looks only
        // at whether it grew.
        let renew_time = agent
            .now()
            .max(Timestamp::from_micros(held.renew_time.micros() + 1));
        let uid = agent.node.borrow().metadata.uid.clone();
        let mut body = String::new();
        lease::write(
            &mut body,
            name,
            &uid,
            held.resource_version.as_deref(),
            renew_time,
            DURATION_SECONDS,
        );
        let (resource, verb) = match held.resource_version {
            Some(_) => (Resource::Lease(name), Verb::Replace),
            None => (Resource::Leases, Verb::Create),
        };
        let mut written = Lease::default();
        let body = &*body;
        let request = Request { resource, verb, body };
        match agent.get(&request, &mut written).await {
            Ok(()) => {
                keep(held, written);
                agent
                    .metrics
                    .lease_latency
                    .record(agent.platform.uptime().saturating_sub(begun));
                agent.metrics.heartbeat(agent.platform.uptime(), agent.now());
                return Ok(());
            }
            Err(error) if matches!(error.code(), 404 | 409) => {
                // The Lease goes with its Node: have the status task look after that at once.
                agent.signals.status.signal(());
                known = false;
            }
            Err(error) => {
                held.resource_version = None; // whether it was written is not known
                return Err(error);
            }
        }
    }
    Err(ApiError::Timeout)
}

fn keep(held: &mut Held, lease: Lease) {
    held.renew_time = held.renew_time.max(lease.renew_time.unwrap_or_default());
    held.resource_version = Some(lease.metadata.resource_version);
}
