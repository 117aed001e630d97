//! The node's own certificates: asked for with a bootstrap token, kept, and renewed before they end.
//!
//! As a kubelet does it (`pkg/kubelet/certificate/bootstrap`, `k8s.io/client-go/util/certificate/certificate_manager.go`): the
//! client certificate first, without which the node is nobody; the serving certificate once the node is registered, since
//! whoever approves it looks at the Node's addresses. Until it is there the kubelet port stays closed, and the node says so.
//!
//! Here is what is kept valid and when; [`request`] obtains one certificate, [`renewal`] decides, [`report`] has the words.
//! No key is ever seen but inside the records that are kept for the next start.

mod k3s;
mod renewal;
mod report;
mod request;

pub(crate) use renewal::refused_again;
pub(crate) use request::confirm;

use crate::agent::Agent;
use crate::backoff::Backoff;
use crate::host::Host;
use alloc::boxed::Box;
use alloc::vec::Vec;
use embassy_futures::join::join;
use embassy_futures::select::select;
use picolet_kube::Timestamp;
use picolet_platform::{Clock, Duration, Entropy, Identities, Network, Platform, Purpose};
use renewal::{Need, Situation, need, renewal};
use report::{Failure, report, report_failure, report_limit};
use request::{Pending, obtain, restore};
use zeroize::Zeroizing;

/// How often certificates are looked at: the address may have changed, or the clock.
const LOOK: Duration = Duration::from_secs(10);
/// How long a new certificate is used, however short it lives and wherever the node moves: each request costs a key, a write to
/// flash and an object in the cluster.
const SHORTEST_USE: Duration = Duration::from_secs(60);
/// How long the bootstrap token is used while there is a certificate that the API server may accept again.
const TOKEN_PATIENCE: Duration = Duration::from_secs(60);

/// What is known of the node's certificates.
#[derive(Default)]
pub(crate) struct Certificates {
    /// Why there is no certificate for the purpose, or no new one: in words, with the remedy.
    trouble: [Option<Box<str>>; 2],
    /// What was requested and not issued yet, for each purpose.
    pending: [Option<Pending>; 2],
    /// The record of a client certificate that was issued to the bootstrap token. It is stored when the node is registered:
    /// until then the name may turn out to be another machine's.
    unconfirmed: Option<Zeroizing<Vec<u8>>>,
    /// Whether it is k3s that signs them, and not the signers of Kubernetes.
    k3s: bool,
}

/// The delays after failures: a second at first, and a minute at most.
const fn backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
}

/// The delay after `failure`. After a refusal it is a minute at first, and an hour at most: each costs a request, which stays in
/// the cluster for an hour or longer.
fn delay<P: Platform>(failure: &Failure, backoff: &mut Backoff, platform: &P) -> Duration {
    backoff.next(platform) * if failure.is_refusal() { 60 } else { 1 }
}

/// Completes once the node has a client certificate: the one that it kept, or one that it is given for its token.
pub(crate) async fn join_cluster<H: Host>(agent: &Agent<H>) {
    let Some(join) = &agent.settings.join else {
        return;
    };
    for purpose in [Purpose::Client, Purpose::Serving] {
        restore(agent, purpose).await;
    }
    let on_k3s = match &join.token {
        Some(token) => picolet_kube::k3s::credential(token).is_some(),
        None => k3s::was_joined(agent).await,
    };
    agent.certificates.borrow_mut().k3s = on_k3s;
    let mut backoff = backoff();
    while !is_valid(agent, Purpose::Client) {
        // By a wrong clock the certificate only seems to have expired.
        let obtained = match crate::time::confirm(agent).await {
            Ok(()) if is_valid(agent, Purpose::Client) => break,
            Ok(()) => obtain_by_token(agent).await,
            Err(error) => Err(error.into()),
        };
        if let Err(failure) = obtained {
            // The clock may be wrong, and without a token nothing else is sent that an answer with the time could come to.
            agent.time.doubt();
            report_failure(agent, Purpose::Client, &failure);
            let delay = delay(&failure, &mut backoff, &agent.platform);
            agent.platform.sleep(delay).await;
        }
    }
    report(agent, Purpose::Client, None);
}

/// Has a client certificate issued to whoever has the bootstrap token. A certificate that the node has is not shown meanwhile,
/// and is in use again if it fails.
async fn obtain_by_token<H: Host>(agent: &Agent<H>) -> Result<(), Failure> {
    let join = agent.settings.join.as_ref();
    let token = join.and_then(|join| join.token.as_deref());
    let token = token.ok_or(Failure::NoToken)?;
    let patience = is_valid(agent, Purpose::Client).then_some(TOKEN_PATIENCE);
    agent
        .bootstrap
        .replace(Some(picolet_kube::k3s::authorization(token).into()));
    agent.network.identities().withhold(Purpose::Client);
    agent.hang_up().await;
    let obtained = Box::pin(obtain(agent, Purpose::Client, patience)).await;
    agent.bootstrap.replace(None);
    if obtained.is_err() {
        agent.network.identities().present(Purpose::Client);
    }
    agent.hang_up().await;
    obtained
}

