//! `picolet run`: the options, and as many nodes as are asked for.

use crate::clock::Source;
use crate::discovery::{self, KeyHash};
use crate::journal::Journal;
use crate::k3s;
use crate::kubeconfig::{self, Access};
use crate::logging;
use crate::node::Node;
use crate::patience::until_it_heals;
use anyhow::{Context, Result, bail};
use clap::Args;
use picolet_kube::selector::Taint;
use picolet_kube::{Quantity, Timestamp};
use picolet_kubelet::{Capacity, Join, Limits, Settings, StaticToken};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Run nodes of a cluster in this process.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where the API server is and who this node is: a kubeconfig with the certificate of
    /// CN=system:node:NAME, O=system:nodes.
    #[arg(long, value_name = "FILE", env = "KUBECONFIG", conflicts_with_all = ["certificate_authority", "client_certificate", "client_key"])]
    kubeconfig: Option<PathBuf>,
    /// The API server. May repeat: the next is tried when one fails. Beside --kubeconfig, further ones.
    #[arg(
        long,
        value_name = "URL",
        env = "K3S_URL",
        required_unless_present = "kubeconfig"
    )]
    server: Vec<String>,
    /// The authority of the API server's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    certificate_authority: Option<PathBuf>,
    /// In place of --certificate-authority: ask the server for the authority of its cluster, and believe it by the hash of its
    /// public key, sha256:…, as kubeadm prints it. Beside --token; may repeat.
    #[arg(long, value_name = "HASH", requires = "state_dir", conflicts_with_all = ["kubeconfig", "certificate_authority", "client_certificate"])]
    discovery_token_ca_cert_hash: Vec<KeyHash>,
    /// The node's certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// Its key (PEM, P-256).
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// Join the cluster with this bootstrap token, abcdef.0123456789abcdef, or with the token of a k3s cluster, which says by itself
    /// what its authority is: keys are made here, and certificates asked for and renewed. Needed once; from then on the node has
    /// what is in --state-dir. For k3s [env: K3S_TOKEN] too.
    #[arg(long, value_name = "TOKEN", env = "PICOLET_TOKEN", hide_env_values = true,
        requires = "state_dir", conflicts_with_all = ["kubeconfig", "client_certificate", "serving_certificate"])]
    token: Option<String>,

    /// The node's name. With --count, the first of the names: pico-1 is followed by pico-2.
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// The address that the node reports and listens on. With --count, the first of the addresses.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    node_ip: IpAddr,
    /// The port of the kubelet API.
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    port: u16,
    /// Leave the port out of the node's status, so that k3s dials it directly. A node that joined k3s with its token does so by itself.
    #[arg(long)]
    hide_port: bool,
    /// The certificate of the kubelet API (PEM). Without it the port stays closed.
    #[arg(long, value_name = "FILE", requires = "serving_key")]
    serving_certificate: Option<PathBuf>,
    /// Its key (PEM, P-256).
    #[arg(long, value_name = "FILE", requires = "serving_certificate")]
    serving_key: Option<PathBuf>,
    /// The authority of those who may call the kubelet API (PEM). On k3s it is not the server's.
    /// [default: the certificate authority]
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Bearer tokens for the kubelet API: lines of TOKEN,USER.
    #[arg(long, value_name = "FILE")]
    static_token_file: Option<PathBuf>,

    /// Let anybody read /healthz of the kubelet API, as load balancers want it.
    #[arg(long)]
    anonymous_health: bool,

    /// Taints to register with, KEY[=VALUE]:EFFECT, separated by commas; "" for none.
    #[arg(
        long,
        value_name = "TAINTS",
        default_value = "picolet.dev/microcontroller=true:NoSchedule"
    )]
    register_with_taints: String,
    /// What the node offers, where it is not what a Pico W does: cpu=4,memory=64Mi,pods=20,ephemeral-storage=1Gi
    #[arg(long, value_name = "AMOUNTS", default_value = "")]
    capacity: String,
    /// Where the node keeps what outlives it.
    #[arg(long, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    /// Where the time of day comes from.
    #[arg(long, value_name = "SOURCE", default_value = "system")]
    clock: Source,
    /// The namespace whose ConfigMaps drive the device.
    #[arg(long, value_name = "NAMESPACE", default_value = "default")]
    config_namespace: String,
    /// Open a read-only port 10255 without TLS, and allow an http:// server. For those who terminate TLS in a proxy.
    #[arg(long)]
    lab_mode: bool,
    /// How the log is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: logging::Format,
    /// Run so many nodes, names and addresses counted up; {name} in the paths of certificates and keys stands for each
    /// node's name.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
}

