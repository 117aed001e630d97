//! A network in the process: DHCP, names, the time, and the servers that a test plugs in, without a socket.
//!
//! It knows emulated time only. The same device that does the same things meets the same frames at the same
//! nanoseconds in every run, which is what makes cycle counts comparable.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

use super::Link;
use super::services::{self, Names};
use super::stack::{Incoming, Stack};
use crate::Time;

/// The clock of the network when the board gets power: 2026-01-01T00:00:00Z, in nanoseconds since the epoch of Unix.
const CLOCK: u128 = 1_767_225_600_000_000_000;
/// Connections at a time; a device that opens more is refused.
const MOST_CONNECTIONS: usize = 64;
/// How often handlers and protocols are run in turn before time goes on.
const MOST_TURNS: usize = 64;

/// One end of a connection, in the hands of a test or of a server.
pub trait Connection: Send {
    /// Does what can be done now. Called when the connection is there, whenever bytes have come or may be sent, when
    /// the device has closed its end, and at the moment that the last call named. It must not wait.
    fn poll(&mut self, stream: &mut Stream<'_>, now: Time) -> Option<Time>;
}

impl<F: FnMut(&mut Stream<'_>, Time) -> Option<Time> + Send> Connection for F {
    fn poll(&mut self, stream: &mut Stream<'_>, now: Time) -> Option<Time> {
        self(stream, now)
    }
}

/// Takes the connections that the device opens to one port.
pub trait Server: Send {
    /// The handler of a new connection from that address of the device to that of the network.
    fn accept(&mut self, from: SocketAddrV4, to: SocketAddrV4) -> Box<dyn Connection>;
}

impl<C: Connection + 'static, F: FnMut() -> C + Send> Server for F {
    fn accept(&mut self, _from: SocketAddrV4, _to: SocketAddrV4) -> Box<dyn Connection> {
        Box::new(self())
    }
}

/// Answers the datagrams that the device sends to one port.
pub trait DatagramServer: Send {
    /// The answer to a datagram, if there is one.
    fn answer(&mut self, from: SocketAddrV4, datagram: &[u8], now: Time) -> Option<Vec<u8>>;
}

impl<F: FnMut(SocketAddrV4, &[u8], Time) -> Option<Vec<u8>> + Send> DatagramServer for F {
    fn answer(&mut self, from: SocketAddrV4, datagram: &[u8], now: Time) -> Option<Vec<u8>> {
        self(from, datagram, now)
    }
}

/// The bytes of a connection.
pub struct Stream<'a>(&'a mut tcp::Socket<'static>);

impl Stream<'_> {
    /// Takes bytes that have come; returns how many.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        self.0.recv_slice(buffer).unwrap_or(0)
    }

    /// Sends bytes, as many as there is room for; returns how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.0.send_slice(bytes).unwrap_or(0)
    }

    /// How many bytes can be read.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.recv_queue()
    }

    /// How many bytes can be written.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.0.may_send() {
            self.0.send_capacity() - self.0.send_queue()
        } else {
            0
        }
    }

    /// How many bytes were written that the device has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.0.send_queue()
    }

    /// The handshake is done, and neither side has broken off.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.is_active() && !matches!(self.0.state(), tcp::State::SynSent | tcp::State::SynReceived)
    }

    /// No more bytes will come: the device has closed its end, or there is no connection any more.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        !matches!(self.0.state(), tcp::State::SynSent | tcp::State::SynReceived)
            && !self.0.may_recv()
            && self.0.recv_queue() == 0
    }

    /// Closes this end, after what was written has been sent.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// Breaks the connection off.
    pub fn abort(&mut self) {
        self.0.abort();
    }
}

struct Open {
    handle: SocketHandle,
    connection: Box<dyn Connection>,
    wake: Option<Time>,
}

struct Inner {
    stack: Stack,
    names: Names,
    /// Nanoseconds since the epoch of Unix at power-on.
    clock: u128,
    servers: BTreeMap<u16, Box<dyn Server>>,
    datagram_servers: BTreeMap<u16, Box<dyn DatagramServer>>,
    open: Vec<Open>,
    next: Option<Time>,
    now: Time,
}

