//! User mode: the device behind the host's own sockets, without privileges.
//!
//! The device is [`DEVICE`], the host [`HOST`] and the way to everywhere else. A connection that the device opens is
//! opened by the host in its stead, and answered once it is there; a port of the host can be published as one of the
//! device. Names are asked of the host's resolver, the time is the host's. Echo requests are answered by [`HOST`]
//! and [`DNS`] only.
//!
//! With the host's scheduler in the loop, no two runs are the same.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::Link;
use super::addresses::{DEVICE, DNS, HOST};
use super::services::{self, Names};
use super::stack::{Incoming, LARGEST_FRAME, Stack};
use crate::Time;

/// How often the host's sockets are looked at, in emulated time, while there are any.
const POLL: Duration = Duration::from_millis(1);
/// Connections at a time; more are refused.
const MOST_CONNECTIONS: usize = 256;
/// Pairs of addresses at a time that exchange datagrams; the one that was silent for longest makes room.
const MOST_EXCHANGES: usize = 256;
/// The first token that is not a listener's.
const FIRST_TOKEN: usize = 1 << 16;

/// A port of the host that leads to one of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// Where the host listens.
    pub listen: SocketAddr,
    /// The port of the device.
    pub port: u16,
}

/// What is wrong with a port to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishError(String);

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} publishes nothing: ADDRESS:PORT=PORT is an address of the host, its port, and the device's",
            self.0
        )
    }
}

impl std::error::Error for PublishError {}

impl FromStr for Publish {
    type Err = PublishError;

    /// Reads `127.0.77.1:10250=10250`; without an address it is 127.0.0.1.
    fn from_str(text: &str) -> Result<Self, PublishError> {
        let wrong = || PublishError(text.to_owned());
        let (listen, port) = text.split_once('=').ok_or_else(wrong)?;
        let listen = match listen.parse() {
            Ok(listen) => listen,
            Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.parse().map_err(|_| wrong())?)),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        Ok(Self { listen, port })
    }
}

/// A connection of the device, and the socket of the host that it goes on in.
struct Flow {
    /// Both ends as the device knows them, to tell a repeated request from a new one.
    ends: Option<(SocketAddrV4, SocketAddrV4)>,
    handle: SocketHandle,
    stream: Option<TcpStream>,
    connected: bool,
    readable: bool,
    writable: bool,
    shut: bool,
}

/// Datagrams between one address of the device and one of the world.
struct Exchange {
    socket: UdpSocket,
    from: SocketAddrV4,
    to: SocketAddrV4,
    used: Time,
    readable: bool,
}

/// The network.
pub struct User {
    stack: Stack,
    poll: Poll,
    events: Events,
    names: Names,
    resolver: Option<SocketAddr>,
    listeners: Vec<(TcpListener, u16, bool)>,
    flows: BTreeMap<usize, Flow>,
    exchanges: BTreeMap<usize, Exchange>,
    next_token: usize,
    now: Time,
    next: Option<Time>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("connections", &self.flows.len())
            .field("exchanges", &self.exchanges.len())
            .finish_non_exhaustive()
    }
}

