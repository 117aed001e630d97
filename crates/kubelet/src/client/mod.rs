//! Requests to the API server, and what is watched there.
//!
//! A full TLS handshake is dear on a microcontroller, so there is one connection for all requests, used in turn; a watch
//! has one of its own. It never decides what to do about a failure; it only obeys the server's word to slow down (429 and
//! `Retry-After`).

mod connection;
mod credentials;
mod error;
mod time;
mod watch;
mod within;

pub(crate) use connection::{Connection, Reader};
pub(crate) use credentials::Credentials;
pub(crate) use error::ApiError;
pub(crate) use watch::Store;
pub(crate) use within::within;

use crate::host::{Host, Outbound};
use crate::metrics::{Metrics, count};
use crate::time::Time;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use connection::refusal;
use core::cell::Cell;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use embedded_io_async::{Read, Write};
use picolet_kube::envelope::Object;
use picolet_kube::http::ResponseHead;
use picolet_kube::json::{Code, Decoder, Sink};
use picolet_kube::request::Request;
use picolet_kube::status::Status;
use picolet_platform::{Clock, DialError, Dialled, Duration, Network};

/// How long one request may take, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A handshake on the slowest board takes a second; three servers may have to be tried.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer, or the next piece of a list, may keep us waiting.
const ANSWER: Duration = Duration::from_secs(30);
/// How often it is looked whether there is room again for what is read.
const ROOM: Duration = Duration::from_millis(100);
/// The longest that we let a server put us off at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The connection that requests use in turn.
struct Shared<S> {
    connection: Option<Connection<S>>,
    /// The uptime before which nothing may be sent.
    pause_until: Duration,
}

impl<S> Default for Shared<S> {
    fn default() -> Self {
        Self {
            connection: None,
            pause_until: Duration::ZERO,
        }
    }
}

impl<S: Read + Write> Shared<S> {
    fn keep_if_reusable(&mut self) {
        if !self.connection.as_ref().is_some_and(Connection::is_reusable) {
            self.connection = None;
        }
    }
}

/// Makes requests to the API server.
pub(crate) struct Client<H: Host> {
    machine: Rc<H::Machine>,
    network: Rc<H::Network>,
    time: Rc<Time<H::Machine>>,
    metrics: Rc<Metrics>,
    /// Who the node is to the API server.
    pub(crate) credentials: Credentials,
    shared: Mutex<NoopRawMutex, Shared<Outbound<H>>>,
}

impl<H: Host> Client<H> {
    /// A client that has no connection yet.
    pub(crate) fn new(
        machine: Rc<H::Machine>,
        network: Rc<H::Network>,
        time: Rc<Time<H::Machine>>,
        metrics: Rc<Metrics>,
    ) -> Self {
        Self {
            machine,
            network,
            time,
            metrics,
            credentials: Credentials::default(),
            shared: Mutex::new(Shared::default()),
        }
    }

    /// A new connection to the API server.
    pub(crate) async fn dial(&self) -> Result<Connection<Outbound<H>>, ApiError> {
        let dial = async { self.network.dial().await.map_err(ApiError::Dial) };
        let dialled = within(&*self.machine, DIAL_TIMEOUT, dial).await;
        if let Err(ApiError::Dial(DialError::Tls)) = dialled {
            self.time.doubt();
        }
        let Dialled { stream, validity, .. } = dialled?;
        let mut connection = Connection::new(stream);
        connection.validity = validity;
        connection.authorization = self.credentials.authorization();
        Ok(connection)
    }

    /// Ends the connection for requests, once nobody uses it: the next shows the certificate of then.
    pub(crate) async fn hang_up(&self) {
        self.shared.lock().await.connection = None;
    }

    /// Sends a request and has the body of its answer read, if it is a success; else returns what the server says. The
    /// head and each piece of the body are waited for, unless the whole body has to be here `by` an uptime. `begun` counts
    /// the successes, before their bodies.
    pub(crate) async fn exchange(
        &self,
        connection: &mut Connection<Outbound<H>>,
        request: &Request<'_>,
        by: Option<Duration>,
        begun: Option<&Cell<u32>>,
        reader: &mut dyn Reader,
    ) -> Result<(ResponseHead, Option<Box<Status>>), ApiError> {
        let left = || by.map_or(ANSWER, |by| by.saturating_sub(self.machine.uptime()));
        let (host, sent_at) = (self.host(), self.machine.uptime());
        let sent = connection.send(&host, request);
        let head = within(&*self.machine, left().min(ANSWER), sent).await?;
        drop(host);
        let latency = self.machine.uptime().saturating_sub(sent_at);
        self.time.answered(head.date, connection.validity, latency);
        if !(200..300).contains(&head.status) {
            let refusal = refusal(connection, head.status);
            let status = within(&*self.machine, left().min(ANSWER), refusal).await?;
            return Ok((head, Some(status)));
        }
        begun.into_iter().for_each(count);
        loop {
            while !reader.has_room() {
                self.machine.sleep(ROOM).await;
            }
            match within(&*self.machine, left(), connection.piece()).await? {
                Some(piece) if reader.feed(piece) => {}
                Some(_) => return Err(ApiError::Json),
                None => return Ok((head, None)),
            }
        }
    }

    /// The `Host` of the API server.
    pub(crate) fn host(&self) -> String {
        self.network.with_host(|host| String::from(host))
    }

