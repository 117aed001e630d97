//! What the integration tests share.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod thumb;

use std::path::{Path, PathBuf};
use std::process::Command;

use picolet_emulator::{Board, Config, Image, Stop, Time};

/// Whether a tool that a test compares with is there. If not, says so; where everything is required, fails.
pub(crate) fn has_tool(name: &str) -> bool {
    // each is in the package of its name
    picolet_oracle::find(name, name).is_some()
}

/// Builds one of the test images and answers where its ELF file is.
pub(crate) fn firmware(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--bin", name])
        .current_dir(&folder)
        // what cargo set for the tests is not meant for another workspace
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{name} does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join("target/thumbv6m-none-eabi/release").join(name)
}

/// A board with one of the test images in its flash, switched on.
pub(crate) fn board(name: &str) -> Board {
    let image =
        Image::parse(&std::fs::read(firmware(name)).expect("it was just built")).expect("it is an ELF file");
    let mut board = Board::new(Config::default());
    board.load(&image).expect("it fits");
    board.power_on();
    board
}

/// Runs until the log has a line that starts with this, at most so many emulated milliseconds; answers the log.
pub(crate) fn log_until(board: &mut Board, line: &str, milliseconds: u64) -> String {
    let mut log = Vec::new();
    for slice in (board.time().as_micros() / 1000..)
        .step_by(5)
        .take(milliseconds as usize / 5)
    {
        let stop = board.run_until(Time::from_millis(slice + 5));
        log.extend(board.take_uart(0));
        let text = String::from_utf8_lossy(&log);
        assert_eq!(stop, Stop::Reached, "{stop}\n{text}");
        if text.lines().any(|found| found.starts_with(line)) {
            return text.into_owned();
        }
    }
    panic!("no line {line:?} in\n{}", String::from_utf8_lossy(&log));
}
