//! One connection to the API server.

use super::ApiError;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use embedded_io_async::{Read, Write};
use picolet_http::{Body, ResponseReader};
use picolet_kube::request::{Request, write_head};
use picolet_kube::status::{Status, StatusDecoder};
use picolet_kube::{Timestamp, integer};
use picolet_platform::{Endpoint, Lifetime};
use zeroize::Zeroizing;

/// What is read at once.
const READ_BYTES: usize = 512;

const USER_AGENT: &str = concat!("picolet/", env!("CARGO_PKG_VERSION"));

/// What the head of a response says to the client.
#[derive(Default)]
pub(crate) struct ResponseInfo {
    /// The status code.
    pub(super) status: u16,
    /// `Retry-After` in seconds.
    pub(super) retry_after: Option<u32>,
    /// `Date`, the server's clock.
    pub(super) date: Option<Timestamp>,
}

impl ResponseInfo {
    fn field(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("retry-after") {
            self.retry_after = integer(value, 10).and_then(|seconds| u32::try_from(seconds).ok());
        } else if name.eq_ignore_ascii_case("date") {
            self.date = Timestamp::parse_http_date(value);
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
    /// Whether a byte has come since the last request was sent.
    answered: bool,
    /// How many requests were sent.
    requests: u32,
    /// The `Host` of the server.
    host: Box<str>,
    pub(super) endpoint: Endpoint,
    /// Who we are where no certificate says so: a value of `Authorization`.
    pub(super) authorization: Option<Rc<str>>,
    /// When the server's certificates are valid.
    pub(super) validity: Lifetime,
}

impl<S: Read + Write> Connection<S> {
    /// A connection to the server that is called `host`.
    pub(crate) fn new(stream: S, host: Box<str>) -> Self {
        Self {
            stream,
            received: Vec::new(),
            consumed: 0,
            body: None,
            close: false,
            answered: false,
            requests: 0,
            host,
            endpoint: Endpoint::default(),
            authorization: None,
            validity: Lifetime::UNVERIFIED,
        }
    }

    /// Sends a request and reads the head of its answer. The answer to the one before must have been read whole.
    pub(crate) async fn send(&mut self, request: &Request<'_>) -> Result<ResponseInfo, ApiError> {
        (self.answered, self.requests) = (false, self.requests.saturating_add(1));
        self.close = true; // until the answer says otherwise: whoever gives up here leaves the connection unusable
        let mut wiped = Zeroizing::new(String::with_capacity(256));
        let head: &mut String = &mut wiped;
        write_head(head, &self.host, USER_AGENT, request);
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
        let mut reader = Box::<ResponseReader>::default();
        let mut info = ResponseInfo::default();
        loop {
            let (taken, head) = reader
                .take(&self.received[self.consumed..], &mut |name, value| {
                    info.field(name, value)
                })
                .map_err(|_| ApiError::Http)?;
            self.consumed += taken;
            if let Some((head, body)) = head {
                self.close = head.close;
                self.body = Some(body);
                info.status = head.status;
                return Ok(info);
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

    /// Whether the connection can carry another request: a server that says something unasked is about to close it.
    pub(super) fn is_reusable(&self) -> bool {
        !self.close && self.body.is_none() && self.consumed == self.received.len()
    }

    /// Carries no other request.
    pub(super) fn close(&mut self) {
        self.close = true;
    }

    /// Whether the last request got no byte of an answer.
    pub(super) fn is_silent(&self) -> bool {
        !self.answered
    }

    /// Whether it carried requests before the last one.
    pub(super) fn is_reused(&self) -> bool {
        self.requests > 1
    }

    /// Receives more, once everything was looked at.
    async fn receive(&mut self) -> Result<(), ApiError> {
        self.consumed = 0;
        self.received.clear();
        self.received.reserve_exact(READ_BYTES);
        self.received.resize(READ_BYTES, 0);
        let read = self.stream.read(&mut self.received).await;
        self.received.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(1..) => {
                self.answered = true;
                Ok(())
            }
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
