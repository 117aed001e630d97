//! The client's side.

use crate::error::{SetupError, TlsError};
use crate::handshake;
use crate::identity::Identity;
use crate::provider;
use crate::record::LONGEST;
use crate::stream::TlsStream;
use crate::sync::{Arc, arc_dyn};
use crate::tickets::Newest;
use crate::time::{Clock, Time};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use embedded_io_async::{Read, Write};
use rustls::client::{ClientSessionStore, Resumption, UnbufferedClientConnection};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};

/// The one application protocol that is offered: what a node and an API server speak with each other.
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes connections to servers that some roots vouch for. Clones share the session tickets.
///
/// It keeps the newest ticket of whichever server it talked to last, so it is meant for one server.
#[derive(Clone)]
pub struct Connector(Arc<ClientConfig>);

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
        let builder = ClientConfig::builder_with_details(
            Arc::new(provider::provider()),
            arc_dyn!(dyn TimeProvider, Clock::new(time)),
        )
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|_| SetupError::Internal)?
        .with_root_certificates(trusted(roots)?);
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(arc_dyn!(
                dyn rustls::client::ResolvesClientCert,
                identity.clone()
            )),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::store(arc_dyn!(dyn ClientSessionStore, Newest::empty()));
        config.enable_secret_extraction = true;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with the server `name` (a DNS name or an IP address, as its certificate has it) over `stream`.
    ///
    /// That the server refuses our certificate shows only when the stream is first read, as
    /// [`TlsError::Refused`]: so does TLS 1.3.
    ///
    /// # Errors
    /// Says what is wrong and with whom. The peer has been told by an alert, and the stream is dropped.
    pub async fn connect<S: Read + Write>(
        &self,
        name: &str,
        mut stream: S,
    ) -> Result<TlsStream<S>, TlsError> {
        let name = ServerName::try_from(name)
            .map_err(|_| TlsError::ServerName)?
            .to_owned();
        let engine = Box::new(UnbufferedClientConnection::new(self.0.clone(), name)?);
        let established = handshake::shake(engine, &mut stream, LONGEST).await?;
        Ok(TlsStream::new(stream, established))
    }
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
