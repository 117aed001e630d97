//! Every form of every instruction by a table, and the exception model case by case.

use super::exception::HARD_FAULT;
use super::{Access, Fault, Sleep};
use crate::cpu::NoObserver;
use crate::machine::{Machine, Stop};

const CODE: u32 = 0x2000_0100;
const STACK: u32 = 0x2000_4000;
const PROCESS_STACK: u32 = 0x2000_5000;
const VECTORS: u32 = 0x2000_0000;
/// Where the handler of an exception is put.
const fn handler(exception: u32) -> u32 {
    0x2000_0400 + 0x20 * exception
}
const NVIC_ENABLE: u32 = 0xe000_e100;
const NVIC_DISABLE: u32 = 0xe000_e180;
const NVIC_PEND: u32 = 0xe000_e200;
const NVIC_UNPEND: u32 = 0xe000_e280;
const NVIC_PRIORITY: u32 = 0xe000_e400;
const SYST_CONTROL: u32 = 0xe000_e010;
const SYST_RELOAD: u32 = 0xe000_e014;
const SYST_VALUE: u32 = 0xe000_e018;
const CONTROL_STATE: u32 = 0xe000_ed04;
const SYSTEM_CONTROL: u32 = 0xe000_ed10;
const HANDLER_PRIORITY_2: u32 = 0xe000_ed1c;
const HANDLER_PRIORITY_3: u32 = 0xe000_ed20;

const NOP: u16 = 0xbf00;
const BX_LR: u16 = 0x4770;
const UDF: u16 = 0xde00;
const SVC: u16 = 0xdf05;
const WFI: u16 = 0xbf30;
const WFE: u16 = 0xbf20;
const SEV: u16 = 0xbf40;

/// Core 0 about to run this code in RAM, with a vector table and handlers that return at once.
fn machine(code: &[u16]) -> Machine {
    let mut machine = Machine::new(0x1000, [0; 8], 1);
    put(&mut machine, CODE, code);
    for exception in 1..48 {
        machine
            .chip
            .store_word(VECTORS + 4 * exception, handler(exception) | 1);
        put(&mut machine, handler(exception), &[NOP, BX_LR]);
    }
    let core = &mut machine.cores[0];
    core.vtor = VECTORS;
    core.start(STACK, CODE);
    core.set_psp(PROCESS_STACK);
    for register in 0..13 {
        core.r[register] = 0xa0 + register as u32;
    }
    core.r[14] = 0x55;
    machine
}

fn put(machine: &mut Machine, address: u32, code: &[u16]) {
    for (i, half) in code.iter().enumerate() {
        for (j, byte) in half.to_le_bytes().into_iter().enumerate() {
            machine.chip.poke(address + 2 * i as u32 + j as u32, byte);
        }
    }
}

fn word(machine: &mut Machine, address: u32) -> u32 {
    machine.chip.load_word(address, &mut 0).expect("RAM")
}

/// Runs so many instructions.
fn step(machine: &mut Machine, instructions: u64) -> Stop {
    let target = machine.instructions() + instructions;
    machine.run(u64::MAX, target, true, &mut NoObserver)
}

fn write(machine: &mut Machine, address: u32, value: u32) {
    let Machine { cores, chip, .. } = machine;
    let now = cores[0].cycles;
    cores[0]
        .write_system(chip, address, value, now)
        .expect("privileged");
}

fn read(machine: &mut Machine, address: u32) -> u32 {
    let Machine { cores, chip, .. } = machine;
    let now = cores[0].cycles;
    cores[0].read_system(chip, address, now).expect("privileged")
}

/// What a line of the table can name: all of it before, or what is to be changed after.
#[derive(Debug, Clone, PartialEq)]
struct State {
    r: [u32; 15],
    pc: u32,
    psp: u32,
    flags: u32,
    primask: bool,
    control: u32,
    memory: Vec<(u32, u32)>,
}

