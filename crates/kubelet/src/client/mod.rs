//! Requests to the API server, and what is watched there.
//!
//! A full TLS handshake is dear on a microcontroller, so there is one connection for all requests, used in turn by the most
//! urgent [`Class`]; a watch has one of its own. A renewal of the Lease waits for that connection for two seconds at most and
//! is then made on a connection of its own, as reviews are after half a second.
//!
//! # Failures
//! - The server's word to slow down (429 or 503, `Retry-After`) pauses the class of the request, and no other.
//! - A request is repeated once if a connection that was used before ended without a byte of an answer, as a server may close
//!   one that is idle, and if carrying it out twice does no harm ([`is_repeatable`]).
//! - A creation whose outcome is not known is looked for by name first ([`Client::create`]).
//! - A server that accepts connections and says nothing useful is passed over: one that is silent, closes a new connection
//!   without an answer, does not speak HTTP, or answers with 5xx several times. The next dial goes to the next server, or to the
//!   next address of its name.
//!
//! All else is decided by whoever makes the request.

mod class;
mod connection;
mod credentials;
mod error;
#[cfg(test)]
mod tests;
mod time;
mod turns;
mod watch;
mod within;

pub(crate) use connection::{Connection, Reader};
pub(crate) use credentials::Credentials;
pub(crate) use error::ApiError;
pub(crate) use watch::Store;
pub(crate) use within::within;

use crate::host::{Host, Outbound};
use crate::metrics::{Metrics, count};
use crate::time::Time;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use class::Class;
use connection::{ResponseInfo, refusal};
use core::cell::Cell;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Read, Write};
use picolet_kube::envelope::Object;
use picolet_kube::json::{Code, Decoder, Sink};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_kube::status::Status;
use picolet_platform::{Clock, DialError, Dialled, Duration, Network};
use turns::Turns;

/// How long one request may take, once there is a connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A handshake on the slowest board takes a second. The next dial continues where this one ended.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer, or the next piece of a list, may keep us waiting.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a watch may be silent: an API server sends a bookmark about once a minute.
const SILENCE: Duration = Duration::from_secs(90);
/// Poll interval while a reader has no room.
const ROOM: Duration = Duration::from_millis(100);
/// Answers from 500 on, one after the other, after which another server is dialled.
const SERVER_ERRORS: u8 = 3;

/// Makes requests to the API server.
pub(crate) struct Client<H: Host> {
    machine: Rc<H::Machine>,
    network: Rc<H::Network>,
    time: Rc<Time<H::Machine>>,
    metrics: Rc<Metrics>,
    /// Who the node is to the API server.
    pub(crate) credentials: Credentials,
    /// The connection that requests use in turn.
    shared: Turns<Option<Connection<Outbound<H>>>>,
    /// The uptimes before which no request of a class is sent.
    pauses: [Cell<Duration>; Class::COUNT],
    /// Answers from 500 on, since the last other one.
    server_errors: Cell<u8>,
}

impl<H: Host> Client<H> {
    /// A client that has no connection yet.
    pub(crate) fn new(
        machine: Rc<H::Machine>,
        network: Rc<H::Network>,
        time: Rc<Time<H::Machine>>,
        metrics: Rc<Metrics>,
    ) -> Self {
        Self {
            machine,
            network,
            time,
            metrics,
            credentials: Credentials::default(),
            shared: Turns::new(None),
            pauses: Default::default(),
            server_errors: Cell::new(0),
        }
    }

    /// A new connection to the API server.
    pub(crate) async fn dial(&self) -> Result<Connection<Outbound<H>>, ApiError> {
        let dial = async { self.network.dial().await.map_err(ApiError::Dial) };
        let dialled = within(&*self.machine, DIAL_TIMEOUT, dial).await;
        if let Err(ApiError::Dial(DialError::Tls)) = dialled {
            self.time.doubt();
        }
        let Dialled {
            stream,
            endpoint,
            validity,
        } = dialled?;
        let mut connection = Connection::new(stream, self.host());
        (connection.endpoint, connection.validity) = (endpoint, validity);
        connection.authorization = self.credentials.authorization();
        Ok(connection)
    }

