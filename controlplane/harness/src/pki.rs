//! Keys and certificates of a cluster: three authorities, the components, and any node that a test asks for.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// A certificate chain and its private key, both PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8.
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

impl Pki {
    /// Makes three new authorities in `directory`.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            cluster: Authority::create(directory, "ca", "kubernetes-ca")?,
            etcd: Authority::create(directory, "etcd-ca", "etcd-ca")?,
            front_proxy: Authority::create(directory, "front-proxy-ca", "front-proxy-ca")?,
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
        self.cluster
            .issue(&self.directory, name, subject, &Usage::Client, &[], &[], validity)
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
        self.cluster.issue(
            &self.directory,
            name,
            subject,
            &Usage::Server,
            dns,
            addresses,
            validity,
        )
    }

    pub(crate) fn etcd_server(&self, address: IpAddr) -> Result<Identity> {
        let subject = Subject {
            common_name: "etcd",
            organization: None,
        };
        self.etcd.issue(
            &self.directory,
            "etcd",
            subject,
            &Usage::Both,
            &["localhost"],
            &[address],
            Validity::default(),
        )
    }

    pub(crate) fn etcd_client(&self) -> Result<Identity> {
        let subject = Subject {
            common_name: "kube-apiserver-etcd-client",
            organization: None,
        };
        let name = "apiserver-etcd-client";
        self.etcd.issue(
            &self.directory,
            name,
            subject,
            &Usage::Client,
            &[],
            &[],
            Validity::default(),
        )
    }

    pub(crate) fn front_proxy_client(&self) -> Result<Identity> {
        let subject = Subject {
            common_name: "front-proxy-client",
            organization: None,
        };
        let name = "front-proxy-client";
        self.front_proxy.issue(
            &self.directory,
            name,
            subject,
            &Usage::Client,
            &[],
            &[],
            Validity::default(),
        )
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

impl Authority {
    fn create(directory: &Path, name: &str, common_name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = parameters(
            Subject {
                common_name,
                organization: None,
            },
            Validity::default(),
        );
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let certificate = parameters.self_signed(&key)?;
        let files = save(directory, name, &certificate.pem(), &key)?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            files,
        })
    }

    #[expect(clippy::too_many_arguments, reason = "these are the fields of a certificate")]
    fn issue(
        &self,
        directory: &Path,
        name: &str,
        subject: Subject<'_>,
        usage: &Usage,
        dns: &[&str],
        addresses: &[IpAddr],
        validity: Validity,
    ) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut parameters = parameters(subject, validity);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = match usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        for name in dns {
            let name = (*name)
                .try_into()
                .with_context(|| format!("{name:?} is not a DNS name"))?;
            parameters.subject_alt_names.push(SanType::DnsName(name));
        }
        parameters
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        save(directory, name, &certificate.pem(), &key)
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

fn save(directory: &Path, name: &str, certificate: &str, key: &KeyPair) -> Result<Identity> {
    let identity = Identity {
        certificate: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
    };
    write(&identity.certificate, certificate)?;
    write_private(&identity.key, &key.serialize_pem())?;
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
