//! One node: its options made into an agent, and the agent run.

use crate::clock::{Source, WallClock};
use crate::journal::Journal;
use crate::kubeconfig::Access;
use crate::machine::Linux;
use crate::network::{Inbound, ServerConfig, Tokio};
use crate::reload::{self, KeyPair, Origin, Watched, WatchedAuthority};
use crate::state::NodeState;
use anyhow::{Context, Result, bail};
use picolet_kube::Timestamp;
use picolet_kube::selector::Taint;
use picolet_kubelet::{Agent, Capacity, Limits, Settings};
use picolet_platform::{Purpose, ResetReason};
use picolet_runtime::NoRuntime;
use picolet_tls::Identity;
use picolet_tls::x509::certificates_from_pem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// All that makes a node.
pub struct Node {
    pub(crate) settings: Settings,
    /// How it reaches its API server.
    pub(crate) access: Access,
    /// The API servers; the others are tried when the first does not answer.
    pub(crate) servers: Vec<ServerConfig>,
    pub(crate) lab_mode: bool,
    /// Where it is called.
    pub(crate) listen: SocketAddr,
    /// Of the kubelet port.
    pub(crate) serving: Option<KeyPair>,
    /// The authorities of those who may call, PEM.
    pub(crate) client_authorities: Vec<u8>,
    /// The file of `--client-ca-file`, which may be replaced.
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Where the client's and the serving certificate come from, if they can be renewed there.
    pub(crate) origins: [Option<Origin>; 2],
    pub(crate) state: Option<NodeState>,
    /// Where its time comes from.
    pub(crate) clock: Source,
    /// How many nodes are in this process.
    pub(crate) nodes: u32,
    /// What is kept of its log, over its restarts.
    pub(crate) journal: Arc<Journal>,
}

/// The taint that a node registers with unless others are given.
pub const DEFAULT_TAINTS: &str = "picolet.dev/microcontroller=true:NoSchedule";

/// The read-only port of lab mode, as the kubelet once had it.
const READ_ONLY_PORT: u16 = 10255;

impl Node {
    /// Creates a node of the cluster behind `access`, which serves the kubelet API at `listen` with the certificate `serving`. It has the
    /// settings of `picolet run` without options, believes clients by the CA of its API server, and keeps no state.
    ///
    /// # Errors
    /// The URL of the API server is malformed or not `https://`.
    pub fn new(name: &str, access: Access, serving: KeyPair, listen: SocketAddr) -> Result<Self> {
        Self::with_lab_mode(name, access, Some(serving), listen, false)
    }

    /// As [`Node::new`]; in lab mode the API server may be `http://`, and a serving certificate is not needed.
    pub(crate) fn with_lab_mode(
        name: &str,
        access: Access,
        serving: Option<KeyPair>,
        listen: SocketAddr,
        lab_mode: bool,
    ) -> Result<Self> {
        Ok(Self {
            settings: Settings {
                node_name: name.into(),
                config_namespace: "default".into(),
                taints: Taint::parse(DEFAULT_TAINTS).into_iter().collect(),
                capacity: Capacity::default(),
                reported_port: Some(listen.port()),
                static_tokens: Vec::new(),
                anonymous_health: false,
                join: None,
                limits: Limits::default(),
                built: built(),
            },
            servers: vec![ServerConfig::parse(&access.server, lab_mode)?],
            client_authorities: access.certificate_authority.clone(),
            access,
            lab_mode,
            listen,
            serving,
            client_ca_file: None,
            origins: [None, None],
            state: None,
            clock: Source::System,
            nodes: 1,
            journal: Journal::of(name),
        })
    }

    /// Runs the node until it asks to be restarted, and then again, until it is told to forget who it is.
    ///
    /// # Errors
    /// It cannot be run, or has forgotten who it is.
    pub async fn run(mut self) -> Result<()> {
        let mut reason = ResetReason::PowerOn;
        let mut watched = self.watched()?;
        let mut clients = self
            .client_ca_file
            .clone()
            .map(|path| WatchedAuthority::new(path, self.client_authorities.clone()));
        loop {
            let told = self.state.as_ref().map(NodeState::reset_identity);
            if let Some(told) = told.transpose().context("--state-dir")?.flatten() {
                return self
                    .stay_away(&format!("delete {} to let it join again", told.display()))
                    .await;
            }
            if let Some(state) = &self.state {
                state.check().context("--state-dir")?;
            }
            let agent = self.agent(reason)?;
            let name = &*self.settings.node_name;
            tokio::select! {
                never = agent.run() => never,
                () = agent.machine().rebooted() => tracing::info!(node = name, "starting over"),
                () = reload::watch(name, &mut watched, &mut clients, agent.network(), agent.machine()) => {}
            }
            if agent.machine().forgets() && self.state.is_none() {
                return self.stay_away("what it was given is still where it was").await;
            }
            watched.iter().for_each(|watched| self.take(watched));
            if let Some(clients) = &clients {
                self.client_authorities = clients.pem().to_vec();
            }
            reason = ResetReason::Software;
            self.journal.begin_run();
        }
    }

