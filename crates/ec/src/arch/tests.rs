//! The twin against num-bigint, in both limb widths. What the assembly does with the same operands is compared on the
//! simulated target (`crates/ec/trace`).

use super::{P256_PRIME, limbs32, limbs64};
use crate::words::{self, Words};
use num_bigint::BigUint;

pub(crate) fn big(words: &[u32]) -> BigUint {
    BigUint::new(words.to_vec())
}

/// Operands biased to carries: three eighths of all words are 0, 1, all ones or all ones but the last.
pub(crate) struct Operands {
    state: u64,
}

impl Operands {
    pub(crate) fn new(seed: u64) -> Self {
        Operands {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn word(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as u32
    }

    pub(crate) fn number(&mut self) -> Words {
        core::array::from_fn(|_| match self.word() >> 29 {
            0 => 0,
            1 => !0,
            2 => [1, !1][self.word() as usize & 1],
            _ => self.word(),
        })
    }

    pub(crate) fn below(&mut self, m: &Words) -> Words {
        let number = self.number();
        words::reduce_once(&number, 0, m)
    }
}

/// Checks one twin's every function on one pair.
macro_rules! check {
    ($twin:path, $constants:expr, $a:expr, $b:expr) => {{
        use $twin as twin;
        let Constants { p, q, r_inverse } = $constants;
        let (a, b) = ($a, $b);
        let (x, y) = (&big(&a), &big(&b));
        assert_eq!(big(&twin::mul_wide(&a, &b)), x * y);
        // Any 256-bit numbers, equal modulo 2^255 - 19.
        assert_eq!(big(&twin::f25519_mul(&a, &b)) % q, x * y % q);
        assert_eq!(big(&twin::f25519_sqr(&a)) % q, x * x % q);
        assert_eq!(big(&twin::f25519_add(&a, &b)) % q, (x + y) % q);
        assert_eq!(big(&twin::f25519_sub(&a, &b)) % q, (x + q * 4u8 - y) % q);
        assert_eq!(big(&twin::f25519_mul_121665(&a)) % q, x * 121_665u32 % q);
        // Below p, and canonical.
        let (a, b) = (
            words::reduce_once(&a, 0, &P256_PRIME),
            words::reduce_once(&b, 0, &P256_PRIME),
        );
        let (x, y) = (&big(&a), &big(&b));
        assert_eq!(big(&twin::p256_mul(&a, &b)), x * y * r_inverse % p);
        assert_eq!(big(&twin::p256_sqr(&a)), x * x * r_inverse % p);
        assert_eq!(big(&twin::p256_add(&a, &b)), (x + y) % p);
        assert_eq!(big(&twin::p256_sub(&a, &b)), (x + p - y) % p);
        let half = big(&twin::p256_half(&a));
        assert!(half < *p && half * 2u8 % p == *x);
    }};
}

struct Constants {
    p: BigUint,
    q: BigUint,
    r_inverse: BigUint,
}

fn check_pairs(pairs: usize) {
    let p = big(&P256_PRIME);
    let r_inverse = (BigUint::from(1u8) << 256u32).modinv(&p).unwrap();
    let constants = &Constants {
        p,
        q: (BigUint::from(1u8) << 255u32) - 19u8,
        r_inverse,
    };
    let mut operands = Operands::new(2);
    for _ in 0..pairs {
        let (a, b) = (operands.number(), operands.number());
        check!(limbs32::twin, constants, a, b);
        check!(limbs64::twin, constants, a, b);
    }
}

#[test]
fn twins_agree_with_num_bigint_on_a_million_pairs() {
    check_pairs(1_000_000);
}

#[test]
fn twins_read_tables_alike() {
    let mut operands = Operands::new(4);
    let table: [[Words; 3]; 16] = core::array::from_fn(|_| core::array::from_fn(|_| operands.number()));
    let pairs = table.map(|[a, b, _]| [a, b]);
    for index in 0..20 {
        let expected = table.get(index as usize).copied().unwrap_or_default();
        assert_eq!(limbs32::twin::lookup_3(&table, index), expected);
        assert_eq!(limbs64::twin::lookup_3(&table, index), expected);
        assert_eq!(limbs32::twin::lookup_2(&pairs, index), [expected[0], expected[1]]);
        assert_eq!(limbs64::twin::lookup_2(&pairs, index), [expected[0], expected[1]]);
    }
}

#[test]
fn products_of_signed_words() {
    for (a, b) in [
        (0, 0),
        (-1, 1),
        (i32::MIN, i32::MIN),
        (i32::MAX, i32::MIN),
        (123, -456),
    ] {
        assert_eq!(limbs32::twin::mul_signed(a, b), i64::from(a) * i64::from(b));
    }
}