impl State {
    fn of(machine: &mut Machine, addresses: &[u32]) -> Self {
        let memory = addresses.iter().map(|&at| (at, word(machine, at))).collect();
        let core = &machine.cores[0];
        Self {
            r: core.r[..15].try_into().expect("fifteen"),
            pc: core.pc,
            psp: core.psp(),
            flags: core.xpsr() & 0xf000_0000,
            primask: core.primask,
            control: core.control(),
            memory,
        }
    }

    fn apply(&mut self, text: &str) {
        self.flags = 0;
        for item in text.split_whitespace() {
            let Some((name, value)) = item.split_once('=') else {
                self.flags |= 1 << (31 - "NZCV".find(item).expect("a flag"));
                continue;
            };
            let value = u32::from_str_radix(value, 16).expect("hexadecimal");
            match name {
                "sp" => self.r[13] = value,
                "lr" => self.r[14] = value,
                "pc" => self.pc = value,
                "psp" => self.psp = value,
                "primask" => self.primask = value != 0,
                "control" => self.control = value,
                _ if name.starts_with('*') => {
                    let address = u32::from_str_radix(&name[1..], 16).expect("hexadecimal");
                    self.memory.retain(|(at, _)| *at != address);
                    self.memory.push((address, value));
                    self.memory.sort_unstable();
                }
                _ => {
                    let index = name.strip_prefix('r').and_then(|n| n.parse::<usize>().ok());
                    // registers are named in decimal, as they are written
                    self.r[index.expect("a register")] = value;
                }
            }
        }
    }
}

#[test]
fn every_form_of_every_instruction() {
    let (mut cases, mut wrong) = (0, Vec::new());
    for line in include_str!("instructions.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_name, code, before, after, cycles] = parts[..] else {
            panic!("not a case: {line}")
        };
        let code: Vec<u16> = code
            .split(' ')
            .map(|half| u16::from_str_radix(half, 16).expect("hexadecimal"))
            .collect();
        let mut machine = machine(&code);
        let mut addresses: Vec<u32> = format!("{before} {after}")
            .split_whitespace()
            .filter_map(|item| item.strip_prefix('*')?.split_once('='))
            .map(|(address, _)| u32::from_str_radix(address, 16).expect("hexadecimal"))
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let mut expected = State::of(&mut machine, &addresses);
        expected.apply(before);
        for &(address, value) in &expected.memory {
            machine.chip.store_word(address, value);
        }
        let core = &mut machine.cores[0];
        core.r[..15].copy_from_slice(&expected.r);
        core.set_flags(expected.flags);
        core.primask = expected.primask;
        expected.pc += 2 * code.len() as u32;
        expected.apply(after);
        let start = core.cycles;
        let stop = step(&mut machine, 1);
        let took = machine.cores[0].cycles - start;
        let found = State::of(&mut machine, &addresses);
        let one = machine.cores[0].instructions == 1 && stop == Stop::Reached;
        if !one || took.to_string() != cycles || found != expected {
            wrong.push(format!("{line}: {took} cycles, {found:x?}"));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 180, "{cases}");
}

#[test]
fn encodings_without_a_meaning_are_undefined() {
    for code in [
        &[UDF][..],
        &[0xb100], // CBZ of ARMv7-M
        &[0xbf08], // IT
        &[0xb650], // SETEND
        &[0xba80],
        &[0xe800, 0x0000],
        &[0xf7f0, 0xa000], // UDF.W
        &[0xf3af, 0x8000], // NOP.W of ARMv7-M
        &[0xfb90, 0xf0f1], // SDIV
    ] {
        let mut machine = machine(code);
        step(&mut machine, 1);
        let core = &machine.cores[0];
        assert_eq!(
            (core.ipsr, core.pc),
            (HARD_FAULT, handler(HARD_FAULT)),
            "{code:04x?}"
        );
        assert!(matches!(core.last_fault, Some((Fault::Undefined { .. }, CODE))));
    }
}

