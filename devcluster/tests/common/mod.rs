//! What the tests share: a client that speaks HTTPS to this API and to a real one alike.
#![allow(dead_code, reason = "no test uses all of it")]
#![allow(unreachable_pub, reason = "a module of several tests")]

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read, Write};
use picolet_devcluster::host::{Certified, DevCluster, HostOptions};
use picolet_tls::{Connector, TlsStream};
use serde_json::Value;
use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

/// Runs a test on one thread, with a limit that only a hang exceeds.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let limited = async {
        tokio::time::timeout(Duration::from_secs(120), test)
            .await
            .expect("a test that ends")
    };
    tokio::task::LocalSet::new().block_on(&runtime, limited)
}

/// A cluster with its defaults.
pub async fn cluster() -> DevCluster {
    DevCluster::start(HostOptions::default())
        .await
        .expect("a cluster")
}

/// An answer, its body read to the end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The body did not end as its head said it would.
    pub cut: bool,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The events of a watch.
    pub fn events(&self) -> Vec<Value> {
        let lines = self
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }
}

/// Somebody who calls an API server.
#[derive(Clone)]
pub struct Caller {
    address: SocketAddr,
    connector: Connector,
}

pub type Connection = TlsStream<FromTokio<TcpStream>>;

impl Caller {
    /// Somebody with this certificate, as PEM texts, or with none.
    pub fn new(address: SocketAddr, root_der: Vec<u8>, identity: Option<(&str, &str)>) -> Self {
        let identity = identity.map(|(certificate, key)| {
            picolet_tls::Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect("an identity")
        });
        let now = || {
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .ok()
                .map(|since| since.as_secs())
        };
        let connector = Connector::new(&[root_der], identity.as_ref(), now).expect("a connector");
        Self { address, connector }
    }

    pub fn of(cluster: &DevCluster, identity: Option<&Certified>) -> Self {
        let identity = identity.map(|of| (of.certificate_pem.as_str(), of.key_pem.as_str()));
        Self::new(
            cluster.address(),
            cluster.pki().ca().certificate_der.clone(),
            identity,
        )
    }

    pub fn node(cluster: &DevCluster, name: &str) -> Self {
        Self::of(cluster, Some(&cluster.node_identity(name).expect("an identity")))
    }

    pub fn admin(cluster: &DevCluster) -> Self {
        Self::of(
            cluster,
            Some(
                &cluster
                    .pki()
                    .client("admin", &["system:masters"])
                    .expect("an identity"),
            ),
        )
    }

    pub async fn connect(&self) -> Option<Connection> {
        let tcp = TcpStream::connect(self.address).await.ok()?;
        tcp.set_nodelay(true).ok()?;
        self.connector
            .connect("127.0.0.1", FromTokio::new(tcp))
            .await
            .ok()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await.expect("an answer")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let headers = [("Content-Type", "application/json")];
        self.send("POST", path, &headers, body.to_string().as_bytes())
            .await
            .expect("an answer")
    }

    /// Sends a request on a connection of its own. `None` if nothing that is an answer comes back.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Answer> {
        let mut stream = self.connect().await?;
        write_request(&mut stream, method, path, headers, body, true).await?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&buffer[..count]);
        }
        parse(&bytes)
    }
}

pub async fn write_request(
    stream: &mut Connection,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    close: bool,
) -> Option<()> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n",
        body.len()
    );
    if close {
        head.push_str("Connection: close\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    stream.flush().await.ok()
}

/// Reads an answer that is alone on its connection.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let mut rest = &bytes[end..];
    if header("transfer-encoding").is_none() {
        let length: usize = header("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(rest.len());
        return Some(Answer {
            code,
            cut: rest.len() != length,
            body: rest.to_vec(),
            head,
        });
    }
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(Answer {
                code,
                head,
                body,
                cut: false,
            });
        }
        let chunk = rest.get(end + 2..(end + 2 + size).min(rest.len()))?;
        body.extend_from_slice(chunk);
        let Some(behind) = rest.get(end + 2 + size + 2..) else {
            break;
        };
        rest = behind;
    }
    Some(Answer {
        code,
        head,
        body,
        cut: true,
    })
}
