//! The same code here and on `rp2040-emu`, another emulator of the chip: results, cycles, and two cores at once.
//!
//! Where the two count differently, the manual decides, and the table says so.

mod common;

use common::thumb::{CODE, DATA, DATA_SIZE, program};
use picolet_emulator::{Board, Config, Image, Stop, Time};
use rp2040_emu::{Emulator, EmulatorBuilder};

/// A board of ours with a program in RAM, about to run it.
fn ours(program: &[u8]) -> Board {
    let mut board = Board::new(Config::default());
    // Theirs begins without noise.
    board.write_memory(DATA, &[0; DATA_SIZE]).expect("RAM");
    board
        .load(&Image::from_bytes(CODE, program).expect("RAM"))
        .expect("it fits");
    board.power_on();
    board.set_debugged(true);
    board
}

/// One of theirs, which steps by single instructions.
fn theirs(program: &[u8]) -> Emulator {
    let mut emulator = EmulatorBuilder::new(rp2040_emu::Config::default())
        .step_quantum(1)
        .build()
        .expect("one thread always works");
    emulator.reset();
    emulator.load_image(CODE, program);
    let word = |at: usize| u32::from_le_bytes(program[at..at + 4].try_into().expect("four bytes"));
    let registers = &mut emulator.core_mut(0).regs;
    (registers.msp, registers.r[13]) = (word(0), word(0));
    registers.r[14] = u32::MAX;
    registers.set_pc(word(4) & !1);
    emulator
}

/// The address of the first BKPT of a program.
fn end_of(program: &[u8]) -> u32 {
    let halves = program.as_chunks::<2>().0;
    let at = halves.iter().skip(4).position(|half| *half == [0xab, 0xbe]);
    CODE + 2 * (4 + at.expect("a breakpoint") as u32)
}

/// Cycles until the breakpoint, here.
fn cycles_here(program: &[u8]) -> u64 {
    let empty = [&program[..8], &[0xab, 0xbe, 0, 0]].concat();
    let [whole, boot] = [program, &empty].map(|program| {
        let mut board = ours(program);
        assert_eq!(
            board.run_until(Time::from_millis(60_000)),
            Stop::Breakpoint { core: 0 }
        );
        board.figures().cycles
    });
    whole - boot
}

/// Cycles until the breakpoint, there, and by how many the manual has more or fewer of them for the same instructions.
fn cycles_there(emulator: &mut Emulator, program: &[u8]) -> (u64, i64) {
    let stop = end_of(program);
    let mut difference = 0;
    loop {
        let pc = emulator.core(0).regs.pc();
        if pc == stop {
            return (emulator.core(0).cycles(), difference);
        }
        let half = |address: u32| emulator.peek(address & !3) >> (8 * (address & 2)) & 0xffff;
        let (first, second) = (half(pc), half(pc + 2));
        emulator.step().expect("it runs");
        let jumped = emulator.core(0).regs.pc() != pc + 2;
        difference += match first >> 11 {
            // the pipeline of the Cortex-M0, which is a stage longer: taken branches, B, BX and BL
            0b11010 | 0b11011 if jumped => -1,
            0b11100 => -1,
            0b01000 if first >> 8 == 0x47 => -1,
            0b11110 if second >> 14 == 3 => -1,
            // barriers, and MRS and MSR
            0b11110 if first >> 4 == 0xf3b => 2,
            0b11110 => 1,
            _ => 0,
        };
    }
}

#[test]
fn random_programs_end_the_same_after_as_many_cycles() {
    for seed in 11..=14 {
        let program = program(seed, 400);
        let mut board = ours(&program);
        assert_eq!(
            board.run_until(Time::from_millis(60_000)),
            Stop::Breakpoint { core: 0 }
        );
        let mut emulator = theirs(&program);
        let (there, difference) = cycles_there(&mut emulator, &program);
        for (index, byte) in board
            .read_memory(DATA, DATA_SIZE)
            .expect("RAM")
            .into_iter()
            .enumerate()
        {
            let address = DATA + index as u32;
            let word = emulator.peek(address & !3);
            assert_eq!(
                (word >> (8 * (address & 3))) as u8,
                byte,
                "seed {seed}: {address:#x}"
            );
        }
        assert_eq!(
            cycles_here(&program),
            there.strict_add_signed(difference),
            "seed {seed}"
        );
    }
}

/// Cycles of a row of the same instruction, each, here and there.
fn cycles(code: &[u16]) -> [u64; 2] {
    const TIMES: usize = 40;
    // R0 to R7 = 0x20000800, by shifts
    let prologue = [
        0x2020, 0x0600, 0x2108, 0x0209, 0x1840, 0x0001, 0x0002, 0x0003, 0x0004, 0x0005, 0x0006, 0x0007,
    ];
    let [with, without] = [TIMES, 0].map(|times| {
        let row = code.repeat(times);
        let halves = [&prologue[..], &row, &[0xbeab, 0xe7fe]].concat();
        let mut bytes = [0x2000_1000, CODE + 9].map(u32::to_le_bytes).concat();
        bytes.extend(halves.into_iter().flat_map(u16::to_le_bytes));
        [cycles_here(&bytes), cycles_there(&mut theirs(&bytes), &bytes).0]
    });
    [0, 1].map(|which| {
        let all = with[which] - without[which];
        assert_eq!(all % TIMES as u64, 0);
        all / TIMES as u64
    })
}

#[test]
fn instructions_take_as_many_cycles() {
    // Cortex-M0+ Technical Reference Manual, table 3-1; and what the other counts
    for (name, code, manual, there) in [
        ("adds", &[0x1840][..], 1, 1),
        ("muls", &[0x434a], 1, 1),
        ("lsls by a register", &[0x408a], 1, 1),
        ("mov of a high register", &[0x4680], 1, 1),
        ("b", &[0xe7ff], 2, 3),
        ("bne, taken", &[0xd1ff], 2, 3),
        ("beq, not taken", &[0xd0ff], 1, 1),
        ("bl", &[0xf000, 0xf800], 3, 4),
        ("ldr", &[0x6808], 2, 2),
        ("ldrb", &[0x780a], 2, 2),
        ("str", &[0x6008], 2, 2),
        ("ldr of a literal", &[0x4a01], 2, 2),
        ("push of 3", &[0xb407], 4, 4),
        ("pop of 3", &[0xbc1c], 4, 4),
        ("stmia of 4", &[0xc1f0], 5, 5),
        ("ldmia of 4", &[0xc9f0], 5, 5),
        ("nop", &[0xbf00], 1, 1),
        ("mrs", &[0xf3ef, 0x8200], 3, 2),
        ("msr", &[0xf380, 0x8800], 3, 2),
        ("dmb", &[0xf3bf, 0x8f5f], 3, 1),
        ("cpsid", &[0xb672], 1, 1),
        ("uxtb", &[0xb2ca], 1, 1),
        ("rev", &[0xba0a], 1, 1),
    ] {
        assert_eq!(cycles(code), [manual, there], "{name}");
    }
}

#[test]
fn both_cores_say_the_same() {
    let expected = common::log_until(&mut common::board("cores"), "done", 200);
    let board = common::board("cores");
    let mut emulator = EmulatorBuilder::new(rp2040_emu::Config::default())
        .build()
        .expect("one thread");
    emulator.load_flash(board.flash());
    emulator.reset();
    emulator.direct_boot_from_flash(0x100);
    let mut log = Vec::new();
    for _ in 0..200 {
        emulator.run(125_000).expect("it runs");
        log.extend(emulator.drain_uart0_tx_log());
    }
    assert_eq!(String::from_utf8_lossy(&log), expected);
}
