//! Requests to the API server over one keep-alive connection, and the connection type that watches use too.
//!
//! A full TLS handshake is dear on a microcontroller, so there is one connection for all requests, used in turn. It
//! never decides what to do about a failure; it only obeys the server's word to slow down (429 and `Retry-After`).

use crate::agent::Agent;
use crate::host::{Host, Outbound};
use crate::metrics::count;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt::{self, Write as _};
use core::pin::Pin;
use core::task::{Context, Poll};
use embassy_futures::select::{Either, Select, select};
use embedded_io_async::{Read, Write};
use picolet_kube::Timestamp;
use picolet_kube::envelope::Object;
use picolet_kube::http::{self, Body, HEAD_BYTES, ResponseHead};
use picolet_kube::json::{Code, Decoder, Sink};
use picolet_kube::request::{Request, write_head};
use picolet_kube::status::{Status, StatusDecoder};
use picolet_platform::{Clock, DialError, Dialled, Duration, Lifetime, Network};
use pin_project_lite::pin_project;
use zeroize::Zeroizing;

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
/// What is read at once.
const READ_BYTES: usize = 512;

const USER_AGENT: &str = concat!("picolet/", env!("CARGO_PKG_VERSION"));

/// Why a request came to nothing. Small: it is handed on through every future that makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// There is no connection.
    Dial(DialError),
    /// The connection broke.
    Io,
    /// The answer was no HTTP that we read.
    Http,
    /// The answer was not the JSON that it should have been.
    Json,
    /// No answer in time.
    Timeout,
    /// By the server's own clock its certificate is not valid.
    Dates(Box<Dates>),
    /// The node's name is that of another machine.
    #[cfg(feature = "identity")]
    NameTaken,
    /// The server refused.
    Status(Box<Status>),
}

/// See [`ApiError::Dates`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dates {
    /// What the server's clock says.
    pub(crate) time: Timestamp,
    /// The node's time floor.
    pub(crate) floor: Timestamp,
    /// When its certificate begins.
    pub(crate) not_before: Timestamp,
    /// When it ends.
    pub(crate) not_after: Timestamp,
}

impl ApiError {
    /// The HTTP status code, or 0 where there was no answer.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Status(status) => status.code,
            _ => 0,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Io => f.write_str("the connection to the API server broke"),
            Self::Http => f.write_str("the API server's answer is no HTTP/1.1 that is understood"),
            Self::Json => f.write_str("the API server's answer is malformed"),
            Self::Timeout => f.write_str("the API server did not answer in time"),
            Self::Dates(dates) if dates.floor > dates.not_after => write!(
                f,
                "the API server's certificate expired at {}, before the confirmed time {}: renew it, or reset the node's identity",
                dates.not_after.time(),
                dates.floor.time()
            ),
            Self::Dates(dates) => write!(
                f,
                "it is {} there, and the API server's certificate is valid from {} to {}: set that clock, or renew the certificate",
                dates.time.time(),
                dates.not_before.time(),
                dates.not_after.time()
            ),
            #[cfg(feature = "identity")]
            Self::NameTaken => f.write_str(
                "another machine has this name (its machine id differs): start with another --node-name, or, if that machine is gone for good, kubectl delete node",
            ),
            Self::Status(status) if status.message.is_empty() => write!(f, "HTTP {}", u32::from(status.code)),
            Self::Status(status) => write!(f, "{} (HTTP {})", status.message, u32::from(status.code)),
        }
    }
}