    /// Makes a request whose answer is one object, which is read into `object`.
    pub(crate) fn get<T: Object>(
        &self,
        request: &Request<'_>,
        object: &mut T,
    ) -> impl Future<Output = Result<(), ApiError>> {
        self.request(None, request, Wanted::Object(T::SHAPE, object))
    }

    /// The same for what cannot wait longer than `patience` for the requests of others.
    pub(crate) fn get_soon(
        &self,
        patience: Duration,
        request: &Request<'_>,
        into: (Code, &mut dyn Sink),
    ) -> impl Future<Output = Result<(), ApiError>> {
        let (code, object) = into;
        self.request(Some(patience), request, Wanted::Object(code, object))
    }

    /// Makes a request of whose answer only the success counts.
    pub(crate) fn post(&self, request: &Request<'_>) -> impl Future<Output = Result<(), ApiError>> {
        self.request(None, request, Wanted::Nothing)
    }

    /// Makes a request whose answer is no JSON.
    pub(crate) fn read(
        &self,
        request: &Request<'_>,
        reader: &mut dyn Reader,
    ) -> impl Future<Output = Result<(), ApiError>> {
        self.request(None, request, Wanted::Text(reader))
    }

    /// The same for any type, so that it is compiled once. Only a success is `Ok`. Where others have the connection for
    /// longer than `patience`, the request is made on one of its own.
    async fn request(
        &self,
        patience: Option<Duration>,
        request: &Request<'_>,
        wanted: Wanted<'_>,
    ) -> Result<(), ApiError> {
        let mut turn = match patience {
            None => Some(self.shared.lock().await),
            Some(patience) => match select(self.shared.lock(), self.machine.sleep(patience)).await {
                Either::First(shared) => Some(shared),
                Either::Second(()) => None,
            },
        };
        // On the heap, since it is rarely there.
        let mut own = None;
        let shared = match &mut turn {
            Some(shared) => &mut **shared,
            None => &mut **own.insert(Box::new(Shared::default())),
        };
        let pause = shared.pause_until.saturating_sub(self.machine.uptime());
        if !pause.is_zero() {
            self.machine.sleep(pause).await;
        }
        let mut answer = Answer {
            decoder: match wanted {
                Wanted::Object(shape, _) => Some(Decoder::new(shape)),
                _ => None,
            },
            wanted,
            broken: false,
        };
        let begun = self.machine.uptime();
        // One that was given up in the middle of an exchange is not to be used either.
        shared.keep_if_reusable();
        // A server may close an idle connection just as we use it: that is worth one more try on a new one.
        let mut reused = shared.connection.is_some();
        let result = loop {
            let connection = match &mut shared.connection {
                Some(connection) => connection,
                None => match self.dial().await {
                    Ok(connection) => shared.connection.insert(connection),
                    Err(error) => break Err(error),
                },
            };
            let by = Some(self.machine.uptime() + REQUEST_TIMEOUT);
            match self.exchange(connection, request, by, None, &mut answer).await {
                Err(ApiError::Io) if core::mem::take(&mut reused) => shared.connection = None,
                Err(error) => {
                    shared.connection = None;
                    break Err(error);
                }
                answered => break answered,
            }
        };
        self.answered(shared, begun, result)?;
        let whole = |decoder: &Decoder| decoder.documents() > 0;
        if !answer.broken && answer.decoder.as_ref().is_none_or(whole) {
            Ok(())
        } else {
            Err(ApiError::Json)
        }
    }

    /// Counts an answer, and does what its head asks for.
    fn answered(
        &self,
        shared: &mut Shared<Outbound<H>>,
        begun: Duration,
        result: Result<(ResponseHead, Option<Box<Status>>), ApiError>,
    ) -> Result<(), ApiError> {
        shared.keep_if_reusable();
        let now = self.machine.uptime();
        self.metrics.api_latency.record(now.saturating_sub(begun));
        let (head, status) = result.inspect_err(|_| count(&self.metrics.api_failed))?;
        if matches!(head.status, 429 | 503) {
            let pause = Duration::from_secs(u64::from(head.retry_after.unwrap_or(1))).min(LONGEST_PAUSE);
            shared.pause_until = now + pause;
        }
        count(match head.status {
            200..=299 => &self.metrics.api_ok,
            409 => &self.metrics.api_conflict,
            429 => &self.metrics.api_throttled,
            _ => &self.metrics.api_refused,
        });
        if head.status == 401 {
            // The next try shows the certificate anew.
            shared.connection = None;
        }
        self.credentials.answered(head.status, now);
        status.map_or(Ok(()), |status| Err(ApiError::Status(status)))
    }
}

/// What is done with the body of an answer.
enum Wanted<'a> {
    Nothing,
    Object(Code, &'a mut dyn Sink),
    Text(&'a mut dyn Reader),
}

/// Reads what is wanted of an answer.
struct Answer<'a> {
    wanted: Wanted<'a>,
    /// Of an object.
    decoder: Option<Decoder>,
    /// Whether it is no JSON. The rest is read all the same, so that the connection can be used again.
    broken: bool,
}

impl Reader for Answer<'_> {
    fn feed(&mut self, piece: &[u8]) -> bool {
        match (&mut self.wanted, &mut self.decoder) {
            (Wanted::Object(_, object), Some(decoder)) if !self.broken => {
                self.broken = decoder.feed(piece, *object).is_err();
            }
            (Wanted::Text(reader), _) => self.broken |= !reader.feed(piece),
            _ => {}
        }
        true
    }
}
