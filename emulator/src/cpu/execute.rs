//! The loop that runs instructions.
//!
//! Everything here is written for speed: the place in the decoded code, the cycle count and the limit live in locals,
//! RAM is reached inline, and whatever is rare leaves the loop.

use super::code::FLASH;
use super::decode::{Decoded, Op, is_wide};
use super::{Core, Fault, Sleep};
use crate::chip::Chip;

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The limit was reached.
    Limit,
    /// The core went to sleep.
    Sleep,
    /// The instruction at `pc` cannot be done.
    Fault(Fault),
    /// SVC was run; `pc` is behind it.
    Svc,
    /// A function of the boot ROM is to be done; `pc` is its address.
    Rom(u32),
    /// A branch to this EXC_RETURN value.
    ExceptionReturn(u32),
    /// BKPT at `pc`, with a debugger attached.
    Breakpoint,
    /// The observer wants to stop before the instruction at `pc`.
    Observer,
}

/// Somebody who looks at each instruction before it runs: a debugger, a tracer, a profiler.
pub(crate) trait Observe {
    /// Whether there is anybody at all: the loop is compiled once with and once without.
    const ACTIVE: bool;

    /// The instruction at `pc` is about to run at `cycles`. Answers whether to stop before it.
    fn before(&mut self, core: &Core, pc: u32, instruction: Decoded, cycles: u64) -> bool;
}

/// Nobody.
pub(crate) struct NoObserver;

impl Observe for NoObserver {
    const ACTIVE: bool = false;

    fn before(&mut self, _core: &Core, _pc: u32, _instruction: Decoded, _cycles: u64) -> bool {
        false
    }
}

impl Core {
    #[inline(always)]
    fn set_nz(&mut self, value: u32) {
        self.n = value;
        self.z = value;
    }

    /// AddWithCarry of the pseudocode (A2.2.1), setting all flags.
    #[inline(always)]
    fn add_with_carry(&mut self, a: u32, b: u32, carry: bool) -> u32 {
        let wide = u64::from(a) + u64::from(b) + u64::from(carry);
        let result = wide as u32;
        self.c = wide >> 32 != 0;
        self.v = ((a ^ result) & (b ^ result)) >> 31 != 0;
        self.set_nz(result);
        result
    }

    #[inline(always)]
    fn shift_left(&mut self, value: u32, by: u32) -> u32 {
        let result = match by {
            0 => value,
            1..32 => {
                self.c = value >> (32 - by) & 1 != 0;
                value << by
            }
            _ => {
                self.c = by == 32 && value & 1 != 0;
                0
            }
        };
        self.set_nz(result);
        result
    }

    #[inline(always)]
    fn shift_right(&mut self, value: u32, by: u32) -> u32 {
        let result = match by {
            0 => value,
            1..32 => {
                self.c = value >> (by - 1) & 1 != 0;
                value >> by
            }
            _ => {
                self.c = by == 32 && value >> 31 != 0;
                0
            }
        };
        self.set_nz(result);
        result
    }

    #[inline(always)]
    fn shift_right_arithmetic(&mut self, value: u32, by: u32) -> u32 {
        let signed = value as i32;
        let result = match by {
            0 => value,
            1..32 => {
                self.c = signed >> (by - 1) & 1 != 0;
                (signed >> by) as u32
            }
            _ => {
                self.c = signed < 0;
                (signed >> 31) as u32
            }
        };
        self.set_nz(result);
        result
    }

    /// Whether the condition of a branch holds (A6.3).
    fn condition(&self, condition: u8) -> bool {
        let (n, z) = (self.n >> 31 != 0, self.z == 0);
        match condition {
            0 => z,
            1 => !z,
            2 => self.c,
            3 => !self.c,
            4 => n,
            5 => !n,
            6 => self.v,
            7 => !self.v,
            8 => self.c && !z,
            9 => !self.c || z,
            10 => n == self.v,
            11 => n != self.v,
            12 => !z && n == self.v,
            13 => z || n != self.v,
            _ => true,
        }
    }

