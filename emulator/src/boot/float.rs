//! The floating-point functions of the boot ROM (RP2040 datasheet, sections 2.8.3.2 and 2.8.3.3).
//!
//! They are not IEEE 754: denormal numbers are zero, there are no NaNs, and conversions to integers round towards minus
//! infinity and saturate. Cycles are the averages that the datasheet prints. Transcendental functions are the last bit
//! or two off the real ROM's.

use crate::cpu::Core;

/// The operands and the result of a function, in the wider of the two formats.
struct Call<'a> {
    core: &'a mut Core,
    double: bool,
}

impl Call<'_> {
    /// The floating-point operand that starts in this register.
    fn operand(&self, register: usize) -> f64 {
        if self.double {
            let bits = u64::from(self.core.r[register]) | u64::from(self.core.r[register + 1]) << 32;
            let value = f64::from_bits(bits);
            if value.is_subnormal() || value.is_nan() {
                0.0_f64.copysign(value)
            } else {
                value
            }
        } else {
            let value = f32::from_bits(self.core.r[register]);
            if value.is_subnormal() || value.is_nan() {
                0.0_f64.copysign(value.into())
            } else {
                value.into()
            }
        }
    }

    /// The register of the second operand.
    fn second(&self) -> usize {
        if self.double { 2 } else { 1 }
    }

    fn long(&self, register: usize) -> u64 {
        u64::from(self.core.r[register]) | u64::from(self.core.r[register + 1]) << 32
    }

    fn set_long(&mut self, value: u64) {
        self.core.r[0] = value as u32;
        self.core.r[1] = (value >> 32) as u32;
    }

    fn set_float(&mut self, value: f32) {
        let value = if value.is_subnormal() {
            0.0_f32.copysign(value)
        } else {
            value
        };
        self.core.r[0] = value.to_bits();
    }

    fn set_double(&mut self, value: f64) {
        let value = if value.is_subnormal() {
            0.0_f64.copysign(value)
        } else {
            value
        };
        self.set_long(value.to_bits());
    }

    fn set(&mut self, value: f64) {
        if self.double {
            self.set_double(value)
        } else {
            self.set_float(value as f32)
        }
    }

    /// Arithmetic has to round once: a float's is done as a float.
    fn arithmetic(&mut self, float: fn(f32, f32) -> f32, double: fn(f64, f64) -> f64) {
        let (a, b) = (self.operand(0), self.operand(self.second()));
        if self.double {
            self.set_double(double(a, b))
        } else {
            self.set_float(float(a as f32, b as f32))
        }
    }

    /// A fixed-point value of `bits` fraction bits; converted once, so that it rounds once.
    fn set_fixed(&mut self, value: i128, bits: i32) {
        let scale = libm::ldexp(1.0, -bits);
        if self.double {
            self.set_double(value as f64 * scale)
        } else {
            self.set_float(value as f32 * scale as f32)
        }
    }
}

fn scaled(value: f64, bits: i32) -> f64 {
    libm::floor(libm::ldexp(value, bits))
}

