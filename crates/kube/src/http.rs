//! HTTP/1.1 (RFC 9112) from the client's side: the response, read in pieces of any size.
//!
//! Heads are read by the crate `httparse`; the framing of bodies is here.

use crate::Timestamp;
use crate::text::{integer, whole};
use core::fmt;

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the method that it names")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// The head of a response, as far as anybody looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u32>,
    /// The server's clock.
    pub date: Option<Timestamp>,
    /// Whether the server closes the connection behind this response.
    pub close: bool,
}

/// Why bytes are no response that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The head is malformed.
    Head,
    /// The head is longer than the buffer, or has more header fields than are looked at.
    HeadTooLong,
    /// The body's framing is malformed, or one that nobody may send.
    Framing,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "a malformed HTTP response",
            Self::HeadTooLong => "an HTTP response with too long a head",
            Self::Framing => "an HTTP response with malformed framing",
        })
    }
}

impl core::error::Error for HttpError {}

/// The longest head that is read. An API server's is below 700 bytes.
pub const HEAD_BYTES: usize = 2048;
const HEADERS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of body to come.
    Length(u64),
    /// In a chunk's size line: what was read of it so far, whether there was a digit.
    Size { size: u64, digits: u8 },
    /// In what stands behind a chunk's size on its line.
    Extension { size: u64 },
    /// So many bytes of this chunk to come.
    Chunk(u64),
    /// Behind a chunk: its CR LF.
    ChunkEnd,
    /// In the trailer section: whether the line is empty so far.
    Trailer { empty: bool },
    /// Until the connection ends.
    Close,
    /// All read.
    Done,
}

/// Reads the body of one response.
#[derive(Debug)]
pub struct Body {
    state: State,
}

/// Reads the head of a response from the bytes received so far. `None` as long as it is not whole; then the head, the
/// reader of its body, and how many bytes the head took.
///
/// # Errors
/// The connection is of no more use.
#[inline(never)]
pub fn parse_head(received: &[u8]) -> Result<Option<(ResponseHead, Body, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(received) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if received.len() < HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(HttpError::HeadTooLong);
        }
        Err(_) => return Err(HttpError::Head),
    };
    let status = response.code.ok_or(HttpError::Head)?;
    let mut head = ResponseHead {
        status,
        close: response.version != Some(1),
        ..ResponseHead::default()
    };
    let mut content_length = None;
    let mut chunked = false;
    for header in response.headers.iter() {
        let Ok(value) = core::str::from_utf8(header.value.trim_ascii()) else {
            continue;
        };
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let length = integer(value, 10)
                .and_then(|length| u64::try_from(length).ok())
                .ok_or(HttpError::Framing)?;
            if content_length.is_some_and(|other| other != length) {
                return Err(HttpError::Framing);
            }
            content_length = Some(length);
        } else if is("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(HttpError::Framing);
            }
            chunked = true;
        } else if is("connection") {
            head.close |= closes(header.value);
        } else if is("retry-after") {
            head.retry_after = whole(Some(value));
        } else if is("date") {
            head.date = Timestamp::parse_http_date(value);
        }
    }
    let state = match (status, chunked, content_length) {
        (100..=199 | 204 | 304, ..) | (_, false, Some(0)) => State::Done,
        (_, true, _) => State::Size { size: 0, digits: 0 },
        (_, false, Some(length)) => State::Length(length),
        (_, false, None) => {
            head.close = true;
            State::Close
        }
    };
    Ok(Some((head, Body { state }, length)))
}

