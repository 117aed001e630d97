//! The kubelet's API: who connects, how much they may ask for, and who answers.
//!
//! A few workers share one future: each accepts a connection, serves its requests one after the other and goes back
//! for the next. There is one worker more than connections are served; it makes room for a new connection by ending
//! the one that was idle longest, or turns the caller away. Every wait has an end, every buffer a bound, and an idle
//! connection holds next to none.
//!
//! It never opens a socket, never sees a key, and never does more for a caller whom it does not know than to say so.

mod auth;
mod containers;
mod kubelet;
mod log_reader;
mod logs;
mod metrics;
pub mod pico;
mod rate;
mod response;
mod reviews;
mod routes;
#[cfg(test)]
mod tests;

use crate::apart::apart;

use crate::client::Client;
use crate::devices::Devices;
use crate::health::Health;
use crate::host::{Host, Inbound};
use crate::metrics::{Histogram, Metrics, count};
use crate::pods::Pods;
use crate::settings::{Limits, Settings};
use crate::time::Time;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use auth::{Caller, Identity, Shown};
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::net::IpAddr;
use core::task::Poll;
use embassy_futures::select::{Either, Either3, Select, select, select3};
use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embedded_io_async::{Read, Write};
use picolet_http::{Body, Method, RequestError, RequestHead, RequestLimits};
use picolet_kube::review::{USER_BYTES, User};
use picolet_platform::{
    AcceptError, Accepted, Clock, Credential, Duration, Level, Log, Memory, Network, Record, Records, System,
    UnixMicros,
};
use rate::Rate;
use response::{Answer, METRICS};
use reviews::Reviews;
use routes::Route;
use zeroize::{Zeroize, Zeroizing};

/// How long a port that is not open is left alone.
const NOT_LISTENING: Duration = Duration::from_secs(1);
/// How long a caller who is turned away, or whose request is not read to its end, is listened to, so that the answer
/// reaches it before the connection is gone.
const LINGER: Duration = Duration::from_millis(500);
/// Read at once from a connection that has nothing to say yet.
const FIRST_READ: usize = 256;
/// Read at once after that.
const NEXT_READ: usize = 512;
/// Below so much free heap nothing is served but what tells how the node is.
const RESERVE_BYTES: u64 = 8 * 1024;

/// What of a node the kubelet API shows and changes.
pub(crate) struct ServedNode<'a, H: Host> {
    pub(crate) settings: &'a Settings,
    pub(crate) client: &'a Client<H>,
    pub(crate) machine: &'a H::Machine,
    pub(crate) network: &'a H::Network,
    pub(crate) time: &'a Time<H::Machine>,
    pub(crate) health: &'a Health,
    pub(crate) metrics: &'a Metrics,
    pub(crate) devices: &'a Devices,
    pub(crate) pods: &'a RefCell<Pods>,
}

/// Serves for ever.
pub(crate) async fn run<H: Host>(node: &ServedNode<'_, H>) {
    let server = Server::new(node);
    let mut workers: Vec<_> = server
        .slots
        .iter()
        .map(|slot| Box::pin(server.work(slot)))
        .collect();
    poll_fn(|cx| {
        for worker in &mut workers {
            let _: Poll<()> = worker.as_mut().poll(cx);
        }
        Poll::Pending
    })
    .await
}

/// One worker, as the others see it.
#[derive(Default)]
struct Slot {
    /// Whether it has a connection.
    open: Cell<bool>,
    /// Since when that connection has been waiting for a request.
    idle_since: Cell<Option<Duration>>,
    /// Tells it to end the connection.
    evict: Signal<NoopRawMutex, ()>,
}

/// How often an endpoint was answered with a code.
struct Requests {
    route: Route,
    code: u16,
    count: u32,
}

/// What the workers share.
struct Server<'a, H: Host> {
    node: &'a ServedNode<'a, H>,
    slots: Box<[Slot]>,
    rate: Rate,
    reviews: Reviews,
    /// As many as there are routes and codes at most.
    requests: RefCell<Vec<Requests>>,
    duration: Histogram,
    evicted: Cell<u32>,
    turned_away: Cell<u32>,
    /// How many callers wait for lines of the log.
    followers: Cell<usize>,
    cpu: metrics::CpuUsage,
}

