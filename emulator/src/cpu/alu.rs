//! Arithmetic, shifts and conditions: what sets the flags, and what asks for them.

use super::Core;

impl Core {
    #[inline(always)]
    pub(super) fn set_nz(&mut self, value: u32) {
        self.nz = i64::from(value as i32);
    }

    /// AddWithCarry of the pseudocode (A2.2.1), setting all flags.
    #[inline(always)]
    pub(super) fn add_with_carry(&mut self, a: u32, b: u32, carry: bool) -> u32 {
        let wide = u64::from(a) + u64::from(b) + u64::from(carry);
        let result = wide as u32;
        self.c = wide >> 32 != 0;
        self.v = (a ^ result) & (b ^ result);
        self.set_nz(result);
        result
    }

    /// AddWithCarry(a, b, 0).
    #[inline(always)]
    pub(super) fn add(&mut self, a: u32, b: u32) -> u32 {
        let (result, carry) = a.overflowing_add(b);
        self.c = carry;
        self.v = (a ^ result) & (b ^ result);
        self.set_nz(result);
        result
    }

    /// AddWithCarry(a, NOT b, 1).
    #[inline(always)]
    pub(super) fn subtract(&mut self, a: u32, b: u32) -> u32 {
        let result = a.wrapping_sub(b);
        self.c = a >= b;
        self.v = (a ^ b) & (a ^ result);
        self.set_nz(result);
        result
    }

    #[inline(always)]
    pub(super) fn shift_left(&mut self, value: u32, by: u32) -> u32 {
        let result = match by {
            0 => value,
            1..32 => {
                self.c = value >> (32 - by) & 1 != 0;
                value << by
            }
            _ => {
                self.c = by == 32 && value & 1 != 0;
                0
            }
        };
        self.set_nz(result);
        result
    }

    #[inline(always)]
    pub(super) fn shift_right(&mut self, value: u32, by: u32) -> u32 {
        let result = match by {
            0 => value,
            1..32 => {
                self.c = value >> (by - 1) & 1 != 0;
                value >> by
            }
            _ => {
                self.c = by == 32 && value >> 31 != 0;
                0
            }
        };
        self.set_nz(result);
        result
    }

    #[inline(always)]
    pub(super) fn shift_right_arithmetic(&mut self, value: u32, by: u32) -> u32 {
        let signed = value as i32;
        let result = match by {
            0 => value,
            1..32 => {
                self.c = signed >> (by - 1) & 1 != 0;
                (signed >> by) as u32
            }
            _ => {
                self.c = signed < 0;
                (signed >> 31) as u32
            }
        };
        self.set_nz(result);
        result
    }

    /// Whether the condition of a branch holds (A6.3).
    pub(super) fn condition(&self, condition: u8) -> bool {
        let (n, z, v) = (self.negative(), self.zero(), self.overflow());
        match condition {
            0 => z,
            1 => !z,
            2 => self.c,
            3 => !self.c,
            4 => n,
            5 => !n,
            6 => v,
            7 => !v,
            8 => self.c && !z,
            9 => !self.c || z,
            10 => n == v,
            11 => n != v,
            12 => !z && n == v,
            13 => z || n != v,
            _ => true,
        }
    }
}
