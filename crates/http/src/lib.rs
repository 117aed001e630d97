//! HTTP/1.1 framing (RFC 9112) in both directions, sans-IO.
//!
//! | | read by | limit |
//! |---|---|---|
//! | request head | [`RequestHead::parse`], from a buffer that holds it whole | [`RequestLimits::head_bytes`], [`REQUEST_FIELDS`] fields |
//! | response head | [`ResponseReader`], line by line | [`RESPONSE_HEAD_BYTES`] in total; fields of any length and number |
//! | request body | its `Content-Length`, or [`Body::CHUNKED`] | [`RequestLimits::body_bytes`] |
//! | response body | [`Body`], chunked, by length or until the connection closes | none: it is handed on in pieces |
//!
//! `httparse` reads request heads. What a field means for framing is decided once, in `field`.
//! Why response heads are read differently: `docs/decisions/0006-http-framing.md`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod body;
mod error;
mod field;
mod method;
mod request;
mod response;

pub use body::{Body, write_chunk};
pub use error::HttpError;
pub use method::Method;
pub use request::{REQUEST_FIELDS, RequestError, RequestHead, RequestLimits};
pub use response::{RESPONSE_HEAD_BYTES, ResponseHead, ResponseReader, reason_phrase};
