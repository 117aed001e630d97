//! Images: ELF and UF2 files, and plain pictures of the flash.

use core::fmt;

use object::read::elf::{ElfFile32, ProgramHeader};
use object::{Object, ObjectSymbol, SymbolKind};

use crate::chip::FLASH_BASE;
use crate::chip::memory::{RAM_BASE, RAM_SIZE};

/// The family of RP2040 in a UF2 file.
const UF2_FAMILY: u32 = 0xe48b_ff56;
const UF2_BLOCK: usize = 512;

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// Neither ELF nor UF2.
    UnknownFormat,
    /// The ELF cannot be read.
    Elf(String),
    /// The ELF is for another processor.
    NotArm,
    /// An address that is neither in flash nor in RAM.
    Address {
        /// The address.
        address: u32,
    },
    /// More than the flash holds.
    TooLarge {
        /// The first address behind the image.
        end: u32,
        /// The size of the flash in bytes.
        flash: u32,
    },
    /// A block of the UF2 is broken.
    Uf2Block {
        /// Which, from 0.
        block: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The UF2 is for other chips only.
    Uf2Family {
        /// The family of the first of its blocks.
        family: u32,
    },
    /// There is nothing in it.
    Empty,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat => write!(f, "neither an ELF nor a UF2 file"),
            Self::Elf(error) => write!(f, "broken ELF file: {error}"),
            Self::NotArm => write!(
                f,
                "the ELF file is not for a 32-bit ARM; build it for thumbv6m-none-eabi"
            ),
            Self::Address { address } => {
                write!(
                    f,
                    "the image has something at {address:#010x}, which is neither flash nor RAM of an RP2040"
                )
            }
            Self::TooLarge { end, flash } => write!(
                f,
                "the image ends at {end:#010x} and flash at {:#010x} ({} KiB)",
                FLASH_BASE + flash,
                flash / 1024
            ),
            Self::Uf2Block { block, what } => write!(f, "block {block} of the UF2 file: {what}"),
            Self::Uf2Family { family } => {
                let name = match family {
                    0xe48b_ff59 => " (RP2350, ARM)",
                    0xe48b_ff5a => " (RP2350, RISC-V)",
                    0xe48b_ff57 => " (absolute: RP2350)",
                    _ => "",
                };
                write!(
                    f,
                    "the UF2 file is for the family {family:#010x}{name}, not for RP2040 ({UF2_FAMILY:#010x})"
                )
            }
            Self::Empty => write!(f, "there is nothing to load in the file"),
        }
    }
}

impl core::error::Error for ImageError {}

/// A piece of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Segment {
    address: u32,
    bytes: Vec<u8>,
}

/// A function of an image, as its ELF file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    /// The name, demangled.
    pub name: String,
    /// The address of its first instruction.
    pub address: u32,
    /// Its size in bytes; at least 1.
    pub size: u32,
}

/// A program or a part of flash, read from a file.
#[derive(Debug, Clone, Default)]
pub struct Image {
    segments: Vec<Segment>,
    symbols: Vec<Symbol>,
}