    /// The certificates that may be renewed in their files.
    fn watched(&self) -> Result<Vec<Watched>> {
        let client = KeyPair {
            certificate: self.access.client_certificate.clone(),
            key: self.access.client_key.clone(),
        };
        // Without TLS nobody is shown a certificate.
        let is_shown = self.access.server.starts_with("https://") && !client.certificate.is_empty();
        let pairs = [Some(client).filter(|_| is_shown), self.serving.clone()];
        let watched = self
            .origins
            .iter()
            .zip(pairs)
            .filter_map(|(origin, pair)| Some(Watched::new(origin.clone()?, pair?)));
        watched.collect()
    }

    /// Starts the next time with what was renewed.
    fn take(&mut self, watched: &Watched) {
        let pair = watched.pair().clone();
        match watched.purpose() {
            Purpose::Client => {
                self.access.client_certificate = pair.certificate;
                self.access.client_key = pair.key;
            }
            Purpose::Serving => self.serving = Some(pair),
        }
    }

    /// Is no node any longer. The others of the process go on.
    async fn stay_away(&self, remedy: &str) -> Result<()> {
        let words = format!("it has forgotten who it is, as it was told: {remedy}");
        if self.nodes == 1 {
            bail!(words);
        }
        tracing::error!(node = &*self.settings.node_name, "{words}");
        std::future::pending().await
    }

    /// An agent that has not begun, its port open.
    fn agent(&self, reason: ResetReason) -> Result<Agent<(Linux, Tokio, NoRuntime)>> {
        let name = &*self.settings.node_name;
        let clock = WallClock::new(self.clock);
        let servers = self.servers.clone();
        let identity = match self.access.client_certificate.is_empty() {
            true => None,
            false => Some(
                Identity::from_pem(&self.access.client_certificate, &self.access.client_key)
                    .context("the client certificate and key")?,
            ),
        };
        let authorities = match self.access.certificate_authority.is_empty() {
            true => Vec::new(),
            false => certificates_from_pem(&self.access.certificate_authority)
                .context("the certificate authority")?,
        };
        let inbound = self.inbound(&clock)?;
        let network = Tokio::new(
            name,
            servers,
            &authorities,
            identity.as_ref(),
            clock.clone(),
            inbound,
            self.listen.ip(),
        )
        .context("TLS")?;
        let platform = Linux::new(
            name,
            self.state.clone(),
            self.nodes,
            clock,
            (reason, self.journal.clone()),
        )?;
        Ok(Agent::new(self.settings.clone(), platform, network, NoRuntime))
    }

    /// The kubelet port, if there is a certificate for it or one is going to be issued.
    fn inbound(&self, clock: &WallClock) -> Result<Option<Inbound>> {
        let identity = match &self.serving {
            Some(pair) => Some(
                Identity::from_pem(&pair.certificate, &pair.key)
                    .context("the serving certificate and key")?,
            ),
            None if self.settings.join.is_some() => None,
            None => {
                tracing::warn!(
                    node = &*self.settings.node_name,
                    "the kubelet port stays closed: kubectl logs and metrics need --serving-certificate and --serving-key"
                );
                return Ok(None);
            }
        };
        let clients = certificates_from_pem(&self.client_authorities).context("--client-ca-file")?;
        let read_only = self.lab_mode.then_some(READ_ONLY_PORT);
        Inbound::open(self.listen, identity.as_ref(), &clients, clock.clone(), read_only).map(Some)
    }
}

#[cfg(test)]
impl Node {
    /// The size of the agent and of its future, in bytes.
    pub(crate) async fn sizes(&self) -> (usize, usize) {
        let agent = self.agent(ResetReason::PowerOn).expect("an agent");
        (size_of_val(&agent), size_of_val(&agent.run()))
    }
}

/// When this was built, in Kubernetes' sense: the date of its commit.
pub(crate) fn built() -> Timestamp {
    option_env!("PICOLET_COMMIT_TIME")
        .and_then(|seconds| seconds.parse().ok())
        .map_or(Timestamp::default(), Timestamp::from_seconds)
}
