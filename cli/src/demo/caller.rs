//! Calls of the kubelet API over mutual TLS.

use crate::clock::{Source, WallClock};
use anyhow::{Context, Result, bail};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use picolet_devcluster::host::{Certified, DevCluster};
use picolet_kube::http;
use picolet_tls::{Connector, Identity};
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Calls nodes of the cluster as the one whom `admin` certifies.
pub(crate) fn administrator(cluster: &DevCluster, admin: &Certified) -> Result<Connector> {
    let identity = Identity::from_pem(admin.certificate_pem.as_bytes(), admin.key_pem.as_bytes())?;
    Ok(Connector::new(
        &[cluster.pki().ca().certificate_der.clone()],
        Some(&identity),
        WallClock::new(Source::System),
    )?)
}

/// Reads `path` of the node over mutual TLS.
pub(crate) async fn get(connector: &Connector, address: SocketAddr, path: &str) -> Result<String> {
    let socket = TcpStream::connect(address)
        .await
        .with_context(|| format!("the node at {address}"))?;
    let mut stream = connector
        .connect(&address.ip().to_string(), FromTokio::new(socket))
        .await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    stream.flush().await?;
    let mut received = Vec::new();
    let mut buffer = [0; 1024];
    let mut head_reader = http::HeadReader::default();
    let mut whole: Option<(http::ResponseHead, http::Body)> = None;
    let mut text = Vec::new();
    loop {
        let read = stream.read(&mut buffer).await?;
        received.extend_from_slice(&buffer[..read]);
        if whole.is_none() {
            let (taken, head) = head_reader.take(&received)?;
            received.drain(..taken);
            whole = head;
        }
        if let Some((head, body)) = &mut whole {
            loop {
                let (taken, piece) = body.take(&received)?;
                text.extend_from_slice(piece);
                received.drain(..taken);
                if taken == 0 {
                    break;
                }
            }
            if body.is_done() || read == 0 {
                if head.status != 200 {
                    bail!("{path}: HTTP {}: {}", head.status, String::from_utf8_lossy(&text));
                }
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
        } else if read == 0 {
            bail!("{path}: the node closed the connection");
        }
    }
}
