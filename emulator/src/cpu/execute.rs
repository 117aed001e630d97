//! The loop that runs instructions.
//!
//! Everything here is written for speed: the place in the decoded code, the cycle count and the limit live in locals,
//! RAM is reached inline, and whatever is rare leaves the loop.

use super::{Access, Core, Fault, Sleep};
use crate::chip::Chip;
use crate::code::FLASH;
use crate::code::decode::{Decoded, Op, is_wide};

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
    /// Decodes the instruction at an index of the code that runs.
    #[cold]
    #[inline(never)]
    fn decode(&self, chip: &mut Chip, index: u32) -> Decoded {
        let pc = self.address(index);
        let first = chip.fetch(self.memory, pc);
        let second = if is_wide(first) {
            chip.fetch(self.memory, pc.wrapping_add(2))
        } else {
            0
        };
        chip.code.fill(self.memory, pc, first, second)
    }

    /// Goes to the memory that holds an address; answers its place in the code cache.
    #[inline(never)]
    fn enter_memory(&mut self, chip: &Chip, address: u32) -> Option<u32> {
        let (memory, region) = chip.code.region(address)?;
        (self.memory, self.region) = (memory, region);
        region.index(address)
    }

    /// The address of an index in the code that runs.
    #[inline(always)]
    fn address(&self, index: u32) -> u32 {
        index.wrapping_mul(2).wrapping_add(self.region.delta())
    }

    /// Runs instructions until `self.limit` or something that the loop does not do.
    ///
    /// What changes with each instruction lives in registers of the host, so there is little of it: where the next one
    /// is, and the cycle. Instructions are counted by how far the index moves.
    pub(crate) fn run<O: Observe>(&mut self, chip: &mut Chip, observer: &mut O) -> Exit {
        // what switches the memory protection unit on or off ends the loop
        if self.is_protected() {
            self.run_loop::<O, true>(chip, observer)
        } else {
            self.run_loop::<O, false>(chip, observer)
        }
    }

    #[allow(clippy::too_many_lines, reason = "one instruction set, one loop")]
    #[inline(never)]
    fn run_loop<O: Observe, const PROTECTED: bool>(&mut self, chip: &mut Chip, observer: &mut O) -> Exit {
        let mut cycles = self.cycles;
        let Some(mut index) = self.enter_memory(chip, self.pc) else {
            return Exit::Fault(Fault::Fetch { address: self.pc });
        };
        // instructions that have been run are this and the index
        let mut counted = self.instructions.wrapping_sub(u64::from(index));
        // the cache line that the last instruction came from: a new one asks the XIP cache
        let mut line = u32::MAX;
        let exit = 'run: loop {
            // here after a jump, and below after what is in a row
            if cycles >= self.limit {
                break 'run Exit::Limit;
            }
            if index >> 2 != line && self.memory == FLASH {
                cycles += chip.fetch_line(self.address(index));
            }
            loop {
                let d = chip.code.get(index);
                if O::ACTIVE
                    && !matches!(d.op, Op::Undecoded | Op::End)
                    && observer.before(self, self.address(index), *d, cycles)
                {
                    break 'run Exit::Observer;
                }
                let here = index;
                index += 1;
                cycles += 1;
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
                macro_rules! check {
                    ($address:expr, $access:expr) => {{
                        let (address, access) = ($address, $access);
                        if PROTECTED && !self.allows(address, access) {
                            fault!(Fault::Protected { address, access });
                        }
                    }};
                }
                check!(self.address(here), Access::Run);
                macro_rules! load {
                    ($address:expr, $fast:ident, $size:expr) => {{
                        let address = $address;
                        check!(address, Access::Read);
                        match chip.ram.$fast(address) {
                            Some(value) => value,
                            None => {
                                self.cycles = cycles;
                                let loaded = self.load_slow(chip, address, $size);
                                cycles = self.cycles;
                                match loaded {
                                    Ok(value) => value,
                                    Err(fault) => fault!(fault),
                                }
                            }
                        }
                    }};
                }
                // a value into the destination, named before the value is made
                macro_rules! put {
                    ($value:expr) => {{
                        let to = d.d;
                        reg!(to) = $value;
                    }};
                }
                macro_rules! store {
                    ($address:expr, $fast:ident, $size:expr, $value:expr) => {{
                        let (address, value) = ($address, $value);
                        check!(address, Access::Write);
                        match chip.ram.$fast(address, value) {
                            Some(offset) => chip.code.ram_written(offset),
                            None => {
                                self.cycles = cycles;
                                let stored = self.store_slow(chip, address, $size, value);
                                cycles = self.cycles;
                                if let Err(fault) = stored {
                                    fault!(fault);
                                }
                            }
                        }
                    }};
                }
                // goes on at an index of the same memory, so many cycles later
                macro_rules! go {
                    ($target:expr, $cycles:expr) => {{
                        let target: u32 = $target;
                        counted = counted
                            .wrapping_add(u64::from(index))
                            .wrapping_sub(u64::from(target));
                        index = target;
                        cycles += $cycles;
                        line = here >> 2;
                        continue 'run;
                    }};
                }
                // a jump that cannot be made has been made all the same: its target is where the fault is
                macro_rules! lost {
                    ($target:expr, $exit:expr) => {{
                        self.pc = $target;
                        self.cycles = cycles;
                        self.instructions = counted.wrapping_add(u64::from(index));
                        return $exit;
                    }};
                }
                // leaves for an address, which may be in another memory
                macro_rules! jump {
                    ($target:expr) => {{
                        let target: u32 = $target;
                        match self.region.index(target) {
                            Some(place) => go!(place, 0),
                            // no line of one memory is one of another
                            None => match self.enter_memory(chip, target) {
                                Some(place) => go!(place, 0),
                                None => lost!(target, Exit::Fault(Fault::Fetch { address: target })),
                            },
                        }
                    }};
                }
                // BX, BLX, POP {PC}: bit 0 is the instruction set, and the top of the address space returns from exceptions
                macro_rules! exchange {
                    ($target:expr) => {{
                        let target: u32 = $target;
                        if target >= 0xf000_0000 && self.ipsr != 0 {
                            lost!(target & !1, Exit::ExceptionReturn(target));
                        }
                        if target & 1 == 0 {
                            lost!(target, Exit::Fault(Fault::NotThumb { address: target }));
                        }
                        jump!(target & !1)
                    }};
                }
                macro_rules! branch_if {
                    ($condition:expr) => {
                        if $condition {
                            go!(d.imm, 1);
                        }
                    };
                }
                match d.op {
                    Op::Undecoded => {
                        index = here;
                        cycles -= 1;
                        self.decode(chip, here);
                        continue;
                    }
                    Op::End => {
                        index = here;
                        cycles -= 1;
                        break 'run Exit::Fault(Fault::Fetch {
                            address: self.address(here),
                        });
                    }
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
                    Op::AddReg => reg!(d.d) = self.add(reg!(d.n), reg!(d.m)),
                    Op::SubReg => reg!(d.d) = self.subtract(reg!(d.n), reg!(d.m)),
                    Op::AddImm => reg!(d.d) = self.add(reg!(d.n), d.imm),
                    Op::SubImm => reg!(d.d) = self.subtract(reg!(d.n), d.imm),
                    Op::MovImm => {
                        self.set_nz(d.imm);
                        reg!(d.d) = d.imm;
                    }
                    Op::CmpImm => {
                        self.subtract(reg!(d.n), d.imm);
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
                    Op::Rsb => reg!(d.d) = self.subtract(0, reg!(d.m)),
                    Op::CmpReg | Op::CmpHigh => {
                        self.subtract(reg!(d.n), reg!(d.m));
                    }
                    Op::Cmn => {
                        self.add(reg!(d.n), reg!(d.m));
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
                        self.r[14] = self.address(index) | 1;
                        cycles += 1;
                        if target & 1 == 0 {
                            lost!(target, Exit::Fault(Fault::NotThumb { address: target }));
                        }
                        jump!(target & !1);
                    }
                    Op::LdrLiteral => {
                        cycles += 1;
                        let to = d.d;
                        check!(d.imm, Access::Read);
                        reg!(to) = if self.memory == FLASH && d.imm < 0x1100_0000 {
                            let (word, wait) = chip.read_cached(d.imm);
                            cycles += wait;
                            word
                        } else {
                            load!(d.imm, load32, 4)
                        };
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
                        put!(load!(reg!(d.n).wrapping_add(reg!(d.m)), load8, 1) as i8 as u32);
                    }
                    Op::LdrReg => {
                        cycles += 1;
                        put!(load!(reg!(d.n).wrapping_add(reg!(d.m)), load32, 4));
                    }
                    Op::LdrhReg => {
                        cycles += 1;
                        put!(load!(reg!(d.n).wrapping_add(reg!(d.m)), load16, 2));
                    }
                    Op::LdrbReg => {
                        cycles += 1;
                        put!(load!(reg!(d.n).wrapping_add(reg!(d.m)), load8, 1));
                    }
                    Op::LdrshReg => {
                        cycles += 1;
                        put!(load!(reg!(d.n).wrapping_add(reg!(d.m)), load16, 2) as i16 as u32);
                    }
                    Op::StrImm => {
                        cycles += 1;
                        store!(reg!(d.n).wrapping_add(d.imm), store32, 4, reg!(d.d));
                    }
                    Op::LdrImm => {
                        cycles += 1;
                        put!(load!(reg!(d.n).wrapping_add(d.imm), load32, 4));
                    }
                    Op::StrbImm => {
                        cycles += 1;
                        store!(reg!(d.n).wrapping_add(d.imm), store8, 1, reg!(d.d));
                    }
                    Op::LdrbImm => {
                        cycles += 1;
                        put!(load!(reg!(d.n).wrapping_add(d.imm), load8, 1));
                    }
                    Op::StrhImm => {
                        cycles += 1;
                        store!(reg!(d.n).wrapping_add(d.imm), store16, 2, reg!(d.d));
                    }
                    Op::LdrhImm => {
                        cycles += 1;
                        put!(load!(reg!(d.n).wrapping_add(d.imm), load16, 2));
                    }
                    Op::Address => reg!(d.d) = if d.d == 13 { d.imm & !3 } else { d.imm },
                    Op::AddSpImm => reg!(d.d) = self.r[13].wrapping_add(d.imm),
                    Op::AdjustSp => self.r[13] = self.r[13].wrapping_add(d.imm),
                    Op::Sxth => reg!(d.d) = reg!(d.m) as i16 as u32,
                    Op::Sxtb => reg!(d.d) = reg!(d.m) as i8 as u32,
                    Op::Uxth => reg!(d.d) = reg!(d.m) & 0xffff,
                    Op::Uxtb => reg!(d.d) = reg!(d.m) & 0xff,
                    Op::Push => {
                        let d = *d;
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
                        let d = *d;
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
                        let d = *d;
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
                        let d = *d;
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
                        let d = *d;
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
                    Op::B => go!(d.imm, 1),
                    Op::Beq => branch_if!(self.zero()),
                    Op::Bne => branch_if!(!self.zero()),
                    Op::Bcs => branch_if!(self.c),
                    Op::Bcc => branch_if!(!self.c),
                    Op::Bmi => branch_if!(self.negative()),
                    Op::Bpl => branch_if!(!self.negative()),
                    Op::Bvs => branch_if!(self.overflow()),
                    Op::Bvc => branch_if!(!self.overflow()),
                    Op::Bhi => branch_if!(self.c && !self.zero()),
                    Op::Bls => branch_if!(!self.c || self.zero()),
                    Op::Bge => branch_if!(!self.less()),
                    Op::Blt => branch_if!(self.less()),
                    Op::Bgt => branch_if!(!self.zero() && !self.less()),
                    Op::Ble => branch_if!(self.zero() || self.less()),
                    Op::BFar => {
                        if self.condition(d.d) {
                            cycles += 1;
                            jump!(d.imm);
                        }
                    }
                    Op::Bl => {
                        self.r[14] = self.address(index + 1) | 1;
                        go!(d.imm, 2);
                    }
                    Op::BlFar => {
                        self.r[14] = self.address(index + 1) | 1;
                        cycles += 2;
                        jump!(d.imm);
                    }
                    Op::Svc => break 'run Exit::Svc,
                    Op::Msr => {
                        index += 1;
                        counted = counted.wrapping_sub(1);
                        cycles += 2;
                        self.write_special(d.imm, reg!(d.n));
                        break 'run Exit::Limit;
                    }
                    Op::Mrs => {
                        reg!(d.d) = self.read_special(d.imm);
                        counted = counted.wrapping_sub(1);
                        index += 1;
                        cycles += 2;
                        line = here >> 2;
                        continue 'run;
                    }
                    Op::Barrier => {
                        counted = counted.wrapping_sub(1);
                        index += 1;
                        cycles += 2;
                        line = here >> 2;
                        continue 'run;
                    }
                    Op::Bkpt => {
                        index = here;
                        counted = counted.wrapping_add(1);
                        if self.debugged {
                            break 'run Exit::Breakpoint;
                        }
                        break 'run Exit::Fault(Fault::Breakpoint);
                    }
                    Op::Undefined => break 'run Exit::Fault(Fault::Undefined { instruction: d.imm }),
                    Op::Rom => {
                        index = here;
                        counted = counted.wrapping_add(1);
                        break 'run Exit::Rom(d.imm);
                    }
                }
                if cycles >= self.limit {
                    break 'run Exit::Limit;
                }
                if index & 3 == 0 && self.memory == FLASH {
                    cycles += chip.fetch_line(self.address(index));
                }
            }
        };
        self.instructions = counted.wrapping_add(u64::from(index));
        // a faulting instruction did not happen: its address is what gets stacked
        if matches!(exit, Exit::Fault(fault) if !matches!(fault, Fault::Fetch { .. } | Fault::Breakpoint)) {
            index -= 1;
        }
        self.pc = self.address(index);
        self.cycles = cycles;
        exit
    }
}