#[test]
fn a_fault_stacks_the_address_of_its_instruction() {
    // what R1 holds, the instruction, and what is wrong with it
    for (r1, code, fault) in [
        (0x2000_1001, 0x6808, Fault::Unaligned { address: 0x2000_1001 }),
        (0x2000_1002, 0x6008, Fault::Unaligned { address: 0x2000_1002 }),
        (0x2000_1001, 0x8808, Fault::Unaligned { address: 0x2000_1001 }),
        (0x2000_1003, 0xc901, Fault::Unaligned { address: 0x2000_1003 }),
        (0x6000_0000, 0x6808, Fault::Bus { address: 0x6000_0000 }),
        (0x2004_2000, 0x7008, Fault::Bus { address: 0x2004_2000 }),
        (0xe000_0000, 0x4708, Fault::NotThumb { address: 0xe000_0000 }),
        (0x4000_0001, 0x4708, Fault::Fetch { address: 0x4000_0000 }),
        (0x2000_0001, 0xbe00, Fault::Breakpoint),
    ] {
        let mut machine = machine(&[code]);
        machine.cores[0].r[1] = r1;
        step(&mut machine, 1);
        let core = &machine.cores[0];
        assert_eq!(core.ipsr, HARD_FAULT, "{fault}");
        let at = core.last_fault.expect("it faulted");
        assert_eq!(at.0, fault);
        let frame = core.r[13];
        assert_eq!(word(&mut machine, frame + 24), at.1, "{fault}");
        let jumped = matches!(fault, Fault::NotThumb { .. } | Fault::Fetch { .. });
        assert_eq!(at.1, if jumped { r1 & !1 } else { CODE }, "{fault}");
    }
}

#[test]
fn a_fault_where_no_fault_can_be_taken_locks_up() {
    let mut machine = machine(&[UDF]);
    put(&mut machine, handler(HARD_FAULT), &[NOP, UDF]);
    assert_eq!(
        step(&mut machine, 10),
        Stop::Lockup {
            core: 0,
            fault: Some((Fault::Undefined { instruction: 0xde00 }, handler(HARD_FAULT) + 2))
        }
    );
    assert_eq!(machine.cores[0].sleep, Sleep::Lockup);
}

#[test]
fn entry_stacks_eight_words_aligned_and_return_takes_them_back() {
    for misaligned in [0, 4] {
        let mut machine = machine(&[NOP, NOP, NOP]);
        machine.cores[0].r[13] = STACK - misaligned;
        machine.cores[0].set_flags(0xa000_0000);
        write(&mut machine, NVIC_ENABLE, 1 << 3);
        step(&mut machine, 1);
        let before = machine.cores[0].clone();
        write(&mut machine, NVIC_PEND, 1 << 3);
        step(&mut machine, 1);
        let core = &machine.cores[0];
        assert_eq!((core.ipsr, core.pc), (19, handler(19) + 2));
        assert_eq!(core.r[14], 0xffff_fff9);
        assert_eq!(core.r[13], STACK - 0x20 - 2 * misaligned);
        assert_eq!(core.cycles - before.cycles, 15 + 1, "entry and one instruction");
        let frame: Vec<u32> = (0..8)
            .map(|i| word(&mut machine, STACK - 0x20 - 2 * misaligned + 4 * i))
            .collect();
        let psr = 0xa100_0000 | (misaligned >> 2) << 9;
        assert_eq!(frame, [0xa0, 0xa1, 0xa2, 0xa3, 0xac, 0x55, CODE + 2, psr]);
        machine.cores[0].r[..4].fill(0);
        machine.cores[0].set_flags(0);
        step(&mut machine, 1);
        let core = &machine.cores[0];
        assert_eq!(core.r[..15], before.r[..15]);
        assert_eq!((core.pc, core.xpsr()), (CODE + 2, before.xpsr()));
    }
}

