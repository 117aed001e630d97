//! Tells the linker where memory is.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rustc-link-arg=-T{directory}/memory.ld");
    println!("cargo::rerun-if-changed=memory.ld");
    println!("cargo::rerun-if-changed=build.rs");
}
