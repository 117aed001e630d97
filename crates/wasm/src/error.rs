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
    Malformed(&'static str),
    /// The module breaks a rule of validation.
    Invalid(&'static str),
    /// The module uses a proposal that this engine does not have.
    Unsupported(Proposal),
    /// The module exceeds one of [`Limits`](crate::Limits).
    Limit(&'static str),
    /// The sink for the emitted code is full or failed.
    Sink,
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
            Self::Malformed(what) => ("malformed module", what),
            Self::Invalid(what) => ("invalid module", what),
            Self::Unsupported(proposal) => ("unsupported proposal", proposal.name()),
            Self::Limit(what) => ("limit exceeded", what),
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
