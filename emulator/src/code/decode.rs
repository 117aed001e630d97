//! Thumb instructions, taken apart once (ARMv6-M Architecture Reference Manual, chapter A5).
//!
//! An instruction is decoded the first time that it runs and kept in eight bytes beside all the others of its memory
//! ([`super`]). Whatever does not change is resolved here: literal addresses, branch targets, register lists.

/// What an instruction does. Where two encodings do the same to other operands they share one of these.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// Not decoded yet: the value of memory that was never run.
    #[default]
    Undecoded,
    /// Behind the last halfword of a memory.
    End,
    /// A function of the boot ROM that the emulator does itself; `imm` is its number.
    Rom,
    MovReg,
    LslImm,
    LsrImm,
    AsrImm,
    AddReg,
    SubReg,
    AddImm,
    SubImm,
    MovImm,
    CmpImm,
    And,
    Eor,
    LslReg,
    LsrReg,
    AsrReg,
    Adc,
    Sbc,
    Ror,
    Tst,
    Rsb,
    CmpReg,
    Cmn,
    Orr,
    Mul,
    Bic,
    Mvn,
    AddHigh,
    /// ADD PC, Rm; `imm` is PC + 4.
    AddPc,
    CmpHigh,
    MovHigh,
    MovPc,
    Bx,
    Blx,
    /// `imm` is the address of the literal.
    LdrLiteral,
    StrReg,
    StrhReg,
    StrbReg,
    LdrsbReg,
    LdrReg,
    LdrhReg,
    LdrbReg,
    LdrshReg,
    StrImm,
    LdrImm,
    StrbImm,
    LdrbImm,
    StrhImm,
    LdrhImm,
    /// ADR, and MOV Rd, PC: `imm` is the result.
    Address,
    /// ADD Rd, PC: `imm` is PC + 4.
    AddConstant,
    AddSpImm,
    AdjustSp,
    Sxth,
    Sxtb,
    Uxth,
    Uxtb,
    /// `imm` is the list of registers, `n` its length, for this and the next four.
    Push,
    Pop,
    PopPc,
    Stm,
    /// `d` is 1 if the base is written back.
    Ldm,
    Cpsie,
    Cpsid,
    Rev,
    Rev16,
    Revsh,
    Bkpt,
    /// NOP, YIELD and the hints without a meaning here.
    Nop,
    Wfe,
    Wfi,
    Sev,
    /// `imm` is the index of the target in the code cache, for this and the next fourteen.
    B,
    Beq,
    Bne,
    Bcs,
    Bcc,
    Bmi,
    Bpl,
    Bvs,
    Bvc,
    Bhi,
    Bls,
    Bge,
    Blt,
    Bgt,
    Ble,
    /// A branch that leaves its memory; `imm` is the address, `d` the condition.
    BFar,
    /// `imm` is the index of the target.
    Bl,
    /// A call that leaves its memory; `imm` is the address.
    BlFar,
    Svc,
    Msr,
    Mrs,
    /// DMB, DSB, ISB.
    Barrier,
    /// UDF and every encoding without a meaning; `d` is its length in halfwords.
    Undefined,
}

/// One instruction, taken apart.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Decoded {
    pub op: Op,
    /// Destination register, or what the operation says.
    pub d: u8,
    /// First operand.
    pub n: u8,
    /// Second operand.
    pub m: u8,
    pub imm: u32,
}

impl Decoded {
    const fn new(op: Op, d: u32, n: u32, m: u32, imm: u32) -> Self {
        Self {
            op,
            d: d as u8,
            n: n as u8,
            m: m as u8,
            imm,
        }
    }

    /// How many halfwords the instruction takes.
    #[cfg(test)]
    pub(crate) const fn halfwords(self) -> u32 {
        match self.op {
            Op::Bl | Op::BlFar | Op::Msr | Op::Mrs | Op::Barrier => 2,
            Op::Undefined => self.d as u32,
            _ => 1,
        }
    }
}

const BY_CONDITION: [Op; 14] = [
    Op::Beq,
    Op::Bne,
    Op::Bcs,
    Op::Bcc,
    Op::Bmi,
    Op::Bpl,
    Op::Bvs,
    Op::Bvc,
    Op::Bhi,
    Op::Bls,
    Op::Bge,
    Op::Blt,
    Op::Bgt,
    Op::Ble,
];

