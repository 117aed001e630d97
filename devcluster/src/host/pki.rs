//! The cluster's certificate authority, and the certificates of its members.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::net::IpAddr;
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
    fn new(certificate: &Certificate, key: &KeyPair) -> Self {
        Self {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate_der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        }
    }
}

impl core::fmt::Debug for Certified {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Certified")
            .field("certificate_pem", &self.certificate_pem)
            .finish_non_exhaustive()
    }
}

/// A certificate authority that lives as long as its cluster. Its keys are on P-256.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    ca: Certified,
    now: OffsetDateTime,
}

impl Pki {
    /// Makes an authority. Its certificates are valid from an hour before now, for a year.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new() -> Result<Self> {
        let now = OffsetDateTime::now_utc();
        let key = KeyPair::generate().context("cannot make the key of the certificate authority")?;
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
        let key = KeyPair::generate().with_context(|| format!("cannot make a key for {whose}"))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("cannot make a certificate for {whose}"))?;
        Ok(Certified::new(&certificate, &key))
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
