//! An answer, and the forms that objects are shown in: whole, as their metadata, as rows of a table.

use crate::error::ApiError;
use crate::http::Head;
use crate::object::{Object, partial};
use crate::resources::ResourceId;
use crate::table;
use crate::watch::{Subscription, WatchEvent};
use picolet_platform::Duration;
use picolet_platform::UnixMicros;
use serde_json::json;
use std::rc::Rc;

/// An answer that is whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
    pub(crate) retry_after: Option<u32>,
}

pub(crate) const JSON: &str = "application/json";

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

/// A watch that a connection keeps going.
pub(crate) struct Watching {
    pub(crate) subscription: Subscription,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
    /// How many events are left before the end of the initial ones is announced.
    pub(crate) initial: Option<usize>,
    /// The only thing there is to say.
    pub(crate) failure: Option<ApiError>,
    pub(crate) resource: ResourceId,
    pub(crate) form: Form,
    pub(crate) columns_sent: bool,
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
pub(crate) enum Form {
    Object,
    Metadata,
    Table(table::Include),
}

impl Form {
    pub(crate) fn negotiate(head: &Head) -> Result<Self, ApiError> {
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

    pub(crate) fn one(self, code: u16, object: &Object, now: UnixMicros) -> Answer {
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

    pub(crate) fn list(
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