#[test]
fn the_highest_priority_goes_first_and_among_equals_the_lowest_number() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 0xff);
    // interrupts 1 and 5 at priority 1, 2 at 2, 0 at 3
    write(&mut machine, NVIC_PRIORITY, 0x00_80_40_c0);
    write(&mut machine, NVIC_PRIORITY + 4, 0x00_00_40_00);
    write(&mut machine, NVIC_PEND, 1 << 0 | 1 << 1 | 1 << 2 | 1 << 5);
    let mut order = Vec::new();
    for _ in 0..8 {
        step(&mut machine, 1);
        order.push(machine.cores[0].ipsr);
    }
    // each handler is two instructions; the return of one chains to the next
    assert_eq!(order, [17, 21, 21, 18, 18, 16, 16, 0]);
}

#[test]
fn only_a_higher_priority_preempts() {
    let mut machine = machine(&[NOP; 4]);
    put(&mut machine, handler(17), &[NOP, NOP, NOP, NOP, BX_LR]);
    write(&mut machine, NVIC_ENABLE, 7);
    write(&mut machine, NVIC_PRIORITY, 0x00_40_80_80);
    write(&mut machine, NVIC_PEND, 1 << 1);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 17);
    write(&mut machine, NVIC_PEND, 1 << 0);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 17, "an equal waits");
    write(&mut machine, NVIC_PEND, 1 << 2);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.r[14]), (18, 0xffff_fff1));
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 17, "back in the handler below");
}

#[test]
fn handlers_chain_without_unstacking() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 3);
    write(&mut machine, NVIC_PEND, 3);
    step(&mut machine, 1);
    let (frame, cycles) = (machine.cores[0].r[13], machine.cores[0].cycles);
    assert_eq!(machine.cores[0].ipsr, 16);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.pc, core.r[13]), (17, handler(17), frame));
    assert_eq!(core.r[14], 0xffff_fff9);
    assert_eq!(core.cycles - cycles, 2 + 6, "BX and the chain");
}

#[test]
fn a_late_arrival_takes_over_the_frame() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 3);
    write(&mut machine, NVIC_PRIORITY, 0x00_00_00_c0);
    write(&mut machine, NVIC_PEND, 1);
    {
        let Machine { cores, chip, .. } = &mut machine;
        cores[0].service_exceptions(chip);
        assert_eq!(cores[0].ipsr, 16, "entered, and nothing of its handler run");
    }
    let frame = machine.cores[0].r[13];
    write(&mut machine, NVIC_PEND, 2);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.pc, core.r[13]), (17, handler(17) + 2, frame));
    assert_eq!(core.r[14], 0xffff_fff9, "it returns to what was interrupted");
    // the one that came first has kept its place in the queue
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 16);
    step(&mut machine, 2);
    assert_eq!(machine.cores[0].pc, CODE);
}

#[test]
fn a_return_goes_where_its_value_says() {
    // to thread mode on the process stack
    let mut machine = machine(&[NOP; 4]);
    machine.cores[0].use_process_stack(true);
    write(&mut machine, NVIC_ENABLE, 1);
    write(&mut machine, NVIC_PEND, 1);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.r[14], core.r[13]), (0xffff_fffd, STACK));
    assert_eq!(core.psp(), PROCESS_STACK - 0x20);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!(
        (core.control() & 2, core.r[13], core.msp()),
        (2, PROCESS_STACK, STACK)
    );

    // values that mean nothing, or another mode than the active exceptions allow
    for value in [0xffff_fff5_u32, 0xffff_fff1, 0xff00_fff9] {
        let mut machine = self::machine(&[NOP; 4]);
        write(&mut machine, NVIC_ENABLE, 1);
        write(&mut machine, NVIC_PEND, 1);
        step(&mut machine, 1);
        machine.cores[0].r[14] = value;
        step(&mut machine, 1);
        assert_eq!(machine.cores[0].ipsr, HARD_FAULT, "{value:08x}");
    }

    // in thread mode it is a jump to where nothing can run
    let mut machine = self::machine(&[BX_LR]);
    machine.cores[0].r[14] = 0xffff_fff9;
    step(&mut machine, 1);
    assert!(matches!(
        machine.cores[0].last_fault,
        Some((Fault::Fetch { address: 0xffff_fff8 }, _))
    ));
}

