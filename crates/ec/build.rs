//! Tells the crate for which processor it is built: `cfg` knows the architecture "arm", not which.
//!
//! ARMv6-M gets the assembly. With the feature `umaal` ARMv8-M gets the multiply-accumulate of its DSP extension, which the
//! target's name does not promise.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(picolet_ec_armv6m, picolet_ec_umaal)");
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    if target.starts_with("thumbv6m-") {
        println!("cargo::rustc-cfg=picolet_ec_armv6m");
    }
    if target.starts_with("thumbv8m.main-") && std::env::var_os("CARGO_FEATURE_UMAAL").is_some() {
        println!("cargo::rustc-cfg=picolet_ec_umaal");
    }
}
