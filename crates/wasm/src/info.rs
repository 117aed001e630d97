//! What is kept of a module in RAM, as the validator gathers it.

use alloc::vec::Vec;

use crate::types::{GlobalType, MemoryType, TableType, Types, ValueType};

/// What an import asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ImportKind {
    Function(u16),
    Table(TableType),
    Memory(MemoryType),
    Global(GlobalType),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Import {
    /// Offset of its two names.
    pub(crate) name: u32,
    pub(crate) kind: ImportKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ElementMode {
    /// Offset of the constant expression that says where in the table the elements go.
    Active {
        table: u32,
        offset: u32,
    },
    Passive,
    Declarative,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ElementSegment {
    pub(crate) mode: ElementMode,
    /// Offset of the elements, and their number.
    pub(crate) items: u32,
    pub(crate) count: u32,
    /// Whether the elements are constant expressions instead of indices of functions.
    pub(crate) expressions: bool,
    pub(crate) element: ValueType,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DataSegment {
    /// Offset of the constant expression that says where in memory the bytes go; `None`: passive.
    pub(crate) offset: Option<u32>,
    pub(crate) start: u32,
    pub(crate) length: u32,
}

/// What is kept of a module.
#[derive(Debug, Default)]
pub(crate) struct Info {
    pub(crate) types: Types,
    pub(crate) imports: Vec<Import>,
    /// Offset of the import that is read.
    pub(crate) import_offset: u32,
    pub(crate) imported_functions: u32,
    pub(crate) imported_tables: u32,
    pub(crate) imported_globals: u32,
    pub(crate) memory_imported: bool,
    /// Functions of the module's own.
    pub(crate) functions: u32,
    pub(crate) tables: Vec<TableType>,
    pub(crate) memory: Option<MemoryType>,
    pub(crate) globals: Vec<GlobalType>,
    /// Offsets of the constant expressions of the module's own globals.
    pub(crate) global_values: Vec<u32>,
    /// Offset and number of the exports.
    pub(crate) exports: (u32, u32),
    pub(crate) start: Option<u32>,
    pub(crate) elements: Vec<ElementSegment>,
    pub(crate) data: Vec<DataSegment>,
    /// Offset and length of the name section's content.
    pub(crate) names: (u32, u32),
    pub(crate) size: u32,
}

impl Info {
    pub(crate) fn shrink(&mut self) {
        self.types.shrink();
        self.imports.shrink_to_fit();
        self.tables.shrink_to_fit();
        self.globals.shrink_to_fit();
        self.global_values.shrink_to_fit();
        self.elements.shrink_to_fit();
        self.data.shrink_to_fit();
    }
}
