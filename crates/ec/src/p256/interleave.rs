//! u₁·G + u₂·Q for public scalars and a key not seen before: interleaved non-adjacent forms.
//!
//! Möller, "Algorithms for multi-exponentiation" (SAC 2001), with width-w non-adjacent forms (Solinas 2000): both scalars
//! share the doublings, and an addition comes about every w + 1 bits. The generator's odd multiples up to 31 lie in flash
//! (w = 6, 1 KB; 4 KB would save 2 %), the key's up to 15 are made each time (w = 5).
//!
//! Cost: 256 doublings, about 37 + 43 additions, the key's table (a doubling, 7 additions). Variable time: verification
//! has no secret. Every exceptional case is handled, since an attacker chooses these scalars.

use super::point::{Affine, Jacobian, Prepared, PublicSum};
use super::scalar::Scalar;
use super::tables::GENERATOR_ODD;
use crate::words::{Words, bit};

const GENERATOR_WIDTH: usize = 6;
const KEY_WIDTH: usize = 5;
const KEY_ENTRIES: usize = 1 << (KEY_WIDTH - 2);

/// Digits of a scalar in non-adjacent form, and one for the last carry.
type Digits = [i8; 257];

/// Returns u₁·G + u₂·Q.
pub(crate) fn multiply_public(u1: &Scalar, u2: &Scalar, key: &Affine) -> PublicSum {
    let generator_digits = non_adjacent_form(&u1.0, GENERATOR_WIDTH);
    let key_digits = non_adjacent_form(&u2.0, KEY_WIDTH);
    let key_multiples = odd_multiples(key);
    let mut sum = PublicSum::default();
    for i in (0..257).rev() {
        sum.double();
        let digit = key_digits[i];
        if digit != 0 {
            let multiple = &key_multiples[usize::from(digit.unsigned_abs() / 2)];
            if digit > 0 {
                sum.add_prepared(multiple)
            } else {
                sum.add_prepared(&multiple.neg())
            }
        }
        let digit = generator_digits[i];
        if digit != 0 {
            let multiple = Affine::from(GENERATOR_ODD[usize::from(digit.unsigned_abs() / 2)]);
            sum.add_affine(&if digit > 0 { multiple } else { multiple.neg() });
        }
    }
    sum
}

/// 1, 3, … 15 times the point. No addition is exceptional: the order is a large prime.
#[inline(never)]
fn odd_multiples(point: &Affine) -> [Prepared; KEY_ENTRIES] {
    let mut sum = Jacobian::from(*point);
    let mut double = sum;
    double.double();
    let double = Prepared::new(double);
    let mut multiples = [Prepared::new(sum); KEY_ENTRIES];
    for multiple in &mut multiples[1..] {
        let _ = sum.add_prepared(&double);
        *multiple = Prepared::new(sum);
    }
    multiples
}

/// Digits that are 0 or odd and below 2^(width−1) in magnitude, of any `width` in a row at most one not 0.
fn non_adjacent_form(k: &Words, width: usize) -> Digits {
    let mut digits = [0; 257];
    let bit_or_zero = |i: usize| if i < 256 { bit(k, i) as i32 } else { 0 };
    let (mut i, mut carry) = (0, 0);
    while i < 257 {
        if bit_or_zero(i) == carry {
            i += 1; // the digit is 0, the carry goes on
            continue;
        }
        let window = (0..width).fold(carry, |window, j| window + (bit_or_zero(i + j) << j));
        carry = i32::from(window >= 1 << (width - 1));
        digits[i] = (window - (carry << width)) as i8;
        i += width;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::tests::Operands;
    use num_bigint::BigInt;

    #[test]
    fn non_adjacent_forms_are_worth_their_number() {
        let mut operands = Operands::new(3);
        for width in [2, GENERATOR_WIDTH, KEY_WIDTH] {
            for _ in 0..500 {
                let k = operands.number();
                let digits = non_adjacent_form(&k, width);
                let value: BigInt = digits
                    .iter()
                    .rev()
                    .fold(BigInt::ZERO, |sum, digit| sum * 2 + *digit);
                assert_eq!(value, BigInt::from(crate::arch::tests::big(&k)));
                assert!(
                    digits
                        .iter()
                        .all(|d| *d == 0 || d % 2 != 0 && i32::from(*d).abs() < 1 << (width - 1))
                );
                assert!(
                    digits
                        .windows(width)
                        .all(|w| w.iter().filter(|d| **d != 0).count() <= 1)
                );
            }
        }
    }
}
