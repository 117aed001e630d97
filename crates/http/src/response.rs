//! Response heads, read in pieces of any size, and the names of status codes.
//!
//! Only one line is held at a time, and of a long line only its beginning: an admission policy may add a `Warning` field
//! of some hundred bytes for each of its rules, and any number of them is skipped. A client that needs long fields, as a
//! registry's `Location`, names them ([`ResponseReader::with_long_fields`]).

use crate::body::Body;
use crate::error::HttpError;
use crate::field;
use alloc::vec::Vec;

/// Limit for the length of a response head in bytes, with the interim responses (100 to 199) in front of it.
pub const RESPONSE_HEAD_BYTES: u32 = 64 * 1024;
/// Bytes of a line that are held. Longer fields are skipped. The longest field that anybody needs is `Date`, of 35 bytes.
const LINE_BYTES: usize = 96;

/// What the head of a response says about the message. Fields for the client go to the callback of [`ResponseReader::take`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code, 200 to 599.
    pub status: u16,
    /// Whether the server closes the connection after this response.
    pub close: bool,
}

/// Reads the head of one response. Interim responses in front of it are skipped.
pub struct ResponseReader {
    /// The beginning of the current line.
    line: [u8; LINE_BYTES],
    /// Length of the current line in bytes, without its LF.
    length: u32,
    /// Bytes read so far.
    total: u32,
    parsed: Parsed,
    /// Names of the fields that are held whole.
    long_names: &'static [&'static str],
    /// Limit for the length of such a line in bytes.
    long_limit: usize,
    /// What follows `line` of such a field.
    long: Vec<u8>,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self {
            line: [0; _],
            length: 0,
            total: 0,
            parsed: Parsed::default(),
            long_names: &[],
            long_limit: 0,
            long: Vec::new(),
        }
    }
}

impl ResponseReader {
    /// A reader that holds fields with one of these names whole, lines of up to `limit` bytes.
    pub fn with_long_fields(names: &'static [&'static str], limit: usize) -> Self {
        Self {
            long_names: names,
            long_limit: limit,
            ..Self::default()
        }
    }

    /// Takes bytes off the front of `received`: `Ok((taken, head))`. The head comes with the reader of its body once it is complete;
    /// until then all bytes are taken. `on_field` gets name and value of each field that does not concern framing, unless it is longer
    /// than 96 bytes and not named as a long one, or not UTF-8.
    ///
    /// # Errors
    /// The connection is of no more use.
    #[inline(never)]
    pub fn take(
        &mut self,
        received: &[u8],
        on_field: &mut dyn FnMut(&str, &str),
    ) -> Result<(usize, Option<(ResponseHead, Body)>), HttpError> {
        for (at, &byte) in received.iter().enumerate() {
            self.total += 1;
            if self.total > RESPONSE_HEAD_BYTES {
                return Err(HttpError::HeadTooLong);
            }
            if byte != b'\n' {
                if let Some(place) = self.line.get_mut(self.length as usize) {
                    *place = byte;
                } else {
                    self.push_long(byte);
                }
                self.length += 1;
                continue;
            }
            if self.line(on_field)? {
                if self.parsed.head.status >= 200 {
                    return Ok((at + 1, Some(self.parsed.finish())));
                }
                self.parsed = Parsed::default();
            }
        }
        Ok((received.len(), None))
    }

    /// Takes a byte beyond the beginning of a line. Not inlined, since most clients hold no long lines.
    #[cold]
    #[inline(never)]
    fn push_long(&mut self, byte: u8) {
        if self.length as usize == LINE_BYTES {
            let is_named = |name: &&str| {
                let (begin, rest) = self.line.split_at_checked(name.len()).unwrap_or_default();
                begin.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':')
            };
            self.long.clear();
            if self.long_names.iter().any(is_named) {
                self.long.extend_from_slice(&self.line);
            }
        }
        // What is not held from its beginning, or exceeds the limit, is skipped.
        if self.long.len() == self.length as usize && self.long.len() < self.long_limit {
            self.long.push(byte);
        }
    }

    /// Reads the line that has ended; returns whether it is the empty one at the end of the head.
    fn line(&mut self, on_field: &mut dyn FnMut(&str, &str)) -> Result<bool, HttpError> {
        let length = core::mem::take(&mut self.length) as usize;
        let whole = length <= LINE_BYTES || length == self.long.len();
        let line = match self.line.get(..length) {
            Some(line) => line,
            None if whole => &self.long,
            None => &self.line,
        };
        let line = line.strip_suffix(b"\r").filter(|_| whole).unwrap_or(line);
        match (self.parsed.head.status, line) {
            (0, line) => self.parsed.status_line(line)?,
            (_, []) => return Ok(true),
            (_, line) => self.parsed.field(line, whole, on_field)?,
        }
        Ok(false)
    }
}

