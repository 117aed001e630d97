//! UF2, the files that are dragged onto a board.
//!
//! A file is a row of blocks of 512 bytes that each carry a page of 256 and say where it goes. The format is that of
//! <https://github.com/microsoft/uf2>, what the boot ROMs make of it in RP2040 datasheet 2.8.4.2 and RP2350 datasheet
//! 5.5.2. The ROM of the RP2040 erases a sector when it meets its first page and mishandles sectors of which pages are
//! missing (RP2040-E14), so that whole sectors are written here.

use crate::layout::{Layout, PAGE, SECTOR};

/// Bytes of a block.
pub const BLOCK: usize = 512;

const FAMILY_PRESENT: u32 = 0x2000;
const MAGIC: [u32; 2] = [0x0a32_4655, 0x9e5d_5157];
const MAGIC_END: u32 = 0x0ab1_6f30;

/// The blocks that put `bytes` at `address` and erase what is left of the last sector.
///
/// Blocks are numbered from `first` of `total` on, so that a file may put things in several places; see [`count`].
/// `family` is one of [`family`](crate::layout::family), `address` the start of a sector.
pub fn blocks(
    family: u32,
    address: u32,
    bytes: &[u8],
    first: u32,
    total: u32,
) -> impl Iterator<Item = [u8; BLOCK]> {
    debug_assert!(address.is_multiple_of(SECTOR));
    (0..count(bytes.len())).map(move |n| {
        let page = bytes.chunks(PAGE as usize).nth(n as usize).unwrap_or_default();
        let words = [
            MAGIC[0],
            MAGIC[1],
            FAMILY_PRESENT,
            address + n * PAGE,
            PAGE,
            first + n,
            total,
            family,
        ];
        let mut block = [0; BLOCK];
        for (place, word) in block.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        block[32..32 + PAGE as usize].fill(0xff);
        block[32..32 + page.len()].copy_from_slice(page);
        block[BLOCK - 4..].copy_from_slice(&MAGIC_END.to_le_bytes());
        block
    })
}

/// The blocks of a file that puts `bytes` where a board has its settings, and nothing else.
pub fn settings(layout: &Layout, bytes: &[u8]) -> impl Iterator<Item = [u8; BLOCK]> {
    blocks(
        layout.data_family,
        layout.settings.address(),
        bytes,
        0,
        count(bytes.len()),
    )
}

/// How many blocks [`blocks`] makes of so many bytes.
pub const fn count(bytes: usize) -> u32 {
    (bytes as u32).div_ceil(SECTOR) * (SECTOR / PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::family;

    #[test]
    fn a_block_is_as_the_format_says() {
        let bytes = [0xab; 300];
        let total = count(bytes.len());
        assert_eq!(total, 16);
        let mut all = blocks(family::RP2040, 0x1000_9000, &bytes, 0, total);
        let first = all.next().expect("a block");
        let head = [
            b"UF2\n".as_slice(),
            b"WQ]\x9e",
            &[0, 0x20, 0, 0],
            &[0, 0x90, 0, 0x10],
            &[0, 1, 0, 0],
            &[0, 0, 0, 0],
            &[16, 0, 0, 0],
            b"V\xff\x8b\xe4",
        ];
        for (place, expected) in first.chunks(4).zip(head) {
            assert_eq!(place, expected);
        }
        assert_eq!(first[32..288], [0xab; 256]);
        assert_eq!(first[288..508], [0; 220]);
        assert_eq!(first[508..], [0x30, 0x6f, 0xb1, 0x0a]);

        let second = all.next().expect("a block");
        assert_eq!(second[12..16], 0x1000_9100_u32.to_le_bytes());
        assert_eq!(second[20..24], [1, 0, 0, 0]);
        assert_eq!(second[32..76], [0xab; 44]);
        assert_eq!(second[76..288], [0xff; 212]);
        assert_eq!(all.count(), 14);
    }
}