    /// Ends the connection for requests, once nobody uses it: the next shows the certificate of then.
    pub(crate) async fn hang_up(&self) {
        *self.shared.take(Class::Heartbeat).await = None;
    }

    /// Sends a request and has the body of its answer read, if it is a success; else returns what the server says. The
    /// head and each piece of the body are waited for, unless the whole body has to be here `by` an uptime. `begun` counts
    /// the successes, before their bodies. A server of which no use can be made is passed over.
    async fn exchange(
        &self,
        connection: &mut Connection<Outbound<H>>,
        request: &Request<'_>,
        by: Option<Duration>,
        begun: Option<&Cell<u32>>,
        reader: &mut dyn Reader,
    ) -> Result<(ResponseInfo, Option<Box<Status>>), ApiError> {
        let result = self.exchanged(connection, request, by, begun, reader).await;
        let useless = match &result {
            Ok((head, _)) if head.status < 500 => {
                self.server_errors.set(0);
                false
            }
            Ok(_) => {
                self.server_errors.set(self.server_errors.get() + 1);
                self.server_errors.get() >= SERVER_ERRORS
            }
            Err(ApiError::Timeout | ApiError::Http) => true,
            Err(ApiError::Io) => connection.is_silent() && !connection.is_reused(),
            Err(_) => false,
        };
        if useless {
            self.server_errors.set(0);
            connection.close();
            self.network.pass_over(connection.endpoint);
            // They were asked for by that server.
            self.pauses.iter().for_each(|pause| pause.set(Duration::ZERO));
        }
        result
    }

    async fn exchanged(
        &self,
        connection: &mut Connection<Outbound<H>>,
        request: &Request<'_>,
        by: Option<Duration>,
        begun: Option<&Cell<u32>>,
        reader: &mut dyn Reader,
    ) -> Result<(ResponseInfo, Option<Box<Status>>), ApiError> {
        let left = || by.map_or(ANSWER, |by| by.saturating_sub(self.machine.uptime()));
        let sent_at = self.machine.uptime();
        let head = within(&*self.machine, left().min(ANSWER), connection.send(request)).await?;
        let latency = self.machine.uptime().saturating_sub(sent_at);
        self.time.answered(head.date, connection.validity, latency);
        if !(200..300).contains(&head.status) {
            let refusal = refusal(connection, head.status);
            let status = within(&*self.machine, left().min(ANSWER), refusal).await?;
            return Ok((head, Some(status)));
        }
        begun.into_iter().for_each(count);
        loop {
            while !reader.has_room() {
                self.machine.sleep(ROOM).await;
            }
            match within(&*self.machine, left().min(SILENCE), connection.piece()).await? {
                Some(piece) if reader.feed(piece) => {}
                Some(_) => return Err(ApiError::Json),
                None => return Ok((head, None)),
            }
        }
    }

    /// How long the server that answered so wants to be left alone. One that was passed over is.
    fn asked_pause(&self, head: &ResponseInfo) -> Option<Duration> {
        let is_passed_over = head.status >= 500 && self.server_errors.get() == 0;
        let seconds = u64::from(head.retry_after.unwrap_or(1));
        (matches!(head.status, 429 | 503) && !is_passed_over).then(|| Duration::from_secs(seconds))
    }

    /// The `Host` of the API server that was connected to last.
    fn host(&self) -> Box<str> {
        self.network.with_host(|host| Box::from(host))
    }

    /// Makes a request whose answer is one object, which is read into `object`.
    // Here and below: no `async fn`, which would be a future of its own around the same one for each type.
    pub(crate) fn get<T: Object>(
        &self,
        request: &Request<'_>,
        object: &mut T,
    ) -> impl Future<Output = Result<(), ApiError>> {
        self.request(request, None, Wanted::object(object))
    }

