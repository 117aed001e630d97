//! The signer of certificates, which whoever makes the cluster provides.

use picolet_platform::{Duration, UnixMicros};

/// What is asked for by a request that was approved.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The request, PEM.
    pub request: &'a str,
    /// The user that the certificate must name, and no other.
    pub user: &'a str,
    /// Whether it is for serving; it is for a client otherwise.
    pub serving: bool,
    /// When it is signed.
    pub now: UnixMicros,
    /// How long it is valid from then on.
    pub life: Duration,
}

/// Signs certificate requests.
pub trait Sign {
    /// Returns the certificate, PEM.
    ///
    /// # Errors
    /// Why the request cannot be signed, for a person.
    fn sign(&self, wanted: &Wanted<'_>) -> Result<String, String>;
}
