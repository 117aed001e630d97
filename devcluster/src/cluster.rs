//! The cluster as Rust code sees it: a handle to share, with the operations that a client has.

use crate::connection::Connection;
use crate::deletion::DeleteOptions;
use crate::error::ApiError;
use crate::faults::{Faults, Restart};
use crate::identity::Identity;
use crate::kubelet::CallKubelet;
use crate::options::Options;
use crate::resources::ResourceId;
use crate::selectors::{Selection, parse_fields, parse_labels};
use crate::sign::Sign;
use crate::state::State;
use crate::store::Start;
use crate::target::{By, Target};
use crate::watch::{EventType, Subscription};
use picolet_platform::Duration;
use picolet_platform::{Clock, UnixMicros};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What was counted since the cluster began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests by verb, resource (with subresource) and status code.
    pub requests: BTreeMap<(String, String, u16), u64>,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that are open.
    pub open_connections: usize,
    /// Watches that go on.
    pub open_watches: usize,
    /// Events sent on watches, bookmarks not counted.
    pub events: u64,
    /// Faults that struck.
    pub faults: u64,
}

impl Counters {
    /// How many requests there were of a verb for a resource, whatever the answer.
    pub fn requests(&self, verb: &str, resource: &str) -> u64 {
        let of = self
            .requests
            .iter()
            .filter(|((of_verb, of_resource, _), _)| of_verb == verb && of_resource == resource);
        of.map(|(_, count)| count).sum()
    }
}

pub(crate) struct Inner<C> {
    pub(crate) clock: C,
    pub(crate) state: RefCell<State>,
    pub(crate) connections: RefCell<BTreeMap<u64, Rc<Connection>>>,
    pub(crate) opened: Cell<u64>,
    /// Until this uptime nobody is answered.
    pub(crate) down_until: Cell<Duration>,
    pub(crate) kubelets: RefCell<Option<Rc<dyn CallKubelet>>>,
}

/// A cluster. Clones are handles to the same one.
pub struct Cluster<C>(pub(crate) Rc<Inner<C>>);

impl<C> Clone for Cluster<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Clock> Cluster<C> {
    /// Makes a cluster with the objects that every cluster has: namespaces, their service accounts, the Role of nodes.
    pub fn new(clock: C, options: Options) -> Self {
        let state = RefCell::new(State::new(options));
        let inner = Inner {
            clock,
            state,
            connections: RefCell::default(),
            opened: Cell::new(0),
            down_until: Cell::new(Duration::ZERO),
            kubelets: RefCell::new(None),
        };
        let cluster = Self(Rc::new(inner));
        cluster.0.state.borrow_mut().populate(cluster.now());
        cluster
    }

    /// The cluster's time of day. Where the clock knows none, time starts with the epoch.
    pub(crate) fn now(&self) -> UnixMicros {
        let uptime = || UnixMicros(self.0.clock.uptime().as_micros());
        self.0.clock.now().unwrap_or_else(uptime)
    }

    /// Says how kubelets are called.
    pub fn set_kubelets(&self, kubelets: Rc<dyn CallKubelet>) {
        *self.0.kubelets.borrow_mut() = Some(kubelets);
    }

    /// Has certificate requests signed that are approved.
    pub fn set_signer(&self, signer: Rc<dyn Sign>) {
        self.0.state.borrow_mut().signer = Some(signer);
    }

    fn by_admin<R>(&self, act: impl FnOnce(&mut State, &By<'_>) -> R) -> R {
        let admin = Identity::admin();
        let by = By {
            identity: &admin,
            now: self.now(),
            dry_run: false,
            strict: false,
        };
        act(&mut self.0.state.borrow_mut(), &by)
    }

    /// Creates an object, as the administrator. `resource` is its plural, such as `configmaps`; `namespace` is empty for
    /// what has none.
    ///
    /// # Errors
    /// What a client would be told.
    pub fn create(&self, resource: &str, namespace: &str, object: Value) -> Result<Value, ApiError> {
        let resource = find(resource)?;
        self.by_admin(|state, by| Ok(state.create(by, resource, namespace, object)?.value()))
    }

    /// Reads an object.
    ///
    /// # Errors
    /// 404, if it is not there.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let resource = find(resource)?;
        Ok(self
            .0
            .state
            .borrow()
            .store
            .require(resource, namespace, name)?
            .value())
    }

