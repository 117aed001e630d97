//! Instances, tables and globals: the state that functions work on.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use crate::ids::FUNCTION_BITS;
use crate::info::ElementSegment;
use crate::instruction::{Instruction, op};
use crate::module::Module;
use crate::reader::Cursor;
use crate::trap::TrapKind;
use crate::types::{FunctionType, GlobalType, TableType, Types};

/// Where an imported function lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FunctionImport {
    /// A function of the host, by a number that the host gave it.
    Host(u32),
    /// A function of another instance, by its address.
    Function(u32),
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    /// References: 0 is null.
    pub(crate) elements: Vec<u32>,
    /// Type; the minimum is that of the declaration.
    pub(crate) ty: TableType,
}

impl Table {
    /// A table of null references, or `None` if there is no room for it.
    pub(crate) fn new(ty: TableType, limit: u32) -> Option<Self> {
        let mut this = Self {
            elements: Vec::new(),
            ty,
        };
        this.grow(ty.min, 0, limit)?;
        Some(this)
    }

    /// Adds elements and returns how many there were. `None`: its type, the host's limit or the heap do not allow them.
    pub(crate) fn grow(&mut self, more: u32, value: u32, limit: u32) -> Option<u32> {
        let old = self.elements.len() as u32;
        let size = old.checked_add(more)?;
        if size > self.ty.max.unwrap_or(u32::MAX) || (more > 0 && size > limit) {
            return None;
        }
        self.elements.try_reserve_exact(more as usize).ok()?;
        self.elements.resize(size as usize, value);
        Some(old)
    }
}

/// A global: the words of its value, the low one first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Global {
    pub(crate) ty: GlobalType,
    pub(crate) low: u32,
    pub(crate) high: u32,
}

/// An instance of a module: its indices, and where in the store they lead.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) module: Rc<Module>,
    /// Imported functions. The module's own need no entry.
    pub(crate) functions: Box<[FunctionImport]>,
    pub(crate) tables: Box<[u32]>,
    pub(crate) memory: Option<u32>,
    pub(crate) globals: Box<[u32]>,
    pub(crate) dropped_data: Box<[Cell<bool>]>,
    pub(crate) dropped_elements: Box<[Cell<bool>]>,
}

impl Instance {
    /// Evaluates a constant expression at an offset: the words of its value. It was validated.
    pub(crate) fn constant(
        &self,
        cursor: &mut Cursor<'_>,
        globals: &[Global],
        instance: u32,
    ) -> Option<(u32, u32)> {
        let instruction = Instruction::read(cursor).ok()?;
        cursor.byte().ok()?;
        Some(match instruction.opcode {
            op::REF_NULL => (0, 0),
            op::REF_FUNC => (reference(&self.functions, instance, instruction.a), 0),
            op::GLOBAL_GET => {
                let global = globals.get(*self.globals.get(instruction.a as usize)? as usize)?;
                (global.low, global.high)
            }
            _ => (instruction.bits as u32, (instruction.bits >> 32) as u32),
        })
    }

    /// Whether an element segment has `count` elements from `source`.
    pub(crate) fn check_elements(&self, segment: u32, source: u32, count: u32) -> Result<(), TrapKind> {
        let found = self.module.info.elements.get(segment as usize);
        let dropped = self.dropped_elements.get(segment as usize).is_none_or(Cell::get);
        let length = found.map_or(0, |segment| if dropped { 0 } else { segment.count });
        if u64::from(source) + u64::from(count) > u64::from(length) {
            return Err(TrapKind::TableOutOfBounds);
        }
        Ok(())
    }

    /// Copies elements of a segment into a table.
    ///
    /// Elements lie in the module one behind the other, each of any length, so that those before `source` are read too.
    pub(crate) fn init_table(
        &self,
        globals: &[Global],
        table: &mut Table,
        instance: u32,
        segment: u32,
        target: u32,
        (source, count): (u32, u32),
    ) -> Result<(), TrapKind> {
        let corrupt = TrapKind::Corrupt;
        let found: &ElementSegment = self.module.info.elements.get(segment as usize).ok_or(corrupt)?;
        let mut cursor = self.module.cursor(found.items);
        let mut place = target as usize;
        for index in 0..source + count {
            let value = if found.expressions {
                self.constant(&mut cursor, globals, instance).ok_or(corrupt)?.0
            } else {
                reference(&self.functions, instance, cursor.u32().map_err(|_| corrupt)?)
            };
            if index >= source {
                *table.elements.get_mut(place).ok_or(TrapKind::TableOutOfBounds)? = value;
                place += 1;
            }
        }
        Ok(())
    }
}

/// Whether a function of a module has a type of another one.
pub(crate) fn has_type(module: &Module, function: u32, types: &Types, expected: FunctionType) -> bool {
    let Some(found) = module.function_type(function) else {
        return false;
    };
    let own = &module.info.types;
    own.params(found) == types.params(expected) && own.results(found) == types.results(expected)
}

/// The reference to a function of an instance: its address plus 1, where an imported function has the address that it has in the
/// instance it comes from.
pub(crate) fn reference(imports: &[FunctionImport], instance: u32, function: u32) -> u32 {
    match imports.get(function as usize) {
        Some(FunctionImport::Function(address)) => address + 1,
        _ => (instance << FUNCTION_BITS | function) + 1,
    }
}
