//! Multiples of a point that is known beforehand: the generator, or a key seen often. A signed comb.
//!
//! Lim and Lee, "More flexible exponentiation with precomputation" (CRYPTO 1994), with all digits ±1 as in Feng, Zhu, Xu
//! and Li, "Efficient comb elliptic curve multiplication methods resistant to power analysis" (2005), so that every
//! column adds a point and none is skipped.
//!
//! An odd k below 2²⁶⁰ is Σ dᵢ·2ⁱ with all 260 digits ±1: dᵢ = 2bᵢ − 1, where b are the bits of (k + 2²⁶⁰ − 1)/2. The digits
//! are dealt to [`TEETH`] = 5 teeth of 52, each in 2 halves of 26. A table for each half holds the sums of all signs
//! ±2⁰ ± 2⁵² ± 2¹⁰⁴ ± 2¹⁵⁶ + 2²⁰⁸ times the point (and times 2²⁶ for the second half), the last sign being +: for −, the
//! entry is negated. So 2 · 16 points, 2 KB.
//!
//! Cost: 25 doublings, 51 additions, an inversion: 1.0 M instructions. Other sizes, generator only: 4 teeth and 1 table
//! of 0.5 KB 1.49 M; 1 KB 1.21 M; 4 KB 0.92 M; 8 KB 0.82 M.
//!
//! # Why incomplete additions are enough
//! An addition S + D is exceptional if S = ±D, that is if S − D or S + D is 0 modulo n. As an integer it is a sum of
//! distinct powers of two with signs, so not 0 itself, and must be another multiple of n of less than 260 bits. A
//! multiple's digits can be read off from below, one choice each, for every column and half: the test
//! `exceptional_cases` does that and finds none but in the very last addition, where a single odd k makes it a doubling.
//! That one is done by [`Jacobian::add_or_double`].

use super::field::Element;
use super::point::{Affine, Entry, Jacobian, Prepared, PublicSum};
use super::scalar::Scalar;
use super::tables::GENERATOR_COMB;
use crate::arch::lookup_2;
use crate::ct;
use crate::words::{Words, bit};

/// Rows into which the digits are dealt.
const TEETH: usize = 5;
/// Tables, each for a part of every row.
const HALVES: usize = 2;
/// Digits of a row.
const ROW: usize = 52;
/// Digits of a row in each half: the number of columns.
const COLUMNS: usize = ROW / HALVES;
/// Entries of one half's table.
const ENTRIES: usize = 1 << (TEETH - 1);

/// The sums of all signs for both halves. Entry i has + at the teeth whose bit in i is set, and at the last.
pub(crate) type Table = [Entry; TABLE_LENGTH];

/// Entries of both halves.
pub(crate) const TABLE_LENGTH: usize = HALVES * ENTRIES;

/// The bits of (k + 2^length − 1)/2 for an odd k: where they are 1 the digit is +1, where 0 it is −1. Constant time.
pub(crate) fn signed_digits(k: &Words, length: usize) -> [u32; 9] {
    let mut bits = [0; 9];
    for i in 0..8 {
        let above = if i < 7 { k[i + 1] << 31 } else { 0 };
        bits[i] = (k[i] >> 1) | above;
    }
    bits[(length - 1) / 32] += 1 << ((length - 1) % 32);
    bits
}

/// The digits of a column, the last tooth's highest.
fn column_bits(digits: &[u32; 9], half: usize, column: usize) -> u32 {
    (0..TEETH).fold(0, |bits, tooth| {
        bits | bit(digits, tooth * ROW + half * COLUMNS + column) << tooth
    })
}

/// k·G for a secret k in 1..n. Constant time.
pub(crate) fn multiply_generator(k: &Scalar) -> Affine {
    let (k, negated) = k.to_odd();
    let digits = signed_digits(&k, TEETH * ROW);
    let mut sum = Jacobian::from(entry(&digits, 0, COLUMNS - 1));
    let _ = sum.add_affine(&entry(&digits, 1, COLUMNS - 1)); // see above why it is not exceptional
    for column in (1..COLUMNS - 1).rev() {
        sum.double();
        for half in 0..HALVES {
            let _ = sum.add_affine(&entry(&digits, half, column));
        }
    }
    sum.double();
    let _ = sum.add_affine(&entry(&digits, 0, 0));
    sum.add_or_double(&entry(&digits, 1, 0));
    sum.to_affine().negate_if(negated)
}

/// The point that a column adds: the table's entry for its signs relative to the last, negated if that is −.
#[inline(never)]
fn entry(digits: &[u32; 9], half: usize, column: usize) -> Affine {
    let bits = column_bits(digits, half, column);
    let negative = ct::mask((bits >> (TEETH - 1)) ^ 1);
    let index = (bits ^ negative) & (ENTRIES as u32 - 1);
    Affine::from(lookup_2(&GENERATOR_COMB[half * ENTRIES..][..ENTRIES], index)).negate_if(negative)
}

/// u₁·G + u₂·Q for public scalars and a key's table. Variable time. 26 doublings, 104 additions.
pub(crate) fn multiply_public(u1: &Scalar, u2: &Scalar, key: &Table) -> PublicSum {
    let terms = [(u1, &GENERATOR_COMB), (u2, key)].map(|(u, table)| {
        let (odd, negated) = u.to_odd();
        (u.is_zero() == 0).then(|| (signed_digits(&odd, TEETH * ROW), negated != 0, table))
    });
    let mut sum = PublicSum::default();
    for column in (0..COLUMNS).rev() {
        sum.double();
        for half in 0..HALVES {
            for (digits, negated, table) in terms.iter().flatten() {
                let bits = column_bits(digits, half, column) as usize;
                let negative = bits < ENTRIES;
                let index = half * ENTRIES + (if negative { !bits } else { bits } & (ENTRIES - 1));
                let point = Affine::from(table[index]);
                sum.add_affine(&if negative != *negated { point.neg() } else { point });
            }
        }
    }
    sum
}

