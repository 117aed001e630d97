//! Request heads, and how the body of a request is framed.
//!
//! `httparse` reads the head. What is decided here is what is *not* served: anything that two readers could understand
//! differently is refused, so that nobody smuggles a request past a proxy in front of a node. A body has a
//! `Content-Length`, or is chunked, as the API server's proxy sends the bodies of `kubectl create --raw`.

use crate::field;
use crate::method::Method;
use core::fmt;
use core::ops::Range;

/// Limits for one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Length of the head in bytes, 65,535 at most.
    pub head_bytes: usize,
    /// Length of the body in bytes.
    pub body_bytes: usize,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Not an HTTP/1 request.
    Malformed,
    /// The head exceeds [`RequestLimits::head_bytes`] or [`REQUEST_FIELDS`].
    HeadTooLong,
    /// The request target does not begin with a path.
    Target,
    /// `Host` is missing or repeated.
    Host,
    /// `Authorization` is repeated.
    Authorization,
    /// `Content-Length` is malformed, repeated, or stands beside a `Transfer-Encoding`; or a chunk is malformed.
    Framing,
    /// The body exceeds [`RequestLimits::body_bytes`].
    BodyTooLong,
    /// `Expect` is something other than `100-continue`.
    Expectation,
    /// The request was not complete in time.
    Timeout,
}

impl RequestError {
    /// The status code of the response.
    pub const fn code(self) -> u16 {
        match self {
            Self::Malformed | Self::Target | Self::Host | Self::Authorization | Self::Framing => 400,
            Self::Timeout => 408,
            Self::BodyTooLong => 413,
            Self::Expectation => 417,
            Self::HeadTooLong => 431,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed HTTP/1.1 request",
            Self::HeadTooLong => "request head too long: send fewer or shorter header fields",
            Self::Target => "request target has no path",
            Self::Host => "missing or repeated Host header field",
            Self::Authorization => "repeated Authorization header field",
            Self::Framing => "ambiguous or malformed body framing: send one Content-Length, or chunks",
            Self::BodyTooLong => "request body too long",
            Self::Expectation => "unsupported expectation: only 100-continue",
            Self::Timeout => "request timed out",
        })
    }
}

impl core::error::Error for RequestError {}

/// A part of the head, by where it begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span(u16, u16);

impl Span {
    /// Where `part` lies in `whole`, of which it is a part.
    fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
        let at = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        Self(at(start), at(start + part.len()))
    }

    fn text(self, whole: &[u8]) -> &str {
        let part = whole.get(usize::from(self.0)..usize::from(self.1));
        core::str::from_utf8(part.unwrap_or_default()).unwrap_or_default()
    }
}

/// The head of a request. Its texts stay in the buffer that it was read from.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    path: Span,
    query: Span,
    token: Option<Span>,
    /// How long the head is, in bytes.
    pub length: usize,
    /// How long the body is, in bytes; 0 if it is chunked.
    pub body: usize,
    /// Whether the body is chunked: read it with [`Body::CHUNKED`](crate::Body::CHUNKED).
    pub chunked: bool,
    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether the connection ends with this request.
    pub close: bool,
    /// Whether the peer speaks HTTP/1.0, which knows no chunks.
    pub http_1_0: bool,
    /// Why the request is not served, if it is not. Where its body ends is unknown then.
    pub error: Option<RequestError>,
}

/// Limit for the number of fields in a request head. The API server's proxy sends fewer than ten.
pub const REQUEST_FIELDS: usize = 32;

/// The fields that are interpreted, and their index in this list.
const INTERPRETED: [&str; 6] = [
    "host",
    "authorization",
    "content-length",
    "transfer-encoding",
    "connection",
    "expect",
];
const HOST: usize = 0;
const AUTHORIZATION: usize = 1;
const CONTENT_LENGTH: usize = 2;
const TRANSFER_ENCODING: usize = 3;
const CONNECTION: usize = 4;

