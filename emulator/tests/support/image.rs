//! The images that tests boot, built from `emulator/firmware` when they are needed.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use picolet_emulator::{Board, Config, Image, Stop, Time};

/// The image that joins a network.
pub fn wifi() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| build("emulator-firmware-wifi", "emulator-firmware-wifi"))
}

/// Builds a program of a package in `emulator/firmware`; its own workspace, its own target directory.
fn build(package: &str, program: &str) -> Image {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = manifest.join("../target/emulator-firmware");
    let status = Command::new(env!("CARGO"))
        .current_dir(manifest.join("firmware"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            package,
            "--bin",
            program,
            "--target-dir",
        ])
        .arg(&target)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .expect("cargo");
    assert!(
        status.success(),
        "{package} does not build: is the target thumbv6m-none-eabi installed?"
    );
    let file = target.join("thumbv6m-none-eabi/release").join(program);
    Image::parse_elf(&std::fs::read(&file).expect("what was built")).expect("an image")
}

/// A board with `image`, just switched on.
pub fn board(image: &Image, config: Config) -> Board {
    let mut board = Board::new(config);
    board.load(image).expect("it fits");
    board.power_on();
    board
}

/// Runs until the log on UART 0 has `text`; returns the log so far.
pub fn run_to(board: &mut Board, log: &mut String, text: &str, limit: Time) {
    while !log.contains(text) {
        let until = (board.time() + std::time::Duration::from_millis(5)).min(limit);
        let stop = board.run_until(until);
        log.push_str(&String::from_utf8_lossy(&board.take_uart(0)));
        assert!(matches!(stop, Stop::Reached | Stop::Asleep), "{stop}\n{log}");
        assert!(
            !log.contains("PANIC") && board.time() < limit,
            "no {text:?}:\n{log}"
        );
        assert!(
            stop == Stop::Reached || log.contains(text),
            "asleep, and no {text:?}:\n{log}"
        );
    }
}
