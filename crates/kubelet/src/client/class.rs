//! What requests are for: who goes first, who waits for whom, and what the API server has put off.

use picolet_kube::request::Resource;
use picolet_platform::Duration;

/// What a request is for, the most urgent first. A throttled class does not delay any other: each has its own pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// The Lease. Without it the node is Unknown after 40 s.
    Heartbeat,
    /// The Node, its status, and the time.
    Status,
    /// The node's certificates.
    Identity,
    /// Pods and their status.
    Pods,
    /// Who may call the kubelet API.
    Reviews,
    /// Events, which are never worth more than the node.
    Events,
}

impl Class {
    /// How many there are.
    pub(super) const COUNT: usize = 6;

    /// The class of requests about `resource`.
    pub(super) const fn of(resource: Resource<'_>) -> Self {
        match resource {
            Resource::Leases | Resource::Lease(_) => Self::Heartbeat,
            Resource::Version | Resource::Nodes | Resource::Node(_) | Resource::NodeStatus(_) => Self::Status,
            Resource::CertificateSigningRequests
            | Resource::CertificateSigningRequest(_)
            | Resource::Foreign(_) => Self::Identity,
            // Lists and watches have connections of their own.
            Resource::ConfigMaps { .. }
            | Resource::Pods
            | Resource::PodsIn { .. }
            | Resource::Pod { .. }
            | Resource::PodStatus { .. } => Self::Pods,
            Resource::TokenReviews | Resource::SubjectAccessReviews => Self::Reviews,
            Resource::Events { .. } | Resource::Event { .. } => Self::Events,
        }
    }

    /// How long the connection that requests share is waited for, before the request is made on one of its own.
    pub(super) const fn patience(self) -> Option<Duration> {
        match self {
            Self::Heartbeat => Some(Duration::from_secs(2)),
            // Somebody waits for the answer.
            Self::Reviews => Some(Duration::from_millis(500)),
            _ => None,
        }
    }

    /// The longest that the server can put the class off at once.
    pub(super) const fn longest_pause(self) -> Duration {
        Duration::from_secs(match self {
            // A Lease lasts 40 s.
            Self::Heartbeat => 10,
            _ => 60,
        })
    }
}
