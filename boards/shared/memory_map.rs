//! Writes the memory map for the linker, from the one map of the flash that there is. For the build scripts of both
//! boards.

use picolet_store::layout::Layout;
use std::path::PathBuf;
use std::{env, fs};

/// Bytes of the stack. The most that was used in the emulator is in `boards/README.md`.
const STACK: u32 = 32 * 1024;
/// Bytes of the second stage of the boot, on the chip that has one in flash.
const BOOT2: u32 = 256;

/// Writes `memory.x` for a board with so much RAM, and tells the linker of it.
pub fn write(layout: &Layout, ram: u32) {
    let (active, radio) = (layout.active, layout.radio);
    let start = layout.bootloader.address();
    let boot2 = layout.board == "pico-w";
    let first = if boot2 { start + BOOT2 } else { start };
    let memory = format!(
        "MEMORY {{
    BOOT2 : ORIGIN = {start:#x}, LENGTH = {BOOT2:#x}
    FLASH : ORIGIN = {first:#x}, LENGTH = {:#x}
    RADIO : ORIGIN = {:#x}, LENGTH = {:#x}
    /* The stack lies lowest: what overflows it leaves RAM, which is a fault and no silent damage. */
    STACK : ORIGIN = 0x20000000, LENGTH = {STACK:#x}
    RAM : ORIGIN = 0x20000000 + {STACK:#x}, LENGTH = {:#x}
}}
_stack_end = ORIGIN(STACK);
_stack_start = ORIGIN(STACK) + LENGTH(STACK);
_heap_end = ORIGIN(RAM) + LENGTH(RAM);
SECTIONS {{
    /* Not behind .uninit: the heap begins where the last section there ends. */
    .radio : ALIGN(4) {{ KEEP(*(.radio .radio.*)); }} > RADIO
}} INSERT AFTER .rodata;
",
        active.length,
        radio.address(),
        radio.length,
        ram - STACK,
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("memory.x"), memory).expect("the folder for it is there");
    println!("cargo:rustc-link-search={}", out.display());
    if boot2 {
        println!("cargo:rustc-link-arg-bins=-Tlink-rp.x");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../shared/memory_map.rs");
}
