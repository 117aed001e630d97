//! Where everything is in the flash of each board.
//!
//! Linker scripts, images, `picolet provision` and the firmware itself take their addresses from here. A region is a
//! run of whole sectors; the order and the lengths are all that is written down, so that regions cannot overlap. The
//! start of the settings and of the device's records may never move once a firmware was released: that is what lets
//! new firmware find them.

/// Where both chips map their flash into the address space: RP2040 datasheet 2.2.2, RP2350 datasheet 2.2.3.
pub const FLASH_BASE: u32 = 0x1000_0000;

/// What is erased at once, in bytes: W25Q16JV and W25Q32JV datasheets, "Sector Erase".
pub const SECTOR: u32 = 4096;

/// What is programmed at once, in bytes: the same datasheets, "Page Program".
pub const PAGE: u32 = 256;

/// What a slot with firmware begins with: the magic of its header (`docs/firmware-format.md`).
pub const SLOT_MAGIC: &[u8; 16] = b"picolet firmware";

/// Where the image begins in a slot, behind header and signature block.
pub const IMAGE_OFFSET: u32 = 512;

/// Where an image has its version, counted from its start: text that ends with a zero. It lies behind the vector table of
/// either chip.
pub const VERSION_OFFSET: u32 = 0x140;

/// Bytes that an application has for its version, with the zero at the end.
pub const VERSION_LENGTH: u32 = 32;

const K: u32 = 1024;

/// Families of UF2 blocks: which chip takes a block, and as what (RP2350 datasheet 5.5).
pub mod family {
    /// Blocks for RP2040, code and data alike.
    pub const RP2040: u32 = 0xe48b_ff56;
    /// Blocks for RP2350 that go to the address they name, whatever partitions there are.
    pub const ABSOLUTE: u32 = 0xe48b_ff57;
    /// Code for the Arm cores of RP2350, in secure state.
    pub const RP2350_ARM_SECURE: u32 = 0xe48b_ff59;
}

/// A run of whole sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first byte, counted from the start of the flash.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

impl Region {
    const fn first(length: u32) -> Self {
        Self { offset: 0, length }
    }

    const fn then(self, length: u32) -> Self {
        let offset = self.offset + self.length;
        Self { offset, length }
    }

    /// The first byte behind it, counted from the start of the flash.
    pub const fn end(self) -> u32 {
        self.offset + self.length
    }

    /// The address of its first byte as the processor sees it.
    pub const fn address(self) -> u32 {
        FLASH_BASE + self.offset
    }

    /// The bytes that it takes up, counted from the start of the flash.
    pub const fn range(self) -> core::ops::Range<u32> {
        self.offset..self.end()
    }
}

/// The map of one board's flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The board's name, as `--board` and the node's labels have it.
    pub board: &'static str,
    /// Bytes of the whole flash.
    pub flash: u32,
    /// The [`family`] of UF2 files with code for this chip.
    pub code_family: u32,
    /// The [`family`] of UF2 files with data at fixed addresses for this chip.
    pub data_family: u32,
    /// The bootloader, on RP2040 with the second stage of its ROM's boot in the first page.
    pub bootloader: Region,
    /// Which slot starts: `docs/firmware-format.md`.
    pub boot_log: Region,
    /// Firmware slots A and B.
    pub slots: [Region; 2],
    /// The radio's firmware, once, for the firmware in either slot.
    pub radio: Region,
    /// What people write: Wi-Fi, servers, certificates, the node's name. See [`crate::settings`].
    pub settings: Region,
    /// What only the device writes: identity, time floor, seed, counters.
    pub device: Region,
    /// WebAssembly modules.
    pub modules: Region,
}

/// Pico W: RP2040 with 2 MB.
pub const PICO_W: Layout = {
    let bootloader = Region::first(16 * K);
    let boot_log = bootloader.then(8 * K);
    let a = boot_log.then(816 * K);
    let b = a.then(816 * K);
    let radio = b.then(152 * K);
    let settings = radio.then(16 * K);
    let device = settings.then(48 * K);
    let modules = device.then(176 * K);
    Layout {
        board: "pico-w",
        flash: 2048 * K,
        code_family: family::RP2040,
        data_family: family::RP2040,
        bootloader,
        boot_log,
        slots: [a, b],
        radio,
        settings,
        device,
        modules,
    }
};

/// Pico 2 W: RP2350 with 4 MB. Larger slots, and room for more modules.
pub const PICO_2_W: Layout = {
    let bootloader = Region::first(16 * K);
    let boot_log = bootloader.then(8 * K);
    let a = boot_log.then(1232 * K);
    let b = a.then(1232 * K);
    let radio = b.then(152 * K);
    let settings = radio.then(16 * K);
    let device = settings.then(48 * K);
    let modules = device.then(1392 * K);
    Layout {
        board: "pico-2-w",
        flash: 4096 * K,
        code_family: family::RP2350_ARM_SECURE,
        data_family: family::ABSOLUTE,
        bootloader,
        boot_log,
        slots: [a, b],
        radio,
        settings,
        device,
        modules,
    }
};

impl Layout {
    /// Every board that there is an image for.
    pub const ALL: [&'static Self; 2] = [&PICO_W, &PICO_2_W];

    /// The map of the board with this name.
    pub fn of(board: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|layout| layout.board == board)
    }

    /// All regions in their order, with their names.
    pub const fn regions(&self) -> [(&'static str, Region); 8] {
        [
            ("bootloader", self.bootloader),
            ("boot log", self.boot_log),
            ("slot A", self.slots[0]),
            ("slot B", self.slots[1]),
            ("radio", self.radio),
            ("settings", self.settings),
            ("device", self.device),
            ("modules", self.modules),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_fill_the_flash_in_whole_sectors() {
        for layout in Layout::ALL {
            let mut end = 0;
            for (name, region) in layout.regions() {
                assert_eq!(region.offset, end, "{}: {name}", layout.board);
                assert!(
                    region.length > 0 && region.length % SECTOR == 0,
                    "{}: {name}",
                    layout.board
                );
                end = region.end();
            }
            assert_eq!(end, layout.flash, "{}", layout.board);
        }
    }

    #[test]
    fn regions_hold_what_is_put_there() {
        for layout in Layout::ALL {
            assert_eq!(layout.slots[0].length, layout.slots[1].length);
            // Two sectors of entries.
            assert_eq!(layout.boot_log.length, 2 * SECTOR);
            // The radio's firmware, compressed, its table of countries and its parameters.
            assert!(layout.radio.length >= 148_265 + 984 + 742);
            assert_eq!(layout.settings.length, crate::settings::REGION as u32);
        }
    }

    #[test]
    fn boards_are_found_by_name() {
        assert_eq!(Layout::of("pico-w"), Some(&PICO_W));
        assert_eq!(Layout::of("pico-2-w"), Some(&PICO_2_W));
        assert_eq!(Layout::of("pico"), None);
    }

    /// The table of `docs/firmware-format.md`. Boards in the field have this map: their bootloader, their settings and the firmware in
    /// their other slot rely on it.
    #[test]
    fn regions_stay_where_they_are() {
        let offsets = |layout: &Layout| layout.regions().map(|(_, region)| region.offset);
        assert_eq!(
            offsets(&PICO_W),
            [
                0, 0x4000, 0x6000, 0xd_2000, 0x19_e000, 0x1c_4000, 0x1c_8000, 0x1d_4000
            ]
        );
        assert_eq!(
            offsets(&PICO_2_W),
            [
                0, 0x4000, 0x6000, 0x13_a000, 0x26_e000, 0x29_4000, 0x29_8000, 0x2a_4000
            ]
        );
    }
}
