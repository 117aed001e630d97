//! Instantiation: resolves imports, and makes memories, tables and globals.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use super::Store;
use crate::ids::{FUNCTION_BITS, Function, GlobalId, InstanceId, MemoryId, TableId};
use crate::info::{ElementMode, ImportKind};
use crate::instance::{FunctionImport, Global, Instance, Table, has_type};
use crate::memory::{Fault, Fill, Memory};
use crate::module::Module;
use crate::trap::TrapKind;
use crate::types::{GlobalType, MemoryType, TableType, ValueType};

/// What an import is given, or what an instance exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extern {
    /// A function of the host: [`Outcome::HostCall`](crate::Outcome::HostCall) reports this number when it is called.
    Host(u32),
    /// A function of an instance.
    Function(Function),
    /// A table.
    Table(TableId),
    /// A memory.
    Memory(MemoryId),
    /// A global.
    Global(GlobalId),
}

/// What an import asks for.
#[derive(Clone, Copy, Debug)]
pub struct ImportRequest<'a> {
    /// Number among the imports.
    pub index: u32,
    /// Name of the module.
    pub module: &'a str,
    /// Name in the module.
    pub field: &'a str,
    /// Type.
    pub ty: ImportType<'a>,
}

/// Type that an import asks for.
#[derive(Clone, Copy, Debug)]
pub enum ImportType<'a> {
    /// A function with these parameters and results.
    Function(&'a [ValueType], &'a [ValueType]),
    /// A table.
    Table(TableType),
    /// A memory.
    Memory(MemoryType),
    /// A global.
    Global(GlobalType),
}

/// Gives imports what they ask for.
pub trait Resolver {
    /// What the import gets. `None`: there is nothing of this name and type.
    fn resolve(&mut self, request: &ImportRequest<'_>) -> Option<Extern>;
}

impl<F: FnMut(&ImportRequest<'_>) -> Option<Extern>> Resolver for F {
    fn resolve(&mut self, request: &ImportRequest<'_>) -> Option<Extern> {
        self(request)
    }
}

/// Why a module could not be instantiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstantiateError {
    /// The resolver has nothing for the import of this number.
    UnknownImport(u32),
    /// The import of this number got something of another type.
    IncompatibleImport(u32),
    /// An active segment does not fit in its memory or table. Segments before it have been copied.
    Trap(TrapKind),
    /// No heap for tables, or no frames for the data of an imported memory.
    OutOfMemory,
    /// The store has too many instances.
    TooManyInstances,
}

impl fmt::Display for InstantiateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownImport(index) => write!(f, "unknown import {index}"),
            Self::IncompatibleImport(index) => write!(f, "incompatible type of import {index}"),
            Self::Trap(kind) => f.write_str(kind.message()),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::TooManyInstances => f.write_str("too many instances"),
        }
    }
}

impl core::error::Error for InstantiateError {}

impl From<TrapKind> for InstantiateError {
    fn from(kind: TrapKind) -> Self {
        Self::Trap(kind)
    }
}

impl From<Fault> for InstantiateError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OutOfBounds => Self::Trap(TrapKind::MemoryOutOfBounds),
            Fault::OutOfMemory => Self::OutOfMemory,
        }
    }
}

const CORRUPT: InstantiateError = InstantiateError::Trap(TrapKind::Corrupt);

/// Whether something of `min..=max` can be imported where `wanted_min..=wanted_max` is asked for.
fn fits(min: u32, max: Option<u32>, wanted_min: u32, wanted_max: Option<u32>) -> bool {
    min >= wanted_min && wanted_max.is_none_or(|wanted| max.is_some_and(|max| max <= wanted))
}

/// What imports got, in the order of their kinds.
#[derive(Default)]
struct Imports {
    functions: Vec<FunctionImport>,
    tables: Vec<u32>,
    memory: Option<u32>,
    globals: Vec<u32>,
}

