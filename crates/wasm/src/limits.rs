//! Bounds on what a module may contain.

/// What a module may contain. The host sets it; every allocation of the validator and of an instance is bounded by it.
///
/// [`Limits::SMALL`] is for a microcontroller and the default, [`Limits::LARGE`] for a host with an ordinary heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Function types.
    pub types: u32,
    /// Imports of all kinds.
    pub imports: u32,
    /// Functions, imported ones included. At most [`Limits::MAX_FUNCTIONS`].
    pub functions: u32,
    /// Globals, imported ones included.
    pub globals: u32,
    /// Tables, imported ones included.
    pub tables: u32,
    /// Elements that one table may have, at first and after `table.grow`.
    pub table_elements: u32,
    /// Exports.
    pub exports: u32,
    /// Element segments.
    pub elements: u32,
    /// Data segments.
    pub data: u32,
    /// Pages of 64 KiB that a memory may declare as its minimum and grow to. With other page sizes: as many bytes.
    pub pages: u32,
    /// Locals of a function, parameters included, in slots of 32 bits. At most 32,767.
    pub locals: u32,
    /// Groups of equal locals of a function.
    pub local_groups: u32,
    /// Nested blocks.
    pub control_depth: u32,
    /// Values on the operand stack of a function.
    pub operands: u32,
    /// Branches whose target is not known yet, in one function.
    pub pending_branches: u32,
    /// `drop` and `select` of 64-bit values in one function.
    pub wide_operations: u32,
}

impl Limits {
    /// A function is named by 20 bits.
    pub const MAX_FUNCTIONS: u32 = 1 << 20;

    /// For a microcontroller: a validator takes at most about 12 KiB of heap.
    pub const SMALL: Self = Self {
        types: 128,
        imports: 64,
        functions: 2048,
        globals: 64,
        tables: 4,
        table_elements: 1024,
        exports: 64,
        elements: 16,
        data: 64,
        pages: 32,
        locals: 512,
        local_groups: 64,
        control_depth: 128,
        operands: 256,
        pending_branches: 512,
        wide_operations: 256,
    };

    /// For a host with an ordinary heap.
    pub const LARGE: Self = Self {
        types: 16_384,
        imports: 16_384,
        functions: 131_072,
        globals: 16_384,
        tables: 64,
        table_elements: 1 << 20,
        exports: 16_384,
        elements: 16_384,
        data: 16_384,
        pages: 32,
        locals: 32_767,
        local_groups: 16_384,
        control_depth: 16_384,
        operands: 32_767,
        pending_branches: 131_072,
        wide_operations: 65_536,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::SMALL
    }
}
