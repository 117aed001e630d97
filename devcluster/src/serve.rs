//! One connection: requests are read, answered and counted, watches are kept going.
//!
//! A connection holds no more memory than the request that it is reading; one that only watches holds next to none.

use crate::admin;
use crate::answer::{Answer, Watching};
use crate::api::{self, KubeletCall, Outcome};
use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::ApiError;
use crate::faults::{Facts, FaultKind, Stage};
use crate::http::{BodyLength, Chunks, Head, HeadError, MAX_BODY, answer_head, dechunk};
use crate::identity::Identity;
use crate::kubelet::KubeletAnswer;
use crate::request::Request;
use core::fmt;
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::{Read, Write};
use picolet_kube::Timestamp;
use picolet_platform::Clock;
use picolet_platform::Duration;
use std::rc::Rc;

/// How often a watch that asked for it gets a bookmark (`bookmarkFrequency` of the watch cache).
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// How many bytes are gathered before they are sent.
const BATCH: usize = 8192;

/// How long before the end of a watch its last bookmark comes.
const BEFORE_END: Duration = Duration::from_secs(2);

/// Why a connection ended other than by a peer that had nothing more to ask.
#[derive(Debug)]
pub enum ServeError<E> {
    /// The stream failed.
    Io(E),
    /// The peer sent something that is no HTTP/1.1, and was told so.
    Malformed,
    /// A fault, or a restart of the cluster.
    Cut,
}

impl<E: fmt::Debug> fmt::Display for ServeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the connection failed: {error:?}"),
            Self::Malformed => f.write_str("the peer does not speak HTTP/1.1"),
            Self::Cut => f.write_str("the connection was cut on purpose"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for ServeError<E> {}

/// Takes the connection off the cluster's list, however its future ends.
struct Listed<'a, C> {
    cluster: &'a Cluster<C>,
    id: u64,
    connection: Rc<Connection>,
}

impl<'a, C: Clock> Listed<'a, C> {
    fn new(cluster: &'a Cluster<C>) -> Self {
        let id = cluster.0.opened.replace(cluster.0.opened.get() + 1);
        let connection = Rc::new(Connection::default());
        cluster.0.connections.borrow_mut().insert(id, connection.clone());
        Self {
            cluster,
            id,
            connection,
        }
    }
}

impl<C> Drop for Listed<'_, C> {
    fn drop(&mut self) {
        self.cluster.0.connections.borrow_mut().remove(&self.id);
    }
}

/// Serves requests on `stream` until the peer closes it. `identity` is who the peer's certificate says that it is; without
/// one a bearer token counts, and without that the peer is anonymous.
///
/// # Errors
/// Says how the connection ended if not in good order. There is nothing left to do but to close it.
pub async fn serve_connection<S: Read + Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: &mut S,
    identity: Option<Identity>,
) -> Result<(), ServeError<S::Error>> {
    if cluster.is_down() {
        return Err(ServeError::Cut);
    }
    let listed = Listed::new(cluster);
    let connection = listed.connection.clone();
    let requests = async {
        let mut received = Vec::new();
        loop {
            let Some((head, body)) = read_request(cluster, stream, &mut received).await? else {
                return Ok(());
            };
            let close = head.close;
            // Boxed, so that an idle connection does not pay for the room that the longest answer needs.
            Box::pin(answer(
                cluster,
                stream,
                &connection,
                identity.as_ref(),
                head,
                body,
            ))
            .await?;
            if close {
                return Ok(());
            }
        }
    };
    match select(connection.until_cut(), requests).await {
        Either::First(()) => Err(ServeError::Cut),
        Either::Second(result) => result,
    }
}