    /// A load that is not from RAM, or not aligned.
    #[inline(never)]
    fn load_slow(
        &mut self,
        chip: &mut Chip,
        address: u32,
        size: u32,
        cycles: &mut u64,
    ) -> Result<u32, Fault> {
        if address & (size - 1) != 0 {
            return Err(Fault::Unaligned { address });
        }
        let word = match address >> 28 {
            1 if address < 0x1400_0000 => chip.read_flash(address & !3, cycles),
            0xd => {
                // the single-cycle I/O port
                *cycles -= 1;
                let value = chip.read_sio(self.id, address & !3, *cycles);
                if chip.attention {
                    self.limit = 0;
                }
                value?
            }
            0xe => self.read_system(chip, address & !3, *cycles)?,
            _ => {
                let value = chip.read(self.id, address & !3, cycles);
                if chip.attention {
                    self.limit = 0;
                }
                value?
            }
        };
        Ok(match size {
            4 => word,
            2 => word >> (8 * (address & 2)) & 0xffff,
            _ => word >> (8 * (address & 3)) & 0xff,
        })
    }

    /// A store that is not to RAM, or not aligned.
    #[inline(never)]
    fn store_slow(
        &mut self,
        chip: &mut Chip,
        address: u32,
        size: u32,
        value: u32,
        cycles: &mut u64,
    ) -> Result<(), Fault> {
        if address & (size - 1) != 0 {
            return Err(Fault::Unaligned { address });
        }
        match address >> 28 {
            0xd => {
                *cycles -= 1;
                chip.write_sio(self.id, address & !3, replicate(value, size), *cycles)?;
            }
            0xe => {
                self.limit = 0;
                return self.write_system(chip, address & !3, value, *cycles);
            }
            _ => chip.write(self.id, address, size, value, cycles)?,
        }
        if chip.attention {
            self.limit = 0;
        }
        Ok(())
    }

