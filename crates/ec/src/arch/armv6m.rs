//! The assembly's Rust side. Register maps, algorithms and costs are in the `.s` files.

use crate::words::Words;
use core::mem::MaybeUninit;

core::arch::global_asm!(
    include_str!("armv6m/multiply.s"),
    include_str!("armv6m/p256.s"),
    include_str!("armv6m/curve25519.s"),
    include_str!("armv6m/lookup.s"),
    options(raw)
);

// Every function writes the whole of `out` and reads nothing but its arguments; `out` may be an operand.
unsafe extern "C" {
    fn picolet_ec_mul_wide(out: *mut [u32; 16], a: *const Words, b: *const Words);
    fn picolet_ec_p256_mul(out: *mut Words, a: *const Words, b: *const Words);
    fn picolet_ec_p256_sqr(out: *mut Words, a: *const Words);
    fn picolet_ec_p256_add(out: *mut Words, a: *const Words, b: *const Words);
    fn picolet_ec_p256_sub(out: *mut Words, a: *const Words, b: *const Words);
    fn picolet_ec_p256_half(out: *mut Words, a: *const Words);
    fn picolet_ec_25519_mul(out: *mut Words, a: *const Words, b: *const Words);
    fn picolet_ec_25519_sqr(out: *mut Words, a: *const Words);
    fn picolet_ec_25519_add(out: *mut Words, a: *const Words, b: *const Words);
    fn picolet_ec_25519_sub(out: *mut Words, a: *const Words, b: *const Words);
    fn picolet_ec_25519_mul_121665(out: *mut Words, a: *const Words);
    fn picolet_ec_lookup_16(out: *mut [Words; 2], table: *const [Words; 2], entries: usize, index: u32);
    fn picolet_ec_lookup_24(out: *mut [Words; 3], table: *const [Words; 3], entries: usize, index: u32);
}

/// Gives an assembly function the signature of its twin.
macro_rules! assembly {
    ($($name:ident($($operand:ident),*) -> $result:ty = $symbol:ident;)*) => {$(
        #[inline(always)]
        pub(crate) fn $name($($operand: &Words),*) -> $result {
            let mut out = MaybeUninit::<$result>::uninit();
            // SAFETY: the operands are references to eight aligned words each, `out` has room for the result's words,
            // and the function writes all of them before it returns. It keeps to the AAPCS: r4-r11 and sp are restored.
            unsafe {
                $symbol(out.as_mut_ptr(), $($operand),*);
                out.assume_init()
            }
        }
    )*};
}

assembly! {
    mul_wide(a, b) -> [u32; 16] = picolet_ec_mul_wide;
    p256_mul(a, b) -> Words = picolet_ec_p256_mul;
    p256_sqr(a) -> Words = picolet_ec_p256_sqr;
    p256_add(a, b) -> Words = picolet_ec_p256_add;
    p256_sub(a, b) -> Words = picolet_ec_p256_sub;
    p256_half(a) -> Words = picolet_ec_p256_half;
    f25519_mul(a, b) -> Words = picolet_ec_25519_mul;
    f25519_sqr(a) -> Words = picolet_ec_25519_sqr;
    f25519_add(a, b) -> Words = picolet_ec_25519_add;
    f25519_sub(a, b) -> Words = picolet_ec_25519_sub;
    f25519_mul_121665(a) -> Words = picolet_ec_25519_mul_121665;
}

/// Returns `table[index]`, reading all of the table.
pub(crate) fn lookup_2(table: &[[Words; 2]], index: u32) -> [Words; 2] {
    let mut out = MaybeUninit::uninit();
    // SAFETY: `table` is as many entries of 16 aligned words as is said, at least one; all 16 words of `out` are written,
    // with zeros if the index is out of range.
    unsafe {
        picolet_ec_lookup_16(out.as_mut_ptr(), table.as_ptr(), table.len(), index);
        out.assume_init()
    }
}

/// Returns `table[index]`, reading all of the table.
pub(crate) fn lookup_3(table: &[[Words; 3]], index: u32) -> [Words; 3] {
    let mut out = MaybeUninit::uninit();
    // SAFETY: as `lookup_2`, with 24 words an entry.
    unsafe {
        picolet_ec_lookup_24(out.as_mut_ptr(), table.as_ptr(), table.len(), index);
        out.assume_init()
    }
}

/// Returns the signed 64-bit product.
///
/// 17 instructions, from signed and unsigned halves; LLVM would call `__aeabi_lmul`, a full 64 × 64 product.
#[inline(always)]
pub(crate) fn mul_signed(a: i32, b: i32) -> i64 {
    let (low, high): (u32, i32);
    // SAFETY: registers only. The flags are clobbered, which `asm!` assumes unless told otherwise.
    unsafe {
        core::arch::asm!(
            "uxth {t}, {a}",          // al
            "asrs {a}, {a}, #16",     // ah, signed
            "uxth {u}, {b}",          // bl
            "asrs {b}, {b}, #16",     // bh, signed
            "mov {l}, {t}",
            "muls {l}, {u}, {l}",     // al * bl
            "muls {t}, {b}, {t}",     // al * bh
            "muls {u}, {a}, {u}",     // ah * bl
            "muls {a}, {b}, {a}",     // ah * bh
            "lsls {b}, {t}, #16",
            "asrs {t}, {t}, #16",
            "adds {l}, {l}, {b}",
            "adcs {a}, {t}",
            "lsls {b}, {u}, #16",
            "asrs {u}, {u}, #16",
            "adds {l}, {l}, {b}",
            "adcs {a}, {u}",
            a = inout(reg) a => high,
            b = inout(reg) b => _,
            t = out(reg) _,
            u = out(reg) _,
            l = out(reg) low,
            options(pure, nomem, nostack)
        );
    }
    (i64::from(high) << 32) | i64::from(low)
}
