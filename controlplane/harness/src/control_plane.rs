//! Starting the servers in their order, stopping them in the opposite one.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::binaries::Binaries;
use crate::components::{self, AUDIT_POLICY, Files, Ports};
use crate::kubeconfig::{self, User};
use crate::kubectl::Kubectl;
use crate::network::Place;
use crate::pki::{Identity, Pki, Subject, Validity};
use crate::process::Process;
use crate::run_directory::RunDirectory;

/// How a control plane is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its keys, data and logs lie while it runs. Folders of killed runs beside it are removed.
    pub directory: PathBuf,
    /// The network that it listens in.
    pub place: Place,
}

/// A running control plane. Dropping it stops all of it and removes its folder.
pub struct ControlPlane {
    // Dropped in this order: what depends on a server goes before it, the folder last.
    scheduler: Mutex<Option<Process>>,
    controller_manager: Mutex<Option<Process>>,
    apiserver: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
    binaries: Binaries,
    files: Files,
    pki: Pki,
    place: Place,
    ports: Ports,
    bootstrap_token: String,
    directory: RunDirectory,
}

/// What a node needs to be a given node of this cluster.
#[derive(Clone, Debug)]
pub struct NodeCredentials {
    /// The kubeconfig with its client certificate.
    pub kubeconfig: PathBuf,
    /// The client certificate by itself.
    pub client: Identity,
    /// The certificate for its HTTPS API.
    pub serving: Identity,
}

const STOP: Duration = Duration::from_secs(10);

