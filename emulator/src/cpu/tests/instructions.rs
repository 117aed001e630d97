//! Every form of every instruction, by a table, and encodings without a meaning.

use super::*;

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
    for line in include_str!("../instructions.txt").lines() {
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
