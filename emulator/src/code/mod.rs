//! The decoded-instruction cache: eight bytes for each halfword that can be run.
//!
//! All memories lie in one array, each followed by a guard, so that running on needs one bounds check and no question
//! which memory it is. Pages of the array that never ran cost no memory: the host maps them when they are written.

pub(crate) mod decode;

use decode::{Decoded, Op};

/// Guard entries behind each memory: a wide instruction may look one halfword past the end.
const GUARD: u32 = 4;
/// Bytes of RAM that share one mark "there is decoded code here", as a power of two.
const PAGE_SHIFT: u32 = 8;

/// A memory that code can run from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    /// Address of its first byte.
    pub base: u32,
    /// Its size in bytes.
    pub size: u32,
    /// Index of its first halfword in the cache.
    start: u32,
}

impl Region {
    /// The place of an address in the cache, if it lies in this memory.
    #[inline(always)]
    pub(crate) fn index(&self, address: u32) -> Option<u32> {
        let offset = address.wrapping_sub(self.base);
        (offset < self.size).then(|| self.start + (offset >> 1))
    }

    /// What to add to twice an index to have its address.
    #[inline(always)]
    pub(crate) fn delta(&self) -> u32 {
        self.base.wrapping_sub(self.start * 2)
    }
}

/// The decoded instructions of a chip.
#[derive(Debug, Clone)]
pub(crate) struct CodeCache {
    entries: Box<[Decoded]>,
    /// Boot ROM, RAM, flash.
    regions: [Region; 3],
    /// For each page of RAM, whether something in it was decoded.
    ram_pages: Box<[bool]>,
}

pub(crate) const ROM: usize = 0;
pub(crate) const RAM: usize = 1;
pub(crate) const FLASH: usize = 2;

impl CodeCache {
    /// A cache for memories of these base addresses and sizes: boot ROM, RAM, flash.
    pub(crate) fn new(memories: [(u32, u32); 3]) -> Self {
        let mut start = 0;
        let regions = memories.map(|(base, size)| {
            let region = Region { base, size, start };
            start += size / 2 + GUARD;
            region
        });
        let mut entries = vec![Decoded::default(); start as usize].into_boxed_slice();
        for region in regions {
            let end = (region.start + region.size / 2) as usize;
            entries[end..end + GUARD as usize].fill(Decoded {
                op: Op::End,
                ..Decoded::default()
            });
        }
        let ram_pages = vec![false; (memories[RAM].1 >> PAGE_SHIFT) as usize + 1].into_boxed_slice();
        Self {
            entries,
            regions,
            ram_pages,
        }
    }

    /// The memory that holds this address and can be run from.
    #[inline(always)]
    pub(crate) fn region(&self, address: u32) -> Option<(usize, Region)> {
        let which = match address >> 28 {
            0 => ROM,
            1 => FLASH,
            2 => RAM,
            _ => return None,
        };
        let region = self.regions[which];
        (address.wrapping_sub(region.base) < region.size).then_some((which, region))
    }

    /// The instruction at an index.
    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> &Decoded {
        &self.entries[index as usize]
    }

    /// Decodes the instruction at `address` of memory `which` and keeps it.
    pub(crate) fn fill(&mut self, which: usize, address: u32, first: u16, second: u16) -> Decoded {
        let region = self.regions[which];
        let decoded = decode::decode(address, first, second, |target| region.index(target));
        if let Some(index) = region.index(address) {
            self.entries[index as usize] = decoded;
            if which == RAM {
                let offset = address - region.base;
                self.ram_pages[(offset >> PAGE_SHIFT) as usize] = true;
                // a wide instruction also dies when its second half, in the next page, is written
                self.ram_pages[((offset + 2) >> PAGE_SHIFT) as usize] = true;
            }
        }
        decoded
    }

    /// Puts a function of the boot ROM at an address of it.
    pub(crate) fn set_rom_function(&mut self, address: u32, number: u32) {
        if let Some(index) = self.regions[ROM].index(address) {
            self.entries[index as usize] = Decoded {
                op: Op::Rom,
                imm: number,
                ..Decoded::default()
            };
        }
    }

    /// RAM at this offset was written: what was decoded of it is forgotten.
    #[inline(always)]
    pub(crate) fn ram_written(&mut self, offset: u32) {
        if self.ram_pages[(offset >> PAGE_SHIFT) as usize] {
            self.forget(RAM, offset & !3, 4);
        }
    }

    /// Forgets what was decoded of a piece of a memory, and of the halfword before it.
    #[cold]
    #[inline(never)]
    pub(crate) fn forget(&mut self, which: usize, offset: u32, length: u32) {
        let region = self.regions[which];
        let first = region.start + (offset >> 1).saturating_sub(1);
        let last = region.start + (offset + length).min(region.size).div_ceil(2);
        if first < last {
            self.entries[first as usize..last as usize].fill(Decoded::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> CodeCache {
        CodeCache::new([(0, 0x4000), (0x2000_0000, 0x42000), (0x1000_0000, 0x20_0000)])
    }

    #[test]
    fn an_address_goes_to_its_memory_and_back() {
        let cache = cache();
        for address in [0, 0x3ffe, 0x2000_0000, 0x2004_1ffe, 0x1000_0000, 0x101f_fffe] {
            let (_, region) = cache.region(address).unwrap();
            let index = region.index(address).unwrap();
            assert_eq!(index.wrapping_mul(2).wrapping_add(region.delta()), address);
        }
        assert!(cache.region(0x4000).is_none());
        assert!(cache.region(0x2004_2000).is_none());
        assert!(cache.region(0x4000_0000).is_none());
    }

    #[test]
    fn a_write_forgets_the_wide_instruction_that_it_ends() {
        let mut cache = cache();
        let (which, region) = cache.region(0x2000_00fe).unwrap();
        cache.fill(which, 0x2000_00fe, 0xf000, 0xf800);
        let index = region.index(0x2000_00fe).unwrap();
        assert_eq!(cache.get(index).op, Op::Bl);
        cache.ram_written(0x100);
        assert_eq!(cache.get(index).op, Op::Undecoded);
    }
}