impl Store {
    /// Instantiates a module.
    ///
    /// Active segments of a memory that the module defines are copied on first touch; those of tables and imported memories at once.
    /// The start function does not run here, since it may stop like any other: [`Store::start_function`] says which to call first.
    ///
    /// # Errors
    ///
    /// The module's imports cannot be resolved, its segments do not fit, or there is no room for it.
    pub fn instantiate(
        &mut self,
        module: Rc<Module>,
        resolver: &mut dyn Resolver,
    ) -> Result<InstanceId, InstantiateError> {
        let number = self.instances.len() as u32;
        if number >= (1 << (32 - FUNCTION_BITS)) - 1 {
            return Err(InstantiateError::TooManyInstances);
        }
        let imports = self.resolve(&module, resolver)?;
        let instance = self.build(&module, imports, number)?;
        // Kept even if a segment does not fit: segments before it may have put its functions into other instances' tables.
        self.instances.push(instance);
        self.copy_elements(number)?;
        self.copy_data(number)?;
        Ok(InstanceId(number))
    }

    fn resolve(
        &mut self,
        module: &Rc<Module>,
        resolver: &mut dyn Resolver,
    ) -> Result<Imports, InstantiateError> {
        let mut imports = Imports::default();
        let types = &module.info.types;
        for (import, index) in module.info.imports.iter().zip(0..) {
            let (name, field) = module.import_names(index).ok_or(CORRUPT)?;
            let ty = match import.kind {
                ImportKind::Function(ty) => {
                    let ty = types.get(u32::from(ty)).ok_or(CORRUPT)?;
                    ImportType::Function(types.params(ty), types.results(ty))
                }
                ImportKind::Table(ty) => ImportType::Table(ty),
                ImportKind::Memory(ty) => ImportType::Memory(ty),
                ImportKind::Global(ty) => ImportType::Global(ty),
            };
            let request = ImportRequest {
                index,
                module: name,
                field,
                ty,
            };
            let given = resolver
                .resolve(&request)
                .ok_or(InstantiateError::UnknownImport(index))?;
            let fits = match (import.kind, given) {
                (ImportKind::Function(_), Extern::Host(number)) => {
                    imports.functions.push(FunctionImport::Host(number));
                    true
                }
                (ImportKind::Function(ty), Extern::Function(function)) => {
                    imports.functions.push(FunctionImport::Function(function.0));
                    let ty = types.get(u32::from(ty)).ok_or(CORRUPT)?;
                    let instance = self.instances.get(function.instance() as usize);
                    instance.is_some_and(|instance| has_type(&instance.module, function.index(), types, ty))
                }
                (ImportKind::Table(wanted), Extern::Table(table)) => {
                    imports.tables.push(table.0);
                    self.tables.get(table.0 as usize).is_some_and(|table| {
                        let size = table.elements.len() as u32;
                        table.ty.element == wanted.element && fits(size, table.ty.max, wanted.min, wanted.max)
                    })
                }
                (ImportKind::Memory(wanted), Extern::Memory(memory)) => {
                    imports.memory = Some(memory.0);
                    self.memories.get(memory.0 as usize).is_some_and(|memory| {
                        memory.ty.page_log2 == wanted.page_log2
                            && fits(memory.pages(), memory.ty.max, wanted.min, wanted.max)
                    })
                }
                (ImportKind::Global(wanted), Extern::Global(global)) => {
                    imports.globals.push(global.0);
                    self.globals
                        .get(global.0 as usize)
                        .is_some_and(|global| global.ty == wanted)
                }
                _ => false,
            };
            if !fits {
                return Err(InstantiateError::IncompatibleImport(index));
            }
        }
        Ok(imports)
    }