/// Whether a `Connection` field says that the connection ends.
pub fn closes(connection: &[u8]) -> bool {
    let mut options = connection.split(|byte| *byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

impl Body {
    /// Whether the body was read whole.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the body ends with its connection.
    pub fn ends_with_connection(&self) -> bool {
        self.state == State::Close
    }

    /// Takes bytes off the front of `received`: `Ok((taken, body))`, where `body` is what of them belongs to the body.
    /// Takes nothing once the body is done. To be called until it has taken everything.
    ///
    /// # Errors
    /// The connection is of no more use.
    pub fn take<'a>(&mut self, received: &'a [u8]) -> Result<(usize, &'a [u8]), HttpError> {
        let mut at = 0;
        while let Some(&byte) = received.get(at) {
            self.state = match self.state {
                State::Done => break,
                State::Close => return Ok((received.len(), &received[at..])),
                State::Length(left) | State::Chunk(left) => {
                    let rest = &received[at..];
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let remains = left - take as u64;
                    self.state = match self.state {
                        State::Length(_) if remains == 0 => State::Done,
                        State::Length(_) => State::Length(remains),
                        _ if remains == 0 => State::ChunkEnd,
                        _ => State::Chunk(remains),
                    };
                    return Ok((at + take, &rest[..take]));
                }
                State::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                    (Some(digit), _) if digits < 15 => State::Size {
                        size: size << 4 | u64::from(digit),
                        digits: digits + 1,
                    },
                    (None, b'\n') if digits > 0 => Self::chunk(size),
                    (None, b'\r' | b';' | b' ' | b'\t') if digits > 0 => State::Extension { size },
                    _ => return Err(HttpError::Framing),
                },
                State::Extension { size } if byte == b'\n' => Self::chunk(size),
                state @ State::Extension { .. } => state,
                State::ChunkEnd => match byte {
                    b'\r' => State::ChunkEnd,
                    b'\n' => State::Size { size: 0, digits: 0 },
                    _ => return Err(HttpError::Framing),
                },
                State::Trailer { empty } => match byte {
                    b'\n' if empty => State::Done,
                    b'\n' => State::Trailer { empty: true },
                    b'\r' => State::Trailer { empty },
                    _ => State::Trailer { empty: false },
                },
            };
            at += 1;
        }
        Ok((at, &[]))
    }

    const fn chunk(size: u64) -> State {
        if size == 0 {
            State::Trailer { empty: true }
        } else {
            State::Chunk(size)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, string::String, vec::Vec};

    /// Reads whole responses from `pieces`.
    fn read(pieces: &[&[u8]]) -> Result<Vec<(u16, String)>, HttpError> {
        let mut buffer: Vec<u8> = Vec::new();
        let mut current: Option<(u16, Body, Vec<u8>)> = None;
        let mut done = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                if let Some((status, body, text)) = &mut current {
                    let (taken, part) = body.take(&buffer)?;
                    text.extend_from_slice(part);
                    buffer.drain(..taken);
                    if body.is_done() {
                        done.push((*status, String::from_utf8_lossy(text).into_owned()));
                        current = None;
                    } else if taken == 0 {
                        break;
                    }
                } else if let Some((head, body, length)) = parse_head(&buffer)? {
                    buffer.drain(..length);
                    current = Some((head.status, body, Vec::new()));
                } else {
                    break;
                }
            }
        }
        assert!(current.is_none(), "unfinished");
        Ok(done)
    }

    proptest! {
        #[test]
        fn framing_does_not_depend_on_how_bytes_arrive(chunks in prop::collection::vec("[a-z]{1,20}", 0..5), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
            let body: String = chunks.concat();
            let mut wire = String::from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in &chunks {
                wire += &format!("{:x};x=y\r\n{chunk}\r\n", chunk.len());
            }
            wire += &format!("0\r\nTrailer: x\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
            at.extend([0, wire.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &wire.as_bytes()[w[0]..w[1]]).collect();
            prop_assert_eq!(read(&pieces), Ok(std::vec![(200, body.clone()), (404, body)]));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), chunked in any::<bool>()) {
            let _ = parse_head(&bytes);
            let head = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 7" };
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            let (_, mut body, _) = parse_head(head.as_bytes()).expect("valid").expect("whole");
            let mut rest = &bytes[..];
            while let Ok((taken @ 1.., _)) = body.take(rest) {
                rest = &rest[taken..];
            }
        }
    }

    #[test]
    fn heads() {
        let head = |text: &str| {
            parse_head(text.as_bytes()).map(|read| read.map(|(head, body, _)| (head, body.state)))
        };
        let ok = ResponseHead {
            status: 200,
            ..ResponseHead::default()
        };
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            Ok(Some((ok, State::Done)))
        );
        assert_eq!(head("HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(
            head("HTTP/1.1 200 OK\r\n\r\n"),
            Ok(Some((ResponseHead { close: true, ..ok }, State::Close)))
        );
        let busy = ResponseHead {
            status: 429,
            retry_after: Some(7),
            date: Some(Timestamp::from_seconds(784_111_777)),
            close: true,
        };
        assert_eq!(
            head(
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nConnection: Close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\r\n"
            ),
            Ok(Some((busy, State::Length(5))))
        );
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            Err(HttpError::Framing)
        );
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
            Err(HttpError::Framing)
        );
        assert_eq!(head("SSH-2.0-x\r\n\r\n"), Err(HttpError::Head));
        assert_eq!(parse_head(&[b'H'; 1]).map(|r| r.is_none()), Ok(true));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_BYTES));
        assert_eq!(
            parse_head(endless.as_bytes()).map(|r| r.is_none()),
            Err(HttpError::HeadTooLong)
        );
    }
}