/// Reads the next request, or `None` at the end of the stream.
async fn read_request<S: Read + Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: &mut S,
    received: &mut Vec<u8>,
) -> Result<Option<(Head, Vec<u8>)>, ServeError<S::Error>> {
    let (head, length) = loop {
        match Head::parse(received) {
            Ok(Some(found)) => break found,
            Ok(None) => {}
            Err(error) => return refuse(cluster, stream, error).await.map(|()| None),
        }
        if read_more(stream, received).await? == 0 {
            return Ok(None);
        }
    };
    received.drain(..length);
    if head.expects_continue {
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await
            .map_err(ServeError::Io)?;
        stream.flush().await.map_err(ServeError::Io)?;
    }
    let body = loop {
        match head.body {
            BodyLength::None => break Vec::new(),
            BodyLength::Known(length) if length > MAX_BODY => {
                return refuse(cluster, stream, HeadError::TooLong).await.map(|()| None);
            }
            BodyLength::Known(length) if received.len() >= length => {
                break received.drain(..length).collect();
            }
            BodyLength::Known(_) => {}
            BodyLength::Chunked => match dechunk(received) {
                Ok(Chunks::Complete(body, length)) => {
                    received.drain(..length);
                    break body;
                }
                Ok(Chunks::Partial) if received.len() <= 2 * MAX_BODY => {}
                Ok(Chunks::Partial) => {
                    return refuse(cluster, stream, HeadError::TooLong).await.map(|()| None);
                }
                Err(error) => return refuse(cluster, stream, error).await.map(|()| None),
            },
        }
        if read_more(stream, received).await? == 0 {
            return Ok(None);
        }
    };
    if received.is_empty() {
        *received = Vec::new();
    }
    Ok(Some((head, body)))
}

/// Reads what is there. While nothing is, only a small buffer waits for it.
async fn read_more<S: Read>(stream: &mut S, received: &mut Vec<u8>) -> Result<usize, ServeError<S::Error>> {
    let before = received.len();
    let room = if before == 0 {
        256
    } else {
        before.clamp(4096, 65_536)
    };
    received.resize(before + room, 0);
    let count = stream.read(&mut received[before..]).await.map_err(ServeError::Io);
    received.truncate(before + *count.as_ref().unwrap_or(&0));
    count
}

async fn refuse<S: Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: &mut S,
    error: HeadError,
) -> Result<(), ServeError<S::Error>> {
    let error = match error {
        HeadError::Malformed => ApiError::bad_request("the request is no HTTP/1.1"),
        HeadError::TooLong => ApiError::too_large(MAX_BODY),
    };
    send(cluster, stream, &Answer::error(&error), true, Extent::Whole).await?;
    Err(ServeError::Malformed)
}

/// How much of an answer is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Half,
}

fn date<C: Clock>(cluster: &Cluster<C>) -> String {
    let skew = cluster
        .0
        .state
        .borrow()
        .faults
        .clock_skew
        .saturating_mul(1_000_000);
    let now = cluster.now().0.saturating_add_signed(skew);
    Timestamp::from_micros(now).http_date().to_string()
}

async fn send<S: Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: &mut S,
    answer: &Answer,
    close: bool,
    extent: Extent,
) -> Result<(), ServeError<S::Error>> {
    let length = Some(answer.body.len());
    let head = answer_head(
        answer.code,
        answer.content_type,
        length,
        &date(cluster),
        answer.retry_after,
        close,
    );
    let half = if extent == Extent::Half {
        answer.body.len() / 2
    } else {
        answer.body.len()
    };
    // A short answer goes out in one piece: one record, one segment.
    let (mut first, body) = (head.into_bytes(), &answer.body.as_bytes()[..half]);
    let (with_head, rest) = body.split_at(body.len().min(BATCH));
    first.extend_from_slice(with_head);
    stream.write_all(&first).await.map_err(ServeError::Io)?;
    stream.write_all(rest).await.map_err(ServeError::Io)?;
    stream.flush().await.map_err(ServeError::Io)?;
    if extent == Extent::Half {
        Err(ServeError::Cut)
    } else {
        Ok(())
    }
}