const DATA_PROCESSING: [Op; 16] = [
    Op::And,
    Op::Eor,
    Op::LslReg,
    Op::LsrReg,
    Op::AsrReg,
    Op::Adc,
    Op::Sbc,
    Op::Ror,
    Op::Tst,
    Op::Rsb,
    Op::CmpReg,
    Op::Cmn,
    Op::Orr,
    Op::Mul,
    Op::Bic,
    Op::Mvn,
];

const LOAD_STORE_REGISTER: [Op; 8] = [
    Op::StrReg,
    Op::StrhReg,
    Op::StrbReg,
    Op::LdrsbReg,
    Op::LdrReg,
    Op::LdrhReg,
    Op::LdrbReg,
    Op::LdrshReg,
];

/// Whether a first halfword is followed by a second one of the same instruction (A5.1).
pub(crate) const fn is_wide(first: u16) -> bool {
    first >= 0xe800
}

/// Takes the instruction at address `pc` apart. `second` is the halfword behind it, wanted only if [`is_wide`].
/// `index_of` names the place of a branch target in the code cache if it lies in the same memory.
pub(crate) fn decode(pc: u32, first: u16, second: u16, index_of: impl Fn(u32) -> Option<u32>) -> Decoded {
    let op = u32::from(first);
    let low = |shift: u32| op >> shift & 7;
    let imm8 = op & 0xff;
    let imm5 = op >> 6 & 31;
    let at = Decoded::new;
    let undefined = Decoded::new(Op::Undefined, 1, 0, 0, op);
    let pc4 = pc.wrapping_add(4);
    match op >> 11 {
        // A5.2.1: shift, add, subtract, move, compare
        0b00000 if imm5 == 0 => at(Op::MovReg, low(0), 0, low(3), 0),
        0b00000 => at(Op::LslImm, low(0), 0, low(3), imm5),
        0b00001 => at(Op::LsrImm, low(0), 0, low(3), if imm5 == 0 { 32 } else { imm5 }),
        0b00010 => at(Op::AsrImm, low(0), 0, low(3), if imm5 == 0 { 32 } else { imm5 }),
        0b00011 => match op >> 9 & 3 {
            0 => at(Op::AddReg, low(0), low(3), low(6), 0),
            1 => at(Op::SubReg, low(0), low(3), low(6), 0),
            2 => at(Op::AddImm, low(0), low(3), 0, low(6)),
            _ => at(Op::SubImm, low(0), low(3), 0, low(6)),
        },
        0b00100 => at(Op::MovImm, low(8), 0, 0, imm8),
        0b00101 => at(Op::CmpImm, 0, low(8), 0, imm8),
        0b00110 => at(Op::AddImm, low(8), low(8), 0, imm8),
        0b00111 => at(Op::SubImm, low(8), low(8), 0, imm8),
        // A5.2.2: RSB and MVN read Rm only, the others the destination too
        0b01000 if op >> 10 & 1 == 0 => at(DATA_PROCESSING[imm5 as usize & 15], low(0), low(0), low(3), 0),
        0b01000 => decode_high(pc4, op),
        0b01001 => at(Op::LdrLiteral, low(8), 0, 0, (pc4 & !3).wrapping_add(imm8 << 2)),
        // A5.2.4: loads and stores
        0b01010 | 0b01011 => at(
            LOAD_STORE_REGISTER[(op >> 9 & 7) as usize],
            low(0),
            low(3),
            low(6),
            0,
        ),
        0b01100 => at(Op::StrImm, low(0), low(3), 0, imm5 << 2),
        0b01101 => at(Op::LdrImm, low(0), low(3), 0, imm5 << 2),
        0b01110 => at(Op::StrbImm, low(0), low(3), 0, imm5),
        0b01111 => at(Op::LdrbImm, low(0), low(3), 0, imm5),
        0b10000 => at(Op::StrhImm, low(0), low(3), 0, imm5 << 1),
        0b10001 => at(Op::LdrhImm, low(0), low(3), 0, imm5 << 1),
        0b10010 => at(Op::StrImm, low(8), 13, 0, imm8 << 2),
        0b10011 => at(Op::LdrImm, low(8), 13, 0, imm8 << 2),
        0b10100 => at(Op::Address, low(8), 0, 0, (pc4 & !3).wrapping_add(imm8 << 2)),
        0b10101 => at(Op::AddSpImm, low(8), 13, 0, imm8 << 2),
        0b10110 | 0b10111 => decode_miscellaneous(op).unwrap_or(undefined),
        0b11000 => at(Op::Stm, 0, low(8), 0, imm8),
        0b11001 => at(Op::Ldm, u32::from(imm8 >> low(8) & 1 == 0), low(8), 0, imm8),
        0b11010 | 0b11011 => match op >> 8 & 15 {
            14 => undefined,
            15 => at(Op::Svc, 0, 0, 0, imm8),
            condition => {
                let target = pc4.wrapping_add(((imm8 as u8 as i8 as i32) << 1) as u32);
                match index_of(target) {
                    Some(index) => at(BY_CONDITION[condition as usize], 0, 0, 0, index),
                    None => at(Op::BFar, condition, 0, 0, target),
                }
            }
        },
        0b11100 => {
            let target = pc4.wrapping_add((((op << 21) as i32) >> 20) as u32);
            match index_of(target) {
                Some(index) => at(Op::B, 0, 0, 0, index),
                None => at(Op::BFar, 14, 0, 0, target),
            }
        }
        _ => decode_wide(pc4, op, u32::from(second), index_of),
    }
}

