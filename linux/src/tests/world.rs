//! A cluster and nodes, each on a thread of its own, for tests that look at them from outside.

use super::heap::Tracked;
use crate::clock::{Source, WallClock};
use crate::kubeconfig::Access;
use crate::node::Node;
use crate::reload::KeyPair;
use embedded_io_adapters::tokio_1::FromTokio;
use picolet_devcluster::host::{DevCluster, HostOptions, get_from_kubelet};
use picolet_tls::{Connector, TlsStream};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

type Job = Box<dyn FnOnce(&DevCluster) + Send>;

/// A cluster that is up.
pub(super) struct World {
    jobs: tokio::sync::mpsc::UnboundedSender<Job>,
}

/// What is needed to call a node.
#[derive(Clone)]
pub(super) struct Caller {
    connector: Connector,
    address: SocketAddr,
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Whether this process runs only the test of that name. If it does not, another one has been made to, with success.
pub(super) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "PICOLET_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("this program runs again");
    for line in [&output.stdout[..], &output.stderr]
        .concat()
        .split(|&byte| byte == b'\n')
    {
        // Whoever counts results shall not take these for ours.
        println!("  {}", String::from_utf8_lossy(line));
    }
    assert!(output.status.success(), "{test} fails in a process of its own");
    false
}

/// An address of the loopback network that no other test uses.
fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // Other processes may test at the same time.
    let [_, _, _, of_process] = std::process::id().to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 100 | high, of_process, low)), 10250)
}

impl World {
    pub(super) fn start(options: HostOptions) -> Self {
        let (jobs, mut todo) = tokio::sync::mpsc::unbounded_channel::<Job>();
        std::thread::spawn(move || {
            block_on(async {
                let cluster = DevCluster::start(options).await.expect("a cluster");
                while let Some(job) = todo.recv().await {
                    job(&cluster);
                }
            });
        });
        Self { jobs }
    }

    /// Does something with the cluster, on its thread.
    pub(super) fn with<T: Send + 'static>(&self, job: impl FnOnce(&DevCluster) -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = move |cluster: &DevCluster| {
            let _ = done.send(job(cluster));
        };
        assert!(self.jobs.send(Box::new(job)).is_ok(), "the cluster is up");
        result.recv().expect("an answer")
    }

    /// A node of that name, ready to be run, and what is needed to call it.
    pub(super) fn node(&self, name: &str, plain: bool) -> (Node, Caller) {
        let listen = address();
        let owned = name.to_owned();
        let (mut node, connector) = self.with(move |cluster| {
            let connector = cluster.admin_connector().expect("a connector");
            if plain {
                let access = Access {
                    server: cluster.url(),
                    ..Access::default()
                };
                let node = Node::with_lab_mode(&owned, access, None, listen, true);
                return (node.expect("a node"), connector);
            }
            let client = cluster.node_identity(&owned).expect("a certificate");
            let serving = cluster.pki().node_serving(&owned, &[listen.ip()]);
            let serving = serving.expect("a certificate");
            let access = Access {
                server: cluster.url(),
                certificate_authority: cluster.pki().ca().certificate_pem.clone().into_bytes(),
                client_certificate: client.certificate_pem.into_bytes(),
                client_key: client.key_pem.into_bytes(),
            };
            let serving = KeyPair {
                certificate: serving.certificate_pem.into_bytes(),
                key: serving.key_pem.into_bytes(),
            };
            let node = Node::new(&owned, access, serving, listen);
            (node.expect("a node"), connector)
        });
        node.settings.taints.clear();
        (
            node,
            Caller {
                connector,
                address: listen,
            },
        )
    }

    /// Sets `pico-config`.
    pub(super) fn configure(&self, memory_values: String) {
        self.with(move |cluster| {
            let data = json!({"data": {"memory_values": memory_values}});
            if cluster
                .patch("configmaps", "default", "pico-config", &data)
                .is_err()
            {
                let object = json!({"metadata": {"name": "pico-config"}, "data": data["data"]});
                cluster
                    .create("configmaps", "default", object)
                    .expect("a ConfigMap");
            }
        });
    }

    /// Whether the cluster holds the node for Ready, with a Lease of the last 15 seconds.
    pub(super) fn is_ready(&self, name: &str) -> bool {
        let name = name.to_owned();
        self.with(move |cluster| {
            let Ok(node) = cluster.get("nodes", "", &name) else {
                return false;
            };
            let Ok(lease) = cluster.get("leases", "kube-node-lease", &name) else {
                return false;
            };
            let conditions = node["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ready = conditions
                .iter()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            let renewed = lease["spec"]["renewTime"]
                .as_str()
                .and_then(picolet_kube::Timestamp::parse);
            let now = WallClock::new(Source::System).now().expect("a clock");
            // The node follows the clock of the server.
            let skew = cluster.faults(|faults| faults.clock_skew());
            let now = now.seconds().saturating_add_signed(skew);
            ready && renewed.is_some_and(|renewed| renewed.seconds() + 15 >= now)
        })
    }

    /// What the cluster has for that object.
    pub(super) fn get(&self, resource: &'static str, namespace: &'static str, name: &str) -> Option<Value> {
        let name = name.to_owned();
        self.with(move |cluster| cluster.get(resource, namespace, &name).ok())
    }
}

impl Caller {
    /// Where the node is called.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection, as the administrator; `None` when it does not come about.
    pub(super) async fn connect(&self) -> Option<TlsStream<FromTokio<TcpStream>>> {
        let socket = TcpStream::connect(self.address).await.ok()?;
        let name = self.address.ip().to_string();
        self.connector.connect(&name, FromTokio::new(socket)).await.ok()
    }

    /// Reads a path of the node.
    pub(super) fn get(&self, path: &str) -> Option<String> {
        block_on(get_from_kubelet(&self.connector, self.address, path)).ok()
    }

    /// The memory cells that are set.
    pub(super) fn cells(&self) -> Option<Vec<(u64, u64)>> {
        let body: Value = serde_json::from_str(&self.get("/pico/memory")?).ok()?;
        let cells = body["memory_cells"].as_array()?.iter();
        Some(
            cells
                .filter_map(|cell| Some((cell["address"].as_u64()?, cell["value"].as_u64()?)))
                .collect(),
        )
    }

    /// The value of a metric, its labels written as they stand.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let body = self.get("/metrics")?;
        body.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// Runs a node on a thread of its own until the returned guard is dropped. What its thread allocates is told to `heap`.
pub(super) fn spawn(node: Node, heap: Option<Tracked>) -> Running {
    let (stop, mut stopped) = tokio::sync::mpsc::channel::<()>(1);
    let thread = std::thread::spawn(move || {
        block_on(async {
            // Neither the runtime nor the future itself is counted.
            let node = Box::pin(node.run());
            if let Some(heap) = heap {
                heap.follow_this_thread();
            }
            tokio::select! {
                ended = node => panic!("the node ended: {ended:?}"),
                _ = stopped.recv() => {}
            }
        });
    });
    Running {
        stop: Some(stop),
        thread: Some(thread),
    }
}

/// A node that runs.
pub(super) struct Running {
    stop: Option<tokio::sync::mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            assert!(!matches!(ended, Some(Err(_))), "the node's thread panicked");
        }
    }
}

/// Waits until it holds.
pub(super) fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
