//! The node's own certificates: asked for with a bootstrap token, kept, and renewed before they end.
//!
//! As a kubelet does it (`pkg/kubelet/certificate/bootstrap`, `k8s.io/client-go/util/certificate/certificate_manager.go`): the
//! client certificate first, without which the node is nobody; the serving certificate once the node is registered, since
//! whoever approves it looks at the Node's addresses. Until it is there the kubelet port stays closed, and the node says so.
//!
//! No key is ever seen here but inside the record that is kept for the next start.

mod k3s;

use crate::agent::Agent;
use crate::backoff::Backoff;
use crate::client::ApiError;
use crate::pods::Runtime;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use core::fmt;
use core::net::IpAddr;
use embassy_futures::join::join;
use picolet_kube::Timestamp;
use picolet_kube::certificate::{self, CertificateSigningRequest, Decision, Signer};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{
    Duration, Identities, IdentityError, LONGEST_RECORD, Level, Network, Platform, Purpose, Record,
    RecordError,
};
use zeroize::Zeroize;

/// How often certificates are looked at: the address may have changed, or the clock.
const LOOK: Duration = Duration::from_secs(10);
/// After a failure, and the longest that is waited after many.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a request, and at most, before its answer is asked for.
const FIRST_QUESTION: Duration = Duration::from_millis(250);
const LAST_QUESTIONS: Duration = Duration::from_secs(5);

/// What is known of the node's certificates, for the condition `CertificatesValid`.
#[derive(Default)]
pub(crate) struct Certificates {
    /// Why there is no certificate for the purpose, or no new one: in words, with the remedy.
    trouble: [Option<Box<str>>; 2],
    /// Whether it is k3s that signs them, and not the signers of Kubernetes.
    k3s: bool,
}

impl Certificates {
    fn tell(&mut self, purpose: Purpose, trouble: Option<Box<str>>) -> bool {
        let place = &mut self.trouble[purpose as usize];
        let changed = *place != trouble;
        *place = trouble;
        changed
    }

    /// Why something is missing.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.iter().flatten().next().map(|words| &**words)
    }
}

/// Why there is no certificate.
enum Failure {
    Api(ApiError),
    Identity(IdentityError),
    Denied(Box<str>),
    Failed(Box<str>),
    /// The password for k3s was not kept.
    Password(RecordError),
    /// What came is no base64, or is missing.
    Answer,
    /// The request is gone, or asked for what is no longer wanted.
    Outdated,
    /// Nobody can ask for a certificate.
    NoToken,
}

impl Failure {
    fn write(&self, purpose: Purpose, on_k3s: bool, out: &mut String) {
        let remedy = match (self, purpose) {
            (Self::Api(error), _) if on_k3s => k3s::remedy(error),
            (Self::Api(error), Purpose::Client) if error.code() == 401 => {
                ": the bootstrap token is wrong or has expired; make a new one (kubeadm token create) and give it to the node (--token)"
            }
            (Self::Api(error), _) if error.code() == 403 => {
                ": apply deploy/bootstrap.yaml, which lets its group ask for certificates"
            }
            (Self::Denied(_), _) => ": another is asked for later",
            _ => "",
        };
        let _ = fmt::write(
            out,
            format_args!("no {} certificate: {self}{remedy}", purpose.as_str()),
        );
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Denied(why) => write!(f, "the request was denied: {why}"),
            Self::Failed(why) => write!(f, "the request was approved, and could not be signed: {why}"),
            Self::Password(error) => write!(f, "the node's password for k3s is not kept: {error}"),
            Self::Answer => f.write_str("the signer's answer is no certificate"),
            Self::Outdated => f.write_str("the request is gone"),
            Self::NoToken => f.write_str(
                "there is none that is valid and accepted, and no token to ask for one: give the node one (--token)",
            ),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}

const fn record(purpose: Purpose) -> Record {
    match purpose {
        Purpose::Client => Record::ClientIdentity,
        Purpose::Serving => Record::ServingIdentity,
    }
}

/// Completes once the node has a client certificate: the one that it kept, or one that it is given for its token.
pub(crate) async fn join_cluster<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>) {
    let Some(join) = &agent.settings.join else {
        return;
    };
    restore(agent, Purpose::Client).await;
    restore(agent, Purpose::Serving).await;
    let on_k3s = match &join.token {
        Some(token) => picolet_kube::k3s::credential(token).is_some(),
        None => k3s::was_joined(agent).await,
    };
    agent.certificates.borrow_mut().k3s = on_k3s;
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    while !is_valid(agent, Purpose::Client) {
        if let Err(failure) = obtain_by_token(agent).await {
            complain(agent, Purpose::Client, &failure);
            backoff.wait(&agent.platform).await;
        }
    }
}

