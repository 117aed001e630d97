//! An ARMv6-M processor (ARM DDI 0419) with the cycle counts of a Cortex-M0+ (ARM DDI 0484, section 3.3).
//!
//! Multiplication takes one cycle, as on the RP2040. Loads and stores take two, LDM, STM, PUSH and POP one and one for each
//! register (POP of the program counter three more), a taken branch two, BL three.

use std::fmt;

/// Where flash begins, and how much there is.
pub(crate) const FLASH: (u32, usize) = (0x1000_0000, 1024 * 1024);
/// Where RAM begins, and how much there is.
pub(crate) const RAM: (u32, usize) = (0x2000_0000, 256 * 1024);
/// A register that holds the cycles since the call began: for programs that time their own parts.
const CYCLES: u32 = 0x4000_0000;
/// The return address of a call from outside: reaching it ends the call.
const OUTSIDE: u32 = 0xffff_fffe;
/// The initial hash of a trace.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

const SP: usize = 13;
const LR: usize = 14;
const PC: usize = 15;

/// What stops a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A load, store or fetch where there is no memory, or that is not aligned; a store to flash.
    Access {
        /// The address.
        address: u32,
        /// The instruction's.
        pc: u32,
    },
    /// An instruction that does not exist, or stands for a panic.
    Undefined {
        /// Its first half-word.
        code: u16,
        /// Its address.
        pc: u32,
    },
    /// More instructions than were allowed.
    Endless,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Access { address, pc } => write!(
                f,
                "bad access to {address:#010x} by the instruction at {pc:#010x}"
            ),
            Fault::Undefined { code, pc } => write!(f, "undefined instruction {code:#06x} at {pc:#010x}"),
            Fault::Endless => f.write_str("the call did not return in the instructions allowed"),
        }
    }
}

impl std::error::Error for Fault {}

/// Registers, flags, memory and counters.
#[derive(Clone)]
pub struct Processor {
    /// r0 to r15.
    pub registers: [u32; 16],
    negative: bool,
    zero: bool,
    carry: bool,
    overflow: bool,
    flash: Vec<u8>,
    ram: Vec<u8>,
    /// Cycles since it was reset.
    pub cycles: u64,
    /// Instructions since it was reset.
    pub instructions: u64,
    /// The lowest stack pointer since it was reset.
    pub lowest_sp: u32,
    /// The hash of all addresses since it was reset.
    pub trace: u64,
}

impl Processor {
    /// A processor with empty memory.
    pub fn new() -> Self {
        Processor {
            registers: [0; 16],
            negative: false,
            zero: false,
            carry: false,
            overflow: false,
            flash: vec![0; FLASH.1],
            ram: vec![0; RAM.1],
            cycles: 0,
            instructions: 0,
            lowest_sp: 0,
            trace: SEED,
        }
    }

    /// The memory from this address on: flash or RAM.
    pub fn memory(&mut self, address: u32) -> Option<&mut [u8]> {
        for ((start, _), memory) in [(FLASH, &mut self.flash), (RAM, &mut self.ram)] {
            if let Some(memory) = address
                .checked_sub(start)
                .and_then(|at| memory.get_mut(at as usize..))
            {
                return Some(memory);
            }
        }
        None
    }

