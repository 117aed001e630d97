//! Why a pull fails.

use picolet_http::HttpError;

/// Why a pull fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullError {
    /// The registry has no such manifest or blob.
    NotFound,
    /// The registry refuses the credentials, or wants some.
    Unauthorized,
    /// An unexpected status.
    Status(u16),
    /// The registry cannot answer now: 429 or 5xx.
    Unavailable {
        /// The status.
        status: u16,
        /// Seconds to wait, if the registry says so.
        retry_after: Option<u16>,
    },
    /// The response is not HTTP/1.1 as it must be.
    Http(HttpError),
    /// The token endpoint's answer has no usable token.
    Token,
    /// No supported authentication scheme, or a malformed challenge.
    Challenge,
    /// A redirect without a valid location, or too many of them.
    Redirect,
    /// A redirect or token endpoint leads from TLS to plain HTTP.
    Insecure,
    /// The content is longer than its descriptor or the limit says.
    TooLong,
    /// The content is shorter than its descriptor says.
    TooShort,
    /// The content has another digest.
    Digest,
    /// The reference's digest is of an algorithm that is not supported.
    Algorithm,
    /// The registry sent another range than the one requested.
    Range,
    /// The connection was lost too often.
    Disconnected,
}

impl PullError {
    /// The error for a status that nothing else is known of.
    pub(super) fn of_status(status: u16, retry_after: Option<u16>) -> Self {
        match status {
            429 | 500..=599 => Self::Unavailable { status, retry_after },
            _ => Self::Status(status),
        }
    }

    /// The message, without what it is about.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Unauthorized => {
                "pull access denied, repository does not exist or may require authorization"
            }
            Self::Status(_) => "unexpected status",
            Self::Unavailable { .. } => "registry unavailable",
            Self::Http(_) => "malformed HTTP response",
            Self::Token => "token endpoint returned no usable token",
            Self::Challenge => "no supported auth scheme",
            Self::Redirect => "invalid redirect or too many redirects",
            Self::Insecure => "redirect from https to http",
            Self::TooLong => "content longer than its descriptor",
            Self::TooShort => "content shorter than its descriptor",
            Self::Digest => "content digest mismatch",
            Self::Algorithm => "unsupported digest algorithm",
            Self::Range => "unexpected Content-Range",
            Self::Disconnected => "connection lost too often",
        }
    }
}

impl From<HttpError> for PullError {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}
