//! How a cluster is made.

use crate::identity::Identity;
use picolet_platform::Duration;
use std::collections::BTreeMap;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of uids, of names that are generated, and of whatever else is drawn.
    pub seed: u64,
    /// Where nodes may read the ConfigMaps that configure them: a Role and its binding are put there.
    pub config_namespace: String,
    /// Bearer tokens and who they are.
    pub tokens: BTreeMap<String, Identity>,
    /// The token of a k3s cluster, `user:secret`, for one that serves what k3s does beside the API.
    pub k3s_token: Option<String>,
    /// How long a node may leave its Lease alone before it is `Unknown` (`--node-monitor-grace-period`).
    pub node_grace: Duration,
    /// How long the certificates are valid that the cluster signs (`--cluster-signing-duration`).
    pub certificate_life: Duration,
    /// PEM of the cluster's certificate authority, for the ConfigMap `kube-root-ca.crt`.
    pub ca_pem: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            config_namespace: "default".into(),
            tokens: BTreeMap::new(),
            k3s_token: None,
            node_grace: Duration::from_secs(50),
            certificate_life: Duration::from_secs(365 * 24 * 3600),
            ca_pem: String::new(),
        }
    }
}
