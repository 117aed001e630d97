//! Tells the crate whether it is built for ARMv6-M: `cfg` knows the architecture "arm", not which.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(picolet_ec_armv6m)");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("TARGET").is_ok_and(|target| target.starts_with("thumbv6m-")) {
        println!("cargo::rustc-cfg=picolet_ec_armv6m");
    }
}
