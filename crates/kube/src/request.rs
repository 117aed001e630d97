//! Requests to the API server: which path, which query, which head.

use crate::lease;
use alloc::string::String;
use core::fmt::{self, Write as _};
use picolet_http::Method;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the path that it names")]
pub enum Resource<'a> {
    /// Which Kubernetes it is: what anybody may ask.
    Version,
    Nodes,
    Node(&'a str),
    NodeStatus(&'a str),
    Leases,
    Lease(&'a str),
    /// The pods of all namespaces.
    Pods,
    /// The pods of one namespace.
    PodsIn {
        namespace: &'a str,
    },
    Pod {
        namespace: &'a str,
        name: &'a str,
    },
    PodStatus {
        namespace: &'a str,
        name: &'a str,
    },
    ConfigMaps {
        namespace: &'a str,
    },
    Events {
        namespace: &'a str,
    },
    Event {
        namespace: &'a str,
        name: &'a str,
    },
    TokenReviews,
    SubjectAccessReviews,
    CertificateSigningRequests,
    CertificateSigningRequest(&'a str),
    /// What a server has beside the API of Kubernetes.
    Foreign(&'a Foreign<'a>),
}

/// A request of its own: see [`Resource::Foreign`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Foreign<'a> {
    /// The path.
    pub path: &'a str,
    /// Fields of the head, each with its line's end.
    pub fields: &'a str,
    /// What the body is.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// Only the path: a field may hold a secret.
impl fmt::Debug for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path)
    }
}

/// Writes its path.
impl fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
        match self {
            Self::Version => f.write_str("/version"),
            Self::Nodes => f.write_str("/api/v1/nodes"),
            Self::Node(name) => write!(f, "/api/v1/nodes/{name}"),
            Self::NodeStatus(name) => write!(f, "/api/v1/nodes/{name}/status"),
            Self::Leases => write!(
                f,
                "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
                lease::NAMESPACE
            ),
            Self::Lease(name) => write!(f, "{}/{name}", Self::Leases),
            Self::Pods => f.write_str("/api/v1/pods"),
            Self::PodsIn { namespace } => write!(f, "/api/v1/namespaces/{namespace}/pods"),
            Self::Pod { namespace, name } => write!(f, "/api/v1/namespaces/{namespace}/pods/{name}"),
            Self::PodStatus { namespace, name } => {
                write!(f, "/api/v1/namespaces/{namespace}/pods/{name}/status")
            }
            Self::ConfigMaps { namespace } => write!(f, "/api/v1/namespaces/{namespace}/configmaps"),
            Self::Events { namespace } => write!(f, "/api/v1/namespaces/{namespace}/events"),
            Self::Event { namespace, name } => write!(f, "/api/v1/namespaces/{namespace}/events/{name}"),
            Self::TokenReviews => f.write_str("/apis/authentication.k8s.io/v1/tokenreviews"),
            Self::SubjectAccessReviews => f.write_str("/apis/authorization.k8s.io/v1/subjectaccessreviews"),
            Self::CertificateSigningRequests => f.write_str(CSRS),
            Self::CertificateSigningRequest(name) => write!(f, "{CSRS}/{name}"),
            Self::Foreign(foreign) => f.write_str(foreign.path),
        }
    }
}

/// Which objects of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// The one of this name.
    Name(&'a str),
    /// The pods bound to this node.
    NodeName(&'a str),
    /// Those whose label `key` is one of two values.
    LabelIn(&'a str, [&'a str; 2]),
}

impl Selection<'_> {
    fn write(&self, out: &mut String) {
        // Names and labels are of letters, digits, '-', '_', '.' and '/': only the punctuation around them is encoded.
        let _ = match self {
            Self::Name(name) => write!(out, "fieldSelector=metadata.name%3D{name}"),
            Self::NodeName(node) => write!(out, "fieldSelector=spec.nodeName%3D{node}"),
            Self::LabelIn(key, [a, b]) => write!(out, "labelSelector={key}+in+%28{a}%2C{b}%29"),
        };
    }
}

/// What is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb<'a> {
    /// Read it, as a quorum of etcd has it.
    Get,
    /// Read it as the API server has it at hand (`resourceVersion=0`), which may be old.
    GetCached,
    /// Read those that are selected.
    List(Selection<'a>),
    /// Be told of every change since a version.
    Watch {
        /// Of what.
        selection: Selection<'a>,
        /// Since when.
        resource_version: &'a str,
        /// How long, at most.
        timeout_seconds: u32,
    },
    /// Make it.
    Create,
    /// Put it in place of what is there.
    Replace,
    /// Merge into it, lists by their keys.
    StrategicMergePatch,
    /// Merge into it (RFC 7396).
    MergePatch,
    /// Take it away.
    Delete,
    /// Send the body of a [`Foreign`] request.
    Post,
}