/// A connection to the API server on which one request is answered at a time.
pub(crate) struct Connection<S> {
    stream: S,
    /// What was received and not yet looked at.
    received: Vec<u8>,
    /// What of it was looked at.
    consumed: usize,
    body: Option<Body>,
    close: bool,
    /// Who we are where no certificate says so: a value of `Authorization`.
    authorization: Option<Rc<str>>,
    /// When the server's certificates are valid.
    validity: Lifetime,
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            received: Vec::new(),
            consumed: 0,
            body: None,
            close: false,
            authorization: None,
            validity: Lifetime::UNVERIFIED,
        }
    }

    /// Sends a request and reads the head of its answer. The answer to the one before must have been read whole.
    pub(crate) async fn send(&mut self, host: &str, request: &Request<'_>) -> Result<ResponseHead, ApiError> {
        self.close = true; // until the answer says otherwise: whoever gives up here leaves the connection unusable
        let mut wiped = Zeroizing::new(String::with_capacity(256));
        let head: &mut String = &mut wiped;
        write_head(head, host, USER_AGENT, request);
        if let Some(value) = &self.authorization {
            head.truncate(head.len() - 2); // the empty line that ends it
            let _ = write!(head, "Authorization: {value}\r\n\r\n");
        }
        // One after the other: a copy of both together would be the largest allocation of the agent.
        for part in [head.as_bytes(), request.payload()] {
            self.stream.write_all(part).await.map_err(|_| ApiError::Io)?;
        }
        self.stream.flush().await.map_err(|_| ApiError::Io)?;
        drop(wiped);
        self.body = None;
        loop {
            if let Some((head, body, length)) =
                http::parse_head(&self.received[self.consumed..]).map_err(|_| ApiError::Http)?
            {
                self.consumed += length;
                if head.status < 200 {
                    continue; // an interim answer; the real one follows
                }
                self.close = head.close;
                self.body = Some(body);
                return Ok(head);
            }
            self.receive().await?;
        }
    }

    /// The next piece of the answer's body, or `None` at its end.
    pub(crate) async fn piece(&mut self) -> Result<Option<&[u8]>, ApiError> {
        loop {
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            if body.is_done() {
                self.body = None;
                return Ok(None);
            }
            let (taken, piece) = body
                .take(&self.received[self.consumed..])
                .map_err(|_| ApiError::Http)?;
            let length = piece.len();
            self.consumed += taken;
            if length > 0 {
                // A piece is always the last of what was taken.
                return Ok(self.received.get(self.consumed - length..self.consumed));
            }
            if self.consumed == self.received.len() && !self.body.as_ref().is_some_and(Body::is_done) {
                match self.receive().await {
                    Err(ApiError::Io) if self.body.as_ref().is_some_and(Body::ends_with_connection) => {
                        self.body = None;
                        return Ok(None);
                    }
                    received => received?,
                }
            }
        }
    }

    /// Whether the connection can carry another request.
    fn is_reusable(&self) -> bool {
        !self.close && self.body.is_none()
    }

    async fn receive(&mut self) -> Result<(), ApiError> {
        self.received.drain(..self.consumed);
        self.consumed = 0;
        let length = self.received.len();
        if length >= HEAD_BYTES {
            return Err(ApiError::Http);
        }
        self.received.reserve_exact(READ_BYTES);
        self.received.resize(length + READ_BYTES, 0);
        let read = self.stream.read(&mut self.received[length..]).await;
        self.received.truncate(length + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(1..) => Ok(()),
            _ => Err(ApiError::Io),
        }
    }
}

/// Takes the body of an answer that is a success.
pub(crate) trait Reader {
    /// Whether there is room for what a piece brings. While there is none, nothing is read from the connection.
    fn has_room(&self) -> bool {
        true
    }
    /// Reads the next piece; returns whether what follows can be read too.
    fn feed(&mut self, piece: &[u8]) -> bool;
}

/// The one connection for requests, and how long the server wants to be left alone.
pub(crate) struct Client<S> {
    connection: Option<Connection<S>>,
    /// The uptime before which nothing may be sent.
    pause_until: Duration,
}

impl<S> Default for Client<S> {
    fn default() -> Self {
        Self {
            connection: None,
            pause_until: Duration::ZERO,
        }
    }
}

impl<S: Read + Write> Client<S> {
    fn keep_if_reusable(&mut self) {
        if !self.connection.as_ref().is_some_and(Connection::is_reusable) {
            self.connection = None;
        }
    }
}

pin_project! {
    /// See [`within`]. A struct and no `async fn`, which would keep the future twice: as its argument and as what it
    /// awaits.
    pub(crate) struct Within<F, S> {
        #[pin]
        either: Select<F, S>,
    }
}

impl<T, F: Future<Output = Result<T, ApiError>>, S: Future> Future for Within<F, S> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().either.poll(context).map(|either| match either {
            Either::First(result) => result,
            Either::Second(_) => Err(ApiError::Timeout),
        })
    }
}

/// Waits for `future`, but no longer than `limit`.
pub(crate) fn within<T, F: Future<Output = Result<T, ApiError>>>(
    clock: &impl Clock,
    limit: Duration,
    future: F,
) -> impl Future<Output = F::Output> {
    Within {
        either: select(future, clock.sleep(limit)),
    }
}

impl<H: Host> Agent<H> {
    /// A new connection to the API server.
    pub(crate) async fn dial(&self) -> Result<Connection<Outbound<H>>, ApiError> {
        let dial = async { self.network.dial().await.map_err(ApiError::Dial) };
        let dialled = within(&self.platform, DIAL_TIMEOUT, dial).await;
        if let Err(ApiError::Dial(DialError::Tls)) = dialled {
            self.time.doubt();
        }
        let Dialled { stream, validity, .. } = dialled?;
        let mut connection = Connection::new(stream);
        connection.validity = validity;
        connection.authorization = self.bootstrap.borrow().clone();
        Ok(connection)
    }