/// Answers one request, its faults included.
async fn answer<S: Read + Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: &mut S,
    connection: &Rc<Connection>,
    certificate: Option<&Identity>,
    head: Head,
    body: Vec<u8>,
) -> Result<(), ServeError<S::Error>> {
    let close = head.close;
    let request = Request::new(&cluster.0.state.borrow(), certificate, head, body);
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            cluster.0.state.borrow_mut().count("", "", error.code);
            return send(cluster, stream, &Answer::error(&error), close, Extent::Whole).await;
        }
    };
    let fault = cluster
        .0
        .state
        .borrow_mut()
        .faults
        .strike(Stage::Request, &request.facts());
    match &fault {
        Some(FaultKind::Status { code, retry_after }) => {
            cluster
                .0
                .state
                .borrow_mut()
                .count(request.verb, &request.resource_name, *code);
            let answer = Answer::error(&ApiError::injected(*code, *retry_after));
            return send(cluster, stream, &answer, close, Extent::Whole).await;
        }
        Some(FaultKind::Slow { milliseconds }) => {
            cluster
                .0
                .clock
                .sleep(Duration::from_millis(u64::from(*milliseconds)))
                .await;
        }
        Some(FaultKind::Hang) => core::future::pending::<()>().await,
        Some(FaultKind::Cut) => return Err(ServeError::Cut),
        Some(FaultKind::Restart { lose }) => {
            cluster.restart(*lose);
            return Err(ServeError::Cut);
        }
        _ => {}
    }
    let now = cluster.now();
    let outcome = api::handle(&mut cluster.0.state.borrow_mut(), now, &request);
    let outcome = match outcome {
        Ok(Outcome::Admin) => admin::handle(cluster, connection, &request).map(Outcome::Answer),
        Ok(Outcome::Kubelet(call)) => call_kubelet(cluster, call).await.map(Outcome::Relay),
        outcome => outcome,
    };
    let outcome = outcome.unwrap_or_else(|error| Outcome::Answer(Answer::error(&error)));
    let code = match &outcome {
        Outcome::Answer(answer) => answer.code,
        Outcome::Relay(answer) => answer.status,
        Outcome::Watch(_) | Outcome::Admin | Outcome::Kubelet(_) => 200,
    };
    cluster
        .0
        .state
        .borrow_mut()
        .count(request.verb, &request.resource_name, code);
    if fault == Some(FaultKind::LoseAnswer) {
        return Err(ServeError::Cut);
    }
    let extent = if fault == Some(FaultKind::CutMidAnswer) {
        Extent::Half
    } else {
        Extent::Whole
    };
    match outcome {
        Outcome::Answer(answer) => send(cluster, stream, &answer, close, extent).await,
        Outcome::Relay(answer) => relay(cluster, stream, answer, close).await,
        Outcome::Watch(_) if extent == Extent::Half => Err(ServeError::Cut),
        Outcome::Watch(watching) => watch(cluster, stream, &request, *watching).await,
        Outcome::Admin | Outcome::Kubelet(_) => Ok(()),
    }
}

async fn call_kubelet<C: Clock>(cluster: &Cluster<C>, call: KubeletCall) -> Result<KubeletAnswer, ApiError> {
    let kubelets = cluster.0.kubelets.borrow().clone();
    let Some(kubelets) = kubelets else {
        return Err(ApiError::unavailable(
            "this cluster cannot call kubelets: it was started without a way to",
        ));
    };
    let wanted = format!("https://{}:{}{}", call.address, call.port, call.path);
    kubelets
        .get(call.address, call.port, call.path)
        .await
        .map_err(|why| ApiError::internal(format!("Get {wanted:?}: {why}")))
}

/// Passes on what a kubelet says.
async fn relay<S: Read + Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: &mut S,
    mut answer: KubeletAnswer,
    close: bool,
) -> Result<(), ServeError<S::Error>> {
    let head = answer_head(
        answer.status,
        &answer.content_type,
        None,
        &date(cluster),
        None,
        close,
    );
    stream.write_all(head.as_bytes()).await.map_err(ServeError::Io)?;
    stream.flush().await.map_err(ServeError::Io)?;
    let mut ignored = [0; 16];
    loop {
        match select((answer.body)(), stream.read(&mut ignored)).await {
            Either::First(Some(bytes)) => {
                let mut out = Vec::with_capacity(bytes.len() + 16);
                append_chunk(&mut out, &bytes);
                stream.write_all(&out).await.map_err(ServeError::Io)?;
                stream.flush().await.map_err(ServeError::Io)?;
            }
            Either::First(None) => return end_chunks(stream).await,
            Either::Second(Ok(_)) => return Err(ServeError::Malformed),
            Either::Second(Err(error)) => return Err(ServeError::Io(error)),
        }
    }
}

fn append_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
}

