//! Certificates as far as a node reads them and asks for them, and PEM.
//!
//! Nothing here verifies anything: that is done while shaking hands.

mod certificate;
mod encoding;
mod request;

pub(crate) use certificate::public_key;
pub(crate) use encoding::split;

pub use crate::pem::{certificates_from_pem, pem};
pub use certificate::{CertificateInfo, MalformedCertificate};
pub use request::{CertificateRequest, RequestError};