impl User {
    /// A network with those ports of the device published on the host.
    ///
    /// # Errors
    /// If an address of the host cannot be listened on.
    pub fn new(published: &[Publish]) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for (index, publish) in published.iter().enumerate() {
            let mut listener = TcpListener::bind(publish.listen).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot listen on {}: {error}", publish.listen),
                )
            })?;
            poll.registry()
                .register(&mut listener, Token(index), Interest::READABLE)?;
            listeners.push((listener, publish.port, false));
        }
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |since| since.subsec_nanos().into());
        let next = if listeners.is_empty() {
            None
        } else {
            Some(Time::ZERO)
        };
        Ok(Self {
            stack: Stack::new(seed),
            poll,
            events: Events::with_capacity(128),
            names: Names::default(),
            resolver: resolver(),
            listeners,
            flows: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            next_token: FIRST_TOKEN,
            now: Time::ZERO,
            next,
        })
    }

    /// Gives a name, and all below it, addresses, whatever the host's resolver says.
    pub fn name(&mut self, name: &str, addresses: &[Ipv4Addr]) {
        self.names.insert(name, addresses);
    }

    /// The addresses of the host that it listens on, with the port of the device that each leads to.
    #[must_use]
    pub fn published(&self) -> Vec<Publish> {
        let local = |(listener, port, _): &(TcpListener, u16, bool)| {
            Some(Publish {
                listen: listener.local_addr().ok()?,
                port: *port,
            })
        };
        self.listeners.iter().filter_map(local).collect()
    }

    fn token(&mut self) -> usize {
        self.next_token += 1;
        self.next_token
    }

    fn take(&mut self, frame: &[u8], now: Time) {
        match self.stack.classify(frame) {
            Incoming::Other => return,
            Incoming::Protocol => {}
            Incoming::Open { from, to } => self.open(from, to),
            Incoming::Datagram { from, to, payload } => {
                self.datagram(from, to, &payload, now);
                return;
            }
        }
        self.stack.feed(frame, now);
    }

    /// The device opens a connection: the host does so too, and the device gets its answer when that is there.
    fn open(&mut self, from: SocketAddrV4, to: SocketAddrV4) {
        let ends = Some((from, to));
        let known = self
            .flows
            .values()
            .any(|flow| flow.ends == ends && flow.stream.is_some());
        let Some(address) = outside(to).filter(|_| !known && self.flows.len() < MOST_CONNECTIONS) else {
            return;
        };
        // Refused by smoltcp if there is no socket to take it.
        let Ok(mut stream) = TcpStream::connect(address) else {
            return;
        };
        let Some(handle) = self.stack.listen(to, true) else {
            return;
        };
        let token = self.token();
        let registered =
            self.poll
                .registry()
                .register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE);
        if registered.is_err() {
            self.stack.sockets.remove(handle);
            return;
        }
        let stream = Some(stream);
        let flow = Flow {
            ends,
            handle,
            stream,
            connected: false,
            readable: false,
            writable: false,
            shut: false,
        };
        self.flows.insert(token, flow);
    }

    /// Takes the connections that wait at the published ports.
    fn accept(&mut self) {
        for index in 0..self.listeners.len() {
            while self.listeners[index].2 && self.flows.len() < MOST_CONNECTIONS {
                let (listener, port, waiting) = &mut self.listeners[index];
                let Ok((mut stream, _)) = listener.accept() else {
                    *waiting = false;
                    break;
                };
                let port = *port;
                let token = self.token();
                let interest = Interest::READABLE | Interest::WRITABLE;
                if self
                    .poll
                    .registry()
                    .register(&mut stream, Token(token), interest)
                    .is_err()
                {
                    continue;
                }
                let Some(handle) = self.stack.connect(SocketAddrV4::new(DEVICE, port)) else {
                    continue;
                };
                let stream = Some(stream);
                let flow = Flow {
                    ends: None,
                    handle,
                    stream,
                    connected: true,
                    readable: true,
                    writable: true,
                    shut: false,
                };
                self.flows.insert(token, flow);
            }
        }
    }

    fn datagram(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8], now: Time) {
        let answer = match (*to.ip(), to.port()) {
            (DNS | HOST, services::DNS_PORT) => self.names.answer(payload, self.resolver.is_none()),
            (HOST, services::NTP_PORT) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                services::ntp(payload, since.as_nanos())
            }
            _ => None,
        };
        if let Some(answer) = answer {
            self.stack.send_datagram(to, from, &answer);
            return;
        }
        let address = if *to.ip() == DNS && to.port() == services::DNS_PORT {
            self.resolver
        } else {
            outside(to)
        };
        let Some(address) = address else { return };
        let known = self
            .exchanges
            .iter()
            .find(|(_, known)| known.from == from && known.to == to);
        let token = match known.map(|(token, _)| *token) {
            Some(token) => token,
            None => match self.exchange(from, to, address, now) {
                Ok(token) => token,
                Err(_) => return,
            },
        };
        if let Some(exchange) = self.exchanges.get_mut(&token) {
            exchange.used = now;
            // A datagram may be lost.
            let _ = exchange.socket.send(payload);
        }
    }

    fn exchange(
        &mut self,
        from: SocketAddrV4,
        to: SocketAddrV4,
        address: SocketAddr,
        now: Time,
    ) -> io::Result<usize> {
        if self.exchanges.len() >= MOST_EXCHANGES
            && let Some(oldest) = self
                .exchanges
                .iter()
                .min_by_key(|(_, known)| known.used)
                .map(|(token, _)| *token)
        {
            self.exchanges.remove(&oldest);
        }
        let any: IpAddr = if address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let mut socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(address)?;
        let token = self.token();
        self.poll
            .registry()
            .register(&mut socket, Token(token), Interest::READABLE)?;
        self.exchanges.insert(
            token,
            Exchange {
                socket,
                from,
                to,
                used: now,
                readable: false,
            },
        );
        Ok(token)
    }

    /// Asks the host which sockets are ready, for at most `limit`; `true` if one is.
    fn look(&mut self, limit: Duration) -> bool {
        if self.poll.poll(&mut self.events, Some(limit)).is_err() {
            return false;
        }
        for event in &self.events {
            let Token(token) = event.token();
            if let Some((_, _, waiting)) = self.listeners.get_mut(token) {
                *waiting = true;
            } else if let Some(flow) = self.flows.get_mut(&token) {
                flow.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                flow.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
            } else if let Some(exchange) = self.exchanges.get_mut(&token) {
                exchange.readable = true;
            }
        }
        !self.events.is_empty()
    }

    /// Moves what can be moved between host and device.
    fn run(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.look(Duration::ZERO);
        self.accept();
        for exchange in self.exchanges.values_mut().filter(|exchange| exchange.readable) {
            let mut buffer = [0; LARGEST_FRAME];
            // Until the host has nothing more; a refusal of an earlier datagram is an error, and not the last word.
            for _ in 0..64 {
                match exchange.socket.recv(&mut buffer) {
                    Ok(length) => self
                        .stack
                        .send_datagram(exchange.to, exchange.from, &buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        exchange.readable = false;
                        break;
                    }
                    Err(_) => {}
                }
            }
        }
        self.stack.poll(now);
        let mut moved = false;
        for flow in self.flows.values_mut() {
            moved |= flow.pump(self.stack.sockets.get_mut(flow.handle));
        }
        if moved {
            self.stack.poll(now);
        }
        self.flows.retain(|_, flow| {
            let socket = self.stack.sockets.get_mut::<tcp::Socket<'_>>(flow.handle);
            let over = socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none()
                || socket.state() == tcp::State::Listen;
            if over {
                self.stack.sockets.remove(flow.handle);
            }
            !over
        });
        let watched = !(self.listeners.is_empty() && self.flows.is_empty() && self.exchanges.is_empty());
        self.next = if self.stack.has_frame() {
            Some(now)
        } else {
            let poll = watched.then(|| now + POLL);
            [self.stack.next_poll(now), poll].into_iter().flatten().min()
        };
    }
}

