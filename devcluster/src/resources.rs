//! The kinds that this API serves, as data: everything that differs between them and is no code.

/// One kind of object and how it is served.
#[derive(Debug)]
pub(crate) struct Resource {
    /// API group, empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    /// Plural name in paths.
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    /// Subresources with the kind that they take, and the verbs that they know.
    pub(crate) subresources: &'static [Subresource],
    /// Field labels that may be selected by, with the place of the value. `metadata.name` and `metadata.namespace` go
    /// without saying.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// Whether a PUT of an object that does not exist makes it.
    pub(crate) create_on_update: bool,
    /// Whether a PUT may leave out `metadata.resourceVersion`.
    pub(crate) unconditional_update: bool,
    /// Whether a DELETE answers with the object (else with a `Status`).
    pub(crate) returns_deleted: bool,
    /// Nothing is stored: the answer to a POST is all there is.
    pub(crate) review: bool,
}

/// `pods/status` and the like.
#[derive(Debug)]
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) verbs: &'static [&'static str],
}

const ORDINARY_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

impl Resource {
    const fn core(plural: &'static str, singular: &'static str, kind: &'static str) -> Self {
        Self {
            group: "",
            version: "v1",
            plural,
            singular,
            kind,
            short_names: &[],
            categories: &[],
            namespaced: true,
            subresources: &[],
            fields: &[],
            create_on_update: false,
            unconditional_update: true,
            returns_deleted: false,
            review: false,
        }
    }

    const fn of(
        group: &'static str,
        plural: &'static str,
        singular: &'static str,
        kind: &'static str,
    ) -> Self {
        let mut resource = Self::core(plural, singular, kind);
        resource.group = group;
        resource
    }

    const fn cluster_wide(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }

    const fn with(mut self, subresources: &'static [Subresource]) -> Self {
        self.subresources = subresources;
        self
    }

    const fn selectable(mut self, fields: &'static [(&'static str, &'static str)]) -> Self {
        self.fields = fields;
        self
    }

    const fn only_review(mut self) -> Self {
        self.review = true;
        self
    }

    /// `v1`, or `coordination.k8s.io/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `NodeList` and the like.
    pub(crate) fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        if self.review { &["create"] } else { ORDINARY_VERBS }
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|of| of.name == name)
    }
}

const fn status(kind: &'static str) -> Subresource {
    Subresource {
        name: "status",
        group: "",
        version: "v1",
        kind,
        verbs: &["get", "patch", "update"],
    }
}

const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    (
        "involvedObject.resourceVersion",
        "/involvedObject/resourceVersion",
    ),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("source", "/source/component"),
    ("type", "/type"),
];

const POD_FIELDS: &[(&str, &str)] = &[
    ("spec.nodeName", "/spec/nodeName"),
    ("spec.restartPolicy", "/spec/restartPolicy"),
    ("spec.schedulerName", "/spec/schedulerName"),
    ("spec.serviceAccountName", "/spec/serviceAccountName"),
    ("status.phase", "/status/phase"),
    ("status.nominatedNodeName", "/status/nominatedNodeName"),
];

const POD_SUBRESOURCES: &[Subresource] = &[
    Subresource {
        name: "binding",
        group: "",
        version: "v1",
        kind: "Binding",
        verbs: &["create"],
    },
    Subresource {
        name: "eviction",
        group: "policy",
        version: "v1",
        kind: "Eviction",
        verbs: &["create"],
    },
    Subresource {
        name: "log",
        group: "",
        version: "v1",
        kind: "Pod",
        verbs: &["get"],
    },
    status("Pod"),
];

const RBAC: &str = "rbac.authorization.k8s.io";

