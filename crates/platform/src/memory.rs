//! How much heap there is.

/// Figures of the heap that a node may use, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapFigures {
    /// The whole pool.
    pub total: u64,
    /// Handed out now.
    pub used: u64,
    /// The most that was ever handed out at once.
    pub peak: u64,
}

impl HeapFigures {
    /// What is left.
    #[inline(never)]
    pub const fn free(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

/// Tells how much heap there is. Drives MemoryPressure, admission and `/metrics`.
pub trait Memory {
    /// The figures of this moment.
    fn heap(&self) -> HeapFigures;

    /// Bytes that the node has in use, where it shares the heap with others and its figures do not tell.
    fn used_bytes(&self) -> Option<u64> {
        None
    }
}