const EXAMPLES: &str = "\
Examples:
  One node that joins the cluster by itself:
    picolet run --server https://192.0.2.10:6443 --certificate-authority ca.crt --state-dir /var/lib/picolet \\
      --token abcdef.0123456789abcdef --node-ip 192.0.2.20
  The same, with what kubeadm token create --print-join-command prints:
    picolet run --server https://192.0.2.10:6443 --token abcdef.0123456789abcdef --state-dir /var/lib/picolet \\
      --discovery-token-ca-cert-hash sha256:… --node-ip 192.0.2.20
  One node of a k3s cluster:
    picolet run --server https://192.0.2.10:6443 --token K10…::server:… --state-dir /var/lib/picolet --node-ip 192.0.2.20
  One node:
    picolet run --kubeconfig kubelet.conf --node-name pico-1 --node-ip 127.0.77.1 \\
      --serving-certificate kubelet.crt --serving-key kubelet.key
  A hundred, with certificates pki/pico-1.crt … pki/pico-100.crt:
    picolet run --server https://127.0.0.1:6443 --certificate-authority ca.crt --count 100 \\
      --node-name pico-1 --node-ip 127.0.78.1 \\
      --client-certificate 'pki/{name}.crt' --client-key 'pki/{name}.key'";

/// Runs them until the process is told to end.
pub(crate) fn run(arguments: Arguments) -> Result<()> {
    logging::start(arguments.log_format);
    if let Some(directory) = &arguments.state_dir {
        std::fs::create_dir_all(directory).with_context(|| format!("--state-dir {}", directory.display()))?;
    }
    let arguments = Arc::new(arguments);
    let Some(discovered) = discovered(&arguments)? else {
        return Ok(());
    };
    let nodes = (0..arguments.count)
        .map(|n| arguments.node(n, &discovered))
        .collect::<Result<Vec<_>>>()?;
    run_nodes(nodes)
}

/// Completes when the process is told to end.
async fn told_to_end() -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("cannot await signals")?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminated.recv() => Ok(()),
    }
}

/// What is found out about the cluster, however long that takes; `None` where the process is told to end before.
fn discovered(arguments: &Arc<Arguments>) -> Result<Option<Discovered>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let attempt = || {
        let arguments = arguments.clone();
        let discovered = runtime.spawn_blocking(move || arguments.discover());
        async move { discovered.await.context("nothing was found out")? }
    };
    let discovered = runtime.block_on(async {
        tokio::select! {
            discovered = until_it_heals(attempt) => discovered.map(Some),
            ended = told_to_end() => ended.map(|()| None),
        }
    });
    // Whoever is being asked is not waited for.
    runtime.shutdown_background();
    discovered
}

/// Spreads nodes over the machine's processors; each node stays on one thread. Returns when one of them fails for good,
/// or when the process is interrupted.
pub(crate) fn run_nodes(nodes: Vec<Node>) -> Result<()> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(nodes.len().max(1));
    let mut shares: Vec<Vec<Node>> = (0..threads).map(|_| Vec::new()).collect();
    for (n, node) in nodes.into_iter().enumerate() {
        shares[n % threads].push(node);
    }
    let (failed, failure) = std::sync::mpsc::channel();
    for share in shares {
        let failed = failed.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = runtime.context("cannot start").and_then(|runtime| {
                let local = tokio::task::LocalSet::new();
                runtime.block_on(local.run_until(async {
                    let mut running = tokio::task::JoinSet::new();
                    for node in share {
                        let name = node.settings.node_name.clone();
                        running.spawn_local(async move {
                            node.run().await.with_context(|| format!("node {name}"))
                        });
                    }
                    tokio::select! {
                        Some(ended) = running.join_next() => ended.context("a node's task ended")?,
                        ended = told_to_end() => ended,
                    }
                }))
            });
            let _ = failed.send(result);
        });
    }
    drop(failed);
    failure.recv().context("no node was run")?
}

