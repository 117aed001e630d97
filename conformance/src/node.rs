//! A node: the program under test, started as a person would start it, as a process or in an emulated board.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use picolet_controlplane::{Identity, NodeCredentials, Process, TapInterface};
use serde_json::Value;

use crate::caller::{Answer, Caller};
use crate::case::Case;
use crate::cluster::Cluster;
use crate::k3s::K3s;
use crate::wait::until;

/// The port of a kubelet's HTTPS API, and the read-only one of lab mode.
const PORT: u16 = 10250;
const READ_ONLY_PORT: u16 = 10255;
/// Many times what a node needs to be Ready, joining Wi-Fi included.
const READY: Duration = Duration::from_secs(20);

/// A node that is about to be started.
pub struct NodeSetup<'a> {
    case: &'a Case<'a>,
    name: String,
    arguments: Vec<String>,
    flags_instead_of_kubeconfig: bool,
    server: Option<String>,
    through: Vec<String>,
    token: Option<String>,
    authority_hash: Option<String>,
    tap: Option<TapInterface>,
    k3s: Option<PathBuf>,
    emulated: bool,
}

/// A node that was started. Dropping it ends the process and leaves the Node object.
pub struct Node<'a> {
    case: &'a Case<'a>,
    name: String,
    address: IpAddr,
    arguments: Vec<String>,
    credentials: NodeCredentials,
    log: PathBuf,
    emulated: bool,
    process: Option<Process>,
    started: Instant,
}

impl Case<'_> {
    /// Prepares a node whose name is this case's.
    #[must_use]
    pub fn node(&self) -> NodeSetup<'_> {
        self.node_named("node")
    }

    /// Prepares one of several nodes of this case.
    #[must_use]
    pub fn node_named(&self, suffix: &str) -> NodeSetup<'_> {
        NodeSetup::new(self, format!("{}-{suffix}", self.name()))
    }
}

impl<'a> NodeSetup<'a> {
    fn new(case: &'a Case<'a>, name: String) -> Self {
        Self {
            case,
            name,
            arguments: Vec::new(),
            flags_instead_of_kubeconfig: false,
            server: None,
            through: Vec::new(),
            token: None,
            authority_hash: None,
            tap: None,
            k3s: None,
            emulated: case.on_board(),
        }
    }

    /// Returns the name that the node will have.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds arguments to the command line.
    #[must_use]
    pub fn arguments<A: Into<String>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Reads its configuration from this namespace.
    #[must_use]
    pub fn config_namespace(self, namespace: &str) -> Self {
        self.arguments(["--config-namespace", namespace])
    }

    /// Says who it is by `--server`, `--client-certificate` and so on, not by a kubeconfig.
    #[must_use]
    pub fn flags_instead_of_kubeconfig(mut self) -> Self {
        self.flags_instead_of_kubeconfig = true;
        self
    }

    /// Talks to this API server, without any credentials of its own.
    #[must_use]
    pub fn behind_proxy(mut self, server: &str) -> Self {
        self.server = Some(server.to_owned());
        self
    }

    /// Connects to these servers in place of the API server, in this order and with its own credentials.
    #[must_use]
    pub fn through<U: Into<String>>(mut self, servers: impl IntoIterator<Item = U>) -> Self {
        self.through.extend(servers.into_iter().map(Into::into));
        self
    }

