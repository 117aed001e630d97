//! Writes the memory map for the linker: an application in the slot that runs.

use std::path::PathBuf;
use std::{env, fs};

use picolet_store::layout::{PICO_2_W, PICO_W, VERSION_LENGTH, VERSION_OFFSET};

fn main() {
    let target = env::var("TARGET").expect("cargo sets it");
    let (layout, ram) = if target.starts_with("thumbv6m") {
        (PICO_W, 264)
    } else {
        (PICO_2_W, 520)
    };
    let slot = layout.active;
    let memory = format!(
        "MEMORY {{
    FLASH : ORIGIN = {:#x}, LENGTH = {:#x}
    RAM : ORIGIN = 0x20000000, LENGTH = {ram}K
}}
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
    );
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("memory.x"), memory).expect("the folder for it is there");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=build.rs");
}
