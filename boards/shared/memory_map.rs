//! Writes the memory map for the linker, from the one map of the flash that there is. For the build scripts of both
//! boards.

use picolet_store::layout::{IMAGE_OFFSET, Layout, VERSION_LENGTH, VERSION_OFFSET};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Bytes of the stack. The most that was used in the emulator is in `boards/README.md`.
const STACK: u32 = 32 * 1024;

/// Writes `memory.x` for each slot of a board with so much RAM, and tells the linker of them: the program `binary` is linked for slot A,
/// `binary` with `-b` behind it, which is the same program, for slot B.
pub fn write(layout: &Layout, ram: u32, binary: &str) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for (slot, name) in layout.slots.iter().zip(["a", "b"]) {
        let folder = out.join(name);
        fs::create_dir_all(&folder).expect("the folder for it is there");
        write_slot(
            &folder,
            slot.address() + IMAGE_OFFSET,
            slot.length - IMAGE_OFFSET,
            ram,
        );
        let suffix = if name == "a" { "" } else { "-b" };
        println!("cargo:rustc-link-arg-bin={binary}{suffix}=-L{}", folder.display());
    }
    println!("cargo:rerun-if-changed=build.rs");
}

fn write_slot(folder: &Path, origin: u32, length: u32, ram: u32) {
    let memory = format!(
        "MEMORY {{
    FLASH : ORIGIN = {:#x}, LENGTH = {:#x}
    /* The stack lies lowest: what overflows it leaves RAM, which is a fault and no silent damage. */
    STACK : ORIGIN = 0x20000000, LENGTH = {STACK:#x}
    RAM : ORIGIN = 0x20000000 + {STACK:#x}, LENGTH = {:#x}
}}
_stack_end = ORIGIN(STACK);
_stack_start = ORIGIN(STACK) + LENGTH(STACK);
_heap_end = ORIGIN(RAM) + LENGTH(RAM);
SECTIONS {{
    .version ORIGIN(FLASH) + {VERSION_OFFSET} : {{
        KEEP(*(.version));
        . = ALIGN({VERSION_LENGTH});
    }} > FLASH
}} INSERT AFTER .vector_table;
_stext = ORIGIN(FLASH) + {VERSION_OFFSET} + {VERSION_LENGTH};
",
        origin,
        length,
        ram - STACK,
    );
    fs::write(folder.join("memory.x"), memory).expect("the folder for it is there");
}
