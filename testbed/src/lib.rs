//! An emulated board beside an in-memory cluster: one thread, emulated time, no socket.
//!
//! The board joins the emulator's Wi-Fi and finds, at 10.0.2.2, `devcluster` behind TLS, with a certificate authority and
//! randomness made from a seed. Two runs of the same image do the same, to the instruction: so budgets are counted here,
//! and faults are tried that need a thousand boots. The cluster's tasks run while emulated time stands, so its answers
//! take no time but that of the network.
//!
//! It never looks into the image, and never judges: tests and `cargo xtask budgets` do.

pub mod abuse;
mod clock;
mod ether;
mod kubelet;
mod radio;
mod random;
mod records;
mod settings;
mod wire;

pub use clock::EmulatedClock;
pub use ether::Echo;
pub use wire::Socket;

use anyhow::{Context, Result, bail};
use ether::Ether;
use futures_channel::mpsc;
use futures_executor::{LocalPool, LocalSpawner};
use futures_util::StreamExt;
use futures_util::task::LocalSpawnExt;
use kubelet::Inward;
use picolet_devcluster::host::{Kubelets, Pki, accept_tls, serve_tls};
use picolet_devcluster::{Cluster, Identity, Options as ClusterOptions};
use picolet_emulator::net::{Conditions, Local, Server};
use picolet_emulator::radio::{AccessPoint, Air, Config as RadioConfig, Cyw43439, Security};
use picolet_emulator::{Board, Config, Stop, Time};
use picolet_platform::Clock;
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;
use wire::{Bell, wire};

/// As what the board sees the API server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// An address at which the API server's port accepts connections and then says nothing.
pub const SILENT: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);
/// The API server's port.
pub const SERVER_PORT: u16 = 6443;
/// The port of time servers.
const TIME_PORT: u16 = 123;
/// The port of a kubelet's API.
const KUBELET_PORT: u16 = 10250;
/// What DHCP gives to the board.
pub const BOARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The network on the air.
pub const SSID: &str = "picolet";
/// Its passphrase.
pub const PASSPHRASE: &str = "correct horse";

/// The bootstrap token that the cluster takes.
pub const TOKEN: &str = "abcdef.0123456789abcdef";

/// The secret of its token, as of a k3s cluster.
pub const K3S_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// 2030-01-01T00:00:00Z: later than any commit, since a node believes no time before the one that it was made of.
const EPOCH: u64 = 1_893_456_000;
/// Emulated time between two looks at the cluster's tasks while bytes flow, and while none do: what a server takes to
/// notice.
const BUSY_SLICE: Duration = Duration::from_micros(500);
const IDLE_SLICE: Duration = Duration::from_millis(5);
/// The most text in a record of TLS (RFC 8446, section 5.1): Go's servers send such ones to whoever takes much.
const LONGEST_RECORD: usize = 1 << 14;
/// For how long after the last byte time goes in small slices.
const BUSY: Duration = Duration::from_millis(50);

/// How long more of an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a test chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of everything that is random: the chip's noise, the network, keys, the cluster.
    pub seed: u64,
    /// Whether a time server answers.
    pub time_server: bool,
    /// How long the certificates are valid that the cluster signs.
    pub certificate_life: Duration,
    /// The board's radio.
    pub radio: RadioConfig,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            time_server: true,
            certificate_life: Duration::from_secs(365 * 24 * 3600),
            radio: RadioConfig::default(),
        }
    }
}

/// A board and its cluster.
pub struct Testbed {
    /// The board. It has no image yet, and no power.
    pub board: Board,
    /// What is behind the access point.
    pub network: Local,
    /// The cluster.
    pub cluster: Cluster<EmulatedClock>,
    /// Its certificates.
    pub pki: Rc<Pki>,
    clock: EmulatedClock,
    /// Seconds by which the time server is ahead of the cluster's clock.
    time_server_offset: i64,
    ether: Ether,
    bell: Bell,
    busy_until: Time,
    pool: LocalPool,
    inward: Inward,
    kubelets: Rc<Kubelets<Inward, EmulatedClock>>,
    happened: Happened,
    /// When each connection came, and after how many cycles awake.
    began: Vec<(Time, u64)>,
    handshakes: Vec<Handshake>,
}