#[test]
fn svc_is_an_exception_or_a_fault() {
    let mut machine = machine(&[SVC, NOP]);
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!((core.ipsr, core.pc), (11, handler(11)));
    let frame = core.r[13];
    assert_eq!(word(&mut machine, frame + 24), CODE + 2, "behind the SVC");

    let mut machine = self::machine(&[SVC, NOP]);
    machine.cores[0].primask = true;
    step(&mut machine, 1);
    let core = &machine.cores[0];
    assert_eq!(core.ipsr, HARD_FAULT);
    assert_eq!(core.last_fault, Some((Fault::Svc, CODE)));

    // at its own priority it cannot run either
    let mut machine = self::machine(&[SVC, NOP]);
    put(&mut machine, handler(11), &[SVC]);
    write(&mut machine, HANDLER_PRIORITY_2, 0x8000_0000);
    step(&mut machine, 2);
    assert_eq!(machine.cores[0].ipsr, HARD_FAULT);
}

#[test]
fn pendsv_is_set_and_cleared_by_software() {
    let mut machine = machine(&[NOP; 8]);
    write(&mut machine, HANDLER_PRIORITY_3, 0x00c0_0000);
    machine.cores[0].primask = true;
    write(&mut machine, CONTROL_STATE, 1 << 28);
    assert_eq!(read(&mut machine, CONTROL_STATE), 1 << 28 | 14 << 12);
    write(&mut machine, CONTROL_STATE, 1 << 27);
    assert_eq!(read(&mut machine, CONTROL_STATE), 0);
    write(&mut machine, CONTROL_STATE, 1 << 28);
    step(&mut machine, 2);
    assert_eq!(machine.cores[0].ipsr, 0, "PRIMASK holds it back");
    machine.cores[0].primask = false;
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 14);
    assert_eq!(read(&mut machine, CONTROL_STATE), 14);
}

#[test]
fn nmi_goes_above_primask_and_hardfault_above_all_but_it() {
    let mut machine = machine(&[NOP; 4]);
    machine.cores[0].primask = true;
    write(&mut machine, CONTROL_STATE, 1 << 31);
    put(&mut machine, handler(2), &[NOP, UDF]);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, 2);
    assert!(matches!(step(&mut machine, 4), Stop::Lockup { core: 0, .. }));
}

#[test]
fn systick_counts_reload_and_one() {
    let mut machine = machine(&[NOP; 200]);
    write(&mut machine, SYST_RELOAD, 99);
    write(&mut machine, SYST_VALUE, 5);
    write(&mut machine, SYST_CONTROL, 7);
    let start = machine.cores[0].cycles;
    step(&mut machine, 10);
    assert_eq!(read(&mut machine, SYST_VALUE), 90);
    assert_eq!(read(&mut machine, SYST_CONTROL), 7, "not at zero yet");
    while machine.cores[0].ipsr == 0 {
        step(&mut machine, 1);
    }
    assert_eq!(machine.cores[0].ipsr, 15);
    // it was entered between two instructions, and nothing of its handler has run
    assert_eq!(machine.cores[0].cycles - start, 100 + 15);
    assert_eq!(read(&mut machine, SYST_CONTROL), 0x1_0007);
    assert_eq!(read(&mut machine, SYST_CONTROL), 7, "reading clears COUNTFLAG");
    // without a reload it stops at zero
    write(&mut machine, SYST_RELOAD, 0);
    machine.cores[0].cycles += 1000;
    assert_eq!(read(&mut machine, SYST_CONTROL) >> 16, 1);
    machine.cores[0].cycles += 1000;
    assert_eq!(read(&mut machine, SYST_CONTROL) >> 16, 0);
    assert_eq!(read(&mut machine, SYST_VALUE), 0);
}

