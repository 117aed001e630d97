//! A request: who asks, for what, of which kind.

use crate::answer::JSON;
use crate::authentication::authenticate;
use crate::error::ApiError;
use crate::faults::Facts;
use crate::http::Head;
use crate::identity::Identity;
use crate::protobuf;
use crate::resources::ResourceId;
use crate::state::State;
use serde_json::Value;

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
    pub(crate) place: Option<Place>,
}

/// What a path under `/api` or `/apis` points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) resource: ResourceId,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// What follows the subresource, of a proxied path.
    pub(crate) rest: String,
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
                    "v1-k3s",
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
