//! Tests of the core: a machine with code in RAM, and what they do with it.

mod exceptions;
mod instructions;
mod protection;

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
