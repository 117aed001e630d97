//! Each case of wrapping, side-set, automatic pushing and pulling, flags and stalls (RP2040 datasheet, sections 3.4 and
//! 3.5), on programs of one or two instructions.

use super::{Bench, Program};

// ---- an assembler: section 3.4 has the fields ----

const fn jmp(condition: u16, to: u16) -> u16 {
    condition << 5 | to
}
const fn wait(level: u16, source: u16, index: u16) -> u16 {
    1 << 13 | level << 7 | source << 5 | index
}
const fn input(source: u16, bits: u16) -> u16 {
    2 << 13 | source << 5 | bits & 31
}
const fn out(to: u16, bits: u16) -> u16 {
    3 << 13 | to << 5 | bits & 31
}
const fn push(if_full: u16, block: u16) -> u16 {
    4 << 13 | if_full << 6 | block << 5
}
const fn pull(if_empty: u16, block: u16) -> u16 {
    4 << 13 | 1 << 7 | if_empty << 6 | block << 5
}
const fn mov(to: u16, source: u16) -> u16 {
    5 << 13 | to << 5 | source
}
const fn irq(clear: u16, wait: u16, index: u16) -> u16 {
    6 << 13 | clear << 6 | wait << 5 | index
}
const fn set(to: u16, value: u16) -> u16 {
    7 << 13 | to << 5 | value
}
/// The same with a delay, or with side-set: five bits that the two share.
const fn with(field: u16, instruction: u16) -> u16 {
    instruction | field << 8
}

const PINS: u16 = 0;
const X: u16 = 1;
const Y: u16 = 2;
const NULL: u16 = 3;
const DIRECTIONS: u16 = 4;
const EXEC: u16 = 7;
const ISR: u16 = 6;
const OSR: u16 = 7;
const NOP: u16 = mov(Y, Y);

// ---- registers ----

const CONTROL: u32 = 0x00;
const FIFO_STATUS: u32 = 0x04;
const DEBUG: u32 = 0x08;
const TX: u32 = 0x10;
const RX: u32 = 0x20;
const FLAGS: u32 = 0x30;
const FORCE_FLAGS: u32 = 0x34;
const DRIVEN_DIRECTIONS: u32 = 0x40;
const EXEC_CONTROL: u32 = 0xcc;
const SHIFT_CONTROL: u32 = 0xd0;
const PLACE: u32 = 0xd4;
const INSTRUCTION: u32 = 0xd8;
const PIN_CONTROL: u32 = 0xdc;
/// From the registers of one machine to those of the next.
const MACHINE: u32 = 0x18;
const RX_STALL: u32 = 1;
const TX_STALL: u32 = 1 << 24;

/// PINCTRL: SET drives five pins from 0.
const SET_5: u32 = 5 << 26;
/// SHIFTCTRL: autopush and autopull, shifting to the right or to the left.
const AUTOPUSH: u32 = 1 << 16;
const AUTOPULL: u32 = 1 << 17;
const IN_RIGHT: u32 = 1 << 18;
const OUT_RIGHT: u32 = 1 << 19;
const fn push_at(bits: u32) -> u32 {
    bits << 20
}
const fn pull_at(bits: u32) -> u32 {
    bits << 25
}

/// A block with this code, which wraps from `source` to `target`, and SET on five pins; not started.
fn wrapped(code: &[u16], target: u32, source: u32) -> Bench {
    let mut bench = Bench::new(&Program {
        code,
        wrap: (target, source),
        optional_side_set: false,
    });
    bench.write(PIN_CONTROL, SET_5);
    bench
}

/// The same, wrapped from its end to its start.
fn bench(code: &[u16]) -> Bench {
    wrapped(code, 0, code.len() as u32 - 1)
}

/// Runs so many cycles from the start.
fn run(mut bench: Bench, cycles: u64) -> Bench {
    bench.start();
    bench.run_until(cycles);
    bench
}

fn injected(bench: &mut Bench, instruction: u16) {
    bench.write(INSTRUCTION, instruction.into());
}

/// What X or another source holds, by way of the ISR and the FIFO.
fn value(bench: &mut Bench, source: u16) -> u32 {
    injected(bench, mov(ISR, source));
    injected(bench, push(0, 0));
    bench.read(RX)
}

// ---- wrapping: section 3.5.2 ----

