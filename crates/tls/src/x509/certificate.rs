//! What a certificate says.
//!
//! Only the few fields that a node needs are looked at, with der's reader and without x509-cert's structures: those
//! are 64 KB on the chip (tests use them to check this).

use super::encoding::{Fields, context_constructed, split};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, UtcTime};
use der::{Tag, Tagged};

/// The tag of `TBSCertificate`'s version.
const VERSION: u8 = context_constructed(0);

/// id-at-commonName and id-at-organizationName (RFC 5280, appendix A.1), id-ce-subjectAltName (section 4.2.1.6).
const COMMON_NAME: &[u8] = ObjectIdentifier::new_unwrap("2.5.4.3").as_bytes();
const ORGANIZATION: &[u8] = ObjectIdentifier::new_unwrap("2.5.4.10").as_bytes();
/// `X509UID` of Kubernetes 1.36 (`apimachinery/pkg/apis/asn1/oid.go`).
const UID: &[u8] = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57683.2").as_bytes();
const SUBJECT_ALT_NAME: &[u8] = ObjectIdentifier::new_unwrap("2.5.29.17").as_bytes();

/// The parts of a certificate that a node has to know. They are only as trustworthy as whoever verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject's (last) common name: for Kubernetes, the user.
    pub common_name: Option<String>,
    /// The subject's organizations: for Kubernetes, the groups.
    pub organizations: Vec<String>,
    /// The subject's identifiers in Kubernetes (1.3.6.1.4.1.57683.2), of which a user has one at most.
    pub uids: Vec<String>,
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
        read(der).ok_or(MalformedCertificate)
    }
}

/// The `SubjectPublicKeyInfo` of a certificate of any version, with any extensions.
pub(crate) fn public_key(der: &[u8]) -> Option<&[u8]> {
    let mut rest = Fields::only(der, Tag::Sequence)?.expect(Tag::Sequence)?.value();
    // A certificate of version 1 does not say so.
    let before = if rest.first() == Some(&VERSION) { 6 } else { 5 };
    for _ in 0..before {
        rest = split(rest)?.1;
    }
    Some(split(rest)?.0)
}

/// `Certificate` of RFC 5280, section 4.1.
fn read(der: &[u8]) -> Option<CertificateInfo> {
    let mut certificate = Fields::only(der, Tag::Sequence)?;
    let mut fields = certificate.nested(Tag::Sequence)?;
    certificate.nested(Tag::Sequence)?; // signatureAlgorithm
    certificate.expect(Tag::BitString)?; // signature
    certificate.end()?;

    fields.tagged(0); // version
    fields.expect(Tag::Integer)?; // serialNumber
    fields.expect(Tag::Sequence)?; // signature
    fields.expect(Tag::Sequence)?; // issuer
    let mut validity = fields.nested(Tag::Sequence)?;
    let mut info = CertificateInfo {
        common_name: None,
        organizations: Vec::new(),
        uids: Vec::new(),
        not_before: time(validity.any()?)?,
        not_after: time(validity.any()?)?,
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
    };
    validity.end()?;
    subject(fields.nested(Tag::Sequence)?, &mut info)?;
    fields.expect(Tag::Sequence)?; // subjectPublicKeyInfo
    fields.tagged(1); // issuerUniqueID
    fields.tagged(2); // subjectUniqueID
    if let Some(extensions) = fields.tagged(3) {
        let mut extensions = Fields::only(extensions.value(), Tag::Sequence)?;
        while !extensions.is_empty() {
            let mut extension = extensions.nested(Tag::Sequence)?;
            let kind = extension.identifier()?;
            if extension.peek() == Some(Tag::Boolean) {
                extension.any()?; // critical
            }
            let value = extension.expect(Tag::OctetString)?;
            extension.end()?;
            if kind == SUBJECT_ALT_NAME {
                names(Fields::only(value.value(), Tag::Sequence)?, &mut info)?;
            }
        }
    }
    fields.end()?;
    Some(info)
}

