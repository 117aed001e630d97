//! The agent's connections: tokio's sockets below, `picolet-tls` above.

mod inbound;
mod outbound;

use crate::clock::WallClock;
use embedded_io_adapters::tokio_1::FromTokio;
use picolet_platform::{
    AcceptError, Accepted, Addresses, DialError, Dialled, Endpoint, Identities, Network, NetworkFigures,
    Purpose, Server, Transport, Undated,
};
use picolet_tls::{Connections, Connector, Identity, Keyholder, Keyrings, OwnIdentities, SetupError};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{error::Elapsed, timeout};

pub(crate) use inbound::Inbound;
pub(crate) use outbound::Outbound;

/// How long a peer with whom TLS failed is listened to, and how much of what it still says, so that it hears why.
const FAREWELL: Duration = Duration::from_millis(500);
const FAREWELL_BYTES: usize = 64 * 1024;
/// How many such peers are listened to at once, per node.
const FAREWELLS: usize = 32;

/// An API server as it was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerConfig {
    tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As a `Host` header has it.
    pub(crate) authority: String,
}

impl ServerConfig {
    /// Reads `https://host:port`. `http://` is for lab mode only.
    pub(crate) fn parse(url: &str, lab_mode: bool) -> anyhow::Result<Self> {
        let server = Server::parse(url).map_err(|error| anyhow::anyhow!("--server {url}: {error}"))?;
        if !server.tls && !lab_mode {
            anyhow::bail!("--server {url}: http:// sends everything in the clear; --lab-mode allows it");
        }
        Ok(Self {
            tls: server.tls,
            host: server.host.to_owned(),
            port: server.port,
            authority: server.authority.to_owned(),
        })
    }

    fn as_server(&self) -> Server<'_> {
        Server {
            tls: self.tls,
            host: &self.host,
            port: self.port,
            authority: &self.authority,
        }
    }
}

type Socket = FromTokio<TcpStream>;
/// A stream with or without TLS.
pub(crate) type Stream = picolet_tls::Stream<Socket>;

/// How one node reaches and is reached.
pub(crate) struct Tokio {
    node: String,
    servers: Vec<ServerConfig>,
    connections: Connections,
    /// What the connector is made of.
    authorities: Vec<Vec<u8>>,
    clock: WallClock,
    /// What the node got by itself.
    keyrings: Keyrings,
    inbound: Option<Inbound>,
    generation: Rc<outbound::Generation>,
    address: IpAddr,
    farewells: Arc<Semaphore>,
}

impl Tokio {
    /// The network of the node of that name, with `address` as the one that it reports.
    pub(crate) fn new(
        node: &str,
        servers: Vec<ServerConfig>,
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
            connections: Connections::new(connector),
            authorities: authorities.to_vec(),
            clock,
            keyrings: Keyrings::default(),
            inbound,
            generation: Rc::default(),
            address,
            farewells: Arc::new(Semaphore::new(FAREWELLS)),
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
}

impl Transport for Tokio {
    type Socket = Socket;
    type Elapsed = Elapsed;

    const FRAGMENT_BYTES: usize = 4096;

    fn servers(&self) -> u8 {
        u8::try_from(self.servers.len()).unwrap_or(u8::MAX)
    }

    fn server(&self, index: u8) -> Option<Server<'_>> {
        self.servers.get(usize::from(index)).map(ServerConfig::as_server)
    }

    async fn resolve(&self, server: Server<'_>) -> Addresses {
        match lookup_host((server.host, server.port)).await {
            Ok(found) => found
                .map(|address| address.ip())
                .take(Addresses::new().capacity())
                .collect(),
            Err(error) => {
                tracing::debug!(node = &*self.node, "{}: {error}", server.authority);
                Addresses::new()
            }
        }
    }

    async fn connect(&self, server: Server<'_>, address: IpAddr) -> Result<Socket, DialError> {
        let connected = TcpStream::connect((address, server.port)).await;
        let socket = connected.map_err(|error| {
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

    fn with_timeout<F: Future>(
        &self,
        limit: picolet_platform::Duration,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> {
        timeout(Duration::from_micros(limit.as_micros()), future)
    }

    fn hang_up(&self, socket: Socket) {
        // Beyond the limit peers are dropped, and may miss the alert.
        if let Ok(permit) = self.farewells.clone().try_acquire_owned() {
            tokio::spawn(async move {
                hang_up(socket).await;
                drop(permit);
            });
        }
    }

    fn log_server_failure(&self, server: Server<'_>, error: &dyn fmt::Display) {
        tracing::warn!(node = &*self.node, "TLS with {}: {error}", server.authority);
    }

    fn log_client_failure(&self, peer: IpAddr, error: &dyn fmt::Display) {
        tracing::debug!(node = &*self.node, "TLS with {peer}: {error}");
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
                self.connections.set_connector(Some(connector));
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
        let generation = self.generation.number();
        let dialled = self.connections.dial(self).await?;
        Ok(Dialled {
            stream: self.generation.connection(generation, dialled.stream),
            endpoint: dialled.endpoint,
            validity: dialled.validity,
        })
    }

    async fn dial_undated(&self) -> Result<Undated<Outbound>, DialError> {
        if self.clock.is_system() {
            return Err(DialError::Dated);
        }
        let generation = self.generation.number();
        let undated = self.connections.dial_undated(self).await?;
        Ok(Undated {
            stream: self.generation.connection(generation, undated.stream),
            validity: undated.validity,
        })
    }

    fn pass_over(&self, endpoint: Endpoint) {
        self.connections.pass_over(endpoint);
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
        let socket = FromTokio::new(socket);
        match acceptor {
            Some(acceptor) => self.connections.accept(self, &acceptor, socket, peer.ip()).await,
            None => Ok(Connections::accept_read_only(socket, peer.ip())),
        }
    }

    fn with_host<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it(
            self.connections
                .server(self)
                .map_or("", |server| server.authority),
        )
    }

    fn address(&self) -> Option<IpAddr> {
        Some(self.address)
    }

    fn rssi_dbm(&self) -> Option<i8> {
        None
    }

    fn figures(&self) -> NetworkFigures {
        self.connections.figures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Source, system};
    use picolet_devcluster::host::Pki;
    use picolet_platform::TimeSource;
    use picolet_tls::{Acceptor, Alert, Clients, TlsError};
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
        let server = ServerConfig::parse(&format!("https://{address}"), false).expect("a server");
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
            .map(|server| ServerConfig::parse(&format!("https://{server}"), false).expect("a server"));
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
    fn server_in_the_clear_is_refused_without_lab_mode() {
        let refused = ServerConfig::parse("http://a:1", false).expect_err("in the clear");
        assert!(refused.to_string().contains("--lab-mode"), "{refused}");
        assert!(ServerConfig::parse("http://a:1", true).is_ok());
        let malformed = ServerConfig::parse("k3s:6443", false).expect_err("no scheme");
        assert!(malformed.to_string().contains("https://HOST:PORT"), "{malformed}");
    }
}
