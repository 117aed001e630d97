//! Create, update, patch and delete: what happens to an object between the request and the store.

use crate::admission;
use crate::cluster::Options;
use crate::defaults;
use crate::error::ApiError;
use crate::faults::Faults;
use crate::identity::Identity;
use crate::object::Object;
use crate::patch;
use crate::resources::ResourceId;
use crate::selectors::{Selection, is_subdomain};
use crate::store::Store;
use crate::timestamp::rfc3339;
use picolet_platform::UnixMicros;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Everything of a cluster that requests change.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) random: fastrand::Rng,
    pub(crate) faults: Faults,
    pub(crate) options: Options,
    pub(crate) requests: BTreeMap<(String, String, u16), u64>,
    pub(crate) events: u64,
}

/// Who does something, and when.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) now: UnixMicros,
    /// Nothing is stored; the answer is as if it were.
    pub(crate) dry_run: bool,
}

/// What an operation is about. Namespace and subresource are empty where there are none.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) resource: ResourceId,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
}

impl Target<'_> {
    fn conflict(&self, why: impl core::fmt::Display) -> ApiError {
        ApiError::conflict(self.resource.group, self.resource.plural, self.name, why)
    }

    fn invalid(&self, path: &str, kind: &str, what: impl core::fmt::Display) -> ApiError {
        ApiError::invalid(
            (self.resource.group, self.resource.kind),
            self.name,
            path,
            kind,
            what,
        )
    }
}

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

const SYSTEM_NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// How much a ConfigMap or a Secret may hold (pkg/apis/core/types.go `MaxSecretSize`).
const MAX_DATA: usize = 1024 * 1024;

