//! The agent's connections: tokio's sockets below, `picolet-tls` above.

mod inbound;
mod outbound;

use crate::clock::WallClock;
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};
use picolet_platform::{
    AcceptError, Accepted, Addresses, Credential, DialError, Dialled, Dialler, Endpoint, Endpoints,
    Identities, Lifetime, Network, NetworkFigures, Purpose, Undated,
};
use picolet_tls::{Connector, Identity, Keyholder, Keyrings, OwnIdentities, SetupError, TlsError, TlsStream};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

pub(crate) use inbound::Inbound;
pub(crate) use outbound::Outbound;

/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(5);
/// How long an address of a server may take to answer: a lost SYN is sent again after a second (RFC 6298).
const CONNECT: Duration = Duration::from_secs(3);
/// How long it may take with the handshake.
const DIAL: Duration = Duration::from_secs(5);
/// How long a caller may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a peer with whom TLS failed is listened to, and how much of what it still says, so that it hears why.
const FAREWELL: Duration = Duration::from_millis(500);
const FAREWELL_BYTES: usize = 64 * 1024;

/// An API server as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As a `Host` header has it.
    pub(crate) authority: String,
}

impl Server {
    /// Reads `https://host:port`. `http://` is for lab mode only.
    pub(crate) fn parse(url: &str, lab_mode: bool) -> anyhow::Result<Self> {
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) if lab_mode => (false, rest),
            (_, Some(_)) => {
                anyhow::bail!("--server {url}: http:// sends everything in the clear; --lab-mode allows it")
            }
            _ => anyhow::bail!("--server {url}: write it as https://HOST:PORT"),
        };
        let authority = rest.trim_end_matches('/');
        let malformed = || anyhow::anyhow!("--server {url}: write it as https://HOST:PORT, without a path");
        if authority.is_empty() || authority.contains(['/', '@', '?', ' ']) {
            return Err(malformed());
        }
        let bracketed = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (host, port) = match bracketed {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => authority
                .split_once(':')
                .map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| malformed())?,
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
        })
    }
}

/// A stream with or without TLS.
pub(crate) enum Stream {
    Tls(TlsStream<FromTokio<TcpStream>>),
    Plain(FromTokio<TcpStream>),
}

impl ErrorType for Stream {
    type Error = ErrorKind;
}

impl Read for Stream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.read(buffer).await.map_err(|error| Error::kind(&error)),
            Self::Plain(stream) => stream.read(buffer).await.map_err(|error| Error::kind(&error)),
        }
    }
}

impl Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        match self {
            Self::Tls(stream) => stream.write(bytes).await.map_err(|error| Error::kind(&error)),
            Self::Plain(stream) => stream.write(bytes).await.map_err(|error| Error::kind(&error)),
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        match self {
            Self::Tls(stream) => stream.flush().await.map_err(|error| Error::kind(&error)),
            Self::Plain(stream) => stream.flush().await.map_err(|error| Error::kind(&error)),
        }
    }
}

/// How one node reaches and is reached.
pub(crate) struct Tokio {
    node: String,
    servers: Vec<Server>,
    /// Which of them is in use, and at which address.
    endpoints: Endpoints,
    connector: RefCell<Option<Connector>>,
    /// What the connector is made of.
    authorities: Vec<Vec<u8>>,
    clock: WallClock,
    /// What the node got by itself.
    keyrings: Keyrings,
    inbound: Option<Inbound>,
    generation: Rc<outbound::Generation>,
    address: IpAddr,
    figures: Cell<NetworkFigures>,
}

impl Tokio {
    /// The network of the node of that name, with `address` as the one that it reports.
    pub(crate) fn new(
        node: &str,
        servers: Vec<Server>,
        authorities: &[Vec<u8>],
        identity: Option<&Identity>,
        clock: WallClock,
        inbound: Option<Inbound>,
        address: IpAddr,
    ) -> Result<Self, SetupError> {
        let connector = match servers.iter().any(|server| server.tls) {
            true => Some(Connector::new(authorities, identity, clock.clone())?),
            false => None,
        };
        Ok(Self {
            node: node.to_owned(),
            servers,
            endpoints: Endpoints::default(),
            connector: RefCell::new(connector),
            authorities: authorities.to_vec(),
            clock,
            keyrings: Keyrings::default(),
            inbound,
            generation: Rc::default(),
            address,
            figures: Cell::default(),
        })
    }