/// Has a client certificate issued to whoever has the bootstrap token.
async fn obtain_by_token<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>) -> Result<(), Failure> {
    let join = agent.settings.join.as_ref();
    let token = join.and_then(|join| join.token.as_deref());
    let token = token.ok_or(Failure::NoToken)?;
    agent
        .bootstrap
        .replace(Some(picolet_kube::k3s::authorization(token).into()));
    // What was there has ended, or is refused: whoever asks by a token shows no certificate.
    agent.network.identities().discard(Purpose::Client);
    agent.hang_up().await;
    let obtained = Box::pin(obtain(agent, Purpose::Client)).await;
    agent.bootstrap.replace(None);
    if obtained.is_err() {
        restore(agent, Purpose::Client).await;
    }
    agent.hang_up().await;
    obtained
}

/// Keeps both certificates valid, for ever.
pub(crate) async fn keep<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>) {
    if agent.settings.join.is_some() {
        join(
            keep_one(agent, Purpose::Client),
            keep_one(agent, Purpose::Serving),
        )
        .await;
    }
}

async fn keep_one<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>, purpose: Purpose) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    // For which certificate, by its end, and when.
    let mut due = (0, Timestamp::default());
    loop {
        // Whoever approves compares with the Node.
        let registered = !agent.node.borrow().metadata.uid.is_empty();
        let lifetime = agent.network.identities().lifetime(purpose);
        if let Some(lifetime) = lifetime.filter(|lifetime| lifetime.not_after != due.0) {
            due = (
                lifetime.not_after,
                rotation(lifetime.not_before, lifetime.not_after, random(agent)),
            );
        }
        // Its authority may have been replaced: then only the token is worth anything.
        let refused = purpose == Purpose::Client && agent.refused.take();
        let wanted = refused
            || registered
                && match purpose {
                    Purpose::Client => agent.now() >= due.1,
                    Purpose::Serving => {
                        let address = agent.network.address();
                        address.is_some_and(|address| {
                            lifetime.is_none()
                                || agent.now() >= due.1
                                || !agent.network.identities().serves(address)
                        })
                    }
                };
        if !wanted {
            say(agent, purpose, None);
            agent.platform.sleep(LOOK).await;
            continue;
        }
        let obtained = match refused {
            true => obtain_by_token(agent).await,
            false => Box::pin(obtain(agent, purpose)).await,
        };
        match obtained {
            Ok(()) => {
                backoff.reset();
                if purpose == Purpose::Client {
                    agent.hang_up().await;
                    agent.refused.set(false);
                }
                if refused {
                    // It is of the same authority.
                    agent.network.identities().discard(Purpose::Serving);
                }
                // However short this one lives, the next is not asked for at once.
                agent.platform.sleep(LOOK).await;
            }
            Err(Failure::Outdated) => backoff.wait(&agent.platform).await,
            // The token is next.
            Err(_) if purpose == Purpose::Client && agent.refused.get() => {}
            Err(failure) => {
                complain(agent, purpose, &failure);
                if purpose == Purpose::Client && !is_valid(agent, purpose) {
                    join_cluster(agent).await;
                }
                backoff.wait(&agent.platform).await;
            }
        }
    }
}

/// When a certificate is renewed: after 70 to 90 % of its life, `random` of 65536 parts of the way
/// (`nextRotationDeadline`).
fn rotation(not_before: u64, not_after: u64, random: u16) -> Timestamp {
    let life = u128::from(not_after.saturating_sub(not_before));
    let share = life * (7 * 65536 + 2 * u128::from(random)) / 655_360;
    Timestamp::from_seconds(not_before + share as u64)
}

fn random<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>) -> u16 {
    let mut random = [0; 2];
    agent.platform.fill(&mut random);
    u16::from_le_bytes(random)
}

fn is_valid<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>, purpose: Purpose) -> bool {
    let lifetime = agent.network.identities().lifetime(purpose);
    lifetime.is_some_and(|lifetime| agent.now().seconds() < lifetime.not_after)
}