/// `Name`: a sequence of sets of attributes.
fn subject(mut sets: Fields<'_>, info: &mut CertificateInfo) -> Option<()> {
    while !sets.is_empty() {
        let mut attributes = sets.nested(Tag::Set)?;
        while !attributes.is_empty() {
            let mut attribute = attributes.nested(Tag::Sequence)?;
            let kind = attribute.identifier()?;
            let value = attribute.any()?;
            attribute.end()?;
            match kind {
                COMMON_NAME => info.common_name = Some(text(value)?),
                ORGANIZATION => info.organizations.push(text(value)?),
                UID => info.uids.push(text(value)?),
                _ => {}
            }
        }
    }
    Some(())
}

/// `GeneralNames`: of its kinds, dNSName is \[2\] and iPAddress is \[7\].
fn names(mut names: Fields<'_>, info: &mut CertificateInfo) -> Option<()> {
    while !names.is_empty() {
        let name = names.any()?;
        let Tag::ContextSpecific { number, .. } = name.tag() else {
            return None;
        };
        match number.value() {
            2 if name.value().is_ascii() => info.dns_names.push(str::from_utf8(name.value()).ok()?.into()),
            2 => return None,
            7 => info.ip_addresses.push(match name.value().len() {
                4 => IpAddr::from(<[u8; 4]>::try_from(name.value()).ok()?),
                16 => IpAddr::from(<[u8; 16]>::try_from(name.value()).ok()?),
                _ => return None,
            }),
            _ => {}
        }
    }
    Some(())
}

/// A `DirectoryString` of one of the types whose bytes are UTF-8.
fn text(value: AnyRef<'_>) -> Option<String> {
    match value.tag() {
        Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => {
            str::from_utf8(value.value()).ok().map(Into::into)
        }
        _ => None,
    }
}

/// `Time`: of two digits for the year until 2049, of four from then on.
fn time(value: AnyRef<'_>) -> Option<u64> {
    let since = match value.tag() {
        Tag::UtcTime => value.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        Tag::GeneralizedTime => value.decode_as::<GeneralizedTime>().ok()?.to_unix_duration(),
        _ => return None,
    };
    Some(since.as_secs())
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
    use rcgen::{BasicConstraints, CertificateParams, DnType, DnValue, IsCa, KeyPair};

    #[test]
    fn reads_what_a_node_needs() {
        let mut parameters =
            CertificateParams::new(vec!["pico-1".into(), "10.0.0.5".into(), "fd00::5".into()]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(DnType::CommonName, "system:node:pico-1");
        let organization = DnValue::PrintableString("system:nodes".try_into().unwrap());
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, organization);
        let uid = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]);
        parameters.distinguished_name.push(uid, "7");
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
                uids: vec!["7".into()],
                not_before: 1_700_000_000,
                not_after: 2_700_000_000,
                dns_names: vec!["pico-1".into()],
                ip_addresses: vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()],
            }
        );
    }

    #[test]
    fn refuses_a_certificate_cut_or_lengthened() {
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
        let longer = [certificate.der(), &[0][..]].concat();
        assert_eq!(CertificateInfo::from_der(&longer), Err(MalformedCertificate));
    }

    /// Whatever one bit does to it, we read it as x509-cert does, or not at all.
    #[test]
    fn agrees_with_x509_cert_on_damaged_certificates() {
        use der::Decode;
        let mut parameters = CertificateParams::new(vec!["a.test".into(), "10.0.0.5".into()]).unwrap();
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, "system:nodes");
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let mut read = 0;
        for bit in 0..certificate.der().len() * 8 {
            let mut der = certificate.der().to_vec();
            der[bit / 8] ^= 1 << (bit % 8);
            let Ok(info) = CertificateInfo::from_der(&der) else {
                continue;
            };
            let Ok(oracle) = x509_cert::Certificate::from_der(&der) else {
                continue;
            };
            read += 1;
            let oracle = oracle.tbs_certificate();
            assert_eq!(
                info.not_before,
                oracle.validity().not_before.to_unix_duration().as_secs()
            );
            assert_eq!(
                info.not_after,
                oracle.validity().not_after.to_unix_duration().as_secs()
            );
            let organization = oracle
                .subject()
                .organization()
                .ok()
                .flatten()
                .map(|text| text.value().into());
            if info.organizations.len() == 1 {
                assert_eq!(info.organizations.first().cloned(), organization);
            }
        }
        assert!(read > 1000, "only {read} were readable");
    }
}