/// What is known of the cluster beside what was given. PEM.
#[derive(Default)]
struct Discovered {
    /// What to join with: a bootstrap token, or a full one of k3s.
    token: Option<String>,
    /// Of the API server's certificate.
    authority: Option<Vec<u8>>,
    /// Of those who may call the kubelet API.
    clients: Option<Vec<u8>>,
}

impl Arguments {
    /// Whether the node of that name gets its certificates by itself: it has a token, or has had one.
    fn joins(&self, name: &str, discovered: &Discovered) -> bool {
        let has_joined = |state: &PathBuf| crate::linux::has_joined(state, name);
        discovered.token.is_some()
            || self.kubeconfig.is_none()
                && self.client_certificate.is_none()
                && self.state_dir.as_ref().is_some_and(has_joined)
    }

    /// Finds out about the cluster what a node has to know before it begins. What the server is asked for is kept, so that a node starts
    /// while its server is away.
    fn discover(&self) -> Result<Discovered> {
        let by_hand = self.kubeconfig.is_some() || self.client_certificate.is_some();
        let of_k3s = k3s::token_of_environment().filter(|_| self.token.is_none() && !by_hand);
        let Some(state) = &self.state_dir else {
            if of_k3s.is_some() {
                bail!("K3S_TOKEN: a node that joins with a token needs --state-dir, to keep what it gets");
            }
            return Ok(Discovered::default());
        };
        let (kept, kept_clients) = (
            state.join("cluster-authority.crt"),
            state.join("client-authority.crt"),
        );
        let write =
            |path: &Path, pem: &[u8]| std::fs::write(path, pem).with_context(|| path.display().to_string());
        let given = |flag: &str, path: &Option<PathBuf>| {
            let read =
                |path: &PathBuf| std::fs::read(path).with_context(|| format!("--{flag} {}", path.display()));
            path.as_ref().map(read).transpose()
        };
        let Some(server) = self.server.first() else {
            return Ok(Discovered::default());
        };
        if let Some(token) = self.token.as_ref().or(of_k3s.as_ref()) {
            let given_authority = given("certificate-authority", &self.certificate_authority)?;
            let Some(token) = k3s::full_token(token, given_authority.as_deref(), of_k3s.is_some())? else {
                return Ok(Discovered {
                    token: Some(token.clone()),
                    authority: self.discover_by_hash(server, &kept)?,
                    clients: None,
                });
            };
            let before = std::fs::read(&kept).ok().filter(|pem| match &given_authority {
                Some(given) => given == pem,
                None => k3s::matching(pem, &token).is_ok(),
            });
            let clients = match given("client-ca-file", &self.client_ca_file)? {
                None if before.is_some() => std::fs::read(&kept_clients).ok(),
                given => given,
            };
            let cluster = k3s::Cluster::find(server, token, given_authority.or(before), clients)?;
            write(&kept, &cluster.authority)?;
            write(&kept_clients, &cluster.clients)?;
            return Ok(Discovered {
                token: Some(cluster.token),
                authority: Some(cluster.authority),
                clients: Some(cluster.clients),
            });
        }
        if !self.discovery_token_ca_cert_hash.is_empty() {
            return Ok(Discovered {
                authority: self.discover_by_hash(server, &kept)?,
                ..Discovered::default()
            });
        }
        // Without its token a node goes on with what it found by it.
        let of_before = |path: &PathBuf| {
            std::fs::read(path)
                .ok()
                .filter(|_| self.certificate_authority.is_none() && !by_hand)
        };
        Ok(Discovered {
            token: None,
            authority: of_before(&kept),
            clients: of_before(&kept_clients),
        })
    }

    /// The authority that the server is asked for, and that is believed by its hash.
    fn discover_by_hash(&self, server: &str, kept: &Path) -> Result<Option<Vec<u8>>> {
        let hashes = &self.discovery_token_ca_cert_hash;
        if hashes.is_empty() {
            return Ok(None);
        }
        if let Some(authority) = std::fs::read(kept)
            .ok()
            .and_then(|pem| discovery::matching(&pem, hashes).ok())
        {
            return Ok(Some(authority));
        }
        let authority = discovery::authority(server, hashes)?;
        std::fs::write(kept, &authority).with_context(|| kept.display().to_string())?;
        Ok(Some(authority))
    }