/// A TLS handshake of the board with the API server.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// Whether it went on from an earlier one.
    pub resumed: bool,
    /// Whether the board showed who it is.
    pub certified: bool,
    /// When the TCP connection was there.
    pub began: Time,
    /// How long it took from then on.
    pub took: Duration,
    /// Cycles that the board was awake for in that time, whatever for.
    pub cycles: u64,
}

/// What the cluster's tasks tell, which know no cycles.
#[derive(Clone, Debug, Default)]
struct Happened(Rc<RefCell<Connections>>);

#[derive(Debug, Default)]
struct Connections {
    opened: usize,
    established: Vec<Established>,
}

#[derive(Debug)]
struct Established {
    id: usize,
    resumed: bool,
    certified: bool,
}

impl Happened {
    /// A connection is there; returns its number.
    fn open(&self) -> usize {
        let mut connections = self.0.borrow_mut();
        connections.opened += 1;
        connections.opened - 1
    }

    fn established(&self, id: usize, resumed: bool, certified: bool) {
        self.0.borrow_mut().established.push(Established {
            id,
            resumed,
            certified,
        });
    }
}

impl Testbed {
    /// Puts it together. There is one at a time in a thread, since TLS has one source of randomness there.
    ///
    /// # Errors
    /// When certificates cannot be made.
    pub fn new(options: Options) -> Result<Self> {
        random::install(options.seed);
        let clock = EmulatedClock::new(EPOCH);
        let now = time::OffsetDateTime::from_unix_timestamp(EPOCH.cast_signed())?;
        let pki = Rc::new(Pki::at(now)?);
        let network = Local::new(options.seed);
        network.set_clock(u128::from(EPOCH) * 1_000_000_000);
        let air = Air::new(vec![AccessPoint::new(
            SSID,
            Security::Wpa2(PASSPHRASE.to_owned()),
        )]);
        let (radio, ether) = (options.radio, Ether::default());
        let link = Box::new(ether.cable(network.link(), radio.address));
        let radio = Cyw43439::new(radio, air, link);
        let board = Board::new(Config {
            seed: options.seed,
            radio: Box::new(radio),
            ..Config::default()
        });
        let cluster = Cluster::new(
            clock.clone(),
            ClusterOptions {
                seed: options.seed,
                ca_pem: pki.ca().certificate_pem.clone(),
                tokens: BTreeMap::from([(TOKEN.to_owned(), Identity::bootstrapper("abcdef"))]),
                k3s_token: Some(format!("node:{K3S_SECRET}")),
                certificate_life: options.certificate_life.into(),
                ..ClusterOptions::default()
            },
        );
        cluster.set_signer(pki.clone());
        let bell = Bell::default();
        let inward = Inward {
            network: network.clone(),
            bell: bell.clone(),
        };
        let connector = pki.kubelet_connector(clock.for_tls())?;
        let kubelets = Rc::new(Kubelets::new(inward.clone(), clock.clone(), connector));
        cluster.set_kubelets(kubelets.clone());
        let pool = LocalPool::new();
        let testbed = Self {
            board,
            network,
            ether,
            cluster,
            pki,
            clock,
            time_server_offset: 0,
            bell,
            busy_until: Time::ZERO,
            pool,
            inward,
            kubelets,
            happened: Happened::default(),
            began: Vec::new(),
            handshakes: Vec::new(),
        };
        testbed.set_time_server(options.time_server);
        testbed.serve()?;
        Ok(testbed)
    }

    /// Puts the API server into the network, and the controllers to work.
    fn serve(&self) -> Result<()> {
        let acceptor = self
            .pki
            .acceptor(&[IpAddr::V4(SERVER)], self.clock.for_tls())?
            .with_tickets();
        let (accepted, mut new) = mpsc::unbounded();
        self.network.serve(
            SERVER_PORT,
            Listener {
                bell: self.bell.clone(),
                accepted,
            },
        );
        let spawner = self.pool.spawner();
        let (cluster, happened) = (self.cluster.clone(), self.happened.clone());
        let connections = spawner.clone();
        let accept = async move {
            while let Some(socket) = new.next().await {
                let (cluster, acceptor, happened) = (cluster.clone(), acceptor.clone(), happened.clone());
                spawn(&connections, async move {
                    let id = happened.open();
                    if let Some(mut stream) = accept_tls(&cluster, socket, &acceptor).await {
                        stream.set_fragment(LONGEST_RECORD);
                        let certified = stream.peer_certificate().is_some();
                        happened.established(id, stream.resumed(), certified);
                        serve_tls(&cluster, stream).await;
                    }
                });
            }
        };
        spawn(&spawner, accept);
        let controllers = self.cluster.clone();
        spawn(&spawner, async move { controllers.run_controllers().await });
        Ok(())
    }
}