/// A public point's table in the making. Variable time; 2.8 M instructions in all, most of them 234 doublings.
///
/// First the powers of two of the teeth, one run of doublings a step; then a half of the table a step. So a step takes at
/// most a sixth of the time, and nothing but the teeth is kept from one to the next, 1 KB.
///
/// No addition is exceptional: all sums are of different powers of two below 2²³⁵ times a point of order n.
pub(crate) struct Builder {
    /// 2^(52·tooth + 26·half) times the point, where the steps have come to it.
    teeth: [[Jacobian; HALVES]; TEETH],
    /// Steps done.
    steps: usize,
}

impl Builder {
    /// Steps for the teeth: the first is the point itself.
    const TEETH_STEPS: usize = TEETH * HALVES - 1;
    /// All steps.
    pub(crate) const STEPS: usize = Self::TEETH_STEPS + HALVES;

    pub(crate) fn new(point: &Affine) -> Self {
        Builder {
            teeth: [[Jacobian::from(*point); HALVES]; TEETH],
            steps: 0,
        }
    }

    /// Does the next step, and returns whether the table is complete. Its first half is written last.
    pub(crate) fn step(&mut self, table: &mut Table) -> bool {
        if self.steps < Self::TEETH_STEPS {
            let teeth = self.teeth.as_flattened_mut();
            let mut power = teeth[self.steps];
            power.double_times(COLUMNS);
            teeth[self.steps + 1] = power;
        } else if self.steps < Self::STEPS {
            let half = Self::STEPS - 1 - self.steps;
            let teeth = core::array::from_fn(|tooth| self.teeth[tooth][half]);
            fill_half(&teeth, &mut table[half * ENTRIES..][..ENTRIES]);
        }
        self.steps = (self.steps + 1).min(Self::STEPS);
        self.steps == Self::STEPS
    }
}

/// The entries of one half. 4 doublings, 19 additions, an inversion.
///
/// They follow a Gray code: the next differs in one sign, so that one addition of twice a tooth makes it. One inversion
/// brings all of them to affine coordinates (Montgomery's trick).
#[inline(never)]
fn fill_half(teeth: &[Jacobian; TEETH], table: &mut [Entry]) {
    let mut sum = teeth[TEETH - 1];
    for tooth in &teeth[..TEETH - 1] {
        let _ = sum.add_prepared(&Prepared::new(*tooth).neg());
    }
    let doubled: [Prepared; TEETH - 1] = core::array::from_fn(|tooth| {
        let mut point = teeth[tooth];
        point.double();
        Prepared::new(point)
    });
    let mut z = [Element::ONE; ENTRIES];
    let mut signs = 0usize;
    for step in 1..=ENTRIES {
        table[signs] = [sum.x.0, sum.y.0];
        z[signs] = sum.z;
        if step < ENTRIES {
            let tooth = step.trailing_zeros() as usize;
            signs ^= 1 << tooth;
            let positive = signs >> tooth & 1 == 1;
            let _ = sum.add_prepared(&if positive {
                doubled[tooth]
            } else {
                doubled[tooth].neg()
            });
        }
    }
    normalize(table, &z, &mut [Element::ONE; ENTRIES]);
}

/// Divides all points, given as X and Y, by their Z with one inversion. No Z may be 0. 6 M + 1 S each.
///
/// `products` is working space, as long as the others: the products of all Z before.
#[inline(never)]
pub(crate) fn normalize(points: &mut [Entry], z: &[Element], products: &mut [Element]) {
    debug_assert!(points.len() == z.len() && z.len() == products.len());
    let mut product = Element::ONE;
    for (before, z) in products.iter_mut().zip(z) {
        *before = product;
        product = product.mul(z);
    }
    let mut inverse = product.invert();
    for ((point, before), z) in points.iter_mut().zip(products).zip(z).rev() {
        let z_inverse = inverse.mul(before);
        inverse = inverse.mul(z);
        let Affine { x, y } = Affine::from(*point);
        *point = Jacobian { x, y, z: *z }.scaled(&z_inverse).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p256::exceptions::{Digit, exceptional_multiples};

    /// Every column's two additions, against every multiple of n: see the module's text.
    #[test]
    fn exceptional_cases() {
        let mut found = Vec::new();
        for column in 0..COLUMNS {
            for half in 0..HALVES {
                // Columns are counted from the last, so those processed before lie above.
                let positions: Vec<Digit> = (0..TEETH * ROW - column)
                    .map(
                        |position| match (position / COLUMNS % HALVES, position % COLUMNS) {
                            (h, 0) if h == half => Digit::Added,
                            (h, 0) if h > half => Digit::Absent,
                            (_, c) if c >= COLUMNS - column => Digit::Absent,
                            _ => Digit::Summed,
                        },
                    )
                    .collect();
                found.extend(exceptional_multiples(&positions).map(|case| (column, half, case)));
            }
        }
        let last: Vec<_> = found
            .iter()
            .filter(|(column, half, _)| (*column, *half) == (0, HALVES - 1))
            .collect();
        assert_eq!(
            found.len(),
            last.len(),
            "an addition before the last can be exceptional: {found:?}"
        );
        // In the last, S and D are the scalar's own digits: those k in 1..n are doublings, never opposite points.
        for (_, _, case) in last {
            if let Some(k) = case.scalar_in_range() {
                assert!(case.is_doubling());
                let k = Scalar(k);
                assert_eq!(
                    multiply_generator(&k),
                    crate::p256::exceptions::reference_multiple(&k)
                );
            }
        }
    }
}
