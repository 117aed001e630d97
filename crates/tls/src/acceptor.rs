//! The server's side.

use crate::clients::{ClientVerifier, Verifier};
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
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;

/// What is asked of clients. A certificate counts only if its chain leads to one of the authorities, is valid now, and
/// is for client authentication.
#[derive(Clone, Copy, Debug)]
pub enum Clients<'a> {
    /// No certificate is asked for.
    Anonymous,
    /// A certificate of these authorities (DER) is asked for. A client without one is let in, and so is one whose
    /// certificate does not verify: it has no [`TlsStream::peer_certificate`].
    Optional(&'a [Vec<u8>]),
    /// A certificate of these authorities (DER) is required. One that does not verify ends the handshake.
    Required(&'a [Vec<u8>]),
}

/// Takes connections of clients.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    /// Which certificates count; `None` where none is asked for.
    clients: Option<Arc<ClientVerifier>>,
    limits: Limits,
}

/// The longest payload of a record, in bytes.
#[derive(Clone, Copy)]
struct Limits {
    handshake: usize,
    data: usize,
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
        let time = arc_dyn!(dyn TimeProvider, Clock::new(time));
        let builder = ServerConfig::builder_with_details(provider.clone(), time.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|_| SetupError::Internal)?;
        let clients = match clients {
            Clients::Anonymous => None,
            Clients::Optional(roots) | Clients::Required(roots) => {
                let chains =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(trusted(roots)?), provider).build();
                let chains = chains.map_err(|_| SetupError::Root)?;
                let mandatory = matches!(clients, Clients::Required(_));
                Some(Arc::new(ClientVerifier::new(chains, mandatory, time)))
            }
        };
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                builder.with_client_cert_verifier(arc_dyn!(dyn ClientCertVerifier, Verifier(clients.clone())))
            }
        };
        let mut config = builder.with_cert_resolver(arc_dyn!(dyn ResolvesServerCert, identity.clone()));
        config.send_tls13_tickets = 0;
        config.ignore_client_order = true;
        config.enable_secret_extraction = true;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            clients,
            limits: Limits {
                handshake: LONGEST,
                data: LONGEST,
            },
        })
    }

    /// Takes records with payloads of at most `handshake` bytes during the handshake (a ClientHello of Go has 1500, a
    /// client's chain some more) and of at most `data` bytes after it, and answers larger ones with a fatal alert, to bound
    /// what a client can make this side hold. Without it a record may have the 16640 bytes of the protocol.
    #[must_use]
    pub fn with_record_limits(mut self, handshake: usize, data: usize) -> Self {
        self.limits = Limits { handshake, data };
        self
    }

    /// Hands a ticket to each client, by which it can resume its session for some hours without certificates being
    /// shown anew: the client's is in the ticket, and its chain is verified again. Nothing is kept for it here.
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
        let Limits { handshake, data } = self.limits;
        let engine = engine(self.config.clone())?;
        let mut shaken = handshake::shake(engine, stream, handshake, self.clients.as_deref()).await?;
        shaken.set_record_limit(data);
        Ok(shaken)
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
