//! Whatever somebody drags onto the board: ELF, UF2, or neither. What is taken must load and run without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_emulator::{Board, Config, Image, Time};

fuzz_target!(|data: &[u8]| {
    for parsed in [Image::parse(data), Image::parse_elf(data), Image::parse_uf2(data)] {
        let Ok(image) = parsed else { continue };
        assert!(image.symbols().is_sorted_by_key(|symbol| symbol.address));
        let mut board = Board::new(Config {
            flash_size: 0x1_0000,
            ..Config::default()
        });
        if board.load(&image).is_ok() {
            board.power_on();
            board.run(Time::from_millis(3), 2_000);
        }
    }
});
