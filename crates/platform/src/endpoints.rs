//! Which address of which API server is dialled next.
//!
//! A server may be gone, may accept connections and stay silent, or may have a name with addresses of both kinds. Each attempt
//! is therefore made at one address, and the next attempt is made at another one until one succeeds, whether the attempt
//! failed, was given up half-way, or made a connection on which the server then did not answer.

use core::cell::Cell;
use core::fmt;
use core::future::Future;
use core::net::IpAddr;

/// Addresses of a name. Others than the first ones are not tried.
pub type Addresses = heapless::Vec<IpAddr, 4>;
/// The most attempts of one call of [`Endpoints::dial`].
const ATTEMPTS: u32 = 16;

/// One address of one of the servers, in the order of the settings and of the name's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Which server.
    pub server: u8,
    /// Which of its addresses.
    pub address: u8,
}

impl Endpoint {
    /// The next address of the same server, whether it has one or not.
    const fn next_address(self) -> Self {
        Self {
            server: self.server,
            address: self.address.saturating_add(1),
        }
    }

    /// The first address of the next of `servers`.
    const fn next_server(self, servers: u8) -> Self {
        let next = self.server.saturating_add(1);
        Self {
            server: if next < servers { next } else { 0 },
            address: 0,
        }
    }
}

/// Why the API server could not be reached. The text for a person is in the platform's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// No network: the link is down or there is no address.
    NoNetwork,
    /// The server's name has no address.
    Name,
    /// Nobody answered, or the connection was refused.
    Connect,
    /// TLS failed: a certificate that is not accepted, on either side.
    Tls,
    /// It took longer than the wiring allows.
    Timeout,
    /// The platform's clock is to be used: a time server has answered, or the operating system's clock counts.
    Dated,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNetwork => "the network is down",
            Self::Name => "the API server's name does not resolve",
            Self::Connect => "the API server does not answer",
            Self::Tls => "TLS with the API server failed",
            Self::Timeout => "connecting to the API server took too long",
            Self::Dated => "the time is known by now",
        })
    }
}

impl core::error::Error for DialError {}

/// How servers are dialled. An implementation limits the time of either step.
pub trait Dialler {
    /// A connection.
    type Connection;

    /// How many servers there are.
    fn servers(&self) -> u8;

    /// The addresses of a server.
    ///
    /// # Errors
    /// When its name does not resolve, or not in time.
    fn resolve(&self, server: u8) -> impl Future<Output = Result<Addresses, DialError>>;

    /// Connects to an address of a server, handshake included.
    ///
    /// # Errors
    /// When that fails, or is not done in time.
    fn connect(
        &self,
        server: u8,
        address: IpAddr,
    ) -> impl Future<Output = Result<Self::Connection, DialError>>;
}

/// The endpoint in use, and the one that is dialled next.
#[derive(Debug, Default)]
pub struct Endpoints {
    used: Cell<Endpoint>,
    next: Cell<Endpoint>,
    /// Whether the endpoint in use was asked for the time last. If the time is asked again, that server's was not believed.
    asked: Cell<bool>,
}

impl Endpoints {
    /// The endpoint that was connected to last.
    pub fn used(&self) -> Endpoint {
        self.used.get()
    }

    /// Dials another endpoint first from now on, unless `endpoint` was left already. With one endpoint it stays that one.
    pub fn pass_over(&self, endpoint: Endpoint) {
        if self.next.get() == endpoint {
            self.next.set(endpoint.next_address());
        }
    }

    /// Dials the endpoint that was connected to last, then the others in turn, until one can be connected to or all servers were
    /// tried. Whoever gives up waiting continues behind the endpoint that was being tried.
    ///
    /// # Errors
    /// Of the last attempt.
    pub async fn dial<D: Dialler>(&self, dialler: &D) -> Result<(Endpoint, D::Connection), DialError> {
        let dialled = self.dial_any(dialler).await?;
        self.asked.set(false);
        Ok(dialled)
    }

    /// The same to ask for the time. Asked twice in a row, it begins behind the endpoint whose time was not believed.
    ///
    /// # Errors
    /// Of the last attempt.
    pub async fn dial_undated<D: Dialler>(&self, dialler: &D) -> Result<D::Connection, DialError> {
        if self.asked.replace(true) {
            self.pass_over(self.used());
        }
        Ok(self.dial_any(dialler).await?.1)
    }

    async fn dial_any<D: Dialler>(&self, dialler: &D) -> Result<(Endpoint, D::Connection), DialError> {
        let servers = dialler.servers();
        let (mut last, mut left) = (DialError::Connect, 0);
        for _ in 0..ATTEMPTS {
            let endpoint = self.next.get();
            let behind = endpoint.next_server(servers);
            // Resolving may be given up too.
            self.next.set(behind);
            let addresses = match dialler.resolve(endpoint.server).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    last = error;
                    Addresses::new()
                }
            };
            let address = usize::from(endpoint.address);
            if let Some(at) = addresses.get(address) {
                let more = address + 1 < addresses.len();
                self.next.set(if more { endpoint.next_address() } else { behind });
                match dialler.connect(endpoint.server, *at).await {
                    Ok(connection) => {
                        self.used.set(endpoint);
                        self.next.set(endpoint);
                        return Ok((endpoint, connection));
                    }
                    Err(error) => last = error,
                }
                if more {
                    continue;
                }
            } else if endpoint.address > 0 && !addresses.is_empty() {
                continue; // it has fewer addresses than were tried
            }
            left += 1;
            if left >= servers {
                break;
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use core::future::pending;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    use std::cell::RefCell;
    use std::vec::Vec;

    /// What happens at an address.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Peer {
        Good,
        Refuses,
        /// Nothing is ever heard.
        Silent,
    }