/// Keeps both certificates valid, for ever.
pub(crate) async fn keep<H: Host>(agent: &Agent<H>) {
    if agent.settings.join.is_some() {
        join(
            keep_one(agent, Purpose::Client),
            keep_one(agent, Purpose::Serving),
        )
        .await;
    }
}

async fn keep_one<H: Host>(agent: &Agent<H>, purpose: Purpose) {
    let mut backoff = backoff();
    // The uptime before which nothing is requested, or nothing for that reason.
    let mut pause: (Option<Need>, Duration) = (None, Duration::ZERO);
    // When the certificate that ends then is renewed.
    let mut due = (0, Timestamp::default());
    let mut limited = false;
    loop {
        let before = agent.network.identities().lifetime(purpose);
        if let Some(lifetime) = before.filter(|lifetime| lifetime.not_after != due.0) {
            due = (lifetime.not_after, renewal(lifetime, None, random(agent)));
        }
        let needed = need(purpose, &situation(agent, purpose, due.1));
        let paused = match pause.0 == needed || pause.0.is_none() {
            true => pause.1.saturating_sub(agent.platform.uptime()),
            false => Duration::ZERO,
        };
        let Some(needed) = needed.filter(|_| paused.is_zero()) else {
            if needed.is_none() && agent.refused.get().is_none() && !limited {
                report(agent, purpose, None);
            }
            let look = if paused.is_zero() { LOOK } else { paused.min(LOOK) };
            sleep(agent, purpose, look).await;
            continue;
        };
        let obtained = match needed {
            Need::Token => obtain_by_token(agent).await,
            Need::Age | Need::Replacement => Box::pin(obtain(agent, purpose, None)).await,
        };
        let now = agent.platform.uptime();
        if needed == Need::Token {
            // The certificate of now is tried for as long again.
            let refused = agent.refused.get().filter(|_| obtained.is_err());
            agent.refused.set(refused.map(|_| (now, now)));
        }
        if let Err(failure) = obtained {
            // A refusal of the certificate would be reported as one of the token.
            if needed == Need::Token || agent.refused.get().is_none() {
                report_failure(agent, purpose, &failure);
            }
            pause = (Some(needed), now + delay(&failure, &mut backoff, &agent.platform));
            continue;
        }
        backoff.reset();
        pause = (None, now + SHORTEST_USE);
        if let Some(lifetime) = agent.network.identities().lifetime(purpose) {
            let issued = Some(agent.now());
            due = (lifetime.not_after, renewal(lifetime, issued, random(agent)));
            let is_later = before.is_none_or(|before| lifetime.not_after > before.not_after);
            limited = needed == Need::Age && !is_later;
        }
        match limited {
            true => report_limit(agent, purpose),
            false => report(agent, purpose, None),
        }
        if purpose == Purpose::Client {
            agent.hang_up().await;
        }
        if needed == Need::Token {
            // It is of the same CA.
            agent.network.identities().withhold(Purpose::Serving);
            agent.signals.certificates.signal(());
        }
    }
}

/// What is known of the certificate for `purpose`, which is renewed at `due`.
fn situation<H: Host>(agent: &Agent<H>, purpose: Purpose, due: Timestamp) -> Situation {
    let identities = agent.network.identities();
    let refused = agent.refused.get();
    Situation {
        // What the bootstrap token requests is not the node's request.
        registered: agent.is_registered() && agent.bootstrap.borrow().is_none(),
        refused: refused.map(|(first, last)| last.saturating_sub(first)),
        valid: is_valid(agent, purpose),
        due: agent.now() >= due,
        serves: agent.network.address().map(|address| identities.serves(address)),
        pending: agent.certificates.borrow().pending[purpose as usize].is_some(),
    }
}

/// Waits for that long, or until the serving certificate is to be looked at again.
async fn sleep<H: Host>(agent: &Agent<H>, purpose: Purpose, duration: Duration) {
    let sleep = agent.platform.sleep(duration);
    match purpose {
        Purpose::Client => sleep.await,
        Purpose::Serving => {
            select(sleep, agent.signals.certificates.wait()).await;
        }
    }
}

fn random<H: Host>(agent: &Agent<H>) -> u16 {
    let mut random = [0; 2];
    agent.platform.fill(&mut random);
    u16::from_le_bytes(random)
}

fn is_valid<H: Host>(agent: &Agent<H>, purpose: Purpose) -> bool {
    let lifetime = agent.network.identities().lifetime(purpose);
    lifetime.is_some_and(|lifetime| agent.now().seconds() < lifetime.not_after)
}

impl<H: Host> Agent<H> {
    /// Whether the API server has the Node.
    fn is_registered(&self) -> bool {
        !self.node.borrow().metadata.uid.is_empty()
    }

    /// Whether the node has shown before that its name is its own: it was given its certificate by hand, or it was registered
    /// with the certificate that it kept.
    pub(crate) fn owns_name(&self) -> bool {
        self.certificates.borrow().unconfirmed.is_none()
    }

    /// The port that the node reports. k3s dials one that is reported through a tunnel of its own agents, and one that is not
    /// directly (`pkg/daemons/control/tunnel.go` of k3s).
    pub(crate) fn reported_port(&self) -> Option<u16> {
        self.settings
            .reported_port
            .filter(|_| !self.certificates.borrow().k3s)
    }
}

#[cfg(test)]
mod tests;
