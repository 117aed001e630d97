//! The server's side.

use crate::connector::{HTTP_1_1, trusted};
use crate::error::{SetupError, TlsError};
use crate::handshake::{self, Engine, Handshake};
use crate::identity::Identity;
use crate::issued::Issuer;
use crate::provider;
use crate::record::LONGEST;
use crate::stream::TlsStream;
use crate::sync::{Arc, arc_dyn};
use crate::time::{Clock, Time};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use embedded_io_async::{Read, Write};
use rustls::ServerConfig;
use rustls::server::{ProducesTickets, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;

/// What is asked of clients. Whatever a client shows is verified; one that does not verify ends the handshake.
#[derive(Clone, Copy, Debug)]
pub enum Clients<'a> {
    /// No certificate is asked for.
    Anonymous,
    /// A certificate of these authorities (DER) is asked for, and a client without one comes in as well.
    Optional(&'a [Vec<u8>]),
    /// A certificate of these authorities (DER) is required.
    Required(&'a [Vec<u8>]),
}

/// Takes connections of clients.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    limit: usize,
}

impl Acceptor {
    /// An acceptor that shows `identity`, asks `clients` for certificates, and judges dates by `time`.
    ///
    /// # Errors
    /// When an authority is missing or malformed.
    pub fn new(
        identity: &Identity,
        clients: Clients<'_>,
        time: impl Time + 'static,
    ) -> Result<Self, SetupError> {
        let provider = Arc::new(provider::provider());
        let builder = ServerConfig::builder_with_details(
            provider.clone(),
            arc_dyn!(dyn TimeProvider, Clock::new(time)),
        )
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| SetupError::Internal)?;
        let builder = match clients {
            Clients::Anonymous => builder.with_no_client_auth(),
            Clients::Optional(roots) | Clients::Required(roots) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(trusted(roots)?), provider);
                let verifier = match clients {
                    Clients::Required(_) => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|_| SetupError::Root)?)
            }
        };
        let mut config = builder.with_cert_resolver(arc_dyn!(dyn ResolvesServerCert, identity.clone()));
        config.send_tls13_tickets = 0;
        config.ignore_client_order = true;
        config.enable_secret_extraction = true;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            limit: LONGEST,
        })
    }

    /// Takes records with at most `limit` bytes of payload (a ClientHello of Go has 1500) and closes on larger ones, to
    /// bound what a client can make this side hold. Without it a record may have the 16640 bytes of the protocol.
    #[must_use]
    pub fn with_record_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Hands a ticket to each client, by which it can resume its session for some hours without certificates being
    /// verified anew: the client's is in the ticket. Nothing is kept for it here.
    #[must_use]
    pub fn with_tickets(mut self) -> Self {
        let mut config = (*self.config).clone();
        let issuer = Issuer::new(config.time_provider.clone());
        config.ticketer = arc_dyn!(dyn ProducesTickets, issuer);
        config.send_tls13_tickets = 1;
        self.config = Arc::new(config);
        self
    }

    /// Shakes hands with the client at the other end of `stream`.
    ///
    /// # Errors
    /// Says what is wrong and with whom. The peer has been told by an alert, and the stream is dropped; where that would
    /// keep the alert from arriving, see [`Acceptor::shake`].
    pub async fn accept<S: Read + Write>(&self, mut stream: S) -> Result<TlsStream<S>, TlsError> {
        Ok(self.shake(&mut stream).await?.over(stream))
    }

    /// [`Acceptor::accept`] for those who have something to do with the stream after a failure; see
    /// [`Connector::shake`](crate::Connector::shake).
    ///
    /// # Errors
    /// As [`Acceptor::accept`], but the stream is not dropped.
    pub async fn shake<S: Read + Write>(&self, stream: &mut S) -> Result<Handshake, TlsError> {
        handshake::shake(engine(self.config.clone())?, stream, self.limit).await
    }
}

// In a frame of its own: it is made on the stack, four kilobytes, which the handshake must not have below it.
#[inline(never)]
fn engine(config: Arc<ServerConfig>) -> Result<Box<dyn Engine>, TlsError> {
    Ok(Box::new(UnbufferedServerConnection::new(config)?))
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