    struct Servers {
        addresses: Vec<Vec<Peer>>,
        tried: RefCell<Vec<(u8, u8)>>,
    }

    impl Servers {
        fn new(addresses: &[&[Peer]]) -> Self {
            Self {
                addresses: addresses.iter().map(|all| all.to_vec()).collect(),
                tried: RefCell::default(),
            }
        }

        fn tried(&self) -> Vec<(u8, u8)> {
            self.tried.take()
        }
    }

    impl Dialler for Servers {
        type Connection = ();

        fn servers(&self) -> u8 {
            self.addresses.len() as u8
        }

        async fn resolve(&self, server: u8) -> Result<Addresses, DialError> {
            let count = self.addresses[usize::from(server)].len() as u8;
            if count == 0 {
                return Err(DialError::Name);
            }
            Ok((0..count)
                .map(|number| IpAddr::from([192, 0, 2, number]))
                .collect())
        }

        async fn connect(&self, server: u8, address: IpAddr) -> Result<(), DialError> {
            let IpAddr::V4(address) = address else {
                unreachable!()
            };
            let [.., address] = address.octets();
            self.tried.borrow_mut().push((server, address));
            match self.addresses[usize::from(server)][usize::from(address)] {
                Peer::Good => Ok(()),
                Peer::Refuses => Err(DialError::Connect),
                Peer::Silent => pending().await,
            }
        }
    }

    /// Dials, and gives up when nothing is heard.
    fn dial(endpoints: &Endpoints, servers: &Servers) -> Option<Result<Endpoint, DialError>> {
        let mut dialled = pin!(endpoints.dial(servers));
        match dialled.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result.map(|(endpoint, ())| endpoint)),
            Poll::Pending => None,
        }
    }

    const fn at(server: u8, address: u8) -> Endpoint {
        Endpoint { server, address }
    }

    #[test]
    fn another_server_is_asked_for_the_time_when_the_one_before_was_not_believed() {
        let servers = Servers::new(&[&[Peer::Good], &[Peer::Good]]);
        let endpoints = Endpoints::default();
        let ask = || {
            let asked = pin!(endpoints.dial_undated(&servers)).poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(asked, Poll::Ready(Ok(())));
            endpoints.used()
        };
        assert_eq!([ask(), ask(), ask()], [at(0, 0), at(1, 0), at(0, 0)]);
        // Its time was believed: it is in use, and asked first again.
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(0, 0))));
        assert_eq!(ask(), at(0, 0));
    }

    #[test]
    fn endpoints_reach_a_good_server_when_three_before_it_are_silent() {
        use Peer::{Good, Silent};
        let (endpoints, servers) = (
            Endpoints::default(),
            Servers::new(&[&[Silent], &[Silent], &[Silent], &[Good]]),
        );
        for _ in 0..3 {
            assert_eq!(dial(&endpoints, &servers), None);
        }
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(3, 0))));
        assert_eq!(servers.tried(), [(0, 0), (1, 0), (2, 0), (3, 0)]);
        // It stays in use.
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(3, 0))));
    }

    #[test]
    fn endpoints_try_every_address_when_the_first_is_dead() {
        use Peer::{Good, Refuses, Silent};
        for dead in [Refuses, Silent] {
            let (endpoints, servers) = (Endpoints::default(), Servers::new(&[&[dead, Good]]));
            let first = dial(&endpoints, &servers);
            let found = first.or_else(|| dial(&endpoints, &servers));
            assert_eq!(found, Some(Ok(at(0, 1))));
            assert_eq!(endpoints.used(), at(0, 1));
        }
    }

    #[test]
    fn endpoints_report_an_error_when_all_refuse() {
        use Peer::Refuses;
        let (endpoints, servers) = (
            Endpoints::default(),
            Servers::new(&[&[Refuses, Refuses], &[Refuses], &[]]),
        );
        for _ in 0..2 {
            assert_eq!(dial(&endpoints, &servers), Some(Err(DialError::Name)));
            assert_eq!(servers.tried(), [(0, 0), (0, 1), (1, 0)]);
        }
    }

    #[test]
    fn endpoint_is_passed_over_once_when_several_connections_to_it_fail() {
        use Peer::Good;
        let (endpoints, servers) = (Endpoints::default(), Servers::new(&[&[Good], &[Good], &[Good]]));
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(0, 0))));
        endpoints.pass_over(at(0, 0));
        endpoints.pass_over(at(0, 0));
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(1, 0))));
        endpoints.pass_over(at(0, 0));
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(1, 0))));
        // The last one is followed by the first.
        endpoints.pass_over(at(1, 0));
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(2, 0))));
        endpoints.pass_over(at(2, 0));
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(0, 0))));
    }

    #[test]
    fn only_endpoint_stays_in_use_when_it_is_passed_over() {
        let (endpoints, servers) = (Endpoints::default(), Servers::new(&[&[Peer::Good]]));
        for _ in 0..3 {
            assert_eq!(dial(&endpoints, &servers), Some(Ok(at(0, 0))));
            endpoints.pass_over(at(0, 0));
        }
    }

    /// Two dial at once: the one that fails follows the one that succeeds.
    #[test]
    fn endpoints_follow_a_success_of_another_dial() {
        use Peer::{Good, Silent};
        let (endpoints, servers) = (Endpoints::default(), Servers::new(&[&[Silent], &[Good]]));
        let mut first = pin!(endpoints.dial(&servers));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(1, 0))));
        assert_eq!(endpoints.used(), at(1, 0));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert_eq!(dial(&endpoints, &servers), Some(Ok(at(1, 0))));
    }
}