/// What is known of a request once it is answered.
struct Caught {
    head: Option<RequestHead>,
    route: Route,
    identity: Option<Identity>,
}

impl Caught {
    /// One whose head could not be read.
    const UNREADABLE: Self = Self {
        head: None,
        route: Route::Other,
        identity: None,
    };
}

/// A connection, and what was received on it and not yet used.
struct Connection<S> {
    stream: S,
    shown: Shown,
    /// The last second in which that counts, in Unix seconds.
    not_after: u64,
    peer: IpAddr,
    /// Overwritten when it is dropped: it may have a token.
    received: Zeroizing<Vec<u8>>,
}

/// The peer is gone, or is not waited for any longer: there is nobody to answer.
struct Gone;

impl<S: Read + Write> Connection<S> {
    fn new(accepted: Accepted<S>) -> Self {
        let not_after = match &accepted.credential {
            Credential::Certificate(subject) => subject.not_after,
            _ => u64::MAX,
        };
        Self {
            not_after,
            stream: accepted.stream,
            shown: match &accepted.credential {
                Credential::None => Shown::Nothing,
                Credential::Certificate(subject) => {
                    let groups = subject.groups.iter().map(|group| &**group);
                    let (user, uid) = (&subject.user, subject.uid.as_deref());
                    Shown::User(Rc::new(User::of_certificate(
                        user,
                        uid,
                        groups,
                        &subject.credential_id,
                    )))
                }
                Credential::ReadOnlyPort => Shown::ReadOnlyPort,
            },
            peer: accepted.peer,
            received: Zeroizing::default(),
        }
    }

    /// What the peer has shown. A kubelet verifies a certificate for each request, so one that has expired since the
    /// connection was opened no longer counts.
    fn shown(&self, now: Option<UnixMicros>) -> &Shown {
        if now.is_some_and(|now| now.seconds() > self.not_after) {
            return &Shown::Nothing;
        }
        &self.shown
    }

    /// Reads up to `most` bytes more. Where there is no memory for them, the peer is left.
    async fn read(&mut self, most: usize) -> Result<(), Gone> {
        let start = self.received.len();
        if start + most > self.received.capacity() {
            let mut larger = Zeroizing::new(Vec::new());
            larger.try_reserve_exact(start + most).map_err(|_| Gone)?;
            larger.extend_from_slice(&self.received);
            self.received = larger;
        }
        self.received.resize(start + most, 0);
        let read = self
            .stream
            .read(&mut self.received[start..])
            .await
            .unwrap_or(0)
            .min(most);
        self.received.truncate(start + read);
        if read == 0 { Err(Gone) } else { Ok(()) }
    }

    /// Reads the head of a request. `None` as the error is a peer that is gone.
    async fn head(&mut self, limits: &Limits) -> Result<RequestHead, Option<RequestError>> {
        let mut seen = 0;
        loop {
            // A head ends with a line, so nothing is looked for before one has ended; only what comes first is looked
            // at at once, since it may be no HTTP at all.
            let length = self.received.len();
            let line = self.received.iter().skip(seen).any(|byte| *byte == b'\n');
            if (seen == 0 || line || length >= limits.head_bytes)
                && let Some(head) = RequestHead::parse(&self.received, limits.request()).map_err(Some)?
            {
                return Ok(head);
            }
            seen = length;
            // The buffer doubles, so that a long token is copied a few times only.
            let most = NEXT_READ
                .max(length)
                .min(limits.head_bytes.saturating_sub(length));
            self.read(most.max(1)).await.map_err(|Gone| None)?;
        }
    }

