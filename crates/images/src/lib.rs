//! Images from an OCI registry, sans-IO.
//!
//! | module | what it does | limit |
//! |---|---|---|
//! | [`mod@reference`] | parses image references as upstream does | 255 bytes of repository name |
//! | [`digest`] | SHA-256 digests, verified while streaming | |
//! | [`documents`] | decodes index, manifest, configuration, token and error | 8 layers, 4 KB of strings, 4 KB of token |
//! | [`client`] | authenticates, follows redirects, resumes, verifies | 256 KB of manifest, 5 redirects, 8 resumptions |
//! | [`keyring`] | selects the credentials of `imagePullSecrets` | 4 for an image, 4 KB each |
//! | [`gzip`] | decompresses layers into a window | the inflater's 2.5 KB and the window |
//! | [`tar`] | reads archives | names of 256 bytes, pax headers of 64 KB |
//! | [`challenge`] | parses `Www-Authenticate` | a line of 3 KB |
//! | [`url`] | parses URLs and redirects | 3 KB |
//!
//! No module performs I/O, waits, or allocates more than its stated limit.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod challenge;
pub mod client;
pub mod digest;
pub mod documents;
pub mod gzip;
pub mod keyring;
pub mod reference;
pub mod tar;
pub mod url;

pub use digest::Digest;
pub use reference::{Reference, ReferenceError};
