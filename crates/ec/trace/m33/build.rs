//! Gives the linker the layout of QEMU's machine `mps2-an505`.

fn main() {
    println!("cargo::rerun-if-changed=memory.ld");
    println!(
        "cargo::rustc-link-arg=-T{}/memory.ld",
        std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()
    );
}
