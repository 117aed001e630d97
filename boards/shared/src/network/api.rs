//! The node's connections: sockets below, `picolet-tls` above.

use super::socket::{Connection, Direction, SEND, resolve};
use super::{address, condition};
use crate::{clock, log};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::pending;
use core::net::IpAddr;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use picolet_kube::Address;
use picolet_kubelet::Limits;
use picolet_platform::{
    AcceptError, Accepted, Addresses, Credential, DialError, Dialled, Dialler, Endpoint, Endpoints,
    Identities, Level, Lifetime, Network, NetworkFigures, Purpose, Undated,
};
use picolet_store::settings::{Server, Settings};
use picolet_tls::{
    Acceptor, Clients, Connector, Identity, Keyholder, Keyrings, OwnIdentities, P256Key, RECORD_OVERHEAD,
    SetupError, TlsError, TlsStream,
};

/// How long an address of a server may take to answer: a lost SYN is sent again after a second (RFC 6298).
const CONNECT: Duration = Duration::from_secs(3);
/// How long it may take with the handshake, and how long a name may take to resolve.
const DIAL: Duration = Duration::from_secs(5);
/// How long a caller may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long the network is waited for, then the time servers before the API server is asked for the time, and how often
/// either is looked at.
const NETWORK: Duration = Duration::from_secs(8);
const TIME_SERVERS: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(20);
/// How often it is looked whether there is a certificate to show to callers.
const CLOSED: Duration = Duration::from_secs(1);

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

/// A stream with or without TLS.
pub(crate) enum Stream {
    Tls(TlsStream<Connection>),
    Plain(Connection),
}

impl Stream {
    /// Keeps no more than it must: no certificate of the peer, who is known by now, and no record that is larger than what the
    /// socket takes at once.
    fn secure(mut stream: TlsStream<Connection>) -> Self {
        drop(stream.take_peer_certificate());
        stream.set_fragment(SEND - RECORD_OVERHEAD);
        Self::Tls(stream)
    }
}

impl ErrorType for Stream {
    type Error = ErrorKind;
}

impl Read for Stream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.read(buffer).await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.read(buffer).await,
        }
    }
}

impl Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.write(bytes).await,
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match self {
            Self::Tls(stream) => stream.flush().await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.flush().await,
        }
    }
}

/// How the node reaches and is reached.
pub(crate) struct Api {
    settings: Settings<'static>,
    /// Which of the servers is in use, and at which address.
    endpoints: Endpoints,
    /// What counts for connections from now on: with the settings' certificates, or those that the node got for itself.
    connector: RefCell<Option<Connector>>,
    acceptor: RefCell<Option<Acceptor>>,
    keyrings: Keyrings,
    /// One handshake at a time: two would take twice the memory and come no sooner. For either direction one, so that
    /// a caller who dawdles does not keep us from the API server.
    dialling: Mutex<NoopRawMutex, ()>,
    accepting: Mutex<NoopRawMutex, ()>,
    /// Held by the worker that listens on the read-only port.
    read_only: Mutex<NoopRawMutex, ()>,
    figures: Cell<NetworkFigures>,
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
            endpoints: Endpoints::default(),
            connector: RefCell::new(connector),
            acceptor: RefCell::new(acceptor),
            keyrings: Keyrings::default(),
            dialling: Mutex::new(()),
            accepting: Mutex::new(()),
            read_only: Mutex::new(()),
            figures: Cell::default(),
        })
    }

    fn count(&self, change: impl Fn(&mut NetworkFigures)) {
        let mut figures = self.figures.get();
        change(&mut figures);
        self.figures.set(figures);
    }

    /// What is needed for TLS with that server, if it speaks TLS.
    fn connector(&self, server: Server<'static>) -> Option<Connector> {
        self.connector.borrow().clone().filter(|_| server.tls)
    }

    fn failed(&self, server: Server<'static>, error: TlsError) -> DialError {
        self.count(|figures| figures.handshakes_failed += 1);
        log::line(
            Level::Warn,
            format_args!("TLS with {}: {error}", server.authority),
        );
        DialError::Tls
    }

    /// Connects to an address of a server. Without `dated` nothing is shown, and the dates of the server's certificates do not
    /// count.
    async fn connect(
        &self,
        server: Server<'static>,
        address: IpAddr,
        dated: bool,
    ) -> Result<(Stream, Lifetime), DialError> {
        let mut socket = Connection::free(Direction::Outbound).await;
        match with_timeout(CONNECT, socket.connect(address, server.port)).await {
            Ok(Ok(())) => {}
            _ => return Err(DialError::Connect),
        }
        let Some(connector) = self.connector(server) else {
            return Ok((Stream::Plain(socket), Lifetime::UNVERIFIED));
        };
        let handshake = match dated {
            true => connector
                .shake(server.host, &mut socket)
                .await
                .map(|handshake| (handshake, None)),
            false => connector
                .shake_undated(server.host, &mut socket)
                .await
                .map(|(handshake, validity)| (handshake, Some(validity))),
        };
        let (handshake, validity) = handshake.map_err(|error| self.failed(server, error))?;
        let stream = handshake.over(socket);
        let resumed = stream.resumed();
        self.count(|figures| match resumed {
            true => figures.handshakes_client_resumed += 1,
            false => figures.handshakes_client_full += 1,
        });
        let validity = validity.or_else(|| connector.validity()).ok_or(DialError::Tls)?;
        Ok((Stream::secure(stream), validity.into()))
    }

    fn attempts(&self, dated: bool) -> Attempts<'_> {
        Attempts { api: self, dated }
    }

    fn server(&self, index: u8) -> Option<Server<'static>> {
        self.settings.servers().nth(usize::from(index))
    }
}

