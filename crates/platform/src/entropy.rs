//! Randomness fit for keys.

/// A cryptographically secure source that never fails once the device has booted.
pub trait Entropy {
    /// Fills `bytes`. A board whose noise source fails its health test (NIST SP 800-90B) must not return from here.
    fn fill(&self, bytes: &mut [u8]);
}
