//! Calls and returns.

use super::{CORRUPT, Exit, Machine, SAVED_SLOTS};
use crate::ids::FUNCTION_BITS;
use crate::instance::{self, FunctionImport};
use crate::side_table::FunctionRecord;
use crate::trap::TrapKind;

/// Moves values down the stack, as a branch or a return does.
pub(super) fn move_slots(stack: &mut [u32], from: usize, to: usize, count: usize) -> Result<(), Exit> {
    let end = from.checked_add(count).ok_or(CORRUPT)?;
    if end > stack.len() || to > from {
        return Err(CORRUPT);
    }
    // Mostly one slot: a call of the function that moves memory would take longer.
    if count == 1 {
        stack[to] = stack[from];
    } else {
        stack.copy_within(from..end, to);
    }
    Ok(())
}

impl Machine<'_> {
    /// Calls the function that the host wants to run.
    pub(crate) fn enter_first(&mut self, address: u32) -> Exit {
        match self.call_other(address) {
            Ok(()) => Exit::Switch,
            Err(exit) => exit,
        }
    }

    /// Calls a function of the instance that runs.
    pub(super) fn call(&mut self, function: u32) -> Result<(), Exit> {
        let imported = self.instance.module.info.imported_functions;
        match function.checked_sub(imported) {
            Some(own) => self.enter(function, own),
            None => self.call_import(function),
        }
    }

    /// Calls a function of any instance.
    pub(super) fn call_address(&mut self, address: u32) -> Result<(), Exit> {
        if address >> FUNCTION_BITS == self.at.function >> FUNCTION_BITS {
            return self.call(address & ((1 << FUNCTION_BITS) - 1));
        }
        self.call_other(address)
    }

    #[inline(never)]
    fn call_import(&mut self, function: u32) -> Result<(), Exit> {
        match *self.instance.functions.get(function as usize).ok_or(CORRUPT)? {
            FunctionImport::Host(_) => {
                self.fuel -= 1;
                self.host = self.at.function >> FUNCTION_BITS << FUNCTION_BITS | function;
                Err(Exit::Host)
            }
            FunctionImport::Function(address) => self.call_other(address),
        }
    }

    /// Calls a function that another instance has, or that this one imports from there.
    #[inline(never)]
    fn call_other(&mut self, address: u32) -> Result<(), Exit> {
        let function = address & ((1 << FUNCTION_BITS) - 1);
        let instances = self.instances;
        let instance = instances
            .get((address >> FUNCTION_BITS) as usize)
            .ok_or(CORRUPT)?;
        let Some(own) = function.checked_sub(instance.module.info.imported_functions) else {
            self.fuel -= 1;
            self.host = address;
            return Err(Exit::Host);
        };
        let record = instance.module.record(own).ok_or(CORRUPT)?;
        self.push_frame(address, record)?;
        Err(Exit::Switch)
    }

    #[inline(never)]
    pub(super) fn call_indirect(&mut self, ty: u32, table: u32, element: u32) -> Result<(), Exit> {
        let reference = *self
            .table(table)?
            .elements
            .get(element as usize)
            .ok_or(TrapKind::UndefinedElement)?;
        let address = reference.checked_sub(1).ok_or(TrapKind::UninitializedElement)?;
        if !self.has_type(address, ty) {
            return Err(TrapKind::IndirectCallTypeMismatch.into());
        }
        self.call_address(address)
    }

    /// Whether a function has a type of the instance that runs.
    fn has_type(&self, address: u32, ty: u32) -> bool {
        let function = address & ((1 << FUNCTION_BITS) - 1);
        let own = &self.instance.module;
        let Some(expected) = own.info.types.get(ty) else {
            return false;
        };
        if address >> FUNCTION_BITS == self.at.function >> FUNCTION_BITS {
            return own
                .function_type(function)
                .is_some_and(|found| found.canonical == expected.canonical);
        }
        let Some(other) = self.instances.get((address >> FUNCTION_BITS) as usize) else {
            return false;
        };
        instance::has_type(&other.module, function, &own.info.types, expected)
    }

    /// Calls a function of the instance's own.
    fn enter(&mut self, function: u32, own: u32) -> Result<(), Exit> {
        let record = FunctionRecord::read(self.side_table, own).ok_or(CORRUPT)?;
        let instance = self.at.function >> FUNCTION_BITS << FUNCTION_BITS;
        self.push_frame(instance | function, record)
    }

    /// Pushes the frame of a function whose parameters lie on the stack.
    pub(crate) fn push_frame(&mut self, address: u32, record: FunctionRecord<'_>) -> Result<(), Exit> {
        let at = &mut self.at;
        let fp = at.sp.checked_sub(record.params() as usize).ok_or(CORRUPT)?;
        let saved = fp + record.locals() as usize;
        let operands = saved + SAVED_SLOTS as usize;
        if operands + record.operands() as usize > self.stack.len() {
            return Err(TrapKind::StackExhausted.into());
        }
        if at.sp < saved {
            self.stack.get_mut(at.sp..saved).ok_or(CORRUPT)?.fill(0);
        }
        // The host's function is numbered so that 1 more is 0.
        let frame = [
            at.function.wrapping_add(1),
            at.pc as u32,
            at.branch as u32,
            at.fp as u32,
        ];
        self.stack
            .get_mut(saved..operands)
            .ok_or(CORRUPT)?
            .copy_from_slice(&frame);
        at.fp = fp;
        at.sp = operands;
        at.pc = record.body() as usize;
        at.branch = record.branches() as usize;
        self.fuel -= 1 + (record.end().wrapping_sub(record.body()) >> 4) as i32;
        self.set_function(address, record);
        Ok(())
    }

    pub(crate) fn set_function(&mut self, address: u32, record: FunctionRecord<'_>) {
        let at = &mut self.at;
        at.function = address;
        at.end = record.end() as usize;
        at.locals = record.locals();
        at.results = record.results();
        at.local_table = record.local_table() as usize;
        at.wide_list = record.wide_list() as usize;
    }

    /// Returns from a function, whose results lie on the stack.
    #[inline(never)]
    pub(super) fn leave(&mut self) -> Result<(), Exit> {
        let at = &mut self.at;
        let saved = at.fp + at.locals as usize;
        let frame = self
            .stack
            .get(saved..)
            .and_then(|stack| stack.first_chunk::<4>())
            .ok_or(CORRUPT)?;
        let [function, pc, branch, fp] = *frame;
        let results = at.results as usize;
        move_slots(self.stack, at.sp.wrapping_sub(results), at.fp, results)?;
        at.sp = at.fp + results;
        let instance = at.function >> FUNCTION_BITS;
        let Some(address) = function.checked_sub(1) else {
            return Err(Exit::Finished);
        };
        at.pc = pc as usize;
        at.branch = branch as usize;
        at.fp = fp as usize;
        let function = address & ((1 << FUNCTION_BITS) - 1);
        if address >> FUNCTION_BITS != instance {
            let instance = self
                .instances
                .get((address >> FUNCTION_BITS) as usize)
                .ok_or(CORRUPT)?;
            let own = function
                .checked_sub(instance.module.info.imported_functions)
                .ok_or(CORRUPT)?;
            let record = instance.module.record(own).ok_or(CORRUPT)?;
            self.set_function(address, record);
            return Err(Exit::Switch);
        }
        let own = function
            .checked_sub(self.instance.module.info.imported_functions)
            .ok_or(CORRUPT)?;
        let record = FunctionRecord::read(self.side_table, own).ok_or(CORRUPT)?;
        self.set_function(address, record);
        Ok(())
    }
}
