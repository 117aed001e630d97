//! Requests to the API server over one keep-alive connection, and the connection type that watches use too.
//!
//! A full TLS handshake is dear on a microcontroller, so there is one connection for all requests, used in turn. It
//! never decides what to do about a failure; it only obeys the server's word to slow down (429 and `Retry-After`).

use crate::agent::Agent;
use crate::duration;
use crate::metrics::count;
use crate::pods::Runtime;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use embassy_futures::select::{Either, Select, select};
use embedded_io_async::{Read, Write};
use picolet_kube::Timestamp;
use picolet_kube::envelope::Object;
use picolet_kube::http::{self, Body, HEAD_BYTES, ResponseHead};
use picolet_kube::json::{Decoder, Shape, Sink};
use picolet_kube::request::{Resource, Verb, write_head};
use picolet_kube::status::{Status, StatusDecoder};
use picolet_platform::{Clock, DialError, Dialled, Network, Platform};
use pin_project_lite::pin_project;

/// How long one request may take, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A handshake on the slowest board takes a second; three servers may have to be tried.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that we let a server put us off at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What is read at once.
const READ_BYTES: usize = 1024;

const USER_AGENT: &str = concat!("picolet/", env!("CARGO_PKG_VERSION"));

/// Why a request came to nothing.
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
    Dates {
        /// What its clock says.
        time: Timestamp,
        /// When the certificate begins.
        not_before: Timestamp,
        /// When it ends.
        not_after: Timestamp,
    },
    /// The server refused.
    Status(Status),
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
            Self::Dates {
                time,
                not_before,
                not_after,
            } => write!(
                f,
                "it is {} there, and the API server's certificate is valid from {} to {}: set that clock, or renew the certificate",
                time.time(),
                not_before.time(),
                not_after.time()
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
}

impl<S: Read + Write> Connection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            received: Vec::new(),
            consumed: 0,
            body: None,
            close: false,
        }
    }

    /// Sends a request and reads the head of its answer. The answer to the one before must have been read whole.
    pub(crate) async fn send(
        &mut self,
        host: &str,
        resource: Resource<'_>,
        verb: Verb<'_>,
        body: &str,
    ) -> Result<ResponseHead, ApiError> {
        let mut head = String::with_capacity(256);
        write_head(&mut head, host, USER_AGENT, resource, verb, body.len());
        // One after the other: a copy of both together would be the largest allocation of the agent.
        for part in [head.as_str(), body] {
            self.stream
                .write_all(part.as_bytes())
                .await
                .map_err(|_| ApiError::Io)?;
        }
        self.stream.flush().await.map_err(|_| ApiError::Io)?;
        drop(head);
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

impl<P: Platform, N: Network, R: Runtime> Agent<P, N, R> {
    /// A new connection to the API server.
    pub(crate) async fn dial(&self) -> Result<Connection<N::Outbound>, ApiError> {
        let dial = async { self.network.dial().await.map_err(ApiError::Dial) };
        let Dialled { stream, .. } = within(&self.platform, DIAL_TIMEOUT, dial).await?;
        Ok(Connection::new(stream))
    }

    /// Makes a request and hands the body of its answer to `read`, piece by piece. Only a success is `Ok`.
    pub(crate) async fn call(
        &self,
        resource: Resource<'_>,
        verb: Verb<'_>,
        body: &str,
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<ResponseHead, ApiError> {
        let mut client = self.client.lock().await;
        let pause = duration::between(self.platform.uptime(), client.pause_until);
        if !pause.is_zero() {
            self.platform.sleep(pause).await;
        }
        let begun = self.platform.uptime();
        // A server may close an idle connection just as we use it: that is worth one more try on a new one.
        let mut reused = client.connection.is_some();
        let result = loop {
            let mut connection = match client.connection.take() {
                Some(connection) => connection,
                None => match self.dial().await {
                    Ok(connection) => connection,
                    Err(error) => break Err(error),
                },
            };
            let exchange = self.exchange(&mut connection, resource, verb, body, read);
            match within(&self.platform, REQUEST_TIMEOUT, exchange).await {
                Err(ApiError::Io) if core::mem::take(&mut reused) => {}
                Ok(answer) => {
                    if connection.is_reusable() {
                        client.connection = Some(connection);
                    }
                    break Ok(answer);
                }
                Err(error) => break Err(error),
            }
        };
        self.metrics
            .api_latency
            .record(duration::between(begun, self.platform.uptime()));
        let (head, status) = match result {
            Ok(answer) => answer,
            Err(error) => {
                count(&self.metrics.api_failed);
                return Err(error);
            }
        };
        self.follow_time(&head);
        if matches!(head.status, 429 | 503) {
            let pause = Duration::from_secs(u64::from(head.retry_after.unwrap_or(1))).min(LONGEST_PAUSE);
            client.pause_until = self.platform.uptime() + pause;
        }
        count(match head.status {
            200..=299 => &self.metrics.api_ok,
            409 => &self.metrics.api_conflict,
            429 => &self.metrics.api_throttled,
            _ => &self.metrics.api_refused,
        });
        match status {
            None => Ok(head),
            Some(status) => Err(ApiError::Status(status)),
        }
    }

    async fn exchange(
        &self,
        connection: &mut Connection<N::Outbound>,
        resource: Resource<'_>,
        verb: Verb<'_>,
        body: &str,
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<(ResponseHead, Option<Status>), ApiError> {
        let host = self.host();
        let head = connection.send(&host, resource, verb, body).await?;
        if (200..300).contains(&head.status) {
            while let Some(piece) = connection.piece().await? {
                read(piece);
            }
            return Ok((head, None));
        }
        Ok((head, Some(refusal(connection, head.status).await?)))
    }

    /// The `Host` of the API server.
    pub(crate) fn host(&self) -> String {
        self.network.with_host(|host| String::from(host))
    }

    /// Makes a request whose answer is one object, which is read into `object`.
    pub(crate) fn get<T: Object>(
        &self,
        resource: Resource<'_>,
        verb: Verb<'_>,
        body: &str,
        object: &mut T,
    ) -> impl Future<Output = Result<(), ApiError>> {
        self.read(resource, verb, body, T::SHAPE, object)
    }

    /// The same for any type, so that it is compiled once.
    async fn read(
        &self,
        resource: Resource<'_>,
        verb: Verb<'_>,
        body: &str,
        shape: &'static Shape,
        mut object: &mut dyn Sink,
    ) -> Result<(), ApiError> {
        let mut decoder = Decoder::new(shape);
        let (mut valid, mut whole) = (true, false);
        self.call(resource, verb, body, &mut |piece| {
            valid &= decoder.feed(piece, &mut object, &mut |_| whole = true).is_ok();
        })
        .await?;
        if valid && whole {
            Ok(())
        } else {
            Err(ApiError::Json)
        }
    }
}

/// Reads the `Status` of an answer that is no success.
pub(crate) async fn refusal<S: Read + Write>(
    connection: &mut Connection<S>,
    code: u16,
) -> Result<Status, ApiError> {
    let mut decoder = StatusDecoder::default();
    while let Some(piece) = connection.piece().await? {
        decoder.feed(piece);
    }
    // The code of the HTTP answer counts: a proxy's page has no other.
    Ok(Status {
        code,
        ..decoder.finish()
    })
}
