//! A picture of a board's flash, and the two files that it is given away as.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Endianness, Object, elf};
use picolet_store::layout::{Layout, Region, family};
use picolet_store::uf2;

use crate::build::{Place, build};
use crate::cargo::package_folder;
use crate::radio;

/// The flash of one board, as far as an image says what is in it.
pub struct Image {
    layout: &'static Layout,
    bootloader: Vec<u8>,
    application: Vec<u8>,
    radio: Vec<u8>,
    /// The application's ELF file.
    elf: Vec<u8>,
    /// The address that a debugger starts at.
    entry: u32,
}

/// The target that programs of a board are built for.
pub(crate) fn target(layout: &Layout) -> &'static str {
    if layout.code_family == family::RP2040 {
        "thumbv6m-none-eabi"
    } else {
        "thumbv8m.main-none-eabihf"
    }
}

impl Image {
    /// Builds bootloader and application of a board, and puts them together.
    ///
    /// # Errors
    /// There is no such board, something does not build, or something does not fit.
    pub fn build(board: &str, package: &str, binary: &str, place: Place) -> Result<Self> {
        let layout = Layout::of(board).with_context(|| {
            let boards: Vec<_> = Layout::ALL.iter().map(|layout| layout.board).collect();
            format!("there is no board {board:?}; there are {}", boards.join(", "))
        })?;
        let read = |package: &str, binary: &str| -> Result<Vec<u8>> {
            let file = build(package, binary, target(layout), place)?;
            fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let bootloader = read("picolet-bootloader", "picolet-bootloader")?;
        let application = read(package, binary)?;
        Self::of(layout, &bootloader, application, radio::region()?)
    }

    /// Puts together what was built.
    fn of(layout: &'static Layout, bootloader: &[u8], elf: Vec<u8>, radio: Vec<u8>) -> Result<Self> {
        let application = flashed(&elf, layout.active).context("the application")?;
        let entry = ElfFile32::<Endianness>::parse(bootloader)
            .context("the bootloader")?
            .entry();
        ensure!(
            radio.len() <= layout.radio.length as usize,
            "the radio's firmware has {} bytes and its region {}",
            radio.len(),
            layout.radio.length
        );
        Ok(Self {
            layout,
            bootloader: flashed(bootloader, layout.bootloader).context("the bootloader")?,
            application,
            radio,
            elf,
            entry: u32::try_from(entry)?,
        })
    }

    /// Bytes of the application in flash, from the start of its slot to its end.
    pub fn application(&self) -> &[u8] {
        &self.application
    }

    /// Bytes of the bootloader in flash.
    pub fn bootloader(&self) -> &[u8] {
        &self.bootloader
    }

    /// Bytes of the radio's firmware in flash.
    pub fn radio(&self) -> &[u8] {
        &self.radio
    }

    /// Everything, in the order of the flash. The bootloader's state is erased: a swap that was under way would put
    /// pieces of old firmware into the new.
    fn parts(&self) -> [(Region, &[u8]); 4] {
        let layout = self.layout;
        [
            (layout.bootloader, &self.bootloader),
            (layout.state, &[0xff; 4096]),
            (layout.active, &self.application),
            (layout.radio, &self.radio),
        ]
    }

    /// The file to drag onto the board.
    pub fn uf2(&self) -> Vec<u8> {
        let parts = self.parts();
        let total = parts.iter().map(|(_, bytes)| uf2::count(bytes.len())).sum();
        let mut file = Vec::new();
        if self.layout.code_family != family::RP2040 {
            file.extend(ignored_block());
        }
        let mut first = 0;
        for (region, bytes) in parts {
            let blocks = uf2::blocks(self.layout.code_family, region.address(), bytes, first, total);
            file.extend(blocks.flatten());
            first += uf2::count(bytes.len());
        }
        file
    }

    /// The file for a debugger: the application with its symbols, and all other parts as segments without names.
    ///
    /// # Errors
    /// The application's file is not as a linker makes it.
    pub fn elf(&self) -> Result<Vec<u8>> {
        let parsed = ElfFile32::<Endianness>::parse(&*self.elf).context("the application")?;
        let header = parsed.elf_header();
        let endian = parsed.endian();
        let (start, count) = (header.e_phoff.get(endian) as usize, header.e_phnum.get(endian));
        const SIZE: usize = size_of::<elf::ProgramHeader32<Endianness>>();
        ensure!(
            usize::from(header.e_phentsize.get(endian)) == SIZE,
            "the application's segments have an unknown form"
        );
        let mut table = self
            .elf
            .get(start..start + SIZE * usize::from(count))
            .context("the application's segments lie outside of its file")?
            .to_vec();
        // A table of segments may lie anywhere: a longer one is put behind everything, after the parts.
        let mut file = self.elf.clone();
        let mut parts = 0;
        for (region, bytes) in self.parts() {
            if region == self.layout.active {
                continue;
            }
            file.resize(file.len().next_multiple_of(4), 0);
            let length = bytes.len() as u32;
            let offset = u32::try_from(file.len())?;
            file.extend_from_slice(bytes);
            for word in [
                elf::PT_LOAD,
                offset,
                region.address(),
                region.address(),
                length,
                length,
                elf::PF_R,
                4,
            ] {
                table.extend(word.to_le_bytes());
            }
            parts += 1;
        }
        file.resize(file.len().next_multiple_of(4), 0);
        let offset = u32::try_from(file.len())?;
        file.extend(table);
        // ELF32: e_entry, e_phoff, e_phnum.
        file[24..28].copy_from_slice(&self.entry.to_le_bytes());
        file[28..32].copy_from_slice(&offset.to_le_bytes());
        file[44..46].copy_from_slice(&(count + parts).to_le_bytes());
        Ok(file)
    }

    /// Writes both files into a folder, and the licence of the radio's firmware beside them.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let name = format!("picolet-{}", self.layout.board);
        let license = package_folder(crate::workspace(), "cyw43-firmware", None)?
            .join("dist/cyw43-firmware")
            .join(radio::LICENSE);
        let license = fs::read(&license).with_context(|| format!("cannot read {}", license.display()))?;
        for (name, bytes) in [
            (format!("{name}.uf2"), self.uf2()),
            (format!("{name}.elf"), self.elf()?),
            (format!("cyw43-firmware-{}", radio::LICENSE), license),
        ] {
            let file = folder.join(name);
            fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

/// What of an ELF file goes into a region of the flash, from the region's start to the file's end.
fn flashed(file: &[u8], region: Region) -> Result<Vec<u8>> {
    let parsed = ElfFile32::<Endianness>::parse(file)?;
    let endian = parsed.endian();
    let mut picture = Vec::new();
    for header in parsed.elf_program_headers() {
        if header.p_type(endian) != elf::PT_LOAD || header.p_filesz(endian) == 0 {
            continue;
        }
        let Ok(bytes) = header.data(endian, file) else {
            bail!("a segment lies outside of the file");
        };
        let address = header.p_paddr(endian);
        let start = address.checked_sub(region.address());
        let Some(start) = start.filter(|start| *start as usize + bytes.len() <= region.length as usize)
        else {
            bail!(
                "{} bytes at {address:#010x} do not fit into its region, {:#010x} to {:#010x}",
                bytes.len(),
                region.address(),
                region.address() + region.length
            );
        };
        let start = start as usize;
        if picture.len() < start + bytes.len() {
            picture.resize(start + bytes.len(), 0xff);
        }
        picture[start..start + bytes.len()].copy_from_slice(bytes);
    }
    ensure!(!picture.is_empty(), "there is nothing to be flashed in it");
    Ok(picture)
}

/// The block that early RP2350 need before any other when there is a partition table in flash (RP2350-E10): for any family, at the end of
/// the flash, with an extension that says that it is to be ignored.
fn ignored_block() -> [u8; uf2::BLOCK] {
    const FLAGS: u32 = 0x2000 | 0x8000;
    let mut block = [0; uf2::BLOCK];
    let words = [
        0x0a32_4655,
        0x9e5d_5157,
        FLAGS,
        0x10ff_ff00,
        256,
        0,
        2,
        family::ABSOLUTE,
    ];
    for (place, word) in block.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&u32::to_le_bytes(word));
    }
    block[32..288].fill(0xef);
    block[288..292].copy_from_slice(&0x9957_e304_u32.to_le_bytes());
    block[508..].copy_from_slice(&0x0ab1_6f30_u32.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_store::layout::{PICO_2_W, PICO_W};

    fn image(layout: &'static Layout) -> Image {
        Image {
            layout,
            bootloader: vec![1; 9000],
            application: vec![2; 300_000],
            radio: radio::region().unwrap(),
            elf: Vec::new(),
            entry: 0,
        }
    }

    fn word(block: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(block[at..at + 4].try_into().unwrap())
    }

    /// Where the blocks of a file go: first byte and the one behind the last, of each run.
    fn runs(blocks: &[&[u8]]) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for block in blocks {
            let (address, length) = (word(block, 12), word(block, 16));
            match runs.last_mut() {
                Some((_, end)) if *end == address => *end += length,
                _ => runs.push((address, address + length)),
            }
        }
        runs
    }

    #[test]
    fn a_file_leaves_settings_and_records_alone_and_clears_the_state() {
        for layout in [&PICO_W, &PICO_2_W] {
            let file = image(layout).uf2();
            let mut blocks: Vec<&[u8]> = file.chunks(512).collect();
            if layout.board == "pico-2-w" {
                assert_eq!(word(blocks.remove(0), 28), family::ABSOLUTE);
            }
            for (n, block) in blocks.iter().enumerate() {
                assert_eq!(word(block, 20), n as u32);
                assert_eq!(word(block, 24), blocks.len() as u32);
                assert_eq!(word(block, 28), layout.code_family);
            }
            let radio = layout.radio.address();
            let active = layout.active.address();
            assert_eq!(
                runs(&blocks),
                [
                    (
                        layout.bootloader.address(),
                        layout.bootloader.address() + 3 * 4096
                    ),
                    (
                        layout.state.address(),
                        active + 300_000_u32.next_multiple_of(4096)
                    ),
                    (radio, radio + (232_803_u32 + 36).next_multiple_of(4096)),
                ]
            );
            let state = blocks
                .iter()
                .filter(|block| layout.state.range().contains(&(word(block, 12) - 0x1000_0000)));
            for block in state {
                assert_eq!(block[32..288], [0xff; 256]);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let program = std::env::current_exe().unwrap();
        let error = flashed(&fs::read(program).unwrap(), PICO_W.active).unwrap_err();
        assert!(
            !error.to_string().is_empty(),
            "this program is for another processor"
        );
    }
}
