//! TCP sockets that live on the network's executor and are used from the thread.
//!
//! embassy-net's sockets are not `Send`: they reach into the stack, which is a cell without a lock. The thread may use
//! them all the same, without pipes between and their copies, as long as it does so in a critical section. Then the
//! network's executor, which is an interrupt on this same core, cannot run; and whenever the thread runs, that executor
//! is at rest, with no borrow of the stack held. A critical section lasts for the copying of at most one buffer:
//! [`Socketed`] is the place.
//!
//! All sockets are made at the start, with their buffers. One that is let go is closed as TCP demands by a task on the
//! network's executor, and goes back to its pool when the peer has agreed, or after a while.

use core::cell::Cell;
use core::future::Future;
use core::mem::ManuallyDrop;
use core::net::IpAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use critical_section::Mutex;
use embassy_futures::select::{Either, select};
use embassy_net::Stack;
use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::{ConnectError, State, TcpSocket};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use heapless::Vec;
use picolet_platform::Addresses;
use static_cell::ConstStaticCell;

/// Connections to the API server: four, and one that is still closing.
pub(super) const OUTBOUND: usize = 5;
/// Connections of callers: two, one more that is turned away or makes another go, and one that is still closing.
pub(super) const INBOUND: usize = 4;
const ALL: usize = OUTBOUND + INBOUND;

/// What one segment carries on Ethernet.
const SEGMENT: usize = 1460;
/// Windows, in bytes. The node is sent more than it sends, and takes 20 µs for a byte of it: two segments are on their
/// way while one is worked on, and more would only wait.
const OUTBOUND_RECEIVE: usize = 2 * SEGMENT;
/// Callers send a ClientHello, then requests of a few hundred bytes.
const INBOUND_RECEIVE: usize = 1024;
/// A Lease and what ends a handshake fit. Larger ones gain nothing: a record waits in its own buffer, and is as large.
pub(super) const SEND: usize = 1024;

/// A peer that is silent is asked whether it is there, and taken for gone after a while.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
/// How long a peer may take to agree to the end of a connection.
const FAREWELL: Duration = Duration::from_secs(3);
/// Between two looks at connections that are closing.
const LOOK: Duration = Duration::from_millis(50);

/// Something of the stack's, carried between the executors.
#[derive(Clone, Copy)]
struct OfTheStack<T>(T);

// SAFETY: the module's documentation says why: it is used on the network's executor, or by the thread of the same core
// in a critical section.
unsafe impl<T> Send for OfTheStack<T> {}

type Pool<const N: usize> = Channel<CriticalSectionRawMutex, OfTheStack<TcpSocket<'static>>, N>;

static FREE_OUTBOUND: Pool<OUTBOUND> = Channel::new();
static FREE_INBOUND: Pool<INBOUND> = Channel::new();
static CLOSING: Channel<CriticalSectionRawMutex, (OfTheStack<TcpSocket<'static>>, Direction), ALL> =
    Channel::new();
static STACK: Mutex<Cell<Option<OfTheStack<Stack<'static>>>>> = Mutex::new(Cell::new(None));

/// Who opens a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// We do.
    Outbound,
    /// Somebody else does.
    Inbound,
}

/// Makes the sockets. To be called once, on the network's executor.
pub(super) fn start(stack: Stack<'static>) {
    static OUTBOUND_BUFFERS: ConstStaticCell<[([u8; OUTBOUND_RECEIVE], [u8; SEND]); OUTBOUND]> =
        ConstStaticCell::new([([0; OUTBOUND_RECEIVE], [0; SEND]); OUTBOUND]);
    static INBOUND_BUFFERS: ConstStaticCell<[([u8; INBOUND_RECEIVE], [u8; SEND]); INBOUND]> =
        ConstStaticCell::new([([0; INBOUND_RECEIVE], [0; SEND]); INBOUND]);
    for (receive, send) in OUTBOUND_BUFFERS.take() {
        let _ = FREE_OUTBOUND.try_send(OfTheStack(tuned(stack, receive, send)));
    }
    for (receive, send) in INBOUND_BUFFERS.take() {
        let _ = FREE_INBOUND.try_send(OfTheStack(tuned(stack, receive, send)));
    }
    critical_section::with(|section| STACK.borrow(section).set(Some(OfTheStack(stack))));
}