#[test]
fn wrapping_takes_no_cycle_and_may_lead_to_the_middle() {
    let bench = run(
        wrapped(&[set(PINS, 1), set(PINS, 2), set(PINS, 3), set(PINS, 4)], 1, 2),
        6,
    );
    assert_eq!(bench.waveform, [(1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (6, 2)]);
}

#[test]
fn a_jump_at_the_end_wraps_only_if_it_is_not_taken() {
    // X goes 1, 0, and is not zero any more
    let code = &[set(PINS, 1), set(PINS, 2), jmp(2, 1), set(PINS, 4)];
    let mut bench = wrapped(code, 3, 2);
    injected(&mut bench, set(X, 1));
    bench.start();
    bench.run_until(6);
    assert_eq!(bench.waveform, [(1, 1), (2, 2), (6, 4)]);
    assert_eq!(
        bench.read(PLACE),
        4,
        "what is run at the target goes on behind it"
    );
}

#[test]
fn without_a_wrap_the_end_of_memory_is_followed_by_its_start() {
    let mut bench = wrapped(&[set(PINS, 1), jmp(0, 30)], 5, 6);
    bench.write(0x48 + 4 * 30, NOP.into());
    bench.write(0x48 + 4 * 31, set(PINS, 2).into());
    let bench = run(bench, 5);
    assert_eq!(bench.waveform, [(1, 1), (4, 2), (5, 1)]);
}

#[test]
fn an_instruction_from_outside_moves_nothing_unless_it_jumps() {
    let mut bench = run(bench(&[set(PINS, 1), jmp(0, 1)]), 4);
    assert_eq!(bench.read(PLACE), 1);
    injected(&mut bench, set(PINS, 9));
    assert_eq!((bench.read(PLACE), bench.waveform.last()), (1, Some(&(4, 9))));
    injected(&mut bench, jmp(0, 0));
    assert_eq!(bench.read(PLACE), 0);
    bench.run_until(5);
    assert_eq!(bench.waveform.last(), Some(&(5, 1)));
}

#[test]
fn out_and_mov_can_name_the_next_instruction() {
    // OUT EXEC takes the instruction from the FIFO, without its own delay and with that of the other
    let mut bench = bench(&[with(7, out(EXEC, 16)), set(PINS, 2)]);
    bench.write(SHIFT_CONTROL, AUTOPULL | OUT_RIGHT);
    bench.write(TX, u32::from(with(3, set(PINS, 1))));
    let bench = run(bench, 8);
    let times: Vec<_> = bench
        .waveform
        .iter()
        .map(|change| (change.0 - bench.waveform[0].0, change.1))
        .collect();
    assert_eq!(times, [(0, 1), (4, 2)]);
}

// ---- side-set and delay: section 3.5.1 ----

#[test]
fn each_width_of_side_set_leaves_the_rest_for_delays() {
    for width in 0..=5_u32 {
        let delay_bits = 5 - width;
        let delay = (1_u16 << delay_bits) - 1;
        let side = if width == 0 {
            0
        } else {
            ((1_u16 << width) - 1) << delay_bits
        };
        let code = &[with(side | delay, NOP), with(0, set(PINS, 1))];
        let mut bench = Bench::new(&Program {
            code,
            wrap: (0, 1),
            optional_side_set: false,
        });
        // side-set from pin 8, SET on pin 0
        bench.write(PIN_CONTROL, width << 29 | 8 << 10 | 1 << 26);
        let bench = run(bench, 40);
        let high = if width == 0 { 0 } else { ((1 << width) - 1) << 8 };
        let second = 2 + u64::from(delay);
        let mut expected = vec![(1, high), (second, 1)];
        if width == 0 {
            expected.remove(0);
        }
        assert_eq!(bench.waveform[..expected.len()], expected[..], "{width} bits");
    }
}

#[test]
fn optional_side_set_costs_a_bit_and_keeps_its_pins_otherwise() {
    let mut bench = Bench::new(&Program {
        // side 1, then nothing with a delay of 7, then side 0
        code: &[with(0b11_000, NOP), with(0b00_111, NOP), with(0b10_000, NOP)],
        wrap: (0, 2),
        optional_side_set: true,
    });
    bench.write(PIN_CONTROL, 2 << 29 | 4 << 10);
    let bench = run(bench, 12);
    assert_eq!(bench.waveform, [(1, 1 << 4), (10, 0), (11, 1 << 4)]);
}

#[test]
fn side_set_can_be_of_directions() {
    let mut bench = Bench::new(&Program {
        code: &[with(0b10_000, NOP)],
        wrap: (0, 0),
        optional_side_set: false,
    });
    bench.write(EXEC_CONTROL, 1 << 29);
    bench.write(PIN_CONTROL, 2 << 29 | 31 << 10);
    let mut bench = run(bench, 2);
    // two pins from 31 on: the second is pin 0
    assert_eq!(bench.read(DRIVEN_DIRECTIONS), 1, "the upper of the two");
    assert_eq!(bench.read(0x3c), 0, "levels are left alone");
}

#[test]
fn side_set_wins_over_set_and_out_and_does_not_wait_for_a_stall() {
    let mut bench = Bench::new(&Program {
        code: &[with(0b01_000, set(PINS, 0b111)), with(0b10_000, wait(1, 1, 0))],
        wrap: (0, 1),
        optional_side_set: false,
    });
    bench.write(PIN_CONTROL, 2 << 29 | 1 << 10 | 3 << 26);
    let bench = run(bench, 20);
    // pins 1 and 2: 01 instead of the ones that are set, and 10 although WAIT never ends
    assert_eq!(bench.waveform, [(1, 0b011), (2, 0b101)]);
}

#[test]
fn of_two_machines_the_higher_drives() {
    let mut bench = bench(&[set(PINS, 1), set(PINS, 2)]);
    bench.write(EXEC_CONTROL, 0);
    bench.write(EXEC_CONTROL + MACHINE, 1 << 12 | 1 << 7);
    bench.write(PIN_CONTROL + MACHINE, SET_5);
    injected(&mut bench, jmp(0, 0));
    bench.write(INSTRUCTION + MACHINE, jmp(0, 1).into());
    bench.write(CONTROL, 3);
    bench.waveform.clear();
    bench.run_until(5);
    assert_eq!(bench.read(0x3c), 2);
}

// ---- shifting in: sections 3.5.3 and 3.5.4.1 ----

#[test]
fn autopush_counts_to_its_threshold_in_both_directions() {
    for (direction, threshold, bits, expected) in [
        (0, 8, 4, 0x55),
        (IN_RIGHT, 8, 4, 0x5500_0000),
        (0, 0, 8, 0x0505_0505),
        (IN_RIGHT, 0, 8, 0x0505_0505),
        (0, 1, 1, 1),
        // what is shifted beyond the threshold is pushed too
        (0, 5, 4, 0x55),
        (0, 31, 32, 5),
    ] {
        let code = &[input(X, bits)];
        let mut bench = bench(code);
        bench.write(SHIFT_CONTROL, AUTOPUSH | direction | push_at(threshold));
        injected(&mut bench, set(X, 5));
        let full: u64 = if threshold == 0 { 32 } else { threshold.into() };
        let shifts = full.div_ceil(bits.into());
        bench.start();
        bench.run_until(shifts - 1);
        assert_eq!(
            bench.read(FIFO_STATUS) >> 8 & 1,
            1,
            "nothing after {} of {shifts}",
            shifts - 1
        );
        bench.run_until(shifts);
        assert_eq!(bench.read(RX), expected, "{bits} of {threshold}");
    }
}

#[test]
fn every_source_can_be_shifted_in() {
    for (source, expected) in [(PINS, 0b1010), (X, 7), (Y, 9), (NULL, 0)] {
        let code = &[input(source, 32), jmp(0, 1)];
        let mut bench = bench(code);
        bench.write(SHIFT_CONTROL, AUTOPUSH);
        bench.write(PIN_CONTROL, 4 << 15);
        bench.set_input(0b1010 << 4);
        injected(&mut bench, set(X, 7));
        injected(&mut bench, set(Y, 9));
        let mut bench = run(bench, 3);
        assert_eq!(bench.read(RX), expected);
    }
}

#[test]
fn push_blocks_drops_or_does_nothing() {
    // without a reader: the fifth PUSH waits, and says so
    let mut blocking = run(bench(&[push(0, 1), set(PINS, 1), set(PINS, 0)]), 40);
    assert_eq!(blocking.waveform.len(), 8);
    assert_eq!(blocking.read(DEBUG), RX_STALL);
    blocking.read(RX);
    blocking.run_until(50);
    assert_eq!(blocking.waveform.len(), 10, "one more after one was taken");
    // PUSH NOBLOCK goes on, and the word is gone
    let mut dropping = bench(&[input(X, 32), push(0, 0), jmp(2, 0), jmp(0, 3)]);
    injected(&mut dropping, set(X, 6));
    let mut dropping = run(dropping, 40);
    assert_eq!(dropping.read(DEBUG), RX_STALL, "data was lost");
    let kept: Vec<u32> = (0..4).map(|_| dropping.read(RX)).collect();
    assert_eq!(kept, [6, 5, 4, 3]);
    assert_eq!(dropping.read(PLACE), 3);
    // PUSH IFFULL below the threshold does nothing, and keeps the count
    let mut partial = bench(&[input(X, 8), push(1, 1)]);
    partial.write(SHIFT_CONTROL, push_at(24));
    injected(&mut partial, set(X, 3));
    partial.start();
    partial.run_until(5);
    assert_eq!(partial.read(FIFO_STATUS) >> 8 & 1, 1);
    partial.run_until(6);
    assert_eq!(partial.read(RX), 0x03_0303);
}

// ---- shifting out: section 3.5.4.2 ----

#[test]
fn autopull_stalls_on_an_empty_fifo_and_goes_on_a_cycle_after_it_is_filled() {
    let mut bench = bench(&[out(PINS, 8)]);
    bench.write(PIN_CONTROL, 8 << 20);
    bench.write(SHIFT_CONTROL, AUTOPULL | OUT_RIGHT | pull_at(16));
    bench.start();
    bench.run_until(10);
    assert!(bench.waveform.is_empty());
    assert_eq!(bench.read(DEBUG), TX_STALL);
    bench.write(DEBUG, TX_STALL);
    bench.write(TX, 0x00ff_2211);
    bench.run_until(20);
    // 16 bits, and the rest is never seen: refilled at the threshold
    let levels: Vec<u32> = bench.waveform.iter().map(|change| change.1).collect();
    assert_eq!(levels, [0x11, 0x22]);
    assert_eq!(bench.waveform[1].0 - bench.waveform[0].0, 1);
    assert_eq!(bench.read(DEBUG), TX_STALL, "empty again");
    // two words in the FIFO follow each other without a gap
    bench.write(TX, 0x2211);
    bench.write(TX, 0x4433);
    bench.run_until(40);
    let times: Vec<u64> = bench.waveform[2..].iter().map(|change| change.0).collect();
    assert_eq!(
        times.windows(2).map(|two| two[1] - two[0]).collect::<Vec<_>>(),
        [1, 1, 1]
    );
}

#[test]
fn shifting_to_the_left_starts_with_the_upper_bits() {
    let mut bench = bench(&[out(PINS, 4)]);
    bench.write(PIN_CONTROL, 4 << 20);
    bench.write(SHIFT_CONTROL, AUTOPULL);
    bench.write(TX, 0x1234_5678);
    let bench = run(bench, 20);
    let levels: Vec<u32> = bench.waveform.iter().map(|change| change.1).collect();
    assert_eq!(levels, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn pull_blocks_takes_x_or_does_nothing() {
    let mut blocking = run(bench(&[pull(0, 1), mov(PINS, OSR)]), 10);
    assert_eq!(blocking.read(DEBUG), TX_STALL);
    blocking.write(TX, 1);
    blocking.run_until(20);
    assert_eq!(blocking.read(PLACE), 0, "waits for the next");
    // PULL NOBLOCK on an empty FIFO copies X, which is no stall
    let mut copying = bench(&[pull(0, 0), jmp(0, 1)]);
    injected(&mut copying, set(X, 21));
    let mut copying = run(copying, 3);
    assert_eq!(copying.read(DEBUG), 0);
    assert_eq!(value(&mut copying, OSR), 21);
    // PULL IFEMPTY with bits left does nothing
    let mut partial = bench(&[pull(1, 1), out(NULL, 8), jmp(0, 2)]);
    partial.write(SHIFT_CONTROL, OUT_RIGHT | pull_at(16));
    partial.write(TX, 0xaabb_ccdd);
    partial.write(TX, 0x1122_3344);
    injected(&mut partial, pull(0, 1));
    let mut partial = run(partial, 5);
    assert_eq!(value(&mut partial, OSR), 0x00aa_bbcc);
    // with autopull a PULL is a fence: nothing while the OSR is full
    let mut fence = bench(&[pull(0, 1), jmp(0, 1)]);
    fence.write(SHIFT_CONTROL, AUTOPULL | OUT_RIGHT);
    fence.write(TX, 5);
    fence.write(TX, 6);
    let mut fence = run(fence, 5);
    assert_eq!(value(&mut fence, OSR), 5);
    assert_eq!(
        fence.read(FIFO_STATUS) >> 24 & 1,
        0,
        "the other word is still there"
    );
}

#[test]
fn a_jump_tells_whether_the_osr_is_empty() {
    // out null 8; jmp !osre 0; set pins 1
    let mut bench = bench(&[out(NULL, 8), jmp(7, 0), set(PINS, 1), jmp(0, 3)]);
    bench.write(SHIFT_CONTROL, OUT_RIGHT | pull_at(24));
    bench.write(TX, 0);
    injected(&mut bench, pull(0, 1));
    let bench = run(bench, 10);
    assert_eq!(bench.waveform, [(7, 1)], "three times round");
}

#[test]
fn joined_fifos_are_twice_as_deep_in_one_direction() {
    let mut bench = bench(&[jmp(0, 0)]);
    for (join, tx, rx) in [(0, 4, 4), (1, 8, 0), (2, 0, 8)] {
        bench.write(SHIFT_CONTROL, join << 30);
        let full = |bench: &mut Bench| bench.read(FIFO_STATUS) >> 16 & 1 != 0;
        let mut count = 0;
        while !full(&mut bench) {
            bench.write(TX, count);
            count += 1;
        }
        assert_eq!(count, tx);
        let mut count = 0;
        while bench.read(FIFO_STATUS) & 1 == 0 {
            injected(&mut bench, push(0, 0));
            count += 1;
        }
        assert_eq!(count, rx);
    }
}

// ---- flags: sections 3.4.3 and 3.4.9 ----

#[test]
fn flags_are_set_cleared_and_counted_from_the_machine() {
    for (machine, index, flag) in [
        (0, 0x03, 3),
        (1, 0x03, 3),
        (0, 0x10, 0),
        (1, 0x10, 1),
        (3, 0x12, 1),
        // bit 2 is not counted with
        (3, 0x16, 5),
        (2, 0x07, 7),
    ] {
        let mut bench = bench(&[NOP]);
        bench.write(INSTRUCTION + MACHINE * machine, irq(0, 0, index).into());
        assert_eq!(bench.read(FLAGS), 1 << flag, "machine {machine}, {index:#x}");
        bench.write(INSTRUCTION + MACHINE * machine, irq(1, 0, index).into());
        assert_eq!(bench.read(FLAGS), 0);
    }
}

#[test]
fn only_the_first_four_flags_interrupt_where_they_are_enabled() {
    let mut bench = bench(&[NOP]);
    bench.write(0x12c, 0xf00);
    for flag in 0..8 {
        bench.write(FORCE_FLAGS, 1 << flag);
        assert_eq!(bench.pio.interrupt(0), flag < 4, "flag {flag}");
        assert!(!bench.pio.interrupt(1));
        bench.write(FLAGS, 1 << flag);
        assert!(!bench.pio.interrupt(0));
    }
    bench.write(0x13c, 1 << 8);
    assert!(bench.pio.interrupt(1), "forced");
    assert_eq!(bench.read(0x140), 1 << 8);
    bench.write(0x13c, 0);
    // FIFOs interrupt too
    bench.write(0x138, 1);
    assert!(!bench.pio.interrupt(1));
    injected(&mut bench, push(0, 0));
    assert!(bench.pio.interrupt(1));
}

#[test]
fn one_machine_waits_for_another() {
    // machine 0: irq wait 4, pins 1; machine 1, some cycles later: wait 1 irq 4, pins 2
    let mut bench = wrapped(
        &[
            irq(0, 1, 4),
            set(PINS, 1),
            jmp(0, 2),
            with(9, NOP),
            wait(1, 2, 4),
            set(PINS, 2),
            jmp(0, 6),
        ],
        0,
        31,
    );
    bench.write(EXEC_CONTROL + MACHINE, 31 << 12);
    bench.write(PIN_CONTROL + MACHINE, SET_5 | 5 << 5);
    bench.write(INSTRUCTION + MACHINE, jmp(0, 3).into());
    bench.write(CONTROL, 3);
    bench.waveform.clear();
    bench.run_until(30);
    // WAIT at cycle 11 takes the flag; both go on in the next
    assert_eq!(bench.waveform, [(12, 1), (12, 1 | 2 << 5)]);
    assert_eq!(bench.read(FLAGS), 0);
}

#[test]
fn waiting_for_a_flag_to_go_leaves_it_alone() {
    let mut bench = bench(&[wait(0, 2, 5), set(PINS, 1), jmp(0, 2)]);
    bench.write(FORCE_FLAGS, 1 << 5 | 1 << 6);
    bench.start();
    bench.run_until(9);
    assert!(bench.waveform.is_empty());
    bench.write(FLAGS, 1 << 5);
    bench.run_until(20);
    assert_eq!(bench.waveform.len(), 1);
    assert_eq!(bench.read(FLAGS), 1 << 6);
}

// ---- stalls ----

#[test]
fn a_delay_begins_when_the_stall_ends() {
    for (stalling, end) in [
        (wait(1, 0, 3), 0),
        (wait(1, 1, 3), 0),
        (pull(0, 1), 1),
        (wait(1, 2, 0), 2),
        (irq(0, 1, 0), 3),
    ] {
        let code = &[with(5, stalling), set(PINS, 1), jmp(0, 2)];
        let mut bench = bench(code);
        bench.start();
        bench.run_until(20);
        assert!(bench.waveform.is_empty(), "{stalling:#06x}");
        match end {
            0 => bench.set_input(1 << 3),
            1 => bench.write(TX, 0),
            2 => bench.write(FORCE_FLAGS, 1),
            _ => bench.write(FLAGS, 1),
        }
        bench.run_until(60);
        let at = bench.waveform[0].0;
        assert!((26..=29).contains(&at), "{stalling:#06x} goes on at {at}");
    }
}

#[test]
fn a_restart_ends_a_stall_and_forgets_what_was_half_done() {
    let mut bench = bench(&[irq(0, 1, 0), set(PINS, 1), jmp(0, 2)]);
    injected(&mut bench, input(X, 8));
    bench.start();
    bench.run_until(5);
    // SM_RESTART: the same instruction begins anew, and the ISR is empty
    bench.write(FLAGS, 1);
    bench.write(CONTROL, 0x10);
    assert_eq!(value(&mut bench, ISR), 0);
    assert_eq!(bench.read(PLACE), 0);
    bench.write(CONTROL, 1);
    bench.run_until(20);
    assert_eq!(bench.read(FLAGS), 1, "the flag is set again");
}

#[test]
fn set_out_and_mov_reach_their_places() {
    let mut bench = bench(&[NOP]);
    bench.write(PIN_CONTROL, SET_5 | 2 << 5 | 4 << 20);
    injected(&mut bench, set(DIRECTIONS, 0b10_101));
    assert_eq!(bench.read(DRIVEN_DIRECTIONS), 0b101_0100);
    injected(&mut bench, set(X, 0b1101));
    injected(&mut bench, mov(PINS, X));
    assert_eq!(bench.read(0x3c), 0b1101);
    // MOV inverted and reversed
    injected(&mut bench, mov(Y, 1 << 3 | X));
    assert_eq!(value(&mut bench, Y), !0b1101);
    injected(&mut bench, mov(Y, 2 << 3 | X));
    assert_eq!(value(&mut bench, Y), 0b1011 << 28);
    // MOV PC, and OUT PC
    injected(&mut bench, mov(5, X));
    assert_eq!(bench.read(PLACE), 0b1101);
    injected(&mut bench, mov(OSR, X));
    bench.write(SHIFT_CONTROL, OUT_RIGHT);
    injected(&mut bench, out(5, 3));
    assert_eq!(bench.read(PLACE), 0b101);
}

#[test]
fn the_status_source_tells_how_full_a_fifo_is() {
    for (select, level, filled, expected) in [(0, 2, 1, u32::MAX), (0, 2, 2, 0), (1, 1, 0, u32::MAX)] {
        let mut bench = bench(&[NOP]);
        bench.write(EXEC_CONTROL, 31 << 12 | select << 4 | level);
        for _ in 0..filled {
            bench.write(TX, 0);
        }
        injected(&mut bench, mov(X, 5));
        assert_eq!(value(&mut bench, X), expected);
    }
}
