//! Questions that are answered and not stored: who is this token, may this user do that.

use crate::authorization::{Attributes, authorize};
use crate::error::ApiError;
use crate::identity::Identity;
use crate::json::text;
use crate::resources::ResourceId;
use crate::selectors::Selection;
use crate::state::State;
use crate::target::By;
use crate::timestamp::rfc3339;
use serde_json::{Value, json};

/// Answers a review: the object that was sent, its status filled in.
pub(crate) fn answer(
    state: &State,
    by: &By<'_>,
    resource: ResourceId,
    mut review: Value,
) -> Result<String, ApiError> {
    let Some(fields) = review.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the body of the request is no {}",
            resource.kind
        )));
    };
    let spec = fields.get("spec").cloned().unwrap_or_default();
    let user = |identity: &Identity| json!({"username": identity.user, "groups": identity.groups});
    let status = match resource.plural {
        "selfsubjectreviews" => json!({"userInfo": user(by.identity)}),
        "tokenreviews" => match text(&spec, "/token").and_then(|token| state.options.tokens.get(token)) {
            Some(identity) => json!({"authenticated": true, "user": user(identity)}),
            None => json!({"user": {}, "error": "the token is not known here"}),
        },
        "selfsubjectaccessreviews" => access(state, by.identity, &spec),
        _ => {
            let list = spec["groups"].as_array().into_iter().flatten();
            let groups = list
                .filter_map(|group| group.as_str().map(str::to_owned))
                .collect();
            access(
                state,
                &Identity {
                    user: text(&spec, "/user").unwrap_or("").into(),
                    groups,
                },
                &spec,
            )
        }
    };
    fields.insert("kind".into(), resource.kind.into());
    fields.insert("apiVersion".into(), resource.api_version().into());
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if let ("selfsubjectreviews", Some(metadata)) = (resource.plural, metadata.as_object_mut()) {
        metadata.insert("creationTimestamp".into(), rfc3339(by.now).into());
    }
    fields.insert("status".into(), status);
    Ok(review.to_string())
}

fn access(state: &State, identity: &Identity, spec: &Value) -> Value {
    let at = |field: &str| text(spec, &format!("/resourceAttributes/{field}")).unwrap_or("");
    if spec.get("resourceAttributes").is_none() {
        return json!({"allowed": identity.is_in("system:masters")});
    }
    let selection = Selection::default();
    let asked = Attributes {
        verb: at("verb"),
        group: at("group"),
        resource: at("resource"),
        subresource: at("subresource"),
        namespace: at("namespace"),
        name: at("name"),
        selection: Some(&selection),
    };
    match authorize(state, identity, &asked) {
        Ok(()) => json!({"allowed": true}),
        Err(reason) => json!({"allowed": false, "reason": reason}),
    }
}
