//! Writes the memory map for the linker, from the one map of the flash that there is. For the build scripts of both
//! boards.

use picolet_store::layout::{Layout, VERSION_LENGTH, VERSION_OFFSET};
use std::path::PathBuf;
use std::{env, fs};

/// Bytes of the stack. The most that was used in the emulator is in `boards/README.md`.
const STACK: u32 = 32 * 1024;

/// Writes `memory.x` for a board with so much RAM, and tells the linker of it: an application in the slot that the
/// bootloader starts.
pub fn write(layout: &Layout, ram: u32) {
    let slot = layout.active;
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
        slot.address(),
        slot.length,
        ram - STACK,
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("memory.x"), memory).expect("the folder for it is there");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../shared/memory_map.rs");
}