impl Flow {
    /// Moves bytes between the two sockets; `true` if smoltcp's changed.
    fn pump(&mut self, socket: &mut tcp::Socket<'static>) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        if !self.connected {
            if !self.writable {
                return false;
            }
            // Writable: the host's connection is there, or has failed.
            if stream.take_error().ok().flatten().is_some() || stream.peer_addr().is_err() {
                return self.abort(socket);
            }
            self.connected = true;
            let _ = stream.set_nodelay(true);
            socket.pause_synack(false);
        }
        let before = (socket.state(), socket.send_queue(), socket.recv_queue());
        while self.readable && socket.can_send() {
            let room = socket.send(|buffer| match stream.read(buffer) {
                Ok(length) => (length, Ok(length)),
                Err(error) => (0, Err(error)),
            });
            match room {
                Ok(Ok(0)) => {
                    self.readable = false;
                    socket.close();
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(_)) | Err(_) => return self.abort(socket),
            }
        }
        while self.writable && socket.can_recv() {
            let written = socket.recv(|buffer| match stream.write(buffer) {
                Ok(length) => (length, Ok(length)),
                Err(error) => (0, Err(error)),
            });
            match written {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(Err(_)) | Err(_) => return self.abort(socket),
            }
        }
        let state = socket.state();
        let device_closed = matches!(
            state,
            tcp::State::CloseWait | tcp::State::LastAck | tcp::State::TimeWait
        ) || state == tcp::State::Closing;
        if device_closed && socket.recv_queue() == 0 && !self.shut {
            self.shut = true;
            let _ = stream.shutdown(Shutdown::Write);
        }
        if matches!(state, tcp::State::Closed | tcp::State::TimeWait) {
            self.stream = None;
        }
        before != (socket.state(), socket.send_queue(), socket.recv_queue())
    }

    fn abort(&mut self, socket: &mut tcp::Socket<'static>) -> bool {
        self.stream = None;
        socket.abort();
        true
    }
}

