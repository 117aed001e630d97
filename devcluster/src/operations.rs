//! Create, update, patch and bind: what happens to an object between the request and the store.

use crate::admission;
use crate::certificates;
use crate::defaults;
use crate::error::ApiError;
use crate::identity::Identity;
use crate::json::{remove, text};
use crate::object::Object;
use crate::patch;
use crate::resources::ResourceId;
use crate::schema;
use crate::selectors::is_subdomain;
use crate::state::{SYSTEM_NAMESPACES, State};
use crate::target::{By, Target};
use crate::timestamp::rfc3339;
use crate::validation::{check_fields, check_namespace, check_type, keep_what_the_server_owns, validate};
use picolet_platform::UnixMicros;
use serde_json::{Value, json};
use std::rc::Rc;

impl State {
    /// Makes the objects that every cluster has.
    pub(crate) fn populate(&mut self, now: UnixMicros) {
        let admin = Identity::admin();
        let by = By {
            identity: &admin,
            now,
            dry_run: false,
            strict: false,
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

    /// Creates an object.
    pub(crate) fn create(
        &mut self,
        by: &By<'_>,
        resource: ResourceId,
        namespace: &str,
        mut value: Value,
    ) -> Result<Rc<Object>, ApiError> {
        check_type(resource, &mut value)?;
        check_fields(by, resource, &mut value)?;
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

    pub(crate) fn write(&mut self, by: &By<'_>, resource: ResourceId, mut value: Value) -> Rc<Object> {
        defaults::always(resource, &mut value);
        if resource.plural == "certificatesigningrequests" {
            certificates::process(self, by, &mut value);
        }
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
        check_fields(by, resource, &mut value)?;
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
            let subject = (resource.group, resource.plural);
            let path = "metadata.resourceVersion";
            return Err(ApiError::invalid(
                subject,
                target.name,
                path,
                "FieldValueInvalid",
                what,
            ));
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
        if let (Some(field), true) = (schema::prune(target.resource, &mut value)?.first(), by.strict) {
            return Err(ApiError::unknown_field_in_patch(field));
        }
        if let Some(uid) = text(&value, "/metadata/uid").filter(|uid| **uid != *old.uid) {
            let what = format!("{uid:?}: field is immutable");
            return Err(target.invalid("metadata.uid", "FieldValueInvalid", what));
        }
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
                .remove(resource, target.namespace, target.name, None)
                .unwrap_or(written));
        }
        Ok(written)
    }

    /// Binds a pod to a node, as a scheduler asks for it.
    pub(crate) fn bind(&mut self, by: &By<'_>, target: &Target<'_>, binding: &Value) -> Result<(), ApiError> {
        let node = text(binding, "/target/name").filter(|name| !name.is_empty());
        let Some(node) = node else {
            return Err(target.invalid("target.name", "FieldValueRequired", "the node to bind to"));
        };
        let conflict = |why: String| ApiError::conflict("", "pods/binding", target.name, why);
        let pod = self
            .store
            .require(target.resource, target.namespace, target.name)?
            .clone();
        let mut value = pod.value();
        if let Some(bound) = pod.field("spec.nodeName").filter(|bound| !bound.is_empty()) {
            return Err(conflict(format!(
                "pod {} is already assigned to node {bound:?}",
                target.name
            )));
        }
        if value.pointer("/metadata/deletionTimestamp").is_some() {
            return Err(conflict(format!(
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
