//! Names of what is in a store.

/// Bits of a function's address that number it within its instance; those above number the instance.
pub(crate) const FUNCTION_BITS: u32 = 20;

/// A function of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub(crate) u32);

/// An instance of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceId(pub(crate) u32);

/// A table of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId(pub(crate) u32);

/// A memory of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryId(pub(crate) u32);

/// A global of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalId(pub(crate) u32);

impl Function {
    /// Number of its instance.
    pub(crate) const fn instance(self) -> u32 {
        self.0 >> FUNCTION_BITS
    }

    /// Its index in its module.
    pub(crate) const fn index(self) -> u32 {
        self.0 & ((1 << FUNCTION_BITS) - 1)
    }
}
