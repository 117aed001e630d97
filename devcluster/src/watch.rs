//! Watchers: who wants to hear of which changes, found without asking every one of them.
//!
//! A node watches the pods bound to it and one object by name. Watchers are therefore kept by the node or the name that
//! they ask for, so that one change among a thousand nodes wakes one watcher, not a thousand.

use crate::object::Object;
use crate::selectors::Selection;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A watcher that lets more events than this pile up is closed, as kube-apiserver does: it lists again.
const MAX_PENDING: usize = 1000;

/// What happened to an object, as a watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// It came into the selection.
    Added,
    /// It changed and is still in the selection.
    Modified,
    /// It left the selection, or is gone.
    Deleted,
}

impl EventType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// An event for a watcher.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    /// What happened.
    pub event: EventType,
    pub(crate) object: Rc<Object>,
}

impl WatchEvent {
    /// The object as it is now, or last was.
    pub fn object(&self) -> serde_json::Value {
        self.object.value()
    }
}

/// A change as history keeps it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// The object before, `None` if it is new.
    pub(crate) before: Option<Rc<Object>>,
    /// The object now; of a deletion its last state, at the revision of the deletion.
    pub(crate) now: Rc<Object>,
    pub(crate) deleted: bool,
}

impl Change {
    /// What a watcher of `selection` is told.
    pub(crate) fn seen_by(&self, selection: &Selection) -> Option<WatchEvent> {
        let was = self
            .before
            .as_ref()
            .is_some_and(|before| selection.matches(before));
        let is = !self.deleted && selection.matches(&self.now);
        let (event, object) = match (was, is) {
            (false, true) => (EventType::Added, self.now.clone()),
            (true, true) => (EventType::Modified, self.now.clone()),
            (true, false) if self.deleted => (EventType::Deleted, self.now.clone()),
            (true, false) => {
                let before = self.before.as_ref()?;
                (EventType::Deleted, Rc::new(before.at_revision(self.revision)))
            }
            (false, false) => return None,
        };
        Some(WatchEvent { event, object })
    }
}

/// How a watcher is found. The order of the variants is of no meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Any,
    Name(Box<str>),
    NodeName(Box<str>),
}

impl Key {
    fn of(selection: &Selection) -> Self {
        if let Some(name) = selection.required("metadata.name") {
            Self::Name(name.into())
        } else if let Some(name) = selection.required("spec.nodeName") {
            Self::NodeName(name.into())
        } else {
            Self::Any
        }
    }
}

/// A watcher's side that the store writes to.
#[derive(Debug)]
struct Watcher {
    selection: Selection,
    queue: RefCell<VecDeque<WatchEvent>>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Watcher {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.wake();
    }
}

/// The watchers of one resource.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    next: Cell<u64>,
    all: RefCell<BTreeMap<(Key, u64), Rc<Watcher>>>,
}

impl Watchers {
    /// Adds a watcher, with the events that it is owed already.
    pub(crate) fn subscribe(
        self: &Rc<Self>,
        selection: Selection,
        owed: VecDeque<WatchEvent>,
    ) -> Subscription {
        let key = (Key::of(&selection), self.next.replace(self.next.get() + 1));
        let watcher = Rc::new(Watcher {
            selection,
            queue: RefCell::new(owed),
            closed: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.all.borrow_mut().insert(key.clone(), watcher.clone());
        Subscription {
            watchers: self.clone(),
            key,
            watcher,
        }
    }

    pub(crate) fn notify(&self, change: &Change) {
        let all = self.all.borrow();
        let mut keys = vec![Key::Any, Key::Name(change.now.name.clone())];
        let node_names = [change.before.as_deref(), Some(&*change.now)]
            .into_iter()
            .flatten();
        for name in node_names.filter_map(|object| object.field("spec.nodeName")) {
            let key = Key::NodeName(name.into());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        for key in keys {
            for (_, watcher) in all.range((key.clone(), 0)..=(key, u64::MAX)) {
                if watcher.closed.get() {
                    continue;
                }
                if let Some(event) = change.seen_by(&watcher.selection) {
                    let mut queue = watcher.queue.borrow_mut();
                    if queue.len() >= MAX_PENDING {
                        queue.clear();
                        watcher.closed.set(true);
                    } else {
                        queue.push_back(event);
                    }
                    drop(queue);
                    watcher.wake();
                }
            }
        }
    }

    pub(crate) fn close_all(&self) {
        self.all.borrow().values().for_each(|watcher| watcher.close());
    }

    pub(crate) fn count(&self) -> usize {
        self.all.borrow().len()
    }
}

/// A watch that is going on. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    watchers: Rc<Watchers>,
    key: (Key, u64),
    watcher: Rc<Watcher>,
}

impl Subscription {
    /// Waits for the next event; `None` once the watch was closed by the cluster.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        poll_fn(|context| {
            if let Some(event) = self.watcher.queue.borrow_mut().pop_front() {
                return Poll::Ready(Some(event));
            }
            if self.watcher.closed.get() {
                return Poll::Ready(None);
            }
            self.watcher.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

impl Subscription {
    /// Returns the next event if it is there already.
    pub fn try_next(&mut self) -> Option<WatchEvent> {
        self.watcher.queue.borrow_mut().pop_front()
    }

    pub(crate) fn close(&self) {
        self.watcher.close();
    }

    pub(crate) fn pending(&self) -> usize {
        self.watcher.queue.borrow().len()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.watchers.all.borrow_mut().remove(&self.key);
    }
}
