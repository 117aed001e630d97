//! The node's own certificates: asked for with a bootstrap token, kept, and renewed before they end.
//!
//! As a kubelet does it (`pkg/kubelet/certificate/bootstrap`, `k8s.io/client-go/util/certificate/certificate_manager.go`): the
//! client certificate first, without which the node is nobody; the serving certificate once the node is registered, since
//! whoever approves it looks at the Node's addresses. Until it is there the kubelet port stays closed, and the node says so.
//!
//! Here is what is kept valid and when; [`request`] obtains one certificate, [`renewal`] decides, [`report`] has the words.
//! No key is ever seen but inside the records that are kept for the next start.

mod failure;
mod k3s;
mod renewal;
mod report;
mod request;

use crate::backoff::Backoff;
use crate::client::Client;
use crate::host::Host;
use crate::node::NodeRef;
use crate::settings::Settings;
use crate::signal::Signal;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use embassy_futures::join::join;
use embassy_futures::select::select;
use failure::Failure;
use picolet_platform::{Clock, Duration, Entropy, Identities, Network, Purpose};
use renewal::{Need, Schedule, Situation, need};
use request::{Pending, octets};
use zeroize::Zeroizing;

/// How often certificates are looked at: the address may have changed, or the clock.
const LOOK: Duration = Duration::from_secs(10);
/// How long the bootstrap token is used while there is a certificate that the API server may accept again.
const TOKEN_PATIENCE: Duration = Duration::from_secs(60);

/// What is known of the node's certificates.
#[derive(Default)]
struct State {
    /// Why there is no certificate for the purpose, or no new one: in words, with the remedy.
    trouble: [Option<Box<str>>; 2],
    /// What was requested and not issued yet, for each purpose.
    pending: [Option<Pending>; 2],
    /// The record of a client certificate that was issued to the bootstrap token. It is stored when the node is registered:
    /// until then the name may turn out to be another machine's.
    unconfirmed: Option<Zeroizing<Vec<u8>>>,
    /// Whether it is k3s that signs them, and not the signers of Kubernetes.
    k3s: bool,
    /// Whether a serving certificate is presented that no longer counts.
    presents_old: bool,
}

/// The delays after failures: a second at first, and a minute at most.
const fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
}

/// By how much longer the delay after `failure` is. After a refusal it is a minute at first, and an hour at most: each costs a
/// request, which stays in the cluster for an hour or longer.
fn factor(failure: &Failure) -> u32 {
    if failure.is_refusal() { 60 } else { 1 }
}

/// The certificates of a node, and who waits for them.
#[derive(Default)]
pub(crate) struct Certificates {
    state: RefCell<State>,
    /// The serving certificate may have to be requested.
    changed: Signal,
}

/// Sees to the certificates of the node.
pub(crate) struct IdentityController<'a, H: Host> {
    pub(crate) settings: &'a Settings,
    pub(crate) client: &'a Client<H>,
    pub(crate) machine: &'a H::Machine,
    pub(crate) network: &'a H::Network,
    pub(crate) time: &'a Time<H::Machine>,
    pub(crate) node: &'a NodeRef,
    pub(crate) certificates: &'a Certificates,
}

