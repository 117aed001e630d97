//! What a certificate is asked for: the names in a CertificateSigningRequest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_tls::x509::pem;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;
use x509_cert::Certificate;
use x509_cert::der::pem::decode_vec;
use x509_cert::der::{Decode, asn1::ObjectIdentifier};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::CertReq;

const REQUEST: &str = "CERTIFICATE REQUEST";
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// The subject of a node's certificates.
pub(crate) fn subject(node: &str) -> String {
    format!("CN=system:node:{node},O=system:nodes")
}

/// What a certificate is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whose certificate it would be.
    pub(crate) subject: String,
    pub(crate) dns_names: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Whether there are names of other kinds, which no node has.
    pub(crate) has_other_names: bool,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        let names: Vec<String> = self.dns_names.iter().cloned().chain(addresses).collect();
        write!(f, "{} ({})", names.join(", "), self.subject)
    }
}

impl Asked {
    /// Reads the PKCS#10 in a CertificateSigningRequest.
    pub(crate) fn read(request: &Value) -> Result<Self, String> {
        let text = request["spec"]["request"]
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or("its request is no base64")?;
        let (_, der) = decode_vec(&text).map_err(|error| format!("its request cannot be read: {error}"))?;
        // The API server and the signer must find the same block in it, so nothing else may be there.
        if text.trim_ascii_end() != pem(REQUEST, &der).trim_end().as_bytes() {
            return Err(format!(
                "its request is not one block {REQUEST} of PEM and nothing else"
            ));
        }
        let read = CertReq::from_der(&der).map_err(|error| format!("its request cannot be read: {error}"))?;
        let mut asked = Self {
            subject: read.info.subject.to_string(),
            ..Self::default()
        };
        for attribute in read.info.attributes.iter() {
            if attribute.oid != EXTENSION_REQUEST {
                return Err(format!("it has an attribute of kind {}", attribute.oid));
            }
            for value in attribute.values.iter() {
                let malformed = |_| "its extensions cannot be read".to_owned();
                for extension in value.decode_as::<Extensions>().map_err(malformed)? {
                    if extension.extn_id != SUBJECT_ALT_NAME {
                        return Err(format!("it asks for an extension of kind {}", extension.extn_id));
                    }
                    asked.add_all(extension.extn_value.as_bytes())?;
                }
            }
        }
        Ok(asked)
    }

    /// Reads the names in a certificate (DER) that exists.
    pub(crate) fn of_certificate(der: &[u8]) -> Result<Self, String> {
        let malformed = |error| format!("a certificate cannot be read: {error}");
        let certificate = Certificate::from_der(der).map_err(malformed)?;
        let certificate = certificate.tbs_certificate();
        let mut names = Self {
            subject: certificate.subject().to_string(),
            ..Self::default()
        };
        for extension in certificate.extensions().into_iter().flatten() {
            if extension.extn_id == SUBJECT_ALT_NAME {
                names.add_all(extension.extn_value.as_bytes())?;
            }
        }
        Ok(names)
    }

    /// Adds what is in a subjectAltName (RFC 5280, section 4.2.1.6).
    fn add_all(&mut self, der: &[u8]) -> Result<(), String> {
        let names = SubjectAltName::from_der(der).map_err(|_| "its names cannot be read")?;
        names.0.iter().for_each(|name| self.add(name));
        Ok(())
    }

    fn add(&mut self, name: &GeneralName) {
        match name {
            GeneralName::DnsName(name) => {
                self.dns_names.insert(name.to_string());
            }
            GeneralName::IpAddress(bytes) => match (
                <[u8; 4]>::try_from(bytes.as_bytes()),
                <[u8; 16]>::try_from(bytes.as_bytes()),
            ) {
                (Ok(four), _) => drop(self.addresses.insert(four.into())),
                (_, Ok(sixteen)) => drop(self.addresses.insert(sixteen.into())),
                _ => self.has_other_names = true,
            },
            _ => self.has_other_names = true,
        }
    }
}
