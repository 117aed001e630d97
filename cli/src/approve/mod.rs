//! `picolet approve`: approves the serving certificates of picolets.
//!
//! Kubernetes approves no serving certificate by itself, since it cannot know which address is whose. What is approved here is a
//! picolet's own name and InternalIPs ([`policy`]), unless they belong to something else in the cluster ([`addresses`]), and for the
//! machine that had the name at the first approval ([`machine`]). SECURITY.md says what this proves.

mod addresses;
mod machine;
mod objects;
mod policy;
mod request;

pub(crate) use machine::MachineRecords;
pub(crate) use request::{Asked, subject};

use crate::cluster::{Client, ClusterArguments, Object};
use addresses::{Cidr, ClusterAddresses};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use objects::{Node, Request};
use picolet_kube::Timestamp;
use picolet_linux::client::{Refused, is_refused, printable};
use picolet_linux::clock;
use policy::Exceptions;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal, Read};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Approve the certificates that picolets ask for to serve `kubectl logs` and metrics.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node. Without it, all nodes whose requests are in order.
    #[arg(value_parser = picolet_linux::node_name)]
    node: Option<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Go on, and approve what is asked for from now on, renewals too, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// How long to wait for the request of NODE, such as 30s or 2m. [default: 30s at a terminal, otherwise 0s]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "node", conflicts_with = "watch")]
    wait: Option<Duration>,
    /// Decide about this CertificateSigningRequest only.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["node", "watch"], value_parser = csr_name)]
    csr: Option<String>,
    /// Approve a DNS name that the rules refuse, for the request of --csr. May repeat.
    #[arg(long, value_name = "DNS-NAME", requires = "csr", conflicts_with_all = ["node", "watch"])]
    allow_name: Vec<String>,
    /// Approve an address that the rules refuse, for the request of --csr. May repeat.
    #[arg(long, value_name = "ADDRESS", requires = "csr", conflicts_with_all = ["node", "watch"])]
    allow_address: Vec<IpAddr>,
    /// A network of pods that no Node names (spec.podCIDRs), as with Calico or Cilium: its addresses are refused. May repeat.
    #[arg(long, value_name = "CIDR")]
    pod_network: Vec<Cidr>,
    /// The namespace of the records of machine IDs.
    #[arg(long, value_name = "NAMESPACE", env = RECORDS_ENV, default_value = RECORDS, value_parser = namespace)]
    record_namespace: String,
}

const EXAMPLES: &str = "\
Approved is the name of the node and its InternalIPs, and nothing else. Refused are names such as localhost, kubernetes.* and *.svc;
addresses of Services, of pods, of the API server and of other Nodes; and a machine ID that differs from the one at the first approval,
which is recorded in a ConfigMap that no node can read (`picolet retire` clears it).

Examples:
  The board that was just flashed:
    picolet approve pico-1
  In a script, as soon as it has registered:
    picolet approve pico-1 --wait 2m
  A batch of boards, and their renewals for as long as it runs:
    picolet approve --watch
  One request with a name and an address that the rules refuse:
    picolet approve --csr csr-x7k2p --allow-name pico-1.example.org --allow-address 192.0.2.77
  As a plugin of kubectl, with a link to this program named kubectl-picolet in the PATH:
    kubectl picolet approve pico-1";

pub(crate) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SERVING: &str = "kubernetes.io/kubelet-serving";
/// The namespace of the records, and the variable of deploy/approver/ for another one.
pub(crate) const RECORDS: &str = "picolet-system";
pub(crate) const RECORDS_ENV: &str = "PICOLET_RECORD_NAMESPACE";
/// After a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a watch lasts before the list is looked at again.
const WATCH: Duration = Duration::from_secs(280);
/// How often the list is read while the request of a node is awaited.
const POLL: Duration = Duration::from_secs(1);
/// The default of `--wait` at a terminal: a node asks when it registers.
const WAIT: Duration = Duration::from_secs(30);
/// For how long the addresses of the cluster are not read anew. A batch of requests is then judged by one reading.
const ADDRESSES_AGE: Duration = Duration::from_secs(5);
/// The longest event of a watch: several times the largest object of an API server.
const EVENT_LIMIT: u64 = 10 << 20;
/// The largest CertificateSigningRequest, in JSON, that is read in full. A node's has 2 or 3 KiB. The API server stores them up to some
/// MB, and those take many times that to parse.
const REQUEST_LIMIT: usize = 32 << 10;

/// How many versions of a request are judged, of one that changes meanwhile.
const VERSIONS: usize = 3;