#[test]
fn the_nvic_keeps_what_a_line_asked_for() {
    let mut machine = machine(&[NOP; 4]);
    write(&mut machine, NVIC_ENABLE, 0x8000_0005);
    write(&mut machine, NVIC_DISABLE, 1);
    assert_eq!(read(&mut machine, NVIC_ENABLE), 0x8000_0004);
    assert_eq!(read(&mut machine, NVIC_DISABLE), 0x8000_0004);
    write(&mut machine, NVIC_PRIORITY + 28, 0xffff_ffff);
    assert_eq!(
        read(&mut machine, NVIC_PRIORITY + 28),
        0xc0c0_c0c0,
        "two bits each"
    );
    write(&mut machine, NVIC_PEND, 0x8000_0001);
    write(&mut machine, NVIC_UNPEND, 0x8000_0000);
    assert_eq!(read(&mut machine, NVIC_PEND), 1);
    write(&mut machine, NVIC_UNPEND, 1);
    // a line that falls again before its handler runs stays pending; one that stays high comes back
    let core = &mut machine.cores[0];
    core.set_interrupt_lines(1 << 2);
    core.set_interrupt_lines(0);
    assert_eq!(core.exceptions.pending_interrupts(), 1 << 2);
    core.set_interrupt_lines(1 << 2);
    let Machine { cores, chip, .. } = &mut machine;
    cores[0].service_exceptions(chip);
    assert_eq!(cores[0].ipsr, 18);
    assert_eq!(
        cores[0].exceptions.pending_interrupts(),
        0,
        "while its handler runs"
    );
    // it would chain to itself if it were still enabled
    cores[0].exceptions.enabled = 0;
    cores[0].exception_return(chip, 0xffff_fff9);
    assert_eq!(
        cores[0].exceptions.pending_interrupts(),
        1 << 2,
        "the line is still high"
    );
}

#[test]
fn sleep_ends_with_what_it_waits_for() {
    // WFI wakes for an interrupt that PRIMASK keeps from running
    let mut machine = machine(&[WFI, NOP, NOP]);
    machine.cores[0].primask = true;
    write(&mut machine, NVIC_ENABLE, 1);
    assert_eq!(step(&mut machine, 2), Stop::Asleep);
    assert_eq!(machine.cores[0].sleep, Sleep::Interrupt);
    write(&mut machine, NVIC_PEND, 1);
    step(&mut machine, 1);
    assert_eq!((machine.cores[0].pc, machine.cores[0].ipsr), (CODE + 4, 0));

    // but not for one that is not enabled
    let mut machine = self::machine(&[WFI, NOP]);
    write(&mut machine, NVIC_PEND, 1);
    assert_eq!(step(&mut machine, 2), Stop::Asleep);

    // SEV is an event for the core itself, and WFE takes it
    let mut machine = self::machine(&[SEV, WFE, WFE, NOP]);
    assert_eq!(step(&mut machine, 4), Stop::Asleep);
    assert_eq!(machine.cores[0].sleep, Sleep::Event);
    assert_eq!(
        machine.cores[0].pc,
        CODE + 6,
        "the first went on, the second waits"
    );

    // with SEVONPEND an interrupt that is not enabled is one too
    write(&mut machine, SYSTEM_CONTROL, 1 << 4);
    machine.cores[0].set_interrupt_lines(1 << 9);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].pc, CODE + 8);

    // SLEEPONEXIT
    let mut machine = self::machine(&[NOP; 3]);
    write(&mut machine, SYSTEM_CONTROL, 2);
    write(&mut machine, NVIC_ENABLE, 1);
    write(&mut machine, NVIC_PEND, 1);
    assert_eq!(step(&mut machine, 3), Stop::Asleep);
    assert_eq!(machine.cores[0].instructions, 2, "the handler alone");
}

