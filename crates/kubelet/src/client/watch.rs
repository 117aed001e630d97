//! Following a collection: list it once, then watch it for ever.
//!
//! A watch has a connection of its own. When it ends it is begun again where it ended; when the server no longer knows
//! that place (410) the collection is listed again, and the store is told where the list begins and ends, so that it
//! can see what went away in between. Nothing is ever polled.

use super::{ApiError, Client, Reader};
use crate::backoff::{Backoff, jittered};
use crate::host::Host;
use alloc::boxed::Box;
use picolet_kube::envelope::{Each, Envelope, Event, Object, Objects};
use picolet_kube::json::Code;
use picolet_kube::request::{Request, Resource, Selection, Verb};
use picolet_kube::status::Status;
use picolet_platform::{Clock, Duration, Level, Log};

/// How long a watch lasts, at least. A kubelet's informers take 5 to 10 minutes likewise.
const WATCH: Duration = Duration::from_secs(300);
/// The longest that the server can put a list or a watch off at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How much longer than agreed a silent server is waited for.
const GRACE: Duration = Duration::from_secs(30);

/// What a followed collection is kept in. Its methods are called between two awaits and must not take long.
pub(crate) trait Store {
    /// What reads the objects.
    type Object: Object;

    /// A reader for a new list or watch.
    fn reader(&self) -> Self::Object;
    /// A list begins: what it does not name by its end is gone.
    fn list_begins(&self);
    /// An object is there, new or changed or the same as before.
    fn applied(&self, object: &mut Self::Object);
    /// An object is gone.
    fn deleted(&self, object: &mut Self::Object);
    /// The list was read whole.
    fn list_ends(&self);
    /// Whether another object can be taken. While it cannot, nothing is read from the connection.
    fn room(&self) -> bool {
        true
    }
    /// Whether the collection is to be listed anew: objects were passed over, and there is room for them now.
    fn is_outdated(&self) -> bool {
        false
    }
}

/// A store without the type of its objects, so that following is compiled once and not for each collection.
pub(crate) trait Collection {
    /// Takes the objects of a new list or watch.
    fn objects(&self) -> Box<dyn Objects + '_>;
    /// What is kept of each.
    fn shape(&self) -> Code;
    /// A list begins.
    fn begins(&self);
    /// The list was read whole.
    fn ends(&self);
    /// Whether another object can be taken.
    fn has_room(&self) -> bool;
    /// Whether the collection is to be listed anew.
    fn outdated(&self) -> bool;
}

impl<S: Store> Collection for S {
    fn objects(&self) -> Box<dyn Objects + '_> {
        let on = |event: Event<'_>, object: &mut S::Object| match event {
            Event::Applied => self.applied(object),
            Event::Deleted => self.deleted(object),
            Event::Bookmark | Event::Error(_) => {}
        };
        Box::new(Each {
            object: self.reader(),
            on,
        })
    }

    fn shape(&self) -> Code {
        S::Object::SHAPE
    }

    fn begins(&self) {
        self.list_begins();
    }

    fn ends(&self) {
        self.list_ends();
    }

    fn has_room(&self) -> bool {
        self.room()
    }

    fn outdated(&self) -> bool {
        self.is_outdated()
    }
}

/// The body of a list or a watch on its way into a store.
struct Reading<'a> {
    store: &'a dyn Collection,
    envelope: Envelope,
    objects: Box<dyn Objects + 'a>,
}

impl Reader for Reading<'_> {
    fn has_room(&self) -> bool {
        self.store.has_room()
    }

    fn feed(&mut self, piece: &[u8]) -> bool {
        self.envelope.feed(piece, &mut *self.objects).is_ok()
            && !self.envelope.has_failed()
            && !self.store.outdated()
    }
}

/// Why a round of listing and watching ended.
enum End {
    /// The watch was over: begin it again at this place.
    Resume(Box<str>),
    /// The place is lost: list again.
    Relist,
    /// It failed: back off. The place is kept where there is one.
    Failed(ApiError, Option<Box<str>>),
    /// The server wants to be left alone for that long.
    Throttled(Duration, Option<Box<str>>),
}

