//! The memory map of a Pico 2 W.

#[path = "../shared/memory_map.rs"]
mod memory_map;

fn main() {
    memory_map::write(&picolet_store::layout::PICO_2_W, 520 * 1024, "picolet-pico-2-w");
    println!("cargo:rerun-if-changed=../shared/memory_map.rs");
}