/// Uses what was kept when the node ran before.
async fn restore<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>, purpose: Purpose) {
    if agent.network.identities().lifetime(purpose).is_some() {
        return;
    }
    let mut kept = Box::new([0; LONGEST_RECORD]);
    if let Some(length) = agent.platform.load(record(purpose), &mut kept[..]).await {
        let name = &agent.settings.node_name;
        let restored = agent.network.identities().restore(purpose, name, &kept[..length]);
        if let Err(error) = restored {
            agent.platform.log(
                Level::Warn,
                format_args!("the {} certificate that was kept: {error}", purpose.as_str()),
            );
        }
    }
    kept[..].zeroize();
}

/// Has the node's new certificate issued, and uses it from then on. Takes as long as it takes to be approved.
async fn obtain<P: Platform, N: Network, R: Runtime>(
    agent: &Agent<P, N, R>,
    purpose: Purpose,
) -> Result<(), Failure> {
    let name = &*agent.settings.node_name;
    let address = agent.network.address();
    let request = agent.network.identities().request(purpose, name, address)?;
    let on_k3s = agent.certificates.borrow().k3s;
    let chain = if on_k3s {
        Box::pin(k3s::sign(agent, purpose, request, address)).await?
    } else {
        Box::pin(signed(agent, purpose, request, address)).await?
    };
    let mut kept = agent.network.identities().adopt(purpose, name, &chain)?;
    let stored = agent.platform.store(record(purpose), &kept).await;
    kept[..].zeroize();
    if let Err(error) = stored {
        agent.platform.log(
            Level::Error,
            format_args!(
                "the {} certificate is not kept over a restart: {error}",
                purpose.as_str()
            ),
        );
    }
    let until = agent
        .network
        .identities()
        .lifetime(purpose)
        .map_or(0, |lifetime| lifetime.not_after);
    agent.platform.log(
        Level::Info,
        format_args!(
            "a new {} certificate, valid until {}",
            purpose.as_str(),
            Timestamp::from_seconds(until).time()
        ),
    );
    say(agent, purpose, None);
    agent.signals.status.signal(());
    Ok(())
}

/// Has a request (PEM) approved and signed by the signers of Kubernetes, and returns the certificates (PEM).
async fn signed<P: Platform, N: Network, R: Runtime>(
    agent: &Agent<P, N, R>,
    purpose: Purpose,
    request: String,
    address: Option<IpAddr>,
) -> Result<Vec<u8>, Failure> {
    let name = &*agent.settings.node_name;
    let (body, mut made) = {
        let encoded = Base64::encode_string(request.as_bytes());
        let mut prefix = String::from(name);
        prefix.extend(["-", purpose.as_str(), "-"]);
        let signer = match purpose {
            Purpose::Client => Signer::Client,
            Purpose::Serving => Signer::Serving,
        };
        let mut body = String::with_capacity(encoded.len() + 384);
        certificate::write(&mut body, &prefix, signer, &encoded);
        (body, CertificateSigningRequest::default())
    };
    let asked = Request {
        resource: Resource::CertificateSigningRequests,
        verb: Verb::Create,
        body: &body,
    };
    agent.get(&asked, &mut made).await?;
    drop((body, request));
    let request_name = made.metadata.name;
    pending(agent, purpose, &request_name);
    decoded(decided(agent, purpose, &request_name, address).await?)
}

/// What `text` is the base64 of, in its place.
fn decoded(mut text: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let length = Base64::decode_in_place(&mut text)
        .map_err(|_| Failure::Answer)?
        .len();
    text.truncate(length);
    Ok(text)
}

/// Waits until the request of that name is decided, and returns the certificates that came of it. It is asked for now and
/// then, over the connection that all requests share: a watch would be one connection more, for as long as nobody approves.
async fn decided<P: Platform, N: Network, R: Runtime>(
    agent: &Agent<P, N, R>,
    purpose: Purpose,
    request: &str,
    address: Option<IpAddr>,
) -> Result<Vec<u8>, Failure> {
    let mut pause = Backoff::new(FIRST_QUESTION, LAST_QUESTIONS);
    loop {
        pause.wait(&agent.platform).await;
        // A certificate for an address that is no longer ours would be of no use.
        let now = agent.network.address();
        if purpose == Purpose::Serving && now.is_some() && now != address {
            return Err(Failure::Outdated);
        }
        let mut answer = CertificateSigningRequest::default();
        let question = Request::get(Resource::CertificateSigningRequest(request));
        match agent.get(&question, &mut answer).await {
            Ok(()) => {}
            Err(error) => match error.code() {
                404 => return Err(Failure::Outdated),
                401 | 403 => return Err(error.into()),
                // The API server is away, or busy.
                _ => continue,
            },
        }
        match answer.decision {
            Decision::Denied(why) => return Err(Failure::Denied(why)),
            Decision::Failed(why) => return Err(Failure::Failed(why)),
            Decision::Pending | Decision::Approved if answer.certificate.is_empty() => {}
            Decision::Pending | Decision::Approved => return Ok(answer.certificate),
        }
    }
}