/// What was read of a head so far.
#[derive(Clone, Copy, Default)]
struct Parsed {
    /// The status is 0 until the status line was read.
    head: ResponseHead,
    content_length: Option<u64>,
    chunked: bool,
}

impl Parsed {
    /// Reads a status line, which may be cut off in its reason phrase.
    fn status_line(&mut self, line: &[u8]) -> Result<(), HttpError> {
        let (version, rest) = line.split_at_checked(9).ok_or(HttpError::Head)?;
        let (code, reason) = rest.split_at_checked(3).ok_or(HttpError::Head)?;
        self.head.close = match version {
            b"HTTP/1.1 " => false,
            b"HTTP/1.0 " => true,
            _ => return Err(HttpError::Head),
        };
        let status = field::content_length(code).and_then(|status| u16::try_from(status).ok());
        match (status, reason) {
            // No request asks for a switch to another protocol.
            (Some(status @ (100 | 102..=599)), [] | [b' ', ..]) => self.head.status = status,
            _ => return Err(HttpError::Head),
        }
        Ok(())
    }

    /// Reads a field line. One that is not `whole` is cut off.
    fn field(
        &mut self,
        line: &[u8],
        whole: bool,
        on_field: &mut dyn FnMut(&str, &str),
    ) -> Result<(), HttpError> {
        // A folded line, which nobody may send, begins with a blank.
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(at) => line.split_at(at),
            None if whole => return Err(HttpError::Head),
            None => return Ok(()), // a name longer than any that is needed
        };
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(HttpError::Head);
        }
        let name = core::str::from_utf8(name).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("content-length") {
            let length = field::content_length(value).filter(|_| whole);
            let length = length.ok_or(HttpError::Framing)?;
            if self.content_length.is_some_and(|other| other != length) {
                return Err(HttpError::Framing);
            }
            self.content_length = Some(length);
        } else if is("transfer-encoding") {
            if !whole || !field::is_chunked(value) {
                return Err(HttpError::Framing);
            }
            self.chunked = true;
        } else if is("connection") {
            // What was cut off may close it.
            self.head.close |= !whole || field::has_option(value, "close");
        } else if whole && let Ok(value) = core::str::from_utf8(value) {
            on_field(name, value);
        }
        Ok(())
    }

    fn finish(self) -> (ResponseHead, Body) {
        let mut head = self.head;
        let body = match (head.status, self.chunked, self.content_length) {
            (204 | 304, ..) => Body::EMPTY,
            (_, true, _) => Body::CHUNKED,
            (_, false, Some(length)) => Body::of_length(length),
            (_, false, None) => {
                head.close = true;
                Body::UNTIL_CLOSE
            }
        };
        (head, body)
    }
}

