//! A network in memory.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, Ipv4Addr};
use core::task::{Poll, Waker};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use picolet_platform::{
    AcceptError, Accepted, Credential, DialError, Dialled, Endpoint, Identities, Lifetime, Network,
    NetworkFigures, Purpose, Undated,
};
use picolet_tls::{Identity, Keyholder, Keyrings, OwnIdentities, SetupError};
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec::Vec;

/// The other end is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other end is gone")
    }
}

impl core::error::Error for Broken {}

impl embedded_io_async::Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

#[derive(Default)]
struct Queue {
    bytes: RefCell<VecDeque<u8>>,
    /// Whether one of the two ends is gone.
    closed: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
}

impl Queue {
    fn wake(&self) {
        for waker in self.wakers.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    async fn wait<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        poll_fn(|cx| match ready() {
            Some(value) => Poll::Ready(value),
            None => {
                let mut wakers = self.wakers.borrow_mut();
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }
}

/// One end of a connection. Dropping it ends the connection.
pub(crate) struct End {
    incoming: Rc<Queue>,
    outgoing: Rc<Queue>,
    capacity: usize,
}

/// A connection on which up to `capacity` bytes are under way in each direction.
fn pipe(capacity: usize) -> (End, End) {
    let (a, b) = (Rc::new(Queue::default()), Rc::new(Queue::default()));
    (
        End {
            incoming: a.clone(),
            outgoing: b.clone(),
            capacity,
        },
        End {
            incoming: b,
            outgoing: a,
            capacity,
        },
    )
}

impl ErrorType for End {
    type Error = Broken;
}

impl Read for End {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let queue = &self.incoming;
        let taken = queue
            .wait(|| {
                let mut bytes = queue.bytes.borrow_mut();
                let take = bytes.len().min(buffer.len());
                for (to, from) in buffer.iter_mut().zip(bytes.drain(..take)) {
                    *to = from;
                }
                (take > 0 || queue.closed.get()).then_some(take)
            })
            .await;
        queue.wake();
        Ok(taken)
    }
}

impl Write for End {
    async fn write(&mut self, data: &[u8]) -> Result<usize, Broken> {
        let queue = &self.outgoing;
        let taken = queue
            .wait(|| {
                if queue.closed.get() {
                    return Some(Err(Broken));
                }
                let mut bytes = queue.bytes.borrow_mut();
                let take = data.len().min(self.capacity - bytes.len());
                bytes.extend(&data[..take]);
                (take > 0).then_some(Ok(take))
            })
            .await;
        queue.wake();
        taken
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        for queue in [&self.incoming, &self.outgoing] {
            queue.closed.set(true);
            queue.wake();
        }
    }
}

/// The network of one node.
pub(crate) struct Wires {
    callers: RefCell<VecDeque<Accepted<End>>>,
    called: Queue,
    servers: RefCell<VecDeque<End>>,
    /// When the API server's certificate is valid.
    pub(crate) validity: Cell<Lifetime>,
    /// Where the next connection to an API server goes.
    pub(crate) endpoint: Cell<Endpoint>,
    dialled: Queue,
    /// Whether the kubelet port is open.
    pub(crate) listening: Cell<bool>,
    /// Why the API server cannot be reached, if it cannot.
    pub(crate) dial_error: Cell<Option<DialError>>,
    pub(crate) address: Cell<Option<IpAddr>>,
    pub(crate) rssi_dbm: Cell<Option<i8>>,
    pub(crate) figures: Cell<NetworkFigures>,
    keyrings: Keyrings,
}

impl Default for Wires {
    fn default() -> Self {
        Self {
            callers: RefCell::default(),
            called: Queue::default(),
            servers: RefCell::default(),
            validity: Cell::new(Lifetime::UNVERIFIED),
            endpoint: Cell::default(),
            dialled: Queue::default(),
            listening: Cell::new(true),
            dial_error: Cell::new(None),
            address: Cell::new(Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 15)))),
            rssi_dbm: Cell::new(Some(-61)),
            figures: Cell::default(),
            keyrings: Keyrings::default(),
        }
    }
}

