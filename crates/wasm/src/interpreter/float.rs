//! Floats: IEEE 754 arithmetic whose NaNs are canonical.
//!
//! Operations on 32 bits are done on 64: for the sum, difference, product, quotient and square root of 24-bit numbers a second
//! rounding from 53 bits never changes the result, and a microcontroller without floating-point hardware needs one set of routines.

use crate::trap::TrapKind;

pub(super) const CANONICAL_32: u32 = 0x7fc0_0000;
pub(super) const CANONICAL_64: u64 = 0x7ff8_0000_0000_0000;

pub(super) fn bits32(value: f64) -> u32 {
    // The conversion of a NaN would keep its payload.
    if value.is_nan() {
        CANONICAL_32
    } else {
        (value as f32).to_bits()
    }
}

pub(super) fn bits64(value: f64) -> u64 {
    if value.is_nan() {
        CANONICAL_64
    } else {
        value.to_bits()
    }
}

pub(super) fn from32(bits: u32) -> f64 {
    f64::from(f32::from_bits(bits))
}

/// Rounding and square root, by the place in the order of opcodes: ceil, floor, trunc, nearest, sqrt.
pub(super) fn unary(operation: u8, x: f64) -> f64 {
    match operation {
        0 => libm::ceil(x),
        1 => libm::floor(x),
        2 => libm::trunc(x),
        3 => libm::rint(x),
        _ => libm::sqrt(x),
    }
}

/// Arithmetic, by the place in the order of opcodes: add, sub, mul, div, min, max.
pub(super) fn binary(operation: u8, x: f64, y: f64) -> f64 {
    match operation {
        0 => x + y,
        1 => x - y,
        2 => x * y,
        3 => x / y,
        _ if x.is_nan() || y.is_nan() => f64::NAN,
        // Of two zeros the negative one is less.
        4 if x == y => f64::from_bits(x.to_bits() | y.to_bits()),
        _ if x == y => f64::from_bits(x.to_bits() & y.to_bits()),
        4 if x < y => x,
        4 => y,
        _ if x < y => y,
        _ => x,
    }
}

/// Comparison, by the place in the order of opcodes: eq, ne, lt, gt, le, ge.
pub(super) fn compare(operation: u8, x: f64, y: f64) -> bool {
    match operation {
        0 => x == y,
        1 => x != y,
        2 => x < y,
        3 => x > y,
        4 => x <= y,
        _ => x >= y,
    }
}

/// Conversion to an integer that must be able to hold the result.
pub(super) fn truncate(x: f64, wide: bool, signed: bool) -> Result<u64, TrapKind> {
    if x.is_nan() {
        return Err(TrapKind::InvalidConversion);
    }
    let (above, below) = match (wide, signed) {
        (false, true) => (-2_147_483_649.0, 2_147_483_648.0),
        (false, false) => (-1.0, 4_294_967_296.0),
        // The number before the least is far below it.
        (true, true) => (-9_223_372_036_854_777_856.0, 9_223_372_036_854_775_808.0),
        (true, false) => (-1.0, 18_446_744_073_709_551_616.0),
    };
    if x > above && x < below {
        Ok(saturate(x, wide, signed))
    } else {
        Err(TrapKind::IntegerOverflow)
    }
}

/// Conversion to the nearest integer that can be held; of a NaN 0.
pub(super) fn saturate(x: f64, wide: bool, signed: bool) -> u64 {
    match (wide, signed) {
        (false, true) => x as i32 as u32 as u64,
        (false, false) => u64::from(x as u32),
        (true, true) => x as i64 as u64,
        (true, false) => x as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn arithmetic_on_32_bits_equals_that_of_the_processor(x: u32, y: u32) {
            let (a, b) = (f32::from_bits(x), f32::from_bits(y));
            for (operation, expected) in [a + b, a - b, a * b, a / b].into_iter().enumerate() {
                let found = bits32(binary(operation as u8, from32(x), from32(y)));
                let expected = if expected.is_nan() { CANONICAL_32 } else { expected.to_bits() };
                prop_assert_eq!(found, expected, "{} of {} and {}", operation, a, b);
            }
            let root = a.sqrt();
            // By the bits: in optimized tests, a choice by `is_nan` kept the processor's NaN for a signalling one.
            let root = if root.to_bits() << 1 > 0xff00_0000 { CANONICAL_32 } else { root.to_bits() };
            prop_assert_eq!(bits32(unary(4, from32(x))), root);
        }

        // Quotients and products whose results are subnormal.
        #[test]
        fn arithmetic_on_32_bits_equals_that_of_the_processor_when_it_underflows(x in 0u32..0x0180_0000, y: u32) {
            let y = y & 0x807f_ffff | (0x70 + (y >> 23 & 0x1f)) << 23;
            let (a, b) = (f32::from_bits(x), f32::from_bits(y));
            prop_assert_eq!(bits32(binary(3, from32(x), from32(y))), (a / b).to_bits());
            prop_assert_eq!(bits32(binary(2, from32(x), from32(y))), (a * b).to_bits());
        }
    }
}
