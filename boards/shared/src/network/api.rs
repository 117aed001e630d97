//! The node's connections: sockets below, `picolet-tls` above.

use super::socket::{Connection, Direction, SEND, resolve};
use super::{address, condition};
use crate::{clock, log};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{pending, poll_fn};
use core::net::IpAddr;
use core::task::Poll;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_sync::waitqueue::MultiWakerRegistration;
use embassy_time::{Duration, TimeoutError, Timer, with_timeout};
use picolet_kube::Address;
use picolet_kubelet::Limits;
use picolet_platform::{
    AcceptError, Accepted, Addresses, DialError, Dialled, Endpoint, Identities, Level, Network,
    NetworkFigures, Purpose, Server, Transport, Undated,
};
use picolet_store::settings::Settings;
use picolet_tls::{
    Acceptor, Clients, Connections, Connector, Identity, Keyholder, Keyrings, OwnIdentities, P256Key,
    RECORD_OVERHEAD, SetupError, Stream,
};

/// How long the network is waited for, then the time servers before the API server is asked for the time, and how often
/// either is looked at.
const NETWORK: Duration = Duration::from_secs(8);
const TIME_SERVERS: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(20);
/// Tasks that can wait for a certificate to serve with; more would wake each other.
const WORKERS: usize = LIMITS.connections + 1;

/// The kubelet's port, and the read-only one of lab mode.
pub(crate) const PORT: u16 = 10250;
const READ_ONLY_PORT: u16 = 10255;
/// The longest record that a client may send in a handshake: a ClientHello of Go has 1500 bytes, a chain of three certificates
/// with RSA keys of 4096 bits 5,500.
const HANDSHAKE_RECORD: usize = 6144;
/// What callers of the kubelet API may use up on a board.
pub(crate) const LIMITS: Limits = Limits {
    connections: 2,
    // A bearer token of 4 KiB, and 2 KiB of other fields.
    head_bytes: 6144,
    body_bytes: 1024,
    ..Limits::DEFAULT
};
/// The longest record that a client may send afterwards: many put a whole request into one.
const REQUEST_RECORD: usize = LIMITS.head_bytes + LIMITS.body_bytes + RECORD_OVERHEAD;

/// How the node reaches and is reached.
pub(crate) struct Api {
    settings: Settings<'static>,
    connections: Connections,
    /// Shows the settings' certificate, or the one that the node requested.
    acceptor: RefCell<Option<Acceptor>>,
    /// Wakes the workers when there is an acceptor, so that the port is open once the node reports its certificate.
    opened: RefCell<MultiWakerRegistration<WORKERS>>,
    keyrings: Keyrings,
    /// One handshake at a time: two would take twice the memory and come no sooner. For either direction one, so that
    /// a caller who dawdles does not keep us from the API server.
    dialling: Mutex<NoopRawMutex, ()>,
    accepting: Mutex<NoopRawMutex, ()>,
    /// Held by the worker that listens on the read-only port.
    read_only: Mutex<NoopRawMutex, ()>,
}

/// An identity of DER.
fn identity<'a>(
    chain: impl Iterator<Item = &'a [u8]>,
    key: Option<&[u8]>,
) -> Result<Option<Identity>, SetupError> {
    let Some(key) = key else { return Ok(None) };
    let chain = chain.map(<[u8]>::to_vec).collect();
    Identity::new(chain, &P256Key::from_der(key)?).map(Some)
}

fn authorities<'a>(all: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    all.map(<[u8]>::to_vec).collect()
}

/// What calls the servers, if one of them speaks TLS.
fn connector(
    settings: Settings<'static>,
    identity: Option<&Identity>,
) -> Result<Option<Connector>, SetupError> {
    if !settings.servers().any(|server| server.tls) {
        return Ok(None);
    }
    let roots = authorities(settings.certificate_authorities());
    Connector::new(&roots, identity, clock::unix_seconds).map(Some)
}

/// What is called at the kubelet's port.
fn acceptor(settings: Settings<'static>, identity: &Identity) -> Result<Acceptor, SetupError> {
    let clients = authorities(settings.client_authorities());
    let acceptor = Acceptor::new(identity, Clients::Optional(&clients), clock::unix_seconds)?;
    Ok(acceptor.with_record_limits(HANDSHAKE_RECORD, REQUEST_RECORD))
}

impl Api {
    /// The connections that the settings ask for.
    pub(crate) fn new(settings: Settings<'static>) -> Result<Self, SetupError> {
        let client = identity(settings.client_certificate(), settings.client_key())?;
        let serving = identity(settings.serving_certificate(), settings.serving_key())?;
        let connector = connector(settings, client.as_ref())?;
        let acceptor = serving
            .map(|identity| acceptor(settings, &identity))
            .transpose()?;
        Ok(Self {
            settings,
            connections: Connections::new(connector),
            acceptor: RefCell::new(acceptor),
            opened: RefCell::new(MultiWakerRegistration::new()),
            keyrings: Keyrings::default(),
            dialling: Mutex::new(()),
            accepting: Mutex::new(()),
            read_only: Mutex::new(()),
        })
    }
}

impl Transport for Api {
    type Socket = Connection;
    type Elapsed = TimeoutError;

