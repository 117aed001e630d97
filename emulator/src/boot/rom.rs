//! The boot ROM without its file (RP2040 datasheet, section 2.8).
//!
//! The tables that firmware looks functions up in are laid out as in the real ROM. The functions behind them are done
//! by the emulator, in one step: an interrupt waits until a copy is over, and their cycles are figures, not counted.
//! Code that copies the floating-point library into RAM finds nothing to copy.

use crate::chip::Chip;
use crate::chip::flash::SECTOR;
use crate::cpu::{Core, Sleep};
use crate::fault::Fault;

/// Where the functions start, four bytes each.
const FUNCTIONS: u32 = 0x200;
/// Where core 0 comes out of reset.
const STACK: u32 = 0x2004_2000;

/// A function of the ROM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Function {
    Reset,
    Lookup,
    Dead,
    Popcount,
    Reverse,
    LeadingZeros,
    TrailingZeros,
    Memset,
    MemsetWords,
    Memcpy,
    MemcpyWords,
    UsbBoot,
    WaitForVector,
    ConnectFlash,
    ExitXip,
    RangeErase,
    RangeProgram,
    FlushCache,
    EnterXip,
    EnableClocks,
    Trampoline,
    TrampolineEnd,
}

const NAMED: [(&[u8; 2], Function); 19] = [
    (b"P3", Function::Popcount),
    (b"R3", Function::Reverse),
    (b"L3", Function::LeadingZeros),
    (b"T3", Function::TrailingZeros),
    (b"MS", Function::Memset),
    (b"S4", Function::MemsetWords),
    (b"MC", Function::Memcpy),
    (b"C4", Function::MemcpyWords),
    (b"UB", Function::UsbBoot),
    (b"WV", Function::WaitForVector),
    (b"IF", Function::ConnectFlash),
    (b"EX", Function::ExitXip),
    (b"RE", Function::RangeErase),
    (b"RP", Function::RangeProgram),
    (b"FC", Function::FlushCache),
    (b"CX", Function::EnterXip),
    (b"EC", Function::EnableClocks),
    (b"DT", Function::Trampoline),
    (b"DE", Function::TrampolineEnd),
];

const ALL: [Function; 22] = [
    Function::Reset,
    Function::Lookup,
    Function::Dead,
    Function::Popcount,
    Function::Reverse,
    Function::LeadingZeros,
    Function::TrailingZeros,
    Function::Memset,
    Function::MemsetWords,
    Function::Memcpy,
    Function::MemcpyWords,
    Function::UsbBoot,
    Function::WaitForVector,
    Function::ConnectFlash,
    Function::ExitXip,
    Function::RangeErase,
    Function::RangeProgram,
    Function::FlushCache,
    Function::EnterXip,
    Function::EnableClocks,
    Function::Trampoline,
    Function::TrampolineEnd,
];

/// Numbers of floating-point functions: their offset in the table, and whether they are of the double table.
const FLOAT: u32 = 0x100;
const DOUBLE: u32 = 0x200;
/// Both tables have this many entries.
const TABLE_ENTRIES: u32 = 32;

/// What calling a function of the ROM leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It returns to its caller after this many cycles.
    Return(u64),
    /// The core goes on wherever the function set it.
    Continue,
    /// Core 0 starts as after a reset.
    Reset,
    /// The chip waits for a file on its USB drive.
    UsbBoot,
}

const fn address(function: Function) -> u32 {
    FUNCTIONS + 4 * function as u32
}

/// Lays the tables out and puts the functions behind them.
pub(crate) fn install(chip: &mut Chip) {
    let mut rom = vec![0_u8; chip.rom.len()];
    let half = |rom: &mut [u8], at: u32, value: u32| {
        rom[at as usize..at as usize + 2].copy_from_slice(&(value as u16).to_le_bytes());
    };
    let word = |rom: &mut [u8], at: u32, value: u32| {
        rom[at as usize..at as usize + 4].copy_from_slice(&value.to_le_bytes());
    };
    word(&mut rom, 0x00, STACK);
    word(&mut rom, 0x04, address(Function::Reset) | 1);
    word(&mut rom, 0x08, address(Function::Dead) | 1);
    word(&mut rom, 0x0c, address(Function::Dead) | 1);
    // 'M', 'u', compatible version 1, ROM version 3 (B2)
    rom[0x10..0x14].copy_from_slice(&[b'M', b'u', 1, 3]);
    // the function table
    let functions = 0x40;
    half(&mut rom, 0x14, functions);
    for (i, (code, function)) in NAMED.iter().enumerate() {
        let at = functions + 4 * i as u32;
        rom[at as usize..at as usize + 2].copy_from_slice(*code);
        half(&mut rom, at + 2, address(*function) | 1);
    }
    // the data table: copyright, revision, the tables of floating-point functions
    let (data, copyright, revision, floats, doubles) = (0xa0, 0xd0, 0x100, 0x110, 0x190);
    half(&mut rom, 0x16, data);
    half(&mut rom, 0x18, address(Function::Lookup) | 1);
    let text = b"picolet emulator, no ROM file\0";
    rom[copyright as usize..copyright as usize + text.len()].copy_from_slice(text);
    // a library of no size: there is no code to copy
    let entries: [(&[u8; 2], u32); 6] = [
        (b"GR", revision),
        (b"CR", copyright),
        (b"SF", floats),
        (b"SD", doubles),
        (b"FS", doubles),
        (b"FE", doubles),
    ];
    for (i, (code, value)) in entries.iter().enumerate() {
        let at = data + 4 * i as u32;
        rom[at as usize..at as usize + 2].copy_from_slice(*code);
        half(&mut rom, at + 2, *value);
    }
    word(&mut rom, revision, 0x0000_0001);
    for function in ALL {
        half(&mut rom, address(function), 0x4770);
        chip.code.set_rom_function(address(function), function as u32);
    }
    for (table, kind, place) in [(floats, FLOAT, 0x400), (doubles, DOUBLE, 0x600)] {
        for entry in 0..TABLE_ENTRIES {
            word(&mut rom, table + 4 * entry, (place + 4 * entry) | 1);
            half(&mut rom, place + 4 * entry, 0x4770);
            chip.code.set_rom_function(place + 4 * entry, kind | entry);
        }
    }
    chip.rom = rom.into_boxed_slice();
}

