//! `cargo xtask sizes`: what an image takes of flash and of static memory, by section.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, SectionFlags, elf};
use picolet_image::build::Place;

/// Bytes of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Code, constants, vectors: all that lies in flash, but for the initial values of `data`.
    pub(crate) text: u64,
    /// Variables with an initial value: in RAM, and their values in flash.
    pub(crate) data: u64,
    /// Variables that begin as zero or uninitialized: in RAM only.
    pub(crate) bss: u64,
}

impl Sizes {
    /// What the image takes of flash.
    pub(crate) fn flash(self) -> u64 {
        self.text + self.data
    }

    /// What the image takes of RAM before its first instruction, without stacks and heap that it does not declare.
    pub(crate) fn ram(self) -> u64 {
        self.data + self.bss
    }

    /// Measures an ELF file.
    pub(crate) fn of(elf: &Path) -> Result<Self> {
        let bytes = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let file =
            object::File::parse(&*bytes).with_context(|| format!("{} is not an ELF file", elf.display()))?;
        let mut sizes = Self::default();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else {
                bail!("{} is not an ELF file", elf.display());
            };
            if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            match (sh_flags & u64::from(elf::SHF_WRITE) != 0, section.kind()) {
                (true, object::SectionKind::UninitializedData) => sizes.bss += section.size(),
                (true, _) => sizes.data += section.size(),
                (false, _) => sizes.text += section.size(),
            }
        }
        Ok(sizes)
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, data, bss } = self;
        write!(
            f,
            "text+rodata {text}, data {data}, bss {bss}: flash {}, RAM {}",
            self.flash(),
            self.ram()
        )
    }
}

/// Builds a binary of the workspace `boards/` as it is shipped, where it is, and returns its ELF file.
pub(crate) fn build(package: &str, binary: &str, target: &str) -> Result<PathBuf> {
    build_with(package, binary, target, "")
}

/// The same with cargo features of the package.
pub(crate) fn build_with(package: &str, binary: &str, target: &str, features: &str) -> Result<PathBuf> {
    picolet_image::build::build_with(package, binary, target, features, Place::Here)
}

/// Prints the sizes of the link tests for both boards.
pub(crate) fn run() -> Result<()> {
    for target in crate::check::THUMB_TARGETS {
        for binary in ["empty", "tls"] {
            let sizes = Sizes::of(&build("link-test", binary, target)?)?;
            println!("{binary:>8} {target:<26} {sizes}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very program: its sections add up to something, and its code is the most of it.
    #[test]
    fn measures_an_elf_file() {
        let sizes = Sizes::of(&std::env::current_exe().unwrap()).unwrap();
        assert!(
            sizes.text > sizes.data && sizes.data > 0 && sizes.bss > 0,
            "{sizes}"
        );
        assert_eq!(sizes.flash(), sizes.text + sizes.data);
        assert_eq!(sizes.ram(), sizes.data + sizes.bss);
    }

    #[test]
    fn says_what_is_not_an_elf_file() {
        let file = crate::workspace().join("Cargo.toml");
        assert!(
            Sizes::of(&file)
                .unwrap_err()
                .to_string()
                .ends_with("is not an ELF file")
        );
    }
}
