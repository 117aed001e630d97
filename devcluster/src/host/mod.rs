//! The cluster behind TCP and TLS, on tokio.
//!
//! Everything runs on the thread that starts it: [`DevCluster::start`] wants a `LocalSet`. What does not need tokio
//! ([`accept_tls`], [`serve_tls`], [`Kubelets`], [`Pki`]) is generic over stream and clock, for a cluster inside an emulator's network.

mod caller;
mod clock;
mod kubeconfig;
mod kubelets;
mod pki;

pub use caller::get_from_kubelet;
pub use clock::SystemClock;
pub use kubelets::Kubelets;
pub use pki::{Certified, Pki};

use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::options::Options;
use crate::serve::serve_connection;
use anyhow::{Context, Result};
use embassy_futures::select::{Either, select};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use picolet_platform::Clock;
use picolet_tls::x509::CertificateInfo;
use picolet_tls::{Acceptor, Connector, TlsStream};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How long a client may take over its TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Further addresses that its certificate is good for. Loopback and 10.0.2.2, as which an emulated board sees the
    /// host, go without saying.
    pub addresses: Vec<IpAddr>,
    /// Serve plain HTTP, where everybody is the administrator: as behind a proxy that ends TLS.
    pub plain_http: bool,
    /// The cluster itself.
    pub cluster: Options,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            addresses: Vec::new(),
            plain_http: false,
            cluster: Options::default(),
        }
    }
}

/// A cluster that is up. It is gone when this is dropped. What can be done with it from Rust is [`Cluster`]'s.
pub struct DevCluster {
    cluster: Cluster<SystemClock>,
    pki: Rc<Pki>,
    admin: Certified,
    address: SocketAddr,
    plain_http: bool,
    tasks: Vec<JoinHandle<()>>,
}

impl DevCluster {
    /// Starts a cluster. To be called within a `LocalSet`.
    ///
    /// # Errors
    /// When the address is taken, or the system has no randomness.
    pub async fn start(options: HostOptions) -> Result<Self> {
        let pki = Rc::new(Pki::new()?);
        let clock = SystemClock::new();
        let listener = TcpListener::bind(options.address)
            .await
            .with_context(|| format!("cannot listen on {}: choose another --address", options.address))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let cluster = Cluster::new(
            clock,
            Options {
                ca_pem: pki.ca().certificate_pem.clone(),
                ..options.cluster.clone()
            },
        );
        cluster.set_signer(pki.clone());
        let connector = pki.kubelet_connector(unix_seconds)?;
        cluster.set_kubelets(Rc::new(Kubelets::new(Tcp, clock, connector)));
        let acceptor = if options.plain_http {
            None
        } else {
            let addresses: Vec<_> = options.addresses.iter().copied().chain([address.ip()]).collect();
            Some(pki.acceptor(&addresses, unix_seconds)?.with_tickets())
        };
        let controllers = cluster.clone();
        let tasks = vec![
            tokio::task::spawn_local(accept(cluster.clone(), listener, acceptor)),
            tokio::task::spawn_local(async move { controllers.run_controllers().await }),
        ];
        let admin = pki.client("kubernetes-admin", &["system:masters"])?;
        Ok(Self {
            cluster,
            pki,
            admin,
            address,
            plain_http: options.plain_http,
            tasks,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        format!("{scheme}://{}", self.address)
    }

    /// Its certificate authority.
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_of("kubernetes-admin", &self.admin)
    }

    /// A kubeconfig for whoever `identity` belongs to.
    pub fn kubeconfig_of(&self, user: &str, identity: &Certified) -> String {
        kubeconfig::write(&self.url(), &self.pki.ca().certificate_pem, user, identity)
    }

    /// The administrator's certificate, that of [`kubeconfig`](Self::kubeconfig).
    pub fn admin(&self) -> &Certified {
        &self.admin
    }

    /// Connects to kubelets as the administrator.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn admin_connector(&self) -> Result<Connector> {
        self.pki.connector(&self.admin, unix_seconds)
    }

    /// A client certificate for the node `name`.
    ///
    /// # Errors
    /// When the name cannot be put into a certificate.
    pub fn node_identity(&self, name: &str) -> Result<Certified> {
        self.pki.node(name)
    }
}

impl Deref for DevCluster {
    type Target = Cluster<SystemClock>;

