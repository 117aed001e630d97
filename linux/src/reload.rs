//! Certificates that were given in files, read again when somebody has renewed them.
//!
//! The files are compared by content every few seconds: their times are coarse, and a mounted Secret is replaced by
//! changing a link. A certificate is never used with a key that does not belong to it. What cannot be used is reported once, and
//! the node goes on with what it has, even after that has expired.

use crate::certificate::Certificate;
use crate::files;
use crate::kubeconfig;
use crate::network::Tokio;
use anyhow::{Context, Result};
use picolet_kube::Timestamp;
use picolet_platform::{Clock, Purpose};
use picolet_tls::x509::certificates_from_pem;
use picolet_tls::{Connector, Identity};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How often files are read.
const INTERVAL: Duration = Duration::from_secs(10);

/// A certificate chain and its key, PEM.
#[derive(Clone)]
pub struct KeyPair {
    /// The certificate, with those above it.
    pub certificate: Vec<u8>,
    /// Its key, on P-256.
    pub key: Vec<u8>,
}

impl KeyPair {
    /// The first certificate of a chain in PEM.
    ///
    /// # Errors
    /// There is none, or it is malformed.
    pub(crate) fn certificate_in(chain: &[u8]) -> Result<Certificate> {
        let chain = certificates_from_pem(chain)?;
        Certificate::read(chain.first().context("there is no certificate")?)
    }

    /// The pair, checked as the one of `node` for `purpose`, and until when it is valid.
    ///
    /// # Errors
    /// It cannot be used: says why.
    fn checked(&self, purpose: Purpose, node: &str, now: Option<u64>) -> Result<(Identity, u64)> {
        let identity = Identity::from_pem(&self.certificate, &self.key)?;
        let certificate = Self::certificate_in(&self.certificate)?;
        match purpose {
            Purpose::Client => certificate.check_client(node, now)?,
            Purpose::Serving => certificate.check_serving(now)?,
        }
        Ok((identity, certificate.not_after()))
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        // The length keeps the two apart.
        digest.update(self.certificate.len().to_le_bytes());
        digest.update(&self.certificate);
        digest.update(&self.key);
        digest.finalize().into()
    }
}

/// Where a certificate and its key come from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// `--client-certificate` and `--client-key`, or `--serving-certificate` and `--serving-key`.
    Files {
        purpose: Purpose,
        certificate: PathBuf,
        key: PathBuf,
    },
    /// `--kubeconfig`, whose user has them or names their files.
    Kubeconfig(PathBuf),
}

impl Origin {
    fn purpose(&self) -> Purpose {
        match self {
            Self::Files { purpose, .. } => *purpose,
            Self::Kubeconfig(_) => Purpose::Client,
        }
    }

    /// Reads both.
    ///
    /// # Errors
    /// A file cannot be read; it is named.
    pub(crate) fn read(&self, node: &str) -> Result<KeyPair> {
        match self {
            Self::Files {
                purpose,
                certificate,
                key,
            } => {
                let read = |what: &str, path: &PathBuf| {
                    files::read(path)
                        .with_context(|| format!("--{}-{what} {}", purpose.as_str(), path.display()))
                };
                Ok(KeyPair {
                    certificate: read("certificate", certificate)?,
                    key: read("key", key)?,
                })
            }
            Self::Kubeconfig(path) => {
                let access = kubeconfig::read(path, node)?;
                Ok(KeyPair {
                    certificate: access.client_certificate,
                    key: access.client_key,
                })
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files {
                purpose, certificate, ..
            } => write!(f, "--{}-certificate {}", purpose.as_str(), certificate.display()),
            Self::Kubeconfig(path) => write!(f, "--kubeconfig {}", path.display()),
        }
    }
}

/// A pair in use, and what became of the files since.
pub(crate) struct Watched {
    origin: Origin,
    pair: KeyPair,
    not_after: u64,
    /// What was reported last: the content that cannot be used, or why it cannot be read.
    reported: Option<[u8; 32]>,
    expiry_reported: bool,
}

/// The file of the client CA, and what of it is in use.
pub(crate) struct WatchedAuthority {
    path: PathBuf,
    /// PEM.
    pem: Vec<u8>,
    /// What was reported last: the content that cannot be used, or why it cannot be read.
    reported: Option<[u8; 32]>,
}

impl WatchedAuthority {
    /// Watches the file `path`, which had the content `pem`.
    pub(crate) fn new(path: PathBuf, pem: Vec<u8>) -> Self {
        Self {
            path,
            pem,
            reported: None,
        }
    }

