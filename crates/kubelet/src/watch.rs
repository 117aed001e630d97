//! Following a collection: list it once, then watch it for ever.
//!
//! A watch has a connection of its own. When it ends it is begun again where it ended; when the server no longer knows
//! that place (410) the collection is listed again, and the store is told where the list begins and ends, so that it
//! can see what went away in between. Nothing is ever polled.

use crate::agent::Agent;
use crate::backoff::{Backoff, jittered};
use crate::client::{ApiError, Connection, refusal, within};
use crate::metrics::count;
use crate::pods::Runtime;
use alloc::boxed::Box;
use picolet_kube::envelope::{Event, List, Object, Watch};
use picolet_kube::request::{Request, Resource, Selection, Verb};
use picolet_kube::status::Status;
use picolet_platform::{Duration, Level, Network, Platform};

/// How long a watch lasts, at least. A kubelet's informers take 5 to 10 minutes likewise.
const WATCH: Duration = Duration::from_secs(300);
/// How much longer than agreed a silent server is waited for.
const GRACE: Duration = Duration::from_secs(30);
/// How long an answer may keep us waiting that is no watch.
const ANSWER: Duration = Duration::from_secs(30);

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
}

/// A store without the type of its objects, so that following is compiled once and not for each collection.
pub(crate) trait Collection {
    /// Begins to read a list.
    fn list(&self) -> Box<dyn Reading + '_>;
    /// Begins to read a watch from `version` on.
    fn watch(&self, version: &str) -> Box<dyn Reading + '_>;
    /// The list was read whole.
    fn listed(&self);
    /// Whether another object can be taken.
    fn has_room(&self) -> bool;
}

/// The body of a list or a watch on its way into a store.
pub(crate) trait Reading {
    /// Reads the next piece; returns whether what follows can be read too.
    fn feed(&mut self, piece: &[u8]) -> bool;
    /// Where the next watch begins. A list has no such place unless it came whole.
    fn place(self: Box<Self>) -> Option<Box<str>>;
}

impl<S: Store> Collection for S {
    fn list(&self) -> Box<dyn Reading + '_> {
        self.list_begins();
        let list = List::new(self.reader());
        Box::new(Listing { store: self, list })
    }

    fn watch(&self, version: &str) -> Box<dyn Reading + '_> {
        let watch = Watch::new(self.reader(), version);
        Box::new(Watching { store: self, watch })
    }

    fn listed(&self) {
        self.list_ends();
    }

    fn has_room(&self) -> bool {
        self.room()
    }
}

struct Listing<'a, S: Store> {
    store: &'a S,
    list: List<S::Object>,
}

impl<S: Store> Reading for Listing<'_, S> {
    fn feed(&mut self, piece: &[u8]) -> bool {
        let fed = self.list.feed(piece, &mut |object| self.store.applied(object));
        fed.is_ok()
    }

    fn place(self: Box<Self>) -> Option<Box<str>> {
        self.list.finish().map(|(version, _)| version)
    }
}

struct Watching<'a, S: Store> {
    store: &'a S,
    watch: Watch<S::Object>,
}

impl<S: Store> Reading for Watching<'_, S> {
    fn feed(&mut self, piece: &[u8]) -> bool {
        let mut expired = false;
        let fed = self.watch.feed(piece, &mut |event| match event {
            Event::Applied(object) => self.store.applied(object),
            Event::Deleted(object) => self.store.deleted(object),
            Event::Bookmark => {}
            Event::Error(_) => expired = true,
        });
        fed.is_ok() && !expired
    }

    fn place(self: Box<Self>) -> Option<Box<str>> {
        Some(self.watch.resource_version().into())
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
}

