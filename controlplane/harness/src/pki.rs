//! Keys and certificates of a cluster: three authorities, the components, and any node that a test asks for.
//!
//! What a node meets has keys as kubeadm makes them, RSA of 2048 bits: the cluster's authority, the API server, and who calls nodes.
//! All else has P-256, which takes no time to make, and which is what a node's own keys are.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use getrandom::SysRng;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, LineEnding};
use rsa::rand_core::UnwrapErr;
use time::{Duration, OffsetDateTime};

/// A certificate chain and its private key, both PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, or PKCS#1 if it is an RSA key, as kubeadm writes it.
    pub key: PathBuf,
}

/// Who a certificate speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user: for Kubernetes, the common name.
    pub common_name: &'a str,
    /// The group: for Kubernetes, the organization.
    pub organization: Option<&'a str>,
}

/// When a certificate is valid, relative to now.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Start, seconds from now.
    pub from_seconds: i64,
    /// End, seconds from now.
    pub until_seconds: i64,
}

impl Default for Validity {
    /// From an hour ago for one year.
    fn default() -> Self {
        Self {
            from_seconds: -3600,
            until_seconds: 365 * 86_400,
        }
    }
}

/// The authorities of one cluster and the folder that holds what they signed.
pub struct Pki {
    directory: PathBuf,
    cluster: Authority,
    etcd: Authority,
    front_proxy: Authority,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    files: Identity,
}

/// What a certificate may be used for.
enum Usage {
    Client,
    Server,
    Both,
}

/// What a key is made for.
#[derive(Clone, Copy)]
enum Algorithm {
    P256,
    /// 2048 bits.
    Rsa,
}

/// A private key, and how it is written.
struct Key {
    pair: KeyPair,
    pem: String,
}

/// A certificate to be issued, as files that begin with `name`.
struct Leaf<'a> {
    name: &'a str,
    subject: Subject<'a>,
    usage: Usage,
    algorithm: Algorithm,
    dns: &'a [&'a str],
    addresses: &'a [IpAddr],
    validity: Validity,
}

impl<'a> Leaf<'a> {
    /// One for a client, with a key of P-256.
    fn client(name: &'a str, subject: Subject<'a>) -> Self {
        Self {
            name,
            subject,
            usage: Usage::Client,
            algorithm: Algorithm::P256,
            dns: &[],
            addresses: &[],
            validity: Validity::default(),
        }
    }
}

impl Pki {
    /// Makes three new authorities in `directory`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            cluster: Authority::create(directory, "ca", "kubernetes-ca", Algorithm::Rsa)?,
            etcd: Authority::create(directory, "etcd-ca", "etcd-ca", Algorithm::P256)?,
            front_proxy: Authority::create(directory, "front-proxy-ca", "front-proxy-ca", Algorithm::P256)?,
            directory: directory.into(),
        })
    }

    /// Returns the file with the certificate of the cluster's authority.
    #[must_use]
    pub fn certificate_authority(&self) -> &Path {
        &self.cluster.files.certificate
    }

    pub(crate) fn cluster_authority(&self) -> &Identity {
        &self.cluster.files
    }

    pub(crate) fn etcd_authority(&self) -> &Path {
        &self.etcd.files.certificate
    }

    pub(crate) fn front_proxy_authority(&self) -> &Path {
        &self.front_proxy.files.certificate
    }

    /// Issues a client certificate of the cluster's authority, as files that begin with `name`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn client(&self, name: &str, subject: Subject<'_>, validity: Validity) -> Result<Identity> {
        let leaf = Leaf::client(name, subject);
        self.cluster.issue(&self.directory, Leaf { validity, ..leaf })
    }

    /// The same with an RSA key, valid for a year.
    pub(crate) fn rsa_client(&self, name: &str, subject: Subject<'_>) -> Result<Identity> {
        let leaf = Leaf {
            algorithm: Algorithm::Rsa,
            ..Leaf::client(name, subject)
        };
        self.cluster.issue(&self.directory, leaf)
    }

    /// Issues a serving certificate of the cluster's authority, as files that begin with `name`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written or a DNS name is none.
    pub fn server(
        &self,
        name: &str,
        subject: Subject<'_>,
        dns: &[&str],
        addresses: &[IpAddr],
        validity: Validity,
    ) -> Result<Identity> {
        let leaf = Leaf {
            usage: Usage::Server,
            dns,
            addresses,
            validity,
            ..Leaf::client(name, subject)
        };
        self.cluster.issue(&self.directory, leaf)
    }

    /// The same with an RSA key, valid for a year.
    pub(crate) fn rsa_server(
        &self,
        name: &str,
        subject: Subject<'_>,
        dns: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Identity> {
        let leaf = Leaf {
            usage: Usage::Server,
            algorithm: Algorithm::Rsa,
            dns,
            addresses,
            ..Leaf::client(name, subject)
        };
        self.cluster.issue(&self.directory, leaf)
    }

    pub(crate) fn etcd_server(&self, address: IpAddr) -> Result<Identity> {
        let subject = Subject {
            common_name: "etcd",
            organization: None,
        };
        let leaf = Leaf {
            usage: Usage::Both,
            dns: &["localhost"],
            addresses: &[address],
            ..Leaf::client("etcd", subject)
        };
        self.etcd.issue(&self.directory, leaf)
    }

    pub(crate) fn etcd_client(&self) -> Result<Identity> {
        let subject = Subject {
            common_name: "kube-apiserver-etcd-client",
            organization: None,
        };
        let leaf = Leaf::client("apiserver-etcd-client", subject);
        self.etcd.issue(&self.directory, leaf)
    }

    pub(crate) fn front_proxy_client(&self) -> Result<Identity> {
        let subject = Subject {
            common_name: "front-proxy-client",
            organization: None,
        };
        let leaf = Leaf::client("front-proxy-client", subject);
        self.front_proxy.issue(&self.directory, leaf)
    }

    /// Makes a key pair for service account tokens and returns the files of the private and the public key.
    pub(crate) fn service_account_keys(&self) -> Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let (private, public) = (self.directory.join("sa.key"), self.directory.join("sa.pub"));
        write_private(&private, &key.serialize_pem())?;
        write(&public, &key.public_key_pem())?;
        Ok((private, public))
    }
}

