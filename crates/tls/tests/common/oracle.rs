//! rustls as released, with ring's arithmetic and its own record layer, at the other end of the wire.

use super::{Authority, End, Leaf, NOW};
use embedded_io_async::{Read, Write};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

fn store(authority: &Authority) -> Arc<RootCertStore> {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from(authority.der())).unwrap();
    Arc::new(store)
}

pub fn pair(authority: &Authority, leaf: &Leaf) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let (certificate, key) = authority.issue(leaf);
    (
        vec![certificate.into()],
        PrivateKeyDer::Pkcs8(key.serialize_der().into()),
    )
}

/// A server that takes clients of `authority`, and those without a certificate.
pub fn server(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    server_with(
        rustls::crypto::ring::default_provider(),
        authority,
        pair(authority, &Leaf::server()),
        versions,
    )
}

pub fn server_with(
    provider: CryptoProvider,
    authority: &Authority,
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(provider);
    let verifier = WebPkiClientVerifier::builder_with_provider(store(authority), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    ServerConfig::builder_with_details(provider, Arc::new(Clock))
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap()
}

/// A client with a certificate of `authority`.
pub fn client(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let (chain, key) = pair(authority, &Leaf::client());
    ClientConfig::builder_with_details(
        Arc::new(rustls::crypto::ring::default_provider()),
        Arc::new(Clock),
    )
    .with_protocol_versions(versions)
    .unwrap()
    .with_root_certificates(store(authority))
    .with_client_auth_cert(chain, key)
    .unwrap()
}

/// A connection of rustls over one end of a wire.
pub struct Oracle {
    pub connection: Connection,
    pub end: End,
}

impl Oracle {
    pub fn server(config: &Arc<ServerConfig>, end: End) -> Self {
        Self {
            connection: ServerConnection::new(config.clone()).unwrap().into(),
            end,
        }
    }

    pub fn client(config: &Arc<ClientConfig>, end: End) -> Self {
        let name = "api.test".try_into().unwrap();
        Self {
            connection: ClientConnection::new(config.clone(), name).unwrap().into(),
            end,
        }
    }

    /// Sends all that waits.
    pub async fn flush(&mut self) {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        self.end.write_all(&bytes).await.unwrap();
    }

    /// Receives something and works on it.
    pub async fn receive(&mut self) -> Result<(), rustls::Error> {
        let mut buffer = [0; 1000];
        let count = self.end.read(&mut buffer).await.unwrap();
        let mut bytes = &buffer[..count];
        loop {
            self.connection.read_tls(&mut bytes).unwrap();
            let result = self.connection.process_new_packets();
            if result.is_err() || bytes.is_empty() {
                self.flush().await;
                return result.map(drop);
            }
        }
    }

    pub async fn shake(&mut self) -> Result<(), rustls::Error> {
        self.flush().await;
        while self.connection.is_handshaking() {
            self.receive().await?;
        }
        self.flush().await;
        Ok(())
    }

    pub async fn write(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            let count = self.connection.writer().write(text).unwrap();
            text = &text[count..];
            self.flush().await;
        }
    }

    /// Reads exactly `count` bytes.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < count {
            let mut buffer = vec![0; count - text.len()];
            match self.connection.reader().read(&mut buffer) {
                Ok(0) => panic!("closed after {} of {count} bytes", text.len()),
                Ok(got) => text.extend_from_slice(&buffer[..got]),
                Err(_) => self.receive().await.unwrap(),
            }
        }
        text
    }

    pub async fn close(&mut self) {
        self.connection.send_close_notify();
        self.flush().await;
    }
}