    /// Joins with this bootstrap token, and has no certificate.
    #[must_use]
    pub fn joining(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Joins k3s: a process is given the cluster's token and nothing else, and a board's settings are made from the administrator's
    /// kubeconfig.
    #[must_use]
    pub fn joining_k3s(mut self, k3s: &K3s) -> Self {
        self.server = Some(k3s.url().to_owned());
        self.token = Some(k3s.token().to_owned());
        self.k3s = Some(k3s.kubeconfig().to_owned());
        self
    }

    /// Finds the cluster's authority by this hash, and is not given it. For a board, whoever provisions it does: that needs a server
    /// which both reach at the same address, as in a private network.
    #[must_use]
    pub fn discovering(mut self, hash: &str) -> Self {
        self.authority_hash = Some(hash.to_owned());
        self
    }

    /// An emulated board whose network is this interface: it has an address of its own, and no time server.
    #[must_use]
    pub fn on_tap(mut self, tap: TapInterface) -> Self {
        self.tap = Some(tap);
        self
    }

    /// A process, whatever the case's other nodes are.
    #[must_use]
    pub fn as_process(mut self) -> Self {
        self.emulated = false;
        self
    }

    /// Starts the node and does not wait for anything.
    ///
    /// # Errors
    ///
    /// When its certificates cannot be written or the program cannot be run.
    pub fn start(self) -> Result<Node<'a>> {
        let control_plane = self.case.cluster().control_plane();
        let address = match &self.tap {
            Some(tap) => tap.address.into(),
            None => control_plane
                .place()
                .node_address(self.case.cluster().next_address()),
        };
        let credentials = control_plane.node(&self.name, &[address])?;
        let text = |path: &std::path::Path| path.display().to_string();
        let authority = text(control_plane.pki().certificate_authority());
        let log = control_plane
            .directory()
            .join("log")
            .join(format!("{}.log", self.name));
        self.case.remember_log(log.clone());
        let arguments = if self.emulated {
            let mut servers = self.through;
            if servers.is_empty() {
                servers.push(self.server.clone().unwrap_or_else(|| control_plane.server_url()));
            }
            let board = Provisioned {
                name: &self.name,
                address,
                servers: &servers,
                credentials: match (&self.k3s, &self.token) {
                    (Some(kubeconfig), _) => Credentials::Kubeconfig(kubeconfig),
                    (None, Some(token)) => Credentials::Token(token),
                    (None, None) if self.server.is_some() => Credentials::Serving(&credentials),
                    (None, None) => Credentials::Both(&credentials),
                },
                tap: self.tap.as_ref(),
                authority_hash: self.authority_hash.as_deref(),
                more: &self.arguments,
            };
            board.provision(self.case.cluster())?
        } else {
            let mut arguments = vec!["run".into(), "--node-name".into(), self.name.clone()];
            let state = control_plane.directory().join("state").join(&self.name);
            let mut set = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
            let joins = self.token.is_some();
            let has_servers = !self.through.is_empty();
            for server in self.through {
                set("--server", server);
            }
            if let Some(token) = self.token {
                if !has_servers {
                    set(
                        "--server",
                        self.server.unwrap_or_else(|| control_plane.server_url()),
                    );
                }
                match self.authority_hash {
                    _ if self.k3s.is_some() => {}
                    Some(hash) => set("--discovery-token-ca-cert-hash", hash),
                    None => set("--certificate-authority", authority.clone()),
                }
                set("--token", token);
            } else if let Some(server) = self.server {
                set("--server", server);
            } else if self.flags_instead_of_kubeconfig || has_servers {
                if !has_servers {
                    set("--server", control_plane.server_url());
                }
                set("--certificate-authority", authority.clone());
                set("--client-certificate", text(&credentials.client.certificate));
                set("--client-key", text(&credentials.client.key));
            } else {
                set("--kubeconfig", text(&credentials.kubeconfig));
            }
            set("--node-ip", address.to_string());
            if !joins {
                set("--serving-certificate", text(&credentials.serving.certificate));
                set("--serving-key", text(&credentials.serving.key));
            }
            if self.k3s.is_none() {
                set("--client-ca-file", authority);
            }
            set("--state-dir", text(&state));
            arguments.extend(self.arguments);
            arguments
        };
        let mut node = Node {
            case: self.case,
            name: self.name,
            address,
            arguments,
            credentials,
            log,
            emulated: self.emulated,
            process: None,
            started: Instant::now(),
        };
        node.start()?;
        Ok(node)
    }

    /// Starts the node and waits until the cluster calls it Ready.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not become Ready.
    pub fn start_ready(self) -> Result<Node<'a>> {
        let node = self.start()?;
        node.wait_ready(READY)?;
        Ok(node)
    }
}