async fn end_chunks<S: Write>(stream: &mut S) -> Result<(), ServeError<S::Error>> {
    stream.write_all(b"0\r\n\r\n").await.map_err(ServeError::Io)?;
    stream.flush().await.map_err(ServeError::Io)
}

/// Keeps a watch going until its time is over, the cluster closes it or the peer leaves.
async fn watch<S: Read + Write, C: Clock>(
    cluster: &Cluster<C>,
    stream: &mut S,
    request: &Request,
    mut watching: Watching,
) -> Result<(), ServeError<S::Error>> {
    let head = answer_head(200, watching.content_type(), None, &date(cluster), None, false);
    stream.write_all(head.as_bytes()).await.map_err(ServeError::Io)?;
    stream.flush().await.map_err(ServeError::Io)?;
    if let Some(error) = &watching.failure {
        let mut out = Vec::new();
        append_chunk(&mut out, watching.failure(error).as_bytes());
        stream.write_all(&out).await.map_err(ServeError::Io)?;
        return end_chunks(stream).await;
    }
    let clock = &cluster.0.clock;
    let end = clock.uptime() + watching.timeout;
    // The last bookmark comes shortly before the end, so that the next watch starts from there.
    let last_bookmark = end.saturating_sub(BEFORE_END).max(clock.uptime() + BEFORE_END);
    let mut next_bookmark = last_bookmark.min(clock.uptime() + BOOKMARK_INTERVAL);
    loop {
        let now = clock.uptime();
        if now >= end {
            return end_chunks(stream).await;
        }
        let mut out = Vec::new();
        let announces = watching.initial == Some(0);
        if announces || watching.bookmarks && now >= next_bookmark {
            let revision = cluster.0.state.borrow().store.revision();
            append_chunk(&mut out, watching.bookmark(revision, announces).as_bytes());
            watching.initial = watching.initial.filter(|left| *left > 0);
            next_bookmark = if now < last_bookmark {
                last_bookmark.min(now + BOOKMARK_INTERVAL)
            } else {
                end
            };
            stream.write_all(&out).await.map_err(ServeError::Io)?;
            stream.flush().await.map_err(ServeError::Io)?;
            continue;
        }
        let wait = if watching.bookmarks {
            end.min(next_bookmark)
        } else {
            end
        } - now;
        let mut ignored = [0; 16];
        let first = select3(
            watching.subscription.next(),
            stream.read(&mut ignored),
            clock.sleep(wait),
        )
        .await;
        let mut event = match first {
            Either3::First(Some(event)) => Some(event),
            Either3::First(None) => return end_chunks(stream).await,
            Either3::Second(Ok(0)) => return Ok(()),
            Either3::Second(Ok(_)) => return Err(ServeError::Malformed),
            Either3::Second(Err(error)) => return Err(ServeError::Io(error)),
            Either3::Third(()) => None,
        };
        while let Some(found) = event {
            let facts = Facts {
                verb: "watch",
                ..request.facts()
            };
            let fault = cluster.0.state.borrow_mut().faults.strike(Stage::Event, &facts);
            let text = watching.event(&found, cluster.now());
            match fault {
                Some(FaultKind::ExpireWatch) => {
                    let gone =
                        ApiError::expired("too old resource version: the watch was expired on purpose");
                    append_chunk(&mut out, watching.failure(&gone).as_bytes());
                    stream.write_all(&out).await.map_err(ServeError::Io)?;
                    return end_chunks(stream).await;
                }
                Some(_) => {
                    let mut chunk = Vec::new();
                    append_chunk(&mut chunk, text.as_bytes());
                    out.extend_from_slice(&chunk[..chunk.len() / 2]);
                    stream.write_all(&out).await.map_err(ServeError::Io)?;
                    stream.flush().await.map_err(ServeError::Io)?;
                    return Err(ServeError::Cut);
                }
                None => append_chunk(&mut out, text.as_bytes()),
            }
            cluster.0.state.borrow_mut().events += 1;
            watching.initial = watching.initial.map(|left| left.saturating_sub(1));
            let more = out.len() < BATCH && watching.initial != Some(0);
            event = if more {
                watching.subscription.try_next()
            } else {
                None
            };
        }
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(ServeError::Io)?;
            stream.flush().await.map_err(ServeError::Io)?;
        }
    }
}