    /// Reads the body that belongs to `head`, which lies behind it without chunk framing then. `None` as the error is a peer that
    /// is gone.
    async fn body(
        &mut self,
        head: &mut RequestHead,
        limits: RequestLimits,
    ) -> Result<(), Option<RequestError>> {
        let whole = head.length + head.body;
        if head.expects_continue && (head.chunked || self.received.len() < whole) {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            self.stream.write_all(go_on).await.map_err(|_| None)?;
            self.stream.flush().await.map_err(|_| None)?;
        }
        while self.received.len() < whole {
            let missing = whole - self.received.len();
            self.read(missing.min(NEXT_READ)).await.map_err(|Gone| None)?;
        }
        if head.chunked {
            apart(self.chunks(head, limits)).await?;
        }
        Ok(())
    }

    /// Reads a chunked body, and removes its framing from the buffer.
    async fn chunks(
        &mut self,
        head: &mut RequestHead,
        limits: RequestLimits,
    ) -> Result<(), Option<RequestError>> {
        let mut body = Body::CHUNKED;
        while !body.is_done() {
            let end = head.length + head.body;
            if self.received.len() == end {
                self.read(NEXT_READ).await.map_err(|Gone| None)?;
            }
            let received = self.received.get(end..).unwrap_or_default();
            let (taken, piece) = body.take(received).map_err(|_| Some(RequestError::Framing))?;
            let framing = taken - piece.len();
            head.body += piece.len();
            if head.body > limits.body_bytes {
                return Err(Some(RequestError::BodyTooLong));
            }
            self.received.drain(end..end + framing);
        }
        head.chunked = false;
        // Readers of chunk extensions disagree: nothing that follows is taken for a request.
        head.close = true;
        Ok(())
    }

    /// Lets the peer say what it will, without listening.
    async fn drain(&mut self) {
        loop {
            self.received.clear();
            if self.read(FIRST_READ).await.is_err() {
                return;
            }
        }
    }
}

fn refuse(pico: bool, error: RequestError) -> Answer<'static> {
    Answer::error(pico, error.code(), &error)
}

fn is_pico<S>(head: &RequestHead, connection: &Connection<S>) -> bool {
    routes::is_pico(head.path(&connection.received))
}

impl<'a, H: Host> Server<'a, H> {
    fn new(node: &'a ServedNode<'a, H>) -> Self {
        let workers = node.settings.limits.connections.max(1) + 1;
        Self {
            node,
            slots: (0..workers).map(|_| Slot::default()).collect(),
            rate: Rate::default(),
            reviews: Reviews::default(),
            requests: RefCell::default(),
            duration: Histogram::default(),
            evicted: Cell::new(0),
            turned_away: Cell::new(0),
            followers: Cell::new(0),
            cpu: metrics::CpuUsage::default(),
        }
    }

    /// Serves one connection after the other.
    async fn work(&self, slot: &Slot) {
        loop {
            // Kept in one place from here on: what is moved takes its room in the future twice.
            let mut accepted = self.node.network.accept().await.map(Connection::new);
            match &mut accepted {
                Ok(connection) => self.serve(slot, connection).await,
                Err(AcceptError::NotListening) => self.node.machine.sleep(NOT_LISTENING).await,
                Err(AcceptError::Handshake) => yield_now().await,
            }
        }
    }

    async fn serve(&self, slot: &Slot, connection: &mut Connection<Inbound<H>>) {
        let room = self.make_room();
        slot.open.set(true);
        slot.evict.reset();
        if room {
            while let Ok(true) = apart(self.exchange(slot, connection)).await {}
        } else {
            count(&self.turned_away);
            let mut answer = Answer::error(false, 503, &"too many connections").retry_after(1);
            answer.close = true;
            let since = self.node.machine.uptime();
            let now = self.node.machine.now();
            self.within(
                LINGER,
                apart(answer.send(&mut connection.stream, now, false, false)),
            )
            .await;
            self.note(connection.peer, &Caught::UNREADABLE, 503, since);
            self.within(LINGER, apart(connection.drain())).await;
        }
        slot.idle_since.set(None);
        slot.open.set(false);
    }

