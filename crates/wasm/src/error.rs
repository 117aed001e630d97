//! Why a module was refused.

use core::fmt;

/// A refusal: what is wrong, and at which byte of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Offset from the start of the module.
    pub offset: u32,
    /// What is wrong there.
    pub kind: ErrorKind,
}

/// What is wrong with a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are no module.
    Malformed(Reason),
    /// The module breaks a rule of validation.
    Invalid(Reason),
    /// The module uses a proposal that this engine does not have.
    Unsupported(Proposal),
    /// The module exceeds one of [`Limits`](crate::Limits).
    Limit(Reason),
    /// The sink for the emitted code is full or failed.
    Sink,
}

/// What exactly is malformed, invalid or exceeds a limit. A byte, since the validator hands it through many calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the message says it")]
#[repr(u8)]
pub enum Reason {
    Alignment,
    AlignmentExceedsTheSizeOfTheAccess,
    BlockType,
    BranchesOfAFunction,
    BytesDifferFromWhatWasValidated,
    ConstantExpressionRequired,
    DataCountSectionRequired,
    DataSegments,
    DuplicateExport,
    ElementSegments,
    ElementsOfATable,
    ElseWithoutIf,
    Exports,
    FlagsOfADataSegment,
    FlagsOfAnElementSegment,
    FlagsOfLimits,
    FunctionType,
    Functions,
    GlobalIsImmutable,
    GlobalOfAConstantExpression,
    Globals,
    GroupsOfLocals,
    Imports,
    KindOfAnElementSegment,
    KindOfAnExport,
    KindOfAnImport,
    LocalsOfAFunction,
    MagicNumber,
    MinimumExceedsMaximum,
    Mutability,
    Name,
    NestedBlocks,
    Number,
    NumberOfDataSegments,
    NumberOfFunctionsAndBodies,
    Opcode,
    OperandsOfAFunction,
    OrderOfSections,
    PageSize,
    PagesOfMemory,
    ParametersOrResultsOfAType,
    PendingBranches,
    ReferenceType,
    ResultsOfABlock,
    Section,
    SizeOfAFunction,
    SizeOfAMemory,
    SizeOfAModule,
    SizeOfASection,
    Tables,
    TypeMismatch,
    TypeOfAnElementSegment,
    TypeOfTheStartFunction,
    Types,
    TypesOfSelect,
    UndeclaredFunctionReference,
    UnexpectedEnd,
    UnknownDataSegment,
    UnknownElementSegment,
    UnknownExport,
    UnknownFunction,
    UnknownGlobal,
    UnknownLabel,
    UnknownLocal,
    UnknownMemory,
    UnknownTable,
    UnknownType,
    Utf8,
    ValueType,
    Version,
    WideDropsAndSelectsOfAFunction,
}