    /// Makes a request of whose answer only the success counts.
    pub(crate) fn post(&self, request: &Request<'_>) -> impl Future<Output = Result<(), ApiError>> {
        self.request(request, None, Wanted::Nothing)
    }

    /// Makes a request whose answer is no JSON.
    pub(crate) fn read(
        &self,
        request: &Request<'_>,
        reader: &mut dyn Reader,
    ) -> impl Future<Output = Result<(), ApiError>> {
        self.request(request, None, Wanted::Text(reader))
    }

    /// As [`Client::get`], with a body that `write` writes at the moment when it is sent.
    pub(crate) fn get_late<T: Object>(
        &self,
        request: &Request<'_>,
        write: &dyn Fn(&mut String),
        object: &mut T,
    ) -> impl Future<Output = Result<(), ApiError>> {
        self.request(request, Some(write), Wanted::object(object))
    }

    /// Creates an object that is found as `named` afterwards. If it is not known whether that was done, the object is looked for,
    /// and created only if it is not there.
    pub(crate) async fn create(
        &self,
        request: &Request<'_>,
        named: Resource<'_>,
        mut wanted: Wanted<'_>,
    ) -> Result<(), ApiError> {
        let look = Request::get(named);
        let (mut looks, mut attempts) = (false, 0);
        loop {
            attempts += 1;
            let next = if looks { &look } else { request };
            match self.request(next, None, wanted.again()).await {
                Err(error) if attempts == 1 && error.is_outcome_unknown() => looks = true,
                Err(error) if looks && error.code() == 404 => looks = false,
                result => return result,
            }
        }
    }

    /// The same for any type, so that it is compiled once. Only a success is `Ok`. `late` writes the body once the request can
    /// be sent.
    async fn request(
        &self,
        request: &Request<'_>,
        late: Option<&dyn Fn(&mut String)>,
        mut wanted: Wanted<'_>,
    ) -> Result<(), ApiError> {
        let class = Class::of(request.resource);
        let pause = &self.pauses[class as usize];
        loop {
            let rest = pause.get().saturating_sub(self.machine.uptime());
            if rest.is_zero() {
                break;
            }
            self.machine.sleep(rest).await;
        }
        let mut turn = match class.patience() {
            None => Some(self.shared.take(class).await),
            Some(patience) => match select(self.shared.take(class), self.machine.sleep(patience)).await {
                Either::First(turn) => Some(turn),
                Either::Second(()) => None,
            },
        };
        // On the heap, since it is rarely there.
        let mut own = None;
        let slot = match &mut turn {
            Some(turn) => &mut **turn,
            None => &mut **own.insert(Box::new(None)),
        };
        let begun = self.machine.uptime();
        // One that was given up in the middle of an exchange is not to be used either.
        keep_if_reusable(slot);
        let mut repeatable = is_repeatable(request);
        let result = loop {
            let connection = match slot {
                Some(connection) => connection,
                None => match self.dial().await {
                    Ok(connection) => slot.insert(connection),
                    Err(error) => break Err(error),
                },
            };
            let mut body = String::new();
            let request = match late {
                None => *request,
                Some(write) => {
                    write(&mut body);
                    Request {
                        body: &body,
                        ..*request
                    }
                }
            };
            let mut answer = Answer::new(wanted.again());
            let by = Some(self.machine.uptime() + REQUEST_TIMEOUT);
            let exchanged = self.exchange(connection, &request, by, None, &mut answer).await;
            let whole = answer.is_whole();
            // A server may close an idle connection just as we use it.
            let again = connection.is_silent() && connection.is_reused() && core::mem::take(&mut repeatable);
            match exchanged {
                Err(ApiError::Io) if again => *slot = None,
                Err(error) => {
                    *slot = None;
                    break Err(error);
                }
                Ok((head, status)) => break Ok((head, status, whole)),
            }
        };
        keep_if_reusable(slot);
        let now = self.machine.uptime();
        self.metrics.api_latency.record(now.saturating_sub(begun));
        let (head, status, whole) = result.inspect_err(|_| count(&self.metrics.api_failed))?;
        if let Some(asked) = self.asked_pause(&head) {
            pause.set(now + asked.min(class.longest_pause()));
        }
        count(match head.status {
            200..=299 => &self.metrics.api_ok,
            409 => &self.metrics.api_conflict,
            429 => &self.metrics.api_throttled,
            _ => &self.metrics.api_refused,
        });
        if head.status == 401 {
            // The next try shows the certificate anew.
            *slot = None;
        }
        self.credentials.answered(head.status, now);
        match status {
            Some(status) => Err(ApiError::Status(status)),
            None if whole => Ok(()),
            None => Err(ApiError::Json),
        }
    }
}