#[test]
fn the_system_control_space_is_privileged() {
    let mut machine = machine(&[0x6808]); // ldr r0, [r1]
    machine.cores[0].r[1] = 0xe000_ed00;
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].r[0], 0x410c_c601, "CPUID");
    let mut machine = self::machine(&[0x6808]);
    machine.cores[0].r[1] = 0xe000_ed00;
    machine.cores[0].write_special(20, 1);
    step(&mut machine, 1);
    assert_eq!(machine.cores[0].ipsr, HARD_FAULT);
    assert_eq!(
        machine.cores[0].last_fault,
        Some((Fault::Bus { address: 0xe000_ed00 }, CODE))
    );
}

// ---- the memory protection unit ----

const MPU_CONTROL: u32 = 0xe000_ed94;
const MPU_BASE: u32 = 0xe000_ed9c;
const MPU_ATTRIBUTES: u32 = 0xe000_eda0;
/// MPU_RASR: full access, privileged only, read-only; and never to be run.
const FULL: u32 = 3 << 24;
const PRIVILEGED: u32 = 1 << 24;
const READ_ONLY: u32 = 6 << 24;
const NEVER_RUN: u32 = 1 << 28;
/// MPU_RASR: 2 to this power of bytes, enabled.
const fn sized(power: u32) -> u32 {
    (power - 1) << 1 | 1
}

/// Sets up regions of RAM; everything else is the background, which is privileged.
fn protect(machine: &mut Machine, regions: &[(u32, u32)]) {
    for (number, (base, attributes)) in (0..).zip(regions) {
        write(machine, MPU_BASE, base | 0x10 | number);
        write(machine, MPU_ATTRIBUTES, *attributes);
    }
    write(machine, MPU_CONTROL, 5);
}

/// The return address in the frame of the exception that core 0 is in.
fn stacked_pc(machine: &mut Machine) -> u32 {
    let frame = machine.cores[0].r[13];
    word(machine, frame + 24)
}

const PROTECTED: u32 = 0x2000_8000;

#[test]
fn a_store_that_is_not_allowed_is_a_hard_fault_and_stores_nothing() {
    for (regions, allowed) in [
        (&[(PROTECTED, READ_ONLY | sized(8))][..], false),
        (&[(PROTECTED, FULL | sized(8))], true),
        (&[(PROTECTED - 0x100, READ_ONLY | sized(8))], true),
    ] {
        // str r0, [r1]; b .
        let mut machine = machine(&[NOP, 0x6008, 0xe7fe]);
        machine.cores[0].r[1] = PROTECTED;
        protect(&mut machine, regions);
        step(&mut machine, 2);
        assert_eq!(word(&mut machine, PROTECTED), if allowed { 0xa0 } else { 0 });
        let fault = Fault::Protected {
            address: PROTECTED,
            access: Access::Write,
        };
        let last = machine.cores[0].last_fault;
        assert_eq!(last, if allowed { None } else { Some((fault, CODE + 2)) });
        assert_eq!(machine.cores[0].ipsr, if allowed { 0 } else { HARD_FAULT });
        if !allowed {
            assert_eq!(stacked_pc(&mut machine), CODE + 2);
        }
    }
}

