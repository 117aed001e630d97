//! Deletion: with a time of grace for pods, with finalizers, and of what depends on an object.

use crate::admission;
use crate::error::ApiError;
use crate::json::text;
use crate::object::Object;
use crate::resources::ResourceId;
use crate::selectors::Selection;
use crate::state::{SYSTEM_NAMESPACES, State};
use crate::target::{By, Target};
use crate::timestamp::{parse, rfc3339};
use picolet_platform::UnixMicros;
use serde_json::Value;
use std::rc::Rc;

/// The part of `metav1.DeleteOptions` that counts here.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    /// Seconds.
    pub(crate) grace: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// What became of a deletion.
pub(crate) struct Deleted {
    pub(crate) object: Rc<Object>,
    /// It is gone; otherwise it waits for its grace period, or for finalizers.
    pub(crate) gone: bool,
}

impl State {
    /// Deletes an object, or begins to.
    pub(crate) fn delete(
        &mut self,
        by: &By<'_>,
        target: &Target<'_>,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let resource = target.resource;
        let old = self
            .store
            .require(resource, target.namespace, target.name)?
            .clone();
        // The real server names the kind in these two, not the resource.
        let unmet = |what: &str, asked: &str, found: &str| {
            let why = format!(
                "Precondition failed: {what} in precondition: {asked}, {what} in object meta: {found}"
            );
            Err(ApiError::conflict(
                resource.group,
                resource.kind,
                target.name,
                why,
            ))
        };
        if let Some(uid) = options.uid.as_deref().filter(|uid| **uid != *old.uid) {
            return unmet("UID", uid, &old.uid);
        }
        let revision = old.revision.to_string();
        if let Some(version) = options
            .resource_version
            .as_deref()
            .filter(|version| *version != revision)
        {
            return unmet("ResourceVersion", version, &revision);
        }
        let mut value = old.value();
        admission::on_delete(by, target, &value)?;
        if resource.plural == "namespaces" && SYSTEM_NAMESPACES.contains(&target.name) {
            let why = "this namespace may not be deleted";
            return Err(ApiError::forbidden(
                resource.group,
                resource.plural,
                target.name,
                why,
            ));
        }
        let is_pod = resource.plural == "pods";
        let grace = if is_pod {
            grace_of_pod(&value, options.grace)
        } else {
            0
        };
        let finalizers = value["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if is_pod || finalizers {
            begin_deletion(&mut value, grace, by.now);
        }
        if grace > 0 || finalizers {
            return Ok(Deleted {
                object: self.write(by, resource, value),
                gone: false,
            });
        }
        if by.dry_run {
            return Ok(Deleted {
                object: old,
                gone: true,
            });
        }
        let removed = self.remove(resource, target.namespace, target.name, Some(value));
        Ok(Deleted {
            object: removed.unwrap_or(old),
            gone: true,
        })
    }

    /// Deletes every object of a selection.
    pub(crate) fn delete_collection(
        &mut self,
        by: &By<'_>,
        resource: ResourceId,
        selection: &Selection,
        options: &DeleteOptions,
    ) -> Result<Vec<Rc<Object>>, ApiError> {
        let mut deleted = Vec::new();
        for object in self.store.select(resource, selection) {
            let target = Target {
                resource,
                namespace: &object.namespace,
                name: &object.name,
                subresource: "",
            };
            deleted.push(self.delete(by, &target, options)?.object);
        }
        Ok(deleted)
    }
}

/// Says when the end comes. A second deletion may only bring it nearer.
fn begin_deletion(value: &mut Value, grace: i64, now: UnixMicros) {
    let metadata = &mut value["metadata"];
    let earlier = metadata["deletionGracePeriodSeconds"].as_i64();
    if earlier.is_some_and(|earlier| earlier <= grace) {
        return;
    }
    let end = metadata["deletionTimestamp"].as_str().and_then(parse);
    let begun = match (end, earlier) {
        (Some(end), Some(earlier)) => UnixMicros(
            end.0
                .saturating_sub(earlier.unsigned_abs().saturating_mul(1_000_000)),
        ),
        _ => now,
    };
    let end = UnixMicros(
        begun
            .0
            .saturating_add(grace.unsigned_abs().saturating_mul(1_000_000)),
    )
    .max(now);
    if let (None, Some(generation)) = (earlier, metadata["generation"].as_i64()) {
        metadata["generation"] = (generation + 1).into();
    }
    metadata["deletionTimestamp"] = rfc3339(end).into();
    metadata["deletionGracePeriodSeconds"] = grace.into();
}

/// Seconds that a pod is given (pkg/registry/core/pod/strategy.go `CheckGracefulDelete`).
fn grace_of_pod(pod: &Value, asked: Option<i64>) -> i64 {
    let own = pod["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(30);
    let bound = text(pod, "/spec/nodeName").is_some_and(|node| !node.is_empty());
    let ended = matches!(text(pod, "/status/phase"), Some("Failed" | "Succeeded"));
    if bound && !ended {
        asked.unwrap_or(own).max(0)
    } else {
        0
    }
}