/// Follows `selection` of `resource` for ever. A refusal (403) is told once by `refused`.
pub(crate) async fn run<P: Platform, N: Network, R: Runtime>(
    agent: &Agent<P, N, R>,
    resource: Resource<'_>,
    selection: Selection<'_>,
    store: &dyn Collection,
    refused: &dyn Fn(&Status),
) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(8));
    // A refusal is mended by a person, who may take a while.
    let mut patience = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut place: Option<Box<str>> = None;
    let mut told = false;
    loop {
        let begun = agent.platform.uptime();
        let end = round(agent, resource, selection, store, place.take()).await;
        if agent.platform.uptime().saturating_sub(begun) > Duration::from_secs(30) {
            backoff.reset();
        }
        match end {
            End::Resume(version) => {
                place = Some(version);
                told = false;
                patience.reset();
                backoff.wait(&agent.platform).await;
            }
            End::Relist => backoff.wait(&agent.platform).await,
            End::Failed(ApiError::Status(status), version) if matches!(status.code, 401 | 403) => {
                place = version;
                if !core::mem::replace(&mut told, true) {
                    refused(&status);
                }
                patience.wait(&agent.platform).await;
            }
            End::Failed(error, version) => {
                place = version;
                agent
                    .platform
                    .log(Level::Debug, format_args!("watching {resource}: {error}"));
                backoff.wait(&agent.platform).await;
            }
        }
    }
}

/// Lists, unless there is a place to go on from, and watches until the watch ends.
async fn round<P: Platform, N: Network, R: Runtime>(
    agent: &Agent<P, N, R>,
    resource: Resource<'_>,
    selection: Selection<'_>,
    store: &dyn Collection,
    place: Option<Box<str>>,
) -> End {
    let mut connection = match agent.dial().await {
        Ok(connection) => connection,
        Err(error) => return End::Failed(error, place),
    };
    let version = match place {
        Some(version) => version,
        None => match list(agent, &mut connection, resource, selection, store).await {
            Ok(version) => version,
            Err(error) => return End::Failed(error, None),
        },
    };
    let lasts = jittered(&agent.platform, WATCH, 100);
    let request = Request {
        resource,
        verb: Verb::Watch {
            selection,
            resource_version: &version,
            timeout_seconds: lasts.as_secs() as u32,
        },
        body: "",
    };
    let host = agent.host();
    match within(&agent.platform, ANSWER, connection.send(&host, &request)).await {
        Ok(head) if head.status == 200 => {}
        Ok(head) => {
            return match within(&agent.platform, ANSWER, refusal(&mut connection, head.status)).await {
                Ok(status) if status.code == 410 => End::Relist,
                Ok(status) => End::Failed(ApiError::Status(status), Some(version)),
                Err(error) => End::Failed(error, Some(version)),
            };
        }
        Err(error) => return End::Failed(error, Some(version)),
    }
    drop(host);
    count(&agent.metrics.watches);
    let mut watch = store.watch(&version);
    drop(version);
    let until = agent.platform.uptime() + lasts + GRACE;
    loop {
        while !store.has_room() {
            agent.platform.sleep(Duration::from_millis(100)).await;
        }
        let left = until.saturating_sub(agent.platform.uptime());
        match within(&agent.platform, left, connection.piece()).await {
            Ok(Some(piece)) => {
                // What could not be read may have been a change: look at all of it again.
                if !watch.feed(piece) {
                    return End::Relist;
                }
            }
            Ok(None) => return watch.place().map_or(End::Relist, End::Resume),
            Err(error) => return End::Failed(error, watch.place()),
        }
    }
}

async fn list<P: Platform, N: Network, R: Runtime>(
    agent: &Agent<P, N, R>,
    connection: &mut Connection<N::Outbound>,
    resource: Resource<'_>,
    selection: Selection<'_>,
    store: &dyn Collection,
) -> Result<Box<str>, ApiError> {
    let host = agent.host();
    let request = Request {
        resource,
        verb: Verb::List(selection),
        body: "",
    };
    let head = within(&agent.platform, ANSWER, connection.send(&host, &request)).await?;
    if head.status != 200 {
        return Err(ApiError::Status(refusal(connection, head.status).await?));
    }
    count(&agent.metrics.relists);
    let mut list = store.list();
    loop {
        while !store.has_room() {
            agent.platform.sleep(Duration::from_millis(100)).await;
        }
        match within(&agent.platform, ANSWER, connection.piece()).await? {
            Some(piece) if list.feed(piece) => {}
            Some(_) => return Err(ApiError::Json),
            None => break,
        }
    }
    // Only a list that came whole tells what is gone.
    let version = list.place().ok_or(ApiError::Json)?;
    store.listed();
    Ok(version)
}
