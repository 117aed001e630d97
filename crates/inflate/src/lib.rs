//! DEFLATE decompression (RFC 1951) in small memory.
//!
//! The decompressor has no input buffer and no window. Input comes in pieces of any length. Output goes to a [`Window`],
//! which also repeats earlier output: it may be a ring of a few kilobytes ([`Ring`]) or 32 KB of flash. Gzip and zlib framing, and their
//! checksums, are for the caller.
//!
//! It does not allocate and does not panic. An [`Inflater`] takes less than 2.7 KB.
#![no_std]
#![forbid(unsafe_code)]

mod bits;
mod code;
mod inflater;
mod window;

pub use inflater::{InflateError, Inflater, Progress};
pub use window::{Ring, Window, WindowError};