/// The state of core 1 while the ROM waits for core 0 to launch it (section 2.8.2).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Launch {
    step: u8,
    vtor: u32,
    sp: u32,
}

/// Does the function whose place in the ROM a core has reached.
pub(crate) fn call(number: u32, core: &mut Core, chip: &mut Chip, launch: &mut Launch) -> Outcome {
    if number >= FLOAT {
        return super::float::call(number & !(FLOAT | DOUBLE), number & DOUBLE != 0, core).map_or_else(
            || {
                chip.not_modelled(core.pc, None);
                Outcome::Return(1)
            },
            Outcome::Return,
        );
    }
    let Some(function) = ALL.get(number as usize) else {
        chip.not_modelled(core.pc, None);
        return Outcome::Return(1);
    };
    let [r0, r1, r2, r3] = [core.r[0], core.r[1], core.r[2], core.r[3]];
    match function {
        Function::Reset if core.id == 0 => Outcome::Reset,
        Function::Reset | Function::WaitForVector => wait_for_vector(core, chip, launch),
        Function::Lookup => {
            core.r[0] = lookup(chip, r0, r1);
            Outcome::Return(40)
        }
        Function::Dead => {
            core.sleep = Sleep::Reset;
            Outcome::Continue
        }
        // section 2.8.3.1.1: averages over all inputs
        Function::Popcount => answer(core, r0.count_ones(), 20),
        Function::Reverse => answer(core, r0.reverse_bits(), 20),
        Function::LeadingZeros => answer(core, r0.leading_zeros(), 15),
        Function::TrailingZeros => answer(core, r0.trailing_zeros(), 14),
        Function::Memset => fill(core, chip, r0, r1 as u8, r2, 1),
        Function::MemsetWords => fill(core, chip, r0, r1 as u8, r2, 4),
        Function::Memcpy => copy(core, chip, r0, r1, r2),
        Function::MemcpyWords => copy(core, chip, r0, r1, r2),
        Function::UsbBoot => Outcome::UsbBoot,
        Function::ConnectFlash | Function::ExitXip => {
            let nanos = chip.timeline.nanos(core.cycles);
            chip.ssi.force_select(None, &mut chip.flash, nanos);
            chip.ssi.set_up_for_commands();
            chip.update_flash_mapped();
            Outcome::Return(if *function == Function::ExitXip {
                3_000
            } else {
                200
            })
        }
        Function::RangeErase => erase(core, chip, r0, r1, r2, r3),
        Function::RangeProgram => program(core, chip, r0, r1, r2),
        Function::FlushCache => {
            chip.cache.flush();
            let nanos = chip.timeline.nanos(core.cycles);
            chip.ssi.force_select(None, &mut chip.flash, nanos);
            Outcome::Return(1_100)
        }
        Function::EnterXip => {
            chip.ssi.set_up_for_reads();
            chip.update_flash_mapped();
            Outcome::Return(100)
        }
        Function::EnableClocks => Outcome::Return(10),
        Function::Trampoline => {
            core.r[14] = address(Function::TrampolineEnd) | 1;
            core.pc = core.r[7] & !1;
            Outcome::Continue
        }
        Function::TrampolineEnd => {
            core.sleep = Sleep::Reset;
            Outcome::Continue
        }
    }
}

fn answer(core: &mut Core, value: u32, cycles: u64) -> Outcome {
    core.r[0] = value;
    Outcome::Return(cycles)
}

/// The code that looks a table up: pairs of a code and a pointer, to a zero.
fn lookup(chip: &Chip, table: u32, code: u32) -> u32 {
    let half = |at: u32| {
        chip.peek(at)
            .zip(chip.peek(at + 1))
            .map_or(0, |(low, high)| u32::from(u16::from_le_bytes([low, high])))
    };
    let mut at = table;
    loop {
        match half(at) {
            0 => return 0,
            found if found == code & 0xffff => return half(at + 2),
            _ => at = at.wrapping_add(4),
        }
        if at >= 0x4000 {
            return 0;
        }
    }
}

