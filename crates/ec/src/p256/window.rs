//! A secret multiple of a point that is not known beforehand (ECDH): a signed fixed window.
//!
//! Joye and Tunstall, "Exponent recoding and regular exponentiation algorithms" (AFRICACRYPT 2009): an odd k below 2²⁵⁶ is
//! Σ dᵢ·16ⁱ with 64 digits, all odd, from ±1 to ±15. So the table is 1, 3, … 15 times the point, and every digit adds one
//! of its 8 entries or its negative. With the bits b of [`signed_digits`], a digit is 2·(4 bits of b) − 15.
//!
//! Cost: 252 doublings, 63 additions of affine points, the table (a doubling, 7 additions, an inversion), an inversion:
//! 3.4 M instructions. Constant time.
//!
//! # Why incomplete additions are enough
//! With S = 16·m the sum before and d the digit, S = ±d modulo n needs a multiple of n of the form 16m ± d. As an integer
//! that is not 0 (m ≥ 1), and only in the last addition is it as large as n. There the scalar is 16m + d itself: the one
//! k for which it is a doubling is n − 2, and for none are the points opposite. The test `exceptional_cases` computes
//! this. So the last addition is done by [`Jacobian::add_or_double`].

use super::comb::{normalize, signed_digits};
use super::field::Element;
use super::point::{Affine, Entry, Jacobian, Prepared};
use super::scalar::Scalar;
use crate::arch::lookup_2;
use crate::ct;

/// Bits of a digit.
const WIDTH: usize = 4;
/// Digits of a scalar.
const DIGITS: usize = 256 / WIDTH;
/// Odd multiples in the table.
const ENTRIES: usize = 1 << (WIDTH - 1);

/// k·P for a secret k in 1..n. Constant time.
pub(crate) fn multiply(k: &Scalar, point: &Affine) -> Affine {
    let (k, negated) = k.to_odd();
    let digits = signed_digits(&k, 256);
    let table = odd_multiples(point);
    let mut sum = Jacobian::from(entry(&table, &digits, DIGITS - 1));
    for digit in (1..DIGITS - 1).rev() {
        sum.double_times(WIDTH);
        let _ = sum.add_affine(&entry(&table, &digits, digit)); // see above why it is not exceptional
    }
    sum.double_times(WIDTH);
    sum.add_or_double(&entry(&table, &digits, 0));
    sum.to_affine().negate_if(negated)
}

/// 1, 3, … 15 times the point.
#[inline(never)]
fn odd_multiples(point: &Affine) -> [Entry; ENTRIES] {
    let mut sum = Jacobian::from(*point);
    let mut double = sum;
    double.double();
    let double = Prepared::new(double);
    let mut points = [Entry::from(*point); ENTRIES];
    let mut z = [Element::ONE; ENTRIES];
    for (point, z) in points.iter_mut().zip(&mut z).skip(1) {
        let _ = sum.add_prepared(&double); // (2i − 1)P and 2P differ: the order is a large prime
        *point = [sum.x.0, sum.y.0];
        *z = sum.z;
    }
    normalize(&mut points, &z, &mut [Element::ONE; ENTRIES]);
    points
}

#[inline(never)]
fn entry(table: &[Entry; ENTRIES], digits: &[u32; 9], digit: usize) -> Affine {
    let bits = digits[digit * WIDTH / 32] >> (digit * WIDTH % 32);
    let negative = ct::mask((bits >> (WIDTH - 1) & 1) ^ 1);
    Affine::from(lookup_2(table, (bits ^ negative) & (ENTRIES as u32 - 1))).negate_if(negative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p256::exceptions::{Digit, exceptional_multiples, reference_multiple};
    use crate::p256::generator;

    /// Every addition against every multiple of n: see the module's text.
    #[test]
    fn exceptional_cases() {
        let mut exceptional = 0;
        for digit in 0..DIGITS - 1 {
            let positions: Vec<Digit> = (0..256 - WIDTH * digit)
                .map(|position| {
                    if position < WIDTH {
                        Digit::Added
                    } else {
                        Digit::Summed
                    }
                })
                .collect();
            for case in exceptional_multiples(&positions) {
                assert_eq!(
                    digit, 0,
                    "an addition before the last can be exceptional: {case:?}"
                );
                if let Some(k) = case.scalar_in_range() {
                    assert!(case.is_doubling());
                    let k = Scalar(k);
                    assert_eq!(multiply(&k, &generator()), reference_multiple(&k));
                    exceptional += 1;
                }
            }
        }
        assert_eq!(exceptional, 1, "n - 2");
    }
}