    /// The `n`-th node.
    fn node(&self, n: u32, discovered: &Discovered) -> Result<Node> {
        let hostname = || {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .to_lowercase()
        };
        let name = counted_name(&self.node_name.clone().unwrap_or_else(hostname), n)?;
        let address = counted_address(self.node_ip, n)
            .context("--node-ip: there are not enough addresses behind it")?;
        let read = |flag: &str, path: &Path| {
            let path = PathBuf::from(path.to_string_lossy().replace("{name}", &name));
            std::fs::read(&path).with_context(|| format!("--{flag} {}", path.display()))
        };
        let optional =
            |flag: &str, path: &Option<PathBuf>| path.as_deref().map(|path| read(flag, path)).transpose();
        let mut more_servers = self.server.clone();
        let access = match &self.kubeconfig {
            Some(path) => kubeconfig::read(path, &name)?,
            None => {
                let server = more_servers.remove(0); // clap requires one
                let secure = server.starts_with("https://");
                let access = Access {
                    server,
                    certificate_authority: match &discovered.authority {
                        Some(authority) => authority.clone(),
                        None => optional("certificate-authority", &self.certificate_authority)?
                            .unwrap_or_default(),
                    },
                    client_certificate: optional("client-certificate", &self.client_certificate)?
                        .unwrap_or_default(),
                    client_key: optional("client-key", &self.client_key)?.unwrap_or_default(),
                };
                let joins = self.joins(&name, discovered);
                if secure
                    && (access.certificate_authority.is_empty()
                        || access.client_certificate.is_empty() && !joins)
                {
                    bail!(
                        "an https:// server needs --certificate-authority or --discovery-token-ca-cert-hash, and --client-certificate with --client-key, or \
                         --token with --state-dir: a node shows who it is, and verifies whom it talks to"
                    );
                }
                access
            }
        };
        let serving = match (&self.serving_certificate, &self.serving_key) {
            (Some(certificate), Some(key)) => Some((
                read("serving-certificate", certificate)?,
                read("serving-key", key)?,
            )),
            _ => None,
        };
        let client_authorities = match (&self.client_ca_file, &discovered.clients) {
            (Some(path), _) => read("client-ca-file", path)?,
            (None, Some(clients)) => clients.clone(),
            (None, None) => access.certificate_authority.clone(),
        };
        let static_tokens = match &self.static_token_file {
            Some(path) => tokens(&String::from_utf8_lossy(&read("static-token-file", path)?))?,
            None => Vec::new(),
        };
        Ok(Node {
            settings: Settings {
                node_name: name.as_str().into(),
                config_namespace: self.config_namespace.as_str().into(),
                taints: taints(&self.register_with_taints)?,
                capacity: capacity(&self.capacity)?,
                reported_port: (!self.hide_port).then_some(self.port),
                static_tokens,
                anonymous_health: self.anonymous_health,
                join: self.joins(&name, discovered).then(|| Join {
                    token: discovered.token.as_deref().map(Into::into),
                }),
                limits: Limits::default(),
                built: built(),
            },
            access,
            more_servers,
            lab_mode: self.lab_mode,
            listen: SocketAddr::new(address, self.port),
            serving,
            client_authorities,
            state: self.state_dir.clone(),
            clock: self.clock,
            nodes: self.count,
            journal: Journal::of(&name),
        })
    }
}

/// When this was built, in Kubernetes' sense: the date of its commit.
pub(crate) fn built() -> Timestamp {
    option_env!("PICOLET_COMMIT_TIME")
        .and_then(|seconds| seconds.parse().ok())
        .map_or(Timestamp::default(), Timestamp::from_seconds)
}