impl Testbed {
    /// Emulated time since the board got power.
    pub fn now(&self) -> Time {
        self.board.time()
    }

    /// Takes power from the board for so long, by the date, and gives it back. In emulated time that is a moment.
    pub fn switch_off_for(&mut self, duration: Duration) {
        self.clock.put_forward(duration.into());
        self.set_time_server_offset(self.time_server_offset);
        self.board.power_cycle();
    }

    /// Sets whether a time server answers.
    pub fn set_time_server(&self, answers: bool) {
        match answers {
            true => self.network.stop_serving_datagrams(TIME_PORT),
            false => self.network.serve_datagrams(TIME_PORT, |_, _: &[u8], _| None),
        }
    }

    /// Puts the time server `seconds` ahead of the cluster's clock; negative: behind.
    pub fn set_time_server_offset(&mut self, seconds: i64) {
        self.time_server_offset = seconds;
        let epoch = self.clock.put_forward(picolet_platform::Duration::ZERO);
        let answered = epoch.saturating_add_signed(seconds * 1_000_000);
        self.network.set_clock(u128::from(answered) * 1000);
    }

    /// The time by the API server's `Date`, in Unix seconds.
    pub fn server_seconds(&self) -> u64 {
        let skew = self.cluster.faults(|faults| faults.clock_skew());
        let now = self.clock.now().map_or(0, picolet_platform::UnixMicros::seconds);
        now.saturating_add_signed(skew)
    }

    /// Lets emulated time go on for so long.
    ///
    /// # Errors
    /// When the board stops.
    pub fn run_for(&mut self, duration: Duration) -> Result<()> {
        self.until(duration, |_| false).map(|_| ())
    }

    /// Lets time go on until `done`, at most for `limit`. Returns how long that took, `None` when it was not.
    ///
    /// # Errors
    /// When the board stops.
    pub fn until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<Option<Duration>> {
        let start = self.now();
        let end = start + limit;
        loop {
            self.pool.run_until_stalled();
            self.note();
            if done(self) {
                return Ok(Some(self.now().since(start)));
            }
            if self.now() >= end {
                return Ok(None);
            }
            self.slice(end)?;
        }
    }

