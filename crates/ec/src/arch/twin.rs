//! The fields in Rust, limb by limb: what the assembly must equal, and what runs where there is none.
//!
//! Schoolbook products (a compiler turns the inner step into one multiply-accumulate) and the same reductions as the
//! assembly's, so that results agree word for word. Compiled for limbs of 32 or of 64 bits: the parent module says which.

#![allow(
    clippy::modulo_one,
    clippy::unnecessary_cast,
    reason = "so it looks in limbs of 32 bits"
)]

use super::{Double, Limb};
use crate::arch::P256_PRIME;
use crate::ct;
use crate::words::Words;

const BITS: u32 = Limb::BITS;
const LIMBS: usize = 256 / BITS as usize;
const WORDS: usize = BITS as usize / 32;
type Number = [Limb; LIMBS];
type Wide = [[Limb; LIMBS]; 2];

const fn limbs(words: &Words) -> Number {
    let mut number = [0; LIMBS];
    let mut i = 0;
    while i < 8 {
        number[i / WORDS] |= (words[i] as Limb) << (32 * (i % WORDS));
        i += 1;
    }
    number
}

fn words(number: &Number) -> Words {
    core::array::from_fn(|i| (number[i / WORDS] >> (32 * (i % WORDS))) as u32)
}

const P: Number = limbs(&P256_PRIME);

/// a + b·c + carry, which fits twice the limb: (2ᵏ−1)² + 2·(2ᵏ−1) = 2²ᵏ − 1.
#[inline(always)]
fn multiply_add(a: Limb, b: Limb, c: Limb, carry: &mut Limb) -> Limb {
    let sum = Double::from(b) * Double::from(c) + Double::from(a) + Double::from(*carry);
    *carry = (sum >> BITS) as Limb;
    sum as Limb
}

/// The same, where nothing is known of the operands: one UMAAL where there is that instruction, of which LLVM makes three.
#[cfg(not(picolet_ec_umaal))]
#[inline(always)]
fn accumulate(a: Limb, b: Limb, c: Limb, carry: &mut Limb) -> Limb {
    multiply_add(a, b, c, carry)
}

