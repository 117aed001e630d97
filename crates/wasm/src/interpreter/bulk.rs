//! Bulk instructions of memory.
//!
//! They work in steps. Between two steps the operands on the stack say what is left to do and the instruction comes again, so that
//! a long copy stops when fuel runs out like any loop.

use super::{CORRUPT, Exit, Machine};
use crate::memory::Fault;
use crate::trap::TrapKind;

/// Bytes of a step.
const STEP: u32 = 1024;

/// Bytes that are moved through the native stack at a time.
const PIECE: usize = 64;

impl Machine<'_> {
    /// `memory.init`, `data.drop`, `memory.copy` and `memory.fill`, by their second byte; `start` is the instruction's offset.
    #[inline(never)]
    pub(super) fn bulk_memory(&mut self, opcode: u32, start: usize) -> Result<(), Exit> {
        let segment = if opcode <= 9 { self.unsigned()? } else { 0 };
        if opcode == 9 {
            if let Some(dropped) = self.instance.dropped_data.get(segment as usize) {
                dropped.set(true);
            }
            return Ok(());
        }
        self.byte()?;
        if opcode == 10 {
            self.byte()?;
        }
        let count = self.pop()?;
        let source = self.pop()?;
        let target = self.pop()?;
        self.memory.check(target, count)?;
        let step = count.min(STEP);
        let rest = count - step;
        let (mut next_target, mut next_source) = (target.wrapping_add(step), source);
        match opcode {
            8 => {
                self.init(segment, target, source, count, step)?;
                next_source = source.wrapping_add(step);
            }
            10 => {
                self.memory.check(source, count)?;
                if target <= source {
                    self.copy_up(target, source, step)?;
                    next_source = source.wrapping_add(step);
                } else {
                    self.copy_down(target.wrapping_add(rest), source.wrapping_add(rest), step)?;
                    next_target = target;
                }
            }
            _ => self.fill(target, source as u8, step)?,
        }
        self.fuel -= 1 + (step >> 4) as i32;
        if rest == 0 {
            return Ok(());
        }
        self.push(next_target)?;
        self.push(next_source)?;
        self.push(rest)?;
        self.at.pc = start;
        if self.fuel < 0 { Err(Exit::Fuel) } else { Ok(()) }
    }

    fn init(&mut self, segment: u32, target: u32, source: u32, count: u32, step: u32) -> Result<(), Exit> {
        let data = self
            .instance
            .module
            .info
            .data
            .get(segment as usize)
            .ok_or(CORRUPT)?;
        let dropped = self
            .instance
            .dropped_data
            .get(segment as usize)
            .is_none_or(core::cell::Cell::get);
        let length = if dropped { 0 } else { data.length };
        if u64::from(source) + u64::from(count) > u64::from(length) {
            return Err(TrapKind::MemoryOutOfBounds.into());
        }
        let start = data.start as usize + source as usize;
        let bytes = self
            .code
            .get(start..)
            .and_then(|bytes| bytes.get(..step as usize))
            .ok_or(CORRUPT)?;
        Ok(self.memory.write(self.frames, self.budget, target, bytes)?)
    }

    fn move_piece(&mut self, target: u32, source: u32, count: usize) -> Result<(), Fault> {
        let mut bytes = [0; PIECE];
        let bytes = bytes.get_mut(..count).ok_or(Fault::OutOfBounds)?;
        self.memory.read(self.frames, self.budget, source, bytes)?;
        self.memory.write(self.frames, self.budget, target, bytes)
    }

    fn copy_up(&mut self, target: u32, source: u32, count: u32) -> Result<(), Exit> {
        for done in (0..count).step_by(PIECE) {
            let piece = PIECE.min((count - done) as usize);
            self.move_piece(target + done, source + done, piece)?;
        }
        Ok(())
    }

    fn copy_down(&mut self, target: u32, source: u32, count: u32) -> Result<(), Exit> {
        let mut left = count;
        while left > 0 {
            let piece = (PIECE as u32).min(left);
            left -= piece;
            self.move_piece(target + left, source + left, piece as usize)?;
        }
        Ok(())
    }

    fn fill(&mut self, target: u32, value: u8, count: u32) -> Result<(), Exit> {
        let bytes = [value; PIECE];
        for done in (0..count).step_by(PIECE) {
            let piece = PIECE.min((count - done) as usize);
            let bytes = bytes.get(..piece).ok_or(CORRUPT)?;
            self.memory
                .write(self.frames, self.budget, target + done, bytes)?;
        }
        Ok(())
    }
}