    const FRAGMENT_BYTES: usize = SEND - RECORD_OVERHEAD;

    fn servers(&self) -> u8 {
        self.settings.servers().count() as u8
    }

    fn server(&self, index: u8) -> Option<Server<'_>> {
        self.settings.servers().nth(usize::from(index))
    }

    async fn resolve(&self, server: Server<'_>) -> Addresses {
        resolve(server.host).await.unwrap_or_default()
    }

    async fn connect(&self, server: Server<'_>, address: IpAddr) -> Result<Connection, DialError> {
        let mut socket = Connection::free(Direction::Outbound).await;
        let connected = socket.connect(address, server.port).await;
        connected.map(|()| socket).map_err(|_| DialError::Connect)
    }

    fn with_timeout<F: Future>(
        &self,
        limit: picolet_platform::Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, TimeoutError>> {
        with_timeout(Duration::from_micros(limit.as_micros()), future)
    }

    /// The network's executor closes it when it is dropped, and sends what waits first.
    fn hang_up(&self, _: Connection) {}

    fn log_server_failure(&self, server: Server<'_>, error: &dyn fmt::Display) {
        log::line(
            Level::Warn,
            format_args!("TLS with {}: {error}", server.authority),
        );
    }

    fn log_client_failure(&self, peer: IpAddr, error: &dyn fmt::Display) {
        log::line(Level::Debug, format_args!("TLS with {}: {error}", Address(peer)));
    }
}

/// Waits until there is an address.
async fn connected() -> Result<(), DialError> {
    let connected = async {
        while address().is_none() {
            Timer::after(LOOK).await;
        }
    };
    with_timeout(NETWORK, connected)
        .await
        .map_err(|_| DialError::NoNetwork)
}

/// Waits until a time server has answered.
async fn dated() {
    while clock::now().is_none() {
        Timer::after(LOOK).await;
    }
}

impl Keyholder for Api {
    fn keyrings(&self) -> &Keyrings {
        &self.keyrings
    }

    fn show(&self, purpose: Purpose, identity: Option<Identity>) -> Result<(), SetupError> {
        match purpose {
            Purpose::Client => {
                let connector = connector(self.settings, identity.as_ref())?;
                self.connections.set_connector(connector);
            }
            Purpose::Serving => {
                if let Some(identity) = identity {
                    let acceptor = acceptor(self.settings, &identity)?;
                    self.acceptor.replace(Some(acceptor));
                    self.opened.borrow_mut().wake();
                }
            }
        }
        Ok(())
    }
}

impl Network for Api {
    type Outbound = Stream<Connection>;
    type Inbound = Stream<Connection>;

    fn identities(&self) -> impl Identities {
        OwnIdentities(self)
    }

    async fn dial(&self) -> Result<Dialled<Stream<Connection>>, DialError> {
        let _one = self.dialling.lock().await;
        connected().await?;
        self.connections.dial(self).await
    }

    async fn dial_undated(&self) -> Result<Undated<Stream<Connection>>, DialError> {
        let _one = self.dialling.lock().await;
        connected().await?;
        if clock::now().is_none() && with_timeout(TIME_SERVERS, dated()).await.is_ok() {
            return Err(DialError::Dated);
        }
        self.connections.dial_undated(self).await
    }

    fn pass_over(&self, endpoint: Endpoint) {
        self.connections.pass_over(endpoint);
    }

    async fn accept(&self) -> Result<Accepted<Stream<Connection>>, AcceptError> {
        let listen = async |port| {
            let mut socket = Connection::free(Direction::Inbound).await;
            let peer = socket.accept(port).await;
            (socket, peer)
        };
        let secure = async {
            poll_fn(|context| match &*self.acceptor.borrow() {
                Some(_) => Poll::Ready(()),
                None => {
                    self.opened.borrow_mut().register(context.waker());
                    Poll::Pending
                }
            })
            .await;
            listen(PORT).await
        };
        let read_only = async {
            match self.settings.lab_mode() {
                // One listener is enough, of however many workers.
                true => {
                    let _one = self.read_only.lock().await;
                    listen(READ_ONLY_PORT).await
                }
                false => pending().await,
            }
        };
        let (socket, peer) = match select(secure, read_only).await {
            Either::First(accepted) => accepted,
            Either::Second((socket, peer)) => {
                let peer = peer.ok_or(AcceptError::Handshake)?;
                return Ok(Connections::accept_read_only(socket, peer));
            }
        };
        let peer = peer.ok_or(AcceptError::Handshake)?;
        let acceptor = self.acceptor.borrow().clone();
        let acceptor = acceptor.ok_or(AcceptError::NotListening)?;
        let _one = self.accepting.lock().await;
        self.connections.accept(self, &acceptor, socket, peer).await
    }

    fn with_host<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it(
            self.connections
                .server(self)
                .map_or("", |server| server.authority),
        )
    }

    fn address(&self) -> Option<IpAddr> {
        let own = address()?;
        Some(self.settings.node_ip().map_or(own, IpAddr::V4))
    }

    fn rssi_dbm(&self) -> Option<i8> {
        condition().rssi_dbm
    }

    fn figures(&self) -> NetworkFigures {
        self.connections.figures()
    }
}
