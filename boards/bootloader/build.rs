//! Writes the memory map for the linker, from the one map of the flash that there is.

use std::path::PathBuf;
use std::{env, fs};

use picolet_store::layout::{PICO_2_W, PICO_W};

fn main() {
    let target = env::var("TARGET").expect("cargo sets it");
    let rp2040 = target.starts_with("thumbv6m");
    let layout = if rp2040 { PICO_W } else { PICO_2_W };
    let (start, length) = (layout.bootloader.address(), layout.bootloader.length);
    // The last 16 KiB of memory and nothing else: what the application left below them outlives a reset.
    let memory = if rp2040 {
        format!(
            "MEMORY {{
    BOOT2 : ORIGIN = {start:#x}, LENGTH = 0x100
    FLASH : ORIGIN = {start:#x} + 0x100, LENGTH = {length:#x} - 0x100
    RAM : ORIGIN = 0x2003e000, LENGTH = 16K
}}
{BINARY_INFO}
_stext = ADDR(.boot_info) + SIZEOF(.boot_info);
"
        )
    } else {
        // The boot ROM looks for the description of the image in the first 4 KiB (RP2350 datasheet, section 5.9.5).
        format!(
            "MEMORY {{
    FLASH : ORIGIN = {start:#x}, LENGTH = {length:#x}
    RAM : ORIGIN = 0x2007e000, LENGTH = 16K
}}
{BINARY_INFO}
SECTIONS {{ .start_block : ALIGN(4) {{ KEEP(*(.start_block)); }} > FLASH }} INSERT AFTER .boot_info;
_stext = ADDR(.start_block) + SIZEOF(.start_block);
"
        )
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("memory.x"), memory).expect("the folder for it is there");
    println!("cargo:rustc-link-search={}", out.display());
    if rp2040 {
        println!("cargo:rustc-link-arg-bins=-Tlink-rp.x");
    }
    println!("cargo:rerun-if-changed=build.rs");
}

/// picotool finds the header in the first kilobyte, and by it the entries.
const BINARY_INFO: &str = "
SECTIONS {
    .boot_info : ALIGN(4) { KEEP(*(.boot_info)); } > FLASH
} INSERT AFTER .vector_table;
SECTIONS {
    .bi_entries : ALIGN(4) {
        __bi_entries_start = .;
        KEEP(*(.bi_entries));
        . = ALIGN(4);
        __bi_entries_end = .;
    } > FLASH
} INSERT AFTER .text;
";