/// All of them. A plural is unique.
pub(crate) static RESOURCES: &[Resource] = &[
    {
        let mut events = Resource::core("events", "event", "Event")
            .short(&["ev"])
            .selectable(EVENT_FIELDS);
        events.create_on_update = true;
        events
    },
    Resource::core("configmaps", "configmap", "ConfigMap").short(&["cm"]),
    Resource::core("namespaces", "namespace", "Namespace")
        .short(&["ns"])
        .cluster_wide()
        .with(&[status("Namespace")])
        .selectable(&[("status.phase", "/status/phase")]),
    Resource::core("nodes", "node", "Node")
        .short(&["no"])
        .cluster_wide()
        .with(&[
            Subresource {
                name: "proxy",
                group: "",
                version: "v1",
                kind: "NodeProxyOptions",
                verbs: &["get"],
            },
            status("Node"),
        ])
        .selectable(&[("spec.unschedulable", "/spec/unschedulable")]),
    {
        let mut pods = Resource::core("pods", "pod", "Pod")
            .short(&["po"])
            .with(POD_SUBRESOURCES)
            .selectable(POD_FIELDS);
        pods.categories = &["all"];
        pods.returns_deleted = true;
        pods
    },
    Resource::core("secrets", "secret", "Secret").selectable(&[("type", "/type")]),
    {
        let mut accounts =
            Resource::core("serviceaccounts", "serviceaccount", "ServiceAccount").short(&["sa"]);
        accounts.returns_deleted = true;
        accounts
    },
    Resource::of(
        "authentication.k8s.io",
        "selfsubjectreviews",
        "selfsubjectreview",
        "SelfSubjectReview",
    )
    .cluster_wide()
    .only_review(),
    Resource::of(
        "authentication.k8s.io",
        "tokenreviews",
        "tokenreview",
        "TokenReview",
    )
    .cluster_wide()
    .only_review(),
    Resource::of(
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "selfsubjectaccessreview",
        "SelfSubjectAccessReview",
    )
    .cluster_wide()
    .only_review(),
    Resource::of(
        "authorization.k8s.io",
        "subjectaccessreviews",
        "subjectaccessreview",
        "SubjectAccessReview",
    )
    .cluster_wide()
    .only_review(),
    Resource::of(
        "certificates.k8s.io",
        "certificatesigningrequests",
        "certificatesigningrequest",
        "CertificateSigningRequest",
    )
    .short(&["csr"])
    .cluster_wide()
    .with(&[
        Subresource {
            name: "approval",
            group: "certificates.k8s.io",
            version: "v1",
            kind: "CertificateSigningRequest",
            verbs: &["get", "patch", "update"],
        },
        Subresource {
            name: "status",
            group: "certificates.k8s.io",
            version: "v1",
            kind: "CertificateSigningRequest",
            verbs: &["get", "patch", "update"],
        },
    ])
    .selectable(&[("spec.signerName", "/spec/signerName")]),
    {
        let mut leases = Resource::of("coordination.k8s.io", "leases", "lease", "Lease");
        leases.create_on_update = true;
        leases.unconditional_update = false;
        leases
    },
    Resource::of("node.k8s.io", "runtimeclasses", "runtimeclass", "RuntimeClass").cluster_wide(),
    Resource::of(
        RBAC,
        "clusterrolebindings",
        "clusterrolebinding",
        "ClusterRoleBinding",
    )
    .cluster_wide(),
    Resource::of(RBAC, "clusterroles", "clusterrole", "ClusterRole").cluster_wide(),
    Resource::of(RBAC, "rolebindings", "rolebinding", "RoleBinding"),
    Resource::of(RBAC, "roles", "role", "Role"),
];

/// The place of a resource in [`RESOURCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ResourceId(usize);

impl ResourceId {
    pub(crate) fn index(self) -> usize {
        self.0
    }

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..RESOURCES.len()).map(Self)
    }

    /// Finds what a path names.
    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<Self> {
        let found = |of: &Resource| of.group == group && of.version == version && of.plural == plural;
        RESOURCES.iter().position(found).map(Self)
    }

    /// Finds a resource by its plural alone.
    pub(crate) fn named(plural: &str) -> Option<Self> {
        RESOURCES.iter().position(|of| of.plural == plural).map(Self)
    }

    /// Finds a resource that is known to be there.
    ///
    /// # Panics
    /// If `plural` is not in the table: a slip in this crate, which the tests of every caller would show.
    pub(crate) fn known(plural: &str) -> Self {
        Self::named(plural).expect("a resource of the table")
    }
}

impl core::ops::Deref for ResourceId {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &RESOURCES[self.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_are_unique_and_found() {
        for id in ResourceId::all() {
            assert_eq!(ResourceId::named(id.plural), Some(id));
            assert_eq!(ResourceId::find(id.group, id.version, id.plural), Some(id));
        }
    }
}
