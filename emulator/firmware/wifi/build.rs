//! Puts the memory map where the linker looks for it.

fn main() {
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    std::fs::copy("../memory.x", out.join("memory.x")).expect("memory.x is in the folder above");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rerun-if-changed=../memory.x");
}
