//! The cluster's certificate authority, and the certificates of its members.

use crate::sign::{Sign, Wanted};
use anyhow::{Context, Result, anyhow};
use picolet_tls::{Acceptor, Clients, Connector, P256Key, Time};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SanType,
    SignatureAlgorithm, SigningKey,
};
use std::net::{IpAddr, Ipv4Addr};
use time::{Duration, OffsetDateTime};

/// A certificate with its private key.
#[derive(Clone)]
pub struct Certified {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 in PEM.
    pub key_pem: String,
    /// The certificate, DER.
    pub certificate_der: Vec<u8>,
    /// The private key, PKCS#8 in DER.
    pub key_der: Vec<u8>,
}

impl Certified {
    fn new(certificate: &Certificate, key: &Key) -> Self {
        Self {
            certificate_pem: certificate.pem(),
            key_pem: key.secret.to_pem().to_string(),
            certificate_der: certificate.der().to_vec(),
            key_der: key.secret.to_pkcs8().to_vec(),
        }
    }

    /// As what TLS shows to its peers.
    fn identity(&self) -> Result<picolet_tls::Identity> {
        picolet_tls::Identity::from_pem(self.certificate_pem.as_bytes(), self.key_pem.as_bytes())
            .context("a certificate of our own making does not fit its key")
    }
}

impl core::fmt::Debug for Certified {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Certified")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// A key on P-256, made of the randomness that TLS has: where that is repeatable, so are all certificates.
struct Key {
    secret: P256Key,
    /// The uncompressed point (SEC 1), which ends the public key in DER.
    public: Vec<u8>,
}

impl Key {
    fn generate(whose: &str) -> Result<Self> {
        let secret =
            P256Key::generate().map_err(|error| anyhow!("cannot make a key for {whose}: {error}"))?;
        let der = secret.public_key_der();
        let public = der[der.len() - 65..].to_vec();
        Ok(Self { secret, public })
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.secret.sign(message).ok_or(rcgen::Error::RemoteKeyError)
    }
}

/// A certificate authority that lives as long as its cluster. Its keys are on P-256.
pub struct Pki {
    issuer: Issuer<'static, Key>,
    ca: Certified,
    now: OffsetDateTime,
}

impl Pki {
    /// Makes an authority. Its certificates are valid from an hour before now, for a year.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self> {
        Self::at(OffsetDateTime::now_utc())
    }

    /// As [`Pki::new`], at another time.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn at(now: OffsetDateTime) -> Result<Self> {
        let key = Key::generate("the certificate authority")?;
        let mut params = parameters("kubernetes", &[], now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let certificate = params
            .self_signed(&key)
            .context("cannot make the certificate authority")?;
        let ca = Certified::new(&certificate, &key);
        Ok(Self {
            issuer: Issuer::new(params, key),
            ca,
            now,
        })
    }

    /// The authority's certificate and key.
    pub fn ca(&self) -> &Certified {
        &self.ca
    }

