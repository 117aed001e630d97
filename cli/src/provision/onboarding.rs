//! What somebody who administers a cluster prepares in it for a board: the rights to join, and a token to join with.
//!
//! The rights are those of `deploy/`, the very files. The token is as kubeadm makes them, or on k3s as `k3s token create` does, and nobody sees
//! it but the board.

use super::{check, k3s_cluster};
use crate::cluster::{Client, ClusterArguments, Deletion};
use anyhow::{Context, Result, bail};
use picolet_kube::Timestamp;
use picolet_linux::client::Refused;
use picolet_linux::clock;
use picolet_linux::k3s::Cluster;
use picolet_platform::UnixMicros;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The rights: to join, and to read the configuration. On k3s whoever has a token may join.
const TO_JOIN: &str = include_str!("../../../deploy/bootstrap.yaml");
const TO_READ: &str = include_str!("../../../deploy/rbac.yaml");
/// The group that the first are given to.
const GROUP: &str = "system:bootstrappers:picolet";

/// What is going to be done.
pub(super) struct Onboarding {
    client: Arc<Client>,
    node: String,
    namespace: String,
    token: String,
    expires: Timestamp,
    is_k3s: bool,
    /// The token's Secret, from before it is created until the board has its settings.
    revocable: Revocable,
}

/// A Secret that is deleted when something fails; shared with the signal handler.
#[derive(Clone)]
struct Revocable {
    client: Arc<Client>,
    path: Arc<Mutex<Option<String>>>,
}

impl Revocable {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes it, if there is one. The lock is held until then: nobody goes on, or ends the program, in between.
    fn revoke(&self) {
        let mut held = self.lock();
        let Some(path) = held.take() else { return };
        let name = path.rsplit('/').next().unwrap_or_default();
        match self.client.delete(&path) {
            Ok(Deletion::Done) => eprintln!("note: the bootstrap token is revoked: Secret {name} is deleted"),
            Ok(Deletion::Pending) => eprintln!(
                "note: the bootstrap token is valid until the finalizers of Secret {name} are removed, or it expires"
            ),
            Ok(Deletion::Absent) => {}
            Err(error) => eprintln!(
                "warning: the bootstrap token is not revoked: {error:#}; kubectl delete secret {name} --namespace kube-system"
            ),
        }
    }
}

/// A token that no board has got is nobody's.
impl Drop for Onboarding {
    fn drop(&mut self) {
        self.revocable.revoke();
    }
}

/// Reads `30m`, `12h` or `2d` as seconds.
pub(super) fn lifetime(text: &str) -> Result<u64, &'static str> {
    let what = "write it as a number and s, m, h or d, such as 30m";
    let unit = match text.bytes().next_back() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 86_400,
        _ => return Err(what),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| what)?;
    // Controllers remove tokens that are over, and a token for ever is no token for one board.
    match number.checked_mul(unit) {
        Some(seconds @ 60..=2_592_000) => Ok(seconds),
        _ => Err("from one minute to 30 days"),
    }
}

impl Onboarding {
    pub(super) fn new(
        cluster: &ClusterArguments,
        node: &str,
        namespace: &str,
        lifetime: u64,
    ) -> Result<Self> {
        let client = Arc::new(Client::connect(cluster)?);
        let now = clock::system().map_or(0, UnixMicros::seconds);
        Ok(Self {
            is_k3s: k3s_cluster::is_k3s(&client)?,
            revocable: Revocable {
                client: client.clone(),
                path: Arc::default(),
            },
            client,
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            token: token()?,
            expires: Timestamp::from_seconds(now.saturating_add(lifetime)),
        })
    }

    /// The authority of the cluster, in PEM.
    pub(super) fn authority(&self) -> &[u8] {
        self.client.authority()
    }

    /// The certificate that the API server presents, DER; `None` without TLS, or where a direct connection is not possible.
    pub(super) fn server_certificate(&self) -> Option<Vec<u8>> {
        let is_tls = self.client.server().starts_with("https://");
        is_tls.then(|| self.client.server_certificate().ok()).flatten()
    }

    /// What the board joins with.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The cluster as whoever joins k3s has to know it, if it is one: for a board that goes to `server`. Who may call the board is asked
    /// for unless it is known.
    pub(super) fn k3s_cluster(&self, server: &str, clients: Option<Vec<u8>>) -> Result<Option<Cluster>> {
        if !self.is_k3s {
            return Ok(None);
        }
        k3s_cluster::find(&self.client, server, self.authority(), &self.token, clients).map(Some)
    }

    /// The server as the board can reach it.
    pub(super) fn server_for_board(&self) -> Result<String> {
        if check::is_this_machine(self.client.server()) {
            bail!(
                "--server: the kubeconfig's is {}, which to a board is the board itself; give the address of the API server \
                 in its network, which has to be in the server's certificate",
                self.client.server()
            );
        }
        Ok(self.client.server().to_owned())
    }

