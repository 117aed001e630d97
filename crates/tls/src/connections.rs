//! The connections of one node, to its API servers and from the clients of its kubelet API, the same on every machine.

use crate::acceptor::Acceptor;
use crate::connector::Connector;
use crate::stream::TlsStream;
use core::cell::{Cell, RefCell};
use core::net::IpAddr;
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use picolet_platform::{
    AcceptError, Accepted, Addresses, Credential, DialError, Dialled, Dialler, Duration, Endpoint, Endpoints,
    Lifetime, NetworkFigures, Server, Transport, Undated,
};

/// Limit for resolving a name.
const RESOLVE: Duration = Duration::from_secs(5);
/// Limit for a TCP connection to an address: a lost SYN is sent again after a second (RFC 6298).
const CONNECT: Duration = Duration::from_secs(3);
/// Limit for a connection to an address with its handshake.
const DIAL: Duration = Duration::from_secs(5);
/// Limit for the handshake of a client.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A stream with or without TLS.
pub enum Stream<S> {
    /// With TLS.
    Tls(TlsStream<S>),
    /// Without, in lab mode.
    Plain(S),
}

impl<S: Read + Write> Stream<S> {
    /// Keeps no more than it must: no certificate of the peer, which was read by now, and no record that is larger than what the
    /// socket takes at once.
    fn secure<T: Transport>(mut stream: TlsStream<S>) -> Self {
        drop(stream.take_peer_certificate());
        stream.set_fragment(T::FRAGMENT_BYTES);
        Self::Tls(stream)
    }
}

impl<S> ErrorType for Stream<S> {
    type Error = ErrorKind;
}

impl<S: Read + Write> Read for Stream<S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.read(buffer).await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.read(buffer).await.map_err(|error| error.kind()),
        }
    }
}

impl<S: Read + Write> Write for Stream<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.write(bytes).await.map_err(|error| error.kind()),
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match self {
            Self::Tls(stream) => stream.flush().await.map_err(|error| error.kind()),
            Self::Plain(stream) => stream.flush().await.map_err(|error| error.kind()),
        }
    }
}

/// Which server is in use, with which client certificate, and what was counted.
pub struct Connections {
    endpoints: Endpoints,
    connector: RefCell<Option<Connector>>,
    figures: Cell<NetworkFigures>,
}

impl Connections {
    /// Connections by `connector`, which may be missing if no server speaks TLS.
    pub fn new(connector: Option<Connector>) -> Self {
        Self {
            endpoints: Endpoints::default(),
            connector: RefCell::new(connector),
            figures: Cell::default(),
        }
    }

    /// Dials with this connector from now on. Open connections stay.
    pub fn set_connector(&self, connector: Option<Connector>) {
        self.connector.replace(connector);
    }