impl RequestHead {
    /// Reads the head of a request from what was received so far. `None` as long as it is not whole.
    ///
    /// # Errors
    /// [`RequestError::Malformed`] or [`RequestError::HeadTooLong`]. What is wrong with a head that could be read is
    /// in [`RequestHead::error`], so that the answer can be given in the form that its path asks for.
    #[inline(never)]
    pub fn parse(received: &[u8], limits: RequestLimits) -> Result<Option<Self>, RequestError> {
        let limit = limits.head_bytes.min(usize::from(u16::MAX));
        let considered = &received[..received.len().min(limit)];
        let mut fields = [httparse::EMPTY_HEADER; REQUEST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(considered) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if received.len() < limit => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(RequestError::HeadTooLong);
            }
            Err(_) => return Err(RequestError::Malformed),
        };
        // `httparse` takes a line that ends without a carriage return, and a proxy may not.
        let ends = |at: &usize| received[*at] == b'\n' && (*at == 0 || received[*at - 1] != b'\r');
        if (0..length).any(|at| ends(&at)) {
            return Err(RequestError::Malformed);
        }
        let (path, query) = split_target(request.path.unwrap_or_default());
        let mut head = Self {
            method: Method::parse(request.method.unwrap_or_default()),
            path: Span::of(received, path.as_bytes()),
            query: Span::of(received, query.as_bytes()),
            token: None,
            length,
            body: 0,
            chunked: false,
            expects_continue: false,
            close: false,
            http_1_0: request.version == Some(0),
            error: None,
        };
        head.close = head.http_1_0;
        if !path.starts_with('/') {
            head.error = Some(RequestError::Target);
        } else {
            head.error = head.read_fields(received, request.headers, limits).err();
        }
        head.close |= head.error.is_some();
        Ok(Some(head))
    }

    fn read_fields(
        &mut self,
        received: &[u8],
        fields: &[httparse::Header<'_>],
        limits: RequestLimits,
    ) -> Result<(), RequestError> {
        let (mut hosts, mut authorizations, mut lengths, mut encodings) = (0, 0, 0, 0);
        let mut coding: &[u8] = &[];
        for field in fields {
            let value = field.value.trim_ascii();
            match INTERPRETED
                .iter()
                .position(|name| name.eq_ignore_ascii_case(field.name))
            {
                Some(HOST) => hosts += 1,
                Some(AUTHORIZATION) => {
                    authorizations += 1;
                    self.token = bearer(value).map(|token| Span::of(received, token));
                }
                Some(CONTENT_LENGTH) => {
                    lengths += 1;
                    let length = field::content_length(value).ok_or(RequestError::Framing)?;
                    self.body = usize::try_from(length).unwrap_or(usize::MAX);
                }
                Some(TRANSFER_ENCODING) => {
                    encodings += 1;
                    coding = value;
                }
                Some(CONNECTION) => self.close |= field::has_option(value, "close"),
                Some(_) => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(RequestError::Expectation);
                    }
                    self.expects_continue = !self.http_1_0;
                }
                None => {}
            }
        }
        match (encodings, lengths) {
            (0, 0 | 1) => {}
            (1, 0) if !self.http_1_0 && field::is_chunked(coding) => {
                self.chunked = true;
            }
            _ => return Err(RequestError::Framing),
        }
        if hosts > 1 || (hosts == 0 && !self.http_1_0) {
            return Err(RequestError::Host);
        }
        if authorizations > 1 {
            return Err(RequestError::Authorization);
        }
        if self.body > limits.body_bytes {
            return Err(RequestError::BodyTooLong);
        }
        Ok(())
    }

    /// The path, from the bytes that the head was read from. It is not decoded: no path of the API needs it.
    pub fn path<'a>(&self, received: &'a [u8]) -> &'a str {
        self.path.text(received)
    }

    /// The query behind the path, without its question mark.
    pub fn query<'a>(&self, received: &'a [u8]) -> &'a str {
        self.query.text(received)
    }

    /// The bearer token.
    pub fn token<'a>(&self, received: &'a [u8]) -> Option<&'a str> {
        self.token.map(|token| token.text(received))
    }

    /// Where the bearer token is in the bytes that the head was read from, for the caller to overwrite it.
    pub fn token_range(&self) -> Range<usize> {
        self.token
            .map_or(0..0, |Span(start, end)| start.into()..end.into())
    }
}

/// Splits a request's target in origin form, or in the absolute form that proxies are sent (RFC 9112 §3.2).
fn split_target(target: &str) -> (&str, &str) {
    let absolute = target
        .strip_prefix("http://")
        .or_else(|| target.strip_prefix("https://"));
    let from_path = match absolute {
        Some(rest) => cut(rest, b'/').1,
        None => target,
    };
    let (path, query) = cut(from_path, b'?');
    (path, query.strip_prefix('?').unwrap_or_default())
}

/// What is before the first `byte`, which is an ASCII character, and the rest from there.
fn cut(text: &str, byte: u8) -> (&str, &str) {
    let at = text.bytes().position(|other| other == byte);
    at.and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

/// The token of `Bearer …` (RFC 6750); nothing for another scheme.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    const LIMITS: RequestLimits = RequestLimits {
        head_bytes: 1024,
        body_bytes: 16,
    };

    fn read(text: &str) -> Result<Option<RequestHead>, RequestError> {
        RequestHead::parse(text.as_bytes(), LIMITS)
    }

    #[test]
    fn head_is_read_once_it_is_whole() {
        let text = "POST http://h/exec?tty=1 HTTP/1.1\r\nHost: h\r\nAuthorization: bearer  secret \r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc";
        let received = text.as_bytes();
        let head = read(text).expect("a head").expect("it is whole");
        assert_eq!((head.method, head.error), (Method::Post, None));
        assert_eq!((head.path(received), head.query(received)), ("/exec", "tty=1"));
        assert_eq!(head.token(received), Some("secret"));
        assert_eq!(&received[head.token_range()], b"secret");
        assert_eq!((&received[head.length..], head.body), (&b"abc"[..], 3));
        assert!(head.expects_continue && !head.close && !head.http_1_0);
        for end in 0..head.length {
            assert!(matches!(read(&text[..end]), Ok(None)), "{end}");
        }
    }

    #[test]
    fn head_is_refused_when_it_exceeds_a_limit() {
        let many = "X: y\r\n".repeat(REQUEST_FIELDS + 1);
        let long = format!("X: {}\r\n", "y".repeat(LIMITS.head_bytes));
        for fields in [many, long] {
            let head = read(&format!("GET / HTTP/1.1\r\n{fields}\r\n"));
            assert_eq!(head.err(), Some(RequestError::HeadTooLong));
        }
        let head = read("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\n\r\n");
        let head = head.expect("a head").expect("it is whole");
        assert_eq!((head.error, head.close), (Some(RequestError::BodyTooLong), true));
    }
}