/// Sets memory, as far as it is RAM; what is not faults as the store of the real code would.
fn fill(core: &mut Core, chip: &mut Chip, to: u32, value: u8, length: u32, unit: u32) -> Outcome {
    for i in 0..length {
        match chip.ram.store8(to.wrapping_add(i), value.into()) {
            Some(offset) => chip.code.ram_written(offset),
            None => {
                core.fault(
                    chip,
                    Fault::Bus {
                        address: to.wrapping_add(i),
                    },
                );
                return Outcome::Continue;
            }
        }
    }
    // words in bursts of sixteen bytes, else bytes
    let aligned = unit == 4 || to & 3 == 0;
    Outcome::Return(20 + u64::from(if aligned { length / 2 } else { length * 4 }))
}

fn copy(core: &mut Core, chip: &mut Chip, to: u32, from: u32, length: u32) -> Outcome {
    let mut cycles = 20;
    for i in 0..length {
        let source = from.wrapping_add(i);
        // flash that is read counts as any other read of it
        if source >> 28 == 1 && (i == 0 || source & 7 == 0) {
            chip.read_flash(source & !3, &mut cycles);
        }
        let stored = chip
            .peek(source)
            .and_then(|byte| chip.ram.store8(to.wrapping_add(i), byte.into()));
        match stored {
            Some(offset) => chip.code.ram_written(offset),
            None => {
                let address = if chip.peek(source).is_some() {
                    to.wrapping_add(i)
                } else {
                    source
                };
                core.fault(chip, Fault::Bus { address });
                return Outcome::Continue;
            }
        }
    }
    let aligned = (to | from) & 3 == 0;
    Outcome::Return(cycles + u64::from(if aligned { length * 3 / 4 } else { length * 7 }))
}

fn flash_cycles(chip: &Chip, nanos: u64) -> u64 {
    (u128::from(nanos) * u128::from(chip.timeline.hz()) / 1_000_000_000) as u64
}

/// flash_range_erase(address, count, block size, block command): sectors, and blocks where one fits.
fn erase(core: &mut Core, chip: &mut Chip, start: u32, count: u32, block: u32, _command: u32) -> Outcome {
    let mut nanos = 0;
    let mut at = start & !(SECTOR - 1);
    let end = start.saturating_add(count).min(chip.flash.size());
    while at < end && !chip.flash.is_interrupted() {
        let size = match block {
            0x8000 | 0x1_0000 if at & (block - 1) == 0 && end - at >= block => block,
            _ => SECTOR,
        };
        nanos += chip.flash.erase(at, size);
        chip.flash_changed();
        at += size;
    }
    core.r[0] = 0;
    Outcome::Return(flash_cycles(chip, nanos) + 100)
}

/// flash_range_program(address, data, count): whole pages.
fn program(core: &mut Core, chip: &mut Chip, start: u32, data: u32, count: u32) -> Outcome {
    let mut nanos = 0;
    for page in 0..count.div_ceil(256) {
        if chip.flash.is_interrupted() {
            break;
        }
        let bytes: Vec<u8> = (0..256)
            .map(|i| chip.peek(data.wrapping_add(page * 256 + i)).unwrap_or(0xff))
            .collect();
        nanos += chip.flash.program(start + page * 256, &bytes);
        chip.flash_changed();
    }
    core.r[0] = 0;
    // a byte is two writes and a read of the SSI, and the wire at a sixth of the clock
    Outcome::Return(flash_cycles(chip, nanos) + u64::from(count) * 50)
}

/// Core 1 waits for the words 0, 0, 1, vector table, stack, entry, and answers each (section 2.8.2).
fn wait_for_vector(core: &mut Core, chip: &mut Chip, launch: &mut Launch) -> Outcome {
    core.pc = address(Function::WaitForVector);
    core.cycles += 20;
    chip.interrupts_dirty = true;
    if launch.step == 0 {
        chip.sio.empty_inbox(core.id);
        if !chip.sio.send(core.id, 0) {
            core.sleep = Sleep::Event;
            return Outcome::Continue;
        }
        core.sent_event = true;
        launch.step = 1;
    }
    let Some(word) = chip.sio.receive(core.id) else {
        core.event = false;
        core.sleep = Sleep::Event;
        return Outcome::Continue;
    };
    if word == 0 || launch.step == 1 && word != 1 {
        launch.step = 0;
        return Outcome::Continue;
    }
    chip.sio.send(core.id, word);
    core.sent_event = true;
    match launch.step {
        2 => launch.vtor = word,
        3 => launch.sp = word,
        4 => {
            let Launch { vtor, sp, .. } = std::mem::take(launch);
            core.vtor = vtor;
            core.start(sp, word);
            core.r[14] = address(Function::Dead) | 1;
            return Outcome::Continue;
        }
        _ => {}
    }
    launch.step += 1;
    Outcome::Continue
}

/// Where core 1 comes out of reset.
pub(crate) fn core_1_entry() -> u32 {
    address(Function::WaitForVector)
}