    /// Does it, and says so. Until [`Onboarding::keep_token`] the token is taken back when this is dropped, or when the program
    /// is interrupted; `unfinished` is a file that is removed then, too.
    pub(super) fn apply(&self, unfinished: Option<PathBuf>) -> Result<()> {
        let revocable = self.revocable.clone();
        ctrlc::set_handler(move || {
            revocable.revoke();
            if let Some(file) = &unfinished {
                // It is empty, and goes away if it can.
                let _ = std::fs::remove_file(file);
            }
            std::process::exit(130);
        })
        .context("cannot await signals")?;
        let (manifests, group) = match self.is_k3s {
            true => (&[TO_READ][..], k3s_cluster::BOOTSTRAP_GROUP),
            false => (&[TO_JOIN, TO_READ][..], GROUP),
        };
        for (path, object) in objects(manifests, &self.namespace)? {
            self.client.apply(&path, &object).with_context(|| {
                let kind = object["kind"].as_str().unwrap_or_default();
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                format!("cannot apply the {kind} {name}; an administrator can, or give --token and --certificate-authority")
            })?;
        }
        let (id, secret) = self.token.split_once('.').unwrap_or_default();
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
            "stringData": {
                "description": format!("made by picolet provision for {}", self.node),
                "token-id": id,
                "token-secret": secret,
                "expiration": self.expires.time().to_string(),
                "usage-bootstrap-authentication": "true",
                "auth-extra-groups": group,
            },
        });
        self.create_token(&format!("bootstrap-token-{id}"), &object)
            .context("cannot make a bootstrap token in kube-system; an administrator can, or give --token and --certificate-authority")?;
        println!(
            "The cluster lets picolets join, and read pico-config in the namespace {}. Bootstrap token {id} is good until {}.",
            self.namespace,
            self.expires.time()
        );
        if self.is_k3s {
            println!(
                "It is a cluster of k3s: the board gets its certificates for that token, and nobody has to approve."
            );
        }
        Ok(())
    }

    fn create_token(&self, name: &str, object: &Value) -> Result<()> {
        const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
        // Held while the answer is awaited: who interrupts the program then waits for it, too.
        let mut revocable = self.revocable.lock();
        // Before it is known to exist: the answer may be lost.
        *revocable = Some(format!("{SECRETS}/{name}"));
        let created = self.client.post(SECRETS, object);
        // A server that is in trouble (5xx) may have created it all the same.
        let refused =
            |error: &anyhow::Error| matches!(error.downcast_ref(), Some(Refused { code: ..500, .. }));
        if created.as_ref().is_err_and(refused) {
            *revocable = None;
        }
        created
    }

    /// The board has its token.
    ///
    /// # Errors
    /// The program was interrupted, and the token is revoked.
    pub(super) fn keep_token(&self) -> Result<()> {
        let kept = self.revocable.lock().take();
        kept.map(drop)
            .context("interrupted: the settings have a token that is revoked; make new ones")
    }
}

/// The objects of the manifests, and where they go.
fn objects(manifests: &[&str], namespace: &str) -> Result<Vec<(String, Value)>> {
    let mut objects = Vec::new();
    for manifest in manifests {
        for document in serde_yaml_ng::Deserializer::from_str(manifest) {
            let mut object = Value::deserialize(document).context("deploy/")?;
            let name = object["metadata"]["name"].as_str().context("no name")?.to_owned();
            let api = "/apis/rbac.authorization.k8s.io/v1";
            let path = match object["kind"].as_str() {
                Some("ClusterRoleBinding") => format!("{api}/clusterrolebindings/{name}"),
                Some("Role") => format!("{api}/namespaces/{namespace}/roles/{name}"),
                Some("RoleBinding") => format!("{api}/namespaces/{namespace}/rolebindings/{name}"),
                other => bail!("deploy/ has an object of kind {other:?}"),
            };
            if path.contains("/namespaces/") {
                object["metadata"]["namespace"] = namespace.into();
            }
            objects.push((path, object));
        }
    }
    Ok(objects)
}

/// A token of the form `[a-z0-9]{6}.[a-z0-9]{16}`, 80 bits of it secret.
fn token() -> Result<String> {
    let mut random = [0; 22];
    getrandom::fill(&mut random).context("no randomness for a token")?;
    let letters = b"abcdefghijklmnopqrstuvwxyz234567";
    let text: String = random
        .iter()
        .map(|byte: &u8| char::from(letters[usize::from(byte % 32)]))
        .collect();
    Ok(format!("{}.{}", &text[..6], &text[6..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_store::settings::is_bootstrap_token;

    #[test]
    fn tokens_are_tokens_and_never_the_same() {
        let (one, other) = (token().expect("a token"), token().expect("a token"));
        assert!(is_bootstrap_token(one.as_bytes()), "{one}");
        assert_ne!(one, other);
    }

    #[test]
    fn the_rights_of_deploy_go_where_they_belong() {
        let objects = objects(&[TO_JOIN, TO_READ], "workshop").expect("they can be read");
        assert_eq!(objects.len(), 7);
        let paths: Vec<&str> = objects.iter().map(|(path, _)| path.as_str()).collect();
        assert!(
            paths.contains(&"/apis/rbac.authorization.k8s.io/v1/namespaces/workshop/roles/picolet-config")
        );
        assert!(paths.contains(&"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/picolet:bootstrap"));
        let groups = objects
            .iter()
            .filter(|(_, object)| object["subjects"][0]["name"] == GROUP);
        assert_eq!(groups.count(), 2);
    }

    #[test]
    fn lifetimes() {
        assert_eq!((lifetime("30m"), lifetime("2d")), (Ok(1800), Ok(172_800)));
        for wrong in [
            "",
            "h",
            "1",
            "1w",
            "-1h",
            "0h",
            "31d",
            "99999999999999999999d",
            "1\u{e4}",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