impl Verb<'_> {
    const fn method(self) -> Method {
        match self {
            Self::Get | Self::GetCached | Self::List(_) | Self::Watch { .. } => Method::Get,
            Self::Create | Self::Post => Method::Post,
            Self::Replace => Method::Put,
            Self::StrategicMergePatch | Self::MergePatch => Method::Patch,
            Self::Delete => Method::Delete,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::StrategicMergePatch => "application/strategic-merge-patch+json",
            Self::MergePatch => "application/merge-patch+json",
            _ => "application/json",
        }
    }

    /// What it is called in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get | Self::GetCached => "get",
            Self::List(_) => "list",
            Self::Watch { .. } => "watch",
            Self::Create => "create",
            Self::Replace => "update",
            Self::StrategicMergePatch | Self::MergePatch => "patch",
            Self::Delete => "delete",
            Self::Post => "post",
        }
    }
}

/// What is asked of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// About what.
    pub resource: Resource<'a>,
    /// What is done with it.
    pub verb: Verb<'a>,
    /// The body; empty where there is none.
    pub body: &'a str,
}

impl<'a> Request<'a> {
    /// A request that only reads.
    pub const fn get(resource: Resource<'a>) -> Self {
        Self {
            resource,
            verb: Verb::Get,
            body: "",
        }
    }

    /// What is sent behind the head.
    pub const fn payload(&self) -> &'a [u8] {
        match self.resource {
            Resource::Foreign(foreign) => foreign.body,
            _ => self.body.as_bytes(),
        }
    }
}

/// Writes the head of a request. Every write asks the server to refuse fields that it does not know
/// (`fieldValidation=Strict`): what we send must be right to the letter.
#[inline(never)]
pub fn write_head(out: &mut String, host: &str, user_agent: &str, request: &Request<'_>) {
    let Request { resource, verb, .. } = request;
    let _ = write!(out, "{} {resource}", verb.method().as_str());
    match verb {
        Verb::Get | Verb::Delete | Verb::Post => {}
        Verb::GetCached => out.push_str("?resourceVersion=0"),
        Verb::List(selection) => {
            out.push('?');
            selection.write(out);
        }
        Verb::Watch {
            selection,
            resource_version,
            timeout_seconds,
        } => {
            out.push_str("?watch=1&allowWatchBookmarks=true&");
            selection.write(out);
            let _ = write!(
                out,
                "&resourceVersion={resource_version}&timeoutSeconds={timeout_seconds}"
            );
        }
        Verb::Create | Verb::Replace | Verb::StrategicMergePatch | Verb::MergePatch => {
            out.push_str("?fieldValidation=Strict");
        }
    }
    let _ = write!(
        out,
        " HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nAccept: application/json\r\n"
    );
    if let Resource::Foreign(foreign) = resource {
        out.push_str(foreign.fields);
    }
    let length = request.payload().len();
    if length > 0 {
        let content_type = match resource {
            Resource::Foreign(foreign) => foreign.content_type,
            _ => verb.content_type(),
        };
        let _ = write!(
            out,
            "Content-Type: {content_type}\r\nContent-Length: {length}\r\n"
        );
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(resource: Resource<'_>, verb: Verb<'_>, body: usize) -> String {
        let mut out = String::new();
        let body = &"............"[..body];
        let request = Request { resource, verb, body };
        write_head(&mut out, "api:6443", "picolet/1", &request);
        out
    }

    #[test]
    fn heads() {
        insta::assert_snapshot!(head(Resource::Nodes, Verb::Create, 12));
        insta::assert_snapshot!(head(Resource::Lease("pico"), Verb::Replace, 7));
        let cached = head(Resource::Node("pico"), Verb::GetCached, 0);
        assert!(cached.starts_with("GET /api/v1/nodes/pico?resourceVersion=0 HTTP/1.1\r\n"));
        insta::assert_snapshot!(head(
            Resource::Pods,
            Verb::Watch {
                selection: Selection::NodeName("pico"),
                resource_version: "42",
                timeout_seconds: 300
            },
            0
        ));
        insta::assert_snapshot!(head(
            Resource::ConfigMaps { namespace: "default" },
            Verb::List(Selection::LabelIn("picolet.dev/node", ["pico", "all"])),
            0
        ));
        insta::assert_snapshot!(head(
            Resource::Pod {
                namespace: "a",
                name: "b"
            },
            Verb::Delete,
            3
        ));
        let foreign = Foreign {
            path: "/v1-k3s/serving-kubelet.crt",
            fields: "k3s-Node-Name: pico\r\nk3s-Node-Password: 00112233445566778899aabbccddeeff\r\nk3s-Node-IP: 10.0.0.5\r\n",
            content_type: "application/pkcs10",
            body: &[0x30, 0x00],
        };
        insta::assert_snapshot!(head(Resource::Foreign(&foreign), Verb::Post, 0));
    }
}