/// The network. Clones are the same network: one goes into the radio, one stays with the test.
#[derive(Clone)]
pub struct Local(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.inner();
        f.debug_struct("Local")
            .field("connections", &inner.open.len())
            .field("next", &inner.next)
            .finish()
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Local {
    /// A network whose protocols draw their random numbers from that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            stack: Stack::new(seed),
            names: Names::default(),
            clock: CLOCK,
            servers: BTreeMap::new(),
            datagram_servers: BTreeMap::new(),
            open: Vec::new(),
            next: None,
            now: Time::ZERO,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A handler that panicked fails its own test; the network is in order between two of its calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its end for the radio.
    #[must_use]
    pub fn link(&self) -> Box<dyn Link> {
        Box::new(self.clone())
    }

    /// Has `server` take what the device connects to that port, at any address.
    pub fn serve(&self, port: u16, server: impl Server + 'static) {
        self.inner().servers.insert(port, Box::new(server));
    }

    /// Refuses new connections to that port.
    pub fn stop_serving(&self, port: u16) {
        self.inner().servers.remove(&port);
    }

    /// Has `server` answer what the device sends to that port of UDP, at any address.
    pub fn serve_datagrams(&self, port: u16, server: impl DatagramServer + 'static) {
        self.inner().datagram_servers.insert(port, Box::new(server));
    }

    /// Leaves what is sent to that port of UDP to the network itself, which answers for DNS and NTP.
    pub fn stop_serving_datagrams(&self, port: u16) {
        self.inner().datagram_servers.remove(&port);
    }

    /// Gives a name, and all below it, addresses.
    pub fn name(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.inner().names.insert(name, addresses);
    }

    /// Sets what the time server says: the nanoseconds since the epoch of Unix at which the board got power.
    pub fn set_clock(&self, nanos: u128) {
        self.inner().clock = nanos;
    }

    /// Has the handlers polled as soon as emulated time goes on: one of them has something to do that no frame told of.
    pub fn touch(&self) {
        let mut inner = self.inner();
        inner.next = Some(inner.now);
    }

    /// Connects to the device, as soon as emulated time goes on.
    pub fn connect(&self, to: SocketAddrV4, connection: impl Connection + 'static) {
        let mut inner = self.inner();
        if let Some(handle) = inner.stack.connect(to) {
            inner.open.push(Open {
                handle,
                connection: Box::new(connection),
                wake: None,
            });
            inner.next = Some(inner.now);
        }
    }
}

impl Inner {
    fn take(&mut self, frame: &[u8], now: Time) {
        match self.stack.classify(frame) {
            Incoming::Other => return,
            Incoming::Protocol => {}
            Incoming::Open { from, to } => {
                let known = self.open.iter().any(|open| {
                    let socket: &tcp::Socket<'_> = self.stack.sockets.get(open.handle);
                    socket.remote_endpoint() == Some(from.into())
                        && socket.local_endpoint() == Some(to.into())
                });
                if !known && self.open.len() < MOST_CONNECTIONS {
                    self.accept(from, to);
                }
            }
            Incoming::Datagram { from, to, payload } => {
                if let Some(answer) = self.answer(from, to, &payload, now) {
                    if let Some(answer) = answer {
                        self.stack.send_datagram(to, from, &answer);
                    }
                    return;
                }
            }
        }
        self.stack.feed(frame, now);
    }

    fn accept(&mut self, from: SocketAddrV4, to: SocketAddrV4) {
        let Some(server) = self.servers.get_mut(&to.port()) else {
            return;
        };
        if let Some(handle) = self.stack.listen(to, false) {
            let connection = server.accept(from, to);
            self.open.push(Open {
                handle,
                connection,
                wake: None,
            });
        }
    }

    /// The answer of whoever takes datagrams on that port; `None` if nobody does.
    #[expect(
        clippy::option_option,
        reason = "nobody there, and somebody silent, differ: the former is told"
    )]
    fn answer(
        &mut self,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
        now: Time,
    ) -> Option<Option<Vec<u8>>> {
        if let Some(server) = self.datagram_servers.get_mut(&to.port()) {
            return Some(server.answer(from, payload, now));
        }
        match to.port() {
            services::DNS_PORT => Some(self.names.answer(payload, true)),
            services::NTP_PORT => Some(services::ntp(payload, self.clock + u128::from(now.as_nanos()))),
            _ => None,
        }
    }

    /// Runs protocols and handlers in turn until nothing changes any more.
    fn run(&mut self, now: Time) {
        self.now = self.now.max(now);
        for _ in 0..MOST_TURNS {
            self.stack.poll(now);
            let mut changed = false;
            for open in &mut self.open {
                let socket = self.stack.sockets.get_mut::<tcp::Socket<'_>>(open.handle);
                let before = (socket.state(), socket.recv_queue(), socket.send_queue());
                open.wake = open
                    .connection
                    .poll(&mut Stream(socket), now)
                    .map(|wake| wake.max(now));
                changed |= before != (socket.state(), socket.recv_queue(), socket.send_queue());
            }
            if !changed {
                break;
            }
        }
        self.open.retain(|open| {
            let socket = self.stack.sockets.get_mut::<tcp::Socket<'_>>(open.handle);
            // A socket that was aborted has a reset to send before it is gone.
            let over = socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none();
            let stray = socket.state() == tcp::State::Listen;
            if over || stray {
                self.stack.sockets.remove(open.handle);
            }
            !over && !stray
        });
        let later = |wake: Time| {
            if wake <= now {
                now + std::time::Duration::from_micros(1)
            } else {
                wake
            }
        };
        let wakes = self.open.iter().filter_map(|open| open.wake).map(later);
        let own = if self.stack.has_frame() {
            Some(now)
        } else {
            self.stack.next_poll(now)
        };
        self.next = wakes.chain(own).min();
    }
}

impl Link for Local {
    fn send(&mut self, frame: &[u8], now: Time) {
        let mut inner = self.inner();
        inner.take(frame, now);
        inner.run(now);
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        let mut inner = self.inner();
        if inner.next? > now {
            return None;
        }
        if !inner.stack.has_frame() {
            inner.run(now);
        }
        let frame = inner.stack.take_frame();
        if !inner.stack.has_frame() {
            inner.run(now);
        }
        frame
    }

    fn next_event(&self) -> Option<Time> {
        self.inner().next
    }

    fn duplicate(&self) -> Option<Box<dyn Link>> {
        None
    }
}
