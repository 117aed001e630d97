//! A stack as in a default build: the standard library copies files through a buffer of 8 KiB.

fn main() {
    println!("cargo:rustc-link-arg=-zstack-size=65536");
    println!("cargo:rerun-if-changed=build.rs");
}
