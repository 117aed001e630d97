//! `Status`: what the API server answers when it cannot do what was asked, and what a kubelet answers likewise.

use crate::json::{Code, Decoder, Field, Shape, Sink, Writer, shape};
use crate::text::{Collector, set, whole};
use alloc::boxed::Box;
use alloc::string::String;

const CODE: Field = Field(1);
const REASON: Field = Field(2);
const MESSAGE: Field = Field(3);

/// The entries by which an object's shape also catches a `Status` in its place, as a watch's `ERROR` event carries one.
pub(crate) const CODE_ENTRY: (&str, Shape) = ("code", Shape::Value(CODE));
/// See [`CODE_ENTRY`].
pub(crate) const REASON_ENTRY: (&str, Shape) = ("reason", Shape::Value(REASON));
/// See [`CODE_ENTRY`].
pub(crate) const MESSAGE_ENTRY: (&str, Shape) = ("message", Shape::Value(MESSAGE));

/// `k8s.io/apimachinery/pkg/apis/meta/v1.Status`, the part that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status code, or 0 where there was none.
    pub code: u16,
    /// One word: `AlreadyExists`, `Conflict`, `Expired` …
    pub reason: Box<str>,
    /// What happened, for a person; empty where it was too long.
    pub message: Box<str>,
}

impl Status {
    pub(crate) fn value(&mut self, field: Field, value: Option<&str>) -> bool {
        match field {
            CODE => {
                self.code = whole(value)
                    .and_then(|code| u16::try_from(code).ok())
                    .unwrap_or(0)
            }
            REASON => set(&mut self.reason, value),
            MESSAGE => set(&mut self.message, value),
            _ => return false,
        }
        true
    }
}

/// Reads a `Status` from the body of a response.
pub struct StatusDecoder {
    decoder: Decoder,
    sink: StatusSink,
}

#[derive(Default)]
struct StatusSink {
    collector: Collector,
    status: Status,
}

impl Sink for StatusSink {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if let Some(value) = self.collector.push(piece, last) {
            self.status.value(field, value);
        }
    }
}

impl Default for StatusDecoder {
    fn default() -> Self {
        const SHAPE: Code = shape!(Shape::Object(&[CODE_ENTRY, REASON_ENTRY, MESSAGE_ENTRY]));
        Self {
            decoder: Decoder::new(SHAPE),
            sink: StatusSink::default(),
        }
    }
}

impl StatusDecoder {
    /// Takes a piece of the body. A body that is no JSON leaves the status empty: a proxy in between may answer so.
    pub fn feed(&mut self, body: &[u8]) {
        let _ = self.decoder.feed(body, &mut self.sink);
    }

    /// What was read.
    pub fn finish(self) -> Status {
        self.sink.status
    }
}

/// Writes the `Status` of a failure.
pub fn write(out: &mut String, code: u16, reason: &str, message: &str) {
    let mut w = Writer::new(out);
    w.object();
    w.string_at("kind", "Status");
    w.string_at("apiVersion", "v1");
    w.object_at("metadata");
    w.end();
    w.string_at("status", "Failure");
    w.string_at("message", message);
    w.string_at("reason", reason);
    w.number_at("code", code);
    w.end();
}

/// The reason that goes with a status code (`k8s.io/apimachinery/pkg/api/errors`).
pub const fn reason_of(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        408 | 504 => "Timeout",
        409 => "Conflict",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        let mut out = String::new();
        write(&mut out, 404, reason_of(404), "pods \"x\" not found");
        let read: k8s_openapi::apimachinery::pkg::apis::meta::v1::Status =
            serde_json::from_str(&out).expect("a Status");
        assert_eq!(read.code, Some(404));
        let mut decoder = StatusDecoder::default();
        for byte in out.as_bytes() {
            decoder.feed(core::slice::from_ref(byte));
        }
        let status = decoder.finish();
        assert_eq!(
            (status.code, &*status.reason, &*status.message),
            (404, "NotFound", "pods \"x\" not found")
        );
    }

    #[test]
    fn a_body_that_is_no_json_is_no_status() {
        let mut decoder = StatusDecoder::default();
        decoder.feed(b"<html>Bad gateway</html>");
        assert_eq!(decoder.finish(), Status::default());
    }
}
