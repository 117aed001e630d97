//! From a request to an answer: who asks, what for, may they, and in which form do they want it.

use crate::authorization::{Attributes, authorize, may_read_path};
use crate::cluster::KubeletAnswer;
use crate::deletion::DeleteOptions;
use crate::discovery;
use crate::error::ApiError;
use crate::faults::Facts;
use crate::http::Head;
use crate::identity::Identity;
use crate::object::Object;
use crate::openapi;
use crate::operations::{By, State, Target, text};
use crate::protobuf;
use crate::resources::ResourceId;
use crate::review;
use crate::selectors::{Selection, parse_fields, parse_labels};
use crate::store::Start;
use crate::table;
use crate::watch::{Subscription, WatchEvent};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use picolet_platform::UnixMicros;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;

/// An answer that is whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    pub(crate) retry_after: Option<u32>,
}

const JSON: &str = "application/json";

impl Answer {
    pub(crate) fn json(code: u16, body: impl Into<String>) -> Self {
        Self {
            code,
            content_type: JSON,
            body: body.into(),
            retry_after: None,
        }
    }

    pub(crate) fn text(body: impl Into<String>) -> Self {
        Self {
            content_type: "text/plain; charset=utf-8",
            ..Self::json(200, body)
        }
    }

    pub(crate) fn error(error: &ApiError) -> Self {
        let seconds = error
            .details
            .as_ref()
            .and_then(|details| details.get("retryAfterSeconds")?.as_u64());
        let retry_after = seconds.and_then(|seconds| u32::try_from(seconds).ok());
        Self {
            retry_after,
            ..Self::json(error.code, error.status().to_string())
        }
    }
}

/// What is to be done for a request.
pub(crate) enum Outcome {
    Answer(Answer),
    Watch(Box<Watching>),
    /// The request is about the cluster itself: faults and counters.
    Admin,
    /// A kubelet is to be asked.
    Kubelet(KubeletCall),
    /// A kubelet has answered.
    Relay(KubeletAnswer),
}

/// A GET at a kubelet.
pub(crate) struct KubeletCall {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) path: String,
}

/// A request, understood as far as its head goes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) identity: Identity,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// The verb in the sense of RBAC; of what is no resource the method in small letters.
    pub(crate) verb: &'static str,
    /// `nodes/status`, or the beginning of the path of what is no resource.
    pub(crate) resource_name: String,
    place: Option<Place>,
}

/// What a path under `/api` or `/apis` points at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    resource: ResourceId,
    namespace: String,
    name: String,
    subresource: String,
    /// What follows the subresource, of a proxied path.
    rest: String,
}

impl Place {
    /// Reads a path; `None` where it names nothing that is served.
    fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.splitn(9, '/');
        let (group, version) = match parts.next()? {
            "api" => ("", parts.next()?),
            "apis" => (parts.next()?, parts.next()?),
            _ => return None,
        };
        let mut parts: Vec<&str> = parts.collect();
        let mut namespace = "";
        if parts.first() == Some(&"namespaces")
            && parts.len() > 2
            && !matches!(parts[2], "status" | "finalize")
        {
            namespace = parts[1];
            parts.drain(..2);
        }
        let resource = ResourceId::find(group, version, parts.first()?)?;
        let at = |place: usize| parts.get(place).copied().unwrap_or("");
        let (name, subresource) = (at(1), at(2));
        let complete = parts.len() <= 3 || subresource == "proxy";
        let scoped = resource.namespaced || namespace.is_empty();
        let named = parts.len() == 1 || !name.is_empty();
        (complete && scoped && named).then(|| Self {
            resource,
            namespace: namespace.into(),
            name: name.into(),
            subresource: subresource.into(),
            rest: parts.get(3..).unwrap_or_default().join("/"),
        })
    }
}