impl Node<'_> {
    /// Starts the program again, with the same command line.
    ///
    /// # Errors
    ///
    /// When it runs, or cannot be run.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let mut command = Command::new(self.case.cluster().program());
        command.args(&self.arguments).env_remove("KUBECONFIG");
        if self.emulated {
            // Noise is never the same twice.
            command.args(["--seed", &self.case.cluster().next_seed().to_string()]);
        }
        self.started = Instant::now();
        self.process = Some(Process::start(&self.name, command, &self.log)?);
        Ok(())
    }

    /// Ends the process as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Asks the process to end, as Ctrl-C or a service manager would.
    ///
    /// # Errors
    ///
    /// When it ends with another code than 0, or does not end within 10 s.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            let status = process.stop(Duration::from_secs(10));
            ensure!(
                status.success(),
                "{} ended with {status} when it was asked to stop",
                self.name
            );
        }
        Ok(())
    }

    /// Waits until the process ends by itself, and returns how.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`, or does not run.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let process = self.process.as_mut().context("the node does not run")?;
        let status = until(
            limit,
            &format!("{} ends", self.name),
            || Ok(process.exit_status()),
        )?;
        self.process = None;
        Ok(status)
    }

    /// Leaves an option and its value out when the program is started again.
    pub fn forget_argument(&mut self, flag: &str) {
        if let Some(at) = self.arguments.iter().position(|argument| argument == flag) {
            self.arguments.drain(at..at + 2);
        }
    }

    /// Returns what an emulated board that joined by a token has in its flash, written when the emulator ends.
    #[must_use]
    pub fn flash(&self) -> PathBuf {
        board_folder(self.case.cluster(), &self.name).join("flash.bin")
    }

    /// Returns the folder that outlives the program.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        let directory = self.case.cluster().control_plane().directory();
        directory.join("state").join(&self.name)
    }

    /// Returns the node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the node's address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the node's credentials.
    #[must_use]
    pub fn credentials(&self) -> &NodeCredentials {
        &self.credentials
    }

    /// Returns what the program printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Returns how long ago the program was started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns what is the same for as long as the node runs without a restart, and another afterwards.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn run_id(&self) -> Result<String> {
        let process = self.process.as_ref().context("the node does not run")?;
        // A board restarts without its emulator, and says so first.
        let starts = self.log().matches("started by").count();
        Ok(format!("{}-{starts}", process.id()))
    }

    /// Returns the Node object.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn object(&self) -> Result<Value> {
        let object = self.case.cluster().object("default", "node", &self.name)?;
        object.with_context(|| format!("there is no node {}", self.name))
    }

    /// Returns the node's Lease.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn lease(&self) -> Result<Value> {
        let object = self
            .case
            .cluster()
            .object("kube-node-lease", "lease", &self.name)?;
        object.with_context(|| format!("there is no lease {}", self.name))
    }

    /// Returns the status of a condition: `True`, `False` or `Unknown`.
    ///
    /// # Errors
    ///
    /// When there is no node.
    pub fn condition(&self, kind: &str) -> Result<Option<Value>> {
        let object = self.object()?;
        let conditions = object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        Ok(conditions.into_iter().find(|condition| condition["type"] == kind))
    }

    /// Waits until the cluster calls the node Ready, and returns its object.
    ///
    /// # Errors
    ///
    /// When it does not within `limit`.
    pub fn wait_ready(&self, limit: Duration) -> Result<Value> {
        until(limit, &format!("{} is Ready", self.name), || {
            let ready = self
                .condition("Ready")?
                .is_some_and(|condition| condition["status"] == "True");
            if ready { Ok(Some(self.object()?)) } else { Ok(None) }
        })
    }

    /// Returns the URL of a path of the node's HTTPS API.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}:{PORT}{path}", self.address)
    }

    /// A caller with kube-apiserver's own certificate.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be read.
    pub fn caller(&self) -> Result<Caller> {
        let control_plane = self.case.cluster().control_plane();
        Caller::new(
            control_plane.pki().certificate_authority(),
            Some(control_plane.kubelet_client()),
        )
    }

    /// GET with kube-apiserver's own certificate.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.caller()?.get(&self.url(path))
    }

    /// Returns the memory cells that are set, as pairs of address and value.
    ///
    /// # Errors
    ///
    /// When the node does not say.
    pub fn memory(&self) -> Result<Vec<(u64, u64)>> {
        let answer = self.get("/pico/memory")?;
        ensure!(
            answer.status == 200,
            "/pico/memory answers {}: {}",
            answer.status,
            answer.body
        );
        let json = answer.json()?;
        let cells = json["memory_cells"].as_array().context("no memory_cells")?;
        let number =
            |cell: &Value, field: &str| cell[field].as_u64().with_context(|| format!("no number: {cell}"));
        cells
            .iter()
            .map(|cell| Ok((number(cell, "address")?, number(cell, "value")?)))
            .collect()
    }

    /// How long a change may take. A board that is emulated on a busy machine has less than its own time.
    fn patience(&self) -> Duration {
        Duration::from_secs(if self.emulated { 60 } else { 10 })
    }

    /// Waits until exactly these memory cells are set.
    ///
    /// # Errors
    ///
    /// When they are not soon; the error shows what is set.
    pub fn wait_memory(&self, expected: &[(u64, u64)]) -> Result<()> {
        let mut last = Vec::new();
        until(self.patience(), "the memory cells", || {
            last = self.memory()?;
            Ok((last == expected).then_some(()))
        })
        .with_context(|| format!("expected {expected:?}, the node has {last:?}"))
    }

    /// Returns what `/pico/gpio` says of a pin: its mode and its level.
    ///
    /// # Errors
    ///
    /// When the node does not say.
    pub fn pin(&self, pin: u64) -> Result<Option<Value>> {
        let json = self.get("/pico/gpio")?.json()?;
        let pins = json["pins"].as_array().context("no pins")?;
        Ok(pins.iter().find(|entry| entry["pin"] == pin).cloned())
    }
}

