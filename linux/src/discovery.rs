//! The authority of a cluster, found by the hash of its public key.
//!
//! kubeadm publishes a cluster's authority to everybody, as the ConfigMap `cluster-info` in `kube-public`. Whoever
//! answers at an address can show any; the hash that `kubeadm token create --print-join-command` prints says which is
//! right (`cmd/kubeadm/app/util/pubkeypin` of Kubernetes). Nothing is told to a server before.

use crate::client::{Client, NoServer};
use crate::kubeconfig;
use anyhow::{Context, Result, bail};
use picolet_tls::x509::{certificates_from_pem, pem};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

#[derive(Deserialize)]
struct ClusterInfo {
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// SHA-256 over the SubjectPublicKeyInfo of an authority's certificate, written as `sha256:` and 64 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", base16ct::lower::encode_string(&self.0))
    }
}

impl std::str::FromStr for KeyHash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let what = "write it as sha256: and 64 hexadecimal digits, as kubeadm token create --print-join-command prints it";
        let digits = text.strip_prefix("sha256:").ok_or(what)?;
        let mut hash = [0; 32];
        match base16ct::mixed::decode(digits, &mut hash) {
            Ok(whole) if whole.len() == 32 => Ok(Self(hash)),
            _ => Err(what),
        }
    }
}

impl KeyHash {
    fn of(der: &[u8]) -> Result<Self> {
        let certificate = Certificate::from_der(der).context("a certificate cannot be read")?;
        let key = certificate.tbs_certificate().subject_public_key_info().to_der()?;
        Ok(Self(Sha256::digest(key).into()))
    }
}

/// Those of the certificates in `authority` (PEM) that one of the hashes is of, in PEM.
pub(crate) fn matching(authority: &[u8], hashes: &[KeyHash]) -> Result<Vec<u8>> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    for der in certificates_from_pem(authority)? {
        let hash = KeyHash::of(&der)?;
        if hashes.contains(&hash) {
            found.extend(pem("CERTIFICATE", &der).into_bytes());
        } else {
            others.push(hash.to_string());
        }
    }
    if found.is_empty() {
        bail!(
            "--discovery-token-ca-cert-hash: the authority that the server shows has the hash {}. Either the hash is \
             another cluster's, or somebody stands between; kubeadm token create --print-join-command prints the right one",
            others.join(", ")
        );
    }
    Ok(found)
}

/// Asks the servers of a cluster in order until one answers.
///
/// # Errors
/// When none does: what became of each.
pub fn ask_in_turn<'a, T>(servers: &'a [String], mut ask: impl FnMut(&'a str) -> Result<T>) -> Result<T> {
    let mut failures = Vec::new();
    for server in servers {
        match ask(server) {
            Ok(answer) => return Ok(answer),
            Err(error) => failures.push(error),
        }
    }
    match failures.len() {
        0 => bail!("no API server: pass --server URL"),
        1 => Err(failures.remove(0)),
        _ => Err(NoServer(failures).into()),
    }
}

/// Asks the servers of a cluster for its authority (PEM), and believes it by one of the hashes.
pub fn authority(servers: &[String], hashes: &[KeyHash]) -> Result<Vec<u8>> {
    ask_in_turn(servers, |server| authority_of(server, hashes))
}

fn authority_of(server: &str, hashes: &[KeyHash]) -> Result<Vec<u8>> {
    let shown: ClusterInfo = Client::anonymous(server, None)?.get(CLUSTER_INFO).with_context(|| {
        format!("{server} shows no cluster-info; give --certificate-authority in place of --discovery-token-ca-cert-hash")
    })?;
    let config = shown.data.get("kubeconfig").map_or("", String::as_str);
    let authority =
        kubeconfig::first_authority(config).with_context(|| format!("cluster-info of {server}"))?;
    let authority = matching(&authority, hashes)?;
    // Whoever has shown it is now to prove to be that cluster.
    Client::anonymous(server, Some(&authority))?
        .get::<ClusterInfo>(CLUSTER_INFO)
        .with_context(|| format!("{server} is not of the cluster whose authority it shows"))?;
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::may_heal;
    use rcgen::{CertificateParams, KeyPair, PublicKeyData};

    #[test]
    fn servers_are_asked_in_turn_when_the_first_does_not_answer() {
        let servers = [
            "https://127.0.0.1:1",
            "https://127.0.0.1:2",
            "https://127.0.0.1:3",
        ]
        .map(String::from);
        let mut asked = Vec::new();
        let found = ask_in_turn(&servers, |server| {
            asked.push(server);
            match server.ends_with(":2") {
                true => Ok(server),
                false => Err(anyhow::anyhow!("{server} does not answer")),
            }
        });
        assert_eq!(found.expect("the second one answers"), servers[1]);
        assert_eq!(asked, servers[..2]);
        // Nobody listens at these ports.
        let none = authority(&servers, &[]).expect_err("nobody answers");
        let text = format!("{none:#}");
        assert!(
            servers.iter().all(|server| text.contains(server.as_str())),
            "{text}"
        );
    }

    #[test]
    fn servers_are_asked_again_when_one_of_them_may_answer_later() {
        // Nobody listens at the first port, and the second is no URL.
        let servers = ["https://127.0.0.1:1", "https://a b"].map(String::from);
        let none = authority(&servers, &[]).expect_err("nobody answers");
        assert!(may_heal(&none), "{none:#}");
        let wrong = ["https://a b", "https://c d"].map(String::from);
        let none = authority(&wrong, &[]).expect_err("nobody can be asked");
        assert!(!may_heal(&none), "{none:#}");
    }

    #[test]
    fn an_authority_is_known_by_the_hash_of_its_key() {
        let make = || {
            let key = KeyPair::generate().expect("a key");
            let certificate = CertificateParams::default()
                .self_signed(&key)
                .expect("a certificate");
            let hash = KeyHash(Sha256::digest(key.subject_public_key_info()).into());
            (certificate.pem(), hash)
        };
        let ((one, hash), (other, other_hash)) = (make(), make());
        let both = format!("{one}{other}");
        let found = matching(both.as_bytes(), &[hash]).expect("it is there");
        let same = certificates_from_pem(&found).expect("PEM");
        assert_eq!(same, certificates_from_pem(one.as_bytes()).expect("PEM"));
        let refused = matching(other.as_bytes(), &[hash])
            .expect_err("another key")
            .to_string();
        assert!(refused.contains(&other_hash.to_string()), "{refused}");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in [
            "",
            "sha256:",
            "sha256:00",
            &format!("md5:{hash}"),
            &format!("{hash}0"),
            &hash.to_string().replace(':', ": "),
        ] {
            assert!(wrong.parse::<KeyHash>().is_err(), "{wrong}");
        }
    }
}