impl Request {
    /// Finds out who asks and what for.
    pub(crate) fn new(
        state: &State,
        certificate: Option<&Identity>,
        head: Head,
        body: Vec<u8>,
    ) -> Result<Self, ApiError> {
        let mut identity = authenticate(state, certificate, &head)?;
        if let Some(user) = &head.impersonated {
            if !identity.is_in("system:masters") {
                let why = format!("User {:?} cannot impersonate resource \"users\"", identity.user);
                return Err(ApiError::forbidden("", "users", user, why));
            }
            identity = Identity::authenticated(user, head.impersonated_groups.clone());
        }
        let place = Place::parse(&head.path);
        let one = place.as_ref().is_some_and(|place| !place.name.is_empty());
        let verb = match head.method.as_str() {
            "GET" if place.is_none() || one => "get",
            "GET" if head.flag("watch") => "watch",
            "GET" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if place.is_none() || one => "delete",
            "DELETE" => "deletecollection",
            "HEAD" => "head",
            _ => return Err(ApiError::method_not_allowed()),
        };
        let resource_name = match &place {
            Some(place) if place.subresource.is_empty() => place.resource.plural.to_owned(),
            Some(place) => {
                let known = place
                    .resource
                    .subresource(&place.subresource)
                    .map_or("?", |of| of.name);
                format!("{}/{known}", place.resource.plural)
            }
            None => {
                let root = head.path.split('/').nth(1).unwrap_or("");
                let known = [
                    "api",
                    "apis",
                    "devcluster",
                    "healthz",
                    "livez",
                    "openapi",
                    "readyz",
                    "version",
                ];
                format!("/{}", if known.contains(&root) { root } else { "?" })
            }
        };
        Ok(Self {
            identity,
            head,
            body,
            verb,
            resource_name,
            place,
        })
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        let name = self.place.as_ref().map_or("", |place| &place.name);
        Facts {
            verb: self.verb,
            resource: &self.resource_name,
            name,
            identity: &self.identity,
        }
    }

    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        let media_type = self.head.content_type.split(';').next().unwrap_or("").trim();
        let object = match media_type {
            "" | JSON => serde_json::from_slice(&self.body).map_err(|error| error.to_string()),
            protobuf::MEDIA_TYPE => protobuf::decode(&self.body),
            _ => {
                return Err(ApiError::unsupported_media_type(&format!(
                    "{JSON}, {}",
                    protobuf::MEDIA_TYPE
                )));
            }
        };
        object.map_err(|error| ApiError::bad_request(format!("the object provided is unrecognized: {error}")))
    }
}

/// Who asks: a certificate counts before a token, nothing at all is anonymous.
fn authenticate(state: &State, certificate: Option<&Identity>, head: &Head) -> Result<Identity, ApiError> {
    if let Some(identity) = certificate {
        return Ok(identity.clone());
    }
    match &head.authorization {
        None => Ok(Identity::anonymous()),
        Some(value) => {
            let token = value.strip_prefix("Bearer ").map(str::trim);
            token
                .and_then(|token| state.options.tokens.get(token))
                .cloned()
                .ok_or_else(ApiError::unauthorized)
        }
    }
}

/// Carries out a request.
pub(crate) fn handle(state: &mut State, now: UnixMicros, request: &Request) -> Result<Outcome, ApiError> {
    match &request.place {
        Some(place) => handle_resource(state, now, request, place),
        None => handle_path(request),
    }
}

fn handle_path(request: &Request) -> Result<Outcome, ApiError> {
    let path = request.head.path.trim_end_matches('/');
    if !may_read_path(&request.identity, path) {
        let why = format!(
            "User {:?} cannot {} path {path:?}",
            request.identity.user, request.verb
        );
        return Err(ApiError::forbidden_path(why));
    }
    if path == "/devcluster" || path.starts_with("/devcluster/") {
        return Ok(Outcome::Admin);
    }
    let read = || match request.verb {
        "get" => Ok(()),
        _ => Err(ApiError::method_not_allowed()),
    };
    let answer = match path {
        "/healthz" | "/livez" | "/readyz" => Answer::text("ok"),
        "/version" => Answer::json(200, discovery::version().to_string()),
        "/openapi/v3" => Answer::json(200, openapi::index().to_string()),
        _ => {
            if let Some(document) = path.strip_prefix("/openapi/v3/").and_then(openapi::document) {
                Answer::json(200, document.to_string())
            } else if let Some(answer) = discovery::document(path, &request.head.accept) {
                answer
            } else if discovery::is_below_version(path) {
                return Err(ApiError::no_such_path());
            } else {
                Answer {
                    code: 404,
                    ..Answer::text("404 page not found\n")
                }
            }
        }
    };
    read()?;
    Ok(Outcome::Answer(answer))
}