/// A5.2.3: special data instructions, branch and exchange.
fn decode_high(pc4: u32, op: u32) -> Decoded {
    let at = Decoded::new;
    let m = op >> 3 & 15;
    let d = op & 7 | op >> 4 & 8;
    match op >> 8 & 3 {
        0 => match (d, m) {
            (15, _) => at(Op::AddPc, 15, 0, m, pc4),
            (_, 15) => at(Op::AddConstant, d, d, 0, pc4),
            _ => at(Op::AddHigh, d, d, m, 0),
        },
        1 => at(Op::CmpHigh, 0, d, m, 0),
        2 => match (d, m) {
            (15, _) => at(Op::MovPc, 15, 0, m, pc4),
            (_, 15) => at(Op::Address, d, 0, 0, pc4),
            _ => at(Op::MovHigh, d, 0, m, 0),
        },
        _ if op & 7 != 0 => at(Op::Undefined, 1, 0, 0, op),
        _ if op & 0x80 != 0 => at(Op::Blx, 0, 0, m, 0),
        _ => at(Op::Bx, 0, 0, m, 0),
    }
}

/// A5.2.5: miscellaneous 16-bit instructions.
fn decode_miscellaneous(op: u32) -> Option<Decoded> {
    let at = Decoded::new;
    let (d, m) = (op & 7, op >> 3 & 7);
    let list = op & 0x1ff;
    Some(match op >> 8 & 15 {
        0b0000 => {
            let imm = (op & 0x7f) << 2;
            at(
                Op::AdjustSp,
                13,
                13,
                0,
                if op & 0x80 != 0 { imm.wrapping_neg() } else { imm },
            )
        }
        0b0010 => at(
            [Op::Sxth, Op::Sxtb, Op::Uxth, Op::Uxtb][(op >> 6 & 3) as usize],
            d,
            0,
            m,
            0,
        ),
        // the ninth bit of a list is LR when pushed, PC when popped
        0b0100 | 0b0101 => at(Op::Push, 0, list.count_ones(), 0, op & 0xff | (op & 0x100) << 6),
        0b0110 if op & 0xffef == 0xb662 => at(if op & 0x10 == 0 { Op::Cpsie } else { Op::Cpsid }, 0, 0, 0, 0),
        0b1010 => match op >> 6 & 3 {
            0 => at(Op::Rev, d, 0, m, 0),
            1 => at(Op::Rev16, d, 0, m, 0),
            3 => at(Op::Revsh, d, 0, m, 0),
            _ => return None,
        },
        0b1100 => at(Op::Pop, 0, list.count_ones(), 0, op & 0xff),
        0b1101 => at(Op::PopPc, 0, list.count_ones(), 0, op & 0xff),
        0b1110 => at(Op::Bkpt, 0, 0, 0, op & 0xff),
        0b1111 if op & 15 == 0 => match op >> 4 & 15 {
            2 => at(Op::Wfe, 0, 0, 0, 0),
            3 => at(Op::Wfi, 0, 0, 0, 0),
            4 => at(Op::Sev, 0, 0, 0, 0),
            _ => at(Op::Nop, 0, 0, 0, 0),
        },
        _ => return None,
    })
}