    /// Lets time go on until `future` is done, at most for `limit`.
    ///
    /// # Errors
    /// When the board stops, or the future is not done by then.
    pub fn block_on<T: 'static>(
        &mut self,
        limit: Duration,
        future: impl Future<Output = T> + 'static,
    ) -> Result<T> {
        self.block_on_and(limit, future, |_| {})
    }

    /// As [`Self::block_on`], with `meanwhile` done between two slices of time.
    fn block_on_and<T: 'static>(
        &mut self,
        limit: Duration,
        future: impl Future<Output = T> + 'static,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> Result<T> {
        let result = Rc::new(RefCell::new(None));
        let given = result.clone();
        spawn(&self.pool.spawner(), async move {
            let done = future.await;
            given.replace(Some(done));
        });
        self.until(limit, |testbed| {
            meanwhile(testbed);
            result.borrow().is_some()
        })?;
        result
            .take()
            .with_context(|| format!("nothing came of it in {limit:?} of emulated time"))
    }

    /// How many connections the board has opened to the API server.
    pub fn connections(&self) -> usize {
        self.happened.0.borrow().opened
    }

    /// The handshakes of the board with the API server so far.
    pub fn handshakes(&self) -> &[Handshake] {
        &self.handshakes
    }

    /// From now on the way between access point and network is as bad as that.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.ether.set(conditions);
    }

    /// Sends an echo request to the board.
    pub fn ping(&mut self) {
        self.ether.ping(self.now());
    }

    /// The echo requests so far.
    pub fn echoes(&self) -> Vec<Echo> {
        self.ether.echoes()
    }

    /// Stamps what has happened with the board's time and cycles.
    fn note(&mut self) {
        let (now, awake) = (self.now(), self.awake());
        let mut happened = self.happened.0.borrow_mut();
        self.began.resize(happened.opened, (now, awake));
        for established in happened.established.drain(..) {
            let (began, before) = self.began[established.id];
            self.handshakes.push(Handshake {
                resumed: established.resumed,
                certified: established.certified,
                began,
                took: now.since(began),
                cycles: awake - before,
            });
        }
    }

    /// Cycles in which a core ran, since power-on.
    pub fn awake(&self) -> u64 {
        let figures = self.board.figures();
        figures.cycles - figures.idle_cycles
    }

    /// One slice: as small as it must be for an answer not to be late.
    fn slice(&mut self, end: Time) -> Result<()> {
        let now = self.now();
        if self.bell.take() {
            self.busy_until = now + BUSY;
            self.network.touch();
        }
        let length = if now < self.busy_until {
            BUSY_SLICE
        } else {
            IDLE_SLICE
        };
        let mut until = (now + length).min(end);
        if let Some(next) = self.clock.next() {
            let next = Time::from_micros(next.as_micros());
            until = until.min(next.max(Time::from_nanos(now.as_nanos() + 1)));
        }
        match self.board.run_until(until) {
            Stop::Reached => {}
            stop => bail!("the board stopped at {:?}: {stop}", self.now().since(Time::ZERO)),
        }
        self.clock.advance(self.now());
        Ok(())
    }

    /// Has a task go on beside the cluster's until it is done or the testbed is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        spawn(&self.pool.spawner(), task);
    }

    /// Emulated time, for tasks.
    pub fn clock(&self) -> EmulatedClock {
        self.clock.clone()
    }

    /// The requests for certificates of the node `name`, of one purpose: `client` or `serving`.
    ///
    /// # Errors
    /// Never: the cluster knows them.
    pub fn certificate_requests(&self, name: &str, purpose: &str) -> Result<Vec<String>> {
        let all = self.cluster.list("certificatesigningrequests", "", "", "")?;
        let prefix = format!("{name}-{purpose}-");
        let names = all.iter().filter_map(|one| one["metadata"]["name"].as_str());
        Ok(names
            .filter(|name| name.starts_with(&prefix))
            .map(str::to_owned)
            .collect())
    }

    /// Approves what serving certificates the node `name` has asked for. Returns how many there are.
    ///
    /// # Errors
    /// Never: the cluster knows them.
    pub fn approve_serving(&self, name: &str) -> Result<usize> {
        let requests = self.certificate_requests(name, "serving")?;
        for request in &requests {
            let patch = json!({"status": {"conditions": [
                {"type": "Approved", "status": "True", "reason": "Test", "message": "it is the board's own"}]}});
            let resource = "certificatesigningrequests/approval";
            self.cluster.patch(resource, "", request, &patch)?;
        }
        Ok(requests.len())
    }

    /// Whether the node `name` is Ready by what the cluster knows.
    pub fn is_ready(&self, name: &str) -> bool {
        let node = self.cluster.get("nodes", "", name).unwrap_or_default();
        let conditions = node["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }
}

fn spawn(spawner: &LocalSpawner, task: impl Future<Output = ()> + 'static) {
    spawner
        .spawn_local(task)
        .expect("the pool lives as long as its tasks");
}

/// A connection on which the server says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silence;

impl picolet_emulator::net::Connection for Silence {
    fn poll(&mut self, _: &mut picolet_emulator::net::Stream<'_>, _: Time) -> Option<Time> {
        None
    }
}

/// Takes what the board connects to the API server.
struct Listener {
    bell: Bell,
    accepted: mpsc::UnboundedSender<Socket>,
}

impl Server for Listener {
    fn accept(&mut self, _: SocketAddrV4, to: SocketAddrV4) -> Box<dyn picolet_emulator::net::Connection> {
        if *to.ip() == SILENT {
            return Box::new(Silence);
        }
        let (plug, socket) = wire(self.bell.clone());
        // A cluster that is gone lets go of the other end, and the board sees a connection that is closed.
        let _ = self.accepted.unbounded_send(socket);
        Box::new(plug)
    }
}
