//! Loads and stores that are not in the loop, and those of the loop that touch a frame for the first time or are not aligned.

use super::{Exit, Machine};
use crate::trap::TrapKind;

impl Machine<'_> {
    #[inline(never)]
    pub(super) fn load_slow(&mut self, address: u32, size: u32) -> Result<u64, Exit> {
        Ok(self.memory.load(self.frames, self.budget, address, size)?)
    }

    #[inline(never)]
    pub(super) fn store_slow(&mut self, address: u32, size: u32, value: u64) -> Result<(), Exit> {
        Ok(self
            .memory
            .store(self.frames, self.budget, address, size, value)?)
    }

    fn address(&mut self, base: u32) -> Result<u32, Exit> {
        self.unsigned()?;
        let offset = self.unsigned()?;
        base.checked_add(offset).ok_or(TrapKind::MemoryOutOfBounds.into())
    }

    /// Loads and stores of 64-bit values.
    pub(super) fn access(&mut self, opcode: u8) -> Result<(), Exit> {
        let size = 1 << crate::instruction::access(u16::from(opcode)).1;
        if opcode >= 0x36 {
            let value = self.pop_wide()?;
            let base = self.pop()?;
            let address = self.address(base)?;
            return self.store_slow(address, size, value);
        }
        let base = self.pop()?;
        let address = self.address(base)?;
        let value = self.load_slow(address, size)?;
        self.push_wide(match opcode {
            0x30 => value as i8 as u64,
            0x32 => value as i16 as u64,
            0x34 => value as i32 as u64,
            _ => value,
        })
    }
}
