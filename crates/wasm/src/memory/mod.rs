//! Memories in software pages.
//!
//! A memory is a table of frame numbers, one for each KiB that it declares. A frame is taken from the [`Arena`] when it is first
//! touched, filled with zeros and with what active data segments put there; until then it costs its entry of the table. Frames are
//! counted against the [`Budget`] of the store. If that or the arena is used up, the access ends in [`Fault::OutOfMemory`], which is
//! no trap: a program cannot cause the same with an instruction of WebAssembly, and its host reports it as a container out of memory.
//!
//! If the memory's size is no multiple of a frame, which only pages of 1 byte allow, the last frame is kept apart from the table. So
//! the fast path of the interpreter, which only looks at the table, needs no comparison with the size.

pub(crate) mod arena;
#[cfg(test)]
mod tests;

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::module::Module;
use crate::types::MemoryType;
use arena::{Arena, FRAME_BYTES, Frame, FrameNumber, Frames};

/// Why memory cannot be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The address lies outside of the memory.
    OutOfBounds,
    /// The store's limit or the arena is used up.
    OutOfMemory,
}

/// Frames of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) limit: u32,
    pub(crate) used: u32,
}

/// Bytes of an active data segment that go to a memory on first touch.
#[derive(Clone, Debug)]
pub(crate) struct Fill {
    pub(crate) module: Rc<Module>,
    /// Where in memory, where in the module, how many bytes.
    pub(crate) parts: Vec<(u32, u32, u32)>,
}

/// A memory.
#[derive(Debug)]
pub(crate) struct Memory {
    arena: Arena,
    /// Frames that lie in the memory as a whole.
    table: Vec<FrameNumber>,
    /// The frame that the memory ends in.
    tail: FrameNumber,
    pages: u32,
    /// Type; the minimum is that of the declaration.
    pub(crate) ty: MemoryType,
    /// Pages of 64 KiB, or as many bytes, that the host allows.
    limit: u32,
    pub(crate) fill: Option<Fill>,
}

impl Memory {
    /// A memory of `ty`, or `None` if there is no room for its table.
    pub(crate) fn new(arena: &Arena, ty: MemoryType, limit: u32) -> Option<Self> {
        let mut this = Self {
            arena: arena.clone(),
            table: Vec::new(),
            tail: 0,
            pages: 0,
            ty,
            limit: u32::MAX,
            fill: None,
        };
        this.grow(ty.min)?;
        this.limit = limit;
        Some(this)
    }