impl ControlPlane {
    /// Starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler and waits until all of them work.
    ///
    /// # Errors
    ///
    /// When a server does not come up; the error has the end of its log, and nothing is left running.
    pub fn start(binaries: &Binaries, options: &Options) -> Result<Self> {
        let directory = RunDirectory::create(&options.directory)?;
        let (pki, files) = prepare(directory.path(), options.place)?;
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = options.place.free_port()?;
        }
        let [etcd, etcd_peers, apiserver, controller_manager, scheduler] = ports;
        let this = Self {
            scheduler: Mutex::default(),
            controller_manager: Mutex::default(),
            apiserver: Mutex::default(),
            etcd: Mutex::default(),
            binaries: binaries.clone(),
            files,
            pki,
            place: options.place,
            ports: Ports {
                etcd,
                etcd_peers,
                apiserver,
                controller_manager,
                scheduler,
            },
            bootstrap_token: bootstrap_token()?,
            directory,
        };
        this.write_kubeconfigs()?;
        this.start_etcd()?;
        this.start_apiserver()?;
        this.start_controllers()?;
        Ok(this)
    }

    fn write_kubeconfigs(&self) -> Result<()> {
        self.write_kubeconfig(
            &self.admin_kubeconfig(),
            &User::Certificate(&self.files.administrator),
        )?;
        let clients = [
            (
                &self.files.controller_manager_kubeconfig,
                "system:kube-controller-manager",
            ),
            (&self.files.scheduler_kubeconfig, "system:kube-scheduler"),
        ];
        for (path, common_name) in clients {
            let file = common_name.trim_start_matches("system:");
            let subject = Subject {
                common_name,
                organization: None,
            };
            let identity = self.pki.client(file, subject, Validity::default())?;
            self.write_kubeconfig(path, &User::Certificate(&identity))?;
        }
        self.write_kubeconfig(&self.bootstrap_kubeconfig(), &User::Token(&self.bootstrap_token))
    }

    fn write_kubeconfig(&self, path: &Path, user: &User<'_>) -> Result<()> {
        kubeconfig::write(path, &self.server_url(), self.pki.certificate_authority(), user)
    }

    fn start_etcd(&self) -> Result<()> {
        let command = components::etcd(&self.binaries, &self.files, self.address(), self.ports);
        let mut process = self.spawn("etcd", command)?;
        let address = (self.address(), self.ports.etcd);
        process.wait_until(Duration::from_secs(30), || TcpStream::connect(address).is_ok())?;
        keep(&self.etcd, process);
        Ok(())
    }

    /// Starts kube-apiserver and waits until it is ready. Does nothing while it runs.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_apiserver(&self) -> Result<()> {
        if self.apiserver.lock().is_ok_and(|process| process.is_some()) {
            return Ok(());
        }
        let command = components::apiserver(&self.binaries, &self.files, self.address(), self.ports);
        let mut process = self.spawn("kube-apiserver", command)?;
        let kubectl = self.kubectl();
        process.wait_until(Duration::from_secs(120), || {
            kubectl.run(["get", "--raw=/readyz"]).is_ok()
        })?;
        keep(&self.apiserver, process);
        Ok(())
    }

    /// Stops kube-apiserver; everything else goes on.
    pub fn stop_apiserver(&self) {
        end(&self.apiserver);
    }

    /// Starts one more kube-apiserver of this cluster at `port`, with `flags` in place of or beside those of the first, and returns
    /// it with an administrator's kubectl that goes to it.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_another_apiserver(
        &self,
        name: &str,
        port: u16,
        flags: impl IntoIterator<Item = String>,
    ) -> Result<(Process, Kubectl)> {
        let ports = Ports {
            apiserver: port,
            ..self.ports
        };
        let mut command = components::apiserver(&self.binaries, &self.files, self.address(), ports);
        // Of a flag that is given twice the last one counts.
        let audit_log = self
            .directory
            .path()
            .join("log")
            .join(format!("{name}-audit.log"));
        command.arg(format!("--audit-log-path={}", audit_log.display()));
        command.args(flags);
        let subject = Subject {
            common_name: "kubernetes-admin",
            organization: Some("system:masters"),
        };
        let admin = format!("kubernetes-admin-of-{name}");
        let identity = self.pki.client(&admin, subject, Validity::default())?;
        let kubeconfig = self.directory.path().join(format!("{admin}.kubeconfig"));
        let url = format!("https://{}:{port}", self.address());
        let authority = self.pki.certificate_authority();
        kubeconfig::write(&kubeconfig, &url, authority, &User::Certificate(&identity))?;
        let kubectl = Kubectl::new(&self.binaries.kubectl, &kubeconfig);
        let mut process = self.spawn(name, command)?;
        process.wait_until(Duration::from_secs(120), || {
            kubectl.run(["get", "--raw=/readyz"]).is_ok()
        })?;
        Ok((process, kubectl))
    }

    fn start_controllers(&self) -> Result<()> {
        let address = self.address();
        let command = components::controller_manager(&self.binaries, &self.files, address, self.ports);
        let mut manager = self.spawn("kube-controller-manager", command)?;
        let command = components::scheduler(&self.binaries, &self.files, address, self.ports);
        let mut scheduler = self.spawn("kube-scheduler", command)?;
        let kubectl = self.kubectl();
        let (id, secret) = self
            .bootstrap_token
            .split_once('.')
            .context("a bootstrap token has a dot")?;
        let objects = include_str!("bootstrap.yaml")
            .replace("@TOKEN_ID@", id)
            .replace("@TOKEN_SECRET@", secret)
            .replace("@SERVER@", &self.server_url())
            .replace(
                "@AUTHORITY@",
                &kubeconfig::encode(self.pki.certificate_authority())?,
            );
        kubectl.apply(&objects)?;
        // The last thing that a pod needs is the service account that a controller makes in each namespace.
        let account = ["get", "serviceaccount", "default", "--namespace=default"];
        manager.wait_until(Duration::from_secs(60), || kubectl.run(account).is_ok())?;
        let port = (address, self.ports.scheduler);
        scheduler.wait_until(Duration::from_secs(60), || TcpStream::connect(port).is_ok())?;
        keep(&self.controller_manager, manager);
        keep(&self.scheduler, scheduler);
        Ok(())
    }

    fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        Process::start(
            name,
            command,
            &self.directory.path().join("log").join(format!("{name}.log")),
        )
    }

    fn address(&self) -> IpAddr {
        self.place.server_address()
    }

    /// Returns the network that this control plane lives in.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Returns the programs that this control plane was started from.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Returns the folder with the keys and logs of this run.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves the folder with the logs when this control plane stops, until the next one starts beside it.
    pub fn keep_directory(&mut self) {
        self.directory.keep();
    }

    /// Returns the authorities, to issue more certificates.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Returns the URL of kube-apiserver.
    #[must_use]
    pub fn server_url(&self) -> String {
        format!("https://{}:{}", self.address(), self.ports.apiserver)
    }

    /// Returns the kubeconfig of an administrator.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.directory.path().join("admin.kubeconfig")
    }

    /// Returns the kubeconfig of a machine that is about to join: it has the bootstrap token.
    #[must_use]
    pub fn bootstrap_kubeconfig(&self) -> PathBuf {
        self.directory.path().join("bootstrap.kubeconfig")
    }

    /// Returns the token that a machine joins with.
    #[must_use]
    pub fn bootstrap_token(&self) -> &str {
        &self.bootstrap_token
    }

    /// Returns the certificate that kube-apiserver calls nodes with.
    #[must_use]
    pub fn kubelet_client(&self) -> &Identity {
        &self.files.kubelet_client
    }

    /// Returns the certificate by which kube-apiserver believes others whom they speak for.
    #[must_use]
    pub fn front_proxy_client(&self) -> &Identity {
        &self.files.front_proxy_client
    }

    /// Returns the audit log: one JSON object a line for each request that kube-apiserver has answered.
    #[must_use]
    pub fn audit_log(&self) -> &Path {
        &self.files.audit_log
    }

    /// kubectl as an administrator.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.binaries.kubectl, &self.admin_kubeconfig())
    }

    /// Issues what a node of this name needs, its serving certificate good for `addresses`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn node(&self, name: &str, addresses: &[IpAddr]) -> Result<NodeCredentials> {
        let user = format!("system:node:{name}");
        let subject = Subject {
            common_name: &user,
            organization: Some("system:nodes"),
        };
        let client = self
            .pki
            .client(&format!("{name}-client"), subject, Validity::default())?;
        let serving = format!("{name}-serving");
        let serving = self.pki.server(
            &serving,
            subject,
            &[name, "localhost"],
            addresses,
            Validity::default(),
        )?;
        let kubeconfig = self.directory.path().join(format!("{name}.kubeconfig"));
        self.write_kubeconfig(&kubeconfig, &User::Certificate(&client))?;
        Ok(NodeCredentials {
            kubeconfig,
            client,
            serving,
        })
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for server in [
            &self.scheduler,
            &self.controller_manager,
            &self.apiserver,
            &self.etcd,
        ] {
            end(server);
        }
    }
}