/// `name` with the number at its end raised by `n`; a name without one gets one when there is more than one node.
fn counted_name(name: &str, n: u32) -> Result<String> {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (stem, number) = name.split_at(name.len() - digits);
    let counted = match number.parse::<u32>() {
        _ if n == 0 => name.to_owned(),
        Ok(first) => format!("{stem}{:0digits$}", first.saturating_add(n)),
        Err(_) => format!("{name}-{n}"),
    };
    if let Err(what) = node_name(&counted) {
        bail!("--node-name {counted}: {what}");
    }
    Ok(counted)
}

/// A node's name, which is the value of the label kubernetes.io/hostname too.
pub(crate) fn node_name(text: &str) -> Result<String, &'static str> {
    let label = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    if text.len() > 63 || !text.split('.').all(label) {
        return Err("a node's name has at most 63 lower-case letters, digits, '-' and '.'");
    }
    Ok(text.to_owned())
}

fn counted_address(first: IpAddr, n: u32) -> Option<IpAddr> {
    Some(match first {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip).checked_add(n)?).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip).checked_add(u128::from(n))?).into(),
    })
}

fn taints(text: &str) -> Result<Vec<Taint>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parse = |part| {
        Taint::parse(part).with_context(|| {
            format!("--register-with-taints {part}: write it as KEY[=VALUE]:EFFECT, with NoSchedule, PreferNoSchedule or NoExecute")
        })
    };
    parts.map(parse).collect()
}

fn capacity(text: &str) -> Result<Capacity> {
    let mut capacity = Capacity::default();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (resource, amount) = part
            .split_once('=')
            .with_context(|| format!("--capacity {part}: write it as RESOURCE=AMOUNT"))?;
        let amount = Quantity::parse(amount).with_context(|| format!("--capacity {part}"))?;
        let place = match resource {
            "cpu" => &mut capacity.cpu,
            "memory" => &mut capacity.memory,
            "ephemeral-storage" => &mut capacity.ephemeral_storage,
            "pods" => &mut capacity.pods,
            _ => bail!("--capacity {part}: the resources are cpu, memory, ephemeral-storage and pods"),
        };
        *place = Some(amount);
    }
    Ok(capacity)
}

pub(crate) fn tokens(text: &str) -> Result<Vec<StaticToken>> {
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let parse = |(n, line): (usize, &str)| {
        let (token, user) = line
            .split_once(',')
            .with_context(|| format!("--static-token-file: line {} is not TOKEN,USER", n + 1))?;
        if token.len() < 16 {
            bail!(
                "--static-token-file: the token of line {} is shorter than 16 characters",
                n + 1
            );
        }
        Ok(StaticToken {
            token: token.into(),
            user: user.trim().into(),
        })
    };
    lines.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_up() {
        let name = |name, n| counted_name(name, n).ok();
        assert_eq!(name("pico-1", 0).as_deref(), Some("pico-1"));
        assert_eq!(name("pico-9", 2).as_deref(), Some("pico-11"));
        assert_eq!(name("pico-001", 9).as_deref(), Some("pico-010"));
        assert_eq!(name("pico", 3).as_deref(), Some("pico-3"));
        assert!(name("Pico", 0).is_none() && name("-a", 0).is_none() && name(&"a".repeat(64), 0).is_none());
    }

    #[test]
    fn addresses_are_counted_up() {
        let address =
            |text: &str, n| counted_address(text.parse().expect("an address"), n).map(|ip| ip.to_string());
        assert_eq!(address("127.0.78.255", 1).as_deref(), Some("127.0.79.0"));
        assert_eq!(address("255.255.255.255", 1), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(taints("").expect("none").len(), 0);
        assert_eq!(taints("a=b:NoSchedule, c:NoExecute").expect("two").len(), 2);
        assert!(format!("{:#}", taints("a").expect_err("no effect")).contains("KEY[=VALUE]:EFFECT"));
        assert!(format!("{:#}", capacity("gpu=1").expect_err("unknown")).contains("ephemeral-storage"));
        assert!(format!("{:#}", capacity("cpu=x").expect_err("no number")).contains("begins with a number"));
        assert_eq!(
            capacity("memory=1Gi").expect("an amount").memory,
            Some(Quantity::new(1 << 30))
        );
        assert!(format!("{:#}", tokens("short,u").expect_err("short")).contains("line 1"));
        assert_eq!(tokens("# none\n\n0123456789abcdef,user\n").expect("one").len(), 1);
    }
}
