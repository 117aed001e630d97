//! Instructions that only compute and are not in the loop: 64-bit integers, floats, conversions, and rare ones of 32 bits.

use super::float::{binary, bits32, bits64, compare, from32, saturate, truncate, unary};
use super::{CORRUPT, Exit, Machine};
use crate::trap::TrapKind;

fn divide32(opcode: u8, x: u32, y: u32) -> Result<u32, TrapKind> {
    if y == 0 {
        return Err(TrapKind::DivisionByZero);
    }
    Ok(match opcode {
        0x6d => (x as i32)
            .checked_div(y as i32)
            .ok_or(TrapKind::IntegerOverflow)? as u32,
        0x6e => x / y,
        0x6f => (x as i32).wrapping_rem(y as i32) as u32,
        _ => x % y,
    })
}

fn divide64(opcode: u8, x: u64, y: u64) -> Result<u64, TrapKind> {
    if y == 0 {
        return Err(TrapKind::DivisionByZero);
    }
    Ok(match opcode {
        0x7f => (x as i64)
            .checked_div(y as i64)
            .ok_or(TrapKind::IntegerOverflow)? as u64,
        0x80 => x / y,
        0x81 => (x as i64).wrapping_rem(y as i64) as u64,
        _ => x % y,
    })
}

fn binary64(opcode: u8, x: u64, y: u64) -> Result<u64, TrapKind> {
    Ok(match opcode {
        0x7c => x.wrapping_add(y),
        0x7d => x.wrapping_sub(y),
        0x7e => x.wrapping_mul(y),
        0x7f..=0x82 => divide64(opcode, x, y)?,
        0x83 => x & y,
        0x84 => x | y,
        0x85 => x ^ y,
        0x86 => x.wrapping_shl(y as u32),
        0x87 => (x as i64).wrapping_shr(y as u32) as u64,
        0x88 => x.wrapping_shr(y as u32),
        0x89 => x.rotate_left(y as u32 & 63),
        _ => x.rotate_right(y as u32 & 63),
    })
}

fn compare64(opcode: u8, x: u64, y: u64) -> bool {
    let (signed_x, signed_y) = (x as i64, y as i64);
    match opcode {
        0x51 => x == y,
        0x52 => x != y,
        0x53 => signed_x < signed_y,
        0x54 => x < y,
        0x55 => signed_x > signed_y,
        0x56 => x > y,
        0x57 => signed_x <= signed_y,
        0x58 => x <= y,
        0x59 => signed_x >= signed_y,
        _ => x >= y,
    }
}

const SIGN_32: u32 = 1 << 31;
const SIGN_64: u64 = 1 << 63;