fn keep(slot: &Mutex<Option<Process>>, process: Process) {
    *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(process);
}

fn end(slot: &Mutex<Option<Process>>) {
    if let Some(mut process) = slot
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .take()
    {
        process.stop(STOP);
    }
}

/// Makes all keys, certificates and folders that the servers ask for.
fn prepare(directory: &Path, place: Place) -> Result<(Pki, Files)> {
    for folder in ["log", "flex"] {
        fs::create_dir_all(directory.join(folder))?;
    }
    let pki = Pki::create(&directory.join("pki"))?;
    let address = place.server_address();
    let subject = |common_name| Subject {
        common_name,
        organization: None,
    };
    let serve = |name, common_name, dns: &[&str], addresses: &[IpAddr]| {
        pki.server(name, subject(common_name), dns, addresses, Validity::default())
    };
    let (service_account_key, service_account_public_key) = pki.service_account_keys()?;
    // 10.0.2.2 is what an emulated board calls this machine, 10.96.0.1 is the service `kubernetes`. The last one is known from the
    // certificate alone, as the virtual IP of a load balancer in front of an API server is.
    let addresses = [
        address,
        [127, 0, 0, 1].into(),
        [10, 0, 2, 2].into(),
        [10, 96, 0, 1].into(),
        [203, 0, 113, 1].into(),
    ];
    let names = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let administrator = Subject {
        common_name: "kubernetes-admin",
        organization: Some("system:masters"),
    };
    // RSA keys take some time.
    let (apiserver, kubelet_client, administrator) = thread::scope(|scope| {
        let apiserver =
            scope.spawn(|| pki.rsa_server("apiserver", subject("kube-apiserver"), &names, &addresses));
        let kubelet_client = scope.spawn(|| {
            let name = "apiserver-kubelet-client";
            pki.rsa_client(name, subject("kube-apiserver-kubelet-client"))
        });
        let administrator = pki.rsa_client("kubernetes-admin", administrator);
        let join = |made: thread::ScopedJoinHandle<'_, _>| made.join().expect("no thread panics");
        (join(apiserver), join(kubelet_client), administrator)
    });
    let files = Files {
        directory: directory.into(),
        authority: pki.cluster_authority().clone(),
        etcd_authority: pki.etcd_authority().into(),
        front_proxy_authority: pki.front_proxy_authority().into(),
        etcd_server: pki.etcd_server(address)?,
        etcd_client: pki.etcd_client()?,
        apiserver: apiserver?,
        kubelet_client: kubelet_client?,
        administrator: administrator?,
        front_proxy_client: pki.front_proxy_client()?,
        controller_manager: serve(
            "kcm-serving",
            "kube-controller-manager",
            &["localhost"],
            &[address],
        )?,
        scheduler: serve("scheduler-serving", "kube-scheduler", &["localhost"], &[address])?,
        service_account_key,
        service_account_public_key,
        controller_manager_kubeconfig: directory.join("kube-controller-manager.kubeconfig"),
        scheduler_kubeconfig: directory.join("kube-scheduler.kubeconfig"),
        audit_policy: directory.join("audit-policy.yaml"),
        audit_log: directory.join("log/audit.log"),
    };
    fs::write(&files.audit_policy, AUDIT_POLICY)?;
    Ok((pki, files))
}

/// A token of the form `[a-z0-9]{6}.[a-z0-9]{16}`.
fn bootstrap_token() -> Result<String> {
    let mut random = [0; 22];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context("no randomness")?;
    let text: String = random
        .iter()
        .map(|byte| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte % 32)]))
        .collect();
    Ok(format!("{}.{}", &text[..6], &text[6..]))
}
