//! Calls to kubelets, with the certificate of the API server: what `kubectl logs` needs.

use super::Dial;
use crate::kubelet::{CallKubelet, KubeletAnswer, LocalFuture};
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use picolet_platform::Clock;
use picolet_tls::{Connector, TlsStream};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// How long a kubelet may take to answer its phone.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much a head may hold, and how much is read at once.
const ROOM: usize = 8192;

/// Calls kubelets over streams of `dial`, and gives up by `clock`.
#[derive(Debug)]
pub struct Kubelets<D, C> {
    dial: D,
    clock: C,
    connector: Connector,
}

impl<D: Dial, C: Clock> Kubelets<D, C> {
    /// `connector` is the API server, as kubelets shall know it.
    pub fn new(dial: D, clock: C, connector: Connector) -> Self {
        Self {
            dial,
            clock,
            connector,
        }
    }
}

impl<D: Dial + Clone + 'static, C: Clock + Clone + 'static> CallKubelet for Kubelets<D, C> {
    fn get(&self, address: String, port: u16, path: String) -> LocalFuture<Result<KubeletAnswer, String>> {
        let (dial, clock, connector) = (self.dial.clone(), self.clock.clone(), self.connector.clone());
        Box::pin(async move {
            let called = call(&dial, &connector, &address, port, &path);
            match select(clock.sleep(PATIENCE.into()), called).await {
                Either::First(()) => Err("the kubelet took too long to answer".into()),
                Either::Second(answer) => answer,
            }
        })
    }
}

async fn call<D: Dial>(
    dial: &D,
    connector: &Connector,
    address: &str,
    port: u16,
    path: &str,
) -> Result<KubeletAnswer, String> {
    let stream = dial
        .dial(address, port)
        .await
        .map_err(|error| format!("dial tcp: {error}"))?;
    let mut stream = connector
        .connect(address, stream)
        .await
        .map_err(|error| format!("tls: {error}"))?;
    let host = if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut received = Vec::new();
    let (status, content_type, framing) = loop {
        if let Some((found, length)) = parse_head(&received)? {
            received.drain(..length);
            break found;
        }
        if received.len() > ROOM {
            return Err("the head of its answer is too long".into());
        }
        if read_more(&mut stream, &mut received).await? == 0 {
            return Err("it closed the connection without an answer".into());
        }
    };
    // One piece at a time is asked for, so the lock is never contended.
    let body = Rc::new(RefCell::new(Some(Body {
        stream,
        received,
        framing,
    })));
    let body = Box::new(move || {
        let shared = body.clone();
        let next: LocalFuture<Option<Vec<u8>>> = Box::pin(async move {
            let mut body = Returned {
                taken: shared.take(),
                shared,
            };
            let found = body.taken.as_mut()?.next().await;
            if found.is_none() {
                body.taken = None;
            }
            found
        });
        next
    });
    Ok(KubeletAnswer {
        status,
        content_type,
        body,
    })
}

/// Puts the body back when a future that waits for its next piece is dropped.
struct Returned<S> {
    taken: Option<Body<S>>,
    shared: Rc<RefCell<Option<Body<S>>>>,
}

impl<S> Drop for Returned<S> {
    fn drop(&mut self) {
        self.shared.replace(self.taken.take());
    }
}

enum Framing {
    /// So many bytes are left.
    Length(usize),
    Chunked,
    UntilClosed,
}

type ParsedHead = ((u16, String, Framing), usize);

fn parse_head(received: &[u8]) -> Result<Option<ParsedHead>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let length = match head
        .parse(received)
        .map_err(|error| format!("its answer is no HTTP: {error}"))?
    {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let header = |name: &str| {
        let found = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let framing = match (
        header("content-length").and_then(|text| text.parse().ok()),
        header("transfer-encoding"),
    ) {
        (_, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (Some(length), _) => Framing::Length(length),
        _ => Framing::UntilClosed,
    };
    let content_type = header("content-type").unwrap_or("text/plain").to_owned();
    Ok(Some(((head.code.unwrap_or(502), content_type, framing), length)))
}

struct Body<S> {
    stream: TlsStream<S>,
    received: Vec<u8>,
    framing: Framing,
}

impl<S: Read + Write> Body<S> {
    /// The next piece; `None` at the end, or when the kubelet fails.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match &mut self.framing {
                Framing::Length(0) => return None,
                Framing::Length(left) if !self.received.is_empty() => {
                    let count = self.received.len().min(*left);
                    *left -= count;
                    return Some(self.received.drain(..count).collect());
                }
                Framing::UntilClosed if !self.received.is_empty() => {
                    return Some(std::mem::take(&mut self.received));
                }
                Framing::Chunked => {
                    if let Ok(httparse::Status::Complete((start, size))) =
                        httparse::parse_chunk_size(&self.received)
                    {
                        let size = usize::try_from(size).ok().filter(|size| *size > 0)?;
                        if let Some(chunk) = self.received.get(start..start + size) {
                            let chunk = chunk.to_vec();
                            if self.received.len() >= start + size + 2 {
                                self.received.drain(..start + size + 2);
                                return Some(chunk);
                            }
                        }
                    }
                }
                _ => {}
            }
            if read_more(&mut self.stream, &mut self.received).await.ok()? == 0 {
                return None;
            }
        }
    }
}

async fn read_more<S: Read + Write>(
    stream: &mut TlsStream<S>,
    received: &mut Vec<u8>,
) -> Result<usize, String> {
    let mut buffer = [0; ROOM];
    let count = stream
        .read(&mut buffer)
        .await
        .map_err(|error| error.to_string())?;
    received.extend_from_slice(&buffer[..count]);
    Ok(count)
}
