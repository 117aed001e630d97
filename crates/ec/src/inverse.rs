//! Inversion modulo an odd number of 256 bits, in constant time.
//!
//! Bernstein and Yang, "Fast constant-time gcd computation and modular inversion" (CHES 2019), in the half-delta variant
//! of Wuille and Maxwell (libsecp256k1, `doc/safegcd_implementation.md`): 590 division steps suffice for any 256-bit input
//! below the modulus. They are done in 20 batches of 30. A batch works on the lowest words only and yields a 2 × 2
//! matrix, which is then applied to the full numbers: f and g exactly divided by 2³⁰, d and e modulo m.
//!
//! Numbers are nine signed limbs of 30 bits. Throughout, d·x ≡ f and e·x ≡ g modulo m (up to the powers of two divided
//! out), so that when g is 0 and f is ±1, d is ±1/x.
//!
//! Cost: 20 · (30 steps of about 24 instructions + 104 products of 32 bits), about 87 000 instructions on the M0+; an
//! inversion by Fermat's theorem takes a million.

use crate::arch::mul_signed;
use crate::ct::sign_mask;
use crate::words::Words;

const LIMBS: usize = 9;
const MASK: i32 = (1 << 30) - 1;
const BATCHES: usize = 20;
const STEPS: usize = 30;

/// A number in signed limbs of 30 bits, least significant first; between operations all but the last are in 0..2³⁰.
type Signed = [i32; LIMBS];

/// The transition matrix of a batch, (u v; q r), scaled by 2³⁰. |u| + |v| and |q| + |r| are at most 2³⁰.
struct Matrix {
    u: i32,
    v: i32,
    q: i32,
    r: i32,
}

/// An odd modulus of 256 bits, ready for inversions.
pub(crate) struct Modulus {
    limbs: Signed,
    /// 1/m mod 2³⁰
    inverse: i32,
}

impl Modulus {
    pub(crate) const fn new(m: &Words) -> Self {
        let limbs = to_limbs(m);
        // Newton's iteration doubles the correct bits: 1, 2, 4, 8, 16, 32.
        let mut inverse = 1i32;
        let mut i = 0;
        while i < 6 {
            inverse = inverse.wrapping_mul(2i32.wrapping_sub(limbs[0].wrapping_mul(inverse)));
            i += 1;
        }
        Modulus {
            limbs,
            inverse: inverse & MASK,
        }
    }

    /// 1/x mod m, and 0 for 0. x must be below m. Constant time.
    pub(crate) fn invert(&self, x: &Words) -> Words {
        let (mut f, mut g) = (self.limbs, to_limbs(x));
        let (mut d, mut e) = ([0; LIMBS], [0; LIMBS]);
        e[0] = 1;
        let mut zeta = -1;
        for _ in 0..BATCHES {
            let matrix;
            (zeta, matrix) = division_steps(zeta, f[0], g[0]);
            self.update_de(&mut d, &mut e, &matrix);
            update_fg(&mut f, &mut g, &matrix);
        }
        self.normalize(&mut d, f[LIMBS - 1]);
        from_limbs(&d)
    }

    /// (d, e) = matrix · (d, e) / 2³⁰ mod m, both kept in (−2m, m).
    #[inline(never)]
    fn update_de(&self, d: &mut Signed, e: &mut Signed, &Matrix { u, v, q, r }: &Matrix) {
        let (d_sign, e_sign) = (sign_mask(d[LIMBS - 1]), sign_mask(e[LIMBS - 1]));
        // Multiples of m to add: one for each negative operand, then what makes the lowest limb divisible.
        let mut d_multiple = (u & d_sign) + (v & e_sign);
        let mut e_multiple = (q & d_sign) + (r & e_sign);
        let mut d_carry = mul_signed(u, d[0]) + mul_signed(v, e[0]);
        let mut e_carry = mul_signed(q, d[0]) + mul_signed(r, e[0]);
        d_multiple -= self.inverse.wrapping_mul(d_carry as i32).wrapping_add(d_multiple) & MASK;
        e_multiple -= self.inverse.wrapping_mul(e_carry as i32).wrapping_add(e_multiple) & MASK;
        d_carry = (d_carry + mul_signed(self.limbs[0], d_multiple)) >> 30;
        e_carry = (e_carry + mul_signed(self.limbs[0], e_multiple)) >> 30;
        for i in 1..LIMBS {
            d_carry += mul_signed(u, d[i]) + mul_signed(v, e[i]);
            e_carry += mul_signed(q, d[i]) + mul_signed(r, e[i]);
            let m = self.limbs[i];
            if m != 0 {
                // The modulus is public, and both of P-256's have limbs that are 0.
                d_carry += mul_signed(m, d_multiple);
                e_carry += mul_signed(m, e_multiple);
            }
            d[i - 1] = d_carry as i32 & MASK;
            e[i - 1] = e_carry as i32 & MASK;
            d_carry >>= 30;
            e_carry >>= 30;
        }
        d[LIMBS - 1] = d_carry as i32;
        e[LIMBS - 1] = e_carry as i32;
    }