    /// Calls a function with up to four arguments and the stack at `sp`, and returns when it does.
    ///
    /// # Errors
    /// If the program faults, or takes more than `limit` instructions.
    pub fn call(&mut self, function: u32, arguments: &[u32], sp: u32, limit: u64) -> Result<(), Fault> {
        self.registers = [0; 16];
        self.registers[..arguments.len()].copy_from_slice(arguments);
        self.registers[SP] = sp;
        self.registers[LR] = OUTSIDE | 1;
        self.registers[PC] = function & !1;
        (self.cycles, self.instructions, self.lowest_sp, self.trace) = (0, 0, sp, SEED);
        (self.negative, self.zero, self.carry, self.overflow) = (false, false, false, false);
        while self.registers[PC] != OUTSIDE {
            self.step()?;
            if self.instructions > limit {
                return Err(Fault::Endless);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn record(&mut self, address: u32) {
        self.trace = (self.trace ^ u64::from(address))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }

    #[inline(always)]
    fn fetch(&self, address: u32) -> Result<u32, Fault> {
        let at = address.wrapping_sub(FLASH.0) as usize;
        match self.flash.get(at..at + 2) {
            Some(&[low, high]) => Ok(u32::from(low) | u32::from(high) << 8),
            _ => Err(Fault::Access { address, pc: address }),
        }
    }

    #[inline(always)]
    fn load<const SIZE: usize>(&mut self, address: u32) -> Result<u32, Fault> {
        self.record(address);
        let fault = Fault::Access {
            address,
            pc: self.registers[PC],
        };
        if !(address as usize).is_multiple_of(SIZE) {
            return Err(fault);
        }
        let (memory, start) = if address >= RAM.0 {
            (&self.ram, RAM.0)
        } else {
            (&self.flash, FLASH.0)
        };
        let at = address.wrapping_sub(start) as usize;
        let Some(bytes) = memory.get(at..at.wrapping_add(SIZE)) else {
            return if address == CYCLES {
                Ok(self.cycles as u32)
            } else {
                Err(fault)
            };
        };
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    #[inline(always)]
    fn store<const SIZE: usize>(&mut self, address: u32, value: u32) -> Result<(), Fault> {
        self.record(address);
        let fault = Fault::Access {
            address,
            pc: self.registers[PC],
        };
        if !(address as usize).is_multiple_of(SIZE) {
            return Err(fault);
        }
        let at = address.wrapping_sub(RAM.0) as usize;
        let bytes = self.ram.get_mut(at..at.wrapping_add(SIZE)).ok_or(fault)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..SIZE]);
        Ok(())
    }

    fn load_several(&mut self, list: u32, mut address: u32) -> Result<u32, Fault> {
        for register in (0..8).filter(|register| list >> register & 1 == 1) {
            self.registers[register] = self.load::<4>(address)?;
            address = address.wrapping_add(4);
            self.cycles += 1;
        }
        Ok(address)
    }

    fn store_several(&mut self, list: u32, mut address: u32) -> Result<u32, Fault> {
        for register in (0..15).filter(|register| list >> register & 1 == 1) {
            self.store::<4>(address, self.registers[register])?;
            address = address.wrapping_add(4);
            self.cycles += 1;
        }
        Ok(address)
    }

    #[inline(always)]
    fn set_nz(&mut self, value: u32) -> u32 {
        self.negative = value >> 31 == 1;
        self.zero = value == 0;
        value
    }

    #[inline(always)]
    fn add_with_carry(&mut self, a: u32, b: u32, carry: bool) -> u32 {
        let sum = u64::from(a) + u64::from(b) + u64::from(carry);
        let value = sum as u32;
        self.carry = sum >> 32 != 0;
        self.overflow = ((a ^ value) & (b ^ value)) >> 31 != 0;
        self.set_nz(value)
    }

    #[inline(always)]
    fn shift_left(&mut self, value: u32, by: u32) -> u32 {
        let wide = u64::from(value) << by.min(33);
        if by != 0 {
            self.carry = wide >> 32 & 1 != 0;
        }
        self.set_nz(wide as u32)
    }

    #[inline(always)]
    fn shift_right(&mut self, value: u32, by: u32) -> u32 {
        let wide = (u64::from(value) << 32) >> by.min(33);
        if by != 0 {
            self.carry = wide >> 31 & 1 != 0;
        }
        self.set_nz((wide >> 32) as u32)
    }

    #[inline(always)]
    fn shift_right_signed(&mut self, value: u32, by: u32) -> u32 {
        let wide = (i64::from(value as i32) << 31) >> by.min(32);
        if by != 0 {
            self.carry = wide >> 30 & 1 != 0;
        }
        self.set_nz((wide >> 31) as u32)
    }

    fn holds(&self, condition: u32) -> bool {
        let holds = match condition >> 1 {
            0 => self.zero,
            1 => self.carry,
            2 => self.negative,
            3 => self.overflow,
            4 => self.carry && !self.zero,
            5 => self.negative == self.overflow,
            6 => !self.zero && self.negative == self.overflow,
            _ => true,
        };
        holds != (condition & 1 == 1)
    }

    fn step(&mut self) -> Result<(), Fault> {
        let pc = self.registers[PC];
        self.record(pc);
        let code = self.fetch(pc)?;
        self.instructions += 1;
        self.cycles += 1;
        let undefined = Fault::Undefined {
            code: code as u16,
            pc,
        };
        let ahead = pc.wrapping_add(4); // what an instruction reads as the program counter
        let mut next = pc.wrapping_add(2);
        let (d, m, n) = (
            (code & 7) as usize,
            (code >> 3 & 7) as usize,
            (code >> 6 & 7) as usize,
        );
        let (imm5, imm8, d8) = (code >> 6 & 31, code & 255, (code >> 8 & 7) as usize);
        match code >> 11 {
            0b00000 => self.registers[d] = self.shift_left(self.registers[m], imm5),
            0b00001 => {
                self.registers[d] = self.shift_right(self.registers[m], if imm5 == 0 { 32 } else { imm5 })
            }
            0b00010 => {
                self.registers[d] =
                    self.shift_right_signed(self.registers[m], if imm5 == 0 { 32 } else { imm5 });
            }
            0b00011 => {
                let operand = if code >> 10 & 1 == 1 {
                    n as u32
                } else {
                    self.registers[n]
                };
                let subtract = code >> 9 & 1 == 1;
                let operand = if subtract { !operand } else { operand };
                self.registers[d] = self.add_with_carry(self.registers[m], operand, subtract);
            }
            0b00100 => self.registers[d8] = self.set_nz(imm8),
            0b00101 => {
                self.add_with_carry(self.registers[d8], !imm8, true);
            }
            0b00110 => self.registers[d8] = self.add_with_carry(self.registers[d8], imm8, false),
            0b00111 => self.registers[d8] = self.add_with_carry(self.registers[d8], !imm8, true),
            0b01000 if code >> 10 & 1 == 0 => self.data_processing(code >> 6 & 15, d, m),
            0b01000 => {
                let d = d | (code >> 4 & 8) as usize;
                let m = (code >> 3 & 15) as usize;
                let read = |register| {
                    if register == PC {
                        ahead
                    } else {
                        self.registers[register]
                    }
                };
                let (a, b) = (read(d), read(m));
                match code >> 8 & 3 {
                    0 | 2 => {
                        let value = if code >> 8 & 3 == 0 { a.wrapping_add(b) } else { b };
                        if d == PC {
                            next = value & !1;
                            self.cycles += 1;
                        } else {
                            self.registers[d] = value;
                            self.note_sp();
                        }
                    }
                    1 => {
                        self.add_with_carry(a, !b, true);
                    }
                    _ => {
                        if code >> 7 & 1 == 1 {
                            self.registers[LR] = pc.wrapping_add(2) | 1;
                        }
                        next = b & !1;
                        self.cycles += 1;
                    }
                }
            }
            0b01001 => {
                self.cycles += 1;
                self.registers[d8] = self.load::<4>((ahead & !3).wrapping_add(imm8 * 4))?;
            }
            0b01010 | 0b01011 => {
                self.cycles += 1;
                let address = self.registers[m].wrapping_add(self.registers[n]);
                let value = self.registers[d];
                match code >> 9 & 7 {
                    0 => self.store::<4>(address, value)?,
                    1 => self.store::<2>(address, value)?,
                    2 => self.store::<1>(address, value)?,
                    3 => self.registers[d] = self.load::<1>(address)? as i8 as u32,
                    4 => self.registers[d] = self.load::<4>(address)?,
                    5 => self.registers[d] = self.load::<2>(address)?,
                    6 => self.registers[d] = self.load::<1>(address)?,
                    _ => self.registers[d] = self.load::<2>(address)? as i16 as u32,
                }
            }
            0b01100..=0b10001 => {
                self.cycles += 1;
                let base = self.registers[m];
                let value = self.registers[d];
                match code >> 11 {
                    0b01100 => self.store::<4>(base.wrapping_add(imm5 * 4), value)?,
                    0b01101 => self.registers[d] = self.load::<4>(base.wrapping_add(imm5 * 4))?,
                    0b01110 => self.store::<1>(base.wrapping_add(imm5), value)?,
                    0b01111 => self.registers[d] = self.load::<1>(base.wrapping_add(imm5))?,
                    0b10000 => self.store::<2>(base.wrapping_add(imm5 * 2), value)?,
                    _ => self.registers[d] = self.load::<2>(base.wrapping_add(imm5 * 2))?,
                }
            }
            0b10010 => {
                self.cycles += 1;
                self.store::<4>(self.registers[SP].wrapping_add(imm8 * 4), self.registers[d8])?;
            }
            0b10011 => {
                self.cycles += 1;
                self.registers[d8] = self.load::<4>(self.registers[SP].wrapping_add(imm8 * 4))?;
            }
            0b10100 => self.registers[d8] = (ahead & !3).wrapping_add(imm8 * 4),
            0b10101 => self.registers[d8] = self.registers[SP].wrapping_add(imm8 * 4),
            0b10110 | 0b10111 => match code >> 8 & 15 {
                0b0000 => {
                    let by = (code & 127) * 4;
                    let sp = self.registers[SP];
                    self.registers[SP] = if code >> 7 & 1 == 1 {
                        sp.wrapping_sub(by)
                    } else {
                        sp.wrapping_add(by)
                    };
                    self.note_sp();
                }
                0b0010 => {
                    let value = self.registers[m];
                    self.registers[d] = match code >> 6 & 3 {
                        0 => value as i16 as u32,
                        1 => value as i8 as u32,
                        2 => value & 0xffff,
                        _ => value & 0xff,
                    };
                }
                0b0100 | 0b0101 => {
                    let list = imm8 | (code >> 8 & 1) << LR;
                    let address = self.registers[SP].wrapping_sub(4 * list.count_ones());
                    self.store_several(list, address)?;
                    self.registers[SP] = address;
                    self.note_sp();
                }
                0b1100 | 0b1101 => {
                    let mut address = self.load_several(imm8, self.registers[SP])?;
                    if code >> 8 & 1 == 1 {
                        next = self.load::<4>(address)? & !1;
                        address = address.wrapping_add(4);
                        self.cycles += 3;
                    }
                    self.registers[SP] = address;
                }
                0b1010 => {
                    let value = self.registers[m];
                    self.registers[d] = match code >> 6 & 3 {
                        0 => value.swap_bytes(),
                        1 => value.swap_bytes().rotate_left(16),
                        3 => (value as u16).swap_bytes() as i16 as u32,
                        _ => return Err(undefined),
                    };
                }
                0b1111 => {}                        // NOP and the other hints
                0b0110 if code & 0xef == 0x62 => {} // CPS: there are no interrupts
                _ => return Err(undefined),
            },
            0b11000 => self.registers[d8] = self.store_several(imm8, self.registers[d8])?,
            0b11001 => {
                let end = self.load_several(imm8, self.registers[d8])?;
                if imm8 >> d8 & 1 == 0 {
                    self.registers[d8] = end;
                }
            }
            0b11010 | 0b11011 => match code >> 8 & 15 {
                14 | 15 => return Err(undefined),
                condition if self.holds(condition) => {
                    next = ahead.wrapping_add((imm8 as i8 as i32 * 2) as u32);
                    self.cycles += 1;
                }
                _ => {}
            },
            0b11100 => {
                next = ahead.wrapping_add(((code << 21) as i32 >> 20) as u32);
                self.cycles += 1;
            }
            0b11110 => {
                let second = self.fetch(pc.wrapping_add(2))?;
                next = pc.wrapping_add(4);
                self.cycles += 2;
                if second >> 14 == 0b11 && second >> 12 & 1 == 1 {
                    // BL: sign, two bits that are its complement's exclusive or, 21 bits
                    let sign = code >> 10 & 1;
                    let [i1, i2] = [13, 11].map(|at| (second >> at & 1) ^ sign ^ 1);
                    let offset =
                        sign << 24 | i1 << 23 | i2 << 22 | (code & 0x3ff) << 12 | (second & 0x7ff) << 1;
                    self.registers[LR] = next | 1;
                    next = ahead.wrapping_add(((offset << 7) as i32 >> 7) as u32);
                } else if code == 0xf3ef && second & 0xff == 0x10 {
                    self.registers[(second >> 8 & 15) as usize] = 0; // MRS from PRIMASK: there are no interrupts
                } else if !(code & 0xfff0 == 0xf3b0 || code & 0xfff0 == 0xf380 && second & 0xff == 0x10) {
                    return Err(undefined); // barriers and MSR to PRIMASK are left, which do nothing here
                }
            }
            _ => return Err(undefined),
        }
        self.registers[PC] = next;
        Ok(())
    }

    fn data_processing(&mut self, operation: u32, d: usize, m: usize) {
        let (a, b) = (self.registers[d], self.registers[m]);
        let carry = self.carry;
        self.registers[d] = match operation {
            0 => self.set_nz(a & b),
            1 => self.set_nz(a ^ b),
            2 => self.shift_left(a, b & 255),
            3 => self.shift_right(a, b & 255),
            4 => self.shift_right_signed(a, b & 255),
            5 => self.add_with_carry(a, b, carry),
            6 => self.add_with_carry(a, !b, carry),
            7 => {
                let value = a.rotate_right(b & 31);
                if b & 255 != 0 {
                    self.carry = value >> 31 == 1;
                }
                self.set_nz(value)
            }
            8 => {
                self.set_nz(a & b);
                a
            }
            9 => self.add_with_carry(0, !b, true),
            10 => {
                self.add_with_carry(a, !b, true);
                a
            }
            11 => {
                self.add_with_carry(a, b, false);
                a
            }
            12 => self.set_nz(a | b),
            13 => self.set_nz(a.wrapping_mul(b)),
            14 => self.set_nz(a & !b),
            _ => self.set_nz(!b),
        };
    }

    #[inline(always)]
    fn note_sp(&mut self) {
        self.lowest_sp = self.lowest_sp.min(self.registers[SP]);
    }
}

impl Default for Processor {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs half-words with r0 and r1 set, and BX LR after them.
    fn run(code: &[u16], r0: u32, r1: u32) -> Processor {
        let mut processor = Processor::new();
        let bytes: Vec<u8> = code
            .iter()
            .chain(&[0x4770])
            .flat_map(|half| half.to_le_bytes())
            .collect();
        processor.memory(FLASH.0).unwrap()[..bytes.len()].copy_from_slice(&bytes);
        processor.call(FLASH.0, &[r0, r1], RAM.0 + 256, 1000).unwrap();
        processor
    }

    #[test]
    fn shifts_set_the_carry_as_the_manual_says() {
        // lsls r0, r1; movs r2, #0; adcs r2, r2
        for (value, by, shifted, carry) in [
            (3, 0, 3, 0),
            (1 << 31, 1, 0, 1),
            (1, 32, 0, 1),
            (2, 32, 0, 0),
            (!0, 33, 0, 0),
            (!0, 255, 0, 0),
        ] {
            let processor = run(&[0x4088, 0x2200, 0x4152], value, by);
            assert_eq!(
                (processor.registers[0], processor.registers[2]),
                (shifted, carry),
                "{value:x} << {by}"
            );
        }
        // lsrs r0, r1
        for (value, by, shifted, carry) in [(3, 1, 1, 1), (1 << 31, 32, 0, 1), (!0, 33, 0, 0), (6, 0, 6, 0)] {
            let processor = run(&[0x40c8, 0x2200, 0x4152], value, by);
            assert_eq!(
                (processor.registers[0], processor.registers[2]),
                (shifted, carry),
                "{value:x} >> {by}"
            );
        }
        // asrs r0, r1
        for (value, by, shifted, carry) in [
            (3, 1, 1, 1),
            (1 << 31, 31, !0, 0),
            (1 << 31, 32, !0, 1),
            (1 << 31, 200, !0, 1),
            (4, 40, 0, 0),
        ] {
            let processor = run(&[0x4108, 0x2200, 0x4152], value, by);
            assert_eq!(
                (processor.registers[0], processor.registers[2]),
                (shifted, carry),
                "{value:x} >> {by} signed"
            );
        }
    }

    #[test]
    fn cycles_are_those_of_the_table() {
        let empty = run(&[], 0, 0).cycles;
        assert_eq!(empty, 2); // bx lr
        let sp = RAM.0 + 128;
        for (code, cycles) in [
            (&[0x4348][..], 1),         // muls r0, r1
            (&[0x6808], 2),             // ldr r0, [r1]
            (&[0x6008], 2),             // str r0, [r1]
            (&[0xb403, 0xbc03], 3 + 3), // push {r0, r1}; pop {r0, r1}
            (&[0xc90c], 3),             // ldmia r1!, {r2, r3}
            (&[0xe7ff], 2),             // b to the next
            (&[0xd0ff], 1),             // beq, not taken
            (&[0xd1ff], 2),             // bne, taken
        ] {
            assert_eq!(run(code, 0, sp).cycles - empty, cycles, "{code:x?}");
        }
    }

    #[test]
    fn every_address_counts_in_the_trace() {
        let at = |address| run(&[0x6808], 0, address).trace; // ldr r0, [r1]
        assert_eq!(at(RAM.0), at(RAM.0));
        assert_ne!(at(RAM.0), at(RAM.0 + 4));
        assert_ne!(run(&[0x4348], 0, 0).trace, run(&[0x4348, 0x4348], 0, 0).trace);
    }
}