impl Machine<'_> {
    /// An instruction that only computes.
    pub(super) fn compute(&mut self, opcode: u8) -> Result<(), Exit> {
        match opcode {
            0x50 => {
                let x = self.pop_wide()?;
                self.push(u32::from(x == 0))
            }
            0x51..=0x5a => {
                let y = self.pop_wide()?;
                let x = self.pop_wide()?;
                self.push(u32::from(compare64(opcode, x, y)))
            }
            0x5b..=0x60 => {
                let y = from32(self.pop()?);
                let x = from32(self.pop()?);
                self.push(u32::from(compare(opcode - 0x5b, x, y)))
            }
            0x61..=0x66 => {
                let y = f64::from_bits(self.pop_wide()?);
                let x = f64::from_bits(self.pop_wide()?);
                self.push(u32::from(compare(opcode - 0x61, x, y)))
            }
            0x67..=0x69 => {
                let x = self.pop()?;
                self.push(match opcode {
                    0x67 => x.leading_zeros(),
                    0x68 => x.trailing_zeros(),
                    _ => x.count_ones(),
                })
            }
            0x6d..=0x70 => {
                let y = self.pop()?;
                let x = self.pop()?;
                self.push(divide32(opcode, x, y)?)
            }
            0x77 | 0x78 => {
                let y = self.pop()? & 31;
                let x = self.pop()?;
                self.push(if opcode == 0x77 {
                    x.rotate_left(y)
                } else {
                    x.rotate_right(y)
                })
            }
            0x79..=0x7b => {
                let x = self.pop_wide()?;
                self.push_wide(u64::from(match opcode {
                    0x79 => x.leading_zeros(),
                    0x7a => x.trailing_zeros(),
                    _ => x.count_ones(),
                }))
            }
            0x7c..=0x8a => {
                let y = self.pop_wide()?;
                let x = self.pop_wide()?;
                self.push_wide(binary64(opcode, x, y)?)
            }
            0x8b..=0xa6 => self.float(opcode),
            0xa8..=0xab => self.truncate(opcode - 0xa8, false),
            0xae..=0xb1 => self.truncate(opcode - 0xae + 4, false),
            0xa7..=0xbb => self.convert(opcode),
            // Reinterpretations change no bits.
            0xbc..=0xbf => Ok(()),
            0xc0..=0xc1 => {
                let x = self.pop()?;
                self.push(if opcode == 0xc0 {
                    x as i8 as u32
                } else {
                    x as i16 as u32
                })
            }
            0xc2..=0xc4 => {
                let x = self.pop_wide()?;
                self.push_wide(match opcode {
                    0xc2 => x as i8 as u64,
                    0xc3 => x as i16 as u64,
                    _ => x as i32 as u64,
                })
            }
            _ => Err(CORRUPT),
        }
    }

    /// Operations on floats that give floats.
    fn float(&mut self, opcode: u8) -> Result<(), Exit> {
        match opcode {
            // abs, neg and copysign change the sign alone, of NaNs too.
            0x8b | 0x8c => {
                let x = self.pop()?;
                self.push(if opcode == 0x8b { x & !SIGN_32 } else { x ^ SIGN_32 })
            }
            0x98 => {
                let y = self.pop()?;
                let x = self.pop()?;
                self.push(x & !SIGN_32 | y & SIGN_32)
            }
            0x99 | 0x9a => {
                let x = self.pop_wide()?;
                self.push_wide(if opcode == 0x99 { x & !SIGN_64 } else { x ^ SIGN_64 })
            }
            0xa6 => {
                let y = self.pop_wide()?;
                let x = self.pop_wide()?;
                self.push_wide(x & !SIGN_64 | y & SIGN_64)
            }
            0x8d..=0x91 => {
                let x = from32(self.pop()?);
                self.push(bits32(unary(opcode - 0x8d, x)))
            }
            0x92..=0x97 => {
                let y = from32(self.pop()?);
                let x = from32(self.pop()?);
                self.push(bits32(binary(opcode - 0x92, x, y)))
            }
            0x9b..=0x9f => {
                let x = f64::from_bits(self.pop_wide()?);
                self.push_wide(bits64(unary(opcode - 0x9b, x)))
            }
            _ => {
                let y = f64::from_bits(self.pop_wide()?);
                let x = f64::from_bits(self.pop_wide()?);
                self.push_wide(bits64(binary(opcode - 0xa0, x, y)))
            }
        }
    }

    /// Float to integer, by the order of the saturating ones: bit 0 unsigned, bit 1 from 64 bits, bit 2 to 64 bits.
    pub(super) fn truncate(&mut self, operation: u8, saturating: bool) -> Result<(), Exit> {
        let x = if operation & 2 != 0 {
            f64::from_bits(self.pop_wide()?)
        } else {
            from32(self.pop()?)
        };
        let (wide, is_signed) = (operation & 4 != 0, operation & 1 == 0);
        let value = if saturating {
            saturate(x, wide, is_signed)
        } else {
            truncate(x, wide, is_signed)?
        };
        if wide {
            self.push_wide(value)
        } else {
            self.push(value as u32)
        }
    }

    /// The other conversions.
    fn convert(&mut self, opcode: u8) -> Result<(), Exit> {
        match opcode {
            0xa7 => {
                let x = self.pop_wide()?;
                self.push(x as u32)
            }
            0xac => {
                let x = self.pop()?;
                self.push_wide(x as i32 as u64)
            }
            0xad => {
                let x = self.pop()?;
                self.push_wide(u64::from(x))
            }
            0xb2 | 0xb3 | 0xb7 | 0xb8 => {
                let x = self.pop()?;
                let is_signed = matches!(opcode, 0xb2 | 0xb7);
                let value = if is_signed {
                    f64::from(x as i32)
                } else {
                    f64::from(x)
                };
                if opcode < 0xb7 {
                    self.push(bits32(value))
                } else {
                    self.push_wide(value.to_bits())
                }
            }
            // From 64 bits there must be one rounding only.
            0xb4 | 0xb5 => {
                let x = self.pop_wide()?;
                let value = if opcode == 0xb4 { x as i64 as f32 } else { x as f32 };
                self.push(value.to_bits())
            }
            0xb9 | 0xba => {
                let x = self.pop_wide()?;
                let value = if opcode == 0xb9 { x as i64 as f64 } else { x as f64 };
                self.push_wide(value.to_bits())
            }
            0xb6 => {
                let x = f64::from_bits(self.pop_wide()?);
                self.push(bits32(x))
            }
            _ => {
                let x = from32(self.pop()?);
                self.push_wide(bits64(x))
            }
        }
    }
}