    /// What is in use, PEM.
    pub(crate) fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// Compares the file with what is in use. Returns what is new, in DER; or why it cannot be used, once.
    fn look(&mut self) -> Option<Result<Vec<Vec<u8>>>> {
        let read = files::read(&self.path);
        let digest = match &read {
            Ok(pem) if *pem == self.pem => {
                self.reported = None;
                return None;
            }
            Ok(pem) => Sha256::digest(pem).into(),
            Err(error) => Sha256::digest(error.to_string()).into(),
        };
        let checked = read.context("cannot be read").and_then(|pem| {
            let authorities = certificates_from_pem(&pem)?;
            Connector::new(&authorities, None, || None)?;
            Ok((pem, authorities))
        });
        match checked {
            Ok((pem, authorities)) => {
                self.pem = pem;
                self.reported = None;
                Some(Ok(authorities))
            }
            Err(error) => {
                let is_new = self.reported.replace(digest) != Some(digest);
                is_new.then_some(Err(error))
            }
        }
    }
}

/// What looking at the files has led to.
#[derive(Debug)]
enum Change {
    /// A new pair, to be shown, valid until then.
    Renewed(Identity, u64),
    /// Something to warn of.
    Unusable(anyhow::Error),
}

impl Watched {
    /// Watches the files of `pair`, which was read from `origin` and checked.
    ///
    /// # Errors
    /// The pair has no certificate.
    pub(crate) fn new(origin: Origin, pair: KeyPair) -> Result<Self> {
        let not_after = KeyPair::certificate_in(&pair.certificate)?.not_after();
        Ok(Self {
            origin,
            pair,
            not_after,
            reported: None,
            expiry_reported: false,
        })
    }

    /// What it is for.
    pub(crate) fn purpose(&self) -> Purpose {
        self.origin.purpose()
    }

    /// What is in use.
    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// Compares the files with what is in use.
    fn look(&mut self, node: &str, now: Option<u64>) -> Option<Change> {
        let read = self.origin.read(node);
        let digest = match &read {
            Ok(pair) if pair.digest() == self.pair.digest() => {
                self.reported = None;
                return None;
            }
            Ok(pair) => pair.digest(),
            Err(error) => Sha256::digest(format!("{error:#}")).into(),
        };
        // Each time, since a certificate that is not valid yet becomes so while its file stays the same.
        let checked = read.and_then(|pair| Ok((pair.checked(self.purpose(), node, now)?, pair)));
        match checked {
            Ok(((identity, not_after), pair)) => {
                self.pair = pair;
                self.not_after = not_after;
                self.reported = None;
                self.expiry_reported = false;
                Some(Change::Renewed(identity, not_after))
            }
            Err(error) => {
                let is_new = self.reported.replace(digest) != Some(digest);
                is_new.then_some(Change::Unusable(error))
            }
        }
    }