    /// Shows another certificate from now on. The API server is called anew with it.
    ///
    /// # Errors
    /// What was shown before still is.
    pub(crate) fn replace(&self, purpose: Purpose, identity: Identity) -> Result<(), SetupError> {
        self.show(purpose, Some(identity))?;
        if purpose == Purpose::Client {
            self.generation.end();
        }
        Ok(())
    }

    /// Verifies callers of the kubelet API by this client CA (DER) from now on.
    ///
    /// # Errors
    /// An authority is malformed; the old CA counts.
    pub(crate) fn trust_clients(&self, authorities: Vec<Vec<u8>>) -> Result<(), SetupError> {
        self.inbound
            .as_ref()
            .map_or(Ok(()), |inbound| inbound.trust(authorities))
    }

    fn count(&self, change: impl Fn(&mut NetworkFigures)) {
        let mut figures = self.figures.get();
        change(&mut figures);
        self.figures.set(figures);
    }

    async fn socket(&self, server: &Server, address: IpAddr) -> Result<FromTokio<TcpStream>, DialError> {
        let connected = timeout(CONNECT, TcpStream::connect((address, server.port))).await;
        let socket = connected.map_err(|_| DialError::Connect)?.map_err(|error| {
            tracing::debug!(node = &*self.node, "{} at {address}: {error}", server.authority);
            match error.kind() {
                std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::NetworkDown => {
                    DialError::NoNetwork
                }
                _ => DialError::Connect,
            }
        })?;
        tune(&socket);
        Ok(FromTokio::new(socket))
    }

    /// What is needed for TLS with that server, if it speaks TLS.
    fn connector(&self, server: &Server) -> Option<Connector> {
        self.connector.borrow().clone().filter(|_| server.tls)
    }

    async fn failed(&self, server: &Server, socket: FromTokio<TcpStream>, error: TlsError) -> DialError {
        self.count(|figures| figures.handshakes_failed += 1);
        tracing::warn!(node = &*self.node, "TLS with {}: {error}", server.authority);
        hang_up(socket).await;
        DialError::Tls
    }

    /// Connects to an address of a server. Without `dated` nothing is shown, and the dates of the server's certificates do not
    /// count.
    async fn connect(
        &self,
        server: &Server,
        address: IpAddr,
        dated: bool,
    ) -> Result<(Outbound, Lifetime), DialError> {
        let generation = self.generation.number();
        let mut socket = self.socket(server, address).await?;
        let Some(connector) = self.connector(server) else {
            let stream = self.generation.connection(generation, Stream::Plain(socket));
            return Ok((stream, Lifetime::UNVERIFIED));
        };
        let handshake = match dated {
            true => connector
                .shake(&server.host, &mut socket)
                .await
                .map(|handshake| (handshake, None)),
            false => connector
                .shake_undated(&server.host, &mut socket)
                .await
                .map(|(handshake, validity)| (handshake, Some(validity))),
        };
        let (stream, validity) = match handshake {
            Ok((handshake, validity)) => (handshake.over(socket), validity),
            Err(error) => return Err(self.failed(server, socket, error).await),
        };
        let resumed = stream.resumed();
        self.count(|figures| match resumed {
            true => figures.handshakes_client_resumed += 1,
            false => figures.handshakes_client_full += 1,
        });
        let validity = validity.or_else(|| connector.validity()).ok_or(DialError::Tls)?;
        let stream = self.generation.connection(generation, Stream::Tls(stream));
        Ok((stream, validity.into()))
    }

    fn attempts(&self, dated: bool) -> Attempts<'_> {
        Attempts { network: self, dated }
    }
}

/// The attempts of one dial.
struct Attempts<'a> {
    network: &'a Tokio,
    dated: bool,
}

impl Dialler for Attempts<'_> {
    type Connection = (Outbound, Lifetime);

    fn servers(&self) -> u8 {
        u8::try_from(self.network.servers.len()).unwrap_or(u8::MAX)
    }

    async fn resolve(&self, server: u8) -> Result<Addresses, DialError> {
        let server = &self.network.servers[usize::from(server)];
        let resolved = timeout(RESOLVE, lookup_host((server.host.as_str(), server.port))).await;
        let addresses = resolved.map_err(|_| DialError::Name)?.map_err(|error| {
            tracing::debug!(node = &*self.network.node, "{}: {error}", server.authority);
            DialError::Name
        })?;
        Ok(addresses
            .map(|address| address.ip())
            .take(Addresses::new().capacity())
            .collect())
    }

    async fn connect(&self, server: u8, address: IpAddr) -> Result<Self::Connection, DialError> {
        let server = &self.network.servers[usize::from(server)];
        let connection = self.network.connect(server, address, self.dated);
        timeout(DIAL, connection).await.unwrap_or(Err(DialError::Timeout))
    }
}

