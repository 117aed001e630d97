//! Connections that are already secure.
//!
//! TCP, TLS, addresses and certificates are the wiring's business; the agent only sees streams, and who is at the
//! other end. One implementation serves one node.

use crate::endpoints::{DialError, Endpoint};
use crate::identities::{Identities, Lifetime};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use embedded_io_async::{Read, Write};

/// A connection to the API server that is up.
pub struct Dialled<S> {
    /// The plaintext stream.
    pub stream: S,
    /// Which address of which server it goes to.
    pub endpoint: Endpoint,
    /// When the server's verified chain is valid; [`Lifetime::UNVERIFIED`] without TLS.
    pub validity: Lifetime,
}

/// A connection to the API server on which the time is asked, and nothing else: no credential was shown, and the server's
/// certificates were verified but for their dates.
pub struct Undated<S> {
    /// The plaintext stream.
    pub stream: S,
    /// When all of the server's certificates are valid; [`Lifetime::UNVERIFIED`] without TLS.
    pub validity: Lifetime,
}

/// Who a verified client certificate speaks for, in Kubernetes' sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The user: the subject's common name.
    pub user: Box<str>,
    /// The user's identifier: the subject's attribute 1.3.6.1.4.1.57683.2.
    pub uid: Option<Box<str>>,
    /// The groups: the subject's organizations.
    pub groups: Vec<Box<str>>,
    /// The certificate, as `authentication.kubernetes.io/credential-id` names it: `X509SHA256=` and the SHA-256 of its DER in
    /// hexadecimal.
    pub credential_id: Box<str>,
    /// The last second in which the certificate is valid, in Unix seconds.
    pub not_after: u64,
}

/// What a caller of the kubelet API showed when its connection was set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing, or a certificate that names nobody.
    None,
    /// A client certificate that was verified against the client CA.
    Certificate(Box<Subject>),
    /// The connection came in on the read-only port of lab mode.
    ReadOnlyPort,
}

/// A connection that somebody opened to the kubelet port, its handshake done.
pub struct Accepted<S> {
    /// The plaintext stream.
    pub stream: S,
    /// What the peer showed.
    pub credential: Credential,
    /// The peer's address, as the log shows it and as its rate is limited by.
    pub peer: core::net::IpAddr,
}

/// Why no connection could be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// There is no serving certificate yet, or the port could not be opened. Try again later.
    NotListening,
    /// One peer's handshake failed. The next may do better.
    Handshake,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotListening => "the kubelet port is not open",
            Self::Handshake => "a peer's TLS handshake failed",
        })
    }
}

impl core::error::Error for AcceptError {}

/// Counters of the wiring, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkFigures {
    /// TLS handshakes completed towards the API server, without a ticket.
    pub handshakes_client_full: u32,
    /// The same, resumed by a ticket.
    pub handshakes_client_resumed: u32,
    /// TLS handshakes completed with callers of the kubelet API.
    pub handshakes_server: u32,
    /// TLS handshakes that failed, in either direction.
    pub handshakes_failed: u32,
}

/// How a node reaches its API server and is reached.
pub trait Network {
    /// A stream to the API server.
    type Outbound: Read + Write;
    /// A stream from a caller of the kubelet API.
    type Inbound: Read + Write;

    /// The node's own certificates.
    fn identities(&self) -> impl Identities;

    /// Opens a connection to the API server: to the endpoint that was connected to last, else to the next one.
    ///
    /// # Errors
    /// Says which step failed; details are in the platform's log.
    fn dial(&self) -> impl Future<Output = Result<Dialled<Self::Outbound>, DialError>>;

    /// Opens a connection to the API server for a node that does not know the time, or whose time makes
    /// [`Network::dial`] fail. A platform that can ask a time server gives it a moment first if the time is unknown.
    /// If no call of [`Network::dial`] has succeeded since the last one, that server's time was not believed: another one is
    /// dialled first.
    ///
    /// # Errors
    /// As [`Network::dial`], and [`DialError::Dated`] if a time server answers first, or if the platform's clock is not
    /// to be overruled.
    fn dial_undated(&self) -> impl Future<Output = Result<Undated<Self::Outbound>, DialError>>;

    /// Dials another endpoint first from now on: a connection to this one was made, and no use can be made of it.
    fn pass_over(&self, endpoint: Endpoint);

    /// Waits for the next caller, its handshake included. May be called by several workers at once; each call yields
    /// one connection, and a peer that is slow to shake hands keeps only its own worker waiting.
    ///
    /// # Errors
    /// Says whether the port is closed or just this peer failed.
    fn accept(&self) -> impl Future<Output = Result<Accepted<Self::Inbound>, AcceptError>>;

    /// The `Host` of the API server in use, with its port where that is not the scheme's own.
    fn with_host<R>(&self, use_it: impl FnOnce(&str) -> R) -> R;

    /// The address at which the node can be reached now, or `None` while there is none.
    fn address(&self) -> Option<core::net::IpAddr>;

    /// The radio's signal strength in dBm, or `None` where there is no radio or no link.
    fn rssi_dbm(&self) -> Option<i8>;

    /// What was counted since boot.
    fn figures(&self) -> NetworkFigures;
}