    /// Size in pages.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// Size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.pages) << self.ty.page_log2
    }

    /// Bytes of the table on the heap.
    pub(crate) fn table_bytes(&self) -> usize {
        self.table.capacity() * core::mem::size_of::<FrameNumber>()
    }

    /// Adds pages and returns how many there were. `None`: the type or the host does not allow them, or there is no room for their
    /// table.
    pub(crate) fn grow(&mut self, more: u32) -> Option<u32> {
        let old = self.pages;
        let pages = old.checked_add(more)?;
        let most = if self.ty.page_log2 == 16 {
            1 << 16
        } else {
            u32::MAX
        };
        if pages > self.ty.max.unwrap_or(most).min(most) {
            return None;
        }
        let bytes = u64::from(pages) << self.ty.page_log2;
        if more > 0 && bytes > u64::from(self.limit) << 16 {
            return None;
        }
        let frames = usize::try_from(bytes / u64::from(FRAME_BYTES)).ok()?;
        if frames > self.table.len() {
            self.table.try_reserve_exact(frames - self.table.len()).ok()?;
            self.table.push(self.tail);
            self.tail = 0;
            self.table.resize(frames, 0);
        }
        self.pages = pages;
        Some(old)
    }

    /// Number of the frame at an address, if it has been touched and lies in the memory as a whole.
    #[inline]
    pub(crate) fn frame_number(&self, address: u32) -> FrameNumber {
        match self.table.get((address / FRAME_BYTES) as usize) {
            Some(number) => *number,
            None => 0,
        }
    }

    /// The frame at an address, which is taken from the arena if it has not been touched.
    fn touch<'f>(
        &mut self,
        frames: &'f mut Frames,
        budget: &mut Budget,
        address: u32,
    ) -> Result<&'f mut Frame, Fault> {
        let index = (address / FRAME_BYTES) as usize;
        let bytes = self.bytes();
        let entry = match self.table.get_mut(index) {
            Some(entry) => entry,
            None if u64::from(address) < bytes => &mut self.tail,
            None => return Err(Fault::OutOfBounds),
        };
        if *entry == 0 {
            if budget.used >= budget.limit {
                return Err(Fault::OutOfMemory);
            }
            *entry = frames.take().ok_or(Fault::OutOfMemory)?;
            budget.used += 1;
            let number = *entry;
            if let Some(fill) = &self.fill
                && let Some(frame) = frames.get(number)
            {
                fill.fill(frame, address & !(FRAME_BYTES - 1));
            }
            return frames.get(number).ok_or(Fault::OutOfMemory);
        }
        frames.get(*entry).ok_or(Fault::OutOfMemory)
    }

    /// Whether `length` bytes from `address` lie in the memory.
    pub(crate) fn check(&self, address: u32, length: u32) -> Result<(), Fault> {
        if u64::from(address) + u64::from(length) > self.bytes() {
            return Err(Fault::OutOfBounds);
        }
        Ok(())
    }

    /// Copies bytes out of the memory.
    pub(crate) fn read(
        &mut self,
        frames: &mut Frames,
        budget: &mut Budget,
        address: u32,
        bytes: &mut [u8],
    ) -> Result<(), Fault> {
        self.check(
            address,
            u32::try_from(bytes.len()).map_err(|_| Fault::OutOfBounds)?,
        )?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = self.touch(frames, budget, at)?;
            let offset = at % FRAME_BYTES;
            let (part, after) = rest.split_at_mut(rest.len().min((FRAME_BYTES - offset) as usize));
            for (byte, place) in part.iter_mut().zip(offset..) {
                *byte = (frame[place as usize / 4] >> (place % 4 * 8)) as u8;
            }
            at = at.wrapping_add(part.len() as u32);
            rest = after;
        }
        Ok(())
    }

    /// Copies bytes into the memory. Nothing is copied if not all of them fit, though frames may have been touched.
    pub(crate) fn write(
        &mut self,
        frames: &mut Frames,
        budget: &mut Budget,
        address: u32,
        bytes: &[u8],
    ) -> Result<(), Fault> {
        self.check(
            address,
            u32::try_from(bytes.len()).map_err(|_| Fault::OutOfBounds)?,
        )?;
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = self.touch(frames, budget, at)?;
            let offset = at % FRAME_BYTES;
            let (part, after) = rest.split_at(rest.len().min((FRAME_BYTES - offset) as usize));
            put(frame, offset, part);
            at = at.wrapping_add(part.len() as u32);
            rest = after;
        }
        Ok(())
    }

    /// Reads 1, 2, 4 or 8 bytes.
    pub(crate) fn load(
        &mut self,
        frames: &mut Frames,
        budget: &mut Budget,
        address: u32,
        size: u32,
    ) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read(
            frames,
            budget,
            address,
            bytes.get_mut(..size as usize).ok_or(Fault::OutOfBounds)?,
        )?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes the `size` low bytes of a value.
    pub(crate) fn store(
        &mut self,
        frames: &mut Frames,
        budget: &mut Budget,
        address: u32,
        size: u32,
        value: u64,
    ) -> Result<(), Fault> {
        let bytes = value.to_le_bytes();
        self.check(address, size)?;
        // An access that crosses into a frame for which there is no room must not leave half of its bytes.
        if size > 0 {
            self.touch(frames, budget, address + (size - 1))?;
        }
        self.write(
            frames,
            budget,
            address,
            bytes.get(..size as usize).ok_or(Fault::OutOfBounds)?,
        )
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Nothing runs while a store is dropped, so that the arena is never borrowed here.
        if let Ok(mut frames) = self.arena.0.try_borrow_mut() {
            for number in self.table.iter().chain([&self.tail]) {
                frames.give_back(*number);
            }
        }
    }
}

impl Fill {
    /// Puts what lies at `address` into a frame.
    fn fill(&self, frame: &mut Frame, address: u32) {
        let frame_end = u64::from(address) + u64::from(FRAME_BYTES);
        for &(target, source, length) in &self.parts {
            let start = target.max(address);
            let end = (u64::from(target) + u64::from(length)).min(frame_end);
            if u64::from(start) < end {
                let skipped = source + (start - target);
                let count = (end - u64::from(start)) as usize;
                if let Some(bytes) = self
                    .module
                    .bytes
                    .get(skipped as usize..)
                    .and_then(|bytes| bytes.get(..count))
                {
                    put(frame, start - address, bytes);
                }
            }
        }
    }
}

fn put(frame: &mut Frame, offset: u32, bytes: &[u8]) {
    for (byte, place) in bytes.iter().zip(offset..) {
        let shift = place % 4 * 8;
        let word = &mut frame[place as usize / 4];
        *word = *word & !(0xff << shift) | u32::from(*byte) << shift;
    }
}