impl Image {
    /// Reads an ELF or a UF2 file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &[u8]) -> Result<Self, ImageError> {
        if file.starts_with(b"\x7fELF") {
            Self::parse_elf(file)
        } else if file.starts_with(b"UF2\n") {
            Self::parse_uf2(file)
        } else {
            Err(ImageError::UnknownFormat)
        }
    }

    /// Reads an ELF file: its loadable segments, at their physical addresses, and its functions.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_elf(file: &[u8]) -> Result<Self, ImageError> {
        let broken = |error: object::Error| ImageError::Elf(error.to_string());
        let elf = ElfFile32::<object::Endianness>::parse(file).map_err(broken)?;
        if elf.architecture() != object::Architecture::Arm {
            return Err(ImageError::NotArm);
        }
        let endian = elf.endian();
        let mut image = Self::default();
        for header in elf.elf_program_headers() {
            if header.p_type(endian) != object::elf::PT_LOAD || header.p_filesz(endian) == 0 {
                continue;
            }
            let bytes = header
                .data(endian, file)
                .map_err(|()| ImageError::Elf("a segment lies outside of the file".to_owned()))?;
            image.add(header.p_paddr(endian), bytes)?;
        }
        for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let Ok(name) = symbol.name() else { continue };
            // `$t` and the like mark what is code and what is data
            if name.is_empty() || name.starts_with('$') {
                continue;
            }
            image.symbols.push(Symbol {
                name: format!("{:#}", rustc_demangle::demangle(name)),
                address: symbol.address() as u32 & !1,
                size: (symbol.size() as u32).max(1),
            });
        }
        image.symbols.sort_by_key(|symbol| symbol.address);
        image.symbols.dedup_by_key(|symbol| symbol.address);
        if image.segments.is_empty() {
            return Err(ImageError::Empty);
        }
        Ok(image)
    }

    /// Reads a UF2 file: its blocks for RP2040.
    ///
    /// # Errors
    /// What is wrong with it, with the number of the block.
    pub fn parse_uf2(file: &[u8]) -> Result<Self, ImageError> {
        let mut image = Self::default();
        let mut other_family = None;
        for (block, bytes) in file.chunks(UF2_BLOCK).enumerate() {
            let wrong = |what| ImageError::Uf2Block { block, what };
            let word = |at: usize| {
                bytes
                    .get(at..at + 4)
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            };
            if bytes.len() != UF2_BLOCK {
                return Err(wrong("it is cut short"));
            }
            if (word(0), word(4), word(508)) != (Some(0x0a32_4655), Some(0x9e5d_5157), Some(0x0ab1_6f30)) {
                return Err(wrong("its magic numbers are wrong"));
            }
            let [flags, address, size, family] = [8, 12, 16, 28].map(|at| word(at).unwrap_or(0));
            // "not main flash": comments and files
            if flags & 1 != 0 {
                continue;
            }
            if flags & 0x2000 != 0 && family != UF2_FAMILY {
                other_family.get_or_insert(family);
                continue;
            }
            if size as usize > 476 || size == 0 {
                return Err(wrong("its payload is larger than a block"));
            }
            image.add(address, &bytes[32..32 + size as usize])?;
        }
        match (image.segments.is_empty(), other_family) {
            (false, _) => Ok(image),
            (true, Some(family)) => Err(ImageError::Uf2Family { family }),
            (true, None) => Err(ImageError::Empty),
        }
    }

    /// Bytes that belong at an address. If that is in RAM, they start with a vector table.
    ///
    /// # Errors
    /// There is neither flash nor RAM at that address.
    pub fn from_bytes(address: u32, bytes: &[u8]) -> Result<Self, ImageError> {
        let mut image = Self::default();
        image.add(address, bytes)?;
        Ok(image)
    }

    fn add(&mut self, address: u32, bytes: &[u8]) -> Result<(), ImageError> {
        let in_flash = (FLASH_BASE..FLASH_BASE + 0x100_0000).contains(&address);
        let in_ram = address.wrapping_sub(RAM_BASE) < RAM_SIZE
            && bytes.len() as u64 <= u64::from(RAM_SIZE - (address - RAM_BASE));
        if !in_flash && !in_ram {
            return Err(ImageError::Address { address });
        }
        match self.segments.last_mut() {
            Some(last) if last.address as usize + last.bytes.len() == address as usize => {
                last.bytes.extend_from_slice(bytes);
            }
            _ => self.segments.push(Segment {
                address,
                bytes: bytes.to_vec(),
            }),
        }
        Ok(())
    }

    /// The functions, by address. Only an ELF file has them.
    #[must_use]
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// Checks that the image fits into a flash of this size.
    pub(crate) fn check(&self, flash_size: u32) -> Result<(), ImageError> {
        for segment in &self.segments {
            let end = u64::from(segment.address) + segment.bytes.len() as u64;
            if segment.address >> 28 == 1 && end > u64::from(FLASH_BASE + flash_size) {
                return Err(ImageError::TooLarge {
                    end: end.min(u64::from(u32::MAX)) as u32,
                    flash: flash_size,
                });
            }
        }
        Ok(())
    }

    /// Each piece with its address.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.segments
            .iter()
            .map(|segment| (segment.address, segment.bytes.as_slice()))
    }

    /// Whether nothing of it belongs into flash: such a program is started in RAM.
    pub(crate) fn is_ram_only(&self) -> bool {
        self.segments.iter().all(|segment| segment.address >> 28 == 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(address: u32, family: u32, payload: &[u8]) -> Vec<u8> {
        let mut block = vec![0; 512];
        let mut put = |at: usize, value: u32| block[at..at + 4].copy_from_slice(&value.to_le_bytes());
        for (at, value) in [
            (0, 0x0a32_4655),
            (4, 0x9e5d_5157),
            (8, 0x2000),
            (12, address),
            (16, payload.len() as u32),
            (28, family),
            (508, 0x0ab1_6f30),
        ] {
            put(at, value);
        }
        block[32..32 + payload.len()].copy_from_slice(payload);
        block
    }

    #[test]
    fn blocks_for_other_chips_are_left_out() {
        let mut file = block(0x1000_0000, UF2_FAMILY, &[1; 256]);
        file.extend(block(0x1000_0100, UF2_FAMILY, &[2; 256]));
        file.extend(block(0x1000_0000, 0xe48b_ff59, &[3; 256]));
        let image = Image::parse(&file).unwrap();
        let pieces: Vec<_> = image
            .pieces()
            .map(|(address, bytes)| (address, bytes.len()))
            .collect();
        assert_eq!(pieces, [(0x1000_0000, 512)]);
        assert!(image.check(0x20_0000).is_ok());
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let good = block(0x1000_0000, UF2_FAMILY, &[1; 256]);
        let error = |file: &[u8]| Image::parse(file).unwrap_err().to_string();
        assert_eq!(error(b"hello"), "neither an ELF nor a UF2 file");
        assert_eq!(error(&good[..300]), "block 0 of the UF2 file: it is cut short");
        let mut broken = [good.clone(), good].concat();
        broken[512 + 508] = 0;
        assert_eq!(
            error(&broken),
            "block 1 of the UF2 file: its magic numbers are wrong"
        );
        assert!(error(&block(0x1000_0000, 0xe48b_ff59, &[1; 256])).contains("RP2350, ARM"));
        assert!(error(&block(0x4000_0000, UF2_FAMILY, &[1; 256])).contains("0x40000000"));
        assert!(error(b"\x7fELF\x02").starts_with("broken ELF file"));
        let image = Image::parse(&block(0x101f_ff80, UF2_FAMILY, &[1; 256])).unwrap();
        assert_eq!(
            image.check(0x20_0000),
            Err(ImageError::TooLarge {
                end: 0x1020_0080,
                flash: 0x20_0000
            })
        );
    }
}
