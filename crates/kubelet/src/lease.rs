//! The heartbeat: a Lease renewed every ten seconds.
//!
//! Source: `k8s.io/component-helpers/apimachinery/lease/controller.go`. The Lease alone keeps a node Ready, so nothing
//! else may hold it up: it needs one request on a connection that is open already.

use crate::backoff::{Backoff, jittered};
use crate::client::{ApiError, Client, Wanted};
use crate::health::Health;
use crate::host::Host;
use crate::metrics::Metrics;
use crate::node::NodeRef;
use crate::time::Time;
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

/// Keeps the Lease of the node.
pub(crate) struct LeaseController<'a, H: Host> {
    pub(crate) client: &'a Client<H>,
    pub(crate) machine: &'a H::Machine,
    pub(crate) time: &'a Time<H::Machine>,
    pub(crate) node: &'a NodeRef,
    pub(crate) health: &'a Health,
    pub(crate) metrics: &'a Metrics,
}

impl<H: Host> LeaseController<'_, H> {
    /// Renews the Lease for ever, beginning when the node is registered.
    pub(crate) async fn run(&self) {
        self.node.registered.wait().await;
        let mut held = Held::default();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
        loop {
            match self.renew(&mut held).await {
                Ok(()) => {
                    backoff.reset();
                    self.machine
                        .sleep(jittered(self.machine, INTERVAL, JITTER_PERCENT))
                        .await;
                }
                Err(error) => {
                    self.machine
                        .log(Level::Warn, format_args!("the Lease was not renewed: {error}"));
                    // A new registration ends the waiting: the Lease of a Node that was deleted went with it.
                    select(backoff.wait(self.machine), self.node.registered.wait()).await;
                }
            }
        }
    }

    async fn renew(&self, held: &mut Held) -> Result<(), ApiError> {
        let name = &*self.node.name;
        let mut known = held.resource_version.is_some();
        let begun = self.machine.uptime();
        // At most: replaced by somebody else, read, replaced; or gone, made.
        for _ in 0..3 {
            if !known {
                let mut found = Lease::default();
                match self
                    .client
                    .get(&Request::get(Resource::Lease(name)), &mut found)
                    .await
                {
                    Ok(()) => keep(held, found),
                    Err(error) if error.code() == 404 => held.resource_version = None,
                    Err(error) => return Err(error),
                }
            }
            let mut written = Lease::default();
            let result = match held.resource_version {
                Some(_) => {
                    // It may have to wait for a connection: its time is that of being sent.
                    let write = |body: &mut String| self.write(held, body);
                    let replace = Request {
                        resource: Resource::Lease(name),
                        verb: Verb::Replace,
                        body: "",
                    };
                    self.client.get_late(&replace, &write, &mut written).await
                }
                None => {
                    let mut body = String::new();
                    self.write(held, &mut body);
                    let create = Request {
                        resource: Resource::Leases,
                        verb: Verb::Create,
                        body: &body,
                    };
                    let wanted = Wanted::object(&mut written);
                    self.client.create(&create, Resource::Lease(name), wanted).await
                }
            };
            match result {
                Ok(()) => {
                    keep(held, written);
                    self.metrics
                        .lease_latency
                        .record(self.machine.uptime().saturating_sub(begun));
                    self.health.heard(self.machine.uptime(), self.time.now());
                    self.health.count_renewal();
                    return Ok(());
                }
                Err(error) if matches!(error.code(), 404 | 409) => {
                    // The Lease goes with its Node: have the status task look after that at once.
                    self.node.outdated.signal(());
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

    /// Writes the Lease as it is renewed now.
    fn write(&self, held: &Held, body: &mut String) {
        // Strictly later than what is there, even where our clock is behind: the node lifecycle controller looks only
        // at whether it grew.
        let renew_time = self
            .time
            .now()
            .max(Timestamp::from_micros(held.renew_time.micros() + 1));
        let uid = self.node.object.borrow().metadata.uid.clone();
        let version = held.resource_version.as_deref();
        lease::write(body, &self.node.name, &uid, version, renew_time, DURATION_SECONDS);
    }
}

fn keep(held: &mut Held, lease: Lease) {
    held.renew_time = held.renew_time.max(lease.renew_time.unwrap_or_default());
    held.resource_version = Some(lease.metadata.resource_version);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Services, TestHost, answer_requests};
    use core::cell::RefCell;
    use embassy_futures::join::join;
    use std::borrow::ToOwned;
    use std::vec::Vec;

    #[test]
    fn lease_is_made_and_renewed_when_the_node_is_registered() {
        let services = Services::new();
        let controller = LeaseController::<TestHost> {
            client: &services.client,
            machine: &services.machine,
            time: &services.time,
            node: &services.node,
            health: &services.health,
            metrics: &services.metrics,
        };
        let sent = RefCell::new(Vec::new());
        let answers = |path: &str, body: &str| {
            sent.borrow_mut().push(path.to_owned());
            let lease =
                r#"{"metadata":{"resourceVersion":"7"},"spec":{"renewTime":"2026-11-22T12:00:00.000000Z"}}"#;
            match body {
                "" => Some((404, "{}".to_owned())),
                _ => Some((200, lease.to_owned())),
            }
        };
        let running = join(controller.run(), answer_requests(&services.network, &answers));
        let seconds = Duration::from_secs;
        services.clock.run(running, async {
            services.clock.sleep(seconds(5)).await;
            assert!(sent.borrow().is_empty(), "there is no Node yet");
            assert_eq!(services.health.heartbeat(), None);
            services.register();
            services.clock.sleep(seconds(25)).await;
        });
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let own = std::format!("{leases}/pico-1");
        assert_eq!(*sent.borrow(), [&own, leases, &own, &own]);
        assert!(services.health.heartbeat().is_some());
    }

    #[test]
    fn lease_is_renewed_a_microsecond_later_when_it_is_ahead_of_the_clock() {
        let services = Services::new();
        let controller = LeaseController::<TestHost> {
            client: &services.client,
            machine: &services.machine,
            time: &services.time,
            node: &services.node,
            health: &services.health,
            metrics: &services.metrics,
        };
        let time = |micros| std::format!("2036-11-22T12:00:00.{micros:06}Z");
        let times = RefCell::new(std::vec![time(0)]);
        let answers = |_: &str, body: &str| {
            if let Some((_, rest)) = body.split_once("\"renewTime\":\"") {
                times
                    .borrow_mut()
                    .push(rest.split('"').next().unwrap_or_default().to_owned());
            }
            let stored = times.borrow().last().cloned().unwrap_or_default();
            let lease =
                std::format!(r#"{{"metadata":{{"resourceVersion":"7"}},"spec":{{"renewTime":"{stored}"}}}}"#);
            Some((200, lease))
        };
        let running = join(controller.run(), answer_requests(&services.network, &answers));
        services.clock.run(running, async {
            services.register();
            services.clock.sleep(Duration::from_secs(25)).await;
        });
        assert_eq!(times.take(), [0, 1, 2, 3].map(time));
    }
}
