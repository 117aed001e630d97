//! The memory map of a Pico W.

#[path = "../shared/memory_map.rs"]
mod memory_map;

fn main() {
    memory_map::write(&picolet_store::layout::PICO_W, 264 * 1024, "picolet-pico-w");
    println!("cargo:rerun-if-changed=../shared/memory_map.rs");
}
