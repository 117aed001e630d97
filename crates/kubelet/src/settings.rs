//! What a person decides about a node.

use alloc::boxed::Box;
use alloc::vec::Vec;
use picolet_http::RequestLimits;
use picolet_kube::selector::Taint;
use picolet_kube::{Quantity, Timestamp};
use picolet_platform::Duration;

/// The minor version of Kubernetes that [`VERSION`] names.
pub(crate) const KUBERNETES_MINOR: u32 = 36;

/// What `kubectl get nodes` shows: the Kubernetes version whose control plane we are tested with, and our own.
pub const VERSION: &str = concat!("v1.36.0-picolet.", env!("CARGO_PKG_VERSION"));

/// The settings of one node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name: a DNS subdomain, the same as in its certificate.
    pub node_name: Box<str>,
    /// The namespace whose ConfigMaps drive the device.
    pub config_namespace: Box<str>,
    /// Taints that the node registers with. They cannot be changed by the node later.
    pub taints: Vec<Taint>,
    /// What the node offers, where it is not what the machine has.
    pub capacity: Capacity,
    /// The port that the node reports for its API; `None` leaves it out, as k3s needs it.
    pub reported_port: Option<u16>,
    /// Bearer tokens that are accepted at the kubelet API.
    pub static_tokens: Vec<StaticToken>,
    /// Whether `/healthz` of the kubelet API may be read without a credential.
    pub anonymous_health: bool,
    /// Whether and how the node gets its certificates by itself; `None` where they were given to it.
    pub join: Option<Join>,
    /// What callers of the kubelet API may use up.
    pub limits: Limits,
    /// The date of the commit that this was built from: no clock is ever below it.
    pub built: Timestamp,
}

/// How a node gets its certificates.
#[derive(Clone)]
pub struct Join {
    /// A bootstrap token, `abcdef.0123456789abcdef`, or the full token of a k3s cluster, `K10<hash>::user:secret`, which says
    /// that it is one. Not needed while the certificate that the node kept is valid.
    pub token: Option<Box<str>>,
}

/// Never shows the secret.
impl core::fmt::Debug for Join {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Join")
    }
}

/// A bearer token and whose it is.
#[derive(Clone)]
pub struct StaticToken {
    /// The secret.
    pub token: Box<str>,
    /// Who holds it, for the log.
    pub user: Box<str>,
}

/// Never shows the secret.
impl core::fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "StaticToken({})", self.user)
    }
}

/// Amounts that a node offers. What is `None` is the machine's own.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    /// Processors.
    pub cpu: Option<Quantity>,
    /// Bytes of memory.
    pub memory: Option<Quantity>,
    /// Bytes of storage.
    pub ephemeral_storage: Option<Quantity>,
    /// Pods.
    pub pods: Option<Quantity>,
}

/// Limits of the kubelet API.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once.
    pub connections: usize,
    /// How long a caller may take for a whole request.
    pub request_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// The longest head, in bytes.
    pub head_bytes: usize,
    /// The longest body, in bytes.
    pub body_bytes: usize,
    /// Requests that one peer may make in a second, on average.
    pub requests_per_second: u32,
    /// Requests that one peer may make at once.
    pub burst: u32,
}

impl Limits {
    /// Those of the Linux process.
    pub const DEFAULT: Self = Self {
        connections: 5,
        request_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(30),
        head_bytes: 16 * 1024,
        body_bytes: 4096,
        requests_per_second: 20,
        burst: 40,
    };

    /// The limits for one request.
    pub(crate) const fn request(&self) -> RequestLimits {
        RequestLimits {
            head_bytes: self.head_bytes,
            body_bytes: self.body_bytes,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
