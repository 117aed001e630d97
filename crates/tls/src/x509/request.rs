//! Asking for a certificate: PKCS#10 (RFC 2986).

use super::encoding::{
    BIT_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, UTF8_STRING, context,
    context_constructed, wrap,
};
use crate::key::P256Key;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

/// Object identifiers as they are written: id-at-organizationName, id-at-commonName, id-ce-subjectAltName (RFC 5280),
/// extensionRequest (RFC 2985), ecdsa-with-SHA256 (RFC 5758).
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

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
    /// When a DNS name is not ASCII, or all of it has 64 KiB or more.
    pub fn to_der(&self, key: &P256Key) -> Result<Vec<u8>, RequestError> {
        self.encode(key).ok_or(RequestError)
    }

    /// `CertificationRequest`.
    fn encode(&self, key: &P256Key) -> Option<Vec<u8>> {
        let info = wrap(
            SEQUENCE,
            &[
                &wrap(INTEGER, &[&[0]])?,
                &wrap(
                    SEQUENCE,
                    &[
                        &attribute(ORGANIZATION, self.organization)?,
                        &attribute(COMMON_NAME, self.common_name)?,
                    ],
                )?,
                &key.public_key_der(),
                &wrap(context_constructed(0), &[&self.extensions()?])?,
            ],
        )?;
        let algorithm = wrap(SEQUENCE, &[&wrap(OBJECT_IDENTIFIER, &[ECDSA_WITH_SHA256])?])?;
        let signature = wrap(BIT_STRING, &[&[0], &key.sign(&info)?])?;
        wrap(SEQUENCE, &[&info, &algorithm, &signature])
    }

    /// The attribute that asks for names, or nothing.
    fn extensions(&self) -> Option<Vec<u8>> {
        let mut names = Vec::new();
        for name in self.dns_names {
            names.extend(name.is_ascii().then(|| wrap(context(2), &[name.as_bytes()]))??);
        }
        for address in self.ip_addresses {
            names.extend(match address {
                IpAddr::V4(address) => wrap(context(7), &[&address.octets()]),
                IpAddr::V6(address) => wrap(context(7), &[&address.octets()]),
            }?);
        }
        if names.is_empty() {
            return Some(names);
        }
        let names = wrap(OCTET_STRING, &[&wrap(SEQUENCE, &[&names])?])?;
        let extension = wrap(
            SEQUENCE,
            &[&wrap(OBJECT_IDENTIFIER, &[SUBJECT_ALT_NAME])?, &names],
        )?;
        let extensions = wrap(SET, &[&wrap(SEQUENCE, &[&extension])?])?;
        wrap(
            SEQUENCE,
            &[&wrap(OBJECT_IDENTIFIER, &[EXTENSION_REQUEST])?, &extensions],
        )
    }
}

/// One `RelativeDistinguishedName`.
fn attribute(kind: &[u8], value: &str) -> Option<Vec<u8>> {
    let value = wrap(UTF8_STRING, &[value.as_bytes()])?;
    wrap(
        SET,
        &[&wrap(SEQUENCE, &[&wrap(OBJECT_IDENTIFIER, &[kind])?, &value])?],
    )
}

/// A certificate request could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestError;

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the certificate request cannot be encoded: a DNS name is not plain ASCII, or there are too many",
        )
    }
}

impl core::error::Error for RequestError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use der::{Decode, Encode};
    use rcgen::{CertificateSigningRequestParams, SanType};
    use rustls_pki_types::CertificateSigningRequestDer;
    use x509_cert::request::CertReq;

    const REQUEST: CertificateRequest<'_> = CertificateRequest {
        organization: "system:nodes",
        common_name: "system:node:pico-1",
        dns_names: &["pico-1"],
        ip_addresses: &[],
    };

    /// rcgen verifies the signature (with ring) and reads the names; x509-cert reads it to the last byte.
    #[test]
    fn others_read_and_verify_it() {
        let addresses = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        let key = P256Key::generate().unwrap();
        let der = CertificateRequest {
            ip_addresses: &addresses,
            ..REQUEST
        }
        .to_der(&key)
        .unwrap();
        let read =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(&der[..])).unwrap();
        let names = read.params.subject_alt_names;
        assert_eq!(
            names,
            [
                SanType::DnsName("pico-1".try_into().unwrap()),
                SanType::IpAddress(addresses[0]),
                SanType::IpAddress(addresses[1])
            ]
        );
        let read = CertReq::from_der(&der).unwrap();
        assert_eq!(
            read.info.subject.to_string(),
            "CN=system:node:pico-1,O=system:nodes"
        );
        assert_eq!(read.info.attributes.len(), 1);
        assert_eq!(read.to_der().unwrap(), der);
    }

    #[test]
    fn client_request_asks_for_no_names() {
        let request = CertificateRequest {
            dns_names: &[],
            ..REQUEST
        };
        let read = CertReq::from_der(&request.to_der(&P256Key::generate().unwrap()).unwrap()).unwrap();
        assert_eq!(read.info.attributes.len(), 0);
    }

    #[test]
    fn refuses_what_no_certificate_can_say() {
        let key = P256Key::generate().unwrap();
        let request = CertificateRequest {
            dns_names: &["größe"],
            ..REQUEST
        };
        assert_eq!(request.to_der(&key), Err(RequestError));
        let long = "x".repeat(70_000);
        assert_eq!(
            CertificateRequest {
                common_name: &long,
                ..REQUEST
            }
            .to_der(&key),
            Err(RequestError)
        );
    }
}