/// Drops a connection that cannot carry another request.
fn keep_if_reusable<S: Read + Write>(slot: &mut Option<Connection<S>>) {
    if !slot.as_ref().is_some_and(Connection::is_reusable) {
        *slot = None;
    }
}

/// Whether a request may be carried out twice. What the node replaces has the version that it replaces, what it deletes the uid:
/// the second time it is a conflict, or not there. What it merges is absolute: the second time changes nothing. A review and what
/// k3s signs leave no object behind.
fn is_repeatable(request: &Request<'_>) -> bool {
    match request.verb {
        Verb::Create => matches!(
            request.resource,
            Resource::TokenReviews | Resource::SubjectAccessReviews
        ),
        _ => true,
    }
}

/// What is read into, beginning anew with each attempt.
pub(crate) trait Fresh: Sink {
    /// Forgets everything.
    fn refresh(&mut self);
}

impl<T: Object> Fresh for T {
    fn refresh(&mut self) {
        self.reset();
    }
}

/// What is done with the body of an answer.
pub(crate) enum Wanted<'a> {
    /// Only the success counts.
    Nothing,
    /// It is an object.
    Object(Code, &'a mut dyn Fresh),
    /// It is no JSON.
    Text(&'a mut dyn Reader),
}

impl<'a> Wanted<'a> {
    /// Reads it into `object`.
    pub(crate) fn object<T: Object>(object: &'a mut T) -> Self {
        Self::Object(T::SHAPE, object)
    }

    /// The same, for one attempt of several.
    fn again(&mut self) -> Wanted<'_> {
        match self {
            Self::Nothing => Wanted::Nothing,
            Self::Object(shape, object) => Wanted::Object(*shape, *object),
            Self::Text(reader) => Wanted::Text(*reader),
        }
    }
}

/// Reads what is wanted of an answer.
struct Answer<'a> {
    wanted: Wanted<'a>,
    /// Of an object.
    decoder: Option<Decoder>,
    /// Whether it is no JSON. The rest is read all the same, so that the connection can be used again.
    broken: bool,
}

impl<'a> Answer<'a> {
    fn new(mut wanted: Wanted<'a>) -> Self {
        let decoder = match &mut wanted {
            Wanted::Object(shape, object) => {
                object.refresh();
                Some(Decoder::new(*shape))
            }
            _ => None,
        };
        Self {
            wanted,
            decoder,
            broken: false,
        }
    }

    /// Whether all that is wanted was read.
    fn is_whole(&self) -> bool {
        !self.broken
            && self
                .decoder
                .as_ref()
                .is_none_or(|decoder| decoder.documents() > 0)
    }
}

impl Reader for Answer<'_> {
    fn feed(&mut self, piece: &[u8]) -> bool {
        match (&mut self.wanted, &mut self.decoder) {
            (Wanted::Object(_, object), Some(decoder)) if !self.broken => {
                self.broken = decoder.feed(piece, *object).is_err();
            }
            (Wanted::Text(reader), _) => self.broken |= !reader.feed(piece),
            _ => {}
        }
        true
    }
}