    /// Brings d from (−2m, m) to [0, m), negated if f, which is ±1, is −1.
    fn normalize(&self, d: &mut Signed, f_top: i32) {
        self.add_if_negative(d);
        let negate = sign_mask(f_top);
        for limb in d.iter_mut() {
            *limb = (*limb ^ negate) - negate;
        }
        carry(d);
        self.add_if_negative(d);
        carry(d);
    }

    fn add_if_negative(&self, d: &mut Signed) {
        let negative = sign_mask(d[LIMBS - 1]);
        for (limb, m) in d.iter_mut().zip(&self.limbs) {
            *limb += m & negative;
        }
    }
}

/// Brings all limbs but the last back to 0..2³⁰.
fn carry(d: &mut Signed) {
    for i in 0..LIMBS - 1 {
        d[i + 1] += d[i] >> 30;
        d[i] &= MASK;
    }
}

/// 30 division steps on the lowest words: each is "if ζ < 0 and g is odd, (f, g) = (g, −f)"; then "if g is odd, g += f"
/// and "g /= 2", with the masks `negative` and `odd` in place of the ifs. ζ is −(δ + ½).
#[inline(never)]
fn division_steps(mut zeta: i32, mut f: i32, mut g: i32) -> (i32, Matrix) {
    let (mut u, mut v, mut q, mut r) = (1i32, 0i32, 0i32, 1i32);
    for _ in 0..STEPS {
        let negative = sign_mask(zeta);
        let odd = crate::ct::mask(g as u32 & 1) as i32;
        // (f, u, v) with the sign that the step wants
        let x = (f ^ negative).wrapping_sub(negative);
        let y = (u ^ negative) - negative;
        let z = (v ^ negative) - negative;
        g = g.wrapping_add(x & odd);
        q += y & odd;
        r += z & odd;
        let exchange = negative & odd;
        zeta = (zeta ^ exchange) - 1;
        f = f.wrapping_add(g & exchange);
        u += q & exchange;
        v += r & exchange;
        g >>= 1;
        u <<= 1;
        v <<= 1;
    }
    (zeta, Matrix { u, v, q, r })
}

/// (f, g) = matrix · (f, g) / 2³⁰, which is exact.
#[inline(never)]
fn update_fg(f: &mut Signed, g: &mut Signed, &Matrix { u, v, q, r }: &Matrix) {
    let mut f_carry = (mul_signed(u, f[0]) + mul_signed(v, g[0])) >> 30;
    let mut g_carry = (mul_signed(q, f[0]) + mul_signed(r, g[0])) >> 30;
    for i in 1..LIMBS {
        f_carry += mul_signed(u, f[i]) + mul_signed(v, g[i]);
        g_carry += mul_signed(q, f[i]) + mul_signed(r, g[i]);
        f[i - 1] = f_carry as i32 & MASK;
        g[i - 1] = g_carry as i32 & MASK;
        f_carry >>= 30;
        g_carry >>= 30;
    }
    f[LIMBS - 1] = f_carry as i32;
    g[LIMBS - 1] = g_carry as i32;
}

const fn to_limbs(words: &Words) -> Signed {
    let mut limbs = [0; LIMBS];
    let mut i = 0;
    while i < LIMBS {
        let (word, shift) = (i * 30 / 32, i * 30 % 32);
        let mut bits = (words[word] >> shift) as u64;
        if word < 7 {
            bits |= (words[word + 1] as u64) << (32 - shift);
        }
        limbs[i] = bits as i32 & MASK;
        i += 1;
    }
    limbs
}

/// The words of a number that is normalized.
fn from_limbs(limbs: &Signed) -> Words {
    core::array::from_fn(|i| {
        // Word i begins 2i bits into limb i, and takes its highest 2i + 2 bits from the next.
        (limbs[i] >> (2 * i)) as u32 | (limbs[i + 1] as u32) << (30 - 2 * i)
    })
}