    /// The server that was connected to last.
    pub fn server<'a, T: Transport>(&self, transport: &'a T) -> Option<Server<'a>> {
        transport.server(self.endpoints.used().server)
    }

    /// [`Network::figures`](picolet_platform::Network::figures).
    pub fn figures(&self) -> NetworkFigures {
        self.figures.get()
    }

    /// [`Network::pass_over`](picolet_platform::Network::pass_over).
    pub fn pass_over(&self, endpoint: Endpoint) {
        self.endpoints.pass_over(endpoint);
    }

    /// [`Network::dial`](picolet_platform::Network::dial).
    ///
    /// # Errors
    /// Of the last attempt.
    pub async fn dial<T: Transport>(&self, transport: &T) -> Result<Dialled<Stream<T::Socket>>, DialError> {
        let (endpoint, (stream, validity)) = self.endpoints.dial(&self.attempts(transport, true)).await?;
        Ok(Dialled {
            stream,
            endpoint,
            validity,
        })
    }

    /// [`Network::dial_undated`](picolet_platform::Network::dial_undated), once it is certain that nothing else knows the time.
    ///
    /// # Errors
    /// Of the last attempt.
    pub async fn dial_undated<T: Transport>(
        &self,
        transport: &T,
    ) -> Result<Undated<Stream<T::Socket>>, DialError> {
        let attempts = self.attempts(transport, false);
        let (stream, validity) = self.endpoints.dial_undated(&attempts).await?;
        Ok(Undated { stream, validity })
    }

    /// The connection of a client from the read-only port of lab mode.
    pub fn accept_read_only<S>(socket: S, peer: IpAddr) -> Accepted<Stream<S>> {
        Accepted {
            stream: Stream::Plain(socket),
            credential: Credential::ReadOnlyPort,
            peer,
        }
    }

    /// Shakes hands with a client that has connected to the kubelet port.
    ///
    /// # Errors
    /// The handshake failed or took too long.
    pub async fn accept<T: Transport>(
        &self,
        transport: &T,
        acceptor: &Acceptor,
        mut socket: T::Socket,
        peer: IpAddr,
    ) -> Result<Accepted<Stream<T::Socket>>, AcceptError> {
        match transport
            .with_timeout(HANDSHAKE, acceptor.shake(&mut socket))
            .await
        {
            Ok(Ok(handshake)) => {
                let stream = handshake.over(socket);
                self.count(|figures| figures.handshakes_server += 1);
                Ok(Accepted {
                    credential: stream.credential(),
                    stream: Stream::secure::<T>(stream),
                    peer,
                })
            }
            failed => {
                self.count(|figures| figures.handshakes_failed += 1);
                if let Ok(Err(error)) = failed {
                    transport.log_client_failure(peer, &error);
                    transport.hang_up(socket);
                }
                Err(AcceptError::Handshake)
            }
        }
    }

    fn attempts<'a, T: Transport>(&'a self, transport: &'a T, dated: bool) -> Attempts<'a, T> {
        Attempts {
            connections: self,
            transport,
            dated,
        }
    }

    fn count(&self, change: impl Fn(&mut NetworkFigures)) {
        let mut figures = self.figures.get();
        change(&mut figures);
        self.figures.set(figures);
    }

    /// What is needed for TLS with that server, if it speaks TLS.
    fn connector(&self, server: Server<'_>) -> Option<Connector> {
        self.connector.borrow().clone().filter(|_| server.tls)
    }
}

/// The attempts of one dial.
struct Attempts<'a, T> {
    connections: &'a Connections,
    transport: &'a T,
    /// Without, no certificate is shown, and the dates of the server's certificates do not count.
    dated: bool,
}

impl<T: Transport> Attempts<'_, T> {
    async fn connect(
        &self,
        server: Server<'_>,
        address: IpAddr,
    ) -> Result<(Stream<T::Socket>, Lifetime), DialError> {
        let connected = self.transport.connect(server, address);
        let mut socket = match self.transport.with_timeout(CONNECT, connected).await {
            Ok(connected) => connected?,
            Err(_) => return Err(DialError::Connect),
        };
        let Some(connector) = self.connections.connector(server) else {
            return Ok((Stream::Plain(socket), Lifetime::UNVERIFIED));
        };
        let handshake = match self.dated {
            true => connector
                .shake(server.host, &mut socket)
                .await
                .map(|handshake| (handshake, None)),
            false => connector
                .shake_undated(server.host, &mut socket)
                .await
                .map(|(handshake, validity)| (handshake, Some(validity))),
        };
        let (handshake, validity) = match handshake {
            Ok(shaken) => shaken,
            Err(error) => {
                self.connections.count(|figures| figures.handshakes_failed += 1);
                self.transport.log_server_failure(server, &error);
                self.transport.hang_up(socket);
                return Err(DialError::Tls);
            }
        };
        let stream = handshake.over(socket);
        let resumed = stream.resumed();
        self.connections.count(|figures| match resumed {
            true => figures.handshakes_client_resumed += 1,
            false => figures.handshakes_client_full += 1,
        });
        let validity = validity.or_else(|| connector.validity()).ok_or(DialError::Tls)?;
        Ok((Stream::secure::<T>(stream), validity.into()))
    }
}

impl<T: Transport> Dialler for Attempts<'_, T> {
    type Connection = (Stream<T::Socket>, Lifetime);

    fn servers(&self) -> u8 {
        self.transport.servers()
    }

    async fn resolve(&self, server: u8) -> Result<Addresses, DialError> {
        let server = self.transport.server(server).ok_or(DialError::Name)?;
        let addresses = self
            .transport
            .with_timeout(RESOLVE, self.transport.resolve(server))
            .await;
        addresses
            .ok()
            .filter(|addresses| !addresses.is_empty())
            .ok_or(DialError::Name)
    }

    async fn connect(&self, server: u8, address: IpAddr) -> Result<Self::Connection, DialError> {
        let server = self.transport.server(server).ok_or(DialError::Name)?;
        let connection = self.connect(server, address);
        let connected = self.transport.with_timeout(DIAL, connection).await;
        connected.unwrap_or(Err(DialError::Timeout))
    }
}