/// The attempts of one dial.
struct Attempts<'a> {
    api: &'a Api,
    dated: bool,
}

impl Dialler for Attempts<'_> {
    type Connection = (Stream, Lifetime);

    fn servers(&self) -> u8 {
        self.api.settings.servers().count() as u8
    }

    async fn resolve(&self, server: u8) -> Result<Addresses, DialError> {
        let server = self.api.server(server).ok_or(DialError::Name)?;
        with_timeout(DIAL, resolve(server.host))
            .await
            .ok()
            .flatten()
            .ok_or(DialError::Name)
    }

    async fn connect(&self, server: u8, address: IpAddr) -> Result<Self::Connection, DialError> {
        let server = self.api.server(server).ok_or(DialError::Name)?;
        with_timeout(DIAL, self.api.connect(server, address, self.dated))
            .await
            .unwrap_or(Err(DialError::Timeout))
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
                self.connector.replace(connector);
            }
            Purpose::Serving => {
                if let Some(identity) = identity {
                    let acceptor = acceptor(self.settings, &identity)?;
                    self.acceptor.replace(Some(acceptor));
                }
            }
        }
        Ok(())
    }
}

impl Network for Api {
    type Outbound = Stream;
    type Inbound = Stream;

    fn identities(&self) -> impl Identities {
        OwnIdentities(self)
    }

    async fn dial(&self) -> Result<Dialled<Stream>, DialError> {
        let _one = self.dialling.lock().await;
        connected().await?;
        let (endpoint, (stream, validity)) = self.endpoints.dial(&self.attempts(true)).await?;
        Ok(Dialled {
            stream,
            endpoint,
            validity,
        })
    }

    async fn dial_undated(&self) -> Result<Undated<Stream>, DialError> {
        let _one = self.dialling.lock().await;
        connected().await?;
        if clock::now().is_none() && with_timeout(TIME_SERVERS, dated()).await.is_ok() {
            return Err(DialError::Dated);
        }
        let (stream, validity) = self.endpoints.dial_undated(&self.attempts(false)).await?;
        Ok(Undated { stream, validity })
    }

    fn pass_over(&self, endpoint: Endpoint) {
        self.endpoints.pass_over(endpoint);
    }

    async fn accept(&self) -> Result<Accepted<Stream>, AcceptError> {
        let listen = async |port| {
            let mut socket = Connection::free(Direction::Inbound).await;
            let peer = socket.accept(port).await;
            (socket, peer)
        };
        let secure = async {
            while self.acceptor.borrow().is_none() {
                Timer::after(CLOSED).await;
            }
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
                return Ok(Accepted {
                    stream: Stream::Plain(socket),
                    credential: Credential::ReadOnlyPort,
                    peer: peer.ok_or(AcceptError::Handshake)?,
                });
            }
        };
        let peer = peer.ok_or(AcceptError::Handshake)?;
        let acceptor = self.acceptor.borrow().clone();
        let acceptor = acceptor.ok_or(AcceptError::NotListening)?;
        let _one = self.accepting.lock().await;
        match with_timeout(HANDSHAKE, acceptor.accept(socket)).await {
            Ok(Ok(stream)) => {
                self.count(|figures| figures.handshakes_server += 1);
                let credential = stream.credential();
                Ok(Accepted {
                    stream: Stream::secure(stream),
                    credential,
                    peer,
                })
            }
            failed => {
                self.count(|figures| figures.handshakes_failed += 1);
                if let Ok(Err(error)) = failed {
                    log::line(Level::Debug, format_args!("TLS with {}: {error}", Address(peer)));
                }
                Err(AcceptError::Handshake)
            }
        }
    }

    fn with_host<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        let server = self.server(self.endpoints.used().server);
        use_it(server.map_or("", |server| server.authority))
    }

    fn address(&self) -> Option<IpAddr> {
        let own = address()?;
        Some(self.settings.node_ip().map_or(own, IpAddr::V4))
    }

    fn rssi_dbm(&self) -> Option<i8> {
        condition().rssi_dbm
    }

    fn figures(&self) -> NetworkFigures {
        self.figures.get()
    }
}