/// Small messages at once, and a peer that is gone is noticed.
fn tune(socket: &TcpStream) {
    // Neither is worth failing for.
    let _ = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive);
}

/// Lets the peer hear why: a socket that is closed with bytes unread resets the connection, and the alert is lost.
async fn hang_up(socket: FromTokio<TcpStream>) {
    let mut socket = socket.into_inner();
    // On the heap, and not in every future that dials: those are many and stay.
    let farewell = Box::pin(async move {
        socket.shutdown().await?;
        let (mut ignored, mut left) = (vec![0; 1024], FAREWELL_BYTES);
        while left > 0 {
            match socket.read(&mut ignored).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        std::io::Result::Ok(())
    });
    // Whatever comes of it, the connection is at its end.
    let _ = timeout(FAREWELL, farewell).await;
}

impl Keyholder for Tokio {
    fn keyrings(&self) -> &Keyrings {
        &self.keyrings
    }

    fn show(&self, purpose: Purpose, identity: Option<Identity>) -> Result<(), SetupError> {
        match purpose {
            Purpose::Client => {
                let connector = Connector::new(&self.authorities, identity.as_ref(), self.clock.clone())?;
                *self.connector.borrow_mut() = Some(connector);
            }
            Purpose::Serving => {
                if let (Some(inbound), Some(identity)) = (&self.inbound, &identity) {
                    inbound.show(identity)?;
                }
            }
        }
        Ok(())
    }
}

impl Network for Tokio {
    type Outbound = Outbound;
    type Inbound = Stream;

    fn identities(&self) -> impl Identities {
        OwnIdentities(self)
    }

    async fn dial(&self) -> Result<Dialled<Outbound>, DialError> {
        let (endpoint, (stream, validity)) = self.endpoints.dial(&self.attempts(true)).await?;
        Ok(Dialled {
            stream,
            endpoint,
            validity,
        })
    }

    async fn dial_undated(&self) -> Result<Undated<Outbound>, DialError> {
        if self.clock.is_system() {
            return Err(DialError::Dated);
        }
        let (stream, validity) = self.endpoints.dial_undated(&self.attempts(false)).await?;
        Ok(Undated { stream, validity })
    }

    fn pass_over(&self, endpoint: Endpoint) {
        self.endpoints.pass_over(endpoint);
    }

    async fn accept(&self) -> Result<Accepted<Stream>, AcceptError> {
        let Some(inbound) = &self.inbound else {
            return std::future::pending().await;
        };
        let accepted = tokio::select! {
            accepted = inbound.accept() => accepted.map(|(socket, peer, acceptor)| (socket, peer, Some(acceptor))),
            accepted = inbound.accept_read_only() => accepted.map(|(socket, peer)| (socket, peer, None)),
        };
        // Out of file descriptors, say: whoever waits for this may try again.
        let (socket, peer, acceptor) = accepted.map_err(|_| AcceptError::NotListening)?;
        tune(&socket);
        let mut socket = FromTokio::new(socket);
        let Some(acceptor) = acceptor else {
            return Ok(Accepted {
                stream: Stream::Plain(socket),
                credential: Credential::ReadOnlyPort,
                peer: peer.ip(),
            });
        };
        match timeout(HANDSHAKE, acceptor.shake(&mut socket)).await {
            Ok(Ok(handshake)) => {
                let stream = handshake.over(socket);
                self.count(|figures| figures.handshakes_server += 1);
                let credential = stream.credential();
                Ok(Accepted {
                    stream: Stream::Tls(stream),
                    credential,
                    peer: peer.ip(),
                })
            }
            failed => {
                self.count(|figures| figures.handshakes_failed += 1);
                if let Ok(Err(error)) = failed {
                    tracing::debug!(node = &*self.node, "TLS with {peer}: {error}");
                    hang_up(socket).await;
                }
                Err(AcceptError::Handshake)
            }
        }
    }

    fn with_host<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it(&self.servers[usize::from(self.endpoints.used().server)].authority)
    }

    fn address(&self) -> Option<IpAddr> {
        Some(self.address)
    }

    fn rssi_dbm(&self) -> Option<i8> {
        None
    }

    fn figures(&self) -> NetworkFigures {
        self.figures.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Source, system};
    use picolet_devcluster::host::Pki;
    use picolet_platform::TimeSource;
    use picolet_tls::{Acceptor, Alert, Clients};
    use tokio::net::TcpListener;

    /// What the client has not read of the server's flight must not cost the server the alert.
    #[tokio::test]
    async fn a_server_that_is_refused_hears_why() {
        let pki = Pki::new().expect("an authority");
        let served = pki
            .server("elsewhere", &["elsewhere"], &[])
            .expect("a certificate");
        let identity = Identity::from_pem(served.certificate_pem.as_bytes(), served.key_pem.as_bytes());
        let clock = WallClock::new(Source::System);
        let roots = [pki.ca().certificate_der.clone()];
        let acceptor = Acceptor::new(&identity.expect("an identity"), Clients::Anonymous, clock.clone());
        let acceptor = acceptor.expect("an acceptor");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Server::parse(&format!("https://{address}"), false).expect("a server");
        let network = Tokio::new("pico", vec![server], &roots, None, clock, None, address.ip());
        let network = network.expect("a network");
        let serve = async {
            let (socket, _) = listener.accept().await.expect("a client");
            let mut socket = FromTokio::new(socket);
            let shaken = acceptor.shake(&mut socket).await;
            shaken.expect_err("the client refuses")
        };
        let (dialled, heard) = tokio::join!(network.dial(), serve);
        assert_eq!(dialled.err(), Some(DialError::Tls));
        assert_eq!(heard, TlsError::Refused(Alert(42)));
    }

    #[tokio::test]
    async fn network_asks_another_server_for_the_time_when_the_last_was_not_believed() {
        let pki = Pki::new().expect("an authority");
        let ip = std::net::Ipv4Addr::LOCALHOST;
        let served = pki.server("api", &["localhost"], &[ip.into()]);
        let served = served.expect("a certificate");
        let identity = Identity::from_pem(served.certificate_pem.as_bytes(), served.key_pem.as_bytes());
        let identity = identity.expect("an identity");
        let acceptor = Acceptor::new(&identity, Clients::Anonymous, WallClock::new(Source::System));
        let acceptor = acceptor.expect("an acceptor");
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let servers = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        let parsed = servers
            .iter()
            .map(|server| Server::parse(&format!("https://{server}"), false).expect("a server"));
        let clock = WallClock::new(Source::ApiServer);
        let roots = [pki.ca().certificate_der.clone()];
        let network = Tokio::new(
            "pico",
            parsed.collect(),
            &roots,
            None,
            clock.clone(),
            None,
            ip.into(),
        );
        let network = network.expect("a network");
        let serve = async {
            loop {
                let (socket, _) = listener.accept().await.expect("a client");
                // The client may be gone before its ticket is sent.
                let _ = acceptor.shake(&mut FromTokio::new(socket)).await;
            }
        };
        let used = |index: usize| network.with_host(|host| host == servers[index]);
        let ask = async {
            for index in [0, 1, 0] {
                network.dial_undated().await.expect("a connection");
                assert!(used(index), "{index}");
            }
            // The last one was believed, and stays in use.
            clock.set(system().expect("a clock"), TimeSource::ApiServer);
            network.dial().await.expect("a connection");
            network.dial_undated().await.expect("a connection");
            assert!(used(0));
        };
        tokio::select! {
            () = serve => unreachable!("it serves for ever"),
            () = ask => {}
        }
    }

    #[test]
    fn servers() {
        let parse = |url| Server::parse(url, false).map(|s| (s.host, s.port, s.authority));
        let is = |host: &str, port, authority: &str| Some((host.to_owned(), port, authority.to_owned()));
        assert_eq!(
            parse("https://k3s.local:6443/").ok(),
            is("k3s.local", 6443, "k3s.local:6443")
        );
        assert_eq!(parse("https://k3s").ok(), is("k3s", 443, "k3s"));
        assert_eq!(parse("https://[::1]:6443").ok(), is("::1", 6443, "[::1]:6443"));
        for bad in [
            "k3s:6443",
            "https://",
            "https://a:b",
            "https://a:1/x",
            "https://u@a:1",
            "https://a:70000",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(
            parse("http://a:1")
                .expect_err("in the clear")
                .to_string()
                .contains("--lab-mode")
        );
        assert!(Server::parse("http://a:1", true).is_ok());
    }
}
