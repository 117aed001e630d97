//! A picture of a board's flash, and the two files that it is given away as.

use std::ffi::CStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Endianness, Object, elf};
use picolet_boot::{ContentName, Slot};
use picolet_ec::p256::SecretKey;
use picolet_firmware::{Formats, Header, PAGE, SignatureBlock, Text, Variant};
use picolet_store::layout::{IMAGE_OFFSET, Layout, Region, SECTOR, VERSION_LENGTH, VERSION_OFFSET, family};
use picolet_store::{device, settings, uf2};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use crate::boot_log;
use crate::build::{Place, build};
use crate::cargo::package_folder;
use crate::radio;

/// The flash of one board, as far as an image says what is in it.
pub struct Image {
    layout: &'static Layout,
    bootloader: Vec<u8>,
    header: Header,
    signature: SignatureBlock,
    /// The application as linked for each slot, padded to whole pages.
    variants: [Vec<u8>; 2],
    radio: Vec<u8>,
    /// The application's ELF files.
    elves: [Vec<u8>; 2],
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
        let elves = [read(package, binary)?, read(package, &format!("{binary}-b"))?];
        Self::of(layout, &bootloader, elves, radio::region()?)
    }

    /// Puts together what was built.
    fn of(layout: &'static Layout, bootloader: &[u8], elves: [Vec<u8>; 2], radio: Vec<u8>) -> Result<Self> {
        let [a, b] = layout.slots;
        let variants = [variant(&elves[0], a)?, variant(&elves[1], b)?];
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
            header: header(layout, &variants)?,
            signature: SignatureBlock::Blank,
            variants,
            radio,
            elves,
            entry: u32::try_from(entry)?,
        })
    }

    /// Signs the header.
    pub fn sign(&mut self, key: &SecretKey) {
        self.signature = SignatureBlock::sign(&self.header.to_bytes(), key);
    }

    /// The application as linked for a slot, from its vector table on, in whole pages.
    pub fn application(&self, slot: Slot) -> &[u8] {
        &self.variants[slot.index()]
    }

    /// What lies in a slot: header, signature block and application.
    pub fn slot(&self, slot: Slot) -> Vec<u8> {
        let block = [self.header.to_bytes(), self.signature.to_bytes()].concat();
        [&block, self.application(slot)].concat()
    }

    /// The name of this firmware in a boot log.
    pub fn name(&self) -> ContentName {
        self.header.name()
    }

    /// The firmware file.
    pub fn firmware_file(&self) -> Vec<u8> {
        let [a, b] = &self.variants;
        picolet_firmware::assemble(&self.header, &self.signature, [a, b])
    }

    /// Bytes of the bootloader in flash.
    pub fn bootloader(&self) -> &[u8] {
        &self.bootloader
    }

    /// Bytes of the radio's firmware in flash.
    pub fn radio(&self) -> &[u8] {
        &self.radio
    }

    /// Everything, in the order in which it is written. The boot log is that of a board on which this firmware is confirmed in
    /// `slot`. The slot's first sector comes last: where a transfer ends early there is no image, and not half of one.
    fn parts(&self, slot: Slot) -> Result<[(u32, Vec<u8>); 5]> {
        let layout = self.layout;
        let address = layout.slots[slot.index()].address();
        let mut first = self.slot(slot);
        let rest = first.split_off(first.len().min(SECTOR as usize));
        Ok([
            (layout.bootloader.address(), self.bootloader.clone()),
            (layout.boot_log.address(), boot_log::confirmed(slot, self.name())?),
            (address + SECTOR, rest),
            (layout.radio.address(), self.radio.clone()),
            (address, first),
        ])
    }

    /// The file to drag onto the board.
    ///
    /// # Errors
    /// Never, for a board that there is.
    pub fn uf2(&self) -> Result<Vec<u8>> {
        self.uf2_in(Slot::A)
    }

    /// A file that leaves a board as if an update had put this firmware into `slot`: for tests.
    ///
    /// # Errors
    /// Never, for a board that there is.
    pub fn uf2_in(&self, slot: Slot) -> Result<Vec<u8>> {
        let parts = self.parts(slot)?;
        let total = parts.iter().map(|(_, bytes)| uf2::count(bytes.len())).sum();
        let mut file = Vec::new();
        if self.layout.code_family != family::RP2040 {
            file.extend(ignored_block());
        }
        let mut first = 0;
        for (address, bytes) in &parts {
            let blocks = uf2::blocks(self.layout.code_family, *address, bytes, first, total);
            file.extend(blocks.flatten());
            first += uf2::count(bytes.len());
        }
        Ok(file)
    }

    /// The file for a debugger: the application in slot A with its symbols, and all other parts as segments without names.
    ///
    /// # Errors
    /// The application's file is not as a linker makes it.
    pub fn elf(&self) -> Result<Vec<u8>> {
        self.elf_of(Slot::A)
    }

    /// The same with the application in `slot`, as [`Self::uf2_in`] has it.
    ///
    /// # Errors
    /// The application's file is not as a linker makes it.
    pub fn elf_of(&self, slot: Slot) -> Result<Vec<u8>> {
        let elf = &self.elves[slot.index()];
        let parsed = ElfFile32::<Endianness>::parse(&**elf).context("the application")?;
        let header = parsed.elf_header();
        let endian = parsed.endian();
        let (start, count) = (header.e_phoff.get(endian) as usize, header.e_phnum.get(endian));
        const SIZE: usize = size_of::<object::elf::ProgramHeader32<Endianness>>();
        ensure!(
            usize::from(header.e_phentsize.get(endian)) == SIZE,
            "the application's segments have an unknown form"
        );
        let mut table = elf
            .get(start..start + SIZE * usize::from(count))
            .context("the application's segments lie outside of its file")?
            .to_vec();
        // A table of segments may lie anywhere: a longer one is put behind everything, after the parts.
        let mut file = elf.clone();
        let mut parts = 0;
        let [bootloader, boot_log, _, radio, (address, mut block)] = self.parts(slot)?;
        block.truncate(IMAGE_OFFSET as usize);
        for (address, bytes) in [bootloader, boot_log, radio, (address, block)] {
            file.resize(file.len().next_multiple_of(4), 0);
            let length = bytes.len() as u32;
            let offset = u32::try_from(file.len())?;
            file.extend_from_slice(&bytes);
            for word in [
                object::elf::PT_LOAD,
                offset,
                address,
                address,
                length,
                length,
                object::elf::PF_R,
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

    /// Writes all files into a folder, and the licence of the radio's firmware beside them.
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
            (format!("{name}.uf2"), self.uf2()?),
            (format!("{name}.pfw"), self.firmware_file()),
            (format!("{name}.elf"), self.elf()?),
            (format!("cyw43-firmware-{}", radio::LICENSE), license),
        ] {
            let file = folder.join(name);
            fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

/// The application as linked for a slot, in whole pages.
fn variant(elf: &[u8], slot: Region) -> Result<Vec<u8>> {
    let region = Region {
        offset: slot.offset + IMAGE_OFFSET,
        length: slot.length - IMAGE_OFFSET,
    };
    let mut image = flashed(elf, region).context("the application")?;
    image.resize(image.len().next_multiple_of(PAGE), 0xff);
    Ok(image)
}

/// Describes an application. Its version is the one that it has behind its vector table.
fn header(layout: &Layout, variants: &[Vec<u8>; 2]) -> Result<Header> {
    let version = |image: &Vec<u8>| -> Option<String> {
        let field = image
            .get(VERSION_OFFSET as usize..)?
            .get(..VERSION_LENGTH as usize)?;
        let text = CStr::from_bytes_until_nul(field).ok()?;
        Some(text.to_str().ok()?.to_owned())
    };
    let version = version(&variants[0]).context("the application has no version")?;
    let header = Header {
        security: 0,
        board: Text::new(layout.board).context("the board's name is too long")?,
        version: Text::new(&version).with_context(|| format!("version {version:?}"))?,
        commit: commit(),
        settings: Formats {
            oldest: settings::VERSION,
            newest: settings::VERSION,
        },
        records: Formats {
            oldest: device::VERSION,
            newest: device::VERSION,
        },
        radio: [0; 4],
        variants: [0, 1].map(|slot| Variant::of(layout.slots[slot].address(), &variants[slot])),
    };
    // The one that a board reads is the one that was meant.
    match Header::parse(&header.to_bytes()) {
        Ok(parsed) if parsed == header => Ok(header),
        _ => bail!("the application's version {version:?} is not one of Semantic Versioning"),
    }
}

/// The commit of the source, zeros if there is none or the source was changed since.
fn commit() -> [u8; 20] {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(crate::workspace())
            .output();
        let output = output.ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let mut commit = [0; 20];
    let is_clean =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| text.is_empty());
    if let Some(text) = git(&["rev-parse", "HEAD"]).filter(|text| is_clean && text.trim().len() == 40) {
        for (byte, digits) in commit.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
        }
    }
    commit
}

/// Reads the private key that firmware is signed with: P-256, PKCS #8 in PEM.
///
/// # Errors
/// The file cannot be read, or is not such a key.
pub fn read_key(path: &Path) -> Result<SecretKey> {
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| {
        anyhow!(
            "{} has no private key in PKCS #8, PEM: `picolet firmware keygen` writes one",
            path.display()
        )
    })?;
    let key = SecretKey::from_pkcs8_der(der.secret_pkcs8_der());
    key.map_err(|error| anyhow!("{}: {error}", path.display()))
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
        let mut application = vec![2; 300_032];
        application[VERSION_OFFSET as usize..][..6].copy_from_slice(b"1.2.3\0");
        let variants = [application.clone(), application];
        Image {
            layout,
            bootloader: vec![1; 9000],
            header: header(layout, &variants).unwrap(),
            signature: SignatureBlock::Blank,
            variants,
            radio: radio::region().unwrap(),
            elves: [Vec::new(), Vec::new()],
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
    fn file_leaves_settings_and_records_alone_and_writes_the_first_sector_last() {
        for layout in [&PICO_W, &PICO_2_W] {
            let file = image(layout).uf2().unwrap();
            let mut blocks: Vec<&[u8]> = file.chunks(512).collect();
            if layout.board == "pico-2-w" {
                assert_eq!(word(blocks.remove(0), 28), family::ABSOLUTE);
            }
            for (n, block) in blocks.iter().enumerate() {
                assert_eq!(word(block, 20), n as u32);
                assert_eq!(word(block, 24), blocks.len() as u32);
                assert_eq!(word(block, 28), layout.code_family);
            }
            let (bootloader, radio) = (layout.bootloader.address(), layout.radio.address());
            let (log, slot) = (layout.boot_log.address(), layout.slots[0].address());
            assert_eq!(
                runs(&blocks),
                [
                    (bootloader, bootloader + 3 * 4096),
                    (log, log + 8192),
                    (slot + 4096, slot + (300_032_u32 + 512).next_multiple_of(4096)),
                    (radio, radio + 150_028_u32.next_multiple_of(4096)),
                    (slot, slot + 4096),
                ]
            );
            let log = blocks
                .iter()
                .filter(|block| layout.boot_log.range().contains(&(word(block, 12) - 0x1000_0000)));
            for block in log {
                assert_eq!(block[32..288], [0xff; 256]);
            }
        }
    }

    #[test]
    fn firmware_file_is_one_that_a_board_reads_when_it_is_signed() {
        let mut image = image(&PICO_W);
        let key = SecretKey::generate(&[7; 48]);
        image.sign(&key);
        let file = image.firmware_file();
        let signed = picolet_firmware::check_file(&file).unwrap();
        let trusted = picolet_firmware::TrustedKey::new(key.public_key());
        signed.verify(&[trusted]).unwrap();
        assert_eq!(file[..512], image.slot(Slot::B)[..512]);
    }

    /// The bootloader has these from `picolet-store`, since firmware files are not for it.
    #[test]
    fn slot_begins_as_the_bootloader_expects_it() {
        assert_eq!(IMAGE_OFFSET as usize, picolet_firmware::IMAGE_OFFSET);
        let slot = image(&PICO_W).slot(Slot::A);
        assert_eq!(slot[..16], *picolet_store::layout::SLOT_MAGIC);
        assert_eq!(slot[512 + VERSION_OFFSET as usize..][..5], *b"1.2.3");
    }

    #[test]
    fn header_is_refused_when_the_version_is_not_semantic() {
        let mut variant = vec![2; 1024];
        variant[VERSION_OFFSET as usize..][..6].copy_from_slice(b"1.2.x\0");
        assert!(header(&PICO_W, &[variant.clone(), variant]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_place() {
        let program = std::env::current_exe().unwrap();
        let error = flashed(&fs::read(program).unwrap(), PICO_W.slots[0]).unwrap_err();
        assert!(
            !error.to_string().is_empty(),
            "this program is for another processor"
        );
    }
}
