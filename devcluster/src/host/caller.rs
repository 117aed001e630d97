//! Calls of the kubelet API over mutual TLS.

use anyhow::{Context, Result, bail};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use picolet_http::{Body, ResponseHead, ResponseReader};
use picolet_tls::Connector;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Reads `path` of the kubelet API at `address` over mutual TLS.
///
/// # Errors
/// The kubelet does not answer, or not with status 200.
pub async fn get_from_kubelet(connector: &Connector, address: SocketAddr, path: &str) -> Result<String> {
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
    let mut head_reader = ResponseReader::default();
    let mut whole: Option<(ResponseHead, Body)> = None;
    let mut text = Vec::new();
    loop {
        let read = stream.read(&mut buffer).await?;
        received.extend_from_slice(&buffer[..read]);
        if whole.is_none() {
            let (taken, head) = head_reader.take(&received, &mut |_, _| {})?;
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
