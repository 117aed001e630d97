//! Answers, sent whole or piece by piece.
//!
//! What is short goes out in one write with its length. What may be long is made while it is sent, in pieces of about
//! a kilobyte, so that a long list costs no more memory than a short one.

use crate::server::log_reader::Reader;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Display, Write as _};
use embedded_io_async::Write;
use picolet_http::{reason_phrase, write_chunk};
use picolet_kube::json::Writer;
use picolet_kube::{Timestamp, status};
use picolet_platform::UnixMicros;

/// Media types.
pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus's text format.
pub(super) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A JSON string. For names it is also what Go's `%q` writes.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        Writer::new(&mut text).string(self.0);
        f.write_str(&text)
    }
}

/// `null` where there is no value.
pub(super) struct OrNull<T>(pub(super) Option<T>);

impl<T: Display> Display for OrNull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// A time, or any other text that needs no escapes, as a JSON string.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// So much of a long answer is collected before it is sent.
pub(super) const PIECE_BYTES: usize = 1024;

/// Appends the next piece of a body; returns whether there are more.
pub(super) type Pieces<'a> = Box<dyn FnMut(&mut String) -> bool + 'a>;

pub(super) enum Body<'a> {
    Whole(String),
    Pieces(Pieces<'a>),
}

/// What a request is answered.
pub(super) struct Answer<'a> {
    pub(super) code: u16,
    pub(super) media_type: &'static str,
    pub(super) body: Body<'a>,
    /// The methods that would have been right.
    pub(super) allow: Option<&'static str>,
    /// Seconds after which to try again.
    pub(super) retry_after: Option<u32>,
    /// Whether the connection ends with it.
    pub(super) close: bool,
    /// Whether the device restarts once it is sent.
    pub(super) reboot: bool,
    /// Whether the device forgets who it is, before it is sent.
    pub(super) forget: bool,
    /// A log that is sent as it is written, in place of the body.
    pub(super) follow: Option<Reader>,
}

impl<'a> Answer<'a> {
    // Each is called from a dozen places: inlined they cost a kilobyte of flash.
    #[inline(never)]
    pub(super) fn whole(code: u16, media_type: &'static str, body: String) -> Self {
        Self {
            code,
            media_type,
            body: Body::Whole(body),
            allow: None,
            retry_after: None,
            close: false,
            reboot: false,
            forget: false,
            follow: None,
        }
    }

    /// Plain text, as Kubernetes' kubelet answers where it does not answer with an object.
    #[inline(never)]
    pub(super) fn text(code: u16, text: &dyn Display) -> Self {
        let mut body = String::new();
        let _ = write!(body, "{text}");
        Self::whole(code, TEXT, body)
    }

    /// A JSON document, by its text: a format string is a fraction of the code that a call for each key would be.
    #[inline(never)]
    pub(super) fn json(text: fmt::Arguments<'_>) -> Self {
        let mut answer = Self::text(200, &text);
        answer.media_type = JSON;
        answer
    }

    /// A failure: a Kubernetes `Status`, or the form of `/pico/*`.
    pub(super) fn error(pico: bool, code: u16, message: &dyn Display) -> Self {
        let mut body = String::new();
        if pico {
            let mut w = Writer::new(&mut body);
            w.object();
            w.text_at("error", message);
            w.number_at("code", code);
            w.end();
        } else {
            let mut text = String::new();
            let _ = write!(text, "{message}");
            status::write(&mut body, code, status::reason_of(code), &text);
        }
        Self::whole(code, JSON, body)
    }

    /// A body that is made while it is sent.
    pub(super) fn pieces(media_type: &'static str, pieces: impl FnMut(&mut String) -> bool + 'a) -> Self {
        let mut answer = Self::whole(200, media_type, String::new());
        answer.body = Body::Pieces(Box::new(pieces));
        answer
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Sends it, with the date if it is known. A peer that speaks HTTP/1.0 is told the end of a long body by the end of the connection.
    pub(super) async fn send<S: Write>(
        &mut self,
        stream: &mut S,
        date: Option<UnixMicros>,
        head_only: bool,
        http_1_0: bool,
    ) -> Result<(), S::Error> {
        let mut out = String::new();
        let mut more = match &mut self.body {
            Body::Whole(body) => {
                core::mem::swap(&mut out, body);
                false
            }
            Body::Pieces(next) => collect(next, &mut out),
        };
        let chunked = more;
        self.close |= chunked && http_1_0;
        let head = self.head(date, (!chunked).then_some(out.len()), http_1_0);
        if head_only {
            out.clear();
            more = false;
        } else if chunked && !http_1_0 {
            write_chunk(&mut out, !more);
        }
        out.insert_str(0, &head);
        drop(head);
        loop {
            stream.write_all(out.as_bytes()).await?;
            out.clear();
            let (true, Body::Pieces(next)) = (more, &mut self.body) else {
                break;
            };
            more = collect(next, &mut out);
            if !http_1_0 {
                write_chunk(&mut out, !more);
            }
        }
        stream.flush().await
    }

    pub(super) fn head(&self, date: Option<UnixMicros>, length: Option<usize>, http_1_0: bool) -> String {
        let mut head = String::with_capacity(192);
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\n",
            self.code,
            reason_phrase(self.code),
            self.media_type
        );
        if let Some(UnixMicros(micros)) = date {
            let _ = write!(head, "Date: {}\r\n", Timestamp::from_micros(micros).http_date());
        }
        if let Some(length) = length {
            let _ = write!(head, "Content-Length: {length}\r\n");
        } else if !http_1_0 {
            head.push_str("Transfer-Encoding: chunked\r\n");
        }
        if let Some(allow) = self.allow {
            let _ = write!(head, "Allow: {allow}\r\n");
        }
        if let Some(seconds) = self.retry_after {
            let _ = write!(head, "Retry-After: {seconds}\r\n");
        }
        if self.code == 401 {
            head.push_str("WWW-Authenticate: Bearer\r\n");
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

/// Fills `out` from the next pieces; returns whether there are more.
fn collect(next: &mut Pieces<'_>, out: &mut String) -> bool {
    while out.len() < PIECE_BYTES {
        if !next(out) {
            return false;
        }
    }
    true
}