fn handle_resource(
    state: &mut State,
    now: UnixMicros,
    request: &Request,
    place: &Place,
) -> Result<Outcome, ApiError> {
    let (head, resource) = (&request.head, place.resource);
    let mut selection = Selection {
        namespace: (!place.namespace.is_empty()).then(|| place.namespace.clone()),
        ..Selection::default()
    };
    if place.name.is_empty() {
        selection.fields = parse_fields(resource, head.parameter("fieldSelector"))?;
        selection.labels = parse_labels(head.parameter("labelSelector"))?;
    }
    let attributes = Attributes {
        verb: request.verb,
        group: resource.group,
        resource: resource.plural,
        subresource: &place.subresource,
        namespace: &place.namespace,
        // Who selects one by its name asks for that one.
        name: selection.required("metadata.name").unwrap_or(&place.name),
        selection: Some(&selection),
    };
    authorize(state, &request.identity, &attributes)
        .map_err(|why| ApiError::forbidden(resource.group, resource.plural, attributes.name, why))?;
    let known = match place.subresource.as_str() {
        "" => resource.verbs(),
        name => {
            resource
                .subresource(name)
                .ok_or_else(ApiError::no_such_path)?
                .verbs
        }
    };
    if !known.contains(&request.verb) {
        return Err(ApiError::method_not_allowed());
    }
    let by = By {
        identity: &request.identity,
        now,
        dry_run: head.parameter("dryRun") == "All",
        strict: head.parameter("fieldValidation") == "Strict",
    };
    let form = Form::negotiate(head)?;
    let target = Target {
        resource,
        namespace: &place.namespace,
        name: &place.name,
        subresource: &place.subresource,
    };
    let one = |code: u16, object: &Object| Ok(Outcome::Answer(form.one(code, object, now)));
    match (request.verb, place.subresource.as_str()) {
        ("get", "log" | "proxy") => call_kubelet(state, request, place).map(Outcome::Kubelet),
        ("get", _) => one(200, state.store.require(resource, target.namespace, target.name)?),
        ("list", _) => list(state, head, resource, &selection, &form, now).map(Outcome::Answer),
        ("watch", _) => watch(state, head, resource, selection, form)
            .map(Box::new)
            .map(Outcome::Watch),
        ("create", "") if resource.review => Ok(Outcome::Answer(Answer::json(
            201,
            review::answer(state, &by, resource, request.json()?)?,
        ))),
        ("create", "binding") => {
            state.bind(&by, &target, &request.json()?)?;
            Ok(Outcome::Answer(Answer::json(201, success(json!({})).to_string())))
        }
        ("create", "eviction") => {
            let options = delete_options(head, &request.json()?["deleteOptions"])?;
            state.delete(&by, &target, &options)?;
            Ok(Outcome::Answer(Answer::json(201, success(json!({})).to_string())))
        }
        ("create", _) if !target.name.is_empty() => Err(ApiError::method_not_allowed()),
        ("create", _) => one(
            201,
            &*state.create(&by, resource, target.namespace, request.json()?)?,
        ),
        ("update" | "patch", _) if target.name.is_empty() => Err(ApiError::method_not_allowed()),
        ("update", _) => {
            let (object, created) = state.update(&by, &target, request.json()?)?;
            one(if created { 201 } else { 200 }, &object)
        }
        ("patch", _) => {
            let media_type = head.content_type.split(';').next().unwrap_or("").trim();
            one(200, &*state.patch(&by, &target, media_type, &request.body)?)
        }
        ("delete", _) => {
            let options = delete_options(head, &optional_json(request)?)?;
            let deleted = state.delete(&by, &target, &options)?;
            if resource.returns_deleted || !deleted.gone {
                return one(200, &deleted.object);
            }
            let mut details =
                json!({"name": target.name, "kind": resource.plural, "uid": deleted.object.uid});
            if !resource.group.is_empty() {
                details["group"] = resource.group.into();
            }
            Ok(Outcome::Answer(Answer::json(200, success(details).to_string())))
        }
        ("deletecollection", _) => {
            let options = delete_options(head, &optional_json(request)?)?;
            let deleted = state.delete_collection(&by, resource, &selection, &options)?;
            Ok(Outcome::Answer(form.list(
                resource,
                &deleted,
                state.store.revision(),
                None,
                now,
            )))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn success(details: Value) -> Value {
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if details.as_object().is_some_and(|details| !details.is_empty()) {
        status["details"] = details;
    } else {
        status["code"] = 201.into();
    }
    status
}

fn optional_json(request: &Request) -> Result<Value, ApiError> {
    if request.body.is_empty() {
        Ok(Value::Null)
    } else {
        request.json()
    }
}

fn delete_options(head: &Head, body: &Value) -> Result<DeleteOptions, ApiError> {
    let asked = match head.parameter("gracePeriodSeconds") {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            ApiError::bad_request(format!(
                "gracePeriodSeconds: {text:?} is no whole number of seconds"
            ))
        })?),
    };
    Ok(DeleteOptions {
        grace: body["gracePeriodSeconds"].as_i64().or(asked),
        uid: text(body, "/preconditions/uid").map(str::to_owned),
        resource_version: text(body, "/preconditions/resourceVersion").map(str::to_owned),
    })
}