/// Where an address of the device's world lies in the host's, if it may go there.
fn outside(to: SocketAddrV4) -> Option<SocketAddr> {
    let ip = *to.ip();
    if ip == HOST {
        return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, to.port())));
    }
    let inside = ip.octets()[..3] == HOST.octets()[..3];
    let unicast = !(ip.is_loopback() || ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified());
    (unicast && !inside).then_some(SocketAddr::V4(to))
}

/// The host's first resolver.
fn resolver() -> Option<SocketAddr> {
    let configuration = std::fs::read_to_string("/etc/resolv.conf").ok()?;
    let address = configuration.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver"))
            .then(|| words.next())
            .flatten()?
            .parse()
            .ok()
    })?;
    Some(SocketAddr::new(address, services::DNS_PORT))
}

impl Link for User {
    fn send(&mut self, frame: &[u8], now: Time) {
        self.take(frame, now);
        self.run(now);
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.next? > now {
            return None;
        }
        if !self.stack.has_frame() {
            self.run(now);
        }
        let frame = self.stack.take_frame();
        if !self.stack.has_frame() {
            self.run(now);
        }
        frame
    }

    fn next_event(&self) -> Option<Time> {
        self.next
    }

    fn wait_for_host(&mut self, limit: Duration) -> bool {
        let ready = self.look(limit);
        if ready {
            self.next = Some(self.now);
        }
        ready
    }

    fn duplicate(&self) -> Option<Box<dyn Link>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_in_words() {
        let publish = |text: &str| text.parse::<Publish>();
        let expected = Publish {
            listen: "127.0.77.1:10250".parse().expect("an address"),
            port: 10250,
        };
        assert_eq!(publish("127.0.77.1:10250=10250"), Ok(expected));
        assert_eq!(
            publish("8080=80").map(|publish| publish.listen.to_string()),
            Ok("127.0.0.1:8080".into())
        );
        for wrong in [
            "",
            "=",
            "80",
            "80=",
            "80=0",
            "80=70000",
            "host:80=80",
            "127.0.0.1=80",
        ] {
            assert_eq!(publish(wrong), Err(PublishError(wrong.into())));
        }
    }

    #[test]
    fn the_device_reaches_the_host_and_beyond_but_not_around() {
        let address = |text: &str| outside(text.parse().expect("an address"));
        assert_eq!(
            address("10.0.2.2:80"),
            Some("127.0.0.1:80".parse().expect("an address"))
        );
        assert_eq!(
            address("192.0.2.1:80"),
            Some("192.0.2.1:80".parse().expect("an address"))
        );
        for inside in [
            "10.0.2.15:80",
            "10.0.2.3:80",
            "127.0.0.1:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "0.0.0.0:80",
        ] {
            assert_eq!(address(inside), None);
        }
    }
}
