//! TLS in both directions, and who a client's certificate names.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use picolet_controlplane::{ControlPlane, Identity, Subject, Validity};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::{CN, O};
use x509_cert::der::{Decode, Tagged};

use super::POLL;

/// A stream of either direction.
pub(super) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// The user and the groups that a certificate names, as kube-apiserver reads them: its common name and its organizations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
}

/// The configurations of both sides.
pub(super) struct Tls {
    server: Arc<ServerConfig>,
    as_front_proxy: Arc<ClientConfig>,
    as_nobody: Arc<ClientConfig>,
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path).with_context(|| path.display().to_string())?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all.with_context(|| path.display().to_string())
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    let pem = fs::read(path).with_context(|| path.display().to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).with_context(|| path.display().to_string())
}

impl Tls {
    /// Issues a serving certificate for the proxy at `port`.
    pub(super) fn new(control_plane: &ControlPlane, port: u16) -> Result<Self> {
        let pki = control_plane.pki();
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in chain(pki.certificate_authority())? {
            roots.add(certificate)?;
        }
        let roots = Arc::new(roots);
        let subject = Subject {
            common_name: "fault-proxy",
            organization: None,
        };
        // 10.0.2.2 is what an emulated board calls this machine.
        let addresses: [IpAddr; 3] = [
            control_plane.place().server_address(),
            Ipv4Addr::LOCALHOST.into(),
            [10, 0, 2, 2].into(),
        ];
        let name = format!("fault-proxy-{port}");
        let Identity {
            certificate,
            key: own,
        } = pki.server(&name, subject, &["localhost"], &addresses, Validity::default())?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain(&certificate)?, key(&own)?)?;
        let client = || -> Result<_> {
            Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(Arc::clone(&roots)))
        };
        let front_proxy = control_plane.front_proxy_client();
        let as_front_proxy =
            client()?.with_client_auth_cert(chain(&front_proxy.certificate)?, key(&front_proxy.key)?)?;
        Ok(Self {
            server: Arc::new(server),
            as_front_proxy: Arc::new(as_front_proxy),
            as_nobody: Arc::new(client()?.with_no_client_auth()),
        })
    }

    /// Performs the handshake with a client.
    pub(super) fn accept(&self, mut socket: TcpStream) -> io::Result<(Box<dyn Stream>, Option<User>)> {
        let mut connection = ServerConnection::new(Arc::clone(&self.server)).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let user = match connection.peer_certificates() {
            Some([leaf, ..]) => Some(user_of(leaf).map_err(io::Error::other)?),
            _ => None,
        };
        Ok((Box::new(StreamOwned::new(connection, socket)), user))
    }

    /// Connects to the API server, to speak for others or for nobody. Reads time out after [`POLL`].
    pub(super) fn connect(&self, address: SocketAddr, for_others: bool) -> io::Result<Box<dyn Stream>> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let config = if for_others {
            &self.as_front_proxy
        } else {
            &self.as_nobody
        };
        let name = ServerName::IpAddress(address.ip().into());
        let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        socket.set_read_timeout(Some(POLL))?;
        Ok(Box::new(StreamOwned::new(connection, socket)))
    }
}

fn user_of(certificate: &CertificateDer<'_>) -> Result<User> {
    let certificate = Certificate::from_der(certificate)?;
    let mut user = User::default();
    for attribute in certificate.tbs_certificate().subject().iter() {
        let value = &attribute.value;
        let text = match value.tag() {
            x509_cert::der::Tag::PrintableString => {
                value.decode_as::<PrintableStringRef<'_>>()?.as_str().to_owned()
            }
            _ => value.decode_as::<Utf8StringRef<'_>>()?.as_str().to_owned(),
        };
        match attribute.oid {
            CN => user.name = text,
            O => user.groups.push(text),
            _ => {}
        }
    }
    Ok(user)
}
