//! The loop.

use super::rare::{long_unsigned, signed};
use super::{CORRUPT, Exit, Machine, Registers, control};
use crate::memory::arena::Frame;
use crate::trap::TrapKind;

impl Machine<'_> {
    /// Runs until something stops it.
    pub(crate) fn run(&mut self) -> Exit {
        let Err(exit) = self.run_loop();
        exit
    }

    #[inline(never)]
    #[expect(
        clippy::too_many_lines,
        reason = "one loop, so that its state stays in registers"
    )]
    fn run_loop(&mut self) -> Result<core::convert::Infallible, Exit> {
        let code = self.code;
        let Registers {
            mut pc,
            mut sp,
            mut fp,
            mut branch,
            ..
        } = self.at;
        macro_rules! slot {
            ($index:expr) => {
                match self.stack.get_mut($index) {
                    Some(slot) => slot,
                    None => return Err(CORRUPT),
                }
            };
        }
        macro_rules! byte {
            () => {
                match code.get(pc) {
                    Some(byte) => {
                        pc += 1;
                        *byte
                    }
                    None => return Err(CORRUPT),
                }
            };
        }
        macro_rules! unsigned {
            () => {{
                let first = byte!();
                let mut value = u32::from(first);
                if first >= 0x80 {
                    (value, pc) = long_unsigned(code, pc, first);
                }
                value
            }};
        }
        macro_rules! push {
            ($value:expr) => {{
                *slot!(sp) = $value;
                sp += 1;
            }};
        }
        macro_rules! pop {
            () => {{
                sp = sp.wrapping_sub(1);
                *slot!(sp)
            }};
        }
        macro_rules! top {
            () => {
                slot!(sp.wrapping_sub(1))
            };
        }
        // Writes what is kept in registers back, and reads it again.
        macro_rules! save {
            () => {{
                self.at.pc = pc;
                self.at.sp = sp;
                self.at.branch = branch;
            }};
        }
        macro_rules! restore {
            () => {{
                pc = self.at.pc;
                sp = self.at.sp;
                branch = self.at.branch;
                fp = self.at.fp;
            }};
        }
        macro_rules! stop_without_fuel {
            () => {
                if self.fuel < 0 {
                    save!();
                    return Err(Exit::Fuel);
                }
            };
        }
        // Takes the branch at a place of the side table.
        macro_rules! jump {
            ($place:expr) => {{
                let place: usize = $place;
                let (Some(first), Some(second)) = (
                    self.side_table.get(place),
                    self.side_table.get(place.wrapping_add(1)),
                ) else {
                    return Err(CORRUPT);
                };
                let (first, second) = (*first, *second);
                let target = (first >> 8) as usize;
                let to = fp + (second >> 16) as usize;
                let keep = (first & 0xff) as usize;
                if keep == 1 {
                    let value = *top!();
                    *slot!(to) = value;
                } else if keep > 0 {
                    control::move_slots(self.stack, sp.wrapping_sub(keep), to, keep)?;
                }
                sp = to + keep;
                branch = place.wrapping_add_signed(isize::from(second as i16) * 2);
                let mut cost = 1;
                if target < pc {
                    cost += ((pc - target) >> 4) as i32;
                }
                pc = target;
                self.fuel -= cost;
                stop_without_fuel!();
            }};
        }
        macro_rules! binary {
            ($operation:expr) => {{
                let operation: fn(u32, u32) -> u32 = $operation;
                let y = pop!();
                let x = top!();
                *x = operation(*x, y);
            }};
        }
        macro_rules! address {
            ($base:expr) => {{
                // The alignment is a hint.
                let _ = unsigned!();
                let base: u32 = $base;
                match base.checked_add(unsigned!()) {
                    Some(address) => address,
                    None => {
                        save!();
                        return Err(Exit::Trap(TrapKind::MemoryOutOfBounds));
                    }
                }
            }};
        }
        macro_rules! word {
            ($address:expr) => {{
                let number = self.memory.frame_number($address);
                let index = (number as usize).wrapping_sub(1);
                self.frames
                    .all()
                    .get_mut(index)
                    .map(|frame: &mut Frame| &mut frame[($address >> 2 & 0xff) as usize])
            }};
        }
        macro_rules! load {
            ($size:literal, $convert:expr) => {{
                let base = *top!();
                let address = address!(base);
                let convert: fn(u32) -> u32 = $convert;
                let value = match word!(address) {
                    Some(word) if address.is_multiple_of($size) => *word >> (address % 4 * 8),
                    _ => {
                        save!();
                        self.load_slow(address, $size)? as u32
                    }
                };
                *top!() = convert(value);
            }};
        }
        macro_rules! store {
            ($size:literal, $bits:literal) => {{
                let value = pop!();
                let base = pop!();
                let address = address!(base);
                match word!(address) {
                    Some(word) if address.is_multiple_of($size) => {
                        if $size == 4 {
                            *word = value;
                        } else {
                            let shift = address % 4 * 8;
                            *word = *word & !($bits << shift) | (value & $bits) << shift;
                        }
                    }
                    _ => {
                        save!();
                        self.store_slow(address, $size, u64::from(value))?;
                    }
                }
            }};
        }
        loop {
            let opcode = byte!();
            match opcode {
                // nop; block and loop, whose type does not matter here
                0x01 => {}
                0x02 | 0x03 => {
                    if byte!() >= 0x80 {
                        (_, pc) = long_unsigned(code, pc, 0);
                    }
                }
                // if
                0x04 => {
                    if byte!() >= 0x80 {
                        (_, pc) = long_unsigned(code, pc, 0);
                    }
                    if pop!() == 0 {
                        jump!(branch);
                    } else {
                        branch += 2;
                    }
                }
                // else, reached from the branch before it; br
                0x05 | 0x0c => jump!(branch),
                // end of a block
                0x0b if pc != self.at.end => {}
                // end of the function; return
                0x0b | 0x0f => {
                    save!();
                    self.leave()?;
                    restore!();
                }
                // br_if
                0x0d => {
                    let _ = unsigned!();
                    if pop!() != 0 {
                        jump!(branch);
                    } else {
                        branch += 2;
                    }
                }
                // br_table
                0x0e => {
                    let labels = unsigned!();
                    let label = pop!().min(labels);
                    jump!(branch + label as usize * 2);
                }
                // call
                0x10 => {
                    let function = unsigned!();
                    save!();
                    self.call(function)?;
                    restore!();
                    stop_without_fuel!();
                }
                // call_indirect
                0x11 => {
                    let ty = unsigned!();
                    let table = unsigned!();
                    let element = pop!();
                    save!();
                    self.call_indirect(ty, table, element)?;
                    restore!();
                    stop_without_fuel!();
                }
                // drop
                0x1a => {
                    sp = sp.wrapping_sub(1);
                    if self.at.wide_list != 0 && self.is_wide(pc - 1) {
                        sp = sp.wrapping_sub(1);
                    }
                }
                // select
                0x1b => {
                    if self.at.wide_list != 0 && self.is_wide(pc - 1) {
                        save!();
                        self.select_wide()?;
                        sp = self.at.sp;
                    } else {
                        let condition = pop!();
                        let second = pop!();
                        if condition == 0 {
                            *top!() = second;
                        }
                    }
                }
                // local.get
                0x20 => {
                    let local = unsigned!() as usize;
                    if self.at.local_table == 0 {
                        let value = *slot!(fp + local);
                        push!(value);
                    } else {
                        let (slot, wide) = self.local(local)?;
                        let value = *slot!(fp + slot);
                        push!(value);
                        if wide {
                            let value = *slot!(fp + slot + 1);
                            push!(value);
                        }
                    }
                }
                // local.set
                0x21 => {
                    let local = unsigned!() as usize;
                    let value = pop!();
                    if self.at.local_table == 0 {
                        *slot!(fp + local) = value;
                    } else {
                        let (slot, wide) = self.local(local)?;
                        if wide {
                            *slot!(fp + slot + 1) = value;
                            let low = pop!();
                            *slot!(fp + slot) = low;
                        } else {
                            *slot!(fp + slot) = value;
                        }
                    }
                }
                // local.tee
                0x22 => {
                    let local = unsigned!() as usize;
                    let value = *top!();
                    if self.at.local_table == 0 {
                        *slot!(fp + local) = value;
                    } else {
                        let (slot, wide) = self.local(local)?;
                        if wide {
                            *slot!(fp + slot + 1) = value;
                            let low = *slot!(sp.wrapping_sub(2));
                            *slot!(fp + slot) = low;
                        } else {
                            *slot!(fp + slot) = value;
                        }
                    }
                }
                // global.get
                0x23 => {
                    let global = self.global(unsigned!())?;
                    let (low, high, wide) = (global.low, global.high, global.ty.value.is_wide());
                    push!(low);
                    if wide {
                        push!(high);
                    }
                }
                // global.set
                0x24 => {
                    let mut value = pop!();
                    let global = unsigned!();
                    if self.global(global)?.ty.value.is_wide() {
                        self.global(global)?.high = value;
                        value = pop!();
                    }
                    self.global(global)?.low = value;
                }
                // i32.load, f32.load
                0x28 | 0x2a => load!(4, |value| value),
                0x2c => load!(1, |value| value as i8 as u32),
                0x2d => load!(1, |value| value & 0xff),
                0x2e => load!(2, |value| value as i16 as u32),
                0x2f => load!(2, |value| value & 0xffff),
                // i32.store, f32.store
                0x36 | 0x38 => store!(4, 0xffff_ffff),
                0x3a => store!(1, 0xff),
                0x3b => store!(2, 0xffff),
                // i32.const
                0x41 => {
                    let first = byte!();
                    let mut value = ((u32::from(first) << 25) as i32 >> 25) as u32;
                    if first >= 0x80 {
                        let (long, after) = signed(code, pc - 1);
                        value = long as u32;
                        pc = after;
                    }
                    push!(value);
                }
                0x45 => {
                    let x = top!();
                    *x = u32::from(*x == 0);
                }
                0x46 => binary!(|x, y| u32::from(x == y)),
                0x47 => binary!(|x, y| u32::from(x != y)),
                0x48 => binary!(|x, y| u32::from((x as i32) < y as i32)),
                0x49 => binary!(|x, y| u32::from(x < y)),
                0x4a => binary!(|x, y| u32::from(x as i32 > y as i32)),
                0x4b => binary!(|x, y| u32::from(x > y)),
                0x4c => binary!(|x, y| u32::from(x as i32 <= y as i32)),
                0x4d => binary!(|x, y| u32::from(x <= y)),
                0x4e => binary!(|x, y| u32::from(x as i32 >= y as i32)),
                0x4f => binary!(|x, y| u32::from(x >= y)),
                0x6a => binary!(u32::wrapping_add),
                0x6b => binary!(u32::wrapping_sub),
                0x6c => binary!(u32::wrapping_mul),
                0x71 => binary!(|x, y| x & y),
                0x72 => binary!(|x, y| x | y),
                0x73 => binary!(|x, y| x ^ y),
                0x74 => binary!(u32::wrapping_shl),
                0x75 => binary!(|x, y| (x as i32).wrapping_shr(y) as u32),
                0x76 => binary!(u32::wrapping_shr),
                _ => {
                    save!();
                    self.rare(opcode)?;
                    pc = self.at.pc;
                    sp = self.at.sp;
                }
            }
        }
    }
}