#[cfg(picolet_ec_umaal)]
#[inline(always)]
fn accumulate(a: Limb, b: Limb, c: Limb, carry: &mut Limb) -> Limb {
    let mut low = a;
    // SAFETY: registers only, and no flags. The processor has it: `build.rs` says so for the Cortex-M33 of the RP2350.
    unsafe {
        core::arch::asm!(
            ".cpu cortex-m33", // the target's name does not promise the DSP extension
            "umaal {low}, {high}, {b}, {c}",
            low = inout(reg) low,
            high = inout(reg) *carry,
            b = in(reg) b,
            c = in(reg) c,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    low
}

#[inline(always)]
fn add(a: &Number, b: &Number) -> (Number, Limb) {
    let mut carry = 0;
    let sum = core::array::from_fn(|i| {
        let sum = Double::from(a[i]) + Double::from(b[i]) + Double::from(carry);
        carry = (sum >> BITS) as Limb;
        sum as Limb
    });
    (sum, carry)
}

#[inline(always)]
fn sub(a: &Number, b: &Number) -> (Number, Limb) {
    let mut borrow = 0;
    let difference = core::array::from_fn(|i| {
        let difference = Double::from(a[i])
            .wrapping_sub(Double::from(b[i]))
            .wrapping_sub(Double::from(borrow));
        borrow = (difference >> BITS) as Limb & 1;
        difference as Limb
    });
    (difference, borrow)
}

/// All ones if `bit` is 1, 0 if it is 0.
#[inline(always)]
fn mask(bit: Limb) -> Limb {
    ct::hide(bit as u32) as Limb * Limb::MAX
}

#[inline(always)]
fn masked(a: &Number, mask: Limb) -> Number {
    a.map(|limb| limb & mask)
}

#[inline(always)]
fn product(a: &Number, b: &Number) -> Wide {
    let mut r = [0; 2 * LIMBS];
    for i in 0..LIMBS {
        let mut carry = 0;
        for j in 0..LIMBS {
            r[i + j] = accumulate(r[i + j], a[i], b[j], &mut carry);
        }
        r[i + LIMBS] = carry;
    }
    [
        core::array::from_fn(|i| r[i]),
        core::array::from_fn(|i| r[i + LIMBS]),
    ]
}

pub(crate) fn mul_wide(a: &Words, b: &Words) -> [u32; 16] {
    let [low, high] = product(&limbs(a), &limbs(b)).map(|half| words(&half));
    core::array::from_fn(|i| if i < 8 { low[i] } else { high[i - 8] })
}

/// A number below 2p made canonical: `high` is its ninth word.
#[inline(always)]
fn canonical(number: &Number, high: Limb) -> Words {
    let (difference, borrow) = sub(number, &P);
    let below = mask(borrow & (high ^ 1));
    words(&add(&difference, &masked(&P, below)).0)
}

/// Montgomery reduction: the quotient's limb is the number's own lowest limb, since −1/p = 1 mod 2⁹⁶.
#[inline(always)]
fn p256_reduce([low, high]: &Wide) -> Words {
    let mut number = *low;
    let mut top = 0;
    for high in high {
        let quotient = number[0];
        let mut carry = 0;
        for j in 0..LIMBS {
            number[j] = multiply_add(number[j], quotient, P[j], &mut carry);
        }
        number.rotate_left(1);
        let sum = Double::from(*high) + Double::from(carry) + Double::from(top);
        number[LIMBS - 1] = sum as Limb;
        top = (sum >> BITS) as Limb;
    }
    canonical(&number, top)
}

pub(crate) fn p256_mul(a: &Words, b: &Words) -> Words {
    p256_reduce(&product(&limbs(a), &limbs(b)))
}

pub(crate) fn p256_sqr(a: &Words) -> Words {
    p256_mul(a, a)
}

pub(crate) fn p256_add(a: &Words, b: &Words) -> Words {
    let (sum, carry) = add(&limbs(a), &limbs(b));
    canonical(&sum, carry)
}

pub(crate) fn p256_sub(a: &Words, b: &Words) -> Words {
    let (difference, borrow) = sub(&limbs(a), &limbs(b));
    words(&add(&difference, &masked(&P, mask(borrow))).0)
}

pub(crate) fn p256_half(a: &Words) -> Words {
    let a = limbs(a);
    let (sum, carry) = add(&a, &masked(&P, mask(a[0] & 1)));
    let half: Number = core::array::from_fn(|i| {
        let above = if i + 1 < LIMBS { sum[i + 1] } else { carry };
        (sum[i] >> 1) | (above << (BITS - 1))
    });
    words(&half)
}

/// (N mod 2²⁵⁵) + 19·⌊N / 2²⁵⁵⌋, for N = number + high·2²⁵⁶ and a small `high`.
#[inline(always)]
fn f25519_fold(mut number: Number, high: Limb) -> Words {
    let top = number[LIMBS - 1];
    let mut carry = 19 * ((high << 1) | (top >> (BITS - 1)));
    number[LIMBS - 1] = top & (Limb::MAX >> 1);
    words(&number.map(|limb| multiply_add(limb, 0, 0, &mut carry)))
}

pub(crate) fn f25519_mul(a: &Words, b: &Words) -> Words {
    let [low, high] = product(&limbs(a), &limbs(b));
    let mut carry = 0;
    let number = core::array::from_fn(|i| accumulate(low[i], 38, high[i], &mut carry));
    f25519_fold(number, carry)
}

pub(crate) fn f25519_sqr(a: &Words) -> Words {
    f25519_mul(a, a)
}

pub(crate) fn f25519_mul_121665(a: &Words) -> Words {
    let mut carry = 0;
    let number = limbs(a).map(|limb| multiply_add(0, 121_665, limb, &mut carry));
    f25519_fold(number, carry)
}

pub(crate) fn f25519_add(a: &Words, b: &Words) -> Words {
    let (sum, carry) = add(&limbs(a), &limbs(b));
    let (mut sum, carry) = add(&sum, &small(38 * carry));
    sum[0] += 38 * carry; // the number has wrapped around to less than 38: no carry
    words(&sum)
}

pub(crate) fn f25519_sub(a: &Words, b: &Words) -> Words {
    let (difference, borrow) = sub(&limbs(a), &limbs(b));
    let (mut difference, borrow) = sub(&difference, &small(38 * borrow));
    difference[0] -= 38 * borrow; // it has wrapped around to more than 2²⁵⁶ − 38: no borrow
    words(&difference)
}

fn small(limb: Limb) -> Number {
    core::array::from_fn(|i| if i == 0 { limb } else { 0 })
}

#[inline(always)]
fn lookup<const N: usize>(table: &[[Words; N]], index: u32) -> [Words; N] {
    let mut out = [[0; 8]; N];
    for (entry, i) in table.iter().zip(0..) {
        let mask = ct::equal_mask(i, index);
        for (out, entry) in out.iter_mut().flatten().zip(entry.iter().flatten()) {
            *out |= entry & mask;
        }
    }
    out
}

pub(crate) fn lookup_2(table: &[[Words; 2]], index: u32) -> [Words; 2] {
    lookup(table, index)
}

pub(crate) fn lookup_3(table: &[[Words; 3]], index: u32) -> [Words; 3] {
    lookup(table, index)
}

pub(crate) fn mul_signed(a: i32, b: i32) -> i64 {
    i64::from(a) * i64::from(b)
}
