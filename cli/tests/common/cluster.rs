//! An in-memory cluster on a thread, and `picolet run` beside it, as a process.
#![allow(dead_code, reason = "each test uses its part")]

use picolet_devcluster::Identity;
use picolet_devcluster::host::{Certified, DevCluster, HostOptions};
use serde_json::Value;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A bootstrap token of the cluster.
pub(crate) const TOKEN: &str = "abcdef.0123456789abcdef";
/// How long something may take that happens at once on a machine with nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The variables that the program reads.
const VARIABLES: [&str; 4] = ["KUBECONFIG", "K3S_URL", "K3S_TOKEN", "PICOLET_TOKEN"];

type Job = Box<dyn FnOnce(&DevCluster) + Send>;

/// A cluster that is up, and a directory for files.
pub(crate) struct Cluster {
    jobs: tokio::sync::mpsc::UnboundedSender<Job>,
    folder: Folder,
    url: String,
}

impl Deref for Cluster {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

/// A directory in which the program runs.
pub(crate) struct Folder(TempDir);

impl Cluster {
    /// Starts it. The administrator's kubeconfig is `admin.conf`, its CA is `ca.crt`, and `token` has the bootstrap token.
    pub(crate) fn start() -> Self {
        let (jobs, mut todo) = tokio::sync::mpsc::unbounded_channel::<Job>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let mut options = HostOptions::default();
                let bootstrapper = Identity::bootstrapper("abcdef");
                options.cluster.tokens.insert(TOKEN.to_owned(), bootstrapper);
                let cluster = DevCluster::start(options).await.expect("a cluster");
                while let Some(job) = todo.recv().await {
                    job(&cluster);
                }
            });
        });
        let mut cluster = Self {
            jobs,
            folder: Folder::new(),
            url: String::new(),
        };
        cluster.url = cluster.with(DevCluster::url);
        let admin = cluster.with(DevCluster::kubeconfig);
        let authority = cluster.with(|cluster| cluster.pki().ca().certificate_pem.clone());
        for (name, text) in [("admin.conf", &*admin), ("ca.crt", &authority), ("token", TOKEN)] {
            cluster.put(name, text);
        }
        cluster
    }

    /// Does something with the cluster, on its thread.
    pub(crate) fn with<T: Send + 'static>(&self, job: impl FnOnce(&DevCluster) -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move |cluster: &DevCluster| {
            let _ = done.send(job(cluster));
        };
        assert!(self.jobs.send(Box::new(job)).is_ok(), "the cluster is up");
        result.recv().expect("an answer")
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub(crate) fn put_pair(&self, name: &str, pair: &Certified) {
        self.put(&format!("{name}.crt"), &pair.certificate_pem);
        self.put(&format!("{name}.key"), &pair.key_pem);
    }

    /// Writes `NODE.conf`, a kubeconfig of that node.
    pub(crate) fn put_node_kubeconfig(&self, node: &str) {
        let owned = node.to_owned();
        let text = self.with(move |cluster| {
            let identity = cluster.node_identity(&owned).expect("a certificate");
            cluster.kubeconfig_of(&owned, &identity)
        });
        self.put(&format!("{node}.conf"), &text);
    }

    /// An object; `None` where there is none.
    pub(crate) fn get(&self, resource: &'static str, name: &str) -> Option<Value> {
        let name = name.to_owned();
        self.with(move |cluster| cluster.get(resource, "", &name).ok())
    }

    /// `picolet run` with these arguments, separated by spaces.
    pub(crate) fn node(&self, name: &str, address: Ipv4Addr, arguments: &str) -> Command {
        let mut command = self.picolet("run");
        let own = format!("--node-name {name} --node-ip {address} ");
        command.args((own + arguments).split_whitespace());
        command
    }
}

impl Folder {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    /// The program, in this directory and without variables.
    pub(crate) fn picolet(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_picolet"));
        command.current_dir(self.0.path()).arg(verb);
        for name in VARIABLES {
            command.env_remove(name);
        }
        command
    }

    /// Starts a command.
    pub(crate) fn spawn(&self, mut command: Command) -> Process {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let log = self.path(&format!("log-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log).expect("a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("the program");
        Process { child, log }
    }

    /// Runs a command that is to fail, and returns what it said.
    pub(crate) fn refused(&self, command: Command) -> String {
        let mut process = self.spawn(command);
        let status = process.wait();
        let said = process.log();
        assert!(!status.success(), "{said}");
        said
    }
}

/// An address of the loopback network that no other test uses.
pub(crate) fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    // Other processes may test at the same time.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 64, low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until `condition` gives something.
pub(crate) fn eventually<T>(what: &str, log: &dyn Fn() -> String, condition: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(found) = condition() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not within {PATIENCE:?}: {what}\n{}", log());
}

/// A process that runs; it ends with this.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Its process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until it has said this.
    pub(crate) fn expect(&self, words: &str) {
        eventually(words, &|| self.log(), || self.log().contains(words).then_some(()));
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it runs for {PATIENCE:?}:\n{}", self.log());
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        super::interrupt(&self.child);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