/// A5.3: the few instructions of 32 bits.
fn decode_wide(pc4: u32, op: u32, second: u32, index_of: impl Fn(u32) -> Option<u32>) -> Decoded {
    let at = Decoded::new;
    if op >> 11 == 0b11110 && second & 0xd000 == 0xd000 {
        let sign = op >> 10 & 1;
        let i1 = (second >> 13 & 1) ^ sign ^ 1;
        let i2 = (second >> 11 & 1) ^ sign ^ 1;
        let offset = sign << 24 | i1 << 23 | i2 << 22 | (op & 0x3ff) << 12 | (second & 0x7ff) << 1;
        let target = pc4.wrapping_add((((offset << 7) as i32) >> 7) as u32);
        return match index_of(target) {
            Some(index) => at(Op::Bl, 0, 0, 0, index),
            None => at(Op::BlFar, 0, 0, 0, target),
        };
    }
    let special = second & 0xff;
    let known = matches!(special, 0..=3 | 5..=9 | 16 | 20);
    if op & 0xfff0 == 0xf380 && second & 0xff00 == 0x8800 && known && !matches!(op & 15, 13 | 15) {
        return at(Op::Msr, 0, op & 15, 0, special);
    }
    if op == 0xf3ef && second & 0xf000 == 0x8000 && known && !matches!(second >> 8 & 15, 13 | 15) {
        return at(Op::Mrs, second >> 8 & 15, 0, 0, special);
    }
    if op == 0xf3bf && second & 0xff00 == 0x8f00 && matches!(second >> 4 & 15, 4..=6) {
        return at(Op::Barrier, 0, 0, 0, second >> 4 & 15);
    }
    at(Op::Undefined, 2, 0, 0, op << 16 | second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(op: u16) -> Decoded {
        decode(0x1000_0100, op, 0, Some)
    }

    #[test]
    fn every_halfword_decodes_to_something() {
        for op in 0..=u16::MAX {
            let decoded = decode(0x2000_0000, op, 0xf800, |_| None);
            assert_ne!(decoded.op, Op::Undecoded, "{op:04x}");
            assert_eq!(decoded.halfwords() == 2, is_wide(op), "{op:04x}");
        }
    }

    #[test]
    fn branch_targets_are_resolved() {
        assert_eq!(narrow(0xe7fe).imm, 0x1000_0100, "b .");
        assert_eq!(narrow(0xd0fe), Decoded::new(Op::Beq, 0, 0, 0, 0x1000_0100));
        // bl to itself, and bl 16 MiB back
        assert_eq!(decode(0x1000_0100, 0xf7ff, 0xfffe, Some).imm, 0x1000_0100);
        assert_eq!(decode(0x2100_0000, 0xf400, 0xd000, Some).imm, 0x2000_0004);
    }

    #[test]
    fn the_special_forms_are_told_apart() {
        assert_eq!(narrow(0xb662).op, Op::Cpsie);
        assert_eq!(narrow(0xb672).op, Op::Cpsid);
        assert_eq!(narrow(0xb673).op, Op::Undefined, "cpsid if is not in ARMv6-M");
        assert_eq!(narrow(0xba80).op, Op::Undefined);
        assert_eq!(narrow(0xde00).op, Op::Undefined);
        assert_eq!(narrow(0xb501), Decoded::new(Op::Push, 0, 2, 0, 0x4001));
        assert_eq!(
            decode(0, 0xf3ef, 0x8310, Some),
            Decoded::new(Op::Mrs, 3, 0, 0, 16)
        );
        assert_eq!(
            decode(0, 0xf380, 0x8814, Some),
            Decoded::new(Op::Msr, 0, 0, 0, 20)
        );
        assert_eq!(decode(0, 0xf3bf, 0x8f4f, Some).op, Op::Barrier);
    }
}
