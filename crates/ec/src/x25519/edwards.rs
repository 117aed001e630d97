//! Multiples of X25519's base point, by a signed comb on the birationally equivalent curve edwards25519 (RFC 7748, section
//! 4.1: −x² + y² = 1 + d·x²·y²).
//!
//! The comb is that of [`crate::p256`] with 4 teeth of 64 digits in 2 halves: 16 points, 1.5 KB. The points are in extended
//! coordinates (Hisil, Wong, Carter and Dawson, "Twisted Edwards curves revisited", 2008): (X : Y : Z : T) with T = XY/Z.
//! Its addition for a = −1 is complete on this curve, because −1 is a square modulo p and d is not: there are no
//! exceptional cases at all. Table entries are (y + x, y − x, 2dxy), affine.
//!
//! | operation | cost | source |
//! |---|---|---|
//! | [`Extended::double`] | 4 M + 4 S | `dbl-2008-hwcd` |
//! | [`Extended::add`] | 7 M, or 6 M where T is not read again | `madd-2008-hwcd-3` |
//!
//! Cost: 31 doublings, 64 additions, an inversion: 0.99 M instructions. Other sizes: 0.75 KB 1.30 M, 3 KB 0.85 M.
//!
//! Constant time.

use super::field::Element;
use super::tables::BASE_COMB;
use crate::arch::lookup_3;
use crate::ct;
use crate::words::{self, Words, bit};

const TEETH: usize = 4;
const HALVES: usize = 2;
const ROW: usize = 64;
const COLUMNS: usize = ROW / HALVES;
const ENTRIES: usize = 1 << (TEETH - 1);

/// The order of the base point, 2²⁵² + 27742317777372353535851937790883648493.
const ORDER: Words = [
    0x5cf5_d3ed,
    0x5812_631a,
    0xa2f7_9cd6,
    0x14de_f9de,
    0,
    0,
    0,
    0x1000_0000,
];

struct Extended {
    x: Element,
    y: Element,
    z: Element,
    t: Element,
}

/// A point of the table.
struct Entry {
    y_plus_x: Element,
    y_minus_x: Element,
    xy2d: Element,
}

impl Extended {
    const IDENTITY: Extended = Extended {
        x: Element::ZERO,
        y: Element::ONE,
        z: Element::ONE,
        t: Element::ZERO,
    };

    /// 4 M + 4 S. Does not read T.
    #[inline(never)]
    fn double(&mut self) {
        let xx = self.x.square();
        let yy = self.y.square();
        let zz = self.z.square();
        let h = xx.add(&yy);
        let e = h.sub(&self.x.add(&self.y).square());
        let g = xx.sub(&yy);
        let f = zz.add(&zz).add(&g);
        self.x = e.mul(&f);
        self.y = g.mul(&h);
        self.t = e.mul(&h);
        self.z = f.mul(&g);
    }

    /// 7 M, or 6 M without T, which a doubling does not need. Complete.
    #[inline(never)]
    fn add(&mut self, q: &Entry, with_t: bool) {
        let a = self.y.sub(&self.x).mul(&q.y_minus_x);
        let b = self.y.add(&self.x).mul(&q.y_plus_x);
        let c = self.t.mul(&q.xy2d);
        let d = self.z.add(&self.z);
        let (e, f, g, h) = (b.sub(&a), d.sub(&c), d.add(&c), b.add(&a));
        self.x = e.mul(&f);
        self.y = g.mul(&h);
        if with_t {
            self.t = e.mul(&h);
        }
        self.z = f.mul(&g);
    }
}

/// The u-coordinate of k times the base point, for a clamped k.
///
/// The comb wants an odd number and k is a multiple of 8: k plus the order, which is odd, has the same multiple and is below
/// 2²⁵⁶. The Montgomery u is (1 + y)/(1 − y) = (Z + Y)/(Z − Y); a clamped k is never 0 modulo the order, so y ≠ 1.
pub(crate) fn multiply_base(k: &Words) -> [u8; 32] {
    let (k, _) = words::add(k, &ORDER);
    let digits = signed_digits(&k);
    let mut sum = Extended::IDENTITY;
    for column in (0..COLUMNS).rev() {
        if column < COLUMNS - 1 {
            sum.double();
        }
        for half in 0..HALVES {
            sum.add(&entry(&digits, half, column), half + 1 < HALVES);
        }
    }
    Element::quotient_bytes(&sum.z.add(&sum.y), &sum.z.sub(&sum.y))
}

/// The bits of (k + 2²⁵⁶ − 1)/2 for an odd k: 1 is the digit +1, 0 is −1.
fn signed_digits(k: &Words) -> Words {
    core::array::from_fn(|i| (k[i] >> 1) | if i < 7 { k[i + 1] << 31 } else { 1 << 31 })
}

#[inline(never)]
fn entry(digits: &Words, half: usize, column: usize) -> Entry {
    let bits = (0..TEETH).fold(0, |bits, tooth| {
        bits | bit(digits, tooth * ROW + half * COLUMNS + column) << tooth
    });
    let negative = ct::mask((bits >> (TEETH - 1)) ^ 1);
    let index = (bits ^ negative) & (ENTRIES as u32 - 1);
    let [mut y_plus_x, mut y_minus_x, xy2d] =
        lookup_3(&BASE_COMB[half * ENTRIES..][..ENTRIES], index).map(Element);
    // −(x, y) = (−x, y)
    Element::swap(negative, &mut y_plus_x, &mut y_minus_x);
    Entry {
        y_plus_x,
        y_minus_x,
        xy2d: xy2d.negate_if(negative),
    }
}