    /// Sees to it that one more connection may be served; returns whether it may.
    fn make_room(&self) -> bool {
        let open = self.slots.iter().filter(|slot| slot.open.get()).count();
        if open < self.slots.len() - 1 {
            return true;
        }
        let idle = self.slots.iter().filter(|slot| slot.open.get());
        let oldest = idle
            .filter_map(|slot| Some((slot.idle_since.get()?, slot)))
            .min_by_key(|(since, _)| *since);
        let Some((_, slot)) = oldest else {
            return false;
        };
        count(&self.evicted);
        slot.idle_since.set(None);
        slot.open.set(false);
        slot.evict.signal(());
        true
    }

    /// Reads one request and answers it; returns whether there may be another on this connection.
    async fn exchange(&self, slot: &Slot, connection: &mut Connection<Inbound<H>>) -> Result<bool, Gone> {
        let limits = &self.node.settings.limits;
        apart(self.wait_for_request(slot, connection)).await?;
        let since = self.node.machine.uptime();
        let deadline = since.saturating_add(limits.request_timeout);
        let read = self.until(deadline, apart(connection.head(limits))).await;
        let (caught, mut answer) = match read {
            Either::Second(()) => (Caught::UNREADABLE, refuse(false, RequestError::Timeout)),
            Either::First(Err(None)) => return Err(Gone),
            Either::First(Err(Some(error))) => (Caught::UNREADABLE, refuse(false, error)),
            Either::First(Ok(mut head)) => {
                let received = &connection.received;
                let route = routes::find(head.method, head.path(received)).route;
                let mut caught = Caught {
                    head: Some(head),
                    route,
                    identity: None,
                };
                let refusal =
                    apart(self.refuse(&head, route, &mut caught.identity, connection, deadline)).await;
                let token = connection.received.get_mut(head.token_range());
                token.unwrap_or_default().zeroize();
                let answer = match refusal {
                    Some(refusal) => refusal,
                    None => {
                        let pico = is_pico(&head, connection);
                        let body = connection.body(&mut head, limits.request());
                        match self.until(deadline, apart(body)).await {
                            Either::First(Ok(())) => self.answer(&head, &connection.received),
                            Either::First(Err(None)) => return Err(Gone),
                            Either::First(Err(Some(error))) => refuse(pico, error),
                            Either::Second(()) => refuse(pico, RequestError::Timeout),
                        }
                    }
                };
                caught.head = Some(head);
                (caught, answer)
            }
        };
        let whole = caught
            .head
            .filter(|head| head.error.is_none() && !head.chunked)
            .map(|head| head.length + head.body);
        let unread = whole.is_none_or(|whole| connection.received.len() < whole);
        if unread {
            answer.close = true;
            connection.received = Zeroizing::default();
        } else {
            let next = connection.received.split_off(whole.unwrap_or_default());
            connection.received = Zeroizing::new(next);
        }
        if answer.forget {
            // It is done at the next start, when nothing uses it any more.
            let kept = Box::pin(self.node.machine.store(Record::Forget, &[1]));
            if let Err(error) = kept.await {
                answer = Answer::error(true, 500, &error);
            }
        }
        answer.close |= caught.head.is_some_and(|head| head.close);
        let head_only = caught.head.is_some_and(|head| head.method == Method::Head);
        let http_1_0 = caught.head.is_some_and(|head| head.http_1_0);
        let now = self.node.machine.now();
        let follow = answer.follow.take().filter(|_| !head_only);
        let sent = if let Some(reader) = follow {
            answer.close |= http_1_0;
            let head = answer.head(now, None, http_1_0);
            // On the heap, so that the other workers do not pay for it.
            Box::pin(self.follow(reader, head, !http_1_0, connection)).await
        } else {
            let sent = self
                .within(
                    limits.idle_timeout,
                    apart(answer.send(&mut connection.stream, now, head_only, http_1_0)),
                )
                .await;
            matches!(sent, Either::First(Ok(())))
        };
        self.note(connection.peer, &caught, answer.code, since);
        if answer.reboot {
            self.node.machine.sleep(LINGER).await;
            self.node.machine.reboot().await;
        }
        if unread && sent {
            self.within(LINGER, apart(connection.drain())).await;
        }
        Ok(sent && !answer.close)
    }