    /// Runs instructions until `self.limit` or something that the loop does not do.
    #[allow(clippy::too_many_lines, reason = "one instruction set, one loop")]
    pub(crate) fn run<O: Observe>(&mut self, chip: &mut Chip, observer: &mut O) -> Exit {
        let mut cycles = self.cycles;
        let mut instructions = self.instructions;
        let mut limit = self.limit;
        let Some((mut memory, mut region)) = chip.code.region(self.pc) else {
            return Exit::Fault(Fault::Fetch { address: self.pc });
        };
        let mut delta = region.delta();
        let mut index = self.pc.wrapping_sub(delta) >> 1;
        // the cache line that instructions come from: a new one asks the XIP cache
        let mut line = u32::MAX;
        let exit = 'run: loop {
            if cycles >= limit {
                break 'run Exit::Limit;
            }
            let mut d = chip.code.get(index);
            if index >> 2 != line {
                line = index >> 2;
                if memory == FLASH {
                    cycles += chip.fetch_line(index * 2 + delta);
                }
            }
            if matches!(d.op, Op::Undecoded | Op::End) {
                let pc = index.wrapping_mul(2).wrapping_add(delta);
                if d.op == Op::End {
                    break 'run Exit::Fault(Fault::Fetch { address: pc });
                }
                let first = chip.fetch(memory, pc);
                let second = if is_wide(first) {
                    chip.fetch(memory, pc.wrapping_add(2))
                } else {
                    0
                };
                d = chip.code.fill(memory, pc, first, second);
            }
            if O::ACTIVE {
                let pc = index.wrapping_mul(2).wrapping_add(delta);
                if observer.before(self, pc, d, cycles) {
                    break 'run Exit::Observer;
                }
            }
            macro_rules! reg {
                ($index:expr) => {
                    self.r[usize::from($index & 15)]
                };
            }
            macro_rules! fault {
                ($fault:expr) => {
                    break 'run Exit::Fault($fault)
                };
            }
            macro_rules! load {
                ($address:expr, $fast:ident, $size:expr) => {{
                    let address = $address;
                    match chip.ram.$fast(address) {
                        Some(value) => value,
                        None => match self.load_slow(chip, address, $size, &mut cycles) {
                            Ok(value) => {
                                limit = self.limit;
                                value
                            }
                            Err(fault) => fault!(fault),
                        },
                    }
                }};
            }
            macro_rules! store {
                ($address:expr, $fast:ident, $size:expr, $value:expr) => {{
                    let (address, value) = ($address, $value);
                    match chip.ram.$fast(address, value) {
                        Some(offset) => chip.code.ram_written(offset),
                        None => match self.store_slow(chip, address, $size, value, &mut cycles) {
                            Ok(()) => limit = self.limit,
                            Err(fault) => fault!(fault),
                        },
                    }
                }};
            }
            // leaves for an address, which may be in another memory
            macro_rules! jump {
                ($target:expr) => {{
                    let target: u32 = $target;
                    match region.index(target) {
                        Some(place) => index = place,
                        None => match chip.code.region(target) {
                            Some((which, found)) => {
                                (memory, region) = (which, found);
                                delta = region.delta();
                                index = target.wrapping_sub(delta) >> 1;
                                line = u32::MAX;
                            }
                            None => {
                                self.pc = target;
                                self.cycles = cycles;
                                self.instructions = instructions;
                                return Exit::Fault(Fault::Fetch { address: target });
                            }
                        },
                    }
                }};
            }
            // BX, BLX, POP {PC}: bit 0 is the instruction set, and the top of the address space returns from exceptions
            macro_rules! exchange {
                ($target:expr) => {{
                    let target: u32 = $target;
                    if target >= 0xf000_0000 && self.ipsr != 0 {
                        self.pc = target & !1;
                        self.cycles = cycles;
                        self.instructions = instructions;
                        return Exit::ExceptionReturn(target);
                    }
                    if target & 1 == 0 {
                        self.pc = target;
                        self.cycles = cycles;
                        self.instructions = instructions;
                        return Exit::Fault(Fault::NotThumb { address: target });
                    }
                    jump!(target & !1)
                }};
            }
            macro_rules! branch_if {
                ($condition:expr) => {
                    if $condition {
                        index = d.imm;
                        cycles += 1;
                    }
                };
            }
            instructions += 1;
            let here = index;
            index += 1;
            cycles += 1;
            match d.op {
                Op::Undecoded | Op::End => unreachable!("decoded above"),
                Op::MovReg => {
                    let value = reg!(d.m);
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::LslImm => {
                    let value = reg!(d.m);
                    self.c = value >> (32 - (d.imm & 31)) & 1 != 0;
                    let value = value << (d.imm & 31);
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::LsrImm => reg!(d.d) = self.shift_right(reg!(d.m), d.imm),
                Op::AsrImm => reg!(d.d) = self.shift_right_arithmetic(reg!(d.m), d.imm),
                Op::AddReg => reg!(d.d) = self.add_with_carry(reg!(d.n), reg!(d.m), false),
                Op::SubReg => reg!(d.d) = self.add_with_carry(reg!(d.n), !reg!(d.m), true),
                Op::AddImm => reg!(d.d) = self.add_with_carry(reg!(d.n), d.imm, false),
                Op::SubImm => reg!(d.d) = self.add_with_carry(reg!(d.n), !d.imm, true),
                Op::MovImm => {
                    self.set_nz(d.imm);
                    reg!(d.d) = d.imm;
                }
                Op::CmpImm => {
                    self.add_with_carry(reg!(d.n), !d.imm, true);
                }
                Op::And => {
                    let value = reg!(d.n) & reg!(d.m);
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::Eor => {
                    let value = reg!(d.n) ^ reg!(d.m);
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::LslReg => reg!(d.d) = self.shift_left(reg!(d.n), reg!(d.m) & 0xff),
                Op::LsrReg => reg!(d.d) = self.shift_right(reg!(d.n), reg!(d.m) & 0xff),
                Op::AsrReg => reg!(d.d) = self.shift_right_arithmetic(reg!(d.n), reg!(d.m) & 0xff),
                Op::Adc => reg!(d.d) = self.add_with_carry(reg!(d.n), reg!(d.m), self.c),
                Op::Sbc => reg!(d.d) = self.add_with_carry(reg!(d.n), !reg!(d.m), self.c),
                Op::Ror => {
                    let by = reg!(d.m) & 0xff;
                    let value = reg!(d.n).rotate_right(by & 31);
                    if by != 0 {
                        self.c = value >> 31 != 0;
                    }
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::Tst => self.set_nz(reg!(d.n) & reg!(d.m)),
                Op::Rsb => reg!(d.d) = self.add_with_carry(!reg!(d.m), 0, true),
                Op::CmpReg | Op::CmpHigh => {
                    self.add_with_carry(reg!(d.n), !reg!(d.m), true);
                }
                Op::Cmn => {
                    self.add_with_carry(reg!(d.n), reg!(d.m), false);
                }
                Op::Orr => {
                    let value = reg!(d.n) | reg!(d.m);
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::Mul => {
                    let value = reg!(d.n).wrapping_mul(reg!(d.m));
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::Bic => {
                    let value = reg!(d.n) & !reg!(d.m);
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::Mvn => {
                    let value = !reg!(d.m);
                    self.set_nz(value);
                    reg!(d.d) = value;
                }
                Op::AddHigh => {
                    let value = reg!(d.n).wrapping_add(reg!(d.m));
                    reg!(d.d) = if d.d == 13 { value & !3 } else { value };
                }
                Op::AddConstant => {
                    let value = reg!(d.n).wrapping_add(d.imm);
                    reg!(d.d) = if d.d == 13 { value & !3 } else { value };
                }
                Op::AddPc => {
                    let other = if d.m == 15 { d.imm } else { reg!(d.m) };
                    cycles += 1;
                    jump!(d.imm.wrapping_add(other) & !1);
                }
                Op::MovHigh => {
                    let value = reg!(d.m);
                    reg!(d.d) = if d.d == 13 { value & !3 } else { value };
                }
                Op::MovPc => {
                    let target = if d.m == 15 { d.imm } else { reg!(d.m) };
                    cycles += 1;
                    jump!(target & !1);
                }
                Op::Bx => {
                    cycles += 1;
                    exchange!(reg!(d.m));
                }
                Op::Blx => {
                    let target = reg!(d.m);
                    self.r[14] = index.wrapping_mul(2).wrapping_add(delta) | 1;
                    cycles += 1;
                    if target & 1 == 0 {
                        self.pc = target;
                        self.cycles = cycles;
                        self.instructions = instructions;
                        return Exit::Fault(Fault::NotThumb { address: target });
                    }
                    jump!(target & !1);
                }
                Op::LdrLiteral => {
                    cycles += 1;
                    reg!(d.d) = load!(d.imm, load32, 4);
                }
                Op::StrReg => {
                    cycles += 1;
                    store!(reg!(d.n).wrapping_add(reg!(d.m)), store32, 4, reg!(d.d));
                }
                Op::StrhReg => {
                    cycles += 1;
                    store!(reg!(d.n).wrapping_add(reg!(d.m)), store16, 2, reg!(d.d));
                }
                Op::StrbReg => {
                    cycles += 1;
                    store!(reg!(d.n).wrapping_add(reg!(d.m)), store8, 1, reg!(d.d));
                }
                Op::LdrsbReg => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(reg!(d.m)), load8, 1) as i8 as u32;
                }
                Op::LdrReg => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(reg!(d.m)), load32, 4);
                }
                Op::LdrhReg => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(reg!(d.m)), load16, 2);
                }
                Op::LdrbReg => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(reg!(d.m)), load8, 1);
                }
                Op::LdrshReg => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(reg!(d.m)), load16, 2) as i16 as u32;
                }
                Op::StrImm => {
                    cycles += 1;
                    store!(reg!(d.n).wrapping_add(d.imm), store32, 4, reg!(d.d));
                }
                Op::LdrImm => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(d.imm), load32, 4);
                }
                Op::StrbImm => {
                    cycles += 1;
                    store!(reg!(d.n).wrapping_add(d.imm), store8, 1, reg!(d.d));
                }
                Op::LdrbImm => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(d.imm), load8, 1);
                }
                Op::StrhImm => {
                    cycles += 1;
                    store!(reg!(d.n).wrapping_add(d.imm), store16, 2, reg!(d.d));
                }
                Op::LdrhImm => {
                    cycles += 1;
                    reg!(d.d) = load!(reg!(d.n).wrapping_add(d.imm), load16, 2);
                }
                Op::Address => reg!(d.d) = if d.d == 13 { d.imm & !3 } else { d.imm },
                Op::AddSpImm => reg!(d.d) = self.r[13].wrapping_add(d.imm),
                Op::AdjustSp => self.r[13] = self.r[13].wrapping_add(d.imm),
                Op::Sxth => reg!(d.d) = reg!(d.m) as i16 as u32,
                Op::Sxtb => reg!(d.d) = reg!(d.m) as i8 as u32,
                Op::Uxth => reg!(d.d) = reg!(d.m) & 0xffff,
                Op::Uxtb => reg!(d.d) = reg!(d.m) & 0xff,
                Op::Push => {
                    let bottom = self.r[13].wrapping_sub(4 * u32::from(d.n));
                    cycles += u64::from(d.n);
                    let mut list = d.imm;
                    let mut address = bottom;
                    while list != 0 {
                        let register = list.trailing_zeros();
                        list &= list - 1;
                        store!(address, store32, 4, self.r[register as usize & 15]);
                        address = address.wrapping_add(4);
                    }
                    self.r[13] = bottom;
                }
                Op::Pop => {
                    cycles += u64::from(d.n);
                    let mut list = d.imm;
                    let mut address = self.r[13];
                    while list != 0 {
                        let register = list.trailing_zeros();
                        list &= list - 1;
                        self.r[register as usize & 15] = load!(address, load32, 4);
                        address = address.wrapping_add(4);
                    }
                    self.r[13] = address;
                }
                Op::PopPc => {
                    cycles += u64::from(d.n) + 2;
                    let mut list = d.imm;
                    let mut address = self.r[13];
                    while list != 0 {
                        let register = list.trailing_zeros();
                        list &= list - 1;
                        self.r[register as usize & 15] = load!(address, load32, 4);
                        address = address.wrapping_add(4);
                    }
                    let target = load!(address, load32, 4);
                    self.r[13] = address.wrapping_add(4);
                    exchange!(target);
                }
                Op::Stm => {
                    cycles += u64::from(d.imm.count_ones());
                    let mut list = d.imm;
                    let mut address = reg!(d.n);
                    while list != 0 {
                        let register = list.trailing_zeros();
                        list &= list - 1;
                        store!(address, store32, 4, self.r[register as usize & 15]);
                        address = address.wrapping_add(4);
                    }
                    reg!(d.n) = address;
                }
                Op::Ldm => {
                    cycles += u64::from(d.imm.count_ones());
                    let mut list = d.imm;
                    let mut address = reg!(d.n);
                    while list != 0 {
                        let register = list.trailing_zeros();
                        list &= list - 1;
                        self.r[register as usize & 15] = load!(address, load32, 4);
                        address = address.wrapping_add(4);
                    }
                    if d.d != 0 {
                        reg!(d.n) = address;
                    }
                }
                Op::Cpsie => {
                    if !self.is_unprivileged() {
                        self.primask = false;
                        break 'run Exit::Limit;
                    }
                }
                Op::Cpsid => {
                    if !self.is_unprivileged() {
                        self.primask = true;
                    }
                }
                Op::Rev => reg!(d.d) = reg!(d.m).swap_bytes(),
                Op::Rev16 => reg!(d.d) = reg!(d.m).swap_bytes().rotate_left(16),
                Op::Revsh => reg!(d.d) = (reg!(d.m) as u16).swap_bytes() as i16 as u32,
                Op::Nop => {}
                Op::Wfe => {
                    cycles += 1;
                    if self.event {
                        self.event = false;
                    } else {
                        self.sleep = Sleep::Event;
                        break 'run Exit::Sleep;
                    }
                }
                Op::Wfi => {
                    cycles += 1;
                    self.sleep = Sleep::Interrupt;
                    break 'run Exit::Sleep;
                }
                Op::Sev => {
                    self.event = true;
                    self.sent_event = true;
                    break 'run Exit::Limit;
                }
                Op::B => {
                    index = d.imm;
                    cycles += 1;
                }
                Op::Beq => branch_if!(self.z == 0),
                Op::Bne => branch_if!(self.z != 0),
                Op::Bcs => branch_if!(self.c),
                Op::Bcc => branch_if!(!self.c),
                Op::Bmi => branch_if!(self.n >> 31 != 0),
                Op::Bpl => branch_if!(self.n >> 31 == 0),
                Op::Bvs => branch_if!(self.v),
                Op::Bvc => branch_if!(!self.v),
                Op::Bhi => branch_if!(self.c && self.z != 0),
                Op::Bls => branch_if!(!self.c || self.z == 0),
                Op::Bge => branch_if!((self.n >> 31 != 0) == self.v),
                Op::Blt => branch_if!((self.n >> 31 != 0) != self.v),
                Op::Bgt => branch_if!(self.z != 0 && (self.n >> 31 != 0) == self.v),
                Op::Ble => branch_if!(self.z == 0 || (self.n >> 31 != 0) != self.v),
                Op::BFar => {
                    if self.condition(d.d) {
                        cycles += 1;
                        jump!(d.imm);
                    }
                }
                Op::Bl => {
                    self.r[14] = index.wrapping_mul(2).wrapping_add(delta).wrapping_add(2) | 1;
                    cycles += 2;
                    index = d.imm;
                }
                Op::BlFar => {
                    self.r[14] = index.wrapping_mul(2).wrapping_add(delta).wrapping_add(2) | 1;
                    cycles += 2;
                    jump!(d.imm);
                }
                Op::Svc => break 'run Exit::Svc,
                Op::Msr => {
                    index += 1;
                    cycles += 2;
                    self.write_special(d.imm, reg!(d.n));
                    break 'run Exit::Limit;
                }
                Op::Mrs => {
                    index += 1;
                    cycles += 2;
                    reg!(d.d) = self.read_special(d.imm);
                }
                Op::Barrier => {
                    index += 1;
                    cycles += 2;
                }
                Op::Bkpt => {
                    index = here;
                    if self.debugged {
                        break 'run Exit::Breakpoint;
                    }
                    break 'run Exit::Fault(Fault::Breakpoint);
                }
                Op::Undefined => break 'run Exit::Fault(Fault::Undefined { instruction: d.imm }),
                Op::Rom => {
                    index = here;
                    break 'run Exit::Rom(d.imm);
                }
            }
        };
        // a faulting instruction did not happen: its address is what gets stacked
        if matches!(exit, Exit::Fault(fault) if !matches!(fault, Fault::Fetch { .. } | Fault::Breakpoint)) {
            index -= 1;
        }
        self.pc = index.wrapping_mul(2).wrapping_add(delta);
        self.cycles = cycles;
        self.instructions = instructions;
        exit
    }
}

/// What a narrow store puts on the bus: the same in every lane (RP2040 datasheet, section 2.1.4).
pub(crate) const fn replicate(value: u32, size: u32) -> u32 {
    match size {
        4 => value,
        2 => (value & 0xffff) * 0x0001_0001,
        _ => (value & 0xff) * 0x0101_0101,
    }
}
