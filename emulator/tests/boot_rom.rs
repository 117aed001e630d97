//! A real boot ROM, where one is at hand, leaves the chip to the firmware as the emulated one does.
//!
//! The ROM is Raspberry Pi's and not part of this project: `PICOLET_BOOT_ROM` names the file.

mod common;

use std::path::Path;

use picolet_emulator::gdb::Session;
use picolet_emulator::{Board, Config, Image, Stop, Time};

/// What a boot leaves behind in the blocks, and where it is.
const REGISTERS: [(&str, u32, u32); 11] = [
    ("RESETS.RESET, WDSEL, RESET_DONE", 0x4000_c000, 3),
    ("PSM.FRCE_ON to DONE", 0x4001_0000, 4),
    ("CLK_REF.CTRL, DIV, SELECTED", 0x4000_8030, 3),
    ("CLK_SYS.CTRL, DIV, SELECTED", 0x4000_803c, 3),
    ("CLK_PERI.CTRL", 0x4000_8048, 1),
    ("CLK_USB.CTRL", 0x4000_8054, 1),
    ("PLL_SYS.CS, PWR", 0x4002_8000, 2),
    ("PLL_USB.CS, PWR", 0x4002_c000, 2),
    ("XOSC.CTRL", 0x4002_4000, 1),
    ("WATCHDOG.SCRATCH0 to 7", 0x4005_800c, 8),
    ("PADS_QSPI", 0x4002_0000, 7),
];

/// What firmware finds when its second stage is done, and what it then does.
#[derive(Debug, PartialEq)]
struct Found {
    sp: u32,
    pc: u32,
    second_stage: Vec<u8>,
    registers: Vec<(&'static str, Vec<u32>)>,
    log: String,
}

/// Reads registers as gdb does.
fn read(board: &mut Board, address: u32, count: u32) -> Vec<u32> {
    let mut said = Vec::new();
    let mut gdb = Session::new(board, &mut said).expect("it answers");
    for word in 0..count {
        let packet = format!("m{:x},4", address + 4 * word);
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        gdb.feed(board, format!("${packet}#{sum:02x}+").as_bytes())
            .expect("it answers");
    }
    drop(gdb);
    let said = String::from_utf8(said).expect("text");
    let words = said.split('$').skip(1).map(|answer| {
        let word = answer
            .split('#')
            .next()
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        word.unwrap_or_else(|| panic!("{address:#x}: {said}"))
            .swap_bytes()
    });
    words.collect()
}

fn boot(rom: Option<Vec<u8>>, elf: &Path) -> Found {
    let image = Image::parse(&std::fs::read(elf).expect("built")).expect("an image");
    let mut board = Board::new(Config {
        boot_rom: rom,
        ..Config::default()
    });
    board.load(&image).expect("it fits");
    board.power_on();
    // the vector table is behind the second stage, which was copied to the end of RAM
    let reset = board.read_memory(0x1000_0104, 4).expect("flash");
    let reset = u32::from_le_bytes(reset.try_into().expect("a word")) & !1;
    let first = board.read_memory(reset, 2).expect("flash");
    board.write_memory(reset, &[0x00, 0xbe]).expect("flash");
    board.set_debugged(true);
    let stop = board.run_until(Time::from_millis(2_000));
    assert_eq!(
        stop,
        Stop::Breakpoint { core: 0 },
        "{stop} at {:08x?}",
        board.registers(0)
    );
    board.write_memory(reset, &first).expect("flash");
    board.set_debugged(false);
    let found = board.registers(0);
    Found {
        sp: found[13],
        pc: found[15],
        second_stage: board.read_memory(0x2004_1f00, 252).expect("RAM"),
        registers: REGISTERS
            .iter()
            .map(|(name, address, count)| (*name, read(&mut board, *address, *count)))
            .collect(),
        // what runs on core 1 was launched by the ROM
        log: common::log_until(&mut board, "done", 3_000).trim_end().to_owned(),
    }
}

#[test]
fn a_real_boot_rom_ends_in_the_same_state() {
    let Some(path) = std::env::var_os("PICOLET_BOOT_ROM") else {
        eprintln!("no boot ROM to compare with: name its file in PICOLET_BOOT_ROM");
        return;
    };
    let rom = std::fs::read(&path).expect("the boot ROM that PICOLET_BOOT_ROM names");
    for name in ["cores", "blocks"] {
        let elf = common::firmware(name);
        let (real, emulated) = (boot(Some(rom.clone()), &elf), boot(None, &elf));
        for (real, emulated) in real.registers.iter().zip(&emulated.registers) {
            if real != emulated {
                eprintln!("{name}: {real:x?}, emulated {:x?}", emulated.1);
            }
        }
        assert_eq!(real, emulated, "{name}");
    }
}