impl State {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            store: Store::new(),
            random: fastrand::Rng::with_seed(options.seed),
            faults: Faults::default(),
            options,
            requests: BTreeMap::new(),
            events: 0,
        }
    }

    /// Makes the objects that every cluster has.
    pub(crate) fn populate(&mut self, now: UnixMicros) {
        let admin = Identity::admin();
        let by = By {
            identity: &admin,
            now,
            dry_run: false,
        };
        let namespace = self.options.config_namespace.clone();
        let mut make = |resource: &str, namespace: &str, value: Value| {
            let made = self.create(&by, ResourceId::known(resource), namespace, value);
            debug_assert!(made.is_ok(), "{made:?}");
        };
        let other = Some(namespace.as_str()).filter(|namespace| !SYSTEM_NAMESPACES.contains(namespace));
        for namespace in SYSTEM_NAMESPACES.into_iter().chain(other) {
            make("namespaces", "", json!({"metadata": {"name": namespace}}));
        }
        let name = "picolet-config-reader";
        let group = "rbac.authorization.k8s.io";
        make(
            "roles",
            &namespace,
            json!({"metadata": {"name": name}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]}),
        );
        make(
            "rolebindings",
            &namespace,
            json!({"metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:nodes"}]}),
        );
    }

    pub(crate) fn uuid(&mut self) -> String {
        let bits = self.random.u128(..) & !(0xf << 76 | 0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    /// Five letters and digits of those that Kubernetes uses for names: no vowels, nothing that looks like another.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5)
            .map(|_| char::from(LETTERS[self.random.usize(..LETTERS.len())]))
            .collect()
    }

    /// Creates an object.
    pub(crate) fn create(
        &mut self,
        by: &By<'_>,
        resource: ResourceId,
        namespace: &str,
        mut value: Value,
    ) -> Result<Rc<Object>, ApiError> {
        check_type(resource, &mut value)?;
        check_namespace(resource, namespace, &mut value)?;
        if let Some(prefix) =
            text(&value, "/metadata/generateName").filter(|_| text(&value, "/metadata/name").is_none())
        {
            let name = format!("{prefix}{}", self.suffix());
            value["metadata"]["name"] = name.into();
        }
        let name = text(&value, "/metadata/name").unwrap_or("").to_owned();
        let target = Target {
            resource,
            namespace,
            name: &name,
            subresource: "",
        };
        if name.is_empty() {
            let what = "name or generateName is required";
            return Err(target.invalid("metadata.name", "FieldValueRequired", what));
        }
        let is_rbac = resource.group == "rbac.authorization.k8s.io";
        if !(is_subdomain(&name) || is_rbac && !name.contains(['/', '%']) && name != "." && name != "..") {
            let what = format!(
                "{name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                characters, '-' or '.', and must start and end with an alphanumeric character"
            );
            return Err(target.invalid("metadata.name", "FieldValueInvalid", what));
        }
        if text(&value, "/metadata/resourceVersion").is_some_and(|version| !version.is_empty()) {
            return Err(ApiError::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        if resource.namespaced {
            let namespaces = ResourceId::known("namespaces");
            let of = self.store.require(namespaces, "", namespace)?;
            if of.field("status.phase") == Some("Terminating") {
                let why = format!(
                    "unable to create new content in namespace {namespace} because it is being terminated"
                );
                return Err(ApiError::forbidden(resource.group, resource.plural, &name, why));
            }
        }
        let uid = self.uuid();
        let metadata = &mut value["metadata"];
        metadata["uid"] = uid.into();
        metadata["creationTimestamp"] = rfc3339(by.now).into();
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "selfLink",
        ] {
            remove(metadata, field);
        }
        defaults::on_create(self, by, resource, &mut value);
        admission::on_create(by, &target, &mut value)?;
        validate(&target, &value)?;
        if self.store.get(resource, namespace, &name).is_some() {
            return Err(ApiError::already_exists(resource.group, resource.plural, &name));
        }
        let created = self.write(by, resource, value);
        if resource.plural == "namespaces" && !by.dry_run {
            self.furnish(by, &name)?;
        }
        Ok(created)
    }

    /// Puts into a new namespace what the controllers would.
    fn furnish(&mut self, by: &By<'_>, namespace: &str) -> Result<(), ApiError> {
        let ca = self.options.ca_pem.clone();
        let root = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ca}});
        self.create(by, ResourceId::known("configmaps"), namespace, root)?;
        let account = json!({"metadata": {"name": "default"}});
        self.create(by, ResourceId::known("serviceaccounts"), namespace, account)?;
        Ok(())
    }

    fn write(&mut self, by: &By<'_>, resource: ResourceId, mut value: Value) -> Rc<Object> {
        if by.dry_run {
            return Rc::new(Object::new(resource, self.store.revision(), &mut value));
        }
        self.store.put(resource, value)
    }

    /// Replaces an object, or its part that the subresource names. Returns whether it was made by that.
    pub(crate) fn update(
        &mut self,
        by: &By<'_>,
        target: &Target<'_>,
        mut value: Value,
    ) -> Result<(Rc<Object>, bool), ApiError> {
        let resource = target.resource;
        check_type(resource, &mut value)?;
        check_namespace(resource, target.namespace, &mut value)?;
        let name = text(&value, "/metadata/name").unwrap_or("");
        if name != target.name {
            let message = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            );
            return Err(ApiError::bad_request(message));
        }
        let Some(old) = self.store.get(resource, target.namespace, target.name).cloned() else {
            let version = text(&value, "/metadata/resourceVersion").unwrap_or("");
            if resource.create_on_update && target.subresource.is_empty() && matches!(version, "" | "0") {
                return Ok((self.create(by, resource, target.namespace, value)?, true));
            }
            if resource.create_on_update {
                return Err(target.conflict("StorageError: invalid object, Code: 4"));
            }
            return Err(ApiError::not_found(resource.group, resource.plural, target.name));
        };
        if text(&value, "/metadata/resourceVersion").is_none_or(str::is_empty)
            && !resource.unconditional_update
        {
            let what = "0: must be specified for an update";
            return Err(target.invalid("metadata.resourceVersion", "FieldValueInvalid", what));
        }
        Ok((self.replace(by, target, &old, value)?, false))
    }

    /// Changes an object in part.
    pub(crate) fn patch(
        &mut self,
        by: &By<'_>,
        target: &Target<'_>,
        media_type: &str,
        body: &[u8],
    ) -> Result<Rc<Object>, ApiError> {
        let old = self
            .store
            .require(target.resource, target.namespace, target.name)?
            .clone();
        let mut value = old.value();
        patch::apply(target.resource, &mut value, media_type, body)?;
        check_type(target.resource, &mut value)?;
        self.replace(by, target, &old, value)
    }

    fn replace(
        &mut self,
        by: &By<'_>,
        target: &Target<'_>,
        old: &Rc<Object>,
        mut value: Value,
    ) -> Result<Rc<Object>, ApiError> {
        let resource = target.resource;
        if let Some(uid) = text(&value, "/metadata/uid").filter(|uid| !uid.is_empty() && **uid != *old.uid) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                old.uid
            );
            return Err(target.conflict(why));
        }
        let version = text(&value, "/metadata/resourceVersion").unwrap_or("");
        if !matches!(version, "" | "0") && version != old.revision.to_string() {
            return Err(ApiError::modified(resource.group, resource.plural, target.name));
        }
        let old_value = old.value();
        keep_what_the_server_owns(target, &old_value, &mut value);
        admission::on_update(by, target, &old_value, &mut value)?;
        validate(target, &value)?;
        let ends = value.pointer("/metadata/deletionTimestamp").is_some()
            && value["metadata"]["deletionGracePeriodSeconds"] == 0
            && value["metadata"]["finalizers"]
                .as_array()
                .is_none_or(Vec::is_empty);
        let written = self.write(by, resource, value);
        if ends && !by.dry_run {
            return Ok(self
                .remove(resource, target.namespace, target.name)
                .unwrap_or(written));
        }
        Ok(written)
    }

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
        if let Some(uid) = options.uid.as_deref().filter(|uid| **uid != *old.uid) {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                old.uid
            );
            return Err(target.conflict(why));
        }
        if let Some(version) = options
            .resource_version
            .as_deref()
            .filter(|of| **of != old.revision.to_string())
        {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in \
                object meta: {}",
                old.revision
            );
            return Err(target.conflict(why));
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
        let grace = if resource.plural == "pods" {
            grace_of_pod(&value, options.grace)
        } else {
            0
        };
        let finalizers = value["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if grace == 0 && !finalizers {
            if by.dry_run {
                return Ok(Deleted {
                    object: old,
                    gone: true,
                });
            }
            let object = self
                .remove(resource, target.namespace, target.name)
                .unwrap_or(old);
            return Ok(Deleted { object, gone: true });
        }
        let metadata = &mut value["metadata"];
        let earlier = metadata["deletionGracePeriodSeconds"].as_i64();
        // A second deletion may only shorten the time.
        if earlier.is_none_or(|earlier| grace < earlier) {
            let begun = metadata["deletionTimestamp"]
                .as_str()
                .and_then(crate::timestamp::parse);
            let begun = match (begun, earlier) {
                (Some(end), Some(earlier)) => {
                    UnixMicros(end.0.saturating_sub(earlier.unsigned_abs() * 1_000_000))
                }
                _ => by.now,
            };
            let end = UnixMicros(begun.0 + grace.unsigned_abs() * 1_000_000).max(by.now);
            metadata["deletionTimestamp"] = rfc3339(end).into();
            metadata["deletionGracePeriodSeconds"] = grace.into();
            if let Some(generation) = metadata["generation"].as_i64() {
                metadata["generation"] = (generation + 1).into();
            }
        }
        Ok(Deleted {
            object: self.write(by, resource, value),
            gone: false,
        })
    }

    /// Takes an object out, and what depends on it: the contents of a namespace, what it owns.
    fn remove(&mut self, resource: ResourceId, namespace: &str, name: &str) -> Option<Rc<Object>> {
        let removed = self.store.remove(resource, namespace, name)?;
        let belongs = |object: &Object| resource.plural == "namespaces" && *object.namespace == *name;
        // Only leases and pods are ever owned here by what is not a workload controller.
        let owned = |object: &Object| {
            matches!(object.resource.plural, "leases" | "pods") && {
                let owners = object.value();
                let owners = owners["metadata"]["ownerReferences"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                !owners.is_empty() && owners.iter().all(|owner| owner["uid"] == *removed.uid)
            }
        };
        let may_own = matches!(resource.plural, "nodes" | "pods" | "configmaps");
        let dependants: Vec<_> = self
            .store
            .all()
            .filter(|object| belongs(object) || may_own && owned(object))
            .cloned()
            .collect();
        for object in dependants {
            self.remove(object.resource, &object.namespace, &object.name);
        }
        Some(removed)
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

    /// Binds a pod to a node, as a scheduler asks for it.
    pub(crate) fn bind(&mut self, by: &By<'_>, target: &Target<'_>, binding: &Value) -> Result<(), ApiError> {
        let node = text(binding, "/target/name").filter(|name| !name.is_empty());
        let Some(node) = node else {
            return Err(target.invalid("target.name", "FieldValueRequired", "the node to bind to"));
        };
        let pod = self
            .store
            .require(target.resource, target.namespace, target.name)?
            .clone();
        let mut value = pod.value();
        if let Some(bound) = pod.field("spec.nodeName").filter(|bound| !bound.is_empty()) {
            return Err(target.conflict(format!(
                "pod {} is already assigned to node {bound:?}",
                target.name
            )));
        }
        if value.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(target.conflict(format!(
                "pod {} is being deleted, cannot be assigned to a host",
                target.name
            )));
        }
        value["spec"]["nodeName"] = node.into();
        let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
            "lastTransitionTime": rfc3339(by.now)});
        let patch = json!({"status": {"conditions": [scheduled]}}).to_string();
        let media_type = "application/strategic-merge-patch+json";
        patch::apply(target.resource, &mut value, media_type, patch.as_bytes())?;
        self.write(by, target.resource, value);
        Ok(())
    }
}

pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

pub(crate) fn remove(value: &mut Value, field: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(field);
    }
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

fn check_type(resource: ResourceId, value: &mut Value) -> Result<(), ApiError> {
    let Some(fields) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the body of the request is no {}",
            resource.kind
        )));
    };
    let version = resource.api_version();
    for (field, expected) in [("kind", resource.kind), ("apiVersion", version.as_str())] {
        match fields.get(field).and_then(Value::as_str) {
            None | Some("") => {
                fields.insert(field.into(), expected.into());
            }
            Some(found) if found != expected => {
                return Err(ApiError::bad_request(format!(
                    "the {field} of the object ({found}) does not match the expected {field} ({expected})"
                )));
            }
            Some(_) => {}
        }
    }
    if fields.get("metadata").is_none_or(Value::is_null) {
        fields.insert("metadata".into(), json!({}));
    }
    check_shape(resource, value)
}

/// Objects where the code below, and every reader, counts on objects. Nulls are as good as nothing.
fn check_shape(resource: ResourceId, value: &mut Value) -> Result<(), ApiError> {
    const OBJECTS: [&str; 8] = [
        "/metadata",
        "/metadata/labels",
        "/metadata/annotations",
        "/spec",
        "/status",
        "/data",
        "/binaryData",
        "/stringData",
    ];
    const LISTS: [&str; 7] = [
        "/metadata/finalizers",
        "/metadata/ownerReferences",
        "/spec/containers",
        "/spec/initContainers",
        "/spec/tolerations",
        "/spec/taints",
        "/status/conditions",
    ];
    let wrong = |pointer: &str, what: &str| {
        let path = pointer[1..].replace('/', ".");
        let message = format!(
            "{} in version {:?} cannot be handled as a {}: {path} is no {what}",
            resource.kind, resource.version, resource.kind
        );
        Err(ApiError::bad_request(message))
    };
    for pointer in OBJECTS {
        match value.pointer(pointer) {
            Some(Value::Null) => {
                let (parent, field) = pointer.rsplit_once('/').unwrap_or(("", pointer));
                if let Some(parent) = value.pointer_mut(parent) {
                    remove(parent, field);
                }
            }
            Some(found) if !found.is_object() => return wrong(pointer, "object"),
            _ => {}
        }
    }
    for pointer in LISTS {
        let Some(found) = value.pointer(pointer).filter(|found| !found.is_null()) else {
            continue;
        };
        let Some(elements) = found.as_array() else {
            return wrong(pointer, "list");
        };
        if !pointer.ends_with("finalizers") && !elements.iter().all(Value::is_object) {
            return wrong(pointer, "list of objects");
        }
        for ports in elements
            .iter()
            .filter_map(|element| element.get("ports"))
            .filter(|ports| !ports.is_null())
        {
            if !ports
                .as_array()
                .is_some_and(|ports| ports.iter().all(Value::is_object))
            {
                return wrong(&format!("{pointer}/ports"), "list of objects");
            }
        }
    }
    let labels = value.pointer("/metadata/labels").and_then(Value::as_object);
    let annotations = value.pointer("/metadata/annotations").and_then(Value::as_object);
    if !labels
        .into_iter()
        .chain(annotations)
        .flatten()
        .all(|(_, value)| value.is_string())
    {
        return wrong("/metadata/labels", "map of strings");
    }
    Ok(())
}

