//! Refusals, as the `Status` object that a client of Kubernetes expects.

use core::fmt;
use serde_json::{Map, Value, json};

/// Why a request was refused: a `metav1.Status` of status `Failure`
/// (staging/src/k8s.io/apimachinery/pkg/apis/meta/v1/types.go).
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// The reason that programs compare, such as `NotFound`; empty where there is none.
    pub reason: &'static str,
    /// The sentence for a person.
    pub message: String,
    /// `details` of the status: what it is about, and the causes. Some refusals have empty ones, some none.
    pub details: Option<Map<String, Value>>,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    fn detail(&mut self, field: &str, value: impl Into<Value>) {
        self.details
            .get_or_insert_default()
            .insert(field.into(), value.into());
    }

    /// A refusal that comes from a part of the real server that always adds details.
    fn generic(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            details: Some(Map::new()),
            ..Self::new(code, reason, message)
        }
    }

    /// Says which object it is about.
    fn about(mut self, group: &str, resource: &str, name: &str) -> Self {
        for (field, value) in [("name", name), ("group", group), ("kind", resource)] {
            if !value.is_empty() {
                self.detail(field, value);
            }
        }
        self
    }

    /// Adds how long the client shall wait, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.detail("retryAfterSeconds", seconds);
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn forbidden(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let subject = if name.is_empty() {
            String::new()
        } else {
            format!(" {name:?}")
        };
        Self::new(
            403,
            "Forbidden",
            format!("{}{subject} is forbidden: {why}", qualified(group, resource)),
        )
        .about(group, resource, name)
    }

    pub(crate) fn forbidden_path(why: impl Into<String>) -> Self {
        Self::generic(403, "Forbidden", format!("forbidden: {}", why.into()))
    }

    /// In k3s's words alone.
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", why)
    }

    pub(crate) fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", qualified(group, resource)),
        )
        .about(group, resource, name)
    }

    pub(crate) fn no_such_path() -> Self {
        Self::generic(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::generic(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    pub(crate) fn not_acceptable() -> Self {
        let accepted =
            "application/json, application/json;as=Table, application/json;as=PartialObjectMetadata";
        Self::generic(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {accepted}"),
        )
    }

    pub(crate) fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", qualified(group, resource)),
        )
        .about(group, resource, name)
    }

    pub(crate) fn conflict(group: &str, resource: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            qualified(group, resource)
        );
        Self::new(409, "Conflict", message).about(group, resource, name)
    }

    /// Somebody else changed the object since the client read it.
    pub(crate) fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A patch of a type that is not understood.
    pub(crate) fn unsupported_patch(accepted: &str) -> Self {
        Self {
            details: Some(Map::new()),
            ..Self::unsupported_media_type(accepted)
        }
    }

    /// A patch that would add a field that the kind does not have.
    pub(crate) fn unknown_field_in_patch(field: &str) -> Self {
        let cause = format!("Invalid value: strict decoding error: unknown field {field:?}");
        let mut error = Self::new(422, "Invalid", format!(" \"\" is invalid: patch: {cause}"));
        error.detail(
            "causes",
            json!([{ "reason": "FieldValueInvalid", "message": cause, "field": "patch" }]),
        );
        error
    }

    /// A patch that could be read and does not fit.
    pub(crate) fn unfitting_patch() -> Self {
        Self::generic(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
    }

    /// The real server answers some mistakes of the client like one of its own, without a reason.
    pub(crate) fn without_reason(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    pub(crate) fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// One field is wrong. `path` names it, `kind` is a reason such as `FieldValueInvalid`.
    pub(crate) fn invalid(
        (group, object_kind): (&str, &str),
        name: &str,
        path: &str,
        kind: &str,
        what: impl fmt::Display,
    ) -> Self {
        let lead = match kind {
            "FieldValueRequired" => "Required value".to_owned(),
            "FieldValueForbidden" => "Forbidden".to_owned(),
            "FieldValueTooLong" => "Too long".to_owned(),
            _ => "Invalid value".to_owned(),
        };
        let cause = format!("{lead}: {what}");
        let message = format!(
            "{} {name:?} is invalid: {path}: {cause}",
            qualified(group, object_kind)
        );
        let mut error = Self::new(422, "Invalid", message).about(group, object_kind, name);
        error.detail(
            "causes",
            json!([{ "reason": kind, "message": cause, "field": path }]),
        );
        error
    }

    pub(crate) fn too_many_requests(seconds: u32) -> Self {
        Self::new(
            429,
            "TooManyRequests",
            "too many requests, please try again later",
        )
        .retry_after(seconds)
    }

    /// The refusal that a fault asks for.
    pub(crate) fn injected(code: u16, retry_after: Option<u32>) -> Self {
        let mut error = match code {
            401 => Self::unauthorized(),
            403 => Self::forbidden_path("refused on purpose"),
            404 => Self::no_such_path(),
            409 => Self::new(
                409,
                "Conflict",
                "Operation cannot be fulfilled: a conflict made on purpose",
            ),
            410 => Self::expired("too old resource version: made on purpose"),
            429 => Self::too_many_requests(retry_after.unwrap_or(1)),
            500 => Self::internal("made on purpose"),
            503 => Self::unavailable("the server is currently unable to handle the request: made on purpose"),
            504 => Self::new(504, "Timeout", "the request timed out on purpose"),
            code => Self::new(code, "", "made on purpose"),
        };
        if let Some(seconds) = retry_after {
            error = error.retry_after(seconds);
        }
        error
    }

    /// A revision that has not been reached.
    pub(crate) fn too_large_version(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut error = Self::new(504, "Timeout", format!("Timeout: {message}")).retry_after(1);
        let cause = json!([{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }]);
        error.detail("causes", cause);
        error
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let mut error = Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        );
        error.detail("causes", json!([{ "message": message }]));
        error
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// The `Status` object that goes over the wire.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = Value::Object(details.clone());
        }
        status
    }
}

/// `configmaps`, or `leases.coordination.k8s.io`.
fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl core::error::Error for ApiError {}