/// The reason phrase of a status code (RFC 9110 §15).
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
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
        let mut reader = ResponseReader::default();
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
                    let (taken, head) = reader.take(&buffer, &mut |_, _| {})?;
                    buffer.drain(..taken);
                    let Some((head, body)) = head else { break };
                    reader = ResponseReader::default();
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
            let _ = ResponseReader::default().take(&bytes, &mut |_, _| {});
            let head = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 7" };
            let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            let (_, read) = ResponseReader::default().take(head.as_bytes(), &mut |_, _| {}).expect("valid");
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
            let read = ResponseReader::default().take(text.as_bytes(), &mut |_, _| {});
            read.map(|(_, read)| read)
        };
        let ok = ResponseHead {
            status: 200,
            ..ResponseHead::default()
        };
        assert_eq!(
            head("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            Ok(Some((ok, Body::EMPTY)))
        );
        assert_eq!(head("HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(
            head("HTTP/1.1 200 OK\r\n\r\n"),
            Ok(Some((ResponseHead { close: true, ..ok }, Body::UNTIL_CLOSE)))
        );
        let busy = ResponseHead {
            status: 429,
            close: true,
        };
        assert_eq!(
            head(
                "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nConnection: Close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\r\n"
            ),
            Ok(Some((busy, Body::of_length(5))))
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
            Ok(Some((ok, Body::EMPTY)))
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
            let mut reader = ResponseReader::default();
            let mut fields = Vec::new();
            let mut on_field = |name: &str, value: &str| {
                fields.push(format!("{name}: {value}"));
            };
            let (first, none) = reader.take(&all[..cut], &mut on_field).expect("a head");
            assert!(none.is_none() && first == cut, "{cut}");
            let (rest, read) = reader.take(&all[cut..], &mut on_field).expect("a head");
            let (head, body) = read.expect("it is whole");
            assert_eq!(
                (head.status, fields),
                (201, std::vec![String::from("Retry-After: 3")]),
                "{cut}"
            );
            assert_eq!(body, Body::of_length(2));
            assert_eq!(cut + rest, all.len() - 2);
        }
    }

    #[test]
    fn long_field_is_read_when_it_is_named() {
        let mut text = String::from("HTTP/1.1 307 Temporary Redirect\r\n");
        let location = format!("https://cdn.example/{}", "x".repeat(300));
        text += &format!("Warning: {}\r\nlocation: {location}\r\n", "w".repeat(300));
        text += &format!("Location: {}\r\nLocation-Not: {location}\r\n", "y".repeat(1000));
        text += &format!("Short: 1\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "z".repeat(95));
        for step in [1, 7, 96, 97, text.len()] {
            let mut reader = ResponseReader::with_long_fields(&["Location"], 512);
            let mut fields = Vec::new();
            let mut status = 0;
            for piece in text.as_bytes().chunks(step) {
                let mut on_field = |name: &str, value: &str| fields.push(format!("{name}: {value}"));
                let (_, head) = reader.take(piece, &mut on_field).expect("a head");
                status = head.map_or(status, |(head, _)| head.status);
            }
            assert_eq!(status, 307);
            let expected = [format!("location: {location}"), String::from("Short: 1")];
            assert_eq!(fields, expected, "in pieces of {step}");
        }
    }

    #[test]
    fn head_is_refused_when_it_never_ends() {
        for endless in ["X: y\r\n", "x", "HTTP/1.1 100 Continue\r\n\r\n"] {
            let mut reader = ResponseReader::default();
            let begin = reader.take(b"HTTP/1.1 100 OK\r\n", &mut |_, _| {});
            assert_eq!(begin.map(|(_, read)| read.is_none()), Ok(true));
            if endless.starts_with("HTTP") {
                let _ = reader.take(b"\r\n", &mut |_, _| {});
            }
            let pieces = RESPONSE_HEAD_BYTES as usize / endless.len() + 1;
            let read = (0..pieces).find_map(|_| reader.take(endless.as_bytes(), &mut |_, _| {}).err());
            assert_eq!(read, Some(HttpError::HeadTooLong), "{endless:?}");
        }
    }
}