    /// Makes what the module defines.
    fn build(
        &mut self,
        module: &Rc<Module>,
        imports: Imports,
        number: u32,
    ) -> Result<Instance, InstantiateError> {
        let info = &module.info;
        let Imports {
            functions,
            mut tables,
            mut memory,
            globals,
        } = imports;
        for ty in info.tables.iter().skip(tables.len()) {
            tables.push(self.new_table(*ty).ok_or(InstantiateError::OutOfMemory)?.0);
        }
        if let Some(ty) = info.memory
            && memory.is_none()
        {
            memory = Some(self.new_memory(ty).ok_or(InstantiateError::OutOfMemory)?.0);
        }
        let mut instance = Instance {
            module: module.clone(),
            functions: functions.into(),
            tables: tables.into(),
            memory,
            globals: globals.into(),
            dropped_data: info.data.iter().map(|_| Cell::new(false)).collect(),
            dropped_elements: info.elements.iter().map(|_| Cell::new(false)).collect(),
        };
        let mut own = Vec::new();
        for (ty, offset) in info
            .globals
            .iter()
            .skip(instance.globals.len())
            .zip(&info.global_values)
        {
            // It can only name imported globals.
            let value = instance.constant(&mut module.cursor(*offset), &self.globals, number);
            let (low, high) = value.ok_or(CORRUPT)?;
            own.push(self.globals.len() as u32);
            self.globals.push(Global { ty: *ty, low, high });
        }
        instance.globals = instance.globals.iter().copied().chain(own).collect();
        Ok(instance)
    }

    fn copy_elements(&mut self, number: u32) -> Result<(), InstantiateError> {
        let Self {
            instances,
            tables,
            globals,
            ..
        } = self;
        let instance = instances.get(number as usize).ok_or(CORRUPT)?;
        for (segment, index) in instance.module.info.elements.iter().zip(0..) {
            let dropped = instance.dropped_elements.get(index as usize).ok_or(CORRUPT)?;
            match segment.mode {
                ElementMode::Passive => {}
                ElementMode::Declarative => dropped.set(true),
                ElementMode::Active { table, offset } => {
                    let target = instance.constant(&mut instance.module.cursor(offset), globals, number);
                    let target = target.ok_or(CORRUPT)?.0;
                    let table = *instance.tables.get(table as usize).ok_or(CORRUPT)?;
                    let table: &mut Table = tables.get_mut(table as usize).ok_or(CORRUPT)?;
                    if u64::from(target) + u64::from(segment.count) > table.elements.len() as u64 {
                        return Err(InstantiateError::Trap(TrapKind::TableOutOfBounds));
                    }
                    instance.init_table(globals, table, number, index, target, (0, segment.count))?;
                    dropped.set(true);
                }
            }
        }
        Ok(())
    }

    fn copy_data(&mut self, number: u32) -> Result<(), InstantiateError> {
        let Self {
            instances,
            memories,
            globals,
            arena,
            budget,
            ..
        } = self;
        let instance = instances.get(number as usize).ok_or(CORRUPT)?;
        let module = &instance.module;
        let mut parts = Vec::new();
        let mut result = Ok(());
        for (segment, dropped) in module.info.data.iter().zip(&instance.dropped_data) {
            let Some(offset) = segment.offset else { continue };
            let target = instance
                .constant(&mut module.cursor(offset), globals, number)
                .ok_or(CORRUPT)?
                .0;
            let memory = memory(instance.memory, memories).ok_or(CORRUPT)?;
            if let Err(fault) = memory.check(target, segment.length) {
                result = Err(fault.into());
                break;
            }
            if module.info.memory_imported {
                let start = segment.start as usize;
                let bytes = module
                    .bytes
                    .get(start..start + segment.length as usize)
                    .ok_or(CORRUPT)?;
                memory.write(&mut arena.0.borrow_mut(), budget, target, bytes)?;
            } else if segment.length > 0 {
                parts.push((target, segment.start, segment.length));
            }
            dropped.set(true);
        }
        if !parts.is_empty()
            && let Some(memory) = memory(instance.memory, memories)
        {
            parts.shrink_to_fit();
            memory.fill = Some(Fill {
                module: module.clone(),
                parts,
            });
        }
        result
    }
}

fn memory(index: Option<u32>, memories: &mut [Memory]) -> Option<&mut Memory> {
    memories.get_mut(index? as usize)
}