    /// Reads the objects of a namespace (of all, if it is empty) that the selectors choose.
    ///
    /// # Errors
    /// 400, if a selector cannot be understood.
    pub fn list(
        &self,
        resource: &str,
        namespace: &str,
        labels: &str,
        fields: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let resource = find(resource)?;
        let selection = selection(resource, namespace, labels, fields)?;
        Ok(self
            .0
            .state
            .borrow()
            .store
            .select(resource, &selection)
            .iter()
            .map(|object| object.value())
            .collect())
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// What a client would be told: 409, if its `resourceVersion` is not the latest.
    pub fn update(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        object: Value,
    ) -> Result<Value, ApiError> {
        let (resource, subresource) = split(resource);
        let resource = find(resource)?;
        let target = Target {
            resource,
            namespace,
            name,
            subresource,
        };
        self.by_admin(|state, by| Ok(state.update(by, &target, object)?.0.value()))
    }

    /// Changes an object by a JSON merge patch. `resource` may name a subresource: `nodes/status`.
    ///
    /// # Errors
    /// What a client would be told.
    pub fn patch(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ApiError> {
        let (resource, subresource) = split(resource);
        let resource = find(resource)?;
        let target = Target {
            resource,
            namespace,
            name,
            subresource,
        };
        let body = patch.to_string();
        let media_type = "application/merge-patch+json";
        self.by_admin(|state, by| Ok(state.patch(by, &target, media_type, body.as_bytes())?.value()))
    }

    /// Deletes an object. `grace` in seconds; `None` leaves it to the object.
    ///
    /// # Errors
    /// What a client would be told.
    pub fn delete(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        grace: Option<i64>,
    ) -> Result<(), ApiError> {
        let resource = find(resource)?;
        let target = Target {
            resource,
            namespace,
            name,
            subresource: "",
        };
        let options = DeleteOptions {
            grace,
            ..DeleteOptions::default()
        };
        self.by_admin(|state, by| state.delete(by, &target, &options).map(drop))
    }

    /// Watches from now on, beginning with all that is there.
    ///
    /// # Errors
    /// 400, if a selector cannot be understood.
    pub fn watch(
        &self,
        resource: &str,
        namespace: &str,
        labels: &str,
        fields: &str,
    ) -> Result<Subscription, ApiError> {
        let resource = find(resource)?;
        let selection = selection(resource, namespace, labels, fields)?;
        self.0
            .state
            .borrow()
            .store
            .watch(resource, selection, Start::Everything)
    }

    /// Waits until an object of that name is there and `is_so` holds for it.
    ///
    /// # Errors
    /// 404, if there is no such resource.
    pub async fn wait_for(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        mut is_so: impl FnMut(&Value) -> bool,
    ) -> Result<Value, ApiError> {
        loop {
            let mut events = self.watch(resource, namespace, "", &format!("metadata.name={name}"))?;
            while let Some(event) = events.next().await {
                let object = event.object();
                if event.event != EventType::Deleted && is_so(&object) {
                    return Ok(object);
                }
            }
        }
    }

    /// Waits until no object of that name is there.
    ///
    /// # Errors
    /// 404, if there is no such resource.
    pub async fn wait_gone(&self, resource: &str, namespace: &str, name: &str) -> Result<(), ApiError> {
        loop {
            let mut events = self.watch(resource, namespace, "", &format!("metadata.name={name}"))?;
            if self.get(resource, namespace, name).is_err() {
                return Ok(());
            }
            while let Some(event) = events.next().await {
                if event.event == EventType::Deleted {
                    return Ok(());
                }
            }
        }
    }

    /// Changes the faults that are in force.
    pub fn faults<R>(&self, change: impl FnOnce(&mut Faults) -> R) -> R {
        change(&mut self.0.state.borrow_mut().faults)
    }

    /// Starts the server again: every connection is cut, and what `lose` says is gone.
    pub fn restart(&self, lose: Restart) {
        self.lose(lose);
        self.cut_connections();
    }

    pub(crate) fn lose(&self, lose: Restart) {
        let now = self.now();
        let mut state = self.0.state.borrow_mut();
        match lose {
            Restart::History => state.store.forget_history(),
            Restart::Objects => {
                state.store.forget_everything();
                state.populate(now);
            }
        }
    }

    /// Takes the server down for a time: connections are cut, and closed as soon as they are made. Zero brings it back.
    pub fn set_down(&self, duration: Duration) {
        self.set_down_but(duration, None);
    }

    pub(crate) fn set_down_but(&self, duration: Duration, spared: Option<&Rc<Connection>>) {
        self.0
            .down_until
            .set(self.0.clock.uptime().saturating_add(duration));
        if !duration.is_zero() {
            self.cut_connections_but(spared);
        }
    }

    /// Whether the server is down.
    pub fn is_down(&self) -> bool {
        self.0.clock.uptime() < self.0.down_until.get()
    }

    /// Cuts every connection, now.
    pub fn cut_connections(&self) {
        self.cut_connections_but(None);
    }

    pub(crate) fn cut_connections_but(&self, spared: Option<&Rc<Connection>>) {
        for connection in self.0.connections.borrow().values() {
            if !spared.is_some_and(|spared| Rc::ptr_eq(spared, connection)) {
                connection.cut();
            }
        }
    }

    /// The password by which a node is known that joined by k3s's way.
    pub fn k3s_password(&self, node: &str) -> Option<String> {
        self.0.state.borrow().k3s_passwords.get(node).cloned()
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let state = self.0.state.borrow();
        Counters {
            requests: state.requests.clone(),
            connections: self.0.opened.get(),
            open_connections: self.0.connections.borrow().len(),
            open_watches: state.store.watches(),
            events: state.events,
            faults: state.faults.struck(),
        }
    }
}

fn find(resource: &str) -> Result<ResourceId, ApiError> {
    ResourceId::named(resource).ok_or_else(ApiError::no_such_path)
}

fn split(resource: &str) -> (&str, &str) {
    resource.split_once('/').unwrap_or((resource, ""))
}

fn selection(
    resource: ResourceId,
    namespace: &str,
    labels: &str,
    fields: &str,
) -> Result<Selection, ApiError> {
    Ok(Selection {
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        fields: parse_fields(resource, fields)?,
        labels: parse_labels(labels)?,
    })
}
