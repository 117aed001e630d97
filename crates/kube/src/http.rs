//! HTTP/1.1 (RFC 9112) from the client's side: the response, read in pieces of any size.
//!
//! Of a head only the fields are kept that a client of an API server needs. All others are skipped, whatever their number and
//! length: an admission policy may add a `Warning` field of some hundred bytes for each of its rules.

use crate::Timestamp;
use crate::text::{integer, whole as whole_number};
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
    /// The head does not end within [`HEAD_BYTES`].
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

/// The longest head that is read, with the interim responses in front of it: one without an end does not keep a node busy.
pub const HEAD_BYTES: u32 = 64 * 1024;
/// What is kept of a line. The longest field that is needed is `Date`, of 35 bytes.
const LINE_BYTES: usize = 96;

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

/// Reads the head of one response. Interim responses (100 to 199) in front of it are skipped.
pub struct HeadReader {
    /// The first bytes of the current line.
    line: [u8; LINE_BYTES],
    /// The length of the current line, without its end.
    length: u32,
    /// Bytes read so far.
    total: u32,
    /// Zero before the status line.
    head: ResponseHead,
    content_length: Option<u64>,
    chunked: bool,
}

impl Default for HeadReader {
    fn default() -> Self {
        Self {
            line: [0; LINE_BYTES],
            length: 0,
            total: 0,
            head: ResponseHead::default(),
            content_length: None,
            chunked: false,
        }
    }
}

impl HeadReader {
    /// Takes bytes off the front of `received`: `Ok((taken, head))`. The head comes with the reader of its body once it is whole;
    /// until then everything is taken.
    ///
    /// # Errors
    /// The connection is of no more use.
    #[inline(never)]
    pub fn take(&mut self, received: &[u8]) -> Result<(usize, Option<(ResponseHead, Body)>), HttpError> {
        for (at, &byte) in received.iter().enumerate() {
            self.total += 1;
            if self.total > HEAD_BYTES {
                return Err(HttpError::HeadTooLong);
            }
            if byte != b'\n' {
                if let Some(place) = self.line.get_mut(self.length as usize) {
                    *place = byte;
                }
                self.length += 1;
                continue;
            }
            let whole = self.length as usize <= LINE_BYTES;
            let line = self.line;
            let line = line.get(..self.length as usize).unwrap_or(&line);
            let line = line.strip_suffix(b"\r").filter(|_| whole).unwrap_or(line);
            self.length = 0;
            if !line.is_empty() {
                self.line(line, whole)?;
            } else if self.head.status == 0 {
                return Err(HttpError::Head);
            } else if self.head.status >= 200 {
                return Ok((at + 1, Some(self.finish())));
            } else {
                *self = Self {
                    total: self.total,
                    ..Self::default()
                };
            }
        }
        Ok((received.len(), None))
    }