impl Reason {
    /// It in words.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Alignment => "alignment",
            Self::AlignmentExceedsTheSizeOfTheAccess => "alignment exceeds the size of the access",
            Self::BlockType => "block type",
            Self::BranchesOfAFunction => "branches of a function",
            Self::BytesDifferFromWhatWasValidated => "bytes differ from what was validated",
            Self::ConstantExpressionRequired => "constant expression required",
            Self::DataCountSectionRequired => "data count section required",
            Self::DataSegments => "data segments",
            Self::DuplicateExport => "duplicate export",
            Self::ElementSegments => "element segments",
            Self::ElementsOfATable => "elements of a table",
            Self::ElseWithoutIf => "else without if",
            Self::Exports => "exports",
            Self::FlagsOfADataSegment => "flags of a data segment",
            Self::FlagsOfAnElementSegment => "flags of an element segment",
            Self::FlagsOfLimits => "flags of limits",
            Self::FunctionType => "function type",
            Self::Functions => "functions",
            Self::GlobalIsImmutable => "global is immutable",
            Self::GlobalOfAConstantExpression => "global of a constant expression",
            Self::Globals => "globals",
            Self::GroupsOfLocals => "groups of locals",
            Self::Imports => "imports",
            Self::KindOfAnElementSegment => "kind of an element segment",
            Self::KindOfAnExport => "kind of an export",
            Self::KindOfAnImport => "kind of an import",
            Self::LocalsOfAFunction => "locals of a function",
            Self::MagicNumber => "magic number",
            Self::MinimumExceedsMaximum => "minimum exceeds maximum",
            Self::Mutability => "mutability",
            Self::Name => "name",
            Self::NestedBlocks => "nested blocks",
            Self::Number => "number",
            Self::NumberOfDataSegments => "number of data segments",
            Self::NumberOfFunctionsAndBodies => "number of functions and bodies",
            Self::Opcode => "opcode",
            Self::OperandsOfAFunction => "operands of a function",
            Self::OrderOfSections => "order of sections",
            Self::PageSize => "page size",
            Self::PagesOfMemory => "pages of memory: link with -zstack-size=4096",
            Self::ParametersOrResultsOfAType => "parameters or results of a type",
            Self::PendingBranches => "pending branches",
            Self::ReferenceType => "reference type",
            Self::ResultsOfABlock => "results of a block",
            Self::Section => "section",
            Self::SizeOfAFunction => "size of a function",
            Self::SizeOfAMemory => "size of a memory",
            Self::SizeOfAModule => "size of a module",
            Self::SizeOfASection => "size of a section",
            Self::Tables => "tables",
            Self::TypeMismatch => "type mismatch",
            Self::TypeOfAnElementSegment => "type of an element segment",
            Self::TypeOfTheStartFunction => "type of the start function",
            Self::Types => "types",
            Self::TypesOfSelect => "types of select",
            Self::UndeclaredFunctionReference => "undeclared function reference",
            Self::UnexpectedEnd => "unexpected end",
            Self::UnknownDataSegment => "unknown data segment",
            Self::UnknownElementSegment => "unknown element segment",
            Self::UnknownExport => "unknown export",
            Self::UnknownFunction => "unknown function",
            Self::UnknownGlobal => "unknown global",
            Self::UnknownLabel => "unknown label",
            Self::UnknownLocal => "unknown local",
            Self::UnknownMemory => "unknown memory",
            Self::UnknownTable => "unknown table",
            Self::UnknownType => "unknown type",
            Self::Utf8 => "UTF-8",
            Self::ValueType => "value type",
            Self::Version => "version",
            Self::WideDropsAndSelectsOfAFunction => "64-bit drops and selects of a function",
        }
    }
}

/// Proposals that are recognized and refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// A component instead of a core module.
    ComponentModel,
    /// Vector instructions, relaxed ones included.
    Simd,
    /// Shared memories and atomic instructions.
    Threads,
    /// Tags and `throw`, in both encodings.
    ExceptionHandling,
    /// Memories and tables with 64-bit addresses.
    Memory64,
    /// More than one memory.
    MultiMemory,
    /// `return_call`.
    TailCalls,
    /// Typed function references.
    FunctionReferences,
    /// Structures, arrays and their references.
    GarbageCollection,
    /// Arithmetic in constant expressions.
    ExtendedConst,
    /// 128-bit arithmetic.
    WideArithmetic,
}

impl Proposal {
    /// The proposal's name, with the remedy where there is one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ComponentModel => "component model (wasip2): build for wasm32-wasip1",
            Self::Simd => "SIMD",
            Self::Threads => "threads",
            Self::ExceptionHandling => "exception handling",
            Self::Memory64 => "memory64",
            Self::MultiMemory => "multi-memory",
            Self::TailCalls => "tail calls",
            Self::FunctionReferences => "function references",
            Self::GarbageCollection => "GC",
            Self::ExtendedConst => "extended constant expressions",
            Self::WideArithmetic => "wide arithmetic",
        }
    }
}

impl ErrorKind {
    /// A word for the kind of refusal, and what it is about.
    #[must_use]
    pub const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed(what) => ("malformed module", what.message()),
            Self::Invalid(what) => ("invalid module", what.message()),
            Self::Unsupported(proposal) => ("unsupported proposal", proposal.name()),
            Self::Limit(what) => ("limit exceeded", what.message()),
            Self::Sink => ("no room for the prepared code", "sink is full"),
        }
    }

    pub(crate) const fn at(self, offset: u32) -> Error {
        Error { offset, kind: self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, what) = self.kind.parts();
        f.write_str(kind)?;
        f.write_str(": ")?;
        f.write_str(what)?;
        write!(f, " at byte {}", self.offset)
    }
}

impl core::error::Error for Error {}
