//! Tests only: which scalars make an incomplete addition exceptional, found by computation.
//!
//! A sum S of signed powers of two and an addend D of others: the addition S·P + D·P fails if S − D (a doubling) or S + D
//! (opposite points) is a multiple m·n. Both are signed sums over the same positions, so each m has at most one way to be
//! written, read off from below: an odd rest takes a digit whose sign must make the next rest fit what the next position
//! wants. Enumerating m then enumerates all exceptional cases.

use super::comb::multiply_generator;
use super::generator;
use super::point::{Affine, PublicSum};
use super::scalar::{ORDER, Scalar};
use crate::words::{self, Words, bit};
use num_bigint::{BigInt, BigUint, Sign};

/// What a position of the sum holds.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Digit {
    /// ±1, in the sum so far.
    Summed,
    /// ±1, in what is added.
    Added,
    /// Nothing.
    Absent,
}

/// An exceptional addition: S and D with S ± D = m·n.
#[derive(Debug)]
pub(crate) struct Case {
    sum: BigInt,
    added: BigInt,
}

impl Case {
    pub(crate) fn is_doubling(&self) -> bool {
        (&self.sum - &self.added) % BigInt::from(BigUint::new(ORDER.to_vec())) == BigInt::ZERO
    }

    /// S + D as the scalar that it is in the last addition, if it is one that is multiplied: odd, in 1..n.
    pub(crate) fn scalar_in_range(&self) -> Option<Words> {
        let scalar = (&self.sum + &self.added).to_biguint()?;
        let mut digits = scalar.to_u32_digits();
        if digits.len() > 8 {
            return None;
        }
        digits.resize(8, 0);
        let words: Words = digits.try_into().ok()?;
        (words::less_than(&words, &ORDER) == 1 && words::is_zero(&words) == 0).then_some(words)
    }
}

/// All S, D over the positions with S + D or S − D a multiple of n other than 0.
pub(crate) fn exceptional_multiples(positions: &[Digit]) -> impl Iterator<Item = Case> {
    let n = BigInt::from(BigUint::new(ORDER.to_vec()));
    let bound = BigInt::from(1) << positions.len();
    let mut multiple = n.clone();
    let mut cases = Vec::new();
    while multiple < bound {
        for target in [multiple.clone(), -multiple.clone()] {
            if let Some((sum, other)) = write_as(&target, positions) {
                // target = S + other, where other is D or −D
                cases.push(Case {
                    sum: sum.clone(),
                    added: other.clone(),
                });
                cases.push(Case { sum, added: -other });
            }
        }
        multiple += &n;
    }
    cases.into_iter()
}

/// The target as a signed sum over the positions, split in what is summed and what is added.
fn write_as(target: &BigInt, positions: &[Digit]) -> Option<(BigInt, BigInt)> {
    let mut rest = target.clone();
    let (mut sum, mut added) = (BigInt::ZERO, BigInt::ZERO);
    for (i, position) in positions.iter().enumerate() {
        let odd = rest.bit(0);
        if odd != (*position != Digit::Absent) {
            return None;
        }
        if odd {
            // The next rest is (rest − digit)/2: of the two choices one is odd and one is even.
            let next_odd = positions[i + 1..]
                .first()
                .is_some_and(|next| *next != Digit::Absent);
            let last = i + 1 == positions.len();
            let digit = [1, -1].map(BigInt::from).into_iter().find(|digit| {
                let next: BigInt = (&rest - digit) >> 1;
                if last {
                    next == BigInt::ZERO
                } else {
                    next.bit(0) == next_odd
                }
            })?;
            rest = (rest - &digit) >> 1;
            let value = digit << i;
            if *position == Digit::Summed {
                sum += value
            } else {
                added += value
            }
        } else {
            rest >>= 1;
        }
    }
    (rest.sign() == Sign::NoSign).then_some((sum, added))
}

/// k·G by doubling and adding with all cases handled.
pub(crate) fn reference_multiple(k: &Scalar) -> Affine {
    let mut sum = PublicSum::default();
    for i in (0..256).rev() {
        sum.double();
        if bit(&k.0, i) == 1 {
            sum.add_affine(&generator());
        }
    }
    sum.point().unwrap().to_affine()
}

#[test]
fn the_enumeration_finds_known_cases() {
    // Eight digits cannot reach n; 256 can: n itself, with any split.
    assert_eq!(exceptional_multiples(&[Digit::Summed; 8]).count(), 0);
    let mut positions = vec![Digit::Summed; 256];
    positions[..4].fill(Digit::Added);
    let cases: Vec<Case> = exceptional_multiples(&positions).collect();
    assert!(
        cases
            .iter()
            .any(|case| case.scalar_in_range().is_some() && case.is_doubling())
    );
    assert!(cases.iter().all(|case| {
        let n = BigInt::from(BigUint::new(ORDER.to_vec()));
        (&case.sum + &case.added) % &n == BigInt::ZERO || (&case.sum - &case.added) % &n == BigInt::ZERO
    }));
}

#[test]
fn edge_scalars() {
    let (n, one) = (ORDER, words::ONE);
    for i in 1..40 {
        let small = [i, 0, 0, 0, 0, 0, 0, 0];
        for k in [small, words::sub(&n, &small).0] {
            assert_eq!(multiply_generator(&Scalar(k)), reference_multiple(&Scalar(k)));
        }
    }
    for i in 0..255 {
        let mut k = words::ZERO;
        k[i / 32] = 1 << (i % 32);
        assert_eq!(multiply_generator(&Scalar(k)), reference_multiple(&Scalar(k)));
        let below = words::sub(&k, &one).0;
        if words::is_zero(&below) == 0 {
            assert_eq!(
                multiply_generator(&Scalar(below)),
                reference_multiple(&Scalar(below))
            );
        }
    }
}