/// Does the function at this entry of a table and answers its cycles; `None` for an entry that is not there.
pub(crate) fn call(entry: u32, double: bool, core: &mut Core) -> Option<u64> {
    let mut call = Call { core, double };
    let second = call.second();
    let shift = call.core.r[second] as i32;
    let cycles = match entry * 4 {
        0x00 => {
            call.arithmetic(|a, b| a + b, |a, b| a + b);
            (71, 91)
        }
        0x04 => {
            call.arithmetic(|a, b| a - b, |a, b| a - b);
            (71, 95)
        }
        0x08 => {
            call.arithmetic(|a, b| a * b, |a, b| a * b);
            (69, 155)
        }
        0x0c => {
            call.arithmetic(|a, b| a / b, |a, b| a / b);
            (71, 183)
        }
        0x18 => {
            let value = call.operand(0);
            if double {
                call.set_double(libm::sqrt(value))
            } else {
                call.set_float(libm::sqrtf(value as f32))
            }
            (63, 169)
        }
        0x1c | 0x20 => {
            let bits = if entry * 4 == 0x1c { 0 } else { shift };
            call.core.r[0] = scaled(call.operand(0), bits) as i32 as u32;
            (40, 75)
        }
        0x24 | 0x28 => {
            let bits = if entry * 4 == 0x24 { 0 } else { shift };
            call.core.r[0] = scaled(call.operand(0), bits) as u32;
            (39, 75)
        }
        0x2c | 0x30 => {
            let bits = if entry * 4 == 0x2c {
                0
            } else {
                call.core.r[1] as i32
            };
            call.set_fixed((call.core.r[0] as i32).into(), bits);
            (55, 69)
        }
        0x34 | 0x38 => {
            let bits = if entry * 4 == 0x34 {
                0
            } else {
                call.core.r[1] as i32
            };
            call.set_fixed(call.core.r[0].into(), bits);
            (55, 69)
        }
        0x3c => {
            call.set(libm::cos(call.operand(0)));
            (603, 1618)
        }
        0x40 => {
            call.set(libm::sin(call.operand(0)));
            (593, 1617)
        }
        0x44 => {
            call.set(libm::tan(call.operand(0)));
            (669, 1891)
        }
        0x4c => {
            call.set(libm::exp(call.operand(0)));
            (542, 804)
        }
        0x50 => {
            call.set(libm::log(call.operand(0)));
            (810, 428)
        }
        0x54 => {
            let (a, b) = (call.operand(0), call.operand(second));
            call.core.r[0] = a.partial_cmp(&b).map_or(0, |ordering| ordering as i32) as u32;
            (25, 39)
        }
        0x58 => {
            call.set(libm::atan2(call.operand(0), call.operand(second)));
            (599, 2168)
        }
        0x5c | 0x60 => {
            let bits = if entry * 4 == 0x5c {
                0
            } else {
                call.core.r[2] as i32
            };
            call.set_fixed((call.long(0) as i64).into(), bits);
            (70, 80)
        }
        0x64 | 0x68 => {
            let bits = if entry * 4 == 0x64 {
                0
            } else {
                call.core.r[2] as i32
            };
            call.set_fixed(call.long(0).into(), bits);
            (70, 80)
        }
        0x6c | 0x70 => {
            let bits = if entry * 4 == 0x6c { 0 } else { shift };
            call.set_long(scaled(call.operand(0), bits) as i64 as u64);
            (60, 80)
        }
        0x74 | 0x78 => {
            let bits = if entry * 4 == 0x74 { 0 } else { shift };
            call.set_long(scaled(call.operand(0), bits) as u64);
            (60, 80)
        }
        0x7c if double => {
            let value = call.operand(0);
            call.set_float(value as f32);
            (0, 30)
        }
        0x7c => {
            let value = call.operand(0);
            call.set_double(value);
            (30, 0)
        }
        _ => return None,
    };
    Some(if double { cycles.1 } else { cycles.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(entry: u32, a: f32, b: f32) -> u32 {
        let mut core = Core::new(0);
        core.r[0] = a.to_bits();
        core.r[1] = b.to_bits();
        call(entry / 4, false, &mut core).unwrap();
        core.r[0]
    }

    #[test]
    fn floats_add_multiply_and_compare() {
        assert_eq!(f32::from_bits(float(0x00, 1.5, 2.25)), 3.75);
        assert_eq!(f32::from_bits(float(0x0c, 1.0, 3.0)), 1.0 / 3.0);
        assert_eq!(float(0x54, 1.0, 2.0) as i32, -1);
        assert_eq!(
            f32::from_bits(float(0x08, 1e-30, 1e-10)),
            0.0,
            "what would be denormal is zero"
        );
    }

    #[test]
    fn conversions_round_down_and_saturate() {
        assert_eq!(float(0x1c, -1.5, 0.0) as i32, -2);
        assert_eq!(float(0x1c, 1e20, 0.0) as i32, i32::MAX);
        assert_eq!(float(0x24, -1.0, 0.0), 0);
        assert_eq!(float(0x20, 0.5, f32::from_bits(16)), 0x8000);
    }

    #[test]
    fn doubles_use_register_pairs() {
        let mut core = Core::new(0);
        let set = |core: &mut Core, register: usize, value: f64| {
            core.r[register] = value.to_bits() as u32;
            core.r[register + 1] = (value.to_bits() >> 32) as u32;
        };
        set(&mut core, 0, 1.25);
        set(&mut core, 2, 4.0);
        assert_eq!(call(0x08 / 4, true, &mut core), Some(155));
        assert_eq!(
            f64::from_bits(u64::from(core.r[0]) | u64::from(core.r[1]) << 32),
            5.0
        );
        call(0x7c / 4, true, &mut core).unwrap();
        assert_eq!(f32::from_bits(core.r[0]), 5.0);
    }
}
