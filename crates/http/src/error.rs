//! Why a response cannot be read.

use core::fmt;

/// Why a response cannot be read. The connection it came on is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// The head is malformed, or switches to a protocol that was not asked for.
    Head,
    /// The head does not end within [`RESPONSE_HEAD_BYTES`](crate::RESPONSE_HEAD_BYTES).
    HeadTooLong,
    /// The framing of the body is malformed or ambiguous.
    Framing,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Head => "malformed HTTP response head",
            Self::HeadTooLong => "HTTP response head too long",
            Self::Framing => "malformed framing of an HTTP response",
        })
    }
}

impl core::error::Error for HttpError {}