/// Where the log of a pod, or what is behind a node's proxy, is to be had.
fn call_kubelet(state: &State, request: &Request, place: &Place) -> Result<KubeletCall, ApiError> {
    let nodes = ResourceId::known("nodes");
    let mut query = request.head.raw_query.clone();
    let (node, path) = if place.subresource == "proxy" {
        (place.name.clone(), format!("/{}", place.rest))
    } else {
        let pod = state
            .store
            .require(place.resource, &place.namespace, &place.name)?;
        let value = pod.value();
        let asked = request.head.parameter("container");
        let names: Vec<&str> = ["containers", "initContainers"]
            .into_iter()
            .filter_map(|list| value["spec"][list].as_array())
            .flatten()
            .filter_map(|container| container["name"].as_str())
            .collect();
        let container = match (asked, &names[..]) {
            ("", [one, ..]) => *one,
            (asked, names) if names.contains(&asked) => asked,
            _ => {
                let message = format!("container {asked} is not valid for pod {}", place.name);
                return Err(ApiError::bad_request(message));
            }
        };
        query = query
            .split('&')
            .filter(|pair| !pair.starts_with("container="))
            .collect::<Vec<_>>()
            .join("&");
        let node = pod.field("spec.nodeName").unwrap_or("").to_owned();
        if node.is_empty() {
            return Err(ApiError::bad_request(format!(
                "pod {} does not have a host assigned",
                place.name
            )));
        }
        (
            node,
            format!("/containerLogs/{}/{}/{container}", place.namespace, place.name),
        )
    };
    // `name` or `name:port`, as the proxy takes it.
    let (node, asked_port) = node.split_once(':').unwrap_or((&node, ""));
    let node = state.store.require(nodes, "", node)?.value();
    let addresses = node["status"]["addresses"].as_array();
    let address = ["InternalIP", "Hostname", "ExternalIP"]
        .into_iter()
        .find_map(|kind| {
            let found = addresses
                .into_iter()
                .flatten()
                .find(|address| address["type"] == kind)?;
            found["address"].as_str().map(str::to_owned)
        });
    let address = address.ok_or_else(|| ApiError::internal("the node has reported no address"))?;
    let reported = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let reported = reported
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    let port = asked_port.parse().ok().or(reported).unwrap_or(10250);
    let path = if query.is_empty() {
        path
    } else {
        format!("{path}?{query}")
    };
    Ok(KubeletCall { address, port, path })
}

