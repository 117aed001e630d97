//! PEM (RFC 7468), the form that files have.

use crate::error::SetupError;
use alloc::string::String;
use alloc::vec::Vec;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{Error, PemObject};

/// All certificates of a PEM text, in DER. Other blocks are passed over.
///
/// # Errors
/// [`SetupError::NoCertificate`] when there is none, [`SetupError::Pem`] for damaged text.
pub fn certificates_from_pem(pem: &[u8]) -> Result<Vec<Vec<u8>>, SetupError> {
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        match certificate {
            Ok(certificate) => certificates.push(certificate.to_vec()),
            Err(Error::NoItemsFound) => break,
            Err(_) => return Err(SetupError::Pem),
        }
    }
    if certificates.is_empty() {
        Err(SetupError::NoCertificate)
    } else {
        Ok(certificates)
    }
}

/// `der` as PEM with this label (RFC 7468).
pub fn pem(label: &str, der: &[u8]) -> String {
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap_or_default()
}
