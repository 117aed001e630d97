//! TLS 1.3 for the node, client and server, the same on a Cortex-M0+ and on Linux.
//!
//! rustls does the protocol's thinking (its unbuffered API, so that no buffer is larger than the record in it), the
//! `provider` does the arithmetic, and this crate makes of both what the rest of the house sees: a [`Connector`] and
//! an [`Acceptor`] that turn a stream of bytes into a [`TlsStream`]. No type of rustls is in the interface, so that
//! the library below can be replaced.
//!
//! What is offered and accepted: TLS 1.3; X25519, then P-256; ChaCha20-Poly1305, then AES-128-GCM; ECDSA with P-256
//! for the own identity, and RSA of 2048 to 4096 bits besides in what peers show. A peer is always verified: there is
//! no way to switch that off, only one to ask a server for the time before dates can be judged, and one to let in a client whose certificate does not verify
//! as a client without one. Randomness is the operating system's, or on a board the one of [`install_random`].
//!
//! Nothing here allocates more than a record, a handshake or a certificate needs, and each of these has a limit.
//! Nothing here opens sockets, knows files, or prints.
#![no_std]

extern crate alloc;

mod acceptor;
mod arithmetic;
mod clients;
mod connections;
mod connector;
mod ecdsa;
mod error;
mod handshake;
mod identity;
mod issued;
mod key;
mod keyring;
mod pem;
mod provider;
mod random;
mod record;
mod servers;
mod stream;
mod sync;
mod tickets;
mod time;
pub mod x509;

pub use acceptor::{Acceptor, Clients};
pub use connections::{Connections, Stream};
pub use connector::Connector;
pub use error::{Alert, SetupError, TlsError};
pub use handshake::Handshake;
pub use identity::Identity;
pub use key::P256Key;
pub use keyring::{Keyholder, Keyring, Keyrings, OwnIdentities, node_user};
pub use provider::RSA_BITS;
pub use random::{Random, RandomError, install_random};
pub use record::RECORD_OVERHEAD;
pub use servers::Validity;
pub use stream::TlsStream;
pub use time::Time;