fn check_namespace(resource: ResourceId, namespace: &str, value: &mut Value) -> Result<(), ApiError> {
    match text(value, "/metadata/namespace").unwrap_or("") {
        "" if resource.namespaced => value["metadata"]["namespace"] = namespace.into(),
        "" => remove(&mut value["metadata"], "namespace"),
        found if found == namespace => {}
        found => {
            return Err(ApiError::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request ({found}, not \
                 {namespace:?})"
            )));
        }
    }
    Ok(())
}

/// Puts back what the kind of request may not change.
fn keep_what_the_server_owns(target: &Target<'_>, old: &Value, value: &mut Value) {
    let resource = target.resource;
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        match old["metadata"].get(field) {
            Some(kept) => value["metadata"][field] = kept.clone(),
            None => remove(&mut value["metadata"], field),
        }
    }
    let kept: &[&str] = match target.subresource {
        "status" | "approval" => &["spec", "data", "ownerReferences"],
        _ if resource.subresource("status").is_some() => &["status"],
        _ => &[],
    };
    for field in kept {
        match old.get(*field) {
            Some(kept) => value[*field] = kept.clone(),
            None => remove(value, field),
        }
    }
    if resource.plural == "secrets" {
        defaults::fold_string_data(value);
    }
    if value["spec"] != old["spec"]
        && let Some(generation) = old["metadata"]["generation"].as_i64()
    {
        value["metadata"]["generation"] = (generation + 1).into();
    }
}

