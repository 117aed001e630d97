//! `cargo xtask bench wasm`: speed and memory of the WebAssembly engine, on this machine, on the simulated Cortex-M0+ and on the emulated
//! board.

use anyhow::{Context, Result, bail, ensure};
use picolet_image::cargo::cargo;

/// What is printed of the output of tests: lines with these in them.
const SIMULATED: [&str; 3] = ["cycles", "flash:", "bytes"];
const EMULATED: [&str; 1] = ["exit 0 "];

/// Prints all of it. Fails if a limit does not hold.
pub(crate) fn bench() -> Result<()> {
    let mut failed = Vec::new();
    println!("This machine, release build");
    if crate::demo::bench("picolet-wasi", "engine").is_err() {
        failed.push("speed beside wasmi");
    }
    println!("\nSimulated Cortex-M0+, memory without wait states");
    if !figures(&["picolet-wasm", "--test", "cortex_m0"], &SIMULATED)? {
        failed.push("cycles or flash");
    }
    println!(
        "\nEmulated RP2040 with the cache misses of its flash: bytes, and microseconds of validation and of the run"
    );
    if !figures(&["picolet", "--test", "guests"], &EMULATED)? {
        failed.push("guests on the board");
    }
    if !failed.is_empty() {
        bail!("over a limit: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs a test and prints its lines that have figures. Returns whether it passed.
fn figures(test: &[&str], of: &[&str]) -> Result<bool> {
    let output = cargo()
        .args(["test", "--quiet", "--package"])
        .args(test)
        .args(["--", "--nocapture", "--test-threads=1"])
        .current_dir(crate::workspace())
        .output()
        .context("cannot run cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text
        .lines()
        .filter(|line| of.iter().any(|figure| line.contains(figure)))
        .peekable();
    ensure!(
        lines.peek().is_some(),
        "no figures: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    lines.for_each(|line| println!("{line}"));
    Ok(output.status.success())
}