fn list(
    state: &State,
    head: &Head,
    resource: ResourceId,
    selection: &Selection,
    form: &Form,
    now: UnixMicros,
) -> Result<Answer, ApiError> {
    let store = &state.store;
    let limit = match head.parameter("limit") {
        "" | "0" => usize::MAX,
        text => text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("limit: {text:?} is no number")))?,
    };
    let asked = revision(head.parameter("resourceVersion"))?.unwrap_or(0);
    if asked > store.revision() {
        return Err(ApiError::too_large_version(asked, store.revision()));
    }
    let exact = head.parameter("resourceVersionMatch") == "Exact";
    let (begun, after) = match head.parameter("continue") {
        "" => (if exact { asked } else { store.revision() }, None),
        token => {
            let read = || {
                let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
                let (revision, after) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
                Some((revision.parse().ok()?, after.to_owned()))
            };
            let (begun, after) = read().ok_or_else(|| ApiError::bad_request("continue key is not valid"))?;
            (begun, Some(after))
        }
    };
    if begun < store.compacted(resource) {
        return Err(ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result.",
        ));
    }
    let page = store.page(resource, selection, after.as_deref(), limit);
    let rest = page
        .rest
        .map(|(last, left)| (URL_SAFE_NO_PAD.encode(format!("{begun} {last}")), left));
    Ok(form.list(resource, &page.items, store.revision(), rest, now))
}

fn revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        ApiError::bad_request(format!(
            "resourceVersion: Invalid value: {text:?}: it is no number"
        ))
    };
    text.parse().map(Some).map_err(|_| wrong())
}

fn watch(
    state: &mut State,
    head: &Head,
    resource: ResourceId,
    selection: Selection,
    form: Form,
) -> Result<Watching, ApiError> {
    let bookmarks = head.flag("allowWatchBookmarks");
    let initial = head.flag("sendInitialEvents");
    if initial && (head.parameter("resourceVersionMatch") != "NotOlderThan" || !bookmarks) {
        let unmatched = head.parameter("resourceVersionMatch") != "NotOlderThan";
        let path = if unmatched {
            "resourceVersionMatch"
        } else {
            "allowWatchBookmarks"
        };
        let what =
            "sendInitialEvents requires resourceVersionMatch=NotOlderThan and allowWatchBookmarks=true";
        return Err(ApiError::invalid(
            ("meta.k8s.io", "ListOptions"),
            "",
            path,
            "FieldValueForbidden",
            what,
        ));
    }
    let asked = revision(head.parameter("resourceVersion"));
    let start = match asked.map_err(|error| ApiError::without_reason(error.message))? {
        None | Some(0) => Start::Everything,
        Some(_) if initial => Start::Everything,
        Some(revision) => Start::After(revision),
    };
    let timeout = match head.parameter("timeoutSeconds") {
        // `--min-request-timeout`: half an hour, and up to as much again.
        "" | "0" => 1800 + state.random.u64(..1800),
        text => text
            .parse()
            .map_err(|_| ApiError::bad_request(format!("timeoutSeconds: {text:?} is no number")))?,
    };
    let (subscription, failure) = match state.store.watch(resource, selection, start) {
        Ok(subscription) => (subscription, None),
        // The real server answers 200 and sends the error as an event.
        Err(error) => (state.store.closed_watch(resource), Some(error)),
    };
    let initial = initial.then(|| subscription.pending());
    let timeout = Duration::from_secs(timeout);
    Ok(Watching {
        subscription,
        bookmarks,
        timeout,
        initial,
        failure,
        resource,
        form,
        columns_sent: false,
    })
}

