//! Why a request came to nothing.

use crate::time::RefusedDate;
use alloc::boxed::Box;
use core::fmt;
use picolet_kube::status::Status;
use picolet_platform::DialError;

/// Why a request came to nothing. Small: it is handed on through every future that makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// There is no connection.
    Dial(DialError),
    /// The connection broke.
    Io,
    /// The answer was no HTTP that we read.
    Http,
    /// The answer was not the JSON that it should have been.
    Json,
    /// No answer in time.
    Timeout,
    /// The server's `Date` is not believed.
    Date(Box<RefusedDate>),
    /// The node's name is that of another machine.
    NameTaken,
    /// The server refused.
    Status(Box<Status>),
}

impl ApiError {
    /// The HTTP status code, or 0 where there was no answer.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Status(status) => status.code,
            _ => 0,
        }
    }
}

impl ApiError {
    /// Whether a request that ended so may have been carried out.
    pub(crate) fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Io | Self::Http | Self::Json | Self::Timeout => true,
            Self::Status(status) => status.code >= 500 && status.code != 503,
            Self::Dial(_) | Self::Date(_) | Self::NameTaken => false,
        }
    }

    /// Whether the same request would be refused for ever: it is malformed, or its object does not allow it. Credentials,
    /// permissions, conflicts and load change without the node.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(self.code(), 400..=499) && !matches!(self.code(), 401 | 403 | 408 | 409 | 429)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Io => f.write_str("the connection to the API server broke"),
            Self::Http => f.write_str("the API server's answer is no HTTP/1.1 that is understood"),
            Self::Json => f.write_str("the API server's answer is malformed"),
            Self::Timeout => f.write_str("the API server did not answer in time"),
            Self::Date(refused) => refused.fmt(f),
            Self::NameTaken => f.write_str(
                "another machine has this name (its machine id differs): start with another --node-name, or, if that machine is gone for good, kubectl delete node",
            ),
            Self::Status(status) if status.message.is_empty() => write!(f, "HTTP {}", status.code),
            Self::Status(status) => write!(f, "{} (HTTP {})", status.message, status.code),
        }
    }
}
