//! Whether a certificate is the one that a node needs: the same rules for `picolet run`, `picolet provision` and
//! kubeconfigs, and for files that are replaced while the node runs.
//!
//! A node has the rights of the certificate that it shows. With an administrator's it would be a node with every right in the
//! cluster, on a board that anybody can pick up.

use anyhow::{Context, Result, bail, ensure};
use picolet_kube::Timestamp;
use picolet_tls::node_user;
use picolet_tls::x509::CertificateInfo;
use std::net::IpAddr;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

/// The one group of nodes (`k8s.io/apiserver`, `user.NodesGroup`).
const NODES: &str = "system:nodes";
/// `id-kp-clientAuth` and `id-kp-serverAuth` of RFC 5280, section 4.2.1.12.
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// A certificate that was read and not judged yet.
pub struct Certificate {
    info: CertificateInfo,
    /// What it may be used for; empty where it does not say.
    purposes: Vec<ObjectIdentifier>,
    /// Whether its key may sign handshakes.
    signs: bool,
}

impl Certificate {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is malformed.
    pub fn read(der: &[u8]) -> Result<Self> {
        let info = CertificateInfo::from_der(der)?;
        let parsed = X509::from_der(der).context("malformed certificate")?;
        let fields = parsed.tbs_certificate();
        let purposes = fields
            .get_extension::<ExtendedKeyUsage>()
            .context("malformed extended key usage")?;
        let usage = fields
            .get_extension::<KeyUsage>()
            .context("malformed key usage")?;
        Ok(Self {
            info,
            purposes: purposes.map_or_else(Vec::new, |(_, purposes)| purposes.0),
            signs: usage.is_none_or(|(_, usage)| usage.digital_signature()),
        })
    }

    /// The last second of its validity, in Unix seconds.
    pub fn not_after(&self) -> u64 {
        self.info.not_after
    }

    /// Whether it is for `address`.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.info.ip_addresses.contains(&address)
    }

    /// Checks that it is the client certificate of `node`: `CN=system:node:NODE, O=system:nodes` and no other group, valid `now` (Unix
    /// seconds; unchecked where the time is unknown), for client authentication.
    ///
    /// # Errors
    /// Says what is wrong, and the remedy.
    pub fn check_client(&self, node: &str, now: Option<u64>) -> Result<()> {
        let user = self.info.common_name.as_deref().unwrap_or_default();
        let groups = &self.info.organizations;
        if let Some(name) = user.strip_prefix(node_user("").as_str())
            && name != node
        {
            bail!(
                "it is the certificate of the node {name}: pass --node-name {name}, or give the certificate of {node}"
            );
        }
        if user != node_user(node) || groups.iter().ne([NODES]) {
            let organizations: Vec<String> = groups.iter().map(|group| format!("O={group}")).collect();
            bail!(
                "it belongs to {} ({}), not to the node {node}: join with --token, or give a certificate of exactly \
                 CN=system:node:{node}, O={NODES}",
                if user.is_empty() { "nobody" } else { user },
                if groups.is_empty() {
                    "no O".to_owned()
                } else {
                    organizations.join(", ")
                },
            );
        }
        self.check_use(CLIENT_AUTH, "client authentication (clientAuth)")?;
        self.check_time(now)
    }

    /// Checks that it can be shown to clients of the kubelet API: valid `now` (Unix seconds; unchecked where the time is unknown), for server
    /// authentication.
    ///
    /// # Errors
    /// Says what is wrong, and the remedy.
    pub fn check_serving(&self, now: Option<u64>) -> Result<()> {
        self.check_use(SERVER_AUTH, "server authentication (serverAuth)")?;
        self.check_time(now)
    }

    fn check_use(&self, purpose: ObjectIdentifier, what: &str) -> Result<()> {
        ensure!(
            self.purposes.contains(&purpose),
            "its extended key usage does not include {what}: have one issued that does"
        );
        ensure!(
            self.signs,
            "its key usage does not include digital signatures, which TLS 1.3 needs: have one issued that does"
        );
        Ok(())
    }

    fn check_time(&self, now: Option<u64>) -> Result<()> {
        let Some(now) = now else { return Ok(()) };
        let time = |seconds| Timestamp::from_seconds(seconds);
        let (first, last) = (self.info.not_before, self.info.not_after);
        ensure!(
            now <= last,
            "it has expired at {}: get a new one",
            time(last).time()
        );
        ensure!(
            now >= first,
            "it is not valid before {}: check the clock of this machine, or get another one",
            time(first).time()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose as Purpose, KeyPair, KeyUsagePurpose};

    fn certificate(user: &str, groups: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, user);
        params.extended_key_usages = vec![Purpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        for (n, group) in groups.iter().enumerate() {
            // A subject of rcgen has one attribute of a kind; another one of the same identifier has to be custom.
            let kind = match n {
                0 => DnType::OrganizationName,
                _ => DnType::CustomDnType(vec![2, 5, 4, 10]),
            };
            params.distinguished_name.push(kind, *group);
        }
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        Certificate::read(params.self_signed(&key).expect("a certificate").der()).expect("a certificate")
    }

    /// 2025-01-01.
    const NOW: Option<u64> = Some(1_735_689_600);

    #[test]
    fn only_the_nodes_own_client_certificate_is_accepted() {
        let node = "system:node:pico-1";
        let same = |_: &mut CertificateParams| {};
        certificate(node, &[NODES], same)
            .check_client("pico-1", NOW)
            .expect("a node's");
        certificate(node, &[NODES], |params| params.key_usages.clear())
            .check_client("pico-1", None)
            .expect("without a key usage");
        let refused = |certificate: Certificate, words: &str| {
            let error = certificate.check_client("pico-1", NOW).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
        };
        let with = |change: fn(&mut CertificateParams)| certificate(node, &[NODES], change);
        refused(
            certificate("kubernetes-admin", &["system:masters"], same),
            "belongs to kubernetes-admin (O=system:masters)",
        );
        refused(certificate("", &[NODES], same), "belongs to nobody");
        refused(certificate(node, &[], same), "no O");
        refused(certificate(node, &["system:masters"], same), "O=system:masters");
        refused(
            certificate(node, &[NODES, "system:masters"], same),
            "O=system:nodes, O=system:masters",
        );
        refused(certificate(node, &[NODES, NODES], same), "exactly");
        refused(certificate("pico-1", &[NODES], same), "belongs to pico-1");
        refused(
            certificate("system:node:pico-2", &[NODES], same),
            "--node-name pico-2",
        );
        refused(with(|params| params.extended_key_usages.clear()), "clientAuth");
        refused(
            with(|params| params.extended_key_usages = vec![Purpose::ServerAuth]),
            "clientAuth",
        );
        refused(
            with(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            "digital signatures",
        );
        refused(
            with(|params| params.not_after = rcgen::date_time_ymd(2024, 12, 31)),
            "expired at 2024-12-31",
        );
        refused(
            with(|params| params.not_before = rcgen::date_time_ymd(2025, 1, 2)),
            "not valid before 2025-01-02",
        );
    }

    #[test]
    fn serving_certificate_is_refused_when_it_is_for_clients_or_expired() {
        let with = |change: fn(&mut CertificateParams)| certificate("anything", &[], change);
        let serving = with(|params| params.extended_key_usages = vec![Purpose::ServerAuth]);
        serving.check_serving(NOW).expect("a server's");
        assert!(serving.check_serving(Some(1_900_000_000)).is_err());
        let error = with(|_| {}).check_serving(NOW).expect_err("a client's");
        assert!(error.to_string().contains("serverAuth"), "{error}");
    }
}