/// A watch that a connection keeps going.
pub(crate) struct Watching {
    pub(crate) subscription: Subscription,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
    /// How many events are left before the end of the initial ones is announced.
    pub(crate) initial: Option<usize>,
    /// The only thing there is to say.
    pub(crate) failure: Option<ApiError>,
    resource: ResourceId,
    form: Form,
    columns_sent: bool,
}

impl Watching {
    pub(crate) fn content_type(&self) -> &'static str {
        JSON
    }

    /// One event, as a line.
    pub(crate) fn event(&mut self, event: &WatchEvent, now: UnixMicros) -> String {
        let object = match self.form {
            Form::Object => event.object.json().to_string(),
            Form::Metadata => partial(&event.object).to_string(),
            Form::Table(include) => {
                let rows = [event.object.clone()];
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                table::render(
                    self.resource,
                    &rows,
                    event.object.revision,
                    None,
                    include,
                    columns,
                    now,
                )
                .to_string()
            }
        };
        format!("{{\"type\":\"{}\",\"object\":{object}}}\n", event.event.as_str())
    }

    pub(crate) fn bookmark(&self, revision: u64, ends_initial: bool) -> String {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version) = match self.form {
            Form::Object => (self.resource.kind, self.resource.api_version()),
            Form::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".into()),
            Form::Table(_) => ("Table", "meta.k8s.io/v1".into()),
        };
        let mut object = format!("\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata}");
        if matches!(self.form, Form::Table(_)) {
            object.push_str(",\"columnDefinitions\":[],\"rows\":[]");
        }
        format!("{{\"type\":\"BOOKMARK\",\"object\":{{{object}}}}}\n")
    }

    pub(crate) fn failure(&self, error: &ApiError) -> String {
        format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", error.status())
    }
}

/// How objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Object,
    Metadata,
    Table(table::Include),
}

impl Form {
    fn negotiate(head: &Head) -> Result<Self, ApiError> {
        if head.accept.is_empty() {
            return Ok(Self::Object);
        }
        for range in head.accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            if !matches!(parts.next(), Some(JSON | "*/*" | "application/*")) {
                continue;
            }
            match parts.find_map(|part| part.strip_prefix("as=")) {
                None => return Ok(Self::Object),
                Some("Table") => {
                    return Ok(Self::Table(table::Include::parse(
                        head.parameter("includeObject"),
                    )?));
                }
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Self::Metadata),
                Some(_) => {}
            }
        }
        Err(ApiError::not_acceptable())
    }

    fn one(self, code: u16, object: &Object, now: UnixMicros) -> Answer {
        match self {
            Self::Object => Answer::json(code, &**object.json()),
            Self::Metadata => Answer::json(code, partial(object).to_string()),
            Self::Table(include) => {
                let rows = [Rc::new(object.at_revision(object.revision))];
                let table = table::render(object.resource, &rows, object.revision, None, include, true, now);
                Answer::json(code, table.to_string())
            }
        }
    }

    fn list(
        self,
        resource: ResourceId,
        items: &[Rc<Object>],
        revision: u64,
        rest: Option<(String, usize)>,
        now: UnixMicros,
    ) -> Answer {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some((token, left)) = rest {
            metadata["continue"] = token.into();
            metadata["remainingItemCount"] = left.into();
        }
        let (kind, version) = match self {
            Self::Table(include) => {
                let table = table::render(resource, items, revision, Some(metadata), include, true, now);
                return Answer::json(200, table.to_string());
            }
            Self::Object => (resource.list_kind(), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into()),
        };
        let mut body =
            format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":[");
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                body.push(',');
            }
            match self {
                Self::Metadata => body.push_str(&partial(item).to_string()),
                _ => item.append_item(&mut body),
            }
        }
        body.push_str("]}");
        Answer::json(200, body)
    }
}

/// The object without anything but its metadata.
pub(crate) fn partial(object: &Object) -> Value {
    let metadata = object.value()["metadata"].take();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

impl State {
    pub(crate) fn count(&mut self, verb: &str, resource: &str, code: u16) {
        *self
            .requests
            .entry((verb.into(), resource.into(), code))
            .or_default() += 1;
    }
}
