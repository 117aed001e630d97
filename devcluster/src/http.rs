//! HTTP/1.1, as much as an API server needs: a request in bounded memory, the head of an answer.

use core::fmt::Write;

/// How long a head may be (`http.DefaultMaxHeaderBytes` of Go is 1 MiB; nobody needs it).
const MAX_HEAD: usize = 64 * 1024;

/// How long a body may be (`MaxRequestBodyBytes` of kube-apiserver).
pub(crate) const MAX_BODY: usize = 3 * 1024 * 1024;

/// The head of a request.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) raw_query: String,
    pub(crate) accept: String,
    pub(crate) content_type: String,
    pub(crate) authorization: Option<String>,
    /// `Impersonate-User` and every `Impersonate-Group`: `kubectl --as`.
    pub(crate) impersonated: Option<String>,
    pub(crate) impersonated_groups: Vec<String>,
    /// `k3s-Node-Name` and `k3s-Node-Password`: a node that joins k3s.
    pub(crate) k3s_node: Option<String>,
    pub(crate) k3s_password: Option<String>,
    pub(crate) body: BodyLength,
    pub(crate) close: bool,
    pub(crate) expects_continue: bool,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BodyLength {
    #[default]
    None,
    Known(usize),
    Chunked,
}

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    Malformed,
    TooLong,
}

impl Head {
    /// Reads a head from the beginning of `bytes`. Returns it with its length, or `None` if more bytes are needed.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; 48];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => return Err(HeadError::TooLong),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong),
            Err(_) => return Err(HeadError::Malformed),
        };
        let target = request.path.unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut head = Self {
            method: request.method.unwrap_or("").to_owned(),
            path: decode(path).ok_or(HeadError::Malformed)?,
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            raw_query: query.to_owned(),
            close: request.version == Some(0),
            ..Self::default()
        };
        for header in request.headers.iter() {
            let value = core::str::from_utf8(header.value)
                .map_err(|_| HeadError::Malformed)?
                .trim();
            match header.name.to_ascii_lowercase().as_str() {
                "accept" => {
                    if !head.accept.is_empty() {
                        head.accept.push(',');
                    }
                    head.accept.push_str(value);
                }
                "content-type" => value.clone_into(&mut head.content_type),
                "authorization" => head.authorization = Some(value.to_owned()),
                "impersonate-user" => head.impersonated = Some(value.to_owned()),
                "impersonate-group" => head.impersonated_groups.push(value.to_owned()),
                "k3s-node-name" => head.k3s_node = Some(value.to_owned()),
                "k3s-node-password" => head.k3s_password = Some(value.to_owned()),
                "content-length" => {
                    let length = value.parse().map_err(|_| HeadError::Malformed)?;
                    head.body = BodyLength::Known(length);
                }
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => {
                    head.body = BodyLength::Chunked
                }
                "transfer-encoding" => return Err(HeadError::Malformed),
                "connection" => head.close |= value.eq_ignore_ascii_case("close"),
                "expect" => head.expects_continue = value.eq_ignore_ascii_case("100-continue"),
                _ => {}
            }
        }
        Ok(Some((head, length)))
    }

    /// The value of a parameter of the query, empty if it is not there.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(of, _)| of == name)
            .map_or("", |(_, value)| value)
    }

    /// Whether a parameter says yes, in the words of Go's `strconv.ParseBool`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), "1" | "t" | "T" | "true" | "True" | "TRUE")
    }
}

/// Undoes percent-encoding. A plus is a plus in a path.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

/// A body in chunks, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// The body is whole; so many bytes were its encoding.
    Complete(Vec<u8>, usize),
    /// More bytes are needed.
    Partial,
}

/// Takes a chunked body apart (RFC 9112, section 7.1).
pub(crate) fn dechunk(bytes: &[u8]) -> Result<Chunks, HeadError> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (start, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(Chunks::Partial),
            Err(_) => return Err(HeadError::Malformed),
        };
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MAX_BODY)
            .ok_or(HeadError::TooLong)?;
        at += start;
        if size == 0 {
            // The trailer section is not looked at, but its end must have come.
            return match bytes[at..].windows(2).position(|pair| pair == b"\r\n") {
                Some(0) => Ok(Chunks::Complete(body, at + 2)),
                Some(_) => match bytes[at..].windows(4).position(|end| end == b"\r\n\r\n") {
                    Some(end) => Ok(Chunks::Complete(body, at + end + 4)),
                    None => Ok(Chunks::Partial),
                },
                None => Ok(Chunks::Partial),
            };
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(Chunks::Partial);
        };
        if &chunk[size..] != b"\r\n" || body.len() + size > MAX_BODY {
            return Err(if body.len() + size > MAX_BODY {
                HeadError::TooLong
            } else {
                HeadError::Malformed
            });
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

/// Writes the head of an answer. Without `length` the body goes in chunks.
pub(crate) fn answer_head(
    code: u16,
    content_type: &str,
    length: Option<usize>,
    date: &str,
    retry_after: Option<u32>,
    close: bool,
) -> String {
    let mut head = format!("HTTP/1.1 {code} {}\r\n", reason_phrase(code));
    // Writing to a String cannot fail.
    let _ = write!(
        head,
        "Cache-Control: no-cache, private\r\nContent-Type: {content_type}\r\nDate: {date}\r\n"
    );
    if let Some(seconds) = retry_after {
        let _ = write!(head, "Retry-After: {seconds}\r\n");
    }
    if close {
        head.push_str("Connection: close\r\n");
    }
    let _ = match length {
        Some(length) => write!(head, "Content-Length: {length}\r\n\r\n"),
        None => write!(head, "Transfer-Encoding: chunked\r\n\r\n"),
    };
    head
}

fn reason_phrase(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head() {
        let text =
            b"GET /api/v1/pods%2Fx?fieldSelector=spec.nodeName%3Dn1&watch=true HTTP/1.1\r\nHost: h\r\n\
            Accept: application/json\r\nContent-Length: 3\r\n\r\nabc";
        let (head, length) = Head::parse(text).expect("a head").expect("whole");
        assert_eq!(
            (head.method.as_str(), head.path.as_str()),
            ("GET", "/api/v1/pods/x")
        );
        assert_eq!(head.parameter("fieldSelector"), "spec.nodeName=n1");
        assert!(head.flag("watch") && !head.flag("pretty"));
        assert_eq!((head.body, &text[length..]), (BodyLength::Known(3), &b"abc"[..]));
        for end in 0..length {
            assert!(Head::parse(&text[..end]).expect("so far so good").is_none());
        }
    }

    #[test]
    fn chunks() {
        let body = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nGET";
        assert_eq!(
            dechunk(body),
            Ok(Chunks::Complete(b"abcde".to_vec(), body.len() - 3))
        );
        for end in 0..body.len() - 3 {
            assert_eq!(dechunk(&body[..end]), Ok(Chunks::Partial), "{end}");
        }
        assert_eq!(dechunk(b"3\r\nabcd\r\n"), Err(HeadError::Malformed));
        assert_eq!(dechunk(b"ffffffff\r\n"), Err(HeadError::TooLong));
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_breaks_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Head::parse(&bytes);
            let _ = dechunk(&bytes);
            let mut request = b"GET /".to_vec();
            request.extend(&bytes);
            let _ = Head::parse(&request);
        }
    }
}