    /// Ends the connection for requests, once nobody uses it: the next shows the certificate of then.
    #[cfg(feature = "identity")]
    pub(crate) async fn hang_up(&self) {
        self.client.lock().await.connection = None;
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
        let left = || by.map_or(ANSWER, |by| by.saturating_sub(self.platform.uptime()));
        let (host, sent_at) = (self.host(), self.platform.uptime());
        let sent = connection.send(&host, request);
        let head = within(&self.platform, left().min(ANSWER), sent).await?;
        drop(host);
        let latency = self.platform.uptime().saturating_sub(sent_at);
        self.answered_at(&head, connection.validity, latency);
        if !(200..300).contains(&head.status) {
            let refusal = refusal(connection, head.status);
            let status = within(&self.platform, left().min(ANSWER), refusal).await?;
            return Ok((head, Some(status)));
        }
        begun.into_iter().for_each(count);
        loop {
            while !reader.has_room() {
                self.platform.sleep(ROOM).await;
            }
            match within(&self.platform, left(), connection.piece()).await? {
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
    #[cfg(feature = "identity")]
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
        let mut shared = match patience {
            None => Some(self.client.lock().await),
            Some(patience) => match select(self.client.lock(), self.platform.sleep(patience)).await {
                Either::First(client) => Some(client),
                Either::Second(()) => None,
            },
        };
        // On the heap, since it is rarely there.
        let mut own = None;
        let client = match &mut shared {
            Some(client) => &mut **client,
            None => &mut **own.insert(Box::new(Client::default())),
        };
        let pause = client.pause_until.saturating_sub(self.platform.uptime());
        if !pause.is_zero() {
            self.platform.sleep(pause).await;
        }
        let mut answer = Answer {
            decoder: match wanted {
                Wanted::Object(shape, _) => Some(Decoder::new(shape)),
                _ => None,
            },
            wanted,
            broken: false,
        };
        let begun = self.platform.uptime();
        // One that was given up in the middle of an exchange is not to be used either.
        client.keep_if_reusable();
        // A server may close an idle connection just as we use it: that is worth one more try on a new one.
        let mut reused = client.connection.is_some();
        let result = loop {
            let connection = match &mut client.connection {
                Some(connection) => connection,
                None => match self.dial().await {
                    Ok(connection) => client.connection.insert(connection),
                    Err(error) => break Err(error),
                },
            };
            let by = Some(self.platform.uptime() + REQUEST_TIMEOUT);
            match self.exchange(connection, request, by, None, &mut answer).await {
                Err(ApiError::Io) if core::mem::take(&mut reused) => client.connection = None,
                Err(error) => {
                    client.connection = None;
                    break Err(error);
                }
                answered => break answered,
            }
        };
        self.answered(client, begun, result)?;
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
        client: &mut Client<Outbound<H>>,
        begun: Duration,
        result: Result<(ResponseHead, Option<Box<Status>>), ApiError>,
    ) -> Result<(), ApiError> {
        client.keep_if_reusable();
        let now = self.platform.uptime();
        self.metrics.api_latency.record(now.saturating_sub(begun));
        let (head, status) = result.inspect_err(|_| count(&self.metrics.api_failed))?;
        if matches!(head.status, 429 | 503) {
            let pause = Duration::from_secs(u64::from(head.retry_after.unwrap_or(1))).min(LONGEST_PAUSE);
            client.pause_until = now + pause;
        }
        count(match head.status {
            200..=299 => &self.metrics.api_ok,
            409 => &self.metrics.api_conflict,
            429 => &self.metrics.api_throttled,
            _ => &self.metrics.api_refused,
        });
        if head.status == 401 {
            // The next try shows the certificate anew.
            client.connection = None;
        }
        #[cfg(feature = "identity")]
        if self.bootstrap.borrow().is_none() {
            match head.status {
                401 => self
                    .refused
                    .set(Some(crate::identity::refused_again(self.refused.get(), now))),
                // Whoever is not authenticated gets no such answer; a proxy may give others.
                200..=299 | 403 | 404 | 409 => self.refused.set(None),
                _ => {}
            }
        }
        status.map_or(Ok(()), |status| Err(ApiError::Status(status)))
    }
}

/// What is done with the body of an answer.
enum Wanted<'a> {
    Nothing,
    Object(Code, &'a mut dyn Sink),
    #[cfg(feature = "identity")]
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
            #[cfg(feature = "identity")]
            (Wanted::Text(reader), _) => self.broken |= !reader.feed(piece),
            _ => {}
        }
        true
    }
}

/// Reads the `Status` of an answer that is no success.
pub(crate) async fn refusal<S: Read + Write>(
    connection: &mut Connection<S>,
    code: u16,
) -> Result<Box<Status>, ApiError> {
    let mut decoder = StatusDecoder::default();
    while let Some(piece) = connection.piece().await? {
        decoder.feed(piece);
    }
    // The code of the HTTP answer counts: a proxy's page has no other.
    let mut status = Box::new(decoder.finish());
    status.code = code;
    Ok(status)
}
