//! The objects of every resource, the history of their changes, and one revision that counts them all.

use crate::error::ApiError;
use crate::object::Object;
use crate::resources::ResourceId;
use crate::selectors::Selection;
use crate::watch::{Change, Subscription, WatchEvent, Watchers};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::rc::Rc;

/// How many changes of one resource a watch can catch up on. The watch cache of kube-apiserver starts with 100 too.
const HISTORY: usize = 1024;

/// Everything that is stored.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    collections: Vec<Collection>,
}

#[derive(Debug, Default)]
struct Collection {
    /// By `namespace/name`.
    objects: BTreeMap<String, Rc<Object>>,
    history: VecDeque<Rc<Change>>,
    /// History is complete after this revision.
    compacted: u64,
    watchers: Rc<Watchers>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With all that is there, as `ADDED`.
    Everything,
    /// After this revision.
    After(u64),
}

/// A page of a list.
pub(crate) struct Page {
    pub(crate) items: Vec<Rc<Object>>,
    /// The key after which the next page starts, and how many objects that are left.
    pub(crate) rest: Option<(String, usize)>,
}

pub(crate) fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            revision: 1,
            collections: ResourceId::all().map(|_| Collection::default()).collect(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    fn of(&self, resource: ResourceId) -> &Collection {
        &self.collections[resource.index()]
    }

    pub(crate) fn get(&self, resource: ResourceId, namespace: &str, name: &str) -> Option<&Rc<Object>> {
        self.of(resource).objects.get(&key(namespace, name))
    }

    pub(crate) fn require(
        &self,
        resource: ResourceId,
        namespace: &str,
        name: &str,
    ) -> Result<&Rc<Object>, ApiError> {
        self.get(resource, namespace, name)
            .ok_or_else(|| ApiError::not_found(resource.group, resource.plural, name))
    }

    /// Writes an object, new or changed, under its name. Writing what is there already changes nothing.
    pub(crate) fn put(&mut self, resource: ResourceId, mut value: Value) -> Rc<Object> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let key = key(text("/metadata/namespace"), text("/metadata/name"));
        let before = self.of(resource).objects.get(&key).cloned();
        if let Some(before) = &before {
            let same = Object::new(resource, before.revision, &mut value);
            if same.json() == before.json() {
                return before.clone();
            }
        }
        self.revision += 1;
        let now = Rc::new(Object::new(resource, self.revision, &mut value));
        self.collections[resource.index()]
            .objects
            .insert(key, now.clone());
        self.record(
            resource,
            Change {
                revision: self.revision,
                before,
                now: now.clone(),
                deleted: false,
            },
        );
        now
    }

    /// Takes an object out. Returns its last state: `last`, or as it was.
    pub(crate) fn remove(
        &mut self,
        resource: ResourceId,
        namespace: &str,
        name: &str,
        last: Option<Value>,
    ) -> Option<Rc<Object>> {
        let before = self.collections[resource.index()]
            .objects
            .remove(&key(namespace, name))?;
        self.revision += 1;
        let mut last = last.unwrap_or_else(|| before.value());
        let now = Rc::new(Object::new(resource, self.revision, &mut last));
        let change = Change {
            revision: self.revision,
            before: Some(before),
            now: now.clone(),
            deleted: true,
        };
        self.record(resource, change);
        Some(now)
    }

    fn record(&mut self, resource: ResourceId, change: Change) {
        let collection = &mut self.collections[resource.index()];
        collection.watchers.notify(&change);
        if collection.history.len() >= HISTORY
            && let Some(oldest) = collection.history.pop_front()
        {
            collection.compacted = oldest.revision;
        }
        collection.history.push_back(Rc::new(change));
    }

    /// Returns the objects of a selection in the order of their keys.
    pub(crate) fn select(&self, resource: ResourceId, selection: &Selection) -> Vec<Rc<Object>> {
        self.page(resource, selection, None, usize::MAX).items
    }

    /// Returns at most `limit` objects of a selection, those after the key `after`.
    pub(crate) fn page(
        &self,
        resource: ResourceId,
        selection: &Selection,
        after: Option<&str>,
        limit: usize,
    ) -> Page {
        let collection = self.of(resource);
        let namespace = selection.namespace.as_deref().unwrap_or("");
        if let (Some(name), false) = (
            selection.required("metadata.name"),
            resource.namespaced && namespace.is_empty(),
        ) {
            let found = collection
                .objects
                .get(&key(namespace, name))
                .filter(|object| selection.matches(object));
            return Page {
                items: found.cloned().into_iter().collect(),
                rest: None,
            };
        }
        let from = match after {
            Some(after) => Bound::Excluded(after.to_owned()),
            None if namespace.is_empty() => Bound::Unbounded,
            None => Bound::Included(key(namespace, "")),
        };
        let prefix = if namespace.is_empty() {
            String::new()
        } else {
            key(namespace, "")
        };
        let mut matching = collection
            .objects
            .range((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(_, object)| selection.matches(object));
        let mut items = Vec::new();
        let mut last = None;
        for (key, object) in matching.by_ref().take(limit) {
            items.push(object.clone());
            last = Some(key.clone());
        }
        let left = matching.count();
        let rest = last.filter(|_| left > 0).map(|last| (last, left));
        Page { items, rest }
    }

    /// Starts a watch.
    pub(crate) fn watch(
        &self,
        resource: ResourceId,
        selection: Selection,
        start: Start,
    ) -> Result<Subscription, ApiError> {
        let collection = self.of(resource);
        let owed: VecDeque<WatchEvent> = match start {
            Start::Everything => {
                let added = |object| WatchEvent {
                    event: crate::watch::EventType::Added,
                    object,
                };
                self.select(resource, &selection).into_iter().map(added).collect()
            }
            Start::After(revision) if revision < collection.compacted => {
                return Err(ApiError::expired(format!(
                    "too old resource version: {revision} ({})",
                    collection.compacted
                )));
            }
            Start::After(revision) => {
                let missed = collection
                    .history
                    .iter()
                    .filter(|change| change.revision > revision);
                missed.filter_map(|change| change.seen_by(&selection)).collect()
            }
        };
        Ok(collection.watchers.subscribe(selection, owed))
    }

    /// A watch on which nothing comes any more.
    pub(crate) fn closed_watch(&self, resource: ResourceId) -> Subscription {
        let subscription = self
            .of(resource)
            .watchers
            .subscribe(Selection::default(), VecDeque::new());
        subscription.close();
        subscription
    }

    /// The revision up to which nothing is known of the past.
    pub(crate) fn compacted(&self, resource: ResourceId) -> u64 {
        self.of(resource).compacted
    }

    /// Forgets the past: who was not there to see it has to list again.
    pub(crate) fn forget_history(&mut self) {
        self.revision += 1;
        for collection in &mut self.collections {
            collection.history.clear();
            collection.compacted = self.revision;
            collection.watchers.close_all();
        }
    }

    /// Forgets every object as well. Nobody is told.
    pub(crate) fn forget_everything(&mut self) {
        self.forget_history();
        self.collections
            .iter_mut()
            .for_each(|collection| collection.objects.clear());
    }

    /// How many watches are going on.
    pub(crate) fn watches(&self) -> usize {
        self.collections
            .iter()
            .map(|collection| collection.watchers.count())
            .sum()
    }

    /// Every object that is stored.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rc<Object>> {
        self.collections
            .iter()
            .flat_map(|collection| collection.objects.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selectors::parse_fields;
    use crate::watch::EventType;
    use serde_json::json;

    fn pod(name: &str, node: &str, label: &str) -> Value {
        json!({"metadata": {"name": name, "namespace": "d", "labels": {"l": label}}, "spec": {"nodeName": node}})
    }

    fn on(node: &str) -> Selection {
        let fields =
            parse_fields(ResourceId::known("pods"), &format!("spec.nodeName={node}")).expect("a selector");
        Selection {
            fields,
            ..Selection::default()
        }
    }

    fn seen(subscription: &mut Subscription) -> Vec<(EventType, String)> {
        let events = std::iter::from_fn(|| subscription.try_next());
        events
            .map(|event| (event.event, event.object()["metadata"]["name"].to_string()))
            .collect()
    }

    #[test]
    fn a_watcher_sees_what_enters_changes_and_leaves_its_selection() {
        let pods = ResourceId::known("pods");
        let mut store = Store::new();
        let mut watch = store.watch(pods, on("n"), Start::Everything).expect("a watch");
        store.put(pods, pod("a", "", "1"));
        store.put(pods, pod("a", "n", "1"));
        store.put(pods, pod("a", "n", "1"));
        store.put(pods, pod("a", "n", "2"));
        store.put(pods, pod("b", "m", "1"));
        store.put(pods, pod("a", "m", "2"));
        store.put(pods, pod("c", "n", "1"));
        store.remove(pods, "d", "c", None);
        let name = |name: &str| format!("{name:?}");
        assert_eq!(
            seen(&mut watch),
            [
                (EventType::Added, name("a")),
                (EventType::Modified, name("a")),
                (EventType::Deleted, name("a")),
                (EventType::Added, name("c")),
                (EventType::Deleted, name("c")),
            ]
        );
    }

    #[test]
    fn a_watch_catches_up_as_far_as_history_goes() {
        let pods = ResourceId::known("pods");
        let mut store = Store::new();
        let first = store.put(pods, pod("a", "n", "0")).revision;
        for label in 1..=HISTORY {
            store.put(pods, pod("a", "n", &label.to_string()));
        }
        let mut watch = store
            .watch(pods, on("n"), Start::After(first))
            .expect("all of it is remembered");
        assert_eq!(seen(&mut watch).len(), HISTORY);
        assert_eq!(
            store
                .watch(pods, on("n"), Start::After(first - 1))
                .expect_err("one is forgotten")
                .code,
            410
        );
        let latest = store.revision();
        store.forget_history();
        assert_eq!(
            store
                .watch(pods, on("n"), Start::After(latest))
                .expect_err("all is forgotten")
                .code,
            410
        );
        assert!(store.watch(pods, on("n"), Start::After(store.revision())).is_ok());
    }

    #[test]
    fn pages_follow_one_another() {
        let pods = ResourceId::known("pods");
        let mut store = Store::new();
        for place in 0..10 {
            store.put(
                pods,
                pod(&format!("p{place}"), if place % 2 == 0 { "n" } else { "m" }, "1"),
            );
        }
        let selection = Selection {
            namespace: Some("d".into()),
            ..on("n")
        };
        let (mut after, mut names) = (None, Vec::new());
        loop {
            let page = store.page(pods, &selection, after.as_deref(), 2);
            assert!(page.items.len() <= 2);
            names.extend(page.items.iter().map(|pod| pod.name.to_string()));
            let Some((last, left)) = page.rest else { break };
            assert_eq!(left, 5 - names.len());
            after = Some(last);
        }
        assert_eq!(names, ["p0", "p2", "p4", "p6", "p8"]);
        let elsewhere = Selection {
            namespace: Some("e".into()),
            ..Selection::default()
        };
        assert!(store.select(pods, &elsewhere).is_empty());
    }

    #[test]
    fn a_watcher_that_never_reads_is_closed() {
        let pods = ResourceId::known("pods");
        let mut store = Store::new();
        let mut watch = store.watch(pods, on("n"), Start::Everything).expect("a watch");
        for label in 0..=1000 {
            store.put(pods, pod("a", "n", &label.to_string()));
        }
        assert!(seen(&mut watch).is_empty());
        assert!(embassy_futures::block_on(watch.next()).is_none());
        drop(watch);
        assert_eq!(store.watches(), 0);
    }
}