/// What an emulated board is told about itself.
struct Provisioned<'a> {
    name: &'a str,
    address: IpAddr,
    servers: &'a [String],
    credentials: Credentials<'a>,
    tap: Option<&'a TapInterface>,
    /// The authority is found by this.
    authority_hash: Option<&'a str>,
    more: &'a [String],
}

/// Who it is, and how it is called.
enum Credentials<'a> {
    Both(&'a NodeCredentials),
    Serving(&'a NodeCredentials),
    Token(&'a str),
    /// Of k3s, which says all else.
    Kubeconfig(&'a Path),
}

/// Where an emulated board's settings and its flash lie.
fn board_folder(cluster: &Cluster, name: &str) -> PathBuf {
    cluster.control_plane().directory().join("boards").join(name)
}

/// The network on the air, and its passphrase.
const SSID: &str = "attic";
const PASSPHRASE: &str = "correct horse";

impl Provisioned<'_> {
    /// Makes its settings as a person does, and returns the arguments that the program emulates it with.
    fn provision(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let control_plane = cluster.control_plane();
        let folder = board_folder(cluster, self.name);
        std::fs::create_dir_all(&folder)?;
        let text = |path: &Path| path.display().to_string();
        let passphrase = folder.join("wifi.txt");
        std::fs::write(&passphrase, PASSPHRASE)?;
        let settings = folder.join("settings.uf2");
        let authority = text(control_plane.pki().certificate_authority());
        // What listens on this machine is at this address to a board.
        let mut servers = Vec::new();
        for server in self.servers {
            let (scheme, rest) = server.split_once("://").context("the server has no scheme")?;
            let (_, port) = rest.rsplit_once(':').context("the server has no port")?;
            servers.push(format!("{scheme}://10.0.2.2:{port}"));
        }
        let mut command = Command::new(cluster.program());
        command.args([
            "provision",
            "--board",
            "pico-w",
            "--ssid",
            SSID,
            "--ntp",
            "10.0.2.2",
        ]);
        command.arg("--passphrase-file").arg(&passphrase);
        for server in &servers {
            command.args(["--server", server]);
        }
        command.args(["--node-name", self.name]);
        match self.tap {
            Some(tap) => {
                command.args(["--address", &format!("{}/{}", tap.address, tap.prefix)]);
                command.args(["--gateway", &tap.gateway.to_string()]);
            }
            // The device has another one than the API server finds it at.
            None => {
                command.args(["--node-ip", &self.address.to_string()]);
            }
        }
        if !matches!(self.credentials, Credentials::Kubeconfig(_)) {
            match self.authority_hash {
                Some(hash) => command.args(["--discovery-token-ca-cert-hash", hash]),
                None => command.args(["--certificate-authority", &authority]),
            };
            command.args(["--client-ca-file", &authority]);
        }
        let mut identity = |role: &str, Identity { certificate, key }: &Identity| {
            command.arg(format!("--{role}-certificate")).arg(certificate);
            command.arg(format!("--{role}-key")).arg(key);
        };
        match self.credentials {
            Credentials::Both(NodeCredentials { client, serving, .. }) => {
                identity("client", client);
                identity("serving", serving);
            }
            Credentials::Serving(credentials) => identity("serving", &credentials.serving),
            Credentials::Token(token) => drop(command.args(["--token", token])),
            Credentials::Kubeconfig(path) => drop(command.arg("--kubeconfig").arg(path)),
        }
        command.args(self.more).arg("--output").arg(&settings);
        let output = command.output().context("cannot run picolet provision")?;
        ensure!(
            output.status.success(),
            "picolet provision failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let image = cluster
            .image()
            .context("no image was built: the cases of boards were not asked for")?;
        let mut arguments = vec!["emulate".to_owned(), text(image), text(&settings)];
        arguments.extend(["--ssid", SSID, "--passphrase-file"].map(str::to_owned));
        arguments.extend([text(&passphrase), "--no-status".to_owned()]);
        if matches!(
            self.credentials,
            Credentials::Token(_) | Credentials::Kubeconfig(_)
        ) {
            // What it was given must outlive a power cut.
            arguments.extend(["--flash".to_owned(), text(&folder.join("flash.bin"))]);
        }
        let lab_mode = self.more.iter().any(|argument| argument == "--lab-mode");
        match self.tap {
            Some(tap) => arguments.extend(["--tap".to_owned(), tap.name.clone()]),
            None => {
                let ports = [Some(PORT), lab_mode.then_some(READ_ONLY_PORT)];
                for port in ports.into_iter().flatten() {
                    let publish = format!("{}:{port}={port}", self.address);
                    arguments.extend(["--publish".to_owned(), publish]);
                }
            }
        }
        arguments.extend(["--board".to_owned(), cluster.next_board().to_string()]);
        Ok(arguments)
    }
}
