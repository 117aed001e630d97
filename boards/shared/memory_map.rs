//! Writes the memory map for the linker, from the one map of the flash that there is. For the build scripts of both
//! boards.

use picolet_store::layout::{IMAGE_OFFSET, Layout, VERSION_LENGTH, VERSION_OFFSET};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Bytes of the stack. The most that was used in the emulator is in `boards/README.md`.
const STACK: u32 = 32 * 1024;

const RAM_START: u32 = 0x2000_0000;
/// Where memory is that the next run reads, whichever firmware that is: the crash record, the count of the radio's resets, the log. It
/// and the offsets in it never change. The rest of the memory map may.
const KEPT: u32 = 0x2000_8000;
/// Bytes of it: 128 for the crash record, 128 for the count, and the log.
const KEPT_LENGTH: u32 = 2560;

/// Writes `memory.x` for each slot of a board with so much RAM, and tells the linker of them: the program `binary` is linked for slot A,
/// `binary` with `-b` behind it, which is the same program, for slot B.
pub fn write(layout: &Layout, ram: u32, binary: &str) {
    const { assert!(RAM_START + STACK <= KEPT) }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for (slot, name) in layout.slots.iter().zip(["a", "b"]) {
        let folder = out.join(name);
        fs::create_dir_all(&folder).expect("the folder for it is there");
        write_slot(&folder, slot.address(), slot.length, ram);
        let suffix = if name == "a" { "" } else { "-b" };
        println!("cargo:rustc-link-arg-bin={binary}{suffix}=-L{}", folder.display());
    }
    println!("cargo:rerun-if-changed=build.rs");
}

fn write_slot(folder: &Path, slot: u32, length: u32, ram: u32) {
    let memory = format!(
        "MEMORY {{
    FLASH : ORIGIN = {:#x}, LENGTH = {:#x}
    /* The stack lies lowest: what overflows it leaves RAM, which is a fault and no silent damage. */
    STACK : ORIGIN = 0x20000000, LENGTH = {STACK:#x}
    KEPT : ORIGIN = {KEPT:#x}, LENGTH = {KEPT_LENGTH}
    RAM : ORIGIN = {KEPT:#x} + {KEPT_LENGTH}, LENGTH = {:#x}
}}
_slot_start = {:#x};
_slot_end = {:#x};
SECTIONS {{
    .kept ORIGIN(KEPT) (NOLOAD) : {{
        KEEP(*(.kept.crash));
        . = ORIGIN(KEPT) + 128;
        KEEP(*(.kept.radio_resets));
        . = ORIGIN(KEPT) + 256;
        KEEP(*(.kept.log));
    }} > KEPT
}} INSERT BEFORE .data;
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
        slot + IMAGE_OFFSET,
        length - IMAGE_OFFSET,
        RAM_START + ram - KEPT - KEPT_LENGTH,
        slot,
        slot + length,
    );
    fs::write(folder.join("memory.x"), memory).expect("the folder for it is there");
}