fn tuned(stack: Stack<'static>, receive: &'static mut [u8], send: &'static mut [u8]) -> TcpSocket<'static> {
    let mut socket = TcpSocket::new(stack, receive, send);
    // Small messages at once, and a peer that is gone is noticed.
    socket.set_nagle_enabled(false);
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_timeout(Some(SILENCE));
    socket
}

/// Closes what is let go, for ever.
#[embassy_executor::task]
pub(super) async fn undertake() -> ! {
    struct Dying {
        socket: TcpSocket<'static>,
        direction: Direction,
        until: Instant,
    }
    let mut dying: Vec<Dying, ALL> = Vec::new();
    loop {
        let look = async {
            match dying.is_empty() {
                true => core::future::pending().await,
                false => Timer::after(LOOK).await,
            }
        };
        if let Either::First((OfTheStack(mut socket), direction)) = select(CLOSING.receive(), look).await {
            socket.close();
            let until = Instant::now() + FAREWELL;
            // There is room for all sockets that there are.
            let _ = dying.push(Dying {
                socket,
                direction,
                until,
            });
        }
        let mut at = 0;
        while let Some(one) = dying.get_mut(at) {
            let state = one.socket.state();
            if state != State::Closed && (state == State::TimeWait || Instant::now() >= one.until) {
                one.socket.abort();
            }
            // An end of the other side stays as long as a reset has to be sent.
            let over = one.socket.state() == State::Closed
                && (one.socket.remote_endpoint().is_none() || Instant::now() >= one.until + FAREWELL);
            if !over {
                at += 1;
                continue;
            }
            let Dying {
                socket, direction, ..
            } = dying.swap_remove(at);
            let _ = match direction {
                Direction::Outbound => FREE_OUTBOUND.try_send(OfTheStack(socket)),
                Direction::Inbound => FREE_INBOUND.try_send(OfTheStack(socket)),
            };
        }
    }
}

pin_project_lite::pin_project! {
    /// A future of the stack's, polled and dropped by the thread.
    struct Socketed<F> {
        #[pin]
        inner: Option<F>,
    }
    impl<F> PinnedDrop for Socketed<F> {
        fn drop(this: Pin<&mut Self>) {
            critical_section::with(|_| this.project().inner.set(None));
        }
    }
}

impl<F: Future> Future for Socketed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        critical_section::with(|_| match self.project().inner.as_pin_mut() {
            Some(inner) => inner.poll(context),
            None => Poll::Pending,
        })
    }
}

fn socketed<F: Future>(future: F) -> Socketed<F> {
    Socketed { inner: Some(future) }
}

/// The addresses of `name`, which may be an address itself.
pub(crate) async fn resolve(name: &str) -> Option<Addresses> {
    let stack = critical_section::with(|section| STACK.borrow(section).get())?.0;
    let found = socketed(stack.dns_query(name, DnsQueryType::A)).await.ok()?;
    let mut addresses = Addresses::new();
    for address in found {
        // The stack keeps as many.
        let _ = addresses.push(IpAddr::from(address));
    }
    Some(addresses)
}

/// A connection, as the thread uses it.
pub(crate) struct Connection {
    /// Taken when this is dropped.
    socket: ManuallyDrop<OfTheStack<TcpSocket<'static>>>,
    direction: Direction,
}

impl Connection {
    /// Waits for a socket that nobody uses.
    pub(crate) async fn free(direction: Direction) -> Self {
        let socket = match direction {
            Direction::Outbound => FREE_OUTBOUND.receive().await,
            Direction::Inbound => FREE_INBOUND.receive().await,
        };
        Self {
            socket: ManuallyDrop::new(socket),
            direction,
        }
    }

    fn socket(&mut self) -> &mut TcpSocket<'static> {
        &mut self.socket.0
    }

    /// Connects.
    pub(crate) async fn connect(&mut self, address: IpAddr, port: u16) -> Result<(), ConnectError> {
        let IpAddr::V4(address) = address else {
            return Err(ConnectError::NoRoute); // the stack speaks IPv4
        };
        socketed(self.socket().connect((address, port))).await
    }

    /// Waits for a caller and returns the address of the one that came, if it is still there.
    pub(crate) async fn accept(&mut self, port: u16) -> Option<IpAddr> {
        socketed(self.socket().accept(port)).await.ok()?;
        let peer = critical_section::with(|_| self.socket().remote_endpoint())?;
        Some(IpAddr::from(peer.addr))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: it is taken here only, and not used any more.
        let socket = unsafe { ManuallyDrop::take(&mut self.socket) };
        // There is room for all sockets that there are.
        let _ = CLOSING.try_send((socket, self.direction));
    }
}

impl ErrorType for Connection {
    type Error = ErrorKind;
}

impl Read for Connection {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        socketed(self.socket().read(buffer))
            .await
            .map_err(|_| ErrorKind::ConnectionReset)
    }
}

impl Write for Connection {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        socketed(self.socket().write(bytes))
            .await
            .map_err(|_| ErrorKind::ConnectionReset)
    }

    /// The stack sends by itself; whether the peer has it all is not waited for.
    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
