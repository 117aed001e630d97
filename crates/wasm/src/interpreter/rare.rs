//! Instructions that are not worth a place in the loop, and what reads immediates and the stack for them.

use super::{CORRUPT, Exit, Machine};
use crate::instance::Global;
use crate::trap::TrapKind;

/// Reads the rest of a number whose first byte has more behind it: the number and the offset after it.
#[inline(never)]
pub(super) fn long_unsigned(code: &[u8], mut pc: usize, first: u8) -> (u32, usize) {
    let mut value = u32::from(first & 0x7f);
    let mut shift = 7;
    while let Some(byte) = code.get(pc) {
        pc += 1;
        value |= u32::from(byte & 0x7f).wrapping_shl(shift);
        shift += 7;
        if *byte < 0x80 {
            break;
        }
    }
    (value, pc)
}

/// Reads a signed number of at most 64 bits.
#[inline(never)]
pub(super) fn signed(code: &[u8], mut pc: usize) -> (u64, usize) {
    let mut value = 0;
    let mut shift = 0;
    while let Some(byte) = code.get(pc) {
        pc += 1;
        value |= u64::from(byte & 0x7f).wrapping_shl(shift);
        shift += 7;
        if *byte < 0x80 {
            if byte & 0x40 != 0 && shift < 64 {
                value |= u64::MAX << shift;
            }
            break;
        }
    }
    (value, pc)
}

impl Machine<'_> {
    /// Instructions that are not worth a place in the loop.
    #[inline(never)]
    pub(super) fn rare(&mut self, opcode: u8) -> Result<(), Exit> {
        match opcode {
            0x00 => Err(TrapKind::Unreachable.into()),
            0x1c => {
                // The type was validated: one, of a byte.
                self.unsigned()?;
                let wide = matches!(self.byte()?, 0x7e | 0x7c);
                if wide {
                    return self.select_wide();
                }
                let condition = self.pop()?;
                let second = self.pop()?;
                if condition == 0 {
                    self.pop()?;
                    self.push(second)?;
                }
                Ok(())
            }
            0x25 | 0x26 | 0xd0..=0xd2 => self.reference(opcode),
            0x29..=0x3e => self.access(opcode),
            0x3f => {
                self.byte()?;
                let pages = self.memory.pages();
                self.push(pages)
            }
            0x40 => {
                self.byte()?;
                let more = self.pop()?;
                let old = self.memory.grow(more).unwrap_or(u32::MAX);
                self.push(old)
            }
            0x42 => {
                let (value, pc) = signed(self.code, self.at.pc);
                self.at.pc = pc;
                self.push_wide(value)
            }
            0x43 => {
                let value = self.constant(4)? as u32;
                self.push(value)
            }
            0x44 => {
                let value = self.constant(8)?;
                self.push_wide(value)
            }
            0xfc => {
                let start = self.at.pc - 1;
                match self.unsigned()? {
                    second @ 0..=7 => self.truncate(second as u8, true),
                    second @ 8..=11 => self.bulk_memory(second, start),
                    second => self.bulk_table(second, start),
                }
            }
            _ => self.compute(opcode),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Exit> {
        let byte = *self.code.get(self.at.pc).ok_or(CORRUPT)?;
        self.at.pc += 1;
        Ok(byte)
    }

    pub(super) fn unsigned(&mut self) -> Result<u32, Exit> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u32::from(first));
        }
        let (value, pc) = long_unsigned(self.code, self.at.pc, first);
        self.at.pc = pc;
        Ok(value)
    }

    /// A constant of `bytes` bytes.
    fn constant(&mut self, bytes: u32) -> Result<u64, Exit> {
        let mut value = 0;
        for index in 0..bytes {
            value |= u64::from(self.byte()?) << (8 * index);
        }
        Ok(value)
    }

    pub(super) fn push(&mut self, value: u32) -> Result<(), Exit> {
        *self.stack.get_mut(self.at.sp).ok_or(CORRUPT)? = value;
        self.at.sp += 1;
        Ok(())
    }

    pub(super) fn push_wide(&mut self, value: u64) -> Result<(), Exit> {
        self.push(value as u32)?;
        self.push((value >> 32) as u32)
    }

    pub(super) fn pop(&mut self) -> Result<u32, Exit> {
        self.at.sp = self.at.sp.checked_sub(1).ok_or(CORRUPT)?;
        self.stack.get(self.at.sp).copied().ok_or(CORRUPT)
    }

    pub(super) fn pop_wide(&mut self) -> Result<u64, Exit> {
        let high = self.pop()?;
        let low = self.pop()?;
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    /// Slot of a local, and whether it takes two, in a function that has such locals.
    pub(super) fn local(&self, local: usize) -> Result<(usize, bool), Exit> {
        let word = *self
            .side_table
            .get(self.at.local_table + local / 2)
            .ok_or(CORRUPT)?;
        let half = if local & 1 == 0 { word & 0xffff } else { word >> 16 };
        Ok(((half >> 1) as usize, half & 1 != 0))
    }

    pub(super) fn global(&mut self, global: u32) -> Result<&mut Global, Exit> {
        let index = *self.instance.globals.get(global as usize).ok_or(CORRUPT)?;
        self.globals.get_mut(index as usize).ok_or(CORRUPT)
    }

    /// Whether the `drop` or `select` at an offset is of a value of two slots.
    pub(super) fn is_wide(&self, offset: usize) -> bool {
        let Some((count, list)) = self
            .side_table
            .get(self.at.wide_list..)
            .and_then(<[u32]>::split_first)
        else {
            return false;
        };
        let list = list.get(..*count as usize).unwrap_or(&[]);
        list.binary_search(&(offset as u32)).is_ok()
    }

    pub(super) fn select_wide(&mut self) -> Result<(), Exit> {
        let condition = self.pop()?;
        let second = self.pop_wide()?;
        if condition == 0 {
            self.pop_wide()?;
            self.push_wide(second)?;
        }
        Ok(())
    }
}