    /// Reads a line, or the beginning of one that is not `whole`.
    fn line(&mut self, line: &[u8], whole: bool) -> Result<(), HttpError> {
        if self.head.status == 0 {
            return self.status_line(line);
        }
        // Folded lines, which nobody may send, begin with a blank.
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(at) => line.split_at(at),
            None if whole => return Err(HttpError::Head),
            None => return Ok(()), // a name longer than any that is needed
        };
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(HttpError::Head);
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        let text = core::str::from_utf8(value).ok().filter(|_| whole);
        if is("content-length") {
            let length = text.and_then(|text| integer(text, 10));
            let length = length
                .and_then(|length| u64::try_from(length).ok())
                .ok_or(HttpError::Framing)?;
            if self.content_length.is_some_and(|other| other != length) {
                return Err(HttpError::Framing);
            }
            self.content_length = Some(length);
        } else if is("transfer-encoding") {
            if !text.is_some_and(|text| text.eq_ignore_ascii_case("chunked")) {
                return Err(HttpError::Framing);
            }
            self.chunked = true;
        } else if is("connection") {
            // What is beyond the part that is kept may close it.
            self.head.close |= !whole || closes(value);
        } else if is("retry-after") {
            self.head.retry_after = whole_number(text);
        } else if is("date") {
            self.head.date = text.and_then(Timestamp::parse_http_date);
        }
        Ok(())
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), HttpError> {
        let (version, rest) = line.split_at_checked(9).ok_or(HttpError::Head)?;
        let (code, reason) = rest.split_at_checked(3).ok_or(HttpError::Head)?;
        let code = core::str::from_utf8(code).ok().and_then(|code| integer(code, 10));
        let status = code.and_then(|code| u16::try_from(code).ok());
        self.head.close = match version {
            b"HTTP/1.1 " => false,
            b"HTTP/1.0 " => true,
            _ => return Err(HttpError::Head),
        };
        match (status, reason) {
            // A switch to another protocol is never asked for.
            (Some(status @ (100 | 102..=599)), [] | [b' ', ..]) => self.head.status = status,
            _ => return Err(HttpError::Head),
        }
        Ok(())
    }

    fn finish(&mut self) -> (ResponseHead, Body) {
        let Self {
            mut head,
            content_length,
            chunked,
            ..
        } = *self;
        let state = match (head.status, chunked, content_length) {
            (204 | 304, ..) | (_, false, Some(0)) => State::Done,
            (_, true, _) => State::Size { size: 0, digits: 0 },
            (_, false, Some(length)) => State::Length(length),
            (_, false, None) => {
                head.close = true;
                State::Close
            }
        };
        (head, Body { state })
    }
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
        let mut reader = HeadReader::default();
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
                } else {
                    let (taken, head) = reader.take(&buffer)?;
                    buffer.drain(..taken);
                    let Some((head, body)) = head else { break };
                    reader = HeadReader::default();
                    current = Some((head.status, body, Vec::new()));
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
            let _ = HeadReader::default().take(&bytes);
            let head = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 7" };
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            let (_, read) = HeadReader::default().take(head.as_bytes()).expect("valid");
            let (_, mut body) = read.expect("whole");
            let mut rest = &bytes[..];
            while let Ok((taken @ 1.., _)) = body.take(rest) {
                rest = &rest[taken..];
            }
        }
    }

    #[test]
    fn heads() {
        let head = |text: &str| {
            let read = HeadReader::default().take(text.as_bytes());
            read.map(|(_, read)| read.map(|(head, body)| (head, body.state)))
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
        for malformed in [
            "\r\n",
            "HTTP/1.1 99 x\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 101 x\r\n",
            "HTTP/2.0 200 OK\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded: c\r\n",
        ] {
            assert_eq!(head(malformed), Err(HttpError::Head), "{malformed:?}");
        }
        assert_eq!(head("H"), Ok(None));
        assert_eq!(
            head("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            Ok(Some((ok, State::Done)))
        );
        let padded = format!("HTTP/1.1 200 OK\r\nContent-Length: {}1\r\n\r\n", "0".repeat(100));
        assert_eq!(head(&padded), Err(HttpError::Framing));
    }

    #[test]
    fn head_is_read_when_fields_are_long_and_many() {
        let mut text = format!("HTTP/1.1 201 {}\r\n", "Created".repeat(99));
        for number in 0..100 {
            text += &format!("Warning: 299 - \"{number} {}\"\r\n", "deprecated ".repeat(40));
        }
        text += &format!("{}: x\r\n", "X".repeat(200));
        text += "Retry-After: 3\r\nContent-Length: 2\r\n\r\nok";
        let all = text.as_bytes();
        for cut in [1, 95, 96, 97, 98, 500, all.len() - 3] {
            let mut reader = HeadReader::default();
            let (first, none) = reader.take(&all[..cut]).expect("a head");
            assert!(none.is_none() && first == cut, "{cut}");
            let (rest, read) = reader.take(&all[cut..]).expect("a head");
            let (head, body) = read.expect("it is whole");
            assert_eq!((head.status, head.retry_after), (201, Some(3)), "{cut}");
            assert_eq!(body.state, State::Length(2));
            assert_eq!(cut + rest, all.len() - 2);
        }
    }

    #[test]
    fn head_is_refused_when_it_never_ends() {
        for endless in ["X: y\r\n", "x", "HTTP/1.1 100 Continue\r\n\r\n"] {
            let mut reader = HeadReader::default();
            let begin = reader.take(b"HTTP/1.1 100 OK\r\n");
            assert_eq!(begin.map(|(_, read)| read.is_none()), Ok(true));
            if endless.starts_with("HTTP") {
                let _ = reader.take(b"\r\n");
            }
            let pieces = HEAD_BYTES as usize / endless.len() + 1;
            let read = (0..pieces).find_map(|_| reader.take(endless.as_bytes()).err());
            assert_eq!(read, Some(HttpError::HeadTooLong), "{endless:?}");
        }
    }
}
