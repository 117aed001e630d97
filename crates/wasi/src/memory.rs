//! How calls see the guest's memory.

/// Why guest memory could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// The range is not in the guest's memory: the call fails with EFAULT.
    Fault,
    /// The range is, but touching it would take the instance over its memory limit: the instance ends, out of memory.
    OutOfMemory,
}

/// The linear memory of an instance, which may be paged: it is copied in and out, and never borrowed.
pub trait GuestMemory {
    /// Copies out of guest memory, from `address` on, into `bytes`.
    ///
    /// # Errors
    /// See [`MemoryError`]; `bytes` may then be partly written.
    fn copy_out(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), MemoryError>;

    /// Copies `bytes` into guest memory at `address`.
    ///
    /// # Errors
    /// See [`MemoryError`]; a part may then have been written.
    fn copy_in(&mut self, address: u32, bytes: &[u8]) -> Result<(), MemoryError>;
}

/// Bytes that a call moves through the native stack at a time.
pub(crate) const CHUNK: usize = 128;

/// Numbers in guest memory, little-endian.
pub(crate) fn read_u32(memory: &mut dyn GuestMemory, address: u32) -> Result<u32, MemoryError> {
    let mut bytes = [0; 4];
    memory.copy_out(address, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

pub(crate) fn write_u32(memory: &mut dyn GuestMemory, address: u32, value: u32) -> Result<(), MemoryError> {
    memory.copy_in(address, &value.to_le_bytes())
}

pub(crate) fn write_u64(memory: &mut dyn GuestMemory, address: u32, value: u64) -> Result<(), MemoryError> {
    memory.copy_in(address, &value.to_le_bytes())
}

/// `address + offset`, or a fault where that wraps.
pub(crate) fn advance(address: u32, offset: u32) -> Result<u32, MemoryError> {
    address.checked_add(offset).ok_or(MemoryError::Fault)
}
