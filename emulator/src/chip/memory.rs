//! SRAM and the atomic aliases of registers (RP2040 datasheet, sections 2.1.2, 2.1.4 and 2.6.2).

/// Where SRAM starts.
pub(crate) const RAM_BASE: u32 = 0x2000_0000;
/// 264 KiB: four striped banks of 64 KiB and two of 4 KiB.
pub(crate) const RAM_SIZE: u32 = 0x4_2000;

/// The six banks of SRAM, seen through the striped alias.
#[derive(Debug, Clone)]
pub(crate) struct Ram(Box<[u8; RAM_SIZE as usize]>);

impl Ram {
    pub(crate) fn new() -> Self {
        Self(vec![0; RAM_SIZE as usize].try_into().expect("the size asked for"))
    }

    /// Power comes on: most cells fall the way that they always do on this board, about one in eight does not.
    pub(crate) fn power_on(&mut self, board: u64, noise: u64) {
        let mut cells = fastrand::Rng::with_seed(board);
        let mut noise = fastrand::Rng::with_seed(noise);
        for word in self.0.as_chunks_mut::<8>().0 {
            let flips = noise.u64(..) & noise.u64(..) & noise.u64(..);
            *word = (cells.u64(..) ^ flips).to_le_bytes();
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0[..]
    }

    /// The word at an aligned address of RAM; `None` for anything else.
    #[inline(always)]
    pub(crate) fn load32(&self, address: u32) -> Option<u32> {
        // the rotation moves the bits that must be zero to the top, where they make the index too large
        let index = address.wrapping_sub(RAM_BASE).rotate_right(2) as usize;
        self.0
            .as_chunks::<4>()
            .0
            .get(index)
            .map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// The halfword at an aligned address of RAM.
    #[inline(always)]
    pub(crate) fn load16(&self, address: u32) -> Option<u32> {
        let index = address.wrapping_sub(RAM_BASE).rotate_right(1) as usize;
        self.0
            .as_chunks::<2>()
            .0
            .get(index)
            .map(|bytes| u32::from(u16::from_le_bytes(*bytes)))
    }

    /// The byte at an address of RAM.
    #[inline(always)]
    pub(crate) fn load8(&self, address: u32) -> Option<u32> {
        self.0
            .get(address.wrapping_sub(RAM_BASE) as usize)
            .map(|byte| u32::from(*byte))
    }

    /// Writes a word to an aligned address of RAM and answers its offset.
    #[inline(always)]
    pub(crate) fn store32(&mut self, address: u32, value: u32) -> Option<u32> {
        let offset = address.wrapping_sub(RAM_BASE);
        *self
            .0
            .as_chunks_mut::<4>()
            .0
            .get_mut(offset.rotate_right(2) as usize)? = value.to_le_bytes();
        Some(offset)
    }

    /// Writes a halfword to an aligned address of RAM and answers its offset.
    #[inline(always)]
    pub(crate) fn store16(&mut self, address: u32, value: u32) -> Option<u32> {
        let offset = address.wrapping_sub(RAM_BASE);
        *self
            .0
            .as_chunks_mut::<2>()
            .0
            .get_mut(offset.rotate_right(1) as usize)? = (value as u16).to_le_bytes();
        Some(offset)
    }

    /// Writes a byte of RAM and answers its offset.
    #[inline(always)]
    pub(crate) fn store8(&mut self, address: u32, value: u32) -> Option<u32> {
        let offset = address.wrapping_sub(RAM_BASE);
        *self.0.get_mut(offset as usize)? = value as u8;
        Some(offset)
    }
}

/// The striped address of an address in the unstriped alias, in which each bank of 64 KiB is in one piece.
pub(crate) fn unstripe(address: u32) -> Option<u32> {
    let offset = address.wrapping_sub(0x2100_0000);
    (offset < 0x4_0000).then(|| RAM_BASE + ((offset & 0xfffc) << 2) + (offset >> 16 << 2) + (offset & 3))
}

/// A write to a register, through one of its four aliases (section 2.1.2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    value: u32,
    alias: u32,
}

impl Write {
    /// The write of `value` at `address`, whose bits 12 and 13 tell the alias.
    pub(crate) fn at(address: u32, value: u32) -> Self {
        Self {
            value,
            alias: address >> 12 & 3,
        }
    }

    /// A plain write.
    #[cfg(test)]
    pub(crate) const fn plain(value: u32) -> Self {
        Self { value, alias: 0 }
    }

    /// What a register that held `old` holds now.
    pub(crate) fn onto(self, old: u32) -> u32 {
        match self.alias {
            0 => self.value,
            1 => old ^ self.value,
            2 => old | self.value,
            _ => old & !self.value,
        }
    }

    /// The bits written, for registers that act on ones and store nothing.
    pub(crate) fn bits(self) -> u32 {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_holds_noise_of_the_board_after_power_on() {
        let power_on = |board, noise| {
            let mut ram = Ram::new();
            ram.power_on(board, noise);
            ram
        };
        let differing = |one: &Ram, other: &Ram| {
            let pairs = one.bytes().iter().zip(other.bytes());
            pairs.map(|(one, other)| (one ^ other).count_ones()).sum::<u32>() as f64 / f64::from(8 * RAM_SIZE)
        };
        let first = power_on(1, 1);
        assert_eq!(first.bytes(), power_on(1, 1).bytes());
        assert!((0.2..0.24).contains(&differing(&first, &power_on(1, 2))));
        assert!((0.49..0.51).contains(&differing(&first, &power_on(2, 1))));
    }

    #[test]
    fn unaligned_and_foreign_addresses_are_not_ram() {
        let mut ram = Ram::new();
        assert_eq!(ram.store32(RAM_BASE + 4, 0x8765_4321), Some(4));
        assert_eq!(ram.load32(RAM_BASE + 4), Some(0x8765_4321));
        assert_eq!(ram.load16(RAM_BASE + 6), Some(0x8765));
        assert_eq!(ram.load8(RAM_BASE + 5), Some(0x43));
        assert_eq!(ram.load32(RAM_BASE + 2), None);
        assert_eq!(ram.load16(RAM_BASE + 1), None);
        assert_eq!(ram.load32(RAM_BASE - 4), None);
        assert_eq!(ram.load8(RAM_BASE + RAM_SIZE), None);
        assert_eq!(ram.store8(0x1000_0000, 0), None);
    }

    #[test]
    fn banks_are_striped_word_by_word() {
        assert_eq!(unstripe(0x2100_0000), Some(RAM_BASE));
        assert_eq!(unstripe(0x2101_0000), Some(RAM_BASE + 4));
        assert_eq!(unstripe(0x2100_0004), Some(RAM_BASE + 16));
        assert_eq!(unstripe(0x2103_ffff), Some(RAM_BASE + 0x3_ffff));
        assert_eq!(unstripe(0x2104_0000), None);
    }

    #[test]
    fn aliases_set_clear_and_toggle() {
        let write = |address| Write::at(address, 0b0110).onto(0b0101);
        assert_eq!(
            [write(0), write(0x1000), write(0x2000), write(0x3000)],
            [0b0110, 0b0011, 0b0111, 0b0001]
        );
    }
}
