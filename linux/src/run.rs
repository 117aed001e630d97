//! Runs nodes in this process, as many as are asked for.

use crate::clock::WallClock;
use crate::discovery;
use crate::durable::write_durably;
use crate::files;
use crate::joining::{Given, Joining, K3S_URL, Token};
use crate::journal::Journal;
use crate::k3s;
use crate::kubeconfig::{self, Access};
use crate::network::ServerConfig;
use crate::node::{Node, built};
use crate::node_ip::{self, Routes};
use crate::options::Options;
use crate::patience::until_it_heals;
use crate::reload::{KeyPair, Origin};
use crate::state::StateDirectory;
use anyhow::{Context, Result, bail, ensure};
use picolet_kubelet::{Join, Limits, Settings, StaticToken};
use picolet_platform::Purpose;
use picolet_tls::Time as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio::signal::unix::{SignalKind, signal};

/// Runs nodes on threads of their own until the process is interrupted or terminated. Beside the options, the environment says how they join:
/// `PICOLET_TOKEN`, `K3S_TOKEN` and `K3S_URL`.
///
/// # Errors
/// The options are wrong or contradict each other, a file cannot be used, or a node fails for good. They are called by the flags of
/// `picolet run`.
pub fn run(options: Options) -> Result<()> {
    let setup = Arc::new(Setup::new(options)?);
    let Some(discovered) = discovered(&setup)? else {
        return Ok(());
    };
    let nodes = (0..setup.options.count)
        .map(|n| setup.node(n, &discovered))
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
fn discovered(setup: &Arc<Setup>) -> Result<Option<Discovered>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let attempt = || {
        let setup = setup.clone();
        let discovered = runtime.spawn_blocking(move || setup.discover());
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
fn run_nodes(nodes: Vec<Node>) -> Result<()> {
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

/// The options, and what the environment and the state directory add to them.
struct Setup {
    options: Options,
    servers: Vec<String>,
    token: Option<Token>,
    state: Option<Arc<StateDirectory>>,
    routes: OnceLock<Routes>,
}

impl Setup {
    /// Takes what can be known before the cluster is asked for anything, and locks the state directory.
    fn new(options: Options) -> Result<Self> {
        let first_name = options.name(0)?;
        let state = options
            .state_directory
            .as_deref()
            .map(StateDirectory::open)
            .transpose()?;
        let has_joined = state
            .as_ref()
            .is_some_and(|state| state.node(&first_name).has_joined());
        let token_file = options.token_file.as_deref();
        let Joining {
            token,
            servers,
            warnings,
        } = Joining::new(Given {
            token: options.token.as_deref(),
            // It was needed once.
            token_file: token_file.filter(|path| path.exists() || !has_joined),
            servers: &options.servers,
            identity: options.identity_by_hand(),
            names_server: options.kubeconfig.is_some(),
        })?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if let Some(Token { origin, .. }) = &token {
            ensure!(
                state.is_some(),
                "{origin}: a node that joins with a token needs --state-dir, to keep what it gets"
            );
            ensure!(
                options.serving_certificate.is_none(),
                "{origin} cannot be used with --serving-certificate: a node that joins with a token has its serving certificate \
                 issued, too"
            );
        }
        if servers.is_empty() && options.kubeconfig.is_none() {
            let hint = match std::env::var_os("KUBECONFIG") {
                Some(_) => "; KUBECONFIG is not read, since it names a person's",
                None => "",
            };
            bail!(
                "no API server: pass --server URL (or set {K3S_URL}), or the node's own kubeconfig with --kubeconfig FILE{hint}"
            );
        }
        Ok(Self {
            options,
            servers,
            token,
            state,
            routes: OnceLock::new(),
        })
    }

    /// Whether the node of that name gets its certificates by itself: it has a token, or has had one.
    fn joins(&self, name: &str, discovered: &Discovered) -> bool {
        discovered.token.is_some()
            || self.options.identity_by_hand().is_none()
                && self
                    .state
                    .as_ref()
                    .is_some_and(|state| state.node(name).has_joined())
    }

    /// Finds out about the cluster what a node has to know before it begins. What the server is asked for is kept, so that a node starts
    /// while its server is away.
    fn discover(&self) -> Result<Discovered> {
        let Some(state) = self.state.as_ref().filter(|_| !self.servers.is_empty()) else {
            return Ok(Discovered::default());
        };
        let (kept, kept_clients) = (state.cluster_authority(), state.client_authority());
        if let Some(token) = &self.token {
            let given_authority = given("certificate-authority", &self.options.certificate_authority)?;
            let full = k3s::full_token(&token.secret, given_authority.as_deref(), token.is_of_k3s());
            let Some(full) = full.with_context(|| token.origin.clone())? else {
                return Ok(Discovered {
                    token: Some(token.secret.clone()),
                    authority: self.discover_by_hash(&kept)?,
                    clients: None,
                });
            };
            let before = std::fs::read(&kept).ok().filter(|pem| match &given_authority {
                Some(given) => given == pem,
                None => k3s::matching(pem, &full).is_ok(),
            });
            let clients = match given("client-ca-file", &self.options.client_ca_file)? {
                None if before.is_some() => std::fs::read(&kept_clients).ok(),
                given => given,
            };
            let authority = given_authority.or(before);
            let cluster = discovery::ask_in_turn(&self.servers, |server| {
                let token = (full.clone(), &*token.origin);
                k3s::Cluster::find(server, token, authority.clone(), clients.clone())
            })?;
            keep(&kept, &cluster.authority)?;
            keep(&kept_clients, &cluster.clients)?;
            return Ok(Discovered {
                token: Some(cluster.token),
                authority: Some(cluster.authority),
                clients: Some(cluster.clients),
            });
        }
        if !self.options.discovery_hashes.is_empty() {
            return Ok(Discovered {
                authority: self.discover_by_hash(&kept)?,
                ..Discovered::default()
            });
        }
        // Without its token a node goes on with what it found by it.
        let of_before = |path: &Path| {
            std::fs::read(path).ok().filter(|_| {
                self.options.certificate_authority.is_none() && self.options.identity_by_hand().is_none()
            })
        };
        Ok(Discovered {
            token: None,
            authority: of_before(&kept),
            clients: of_before(&kept_clients),
        })
    }

    /// The authority that the servers are asked for, and that is believed by its hash.
    fn discover_by_hash(&self, kept: &Path) -> Result<Option<Vec<u8>>> {
        let hashes = &self.options.discovery_hashes;
        if hashes.is_empty() {
            return Ok(None);
        }
        if let Some(authority) = std::fs::read(kept)
            .ok()
            .and_then(|pem| discovery::matching(&pem, hashes).ok())
        {
            return Ok(Some(authority));
        }
        let authority = discovery::authority(&self.servers, hashes)?;
        keep(kept, &authority)?;
        Ok(Some(authority))
    }

    /// The `n`-th node.
    fn node(&self, n: u32, discovered: &Discovered) -> Result<Node> {
        let name = self.options.name(n)?;
        let of_node = |path: &Path| PathBuf::from(path.to_string_lossy().replace("{name}", &name));
        let read = |flag: &str, path: &Path| {
            let path = of_node(path);
            files::read(&path).with_context(|| format!("--{flag} {}", path.display()))
        };
        let optional =
            |flag: &str, path: &Option<PathBuf>| path.as_deref().map(|path| read(flag, path)).transpose();
        let now = WallClock::new(self.options.clock).unix_seconds();
        let mut more_servers = self.servers.clone();
        let access = match &self.options.kubeconfig {
            Some(path) => kubeconfig::read(path, &name)?,
            None => {
                let server = more_servers.remove(0); // `Setup::new` requires one
                let secure = server.starts_with("https://");
                let access = Access {
                    server,
                    certificate_authority: match &discovered.authority {
                        Some(authority) => authority.clone(),
                        None => optional("certificate-authority", &self.options.certificate_authority)?
                            .unwrap_or_default(),
                    },
                    client_certificate: optional("client-certificate", &self.options.client_certificate)?
                        .unwrap_or_default(),
                    client_key: optional("client-key", &self.options.client_key)?.unwrap_or_default(),
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
        let mut servers = Vec::new();
        for url in std::iter::once(&access.server).chain(&more_servers) {
            servers.push(ServerConfig::parse(url, self.options.lab_mode)?);
        }
        // They are the same for all nodes of the process.
        let routes = || self.routes.get_or_init(|| Routes::find(&servers));
        let address = node_ip::of_node(self.options.node_ip, n, routes)?;
        if let Some(warning) = node_ip::warning(address, routes) {
            tracing::warn!(node = &*name, "{warning}");
        }
        let client_origin = self.options.client_origin(of_node);
        if let Some(origin) = client_origin
            .as_ref()
            .filter(|_| !access.client_certificate.is_empty())
        {
            let certificate = KeyPair::certificate_in(&access.client_certificate);
            certificate
                .and_then(|certificate| certificate.check_client(&name, now))
                .with_context(|| origin.to_string())?;
        }
        let serving_origin = self.options.serving_origin(of_node);
        let serving = serving_origin
            .as_ref()
            .map(|origin| origin.read(&name))
            .transpose()?;
        if let (Some(origin), Some(pair)) = (&serving_origin, &serving) {
            let certificate = KeyPair::certificate_in(&pair.certificate);
            let covers = certificate
                .and_then(|certificate| {
                    certificate
                        .check_serving(now)
                        .map(|()| certificate.covers(address))
                })
                .with_context(|| origin.to_string())?;
            if !covers {
                tracing::warn!(
                    node = &*name,
                    "{origin}: it is not for {address}, which --node-ip reports: callers that verify it refuse it"
                );
            }
        }
        let client_authorities = match (&self.options.client_ca_file, &discovered.clients) {
            (Some(path), _) => read("client-ca-file", path)?,
            (None, Some(clients)) => clients.clone(),
            (None, None) => access.certificate_authority.clone(),
        };
        let static_tokens = match &self.options.static_token_file {
            Some(path) => static_tokens(&String::from_utf8_lossy(&read("static-token-file", path)?))?,
            None => Vec::new(),
        };
        Ok(Node {
            settings: Settings {
                node_name: name.as_str().into(),
                config_namespace: self.options.config_namespace.as_str().into(),
                taints: self.options.taints.clone(),
                capacity: self.options.capacity.clone(),
                reported_port: (!self.options.hide_port).then_some(self.options.port),
                static_tokens,
                anonymous_health: self.options.anonymous_health,
                join: self.joins(&name, discovered).then(|| Join {
                    token: discovered.token.as_deref().map(Into::into),
                }),
                limits: Limits::default(),
                built: built(),
            },
            access,
            servers,
            lab_mode: self.options.lab_mode,
            listen: SocketAddr::new(address, self.options.port),
            serving,
            client_authorities,
            client_ca_file: self.options.client_ca_file.as_deref().map(of_node),
            origins: [client_origin, serving_origin],
            state: self.state.as_ref().map(|state| state.node(&name)),
            clock: self.options.clock,
            nodes: self.options.count,
            journal: Journal::of(&name),
        })
    }
}

impl Options {
    /// The name of the `n`-th node.
    fn name(&self, n: u32) -> Result<String> {
        let hostname = || {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .to_lowercase()
        };
        counted_name(&self.node_name.clone().unwrap_or_else(hostname), n)
    }

    /// The flag that says who the node is, if it was given its certificate.
    fn identity_by_hand(&self) -> Option<&'static str> {
        match (&self.kubeconfig, &self.client_certificate) {
            (Some(_), _) => Some("--kubeconfig"),
            (None, Some(_)) => Some("--client-certificate"),
            (None, None) => None,
        }
    }

    /// Where the node's client certificate comes from. `of_node` completes paths.
    fn client_origin(&self, of_node: impl Fn(&Path) -> PathBuf) -> Option<Origin> {
        match (&self.kubeconfig, &self.client_certificate, &self.client_key) {
            (Some(path), ..) => Some(Origin::Kubeconfig(path.clone())),
            (None, Some(certificate), Some(key)) => Some(Origin::Files {
                purpose: Purpose::Client,
                certificate: of_node(certificate),
                key: of_node(key),
            }),
            _ => None,
        }
    }

    /// Where the certificate of the kubelet API comes from. `of_node` completes paths.
    fn serving_origin(&self, of_node: impl Fn(&Path) -> PathBuf) -> Option<Origin> {
        Some(Origin::Files {
            purpose: Purpose::Serving,
            certificate: of_node(self.serving_certificate.as_ref()?),
            key: of_node(self.serving_key.as_ref()?),
        })
    }
}

/// Reads the file that a flag names.
fn given(flag: &str, path: &Option<PathBuf>) -> Result<Option<Vec<u8>>> {
    let read = |path: &PathBuf| files::read(path).with_context(|| format!("--{flag} {}", path.display()));
    path.as_ref().map(read).transpose()
}

/// Keeps what was found out.
fn keep(path: &Path, pem: &[u8]) -> Result<()> {
    write_durably(path, pem).with_context(|| path.display().to_string())
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

/// Checks a node's name, which is the value of the label kubernetes.io/hostname too: at most 63 characters.
///
/// # Errors
/// It cannot be the name of a node; says what can.
pub fn node_name(text: &str) -> Result<String, &'static str> {
    let label = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    if text.len() > 63 || !text.split('.').all(label) {
        return Err("a node's name has at most 63 lower-case letters, digits, '-' and '.'");
    }
    Ok(text.to_owned())
}

/// Parses lines of `TOKEN,USER`, as `--static-token-file` holds them; empty lines and those that begin with `#` are skipped.
///
/// # Errors
/// A line has another form, or a token is shorter than 16 characters.
pub fn static_tokens(text: &str) -> Result<Vec<StaticToken>> {
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
    fn static_tokens_are_read_and_the_line_that_is_wrong_is_named() {
        assert!(format!("{:#}", static_tokens("short,u").expect_err("short")).contains("line 1"));
        let read = static_tokens("# none\n\n0123456789abcdef,user\n");
        assert_eq!(read.expect("one").len(), 1);
    }
}
