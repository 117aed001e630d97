//! A proxy between a node and the real kube-apiserver that breaks what passes through it on demand.
//!
//! It ends mutual TLS with a serving certificate of the cluster's CA, verifies client certificates against that CA, and
//! forwards each request as `front-proxy-client` with the user and the groups of the client's certificate in `X-Remote-User`
//! and `X-Remote-Group`: the API server sees the node, and its authorizers and admission plugins judge it. A client without
//! a certificate is forwarded without a certificate, so that its bearer token counts.

mod connection;
mod rule;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use picolet_controlplane::{ControlPlane, Place};

pub use rule::{Fault, Rule};
use tls::Tls;

/// How often a blocked thread looks whether it is to end.
const POLL: Duration = Duration::from_millis(50);

/// A request that the proxy received.
#[derive(Clone, Debug)]
pub struct Received {
    /// The user of the client's certificate; empty without one.
    pub user: String,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// When its head was read.
    pub at: Instant,
    /// The status that the API server or a rule answered with, once there is one.
    pub status: Option<u16>,
    /// Whether a rule hit it.
    pub faulted: bool,
}

/// What the threads of one proxy share.
struct Shared {
    tls: Tls,
    upstream: SocketAddr,
    rules: Mutex<Vec<Rule>>,
    received: Mutex<Vec<Received>>,
    /// Whether new connections are accepted and not served.
    silent: AtomicBool,
    /// How many connections were accepted.
    connections: AtomicU32,
    /// Counts up when all connections are cut.
    generation: AtomicU32,
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Whether a connection of that generation may go on.
    fn goes_on(&self, generation: u32) -> bool {
        !self.stopped.load(Ordering::Relaxed) && generation == self.generation.load(Ordering::Relaxed)
    }

    /// Records a request. Returns its number, and what is to happen to it.
    fn receive(&self, mut request: Received) -> (usize, Option<Fault>) {
        let fault = lock(&self.rules)
            .iter_mut()
            .find_map(|rule| rule.strike(&request));
        request.faulted = fault.is_some();
        let mut received = lock(&self.received);
        received.push(request);
        (received.len() - 1, fault)
    }

    fn answered(&self, number: usize, status: u16) {
        if let Some(request) = lock(&self.received).get_mut(number) {
            request.status = Some(status);
        }
    }
}

/// A running proxy. Dropping it closes its port and ends its connections.
pub struct FaultProxy {
    shared: Arc<Shared>,
    url: String,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy without rules before the API server of `control_plane`.
    ///
    /// # Errors
    ///
    /// When its certificate cannot be issued or its port cannot be opened.
    pub fn start(control_plane: &ControlPlane) -> Result<Self> {
        let address = control_plane.place().server_address();
        let bind: IpAddr = match control_plane.place() {
            Place::Loopback => address,
            // An emulated board connects to 127.0.0.1.
            Place::Private => Ipv4Addr::UNSPECIFIED.into(),
        };
        let listener = TcpListener::bind((bind, 0)).context("the fault proxy has no port")?;
        let port = listener.local_addr()?.port();
        let upstream = control_plane.server_url();
        let upstream = upstream.trim_start_matches("https://").parse();
        let shared = Arc::new(Shared {
            tls: Tls::new(control_plane, port)?,
            upstream: upstream.context("the API server's URL has no address")?,
            rules: Mutex::default(),
            received: Mutex::default(),
            silent: AtomicBool::new(false),
            connections: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        Ok(Self {
            shared,
            url: format!("https://{address}:{port}"),
            thread: Some(thread::spawn(move || accept(&listener, &for_thread))),
        })
    }

    /// Returns the URL that a node uses in place of the API server's.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a rule behind the others.
    pub fn add(&self, rule: Rule) {
        lock(&self.shared.rules).push(rule);
    }

    /// Removes all rules, and serves new connections again.
    pub fn clear(&self) {
        lock(&self.shared.rules).clear();
        self.set_silent(false);
    }

    /// Sets whether new connections are accepted and then left alone, without a TLS handshake.
    pub fn set_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// Returns the requests that were received so far, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Returns those with this method whose path begins with `prefix`.
    #[must_use]
    pub fn received_on(&self, method: &str, prefix: &str) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|request| request.method == method && request.target.starts_with(prefix));
        received
    }

    /// Returns how many connections were accepted.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Closes all connections that are open now.
    pub fn cut_connections(&self) {
        self.shared.generation.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // The thread waits for a connection: this is the last one.
        let port = self.url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let address = (Ipv4Addr::LOCALHOST, port.unwrap_or(0));
        let host = self.url.trim_start_matches("https://");
        let woken = TcpStream::connect(host).or_else(|_| TcpStream::connect(address));
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Serves each connection on a thread of its own, until the proxy is stopped.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for socket in listener.incoming() {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(socket) = socket else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that breaks is what this proxy is for.
            let _ = connection::serve(socket, &shared);
        });
    }
}