impl Key {
    fn generate(algorithm: Algorithm) -> Result<Self> {
        match algorithm {
            Algorithm::P256 => {
                let pair = KeyPair::generate()?;
                let pem = pair.serialize_pem();
                Ok(Self { pair, pem })
            }
            // rcgen signs with such a key, and cannot make one.
            Algorithm::Rsa => {
                let key = RsaPrivateKey::new(&mut UnwrapErr(SysRng), 2048)?;
                Ok(Self {
                    pair: key.to_pkcs8_der()?.as_bytes().try_into()?,
                    pem: key.to_pkcs1_pem(LineEnding::LF)?.to_string(),
                })
            }
        }
    }
}

impl Authority {
    fn create(directory: &Path, name: &str, common_name: &str, algorithm: Algorithm) -> Result<Self> {
        let key = Key::generate(algorithm)?;
        let mut parameters = parameters(
            Subject {
                common_name,
                organization: None,
            },
            Validity::default(),
        );
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let certificate = parameters.self_signed(&key.pair)?;
        let files = save(directory, name, &certificate.pem(), &key)?;
        Ok(Self {
            issuer: Issuer::new(parameters, key.pair),
            files,
        })
    }

    fn issue(&self, directory: &Path, leaf: Leaf<'_>) -> Result<Identity> {
        let key = Key::generate(leaf.algorithm)?;
        let mut parameters = parameters(leaf.subject, leaf.validity);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = match leaf.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        for name in leaf.dns {
            let name = (*name)
                .try_into()
                .with_context(|| format!("{name:?} is not a DNS name"))?;
            parameters.subject_alt_names.push(SanType::DnsName(name));
        }
        parameters
            .subject_alt_names
            .extend(leaf.addresses.iter().copied().map(SanType::IpAddress));
        let certificate = parameters.signed_by(&key.pair, &self.issuer)?;
        save(directory, leaf.name, &certificate.pem(), &key)
    }
}

fn parameters(subject: Subject<'_>, validity: Validity) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    if let Some(organization) = subject.organization {
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    parameters
        .distinguished_name
        .push(DnType::CommonName, subject.common_name);
    let now = OffsetDateTime::now_utc();
    parameters.not_before = now + Duration::seconds(validity.from_seconds);
    parameters.not_after = now + Duration::seconds(validity.until_seconds);
    parameters
}

fn save(directory: &Path, name: &str, certificate: &str, key: &Key) -> Result<Identity> {
    let identity = Identity {
        certificate: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
    };
    write(&identity.certificate, certificate)?;
    write_private(&identity.key, &key.pem)?;
    Ok(identity)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests on a cluster count on it: a node meets RSA keys and P-256 ones.
    #[test]
    fn keys_are_as_kubeadm_makes_them_where_nodes_meet_them() {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::create(directory.path()).unwrap();
        let subject = Subject {
            common_name: "somebody",
            organization: None,
        };
        let begin = |path: &Path| {
            fs::read_to_string(path)
                .unwrap()
                .lines()
                .next()
                .unwrap()
                .to_owned()
        };
        let rsa = "-----BEGIN RSA PRIVATE KEY-----";
        assert_eq!(begin(&pki.cluster_authority().key), rsa);
        assert_eq!(begin(&pki.rsa_client("a", subject).unwrap().key), rsa);
        assert_eq!(
            begin(&pki.rsa_server("b", subject, &["b"], &[]).unwrap().key),
            rsa
        );
        let other = pki.client("c", subject, Validity::default()).unwrap();
        assert_eq!(begin(&other.key), "-----BEGIN PRIVATE KEY-----");
    }
}
