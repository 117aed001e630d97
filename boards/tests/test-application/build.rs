//! The memory map: the program is linked for either slot.

use picolet_store::layout::{PICO_2_W, PICO_W};

#[path = "../../shared/memory_map.rs"]
mod memory_map;

fn main() {
    let target = std::env::var("TARGET").expect("cargo sets it");
    let (layout, ram) = if target.starts_with("thumbv6m") {
        (PICO_W, 264)
    } else {
        (PICO_2_W, 520)
    };
    memory_map::write(&layout, ram * 1024, "test-application");
    println!("cargo:rerun-if-changed=../../shared/memory_map.rs");
}