    /// Whether the certificate in use has expired and nobody was told yet.
    fn has_newly_expired(&mut self, now: Option<u64>) -> bool {
        let expired = now.is_some_and(|now| now > self.not_after);
        expired && !std::mem::replace(&mut self.expiry_reported, expired)
    }
}

/// Looks at the files for ever, and has the network show what is new in them.
pub(crate) async fn watch(
    node: &str,
    all: &mut [Watched],
    clients: &mut Option<WatchedAuthority>,
    network: &Tokio,
    clock: &impl Clock,
) {
    if all.is_empty() && clients.is_none() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = clock.now().map(picolet_platform::UnixMicros::seconds);
        for watched in &mut *all {
            let purpose = watched.purpose();
            let what = purpose.as_str();
            let change = watched.look(node, now);
            let origin = &watched.origin;
            match change {
                None => {}
                Some(Change::Renewed(identity, until)) => {
                    let until = Timestamp::from_seconds(until);
                    match network.replace(purpose, identity) {
                        Ok(()) => tracing::info!(
                            node,
                            "new {what} certificate from {origin}, valid until {}",
                            until.time()
                        ),
                        Err(error) => {
                            tracing::warn!(node, "new {what} certificate from {origin} not used: {error}")
                        }
                    }
                }
                Some(Change::Unusable(error)) => tracing::warn!(
                    node,
                    "new {what} certificate from {origin} not used, the old one stays in use: {error:#}"
                ),
            }
            if watched.has_newly_expired(now) {
                tracing::warn!(
                    node,
                    "the {what} certificate has expired: replace {}",
                    watched.origin
                );
            }
        }
        let Some(clients) = clients else { continue };
        let used = match clients.look() {
            None => continue,
            Some(Ok(authorities)) => network.trust_clients(authorities).map_err(Into::into),
            Some(Err(error)) => Err(error),
        };
        let file = clients.path.display();
        match used {
            Ok(()) => tracing::info!(node, "new client CA from --client-ca-file {file}"),
            Err(error) => tracing::warn!(
                node,
                "new client CA from --client-ca-file {file} not used, the old one stays in use: {error:#}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_devcluster::host::Pki;
    use std::path::Path;

    fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// A client certificate and its key, written to `crt` and `key` in `folder`.
    fn client_pair(folder: &Path, certificate: &str, key: &str) -> Watched {
        let origin = Origin::Files {
            purpose: Purpose::Client,
            certificate: put(folder, "crt", certificate),
            key: put(folder, "key", key),
        };
        let pair = origin.read("pico-1").expect("a pair");
        Watched::new(origin, pair).expect("a pair")
    }

    #[test]
    fn renewed_pair_is_taken_once_certificate_and_key_match() {
        let folder = tempfile::tempdir().expect("a directory");
        let pki = Pki::new().expect("an authority");
        let [old, new] = [(), ()].map(|()| pki.node("pico-1").expect("a certificate"));
        let mut watched = client_pair(folder.path(), &old.certificate_pem, &old.key_pem);
        let now = crate::clock::system().map(picolet_platform::UnixMicros::seconds);
        assert!(watched.look("pico-1", now).is_none(), "nothing has changed");

        // The certificate first: it is not mixed with the old key, and that is reported once.
        put(folder.path(), "crt", &new.certificate_pem);
        match watched.look("pico-1", now) {
            Some(Change::Unusable(error)) => {
                assert!(error.to_string().contains("does not belong"), "{error}")
            }
            other => panic!("{other:?}"),
        }
        assert!(watched.look("pico-1", now).is_none(), "it was reported");
        assert_eq!(watched.pair().certificate, old.certificate_pem.as_bytes());
        put(folder.path(), "key", &new.key_pem);
        match watched.look("pico-1", now) {
            Some(Change::Renewed(identity, until)) => {
                assert_eq!(identity.certificate(), &*new.certificate_der);
                assert!(Some(until) > now);
                assert!(!watched.has_newly_expired(now) && watched.has_newly_expired(Some(until + 1)));
                assert!(!watched.has_newly_expired(Some(until + 2)), "it was reported");
            }
            other => panic!("{other:?}"),
        }
        assert!(watched.look("pico-1", now).is_none());

        // Whatever else is put there is refused by the rules of the start.
        let admin = pki
            .client("kubernetes-admin", &["system:masters"])
            .expect("a certificate");
        put(folder.path(), "crt", &admin.certificate_pem);
        put(folder.path(), "key", &admin.key_pem);
        match watched.look("pico-1", now) {
            Some(Change::Unusable(error)) => {
                assert!(error.to_string().contains("kubernetes-admin"), "{error}")
            }
            other => panic!("{other:?}"),
        }
        std::fs::remove_file(folder.path().join("key")).expect("the file");
        assert!(matches!(watched.look("pico-1", now), Some(Change::Unusable(_))));
        assert!(watched.look("pico-1", now).is_none(), "it was reported");
        assert_eq!(watched.pair().certificate, new.certificate_pem.as_bytes());
    }

    #[test]
    fn client_ca_is_taken_once_its_file_is_complete() {
        let folder = tempfile::tempdir().expect("a directory");
        let [old, new] = [(), ()].map(|()| Pki::new().expect("an authority").ca().certificate_pem.clone());
        let path = put(folder.path(), "ca", &old);
        let mut watched = WatchedAuthority::new(path.clone(), old.clone().into_bytes());
        assert!(watched.look().is_none(), "nothing has changed");
        for broken in [
            "",
            &new[..new.len() / 2],
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            put(folder.path(), "ca", broken);
            assert!(watched.look().expect("a change").is_err(), "{broken}");
            assert!(watched.look().is_none(), "it was reported");
        }
        std::fs::remove_file(&path).expect("the file");
        assert!(watched.look().expect("a change").is_err());
        // Both, while clients change over.
        put(folder.path(), "ca", &(old + &new));
        assert_eq!(watched.look().expect("a change").expect("authorities").len(), 2);
        assert!(watched.look().is_none());
        put(folder.path(), "ca", &new);
        assert_eq!(watched.look().expect("a change").expect("authorities").len(), 1);
        assert_eq!(watched.pem(), new.as_bytes());
    }

    #[test]
    fn renewed_pair_is_taken_once_it_is_valid() {
        let folder = tempfile::tempdir().expect("a directory");
        let pki = Pki::new().expect("an authority");
        let [old, new] = [(), ()].map(|()| pki.node("pico-1").expect("a certificate"));
        let mut watched = client_pair(folder.path(), &old.certificate_pem, &old.key_pem);
        put(folder.path(), "crt", &new.certificate_pem);
        put(folder.path(), "key", &new.key_pem);
        // By this machine's clock, which is behind, it is not valid yet.
        let early = Some(1_000_000_000);
        match watched.look("pico-1", early) {
            Some(Change::Unusable(error)) => {
                assert!(error.to_string().contains("not valid before"), "{error}")
            }
            other => panic!("{other:?}"),
        }
        assert!(watched.look("pico-1", early).is_none(), "it was reported");
        let now = crate::clock::system().map(picolet_platform::UnixMicros::seconds);
        assert!(matches!(watched.look("pico-1", now), Some(Change::Renewed(..))));
        assert_eq!(watched.pair().certificate, new.certificate_pem.as_bytes());
    }
}