impl<H: Host> IdentityController<'_, H> {
    /// Completes once the node has a client certificate: the one that it kept, or one that it is given for its token.
    pub(crate) async fn join_cluster(&self) {
        let Some(join) = &self.settings.join else {
            return;
        };
        for purpose in [Purpose::Client, Purpose::Serving] {
            self.restore(purpose).await;
        }
        let on_k3s = match &join.token {
            Some(token) => crate::k3s::credential(token).is_some(),
            None => self.was_joined_to_k3s().await,
        };
        self.certificates.state.borrow_mut().k3s = on_k3s;
        let mut backoff = backoff();
        while !self.is_valid(Purpose::Client) {
            // By a wrong clock the certificate only seems to have expired.
            let obtained = match self.client.confirm_time().await {
                Ok(()) if self.is_valid(Purpose::Client) => break,
                Ok(()) => self.obtain_by_token().await,
                Err(error) => Err(error.into()),
            };
            if let Err(failure) = obtained {
                // The clock may be wrong, and without a token nothing else is sent that an answer with the time could come to.
                self.time.doubt();
                self.report_failure(Purpose::Client, &failure);
                let delay = backoff.next(self.machine) * factor(&failure);
                self.machine.sleep(delay).await;
            }
        }
        self.report(Purpose::Client, None);
    }

    /// Has a client certificate issued to whoever has the bootstrap token. A certificate that the node has is not shown meanwhile,
    /// and is in use again if it fails.
    async fn obtain_by_token(&self) -> Result<(), Failure> {
        let join = self.settings.join.as_ref();
        let token = join.and_then(|join| join.token.as_deref());
        let token = token.ok_or(Failure::NoToken)?;
        let patience = self.is_valid(Purpose::Client).then_some(TOKEN_PATIENCE);
        let credentials = &self.client.credentials;
        credentials.authorize(Some(crate::k3s::authorization(token).into()));
        self.network.identities().withhold(Purpose::Client);
        self.client.hang_up().await;
        let obtained = Box::pin(self.obtain(Purpose::Client, patience)).await;
        credentials.authorize(None);
        if obtained.is_err() {
            self.network.identities().present(Purpose::Client);
        }
        self.client.hang_up().await;
        obtained
    }

    /// Keeps both certificates valid, for ever.
    pub(crate) async fn keep(&self) {
        if self.settings.join.is_some() {
            join(self.keep_one(Purpose::Client), self.keep_one(Purpose::Serving)).await;
        }
    }

    async fn keep_one(&self, purpose: Purpose) {
        let mut backoff = backoff();
        let mut schedule = Schedule::default();
        loop {
            let lifetime = self.network.identities().lifetime(purpose);
            schedule.observe(lifetime, self.time.now(), self.random());
            let Some(needed) = need(purpose, &self.situation(purpose, &schedule)) else {
                if !self.client.credentials.is_refused() && !schedule.is_limited() {
                    self.report(purpose, None);
                }
                self.sleep(purpose, LOOK).await;
                continue;
            };
            let address = octets(self.network.address().filter(|_| purpose == Purpose::Serving));
            let pause = schedule.pause(needed, address, self.machine.uptime());
            if !pause.is_zero() {
                self.sleep(purpose, pause.min(LOOK)).await;
                continue;
            }
            let obtained = match needed {
                Need::Token => self.obtain_by_token().await,
                Need::Age | Need::Replacement => Box::pin(self.obtain(purpose, None)).await,
            };
            let now = self.machine.uptime();
            if needed == Need::Token {
                // The certificate of now is tried for as long again.
                let credentials = &self.client.credentials;
                let refused = credentials.is_refused() && obtained.is_err();
                credentials.restart_refusals(refused.then_some(now));
            }
            if let Err(failure) = obtained {
                // A refusal of the certificate would be reported as one of the token.
                if needed == Need::Token || !self.client.credentials.is_refused() {
                    self.report_failure(purpose, &failure);
                }
                let delay = backoff.next(self.machine);
                let others = if failure.is_refusal() {
                    delay
                } else {
                    Duration::ZERO
                };
                schedule.fail((needed, address), now, delay * factor(&failure), others);
                continue;
            }
            backoff.reset();
            let lifetime = self.network.identities().lifetime(purpose);
            schedule.renew(needed, lifetime, (self.time.now(), now), self.random());
            match schedule.is_limited() {
                true => self.report_limit(purpose),
                false => self.report(purpose, None),
            }
            if purpose == Purpose::Client {
                self.client.hang_up().await;
            }
            if needed == Need::Token {
                // It is of the same CA.
                let identities = self.network.identities();
                let mut certificates = self.certificates.state.borrow_mut();
                certificates.presents_old |= identities.lifetime(Purpose::Serving).is_some();
                identities.withhold(Purpose::Serving);
                self.certificates.changed.signal(());
            }
        }
    }

    /// What is known of the certificate for `purpose`.
    fn situation(&self, purpose: Purpose, schedule: &Schedule) -> Situation {
        let identities = self.network.identities();
        let address = self.network.address();
        let certificates = self.certificates.state.borrow();
        let pending = certificates.pending[purpose as usize].as_ref();
        Situation {
            // What the bootstrap token requests is not the node's request.
            registered: self.node.is_registered() && !self.client.credentials.has_authorization(),
            refused: self.client.credentials.refused_for(),
            valid: self.is_valid(purpose),
            due: schedule.is_due(self.time.now()),
            serves: address.map(|address| identities.serves(address)),
            pending: pending.is_some_and(|pending| pending.is_for(address)),
        }
    }

    /// Waits for that long, or until the serving certificate is to be looked at again.
    async fn sleep(&self, purpose: Purpose, duration: Duration) {
        let sleep = self.machine.sleep(duration);
        match purpose {
            Purpose::Client => sleep.await,
            Purpose::Serving => {
                select(sleep, self.certificates.changed.wait()).await;
            }
        }
    }

    fn random(&self) -> u16 {
        let mut random = [0; 2];
        self.machine.fill(&mut random);
        u16::from_le_bytes(random)
    }

    fn is_valid(&self, purpose: Purpose) -> bool {
        let lifetime = self.network.identities().lifetime(purpose);
        lifetime.is_some_and(|lifetime| self.time.now().seconds() < lifetime.not_after)
    }

    /// Whether the node has shown before that its name is its own: it was given its certificate by hand, or it was registered
    /// with the certificate that it kept.
    pub(crate) fn owns_name(&self) -> bool {
        self.certificates.state.borrow().unconfirmed.is_none()
    }

    /// The port that the node reports. k3s dials one that is reported through a tunnel of its own agents, and one that is not
    /// directly (`pkg/daemons/control/tunnel.go` of k3s).
    pub(crate) fn reported_port(&self) -> Option<u16> {
        self.settings
            .reported_port
            .filter(|_| !self.certificates.state.borrow().k3s)
    }
}

#[cfg(test)]
mod tests;
