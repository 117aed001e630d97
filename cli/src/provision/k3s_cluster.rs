//! A cluster of k3s as its administrator sees it.

use crate::cluster::Client;
use anyhow::{Context, Result, ensure};
use picolet_linux::client;
use picolet_linux::k3s::{Cluster, full_token};
use picolet_tls::x509::certificates_from_pem;
use std::time::Duration;

/// The group of the tokens that `k3s token create` makes (`NodeBootstrapTokenAuthGroup` in `pkg/kubeadm/token.go`). Every bootstrap token
/// lets a node join.
pub(super) const BOOTSTRAP_GROUP: &str = "system:bootstrappers:k3s:default-node-token";
/// Where kube-apiserver tells whoever serves in its name who vouches for its clients (`clusterauthenticationtrust` of Kubernetes).
const AUTHENTICATION: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Whether an API server is one of k3s: its version says so.
pub(super) fn is_k3s(client: &Client) -> Result<bool> {
    let version = client.get("/version")?;
    Ok(version["gitVersion"]
        .as_str()
        .is_some_and(|version| version.contains("+k3s")))
}

/// Finds out with an administrator's `client` what a node has to know that goes to `server`, which is verified by the cluster's CA
/// `authority` (PEM); the bootstrap token need not exist yet. The CA of the kubelet API's clients is not asked for if `clients` is given.
///
/// # Errors
/// `server` does not serve the agents of k3s, or the rights are missing.
pub(super) fn find(
    client: &Client,
    server: &str,
    authority: &[u8],
    token: &str,
    clients: Option<Vec<u8>>,
) -> Result<Cluster> {
    ensure!(
        server.starts_with("https://"),
        "--server {server}: a token of k3s is told to an https:// server only"
    );
    // What others hash, and whether agents of k3s are served there: it can be an API server alone, or what stands before one.
    let shown = client::Client::anonymous(server, Some(authority))?
        .text("/cacerts", TIMEOUT)
        .with_context(|| {
            format!("the cluster is one of k3s, and {server} is not where its agents join; say where with --server, as K3S_URL does")
        })?;
    let clients = match clients {
        Some(clients) => clients,
        None => {
            let published = client.get(AUTHENTICATION).context(
                "cannot read who vouches for those who call nodes; an administrator can, or give --client-ca-file",
            )?;
            let text = published["data"]["client-ca-file"].as_str().unwrap_or_default();
            certificates_from_pem(text.as_bytes())
                .context("client-ca-file of extension-apiserver-authentication")?;
            text.as_bytes().to_vec()
        }
    };
    Ok(Cluster {
        token: full_token(token, Some(shown.as_bytes()), true)?.context("no token of k3s")?,
        authority: authority.to_vec(),
        clients,
    })
}
