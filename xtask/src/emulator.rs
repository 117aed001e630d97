//! `cargo xtask bench emulator`: how fast the emulator is.

use anyhow::Result;

use crate::demo::cargo;

/// Runs `emulator/benches/emulator.rs`.
pub(crate) fn bench() -> Result<()> {
    cargo([
        "bench",
        "--quiet",
        "--package",
        "picolet-emulator",
        "--bench",
        "emulator",
    ])
}
