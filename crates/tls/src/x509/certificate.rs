//! What a certificate says.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Tag, Tagged};
use x509_cert::Certificate;
use x509_cert::attr::AttributeValue;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// id-at-commonName and id-at-organizationName (RFC 5280, appendix A.1).
pub(super) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(super) const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// The parts of a certificate that a node has to know. They are only as trustworthy as whoever verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject's (last) common name: for Kubernetes, the user.
    pub common_name: Option<String>,
    /// The subject's organizations: for Kubernetes, the groups.
    pub organizations: Vec<String>,
    /// The first second of its validity, in Unix seconds.
    pub not_before: u64,
    /// The last second of its validity, in Unix seconds.
    pub not_after: u64,
    /// The DNS names that it is for.
    pub dns_names: Vec<String>,
    /// The addresses that it is for.
    pub ip_addresses: Vec<IpAddr>,
}

impl CertificateInfo {
    /// Reads a certificate in DER. What it allocates is bounded by the length of `der`.
    ///
    /// # Errors
    /// When it is not an X.509 certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, MalformedCertificate> {
        let certificate = Certificate::from_der(der).map_err(|_| MalformedCertificate)?;
        let certificate = certificate.tbs_certificate();
        let validity = certificate.validity();
        let mut info = Self {
            common_name: None,
            organizations: Vec::new(),
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
        };
        for attribute in certificate.subject().iter() {
            match attribute.oid {
                COMMON_NAME => info.common_name = Some(text(&attribute.value)?),
                ORGANIZATION => info.organizations.push(text(&attribute.value)?),
                _ => {}
            }
        }
        let names: Option<(bool, SubjectAltName)> =
            certificate.get_extension().map_err(|_| MalformedCertificate)?;
        for name in names.map(|(_, names)| names.0).unwrap_or_default() {
            match name {
                GeneralName::DnsName(name) => info.dns_names.push(name.as_str().into()),
                GeneralName::IpAddress(bytes) => {
                    let bytes = bytes.as_bytes();
                    let address = <[u8; 4]>::try_from(bytes)
                        .map(IpAddr::from)
                        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
                    info.ip_addresses.push(address.map_err(|_| MalformedCertificate)?);
                }
                _ => {}
            }
        }
        Ok(info)
    }
}

/// A `DirectoryString`, in whichever of its string types.
fn text(value: &AttributeValue) -> Result<String, MalformedCertificate> {
    match value.tag() {
        Tag::PrintableString => PrintableStringRef::try_from(value).map(|text| text.as_str().into()),
        Tag::Utf8String => Utf8StringRef::try_from(value).map(|text| text.as_str().into()),
        Tag::Ia5String => Ia5StringRef::try_from(value).map(|text| text.as_str().into()),
        Tag::TeletexString => TeletexStringRef::try_from(value).map(|text| text.as_str().into()),
        _ => return Err(MalformedCertificate),
    }
    .map_err(|_| MalformedCertificate)
}

/// The bytes are not an X.509 certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedCertificate;

impl fmt::Display for MalformedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is not an X.509 certificate")
    }
}

impl core::error::Error for MalformedCertificate {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair};

    #[test]
    fn reads_what_a_node_needs() {
        let mut parameters =
            CertificateParams::new(vec!["pico-1".into(), "10.0.0.5".into(), "fd00::5".into()]).unwrap();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "system:node:pico-1");
        let organization = DnValue::PrintableString("system:nodes".try_into().unwrap());
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        parameters.not_before = time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        // From 2050 on dates are written in another form.
        parameters.not_after = time::OffsetDateTime::from_unix_timestamp(2_700_000_000).unwrap();
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let info = CertificateInfo::from_der(certificate.der()).unwrap();
        assert_eq!(
            info,
            CertificateInfo {
                common_name: Some("system:node:pico-1".into()),
                organizations: vec!["system:nodes".into()],
                not_before: 1_700_000_000,
                not_after: 2_700_000_000,
                dns_names: vec!["pico-1".into()],
                ip_addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            }
        );
    }

    #[test]
    fn refuses_a_certificate_cut_anywhere() {
        let certificate = CertificateParams::new(vec!["a".into()])
            .unwrap()
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap();
        for end in 0..certificate.der().len() {
            assert_eq!(
                CertificateInfo::from_der(&certificate.der()[..end]),
                Err(MalformedCertificate)
            );
        }
    }
}