/// A duration in seconds, minutes or hours.
fn duration(text: &str) -> Result<Duration, &'static str> {
    let what = "write it as a number and s, m or h, such as 30s";
    let units = [('s', 1), ('m', 60), ('h', 3600)];
    let found = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, unit)));
    let (number, unit) = found.ok_or(what)?;
    let number: u32 = number.parse().map_err(|_| what)?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}

/// A name that can stand in a path: a DNS subdomain, as the API server has it (RFC 1123).
fn csr_name(text: &str) -> Result<String, &'static str> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    if text.is_empty() || text.len() > 253 || !text.bytes().all(valid) || text.contains("..") {
        return Err("write the name that kubectl get csr shows");
    }
    Ok(text.to_owned())
}

/// The name of a namespace (RFC 1123).
pub(crate) fn namespace(text: &str) -> Result<String, &'static str> {
    match picolet_linux::node_name(text) {
        Ok(name) if !name.contains('.') => Ok(name),
        _ => Err("a namespace has at most 63 lower-case letters, digits and '-'"),
    }
}

/// Approves what is there, and with `--watch` what comes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match (&arguments.csr, arguments.watch) {
        (Some(name), _) => approve_one(arguments, name),
        (None, false) => approve_pending(arguments),
        (None, true) => approve_for_ever(arguments),
    }
}

/// Decides about the request that `--csr` names.
fn approve_one(arguments: &Arguments, name: &str) -> Result<()> {
    let client = Client::connect(&arguments.cluster)?;
    let request: Option<Box<RawValue>> = client.find_as(&format!("{REQUESTS}/{name}"))?;
    let request = request
        .with_context(|| format!("--csr {name}: there is no such request; kubectl get csr lists them"))?;
    match Approver::new(&client, arguments).consider(&request)? {
        Decision::Decided => Ok(()),
        Decision::Refused(why) => bail!("{name} is not approved: {}", printable(&why)),
        Decision::Changed | Decision::None => {
            bail!("--csr {name}: it is decided already, or not for the signer {SERVING}")
        }
    }
}

/// Approves what is pending, and for a node that is named what comes within `--wait`.
fn approve_pending(arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    let mut wait = None;
    loop {
        // Each time: the token of a ServiceAccount is replaced while it is in use.
        let client = Client::connect(&arguments.cluster)?;
        let (tally, _) = Approver::new(&client, arguments).consider_pending()?;
        let node = match &arguments.node {
            Some(node) if tally.is_empty() => node,
            _ => return conclude(arguments, &tally),
        };
        let limit = match wait {
            Some(limit) => limit,
            None => *wait.insert(begin_waiting(arguments, &client, node)?),
        };
        if begin.elapsed() >= limit {
            return conclude(arguments, &tally);
        }
        std::thread::sleep(POLL);
    }
}

impl Arguments {
    /// How long to wait for a request. At a terminal a node that has its certificate is not waited for.
    fn patience(&self, terminal: bool, has_certificate: impl FnOnce() -> Result<bool>) -> Result<Duration> {
        Ok(match self.wait {
            Some(wait) => wait,
            None if terminal && !has_certificate()? => WAIT,
            None => Duration::ZERO,
        })
    }
}

/// Returns how long to wait for the request of a node, and says so.
fn begin_waiting(arguments: &Arguments, client: &Client, node: &str) -> Result<Duration> {
    let is_terminal = std::io::stderr().is_terminal();
    let limit = arguments.patience(is_terminal, || has_certificate(client, node))?;
    if !limit.is_zero() {
        let seconds = limit.as_secs();
        eprintln!("waiting for the certificate request of {node}, for {seconds} s at most");
    }
    Ok(limit)
}

fn has_certificate(client: &Client, node: &str) -> Result<bool> {
    let found: Option<Node> = client.find_as(&format!("/api/v1/nodes/{node}"))?;
    Ok(found.is_some_and(|node| node.has_condition("CertificatesValid")))
}

fn approve_for_ever(arguments: &Arguments) -> Result<()> {
    let mut begun = false;
    loop {
        // What cannot begin is set up wrongly; what has begun goes on when the API server is back.
        match watch(arguments, &mut begun) {
            Err(error) if begun => {
                eprintln!("{}: trying again", printable(&format!("{error:#}")));
                std::thread::sleep(PAUSE);
            }
            result => result?,
        }
    }
}