    fn deref(&self) -> &Cluster<SystemClock> {
        &self.cluster
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn unix_seconds() -> Option<u64> {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// How a stream to a kubelet is opened.
pub trait Dial {
    /// What it gives.
    type Stream: Read + Write + 'static;

    /// Opens a stream to that address and port.
    fn dial(&self, address: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>>;
}

/// Sockets of the system.
#[derive(Clone, Copy, Debug)]
struct Tcp;

impl Dial for Tcp {
    type Stream = FromTokio<TcpStream>;

    async fn dial(&self, address: &str, port: u16) -> io::Result<Self::Stream> {
        let tcp = TcpStream::connect((address, port)).await?;
        tcp.set_nodelay(true)?;
        Ok(FromTokio::new(tcp))
    }
}

/// Takes connections for as long as the cluster lives. Those that are open end with it.
async fn accept(cluster: Cluster<SystemClock>, listener: TcpListener, acceptor: Option<Acceptor>) {
    let mut connections = JoinSet::new();
    loop {
        // Finished connections are taken off the list as new ones come.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (cluster, acceptor) = (cluster.clone(), acceptor.clone());
                connections.spawn_local(async move { serve(&cluster, tcp, acceptor).await });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(cluster: &Cluster<SystemClock>, tcp: TcpStream, acceptor: Option<Acceptor>) {
    // An event that waits for more to send is an event too late.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let mut stream = FromTokio::new(tcp);
    match acceptor {
        // whoever comes in the clear comes through a proxy that knows them
        None if cluster.is_down() => {}
        None => tell(serve_connection(cluster, &mut stream, Some(Identity::admin())).await),
        Some(acceptor) => {
            if let Some(stream) = accept_tls(cluster, stream, &acceptor).await {
                serve_tls(cluster, stream).await;
            }
        }
    }
}

/// Shakes hands with whoever is at the other end of `stream`; `None` when nothing comes of it.
pub async fn accept_tls<S: Read + Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: S,
    acceptor: &Acceptor,
) -> Option<TlsStream<S>> {
    if cluster.is_down() {
        return None;
    }
    match select(
        cluster.0.clock.sleep(HANDSHAKE_TIME.into()),
        acceptor.accept(stream),
    )
    .await
    {
        Either::First(()) => None,
        Either::Second(Ok(stream)) => Some(stream),
        Either::Second(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
    }
}

/// Serves requests on `stream` as whom its certificate names, until the peer closes it.
pub async fn serve_tls<S: Read + Write, C: Clock>(cluster: &Cluster<C>, mut stream: TlsStream<S>) {
    let identity = stream.peer_certificate().and_then(identity_of);
    let result = serve_connection(cluster, &mut stream, identity).await;
    if result.is_ok() {
        // The peer may be gone already.
        let _ = stream.close().await;
    }
    tell(result);
}

fn tell<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

fn identity_of(certificate: &[u8]) -> Option<Identity> {
    let info = CertificateInfo::from_der(certificate).ok()?;
    Some(Identity::authenticated(info.common_name?, info.organizations))
}

/// How [`run`] runs a cluster.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The cluster.
    pub host: HostOptions,
    /// The folder that the kubeconfigs are written into: `admin.conf`, and `NODE.conf` for each of the nodes.
    pub directory: PathBuf,
    /// Names of nodes that shall get an identity.
    pub nodes: Vec<String>,
}

/// Runs a cluster until Ctrl-C: what `picolet devcluster` does. To be called within a `LocalSet`.
///
/// # Errors
/// When the address is taken or a file cannot be written.
pub async fn run(options: RunOptions) -> Result<()> {
    let cluster = DevCluster::start(options.host).await?;
    let directory = &options.directory;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the folder {}", directory.display()))?;
    let admin = directory.join("admin.conf");
    write_private(&admin, &cluster.kubeconfig())?;
    println!("Kubernetes API at {}", cluster.url());
    println!("  export KUBECONFIG={}", admin.display());
    for node in &options.nodes {
        let path = directory.join(format!("{node}.conf"));
        let identity = cluster.node_identity(node)?;
        write_private(
            &path,
            &cluster.kubeconfig_of(&format!("system:node:{node}"), &identity),
        )?;
        println!(
            "  node {node}: picolet run --node-name {node} --kubeconfig {}",
            path.display()
        );
    }
    println!("Faults: kubectl create --raw /devcluster/faults -f FILE. Ctrl-C ends it; nothing is kept.");
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
}

/// Writes a file that only its owner can read: it holds a private key.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