/// What is under way at most on a connection in memory, in one direction.
const UNDER_WAY: usize = 4096;

impl Wires {
    /// Calls the kubelet API and returns the caller's end.
    pub(crate) fn call(&self, peer: IpAddr, credential: Credential) -> End {
        let (ours, theirs) = pipe(UNDER_WAY);
        self.callers.borrow_mut().push_back(Accepted {
            stream: theirs,
            credential,
            peer,
        });
        self.called.wake();
        ours
    }

    fn connect(&self) -> Result<Dialled<End>, DialError> {
        let (ours, theirs) = pipe(UNDER_WAY);
        self.servers.borrow_mut().push_back(theirs);
        self.dialled.wake();
        Ok(Dialled {
            stream: ours,
            endpoint: self.endpoint.get(),
            validity: self.validity.get(),
        })
    }

    /// Waits until the node dials its API server, and returns the server's end.
    pub(crate) async fn served(&self) -> End {
        self.dialled.wait(|| self.servers.borrow_mut().pop_front()).await
    }
}

/// Real keys and certificates, which nobody is shown.
impl Keyholder for Wires {
    fn keyrings(&self) -> &Keyrings {
        &self.keyrings
    }

    fn show(&self, _: Purpose, _: Option<Identity>) -> Result<(), SetupError> {
        Ok(())
    }
}

impl Network for Wires {
    type Outbound = End;
    type Inbound = End;

    fn identities(&self) -> impl Identities {
        OwnIdentities(self)
    }

    async fn dial(&self) -> Result<Dialled<End>, DialError> {
        if let Some(error) = self.dial_error.get() {
            return Err(error);
        }
        self.connect()
    }

    async fn dial_undated(&self) -> Result<Undated<End>, DialError> {
        // That fails for dates alone.
        if let Some(error) = self.dial_error.get().filter(|error| *error != DialError::Tls) {
            return Err(error);
        }
        let Dialled { stream, validity, .. } = self.connect()?;
        Ok(Undated { stream, validity })
    }

    /// The next server is dialled next.
    fn pass_over(&self, endpoint: Endpoint) {
        if endpoint == self.endpoint.get() {
            self.endpoint.set(Endpoint {
                server: endpoint.server + 1,
                address: 0,
            });
        }
    }

    fn accept(&self) -> impl Future<Output = Result<Accepted<End>, AcceptError>> {
        self.called.wait(|| {
            if !self.listening.get() {
                return Some(Err(AcceptError::NotListening));
            }
            self.callers.borrow_mut().pop_front().map(Ok)
        })
    }

    fn with_host<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it("api.test:6443")
    }

    fn address(&self) -> Option<IpAddr> {
        self.address.get()
    }

    fn rssi_dbm(&self) -> Option<i8> {
        self.rssi_dbm.get()
    }

    fn figures(&self) -> NetworkFigures {
        self.figures.get()
    }
}

#[test]
fn both_ways_and_an_end() {
    let (wires, time) = (Wires::default(), super::TestClock::default());
    let node = async {
        let mut stream = wires.dial().await.expect("somebody serves").stream;
        stream.write_all(&[b'?'; 10_000]).await.expect("somebody reads");
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"ok");
        assert_eq!(stream.read(&mut answer).await, Ok(0));
        assert_eq!(stream.write(b"!").await, Err(Broken));
        wires.dial_error.set(Some(DialError::Connect));
        assert_eq!(wires.dial().await.err(), Some(DialError::Connect));
    };
    let server = async {
        let mut stream = wires.served().await;
        let mut asked = [0; 10_000];
        stream.read_exact(&mut asked).await.expect("a question");
        stream.write_all(b"ok").await.expect("somebody reads");
    };
    time.alone(embassy_futures::join::join(node, server));
}