/// The rules of a kind that a node or a person runs into.
fn validate(target: &Target<'_>, value: &Value) -> Result<(), ApiError> {
    match target.resource.plural {
        "configmaps" | "secrets" => {
            let maps = ["data", "binaryData"]
                .into_iter()
                .filter_map(|field| value[field].as_object());
            let size: usize = maps
                .clone()
                .flatten()
                .map(|(_, value)| value.as_str().map_or(0, str::len))
                .sum();
            if size > MAX_DATA {
                let what = format!("may not be more than {MAX_DATA} bytes");
                return Err(target.invalid("", "FieldValueTooLong", what));
            }
            for (key, value) in maps.flatten() {
                let good = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
                let path = format!("data[{key}]");
                if key.is_empty() || key.len() > 253 || !key.chars().all(good) || key == "." || key == ".." {
                    let what = format!(
                        "{key:?}: a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                    );
                    return Err(target.invalid(&path, "FieldValueInvalid", what));
                }
                if !value.is_string() {
                    return Err(ApiError::bad_request(format!(
                        "{path}: expected a string, found {value}"
                    )));
                }
            }
        }
        "leases" => {
            for field in ["leaseDurationSeconds", "leaseTransitions"] {
                if value["spec"][field]
                    .as_i64()
                    .is_some_and(|number| number < i64::from(field.ends_with("Seconds")))
                {
                    let what = format!("{}: must be greater than 0", value["spec"][field]);
                    return Err(target.invalid(&format!("spec.{field}"), "FieldValueInvalid", what));
                }
            }
            if let Some(time) = value["spec"]["renewTime"]
                .as_str()
                .filter(|time| crate::timestamp::parse(time).is_none())
            {
                return Err(ApiError::bad_request(format!(
                    "spec.renewTime: {time:?} is no time as in RFC 3339"
                )));
            }
        }
        "pods" if value["spec"]["containers"].as_array().is_none_or(Vec::is_empty) => {
            return Err(target.invalid("spec.containers", "FieldValueRequired", ""));
        }
        _ => {}
    }
    Ok(())
}
