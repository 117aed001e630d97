//! Types of values, functions, tables, memories and globals.

use alloc::vec::Vec;

use crate::error::{ErrorKind, Proposal, Reason};
use crate::ids::Function;

/// Type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ValueType {
    /// 32-bit integer.
    I32 = 0x7f,
    /// 64-bit integer.
    I64 = 0x7e,
    /// 32-bit float.
    F32 = 0x7d,
    /// 64-bit float.
    F64 = 0x7c,
    /// Reference to a function.
    FuncRef = 0x70,
    /// Reference to something of the host.
    ExternRef = 0x6f,
}

impl ValueType {
    pub(crate) const fn from_byte(byte: u8) -> Result<Self, ErrorKind> {
        Ok(match byte {
            0x7f => Self::I32,
            0x7e => Self::I64,
            0x7d => Self::F32,
            0x7c => Self::F64,
            0x70 => Self::FuncRef,
            0x6f => Self::ExternRef,
            0x7b => return Err(ErrorKind::Unsupported(Proposal::Simd)),
            0x63 | 0x64 => return Err(ErrorKind::Unsupported(Proposal::FunctionReferences)),
            0x69 | 0x74 => return Err(ErrorKind::Unsupported(Proposal::ExceptionHandling)),
            0x6a..=0x6e | 0x71..=0x73 => {
                return Err(ErrorKind::Unsupported(Proposal::GarbageCollection));
            }
            _ => return Err(ErrorKind::Malformed(Reason::ValueType)),
        })
    }

    /// Whether a value takes two slots of 32 bits.
    #[must_use]
    pub const fn is_wide(self) -> bool {
        matches!(self, Self::I64 | Self::F64)
    }

    /// Slots of 32 bits that a value takes.
    #[must_use]
    pub const fn slots(self) -> u32 {
        if self.is_wide() { 2 } else { 1 }
    }

    /// Whether it is a reference.
    #[must_use]
    pub const fn is_reference(self) -> bool {
        matches!(self, Self::FuncRef | Self::ExternRef)
    }
}

/// Where the parameters and results of a function type lie among [`Types`]' values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunctionType {
    start: u16,
    params: u8,
    results: u8,
    /// Slots of the parameters.
    pub(crate) param_slots: u8,
    /// Slots of the results.
    pub(crate) result_slots: u8,
    /// Index of the first equal type of the module.
    pub(crate) canonical: u16,
}

/// The function types of a module.
#[derive(Debug, Default)]
pub(crate) struct Types {
    list: Vec<FunctionType>,
    values: Vec<ValueType>,
}

/// Slots that a function type may have on either side, since a side table entry counts in a byte.
const MAX_SLOTS: u32 = 255;

impl Types {
    /// Adds a value to the type that is read next.
    pub(crate) fn push_value(&mut self, value: ValueType) -> Result<(), ErrorKind> {
        if self.values.len() >= usize::from(u16::MAX) {
            return Err(ErrorKind::Limit(Reason::Types));
        }
        self.values.push(value);
        Ok(())
    }

    /// Ends a type whose values, `params` and then `results`, were pushed last.
    pub(crate) fn finish(&mut self, params: u32, results: u32) -> Result<(), ErrorKind> {
        let start = self.values.len() - (params + results) as usize;
        let split = start + params as usize;
        let slots = |values: &[ValueType]| {
            let slots = values.iter().map(|value| value.slots()).sum::<u32>();
            u8::try_from(slots).map_err(|_| ErrorKind::Limit(Reason::ParametersOrResultsOfAType))
        };
        let mut new = FunctionType {
            start: start as u16,
            params: params as u8,
            results: results as u8,
            param_slots: slots(&self.values[start..split])?,
            result_slots: slots(&self.values[split..])?,
            canonical: self.list.len() as u16,
        };
        for (index, old) in self.list.iter().enumerate() {
            let old_values =
                &self.values[usize::from(old.start)..][..usize::from(old.params) + usize::from(old.results)];
            if old.params == new.params && *old_values == self.values[start..] {
                new.canonical = index as u16;
                // Values of equal types are stored once.
                new.start = old.start;
                self.values.truncate(start);
                break;
            }
        }
        self.list.push(new);
        Ok(())
    }

    /// Whether so many parameters or results can be counted.
    pub(crate) const fn fits(count: u32) -> bool {
        count <= MAX_SLOTS
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, index: u32) -> Option<FunctionType> {
        self.list.get(index as usize).copied()
    }

    pub(crate) fn params(&self, ty: FunctionType) -> &[ValueType] {
        &self.values[usize::from(ty.start)..][..usize::from(ty.params)]
    }

    pub(crate) fn results(&self, ty: FunctionType) -> &[ValueType] {
        &self.values[usize::from(ty.start) + usize::from(ty.params)..][..usize::from(ty.results)]
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.list.len() * core::mem::size_of::<FunctionType>() + self.values.len()
    }

    pub(crate) fn shrink(&mut self) {
        self.list.shrink_to_fit();
        self.values.shrink_to_fit();
    }
}

/// Type of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableType {
    /// Type of the elements.
    pub element: ValueType,
    /// Elements at first.
    pub min: u32,
    /// Elements at most.
    pub max: Option<u32>,
}

/// Type of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryType {
    /// Pages at first.
    pub min: u32,
    /// Pages at most.
    pub max: Option<u32>,
    /// Binary logarithm of a page's bytes: 0 or 16.
    pub page_log2: u8,
}

/// Type of a global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalType {
    /// Type of its value.
    pub value: ValueType,
    /// Whether it can be set.
    pub mutable: bool,
}

/// A value as hosts see it.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// 32-bit float, as bits, so that a NaN keeps its payload.
    F32(u32),
    /// 64-bit float, as bits.
    F64(u64),
    /// Reference to a function, or null.
    FuncRef(Option<Function>),
    /// Number that the host gave out, or null. `u32::MAX` cannot be represented.
    ExternRef(Option<u32>),
}

impl Value {
    /// Its type.
    #[must_use]
    pub const fn ty(self) -> ValueType {
        match self {
            Self::I32(_) => ValueType::I32,
            Self::I64(_) => ValueType::I64,
            Self::F32(_) => ValueType::F32,
            Self::F64(_) => ValueType::F64,
            Self::FuncRef(_) => ValueType::FuncRef,
            Self::ExternRef(_) => ValueType::ExternRef,
        }
    }

    /// Its slots, the low one first. A value that is not wide has only that.
    pub(crate) fn to_slots(self) -> (u32, u32) {
        match self {
            Self::I32(value) => (value as u32, 0),
            Self::F32(bits) => (bits, 0),
            Self::I64(value) => (value as u32, (value as u64 >> 32) as u32),
            Self::F64(bits) => (bits as u32, (bits >> 32) as u32),
            Self::FuncRef(function) => (function.map_or(0, |function| function.0 + 1), 0),
            Self::ExternRef(reference) => (reference.map_or(0, |reference| reference.wrapping_add(1)), 0),
        }
    }

    pub(crate) fn from_slots(ty: ValueType, low: u32, high: u32) -> Self {
        let wide = u64::from(high) << 32 | u64::from(low);
        match ty {
            ValueType::I32 => Self::I32(low as i32),
            ValueType::F32 => Self::F32(low),
            ValueType::I64 => Self::I64(wide as i64),
            ValueType::F64 => Self::F64(wide),
            ValueType::FuncRef => Self::FuncRef(low.checked_sub(1).map(Function)),
            ValueType::ExternRef => Self::ExternRef(low.checked_sub(1)),
        }
    }
}