#[test]
fn unprivileged_code_loads_and_runs_only_what_it_may() {
    // msr control, r2; isb; ldr r0, [r1]; b .
    let code = [0xf382, 0x8814, 0xf3bf, 0x8f6f, 0x6808, 0xe7fe];
    for (privilege, expected) in [(0, None), (1, Some((PROTECTED, Access::Read, CODE + 8)))] {
        let mut machine = machine(&code);
        (machine.cores[0].r[1], machine.cores[0].r[2]) = (PROTECTED, privilege);
        protect(
            &mut machine,
            &[(VECTORS, FULL | sized(15)), (PROTECTED, PRIVILEGED | sized(8))],
        );
        step(&mut machine, 4);
        let fault = machine.cores[0].last_fault;
        let expected = expected.map(|(address, access, pc)| (Fault::Protected { address, access }, pc));
        assert_eq!(fault, expected);
    }
    // without a region, its own code is the background's, which is not for it
    let mut machine = machine(&code);
    machine.cores[0].r[2] = 1;
    protect(&mut machine, &[(STACK - 0x100, FULL | sized(8))]);
    step(&mut machine, 2);
    let fault = Fault::Protected {
        address: CODE + 4,
        access: Access::Run,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, CODE + 4)));
    assert_eq!(stacked_pc(&mut machine), CODE + 4);
}

#[test]
fn a_jump_to_data_is_a_hard_fault_at_its_target() {
    // bx r1
    let mut machine = machine(&[0x4708]);
    machine.cores[0].r[1] = PROTECTED | 1;
    protect(&mut machine, &[(PROTECTED, FULL | NEVER_RUN | sized(8))]);
    step(&mut machine, 2);
    let fault = Fault::Protected {
        address: PROTECTED,
        access: Access::Run,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, PROTECTED)));
    assert_eq!(stacked_pc(&mut machine), PROTECTED);
}

#[test]
fn the_handler_of_a_fault_is_free_unless_it_is_told_otherwise() {
    // str r0, [r1], here and in the handler
    for (control, locks_up) in [(5, false), (7, true)] {
        let mut machine = machine(&[0x6008, 0xe7fe]);
        put(&mut machine, handler(HARD_FAULT), &[0x6008, 0xe7fe]);
        machine.cores[0].r[1] = PROTECTED;
        protect(&mut machine, &[(PROTECTED, READ_ONLY | sized(8))]);
        write(&mut machine, MPU_CONTROL, control);
        step(&mut machine, 3);
        assert_eq!(machine.cores[0].sleep == Sleep::Lockup, locks_up);
        assert_eq!(word(&mut machine, PROTECTED), if locks_up { 0 } else { 0xa0 });
    }
}

#[test]
fn a_frame_goes_only_where_the_stack_may_be_written() {
    // svc, with the stack in a guard region
    let mut machine = machine(&[SVC, 0xe7fe]);
    protect(&mut machine, &[(STACK - 0x100, READ_ONLY | sized(8))]);
    step(&mut machine, 1);
    let fault = Fault::Protected {
        address: STACK - 0x20,
        access: Access::Write,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, CODE + 2)));
    assert_eq!(machine.cores[0].ipsr, HARD_FAULT);
    assert_eq!(word(&mut machine, STACK - 4), 0);
}

#[test]
fn the_unit_can_be_switched_on_and_off_by_what_runs() {
    // str r0, [r1] (on); str r2, [r3] (faults); the handler: str r4, [r1] (off); str r2, [r3]; b .
    let mut machine = machine(&[0x6008, 0x601a, 0xe7fe]);
    put(&mut machine, handler(HARD_FAULT), &[0x600c, 0x601a, 0xe7fe]);
    protect(&mut machine, &[(PROTECTED, READ_ONLY | sized(8))]);
    write(&mut machine, MPU_CONTROL, 0);
    machine.cores[0].r[..5].copy_from_slice(&[7, MPU_CONTROL, 0x77, PROTECTED, 0]);
    step(&mut machine, 1);
    assert_eq!(read(&mut machine, MPU_CONTROL), 7);
    step(&mut machine, 4);
    let fault = Fault::Protected {
        address: PROTECTED,
        access: Access::Write,
    };
    assert_eq!(machine.cores[0].last_fault, Some((fault, CODE + 2)));
    assert_eq!(word(&mut machine, PROTECTED), 0x77);
}
