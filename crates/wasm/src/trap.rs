//! Why a program stopped.

use crate::ids::InstanceId;

/// A rule of WebAssembly that a program broke at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// `unreachable` was executed.
    Unreachable,
    /// An address outside of the memory.
    MemoryOutOfBounds,
    /// An index outside of a table, or of an element segment.
    TableOutOfBounds,
    /// `call_indirect` of an index outside of the table.
    UndefinedElement,
    /// `call_indirect` of a null reference.
    UninitializedElement,
    /// `call_indirect` of a function of another type.
    IndirectCallTypeMismatch,
    /// Integer division by zero.
    DivisionByZero,
    /// A result that its type cannot hold.
    IntegerOverflow,
    /// A conversion of a NaN to an integer.
    InvalidConversion,
    /// The stack is too small for a call.
    StackExhausted,
    /// Module and side table do not belong together, or were changed after validation.
    Corrupt,
}

impl TrapKind {
    /// The words of the specification's tests for it.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::MemoryOutOfBounds => "out of bounds memory access",
            Self::TableOutOfBounds => "out of bounds table access",
            Self::UndefinedElement => "undefined element",
            Self::UninitializedElement => "uninitialized element",
            Self::IndirectCallTypeMismatch => "indirect call type mismatch",
            Self::DivisionByZero => "integer divide by zero",
            Self::IntegerOverflow => "integer overflow",
            Self::InvalidConversion => "invalid conversion to integer",
            Self::StackExhausted => "call stack exhausted",
            Self::Corrupt => "module is corrupt",
        }
    }
}

/// A trap and where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// What happened.
    pub kind: TrapKind,
    /// The instance that ran.
    pub instance: InstanceId,
    /// Index of the function in its module. [`Module::function_name`](crate::Module::function_name) has its name.
    pub function: u32,
    /// Offset of the instruction in the module.
    pub offset: u32,
}
