//! The server's side.

use crate::connector::{HTTP_1_1, trusted};
use crate::error::{SetupError, TlsError};
use crate::handshake;
use crate::identity::Identity;
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
use rustls::server::{ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier};
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

    /// Shakes hands with the client at the other end of `stream`.
    ///
    /// # Errors
    /// Says what is wrong and with whom. The peer has been told by an alert, and the stream is dropped.
    pub async fn accept<S: Read + Write>(&self, mut stream: S) -> Result<TlsStream<S>, TlsError> {
        let engine = Box::new(UnbufferedServerConnection::new(self.config.clone())?);
        let established = handshake::shake(engine, &mut stream, self.limit).await?;
        Ok(TlsStream::new(stream, established))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
