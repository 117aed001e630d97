//! Asking for a certificate: PKCS#10 (RFC 2986).

use super::certificate::{COMMON_NAME, ORGANIZATION};
use crate::identity::P256Key;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use der::asn1::{Any, BitString, Ia5String, OctetString, SetOfVec, Utf8StringRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode};
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::spki::{AlgorithmIdentifier, SubjectPublicKeyInfoOwned};

/// ecdsa-with-SHA256 (RFC 5758) and id-ce-subjectAltName (RFC 5280).
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// What a certificate is asked for. Kubernetes wants `system:nodes` and `system:node:NAME` of a node, names and
/// addresses for a serving certificate, and neither of them for a client's.
#[derive(Clone, Copy, Debug)]
pub struct CertificateRequest<'a> {
    /// The subject's organization: the group.
    pub organization: &'a str,
    /// The subject's common name: the user.
    pub common_name: &'a str,
    /// DNS names that the certificate is to be for.
    pub dns_names: &'a [&'a str],
    /// Addresses that the certificate is to be for.
    pub ip_addresses: &'a [IpAddr],
}

impl CertificateRequest<'_> {
    /// The request in DER, signed with `key`.
    ///
    /// # Errors
    /// When a DNS name is not ASCII, or a text is too long to be encoded.
    pub fn to_der(&self, key: &P256Key) -> Result<Vec<u8>, RequestError> {
        let info = self.info(key).map_err(|_| RequestError)?;
        let signature = key
            .sign(&info.to_der().map_err(|_| RequestError)?)
            .ok_or(RequestError)?;
        let algorithm = AlgorithmIdentifier {
            oid: ECDSA_WITH_SHA256,
            parameters: None,
        };
        let signature = BitString::from_bytes(&signature).map_err(|_| RequestError)?;
        CertReq {
            info,
            algorithm,
            signature,
        }
        .to_der()
        .map_err(|_| RequestError)
    }

    fn info(&self, key: &P256Key) -> der::Result<CertReqInfo> {
        let mut names = Vec::with_capacity(self.dns_names.len() + self.ip_addresses.len());
        for name in self.dns_names {
            names.push(GeneralName::DnsName(Ia5String::new(*name)?));
        }
        for address in self.ip_addresses {
            names.push(GeneralName::IpAddress(match address {
                IpAddr::V4(address) => OctetString::new(address.octets())?,
                IpAddr::V6(address) => OctetString::new(address.octets())?,
            }));
        }
        let mut attributes = SetOfVec::new();
        if !names.is_empty() {
            let extension = Extension {
                extn_id: SUBJECT_ALT_NAME,
                critical: false,
                extn_value: OctetString::new(SubjectAltName(names).to_der()?)?,
            };
            attributes.insert(Attribute::try_from(ExtensionReq(vec![extension]))?)?;
        }
        let mut subject = RdnSequence::default();
        for (oid, value) in [(ORGANIZATION, self.organization), (COMMON_NAME, self.common_name)] {
            let value = Any::encode_from(&Utf8StringRef::new(value)?)?;
            let mut name = RelativeDistinguishedName::default();
            name.insert(AttributeTypeAndValue { oid, value })?;
            subject.push(name);
        }
        Ok(CertReqInfo {
            version: Version::V1,
            subject: Name::hazmat_from_rdn_sequence(subject),
            public_key: SubjectPublicKeyInfoOwned::from_der(&key.public_key_der())?,
            attributes,
        })
    }
}

/// A certificate request could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestError;

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate request cannot be encoded: is a DNS name not plain ASCII?")
    }
}

impl core::error::Error for RequestError {}
