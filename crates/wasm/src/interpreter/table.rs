//! References and tables.

use super::{CORRUPT, Exit, Machine};
use crate::ids::FUNCTION_BITS;
use crate::instance::{Table, reference};
use crate::trap::TrapKind;

/// Elements of a step of a bulk instruction.
const STEP: u32 = 256;

impl Machine<'_> {
    pub(super) fn table(&mut self, table: u32) -> Result<&mut Table, Exit> {
        let index = self.table_index(table)?;
        self.tables.get_mut(index).ok_or(CORRUPT)
    }

    fn table_index(&self, table: u32) -> Result<usize, Exit> {
        self.instance
            .tables
            .get(table as usize)
            .map(|index| *index as usize)
            .ok_or(CORRUPT)
    }

    /// Instructions of references with an opcode of one byte.
    pub(super) fn reference(&mut self, opcode: u8) -> Result<(), Exit> {
        match opcode {
            0x25 => {
                let table = self.unsigned()?;
                let index = self.pop()?;
                let element = *self
                    .table(table)?
                    .elements
                    .get(index as usize)
                    .ok_or(TrapKind::TableOutOfBounds)?;
                self.push(element)
            }
            0x26 => {
                let table = self.unsigned()?;
                let value = self.pop()?;
                let index = self.pop()?;
                let element = self.table(table)?.elements.get_mut(index as usize);
                *element.ok_or(TrapKind::TableOutOfBounds)? = value;
                Ok(())
            }
            // A null reference is 0.
            0xd0 => {
                self.byte()?;
                self.push(0)
            }
            0xd1 => {
                let value = self.pop()?;
                self.push(u32::from(value == 0))
            }
            _ => {
                let function = self.unsigned()?;
                let instance = self.at.function >> FUNCTION_BITS;
                self.push(reference(&self.instance.functions, instance, function))
            }
        }
    }

    /// Bulk instructions of tables and those with an opcode of two bytes, by the second; `start` is the instruction's offset.
    #[inline(never)]
    pub(super) fn bulk_table(&mut self, opcode: u32, start: usize) -> Result<(), Exit> {
        let first = self.unsigned()?;
        match opcode {
            13 => {
                if let Some(dropped) = self.instance.dropped_elements.get(first as usize) {
                    dropped.set(true);
                }
                Ok(())
            }
            15 => {
                let more = self.pop()?;
                let value = self.pop()?;
                let limit = self.table_limit;
                let old = self.table(first)?.grow(more, value, limit).unwrap_or(u32::MAX);
                self.push(old)
            }
            16 => {
                let size = self.table(first)?.elements.len() as u32;
                self.push(size)
            }
            _ => {
                let second = if opcode == 17 { 0 } else { self.unsigned()? };
                self.bulk_elements(opcode, first, second, start)
            }
        }
    }

    /// `table.init`, `table.copy` and `table.fill`.
    fn bulk_elements(&mut self, opcode: u32, first: u32, second: u32, start: usize) -> Result<(), Exit> {
        let count = self.pop()?;
        let source = self.pop()?;
        let target = self.pop()?;
        let to = if opcode == 12 { second } else { first };
        // The index comes before the value in `table.fill`, too.
        self.check(to, target, count)?;
        let step = count.min(STEP);
        let rest = count - step;
        let (mut next_target, mut next_source) = (target.wrapping_add(step), source);
        match opcode {
            12 => {
                let instance = self.at.function >> FUNCTION_BITS;
                let index = self.table_index(to)?;
                self.instance.check_elements(first, source, count)?;
                let table = self.tables.get_mut(index).ok_or(CORRUPT)?;
                self.instance
                    .init_table(self.globals, table, instance, first, target, (source, step))?;
                next_source = source.wrapping_add(step);
                // The elements before it were read too.
                self.fuel = self.fuel.saturating_sub((source >> 2) as i32);
            }
            14 => {
                self.check(second, source, count)?;
                if target <= source {
                    self.copy_elements(first, second, target, source, step)?;
                    next_source = source.wrapping_add(step);
                } else {
                    self.copy_elements(
                        first,
                        second,
                        target.wrapping_add(rest),
                        source.wrapping_add(rest),
                        step,
                    )?;
                    next_target = target;
                }
            }
            _ => {
                let elements = &mut self.table(to)?.elements;
                let range = target as usize..target as usize + step as usize;
                elements
                    .get_mut(range)
                    .ok_or(TrapKind::TableOutOfBounds)?
                    .fill(source);
            }
        }
        self.fuel -= 1 + (step >> 2) as i32;
        if rest == 0 {
            return Ok(());
        }
        self.push(next_target)?;
        self.push(next_source)?;
        self.push(rest)?;
        self.at.pc = start;
        if self.fuel < 0 { Err(Exit::Fuel) } else { Ok(()) }
    }

    fn check(&mut self, table: u32, index: u32, count: u32) -> Result<(), Exit> {
        let length = self.table(table)?.elements.len() as u64;
        if u64::from(index) + u64::from(count) > length {
            return Err(TrapKind::TableOutOfBounds.into());
        }
        Ok(())
    }

    /// Copies between tables or within one, where the ranges may overlap.
    fn copy_elements(
        &mut self,
        to: u32,
        from: u32,
        target: u32,
        source: u32,
        count: u32,
    ) -> Result<(), Exit> {
        let (to, from) = (self.table_index(to)?, self.table_index(from)?);
        let (target, source, count) = (target as usize, source as usize, count as usize);
        if to == from {
            let elements = &mut self.tables.get_mut(to).ok_or(CORRUPT)?.elements;
            elements.copy_within(source..source + count, target);
            return Ok(());
        }
        for index in 0..count {
            let element = self
                .tables
                .get(from)
                .and_then(|table| table.elements.get(source + index))
                .copied();
            let place = self
                .tables
                .get_mut(to)
                .and_then(|table| table.elements.get_mut(target + index));
            *place.ok_or(CORRUPT)? = element.ok_or(CORRUPT)?;
        }
        Ok(())
    }
}
