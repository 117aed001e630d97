//! Public-key arithmetic on P-256 and Curve25519, and nothing else: bytes in, bytes out.
//!
//! Two libraries do it behind one interface. RustCrypto's wherever there is a multiplier to speak of; and `picolet-ec`
//! on the Cortex-M0+, where it is ten times as fast and smaller. That core is told by its lack of compare-and-swap.

#[cfg(any(test, not(target_has_atomic = "ptr")))]
pub(super) mod cortex_m0;
#[cfg(target_has_atomic = "ptr")]
pub(super) mod portable;

#[cfg(not(target_has_atomic = "ptr"))]
pub(crate) use cortex_m0::{P256Secret, X25519Secret, p256_verify};
#[cfg(target_has_atomic = "ptr")]
pub(crate) use portable::{P256Secret, X25519Secret, p256_verify};

/// A point on P-256, uncompressed (SEC 1, section 2.3.3).
pub(crate) type P256Point = [u8; 65];
