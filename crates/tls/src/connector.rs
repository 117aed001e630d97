//! The client's side.

use crate::error::{SetupError, TlsError};
use crate::handshake::{self, Engine, Handshake};
use crate::identity::Identity;
use crate::provider;
use crate::record::LONGEST;
use crate::servers::{Open, Servers, Validity, Verifier, verify_name};
use crate::stream::TlsStream;
use crate::sync::{Arc, arc_dyn};
use crate::tickets::Newest;
use crate::time::{Clock, Time};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use critical_section::Mutex;
use embedded_io_async::{Read, Write};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionStore, ResolvesClientCert, Resumption, UnbufferedClientConnection};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};

/// The one application protocol that is offered: what a node and an API server speak with each other.
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes connections to servers that some roots vouch for. Clones share the session tickets and what was verified.
///
/// It keeps the newest ticket of whichever server it talked to last, so it is meant for one server.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    servers: Arc<Servers>,
}

impl Connector {
    /// A connector that trusts the authorities `roots` (DER), shows `identity` to servers that ask, and judges dates
    /// by `time`.
    ///
    /// # Errors
    /// When there is no root, or one is malformed.
    pub fn new(
        roots: &[Vec<u8>],
        identity: Option<&Identity>,
        time: impl Time + 'static,
    ) -> Result<Self, SetupError> {
        let servers = Arc::new(Servers::new(trusted(roots)?));
        let mut config = config(&servers, None, identity, Clock::new(time))?;
        config.resumption = Resumption::store(arc_dyn!(dyn ClientSessionStore, Newest::empty()));
        Ok(Self {
            config: Arc::new(config),
            servers,
        })
    }

    /// Shakes hands with the server `name` (a DNS name or an IP address, as its certificate has it) over `stream`.
    ///
    /// That the server refuses our certificate shows only when the stream is first read, as
    /// [`TlsError::Refused`]: so does TLS 1.3.
    ///
    /// # Errors
    /// Says what is wrong and with whom. The peer has been told by an alert, and the stream is dropped; where that would
    /// keep the alert from arriving, see [`Connector::shake`].
    pub async fn connect<S: Read + Write>(
        &self,
        name: &str,
        mut stream: S,
    ) -> Result<TlsStream<S>, TlsError> {
        Ok(self.shake(name, &mut stream).await?.over(stream))
    }

    /// [`Connector::connect`] for those who have something to do with the stream after a failure. TCP resets a connection
    /// that is closed with bytes unread, and the peer then sees that instead of the alert: end the own direction, and
    /// read for a moment what still comes, before the stream is dropped.
    ///
    /// # Errors
    /// As [`Connector::connect`], but the stream is not dropped.
    pub async fn shake<S: Read + Write>(&self, name: &str, stream: &mut S) -> Result<Handshake, TlsError> {
        let handshake = shake(self.config.clone(), name, stream).await?;
        match handshake.peer() {
            Some(certificate) if handshake.resumed() => self.check_resumed(certificate, name)?,
            // The session has not kept it: what was verified last has to do.
            None if handshake.resumed() => self.check_end(self.validity())?,
            _ => self.servers.note_proof(),
        }
        Ok(handshake)
    }

    /// Checks the certificate that a server showed when the session began that it has resumed: rustls does not. Otherwise whoever
    /// stole the key of a certificate could go on with it after its end, from session to session. The ticket is used up, so that the
    /// next handshake is a full one.
    #[inline(never)]
    fn check_resumed(&self, certificate: &[u8], name: &str) -> Result<(), TlsError> {
        verify_name(&CertificateDer::from(certificate), &server_name(name)?)?;
        self.check_end(Validity::of(certificate))
    }

    /// Checks that a validity has not ended.
    fn check_end(&self, validity: Option<Validity>) -> Result<(), TlsError> {
        let now = self.config.time_provider.current_time();
        let now = now.ok_or(TlsError::TimeUnknown)?.as_secs();
        let not_after = validity.ok_or(TlsError::BadCertificate)?.not_after;
        match now <= not_after {
            true => Ok(()),
            false => Err(TlsError::Expired { not_after, now }),
        }
    }

    /// When the chain of the server is valid with which hands were shaken last. A handshake that resumes a session verifies
    /// none: its server is the one of the full handshake before.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.servers.proved()
    }

    /// Shakes hands as [`Connector::shake`] does, but before the time is known: all of the server's chain is verified
    /// except its dates, no identity is shown, and no ticket is used or kept. Returns when the chain is valid.
    ///
    /// The connection is for one thing: to ask the server what time it is. Only what is in that time may be believed, and
    /// nothing that is secret may be sent. Somebody who stole the key of a certificate that has expired can pass for the
    /// server here, and tell a time at which it was valid; the caller therefore takes no time that is before one that
    /// it is certain of.
    ///
    /// # Errors
    /// As [`Connector::shake`].
    pub async fn shake_undated<S: Read + Write>(
        &self,
        name: &str,
        stream: &mut S,
    ) -> Result<(Handshake, Validity), TlsError> {
        let open: Open = Arc::new(Mutex::new(Cell::new(None)));
        // rustls wants to know the time before it asks a verifier, who does not look at this one.
        let clock = Clock::new(|| Some(0));
        let mut config =
            config(&self.servers, Some(open.clone()), None, clock).map_err(|_| TlsError::Internal)?;
        config.resumption = Resumption::disabled();
        let handshake = shake(Arc::new(config), name, stream).await?;
        let validity = critical_section::with(|section| open.borrow(section).get());
        Ok((handshake, validity.ok_or(TlsError::Internal)?))
    }
}

fn config(
    servers: &Arc<Servers>,
    open: Option<Open>,
    identity: Option<&Identity>,
    clock: Clock,
) -> Result<ClientConfig, SetupError> {
    let verifier = Verifier {
        servers: servers.clone(),
        open,
    };
    let builder =
        ClientConfig::builder_with_details(Arc::new(provider::provider()), arc_dyn!(dyn TimeProvider, clock))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|_| SetupError::Internal)?
            .dangerous()
            .with_custom_certificate_verifier(arc_dyn!(dyn ServerCertVerifier, verifier));
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(arc_dyn!(dyn ResolvesClientCert, identity.clone()))
        }
        None => builder.with_no_client_auth(),
    };
    config.enable_secret_extraction = true;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(config)
}

async fn shake<S: Read + Write>(
    config: Arc<ClientConfig>,
    name: &str,
    stream: &mut S,
) -> Result<Handshake, TlsError> {
    handshake::shake(engine(config, name)?, stream, LONGEST, None).await
}

// In a frame of its own: it is made on the stack, four kilobytes, which the handshake must not have below it.
#[inline(never)]
fn engine(config: Arc<ClientConfig>, name: &str) -> Result<Box<dyn Engine>, TlsError> {
    let name = server_name(name)?.to_owned();
    Ok(Box::new(UnbufferedClientConnection::new(config, name)?))
}

#[inline(never)]
fn server_name(name: &str) -> Result<ServerName<'_>, TlsError> {
    ServerName::try_from(name).map_err(|_| TlsError::ServerName)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// The roots as rustls keeps them.
pub(crate) fn trusted(roots: &[Vec<u8>]) -> Result<RootCertStore, SetupError> {
    if roots.is_empty() {
        return Err(SetupError::NoRoot);
    }
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(CertificateDer::from(root.as_slice()))
            .map_err(|_| SetupError::Root)?;
    }
    Ok(store)
}