    /// A client's certificate: `user` is its common name, `groups` are its organizations.
    ///
    /// # Errors
    /// When a name cannot be put into a certificate.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Certified> {
        let mut params = parameters(user, groups, self.now);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params, user)
    }

    /// The client certificate of the node `name`.
    ///
    /// # Errors
    /// When the name cannot be put into a certificate.
    pub fn node(&self, name: &str) -> Result<Certified> {
        self.client(&format!("system:node:{name}"), &["system:nodes"])
    }

    /// The certificate that the node `name` serves its own API with, at `addresses`.
    ///
    /// # Errors
    /// When the name cannot be put into a certificate.
    pub fn node_serving(&self, name: &str, addresses: &[IpAddr]) -> Result<Certified> {
        let mut params = parameters(&format!("system:node:{name}"), &["system:nodes"], self.now);
        self.serve(&mut params, &[name], addresses)
    }

    /// A server's certificate.
    ///
    /// # Errors
    /// When a name cannot be put into a certificate.
    pub fn server(&self, name: &str, dns_names: &[&str], addresses: &[IpAddr]) -> Result<Certified> {
        self.serve(&mut parameters(name, &[], self.now), dns_names, addresses)
    }

    /// Takes the connections of an API server at `addresses`, to which loopback and 10.0.2.2 (as which an emulated board
    /// sees its host) are added. Clients may show a certificate of this authority.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn acceptor(&self, addresses: &[IpAddr], time: impl Time + 'static) -> Result<Acceptor> {
        let names = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let mut all = vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2)),
        ];
        all.extend(addresses);
        all.sort_unstable();
        all.dedup();
        all.retain(|address| !address.is_unspecified());
        let server = self.server("kube-apiserver", &names, &all)?.identity()?;
        let clients = [self.ca.certificate_der.clone()];
        Acceptor::new(&server, Clients::Optional(&clients), time).context("cannot set up TLS")
    }

    /// Connects to kubelets as the API server, by the user that kubeadm names so.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn kubelet_connector(&self, time: impl Time + 'static) -> Result<Connector> {
        self.connector(
            &self.client("kube-apiserver-kubelet-client", &["system:masters"])?,
            time,
        )
    }

    /// Connects to kubelets as whom `client` certifies.
    ///
    /// # Errors
    /// When its key does not belong to its certificate, or there is no randomness.
    pub fn connector(&self, client: &Certified, time: impl Time + 'static) -> Result<Connector> {
        let roots = [self.ca.certificate_der.clone()];
        Connector::new(&roots, Some(&client.identity()?), time).context("cannot set up TLS towards kubelets")
    }

    /// Signs a node's request: whoever it names must be `system:node:…` of `system:nodes`.
    fn sign_request(&self, wanted: &Wanted<'_>) -> Result<String, String> {
        let mut request = CertificateSigningRequestParams::from_pem(wanted.request)
            .map_err(|error| format!("the request cannot be read: {error}"))?;
        let params = &mut request.params;
        let name = |kind: DnType| match params.distinguished_name.get(&kind) {
            Some(DnValue::Utf8String(text)) => text.clone(),
            Some(DnValue::PrintableString(text)) => text.as_str().to_owned(),
            _ => String::new(),
        };
        let (user, group) = (name(DnType::CommonName), name(DnType::OrganizationName));
        if group != "system:nodes" || !user.starts_with("system:node:") {
            return Err("subject organization is not system:nodes, or common name no system:node:".into());
        }
        if !wanted.user.is_empty() && wanted.user != user {
            return Err(format!("{} cannot have a certificate for {user}", wanted.user));
        }
        if wanted.serving == params.subject_alt_names.is_empty() {
            return Err("a serving certificate needs names or addresses, and a client's has none".into());
        }
        let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(wanted.now.0) * 1000)
            .map_err(|error| error.to_string())?;
        // As the signer backdates (`--cluster-signing-duration` counts from now).
        params.not_before = now - Duration::minutes(5);
        params.not_after = now + Duration::seconds(i64::try_from(wanted.life.as_secs()).unwrap_or(i64::MAX));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if wanted.serving {
            ExtendedKeyUsagePurpose::ServerAuth
        } else {
            ExtendedKeyUsagePurpose::ClientAuth
        }];
        let certificate = request
            .signed_by(&self.issuer)
            .map_err(|error| format!("it cannot be signed: {error}"))?;
        Ok(certificate.pem())
    }

    fn serve(
        &self,
        params: &mut CertificateParams,
        dns_names: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Certified> {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in dns_names {
            let name = (*name)
                .try_into()
                .with_context(|| format!("{name:?} is no name for a certificate"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        self.sign(params, "a server")
    }

    fn sign(&self, params: &CertificateParams, whose: &str) -> Result<Certified> {
        let key = Key::generate(whose)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot make a certificate for {whose}"))?;
        Ok(Certified::new(&certificate, &key))
    }
}

impl Sign for Pki {
    fn sign(&self, wanted: &Wanted<'_>) -> Result<String, String> {
        self.sign_request(wanted)
    }
}

fn parameters(name: &str, organizations: &[&str], now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for organization in organizations {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *organization);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(365);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}
