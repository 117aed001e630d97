//! Scalars: integers modulo n, the order of P-256's group (SP 800-186, section 3.2.1.3).
//!
//! A handful of products an operation, so there is no assembly of their own: Montgomery's product in its separated form
//! (Koç, Acar and Kaliski, "Analyzing and comparing Montgomery multiplication algorithms", 1996), three 512-bit products.
//! Everything is constant time.

use crate::arch::mul_wide;
use crate::ct;
use crate::inverse::Modulus;
use crate::words::{self, Words};
use zeroize::Zeroize;

/// n
pub(crate) const ORDER: Words = [
    0xfc63_2551,
    0xf3b9_cac2,
    0xa717_9e84,
    0xbce6_faad,
    0xffff_ffff,
    0xffff_ffff,
    0x0000_0000,
    0xffff_ffff,
];
/// 2⁵¹² mod n
const R2: Words = [
    0xbe79_eea2,
    0x8324_4c95,
    0x49bd_6fa6,
    0x4699_799c,
    0x2b6b_ec59,
    0x2845_b239,
    0xf3d9_5620,
    0x66e1_2d94,
];
/// −1/n mod 2²⁵⁶
const NEGATED_INVERSE: Words = [
    0xee00_bc4f,
    0xccd1_c8aa,
    0x7d74_d2e4,
    0x48c9_4408,
    0xc588_c6f6,
    0x50fe_77ec,
    0xa9d6_281c,
    0x60d0_6633,
];

static MODULUS: Modulus = Modulus::new(&ORDER);

/// An integer below n.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Scalar(pub(crate) Words);

impl Zeroize for Scalar {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Scalar {
    /// The integer, if it is in 1..n. The answer is public, the integer is not.
    pub(crate) fn from_nonzero_integer(integer: &Words) -> Option<Self> {
        let valid = words::less_than(integer, &ORDER) & (words::is_zero(integer) ^ 1);
        (valid == 1).then_some(Scalar(*integer))
    }

    /// Any 256-bit integer modulo n: a hash (FIPS 186-5, section 6.4.1), an abscissa. It is below 2n.
    pub(crate) fn from_integer_reduced(integer: &Words) -> Self {
        Scalar(words::reduce_once(integer, 0, &ORDER))
    }

    /// 384 bits modulo n, with 1 in the place of 0: uniform to within 2⁻¹²⁸.
    pub(crate) fn from_wide_nonzero(low: &Words, high: &[u32; 4]) -> Self {
        let high = core::array::from_fn(|i| if i < 4 { high[i] } else { 0 });
        let Scalar(sum) = Scalar(montgomery_product(&high, &R2)).add(&Self::from_integer_reduced(low));
        Scalar(ct::select(ct::mask(words::is_zero(&sum)), &words::ONE, &sum))
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        let (sum, carry) = words::add(&self.0, &other.0);
        Scalar(words::reduce_once(&sum, carry, &ORDER))
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        Scalar(montgomery_product(&montgomery_product(&self.0, &other.0), &R2))
    }

    /// 1/a, and 0 for 0.
    pub(crate) fn invert(&self) -> Self {
        Scalar(MODULUS.invert(&self.0))
    }

    /// 1 if a = 0, else 0.
    pub(crate) fn is_zero(&self) -> u32 {
        words::is_zero(&self.0)
    }

    /// The scalar if it is odd, else n minus it, which then is; and the mask that says so.
    ///
    /// The signed-digit recodings of [`super::comb`] and [`super::window`] need an odd number.
    pub(crate) fn to_odd(self) -> (Words, u32) {
        let even = ct::mask((self.0[0] & 1) ^ 1);
        let (negated, _) = words::sub(&ORDER, &self.0);
        (ct::select(even, &negated, &self.0), even)
    }
}

/// a·b / 2²⁵⁶ mod n: with q = −a·b/n mod 2²⁵⁶, (a·b + q·n) / 2²⁵⁶ is below 2n. 3 products.
#[inline(never)]
fn montgomery_product(a: &Words, b: &Words) -> Words {
    let (low, high) = halves(&mul_wide(a, b));
    let (quotient, _) = halves(&mul_wide(&low, &NEGATED_INVERSE));
    let (_, high_of_multiple) = halves(&mul_wide(&quotient, &ORDER));
    // The low halves add up to 2²⁵⁶ by construction, unless both are 0.
    let carry = words::is_zero(&low) ^ 1;
    let (sum, carry_1) = words::add(&high, &high_of_multiple);
    let (sum, carry_2) = words::add(&sum, &[carry, 0, 0, 0, 0, 0, 0, 0]);
    words::reduce_once(&sum, carry_1 + carry_2, &ORDER)
}

fn halves(product: &[u32; 16]) -> (Words, Words) {
    (
        core::array::from_fn(|i| product[i]),
        core::array::from_fn(|i| product[i + 8]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::tests::{Operands, big};
    use num_bigint::BigUint;

    #[test]
    fn constants_are_what_they_say() {
        let r = BigUint::from(1u8) << 256u32;
        assert_eq!(big(&R2), r.pow(2) % big(&ORDER));
        assert_eq!((big(&NEGATED_INVERSE) * big(&ORDER) + 1u8) % &r, BigUint::ZERO);
    }

    #[test]
    fn operations_agree_with_num_bigint() {
        let n = big(&ORDER);
        let mut operands = Operands::new(1);
        for _ in 0..3000 {
            let (a, b) = (operands.below(&ORDER), operands.below(&ORDER));
            assert_eq!(big(&Scalar(a).mul(&Scalar(b)).0), big(&a) * big(&b) % &n);
            assert_eq!(big(&Scalar(a).add(&Scalar(b)).0), (big(&a) + big(&b)) % &n);
            let inverse = big(&Scalar(a).invert().0);
            assert_eq!(inverse, big(&a).modinv(&n).unwrap_or_default());
            let high = [b[0], b[1], b[2], b[3]];
            let wide = ((BigUint::new(high.to_vec()) << 256u32) + big(&a)) % &n;
            assert_eq!(
                big(&Scalar::from_wide_nonzero(&a, &high).0),
                wide.max(BigUint::from(1u8))
            );
        }
    }
}
