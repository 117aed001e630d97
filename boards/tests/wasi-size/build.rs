//! Tells the linker where `memory.x` is.

fn main() {
    println!(
        "cargo:rustc-link-search={}/../link-test",
        env!("CARGO_MANIFEST_DIR")
    );
    println!("cargo:rerun-if-changed=../link-test/memory.x");
}
