//! Whatever a debugger sends: packets with a right sum, broken ones, interrupts, and the board running in between.
#![no_main]

use std::io::sink;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use picolet_emulator::gdb::Session;
use picolet_emulator::{Board, Config, Image, Snapshot};

/// `movs r0, #1; adds r0, #1; str r0, [r1]; bkpt; b .`, behind its vector table.
fn start() -> Snapshot {
    let table = [0x2004_0000_u32, 0x2000_0009].map(u32::to_le_bytes).concat();
    let code = [0x2001_u16, 0x3001, 0x6008, 0xbe00, 0xe7fe]
        .map(u16::to_le_bytes)
        .concat();
    let mut board = board();
    let image = Image::from_bytes(0x2000_0000, &[table, code].concat()).expect("it is in RAM");
    board.load(&image).expect("it fits");
    board.power_on();
    board.snapshot()
}

fn board() -> Board {
    Board::new(Config {
        flash_size: 0x1000,
        ..Config::default()
    })
}

thread_local! {
    static START: Snapshot = start();
}

// Lines are packets; one that starts with 0xff is sent as it is.
fuzz_target!(|data: &[u8]| {
    let mut board = board();
    START
        .with(|start| board.restore(start))
        .expect("there is no network");
    let Ok(mut session) = Session::new(&mut board, sink()) else {
        return;
    };
    for line in data.split(|byte| *byte == b'\n').take(64) {
        let fed = if let [0xff, raw @ ..] = line {
            session.feed(&mut board, raw)
        } else {
            let sum = line.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            let packet = [b"$", line, format!("#{sum:02x}+").as_bytes()].concat();
            session.feed(&mut board, &packet)
        };
        if fed.is_err() {
            return;
        }
        if !session.is_halted() {
            let stop = board.run(board.time() + Duration::from_micros(50), u64::MAX);
            if session.report(&mut board, &stop).is_err() {
                return;
            }
        }
    }
});