/// Approves what is there and what comes while one watch lasts. `begun` once the API server has answered.
fn watch(arguments: &Arguments, begun: &mut bool) -> Result<()> {
    let client = Client::connect(&arguments.cluster)?;
    let mut approver = Approver::new(&client, arguments);
    let (_, version) = approver.consider_pending()?;
    *begun = true;
    let path = format!(
        "{REQUESTS}?{}&watch=1&resourceVersion={version}&timeoutSeconds={}",
        selector(),
        WATCH.as_secs()
    );
    let mut events = client.stream(&path, WATCH + Duration::from_secs(20))?;
    while let Some(event) = next_event(&mut events)? {
        match &*event.kind {
            "ERROR" => break,
            "DELETED" => {}
            _ => drop(approver.consider_or_refuse(&event.object)?),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Box<RawValue>,
}

/// Reads an event of a watch; `None` where it ends.
fn next_event(events: &mut impl BufRead) -> Result<Option<Event>> {
    let mut line = Vec::new();
    // A watch that breaks off has ended.
    let read = events.take(EVENT_LIMIT).read_until(b'\n', &mut line);
    if !matches!(read, Ok(1..)) {
        return Ok(None);
    }
    ensure!(
        (line.len() as u64) < EVENT_LIMIT,
        "the API server sent an event of more than {EVENT_LIMIT} bytes"
    );
    serde_json::from_slice(&line)
        .map(Some)
        .context("the API server sent no event")
}

/// Reads all of a request, unless it is larger than any of a node.
fn read_request(object: &RawValue) -> Result<Value, String> {
    let size = object.get().len();
    if size > REQUEST_LIMIT {
        return Err(format!(
            "it has {size} bytes, and that of a node has at most {REQUEST_LIMIT}"
        ));
    }
    let parsed: Result<Object, _> = serde_json::from_str(object.get());
    parsed
        .map(|Object(value)| value)
        .map_err(|error| format!("it cannot be read: {error}"))
}

fn selector() -> String {
    format!("fieldSelector=spec.signerName%3D{}", SERVING.replace('/', "%2F"))
}

fn conclude(arguments: &Arguments, tally: &Tally) -> Result<()> {
    match (&arguments.node, tally) {
        (_, Tally { refused: 1.., .. }) => bail!(
            "{} of the requests not approved; look at them with kubectl describe csr",
            tally.refused
        ),
        (_, Tally { decided: 1.., .. }) => Ok(()),
        (Some(node), _) => bail!(
            "no request of {node} waits: is it up and Ready (kubectl describe node {node} tells of its certificates), or does it have its certificate already?"
        ),
        (None, _) => {
            println!("no request waits");
            Ok(())
        }
    }
}

/// What became of the requests of a list.
#[derive(Default)]
struct Tally {
    decided: usize,
    refused: usize,
}

impl Tally {
    fn is_empty(&self) -> bool {
        self.decided + self.refused == 0
    }

    fn add(&mut self, decision: &Decision) {
        match decision {
            Decision::Decided => self.decided += 1,
            Decision::Refused(_) => self.refused += 1,
            Decision::Changed | Decision::None => {}
        }
    }
}

/// What became of a request.
enum Decision {
    /// It is approved now, or another approver was faster.
    Decided,
    Refused(String),
    /// It has changed since it was read.
    Changed,
    /// There is nothing to decide.
    None,
}

/// Decides about requests, as somebody who may approve them.
struct Approver<'a> {
    client: &'a Client,
    arguments: &'a Arguments,
    exceptions: Exceptions,
    addresses: Option<(Instant, ClusterAddresses)>,
}

impl<'a> Approver<'a> {
    fn new(client: &'a Client, arguments: &'a Arguments) -> Self {
        Self {
            client,
            arguments,
            exceptions: Exceptions {
                names: arguments.allow_name.iter().cloned().collect(),
                addresses: arguments.allow_address.iter().copied().collect(),
            },
            addresses: None,
        }
    }

    /// Decides about all requests that are pending. Returns the resource version of their list too.
    fn consider_pending(&mut self) -> Result<(Tally, String)> {
        let client = self.client;
        let mut tally = Tally::default();
        let version = client.list(&format!("{REQUESTS}?{}", selector()), |request: Box<RawValue>| {
            tally.add(&self.consider_or_refuse(&request)?);
            Ok(())
        })?;
        Ok((tally, version))
    }

    /// Decides about one request. What the API server refuses for this one must not keep others from being approved.
    fn consider_or_refuse(&mut self, request: &RawValue) -> Result<Decision> {
        match self.consider(request) {
            Err(error) if error.is::<Refused>() => {
                let name = Request::read(request)?.name().to_owned();
                println!("{name}: not approved: {}", printable(&format!("{error:#}")));
                Ok(Decision::Refused(error.to_string()))
            }
            decision => decision,
        }
    }

    /// Decides about one request, as it is by now.
    fn consider(&mut self, object: &RawValue) -> Result<Decision> {
        let request = Request::read(object)?;
        let name = request.name();
        let mut newer: Option<Box<RawValue>> = None;
        for _ in 0..VERSIONS {
            let object = newer.as_deref().unwrap_or(object);
            match self.consider_version(object)? {
                Decision::Changed => {}
                decision => return Ok(decision),
            }
            newer = self.client.find_as(&format!("{REQUESTS}/{name}"))?;
            let Some(object) = &newer else {
                println!("{name}: deleted before it was decided");
                return Ok(Decision::None);
            };
            if Request::read(object)?.is_decided() {
                println!("{name}: decided by another approver");
                return Ok(Decision::Decided);
            }
        }
        let why = "it changed each time that it was judged".to_owned();
        println!("{name}: not approved: {why}");
        Ok(Decision::Refused(why))
    }

    /// Decides about one version of a request.
    fn consider_version(&mut self, object: &RawValue) -> Result<Decision> {
        let request = Request::read(object)?;
        let (name, user) = (request.name(), request.username());
        let node = user.strip_prefix("system:node:").unwrap_or("");
        let only = self.arguments.node.as_deref();
        if request.is_decided() || request.signer() != SERVING || only.is_some_and(|only| only != node) {
            return Ok(Decision::None);
        }
        let refuse = |why: String| {
            println!("{name}: not approved: {}", printable(&why));
            Ok(Decision::Refused(why))
        };
        let object = match read_request(object) {
            Ok(object) => object,
            Err(why) => return refuse(why),
        };
        match self.judge(name, &object, user, node)? {
            Ok(()) => self.approve(name, object),
            Err(why) => refuse(why),
        }
    }

    /// Whether a request can be approved. The inner error says why not.
    fn judge(&mut self, name: &str, request: &Value, user: &str, node: &str) -> Result<Result<(), String>> {
        let asked = match Asked::read(request) {
            Ok(asked) => asked,
            Err(why) => return Ok(Err(why)),
        };
        println!("{name}: {}", printable(&format!("{user} asks for {asked}")));
        // It becomes a part of paths.
        if picolet_linux::node_name(node).is_err() {
            return Ok(Err(format!("{user} is no node")));
        }
        let found: Option<Node> = self.client.find_as(&format!("/api/v1/nodes/{node}"))?;
        let Some(found) = found else {
            return Ok(Err(format!("there is no node {node:?}")));
        };
        let cluster = match self.addresses.take() {
            Some((read, cluster)) if read.elapsed() < ADDRESSES_AGE => (read, cluster),
            // The time before the reading: what is newer than that may be missing.
            _ => (
                Instant::now(),
                ClusterAddresses::read(self.client, &self.arguments.pod_network)?,
            ),
        };
        let (_, cluster) = self.addresses.insert(cluster);
        if let Err(why) = policy::check(&asked, request, &found, cluster, &self.exceptions) {
            return Ok(Err(why));
        }
        // Last: what is refused leaves no record.
        let records = MachineRecords::new(self.client, &self.arguments.record_namespace);
        records.check(node, found.machine_id())
    }

    fn approve(&self, name: &str, mut approval: Value) -> Result<Decision> {
        let Exceptions { names, addresses } = &self.exceptions;
        let addresses = addresses.iter().map(IpAddr::to_string);
        let exceptions: Vec<String> = names.iter().cloned().chain(addresses).collect();
        let message = match exceptions.is_empty() {
            true => "the node's own name and InternalIPs".to_owned(),
            false => format!(
                "allowed by an administrator for this request: {}",
                exceptions.join(", ")
            ),
        };
        let now = Timestamp::from_micros(clock::system().map_or(0, |now| now.0));
        approval["kind"] = "CertificateSigningRequest".into();
        approval["apiVersion"] = "certificates.k8s.io/v1".into();
        approval["status"]["conditions"] = json!([{
            "type": "Approved", "status": "True", "reason": "PicoletApprove", "message": message,
            "lastUpdateTime": now.time().to_string(),
        }]);
        match self.client.put(&format!("{REQUESTS}/{name}/approval"), &approval) {
            Ok(()) => {
                println!("{name}: approved");
                Ok(Decision::Decided)
            }
            Err(error) if is_refused(&error, 409) => Ok(Decision::Changed),
            Err(error) => Err(error.context(format!("cannot approve {name}"))),
        }
    }
}

#[cfg(test)]
mod tests;