/// Says what has to be done that a request is approved. What is renewed in good time is not worth a word.
fn pending<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>, purpose: Purpose, request: &str) {
    if is_valid(agent, purpose) && purpose == Purpose::Client {
        return;
    }
    let name = &*agent.settings.node_name;
    let mut words = String::new();
    let _ = match purpose {
        Purpose::Client => fmt::write(
            &mut words,
            format_args!(
                "the client certificate waits for approval: kubectl certificate approve {request}, or once for all boards kubectl apply -f deploy/bootstrap.yaml"
            ),
        ),
        Purpose::Serving if is_valid(agent, purpose) => fmt::write(
            &mut words,
            format_args!("the new serving certificate waits for approval: picolet approve {name}"),
        ),
        Purpose::Serving => fmt::write(
            &mut words,
            format_args!(
                "the kubelet port is closed until its certificate is approved: picolet approve {name}, or kubectl certificate approve {request}"
            ),
        ),
    };
    say(agent, purpose, Some(words));
}

fn complain<P: Platform, N: Network, R: Runtime>(
    agent: &Agent<P, N, R>,
    purpose: Purpose,
    failure: &Failure,
) {
    let mut words = String::new();
    let on_k3s = agent.certificates.borrow().k3s;
    failure.write(purpose, on_k3s, &mut words);
    say(agent, purpose, Some(words));
}

/// Logs what is the matter, unless it was said before, and has the status tell it, or that nothing is.
fn say<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>, purpose: Purpose, words: Option<String>) {
    let words = words.map(String::into_boxed_str);
    let level = if is_valid(agent, purpose) {
        Level::Info
    } else {
        Level::Warn
    };
    let mut certificates = agent.certificates.borrow_mut();
    if certificates.tell(purpose, words) {
        if let Some(words) = &certificates.trouble[purpose as usize] {
            agent.platform.log(level, format_args!("{words}"));
        }
        agent.signals.status.signal(());
    }
}

impl<P: Platform, N: Network, R: Runtime> Agent<P, N, R> {
    /// The port that the node reports. k3s dials one that is reported through a tunnel of its own agents, and one that is not
    /// directly (`pkg/daemons/control/tunnel.go` of k3s).
    pub(crate) fn reported_port(&self) -> Option<u16> {
        self.settings
            .reported_port
            .filter(|_| !self.certificates.borrow().k3s)
    }

    /// The condition `CertificatesValid`: whether it is, its reason, and words. `None` where others see to certificates.
    pub(crate) fn describe_certificates(&self, words: &mut String) -> Option<(bool, &'static str)> {
        self.settings.join.as_ref()?;
        let certificates = self.certificates.borrow();
        if let Some(trouble) = certificates.trouble() {
            words.push_str(trouble);
            let usable = is_valid(self, Purpose::Client) && is_valid(self, Purpose::Serving);
            return Some((
                usable,
                if usable {
                    "RenewalPending"
                } else {
                    "CertificateMissing"
                },
            ));
        }
        for (index, purpose) in [Purpose::Client, Purpose::Serving].into_iter().enumerate() {
            let lifetime = self.network.identities().lifetime(purpose);
            let Some(lifetime) = lifetime.filter(|_| is_valid(self, purpose)) else {
                words.clear();
                words.push_str("the serving certificate is about to be asked for");
                return Some((false, "CertificateMissing"));
            };
            let before = if index == 0 { "" } else { ", " };
            let until = Timestamp::from_seconds(lifetime.not_after);
            let _ = fmt::write(
                words,
                format_args!("{before}{} certificate until {}", purpose.as_str(), until.time()),
            );
        }
        Some((true, "CertificatesValid"))
    }
}

#[cfg(test)]
mod tests;
