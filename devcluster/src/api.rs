//! From a request to an answer: may they, and what is to be done.

use crate::answer::{Answer, Form, Watching};
use crate::authorization::{Attributes, authorize, may_read_path};
use crate::deletion::DeleteOptions;
use crate::discovery;
use crate::error::ApiError;
use crate::http::Head;
use crate::json::text;
use crate::k3s;
use crate::kubelet::KubeletAnswer;
use crate::object::Object;
use crate::openapi;
use crate::request::{Place, Request};
use crate::resources::ResourceId;
use crate::review;
use crate::selectors::{Selection, parse_fields, parse_labels};
use crate::state::State;
use crate::store::Start;
use crate::target::{By, Target};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use picolet_platform::Duration;
use picolet_platform::UnixMicros;
use serde_json::{Value, json};

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

/// Carries out a request.
pub(crate) fn handle(state: &mut State, now: UnixMicros, request: &Request) -> Result<Outcome, ApiError> {
    match &request.place {
        Some(place) => handle_resource(state, now, request, place),
        None => match k3s::handle(state, now, request) {
            Some(answer) => answer.map(Outcome::Answer),
            None => handle_path(request),
        },
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

impl State {
    pub(crate) fn count(&mut self, verb: &str, resource: &str, code: u16) {
        *self
            .requests
            .entry((verb.into(), resource.into(), code))
            .or_default() += 1;
    }
}
