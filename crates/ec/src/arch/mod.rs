//! The arithmetic that depends on the processor: products and the two fields.
//!
//! Two implementations with one interface. On ARMv6-M ([`armv6m`]) it is assembly, because that core has no 32 × 32 → 64
//! multiply and a compiler makes four times as many instructions of it. Everywhere else ([`twin`]) it is Rust, with limbs
//! as wide as the processor's registers. Both give the same words for the same words, not only the same residues: a
//! test can compare them by digest.
//!
//! | function | contract |
//! |---|---|
//! | `mul_wide` | the 512-bit product of two integers |
//! | `p256_mul`, `p256_sqr` | a·b/2²⁵⁶ mod p, operands below p, result below p |
//! | `p256_add`, `p256_sub`, `p256_half` | modulo p, operands and result below p |
//! | `f25519_mul`, `_sqr`, `_add`, `_sub`, `_mul_121665` | modulo 2²⁵⁵ − 19; operands and result any 256-bit number |
//! | `lookup` | an entry of a table, all of which is read |
//!
//! All of it is constant time on ARMv6-M, shown by address traces. The twin has no branch and no index that depends on
//! a value, but what a compiler makes of it elsewhere is not checked.

use crate::words::Words;

#[cfg(picolet_ec_armv6m)]
mod armv6m;
#[cfg(picolet_ec_armv6m)]
pub(crate) use armv6m::*;

/// The twin in limbs of 32 bits, for processors with a 32 × 32 → 64 multiply.
#[cfg(any(test, all(not(picolet_ec_armv6m), not(target_pointer_width = "64"))))]
#[path = "."]
mod limbs32 {
    type Limb = u32;
    type Double = u64;
    #[path = "twin.rs"]
    pub(crate) mod twin;
}
#[cfg(all(not(picolet_ec_armv6m), not(target_pointer_width = "64")))]
pub(crate) use limbs32::twin::*;

/// The twin in limbs of 64 bits.
#[cfg(target_pointer_width = "64")]
#[cfg_attr(test, allow(clippy::duplicate_mod, reason = "once for each width of limbs"))]
#[path = "."]
mod limbs64 {
    type Limb = u64;
    type Double = u128;
    #[path = "twin.rs"]
    pub(crate) mod twin;
}
#[cfg(target_pointer_width = "64")]
pub(crate) use limbs64::twin::*;

/// The prime of P-256, 2²⁵⁶ − 2²²⁴ + 2¹⁹² + 2⁹⁶ − 1 (SP 800-186, section 3.2.1.3).
pub(crate) const P256_PRIME: Words = [!0, !0, !0, 0, 0, 0, 1, !0];

#[cfg(test)]
pub(crate) mod tests;