impl<H: Host> Client<H> {
    /// Follows `selection` of `resource` for ever. A refusal (403) is told once by `refused`.
    pub(crate) async fn follow(
        &self,
        resource: Resource<'_>,
        selection: Selection<'_>,
        store: &dyn Collection,
        refused: &dyn Fn(&Status),
    ) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(8));
        // A refusal is mended by a person, who may take a while.
        let mut patience = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let mut place: Option<Box<str>> = None;
        // The code of the last refusal, unless something else came since.
        let mut told = 0;
        loop {
            let begun = self.machine.uptime();
            let end = self.round(resource, selection, store, place.take()).await;
            if self.machine.uptime().saturating_sub(begun) > Duration::from_secs(30) {
                backoff.reset();
            }
            match end {
                End::Resume(version) => {
                    place = Some(version);
                    told = 0;
                    patience.reset();
                    backoff.wait(&*self.machine).await;
                }
                End::Relist => backoff.wait(&*self.machine).await,
                End::Throttled(pause, version) => {
                    place = version;
                    self.machine
                        .log(Level::Debug, format_args!("watching {resource}: throttled"));
                    let delay = backoff.next(&*self.machine).max(pause.min(LONGEST_PAUSE));
                    self.machine.sleep(delay).await;
                }
                End::Failed(ApiError::Status(status), version) if matches!(status.code, 401 | 403) => {
                    place = version;
                    let is_news = core::mem::replace(&mut told, status.code) != status.code;
                    if is_news && status.code == 403 {
                        refused(&status);
                    } else if is_news {
                        self.machine.log(
                            Level::Warn,
                            format_args!(
                                "{resource} is not watched: the API server does not accept the node's certificate (HTTP 401)"
                            ),
                        );
                    }
                    patience.wait(&*self.machine).await;
                }
                End::Failed(error, version) => {
                    place = version;
                    self.machine
                        .log(Level::Debug, format_args!("watching {resource}: {error}"));
                    backoff.wait(&*self.machine).await;
                }
            }
        }
    }

    /// Lists, unless there is a place to go on from, and watches until the watch ends.
    async fn round(
        &self,
        resource: Resource<'_>,
        selection: Selection<'_>,
        store: &dyn Collection,
        mut place: Option<Box<str>>,
    ) -> End {
        let mut connection = match self.dial().await {
            Ok(connection) => connection,
            Err(error) => return End::Failed(error, place),
        };
        loop {
            let listing = place.is_none();
            let lasts = jittered(&*self.machine, WATCH, 100);
            let (envelope, verb, begun, by) = match &place {
                None => {
                    store.begins();
                    let verb = Verb::List(selection);
                    (Envelope::list(store.shape()), verb, &self.metrics.relists, None)
                }
                Some(version) => {
                    let verb = Verb::Watch {
                        selection,
                        resource_version: version,
                        timeout_seconds: lasts.as_secs() as u32,
                    };
                    let by = self.machine.uptime() + lasts + GRACE;
                    (
                        Envelope::watch(store.shape(), version),
                        verb,
                        &self.metrics.watches,
                        Some(by),
                    )
                }
            };
            let request = Request {
                resource,
                verb,
                body: "",
            };
            let mut reading = Reading {
                store,
                envelope,
                objects: store.objects(),
            };
            let result = self
                .exchange(&mut connection, &request, by, Some(begun), &mut reading)
                .await;
            // Only a list that came to its end says where a watch begins: of what it names everything else is gone.
            let is_whole = !listing || matches!(result, Ok((_, None)));
            place = reading.envelope.place().filter(|_| is_whole).map(Box::from);
            match result {
                Ok((_, None)) if listing => {
                    // Only a list that came whole tells what is gone.
                    if place.is_none() {
                        return End::Failed(ApiError::Json, None);
                    }
                    store.ends();
                    if store.outdated() {
                        return End::Relist;
                    }
                }
                Ok((_, None)) => return place.map_or(End::Relist, End::Resume),
                // What could not be read may have been a change: look at all of it again.
                Err(ApiError::Json) if !listing => return End::Relist,
                Ok((_, Some(status))) if status.code == 410 => return End::Relist,
                Ok((head, Some(status))) => {
                    return match self.asked_pause(&head) {
                        Some(pause) => End::Throttled(pause, place),
                        None => End::Failed(ApiError::Status(status), place),
                    };
                }
                Err(error) => return End::Failed(error, place),
            }
        }
    }
}
