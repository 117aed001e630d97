//! The field of Curve25519: integers modulo p = 2²⁵⁵ − 19.
//!
//! An element is any 256-bit number that is right modulo p; only [`Element::to_bytes`] and what it needs make it canonical.
//! Everything is constant time. Costs are counted in M (products) and S (squares, 0.66 M).

use crate::arch;
use crate::ct;
use crate::inverse::Modulus;
use crate::words::{self, Words};

/// p
const PRIME: Words = [0xffff_ffed, !0, !0, !0, !0, !0, !0, 0x7fff_ffff];

static MODULUS: Modulus = Modulus::new(&PRIME);

/// An element, not canonical.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Element(pub(crate) Words);

impl Element {
    pub(crate) const ZERO: Element = Element(words::ZERO);
    pub(crate) const ONE: Element = Element(words::ONE);

    #[inline(always)]
    pub(crate) fn mul(&self, other: &Self) -> Self {
        Element(arch::f25519_mul(&self.0, &other.0))
    }

    #[inline(always)]
    pub(crate) fn square(&self) -> Self {
        Element(arch::f25519_sqr(&self.0))
    }

    #[inline(always)]
    pub(crate) fn add(&self, other: &Self) -> Self {
        Element(arch::f25519_add(&self.0, &other.0))
    }

    #[inline(always)]
    pub(crate) fn sub(&self, other: &Self) -> Self {
        Element(arch::f25519_sub(&self.0, &other.0))
    }

    /// 121665 times the element: (A − 2)/4 of the curve. 0.15 M.
    #[inline(always)]
    pub(crate) fn mul_121665(&self) -> Self {
        Element(arch::f25519_mul_121665(&self.0))
    }

    /// −a where the mask is all ones, a where it is 0.
    pub(crate) fn negate_if(&self, mask: u32) -> Self {
        Element(ct::select(mask, &Self::ZERO.sub(self).0, &self.0))
    }

    /// Exchanges both where the mask is all ones.
    pub(crate) fn swap(mask: u32, a: &mut Self, b: &mut Self) {
        ct::swap(mask, &mut a.0, &mut b.0);
    }

    /// a/b as bytes, 0 if b is 0. An inversion and 1 M.
    pub(crate) fn quotient_bytes(a: &Self, b: &Self) -> [u8; 32] {
        let inverse = Element(MODULUS.invert(&b.canonical()));
        words::to_le_bytes(&a.mul(&inverse).canonical())
    }

    /// Below p: any 256-bit number is below 2p + 38, so p is subtracted at most twice.
    fn canonical(&self) -> Words {
        let once = words::reduce_once(&self.0, 0, &PRIME);
        words::reduce_once(&once, 0, &PRIME)
    }
}
