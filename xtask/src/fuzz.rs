//! Every fuzz target over its corpus, as a part of `cargo xtask test`: inputs that once went wrong must not again.
//!
//! Searching for new ones is a person's decision: `cargo +nightly fuzz run TARGET --fuzz-dir FOLDER`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Where fuzz targets are, each a workspace of its own in cargo-fuzz's layout.
const FOLDERS: [&str; 3] = ["fuzz", "crates/ec/fuzz", "emulator/fuzz"];

/// What a machine needs for it.
pub(crate) const REMEDY: &str = "install nightly Rust (rustup toolchain install nightly) and cargo-fuzz";

/// Replays all corpora; `tell` learns of each target whether it held. Returns false where nightly or cargo-fuzz is
/// missing.
///
/// # Errors
///
/// When a library cannot be patched, or the targets of a folder cannot be listed.
pub(crate) fn replay(mut tell: impl FnMut(&str, bool)) -> Result<bool> {
    if !nightly(crate::workspace(), &["--version"])
        .status()
        .is_ok_and(|status| status.success())
    {
        return Ok(false);
    }
    // One target tries the boards' own network stack.
    picolet_image::patch::run()?;
    for name in FOLDERS {
        let folder = crate::workspace().join(name);
        if !folder.join("Cargo.toml").exists() {
            continue;
        }
        let output = nightly(&folder, &["list", "--fuzz-dir", "."])
            .stdout(Stdio::piped())
            .output();
        let output = output.context("cannot run cargo fuzz")?;
        ensure!(
            output.status.success(),
            "cargo fuzz cannot list the targets of {name}"
        );
        for target in String::from_utf8_lossy(&output.stdout).lines() {
            println!("fuzz: {target} of {name} over its corpus");
            let corpus = format!("corpus/{target}");
            let mut arguments = vec!["run", "--fuzz-dir", ".", target];
            if folder.join(&corpus).is_dir() {
                arguments.push(&corpus);
            }
            arguments.extend(["--", "-runs=0"]);
            let held = nightly(&folder, &arguments)
                .status()
                .is_ok_and(|status| status.success());
            tell(&format!("fuzz::{target} ({name})"), held);
        }
    }
    Ok(true)
}

/// cargo-fuzz with the nightly toolchain, which its instrumentation needs.
fn nightly(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", "nightly", "cargo", "fuzz"])
        .args(arguments)
        .current_dir(folder);
    // These would bring the toolchain of this workspace back.
    command
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}