    /// Waits until a request begins.
    async fn wait_for_request(
        &self,
        slot: &Slot,
        connection: &mut Connection<Inbound<H>>,
    ) -> Result<(), Gone> {
        // Some clients send an empty line behind a body.
        let blank = connection
            .received
            .iter()
            .take_while(|byte| matches!(byte, b'\r' | b'\n'))
            .count();
        connection.received.drain(..blank);
        if !connection.received.is_empty() {
            return Ok(());
        }
        connection.received = Zeroizing::default();
        slot.idle_since.set(Some(self.node.machine.uptime()));
        let first = select3(
            slot.evict.wait(),
            connection.read(FIRST_READ),
            self.node.machine.sleep(self.node.settings.limits.idle_timeout),
        )
        .await;
        slot.idle_since.set(None);
        match first {
            Either3::Second(read) => read,
            Either3::First(()) | Either3::Third(()) => Err(Gone),
        }
    }

    /// Decides by its head alone whether a request is served, before its body is let in.
    async fn refuse(
        &self,
        head: &RequestHead,
        route: Route,
        identity: &mut Option<Identity>,
        connection: &Connection<Inbound<H>>,
        deadline: Duration,
    ) -> Option<Answer<'static>> {
        let pico = is_pico(head, connection);
        let now = self.node.machine.uptime();
        let token = head.token(&connection.received).filter(|token| !token.is_empty());
        let settings = &self.node.settings;
        let shown = connection.shown(self.node.machine.now());
        *identity = auth::recognize(settings, shown, token, head.method, route);
        if let Err(seconds) = self.rate.take(connection.peer, now, &self.node.settings.limits) {
            return Some(
                Answer::error(pico, 429, &"too many requests from this address").retry_after(seconds),
            );
        }
        if let Some(error) = head.error {
            return Some(refuse(pico, error));
        }
        // On the heap, so that a worker that waits for a request does not pay for it.
        let asked = Box::pin(self.review(head, route, identity, token, connection, pico));
        let asked = self.until(deadline, asked);
        match asked.await {
            Either::First(None) => {}
            Either::First(refusal) => return refusal,
            Either::Second(()) => {
                return Some(Answer::error(
                    pico,
                    500,
                    &"the API server did not say in time who may do this",
                ));
            }
        }
        if let Some(allow) = routes::find(head.method, head.path(&connection.received)).allow {
            let mut answer = Answer::error(pico, 405, &format_args!("the methods here are {allow}"));
            answer.allow = Some(allow);
            return Some(answer);
        }
        let short = self.node.machine.heap().free() < RESERVE_BYTES;
        if short && !matches!(route, Route::Healthz | Route::Livez) {
            return Some(Answer::error(pico, 503, &"the node is short of memory").retry_after(10));
        }
        None
    }

    /// Asks the cluster who calls, where that is not known, and what they may do.
    async fn review(
        &self,
        head: &RequestHead,
        route: Route,
        identity: &mut Option<Identity>,
        token: Option<&str>,
        connection: &Connection<Inbound<H>>,
        pico: bool,
    ) -> Option<Answer<'static>> {
        if let (None, Some(token)) = (&identity, token) {
            match self.reviews.holder(self.node, token).await {
                Ok(user) => *identity = user.map(Identity::User),
                Err(error) => self.node.machine.log(
                    Level::Warn,
                    format_args!("the API server did not say whose token a caller has: {error}"),
                ),
            }
        }
        let Some(identity) = identity else {
            return Some(Answer::error(pico, 401, &"Unauthorized"));
        };
        if let Identity::User(user) = identity
            && user.attributes().is_none()
        {
            let why = format_args!(
                "Authentication error (user={user}): more than {USER_BYTES} bytes of name, uid, groups and extra"
            );
            return Some(Answer::error(pico, 500, &why));
        }
        let path = head.path(&connection.received);
        let (verb, subresources) = (auth::verb(head.method, path), auth::subresources(path));
        match auth::authorize(self.node, &self.reviews, identity, verb, route, subresources).await {
            Ok(true) => None,
            Ok(false) => Some(Answer::error(
                pico,
                403,
                &auth::Forbidden {
                    identity,
                    verb,
                    subresources,
                },
            )),
            Err((error, subresource)) => {
                let Identity::User(user) = identity else {
                    return None; // nobody is asked about the others
                };
                self.node.machine.log(
                    Level::Warn,
                    format_args!("the API server did not say what {user} may do: {error}"),
                );
                Some(Answer::error(
                    pico,
                    500,
                    &format_args!(
                        "Authorization error (user={user}, verb={verb}, resource=nodes, subresource={subresource})"
                    ),
                ))
            }
        }
    }

    /// Answers a request that is whole.
    #[inline(never)]
    fn answer(&self, head: &RequestHead, received: &[u8]) -> Answer<'_> {
        let path = head.path(received);
        let found = routes::find(head.method, path);
        let (parameters, query) = (found.parameters, head.query(received));
        match found.route {
            Route::Healthz => self.healthz(query),
            Route::Livez => Answer::text(200, &"ok"),
            Route::Readyz => self.readyz(),
            Route::Pods => self.pods(false),
            Route::RunningPods => self.pods(true),
            Route::Spec => self.spec(),
            Route::Configz => self.configz(),
            Route::Metrics => self.metrics(),
            Route::MetricsResource => self.metrics_resource(),
            // There are no containers and no probes yet. An alert of kube-prometheus-stack takes 404 for a kubelet that is down.
            Route::MetricsCadvisor | Route::MetricsProbes => Answer::whole(200, METRICS, String::new()),
            Route::StatsSummary => self.stats_summary(),
            Route::ContainerLogs | Route::Exec | Route::Attach | Route::PortForward | Route::Run => {
                let pods = self.node.pods.borrow();
                containers::answer(
                    found.route,
                    parameters,
                    query,
                    |namespace, name| pods.find(namespace, name),
                    |pod, options| pods.is_own(pod).then(|| self.own_log(options)),
                )
            }
            Route::PicoStatus => self.pico_status(),
            Route::PicoMemory => self.pico_memory(),
            Route::PicoGpio => self.pico_gpio(),
            Route::PicoCommand => {
                let body = head.length..head.length + head.body;
                self.pico_command(received.get(body).unwrap_or_default())
            }
            Route::Other => Answer::error(routes::is_pico(path), 404, &"there is nothing at this path"),
        }
    }

    /// Counts a request and writes its line to the log.
    fn note(&self, peer: IpAddr, caught: &Caught, code: u16, since: Duration) {
        let took = self.node.machine.uptime().saturating_sub(since);
        self.duration.record(took);
        let route = caught.route;
        let mut requests = self.requests.borrow_mut();
        match requests
            .iter_mut()
            .find(|known| known.route == route && known.code == code)
        {
            Some(known) => known.count = known.count.wrapping_add(1),
            None => requests.push(Requests {
                route,
                code,
                count: 1,
            }),
        }
        drop(requests);
        let caller = Caller {
            peer,
            identity: caught.identity.as_ref(),
        };
        // Requests that only read are many: Prometheus comes twice a minute.
        let reads = caught.head.is_none_or(|head| head.method.reads());
        let level = if reads { Level::Debug } else { Level::Info };
        let millis = took.as_millis();
        self.node
            .machine
            .log_request(level, route.name(), &caller, code, millis);
    }

    /// Waits for `future` until `deadline`, an uptime.
    fn until<F: Future>(&self, deadline: Duration, future: F) -> Select<F, impl Future<Output = ()>> {
        self.within(deadline.saturating_sub(self.node.machine.uptime()), future)
    }

    /// Waits for `future`, but no longer than `limit`. No `async fn`: that would hold the future twice.
    fn within<F: Future>(&self, limit: Duration, future: F) -> Select<F, impl Future<Output = ()>> {
        select(future, self.node.machine.sleep(limit))
    }
}
