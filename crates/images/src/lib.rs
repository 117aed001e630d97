//! Images from an OCI registry, sans-IO.
//!
//! | module | what it does | limit |
//! |---|---|---|
//! | [`reference`] | parses image references as upstream does | 255 bytes of repository name |
//! | [`digest`] | SHA-256 digests, verified while streaming | |
//!
//! No module performs I/O, waits, or allocates more than its stated limit.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod digest;
pub mod reference;

pub use digest::Digest;
pub use reference::{Reference, ReferenceError};
