//! Instructions: how they are encoded, and the types of those that only compute.

use crate::error::{ErrorKind, Proposal, Reason};
use crate::reader::{Cursor, Step};
use crate::types::ValueType;

/// Opcodes that are named in more than one place. Two-byte ones are `0xfc00` and the second byte.
pub(crate) mod op {
    pub(crate) const UNREACHABLE: u16 = 0x00;
    pub(crate) const NOP: u16 = 0x01;
    pub(crate) const BLOCK: u16 = 0x02;
    pub(crate) const LOOP: u16 = 0x03;
    pub(crate) const IF: u16 = 0x04;
    pub(crate) const ELSE: u16 = 0x05;
    pub(crate) const END: u16 = 0x0b;
    pub(crate) const BR: u16 = 0x0c;
    pub(crate) const BR_IF: u16 = 0x0d;
    pub(crate) const BR_TABLE: u16 = 0x0e;
    pub(crate) const RETURN: u16 = 0x0f;
    pub(crate) const CALL: u16 = 0x10;
    pub(crate) const CALL_INDIRECT: u16 = 0x11;
    pub(crate) const DROP: u16 = 0x1a;
    pub(crate) const SELECT: u16 = 0x1b;
    pub(crate) const SELECT_TYPED: u16 = 0x1c;
    pub(crate) const LOCAL_GET: u16 = 0x20;
    pub(crate) const LOCAL_SET: u16 = 0x21;
    pub(crate) const LOCAL_TEE: u16 = 0x22;
    pub(crate) const GLOBAL_GET: u16 = 0x23;
    pub(crate) const GLOBAL_SET: u16 = 0x24;
    pub(crate) const TABLE_GET: u16 = 0x25;
    pub(crate) const TABLE_SET: u16 = 0x26;
    pub(crate) const FIRST_LOAD: u16 = 0x28;
    pub(crate) const LAST_LOAD: u16 = 0x35;
    pub(crate) const LAST_STORE: u16 = 0x3e;
    pub(crate) const MEMORY_SIZE: u16 = 0x3f;
    pub(crate) const MEMORY_GROW: u16 = 0x40;
    pub(crate) const I32_CONST: u16 = 0x41;
    pub(crate) const I64_CONST: u16 = 0x42;
    pub(crate) const F32_CONST: u16 = 0x43;
    pub(crate) const F64_CONST: u16 = 0x44;
    pub(crate) const FIRST_NUMERIC: u16 = 0x45;
    pub(crate) const LAST_NUMERIC: u16 = 0xc4;
    pub(crate) const REF_NULL: u16 = 0xd0;
    pub(crate) const REF_IS_NULL: u16 = 0xd1;
    pub(crate) const REF_FUNC: u16 = 0xd2;
    pub(crate) const FIRST_SATURATING: u16 = 0xfc00;
    pub(crate) const LAST_SATURATING: u16 = 0xfc07;
    pub(crate) const MEMORY_INIT: u16 = 0xfc08;
    pub(crate) const DATA_DROP: u16 = 0xfc09;
    pub(crate) const MEMORY_COPY: u16 = 0xfc0a;
    pub(crate) const MEMORY_FILL: u16 = 0xfc0b;
    pub(crate) const TABLE_INIT: u16 = 0xfc0c;
    pub(crate) const ELEM_DROP: u16 = 0xfc0d;
    pub(crate) const TABLE_COPY: u16 = 0xfc0e;
    pub(crate) const TABLE_GROW: u16 = 0xfc0f;
    pub(crate) const TABLE_SIZE: u16 = 0xfc10;
    pub(crate) const TABLE_FILL: u16 = 0xfc11;
}

/// Type of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockType {
    /// No parameters, no results.
    Empty,
    /// One result.
    Value(ValueType),
    /// That of a function type, by index.
    Function(u32),
}

impl BlockType {
    fn read(cursor: &mut Cursor<'_>) -> Step<Self> {
        let byte = cursor.byte()?;
        // A one-byte negative number is a value type.
        if (0x40..0x80).contains(&byte) {
            return match byte {
                0x40 => Ok(Self::Empty),
                _ => match ValueType::from_byte(byte) {
                    Ok(value) => Ok(Self::Value(value)),
                    Err(kind) => cursor.fail_last(kind),
                },
            };
        }
        cursor.back();
        match u32::try_from(cursor.signed(33)?) {
            Ok(index) => Ok(Self::Function(index)),
            Err(_) => cursor.fail(ErrorKind::Malformed(Reason::BlockType)),
        }
    }
}

/// One instruction with its immediates.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// The opcode; for two-byte ones `0xfc00` and the second byte.
    pub opcode: u16,
    /// Offset of the opcode in the module.
    pub offset: u32,
    /// Offset of what follows the instruction.
    pub end: u32,
    /// The first index: label, function, type, local, global, table or segment; alignment of a memory access.
    pub a: u32,
    /// The second index; offset of a memory access.
    pub b: u32,
    /// Bits of a constant.
    pub bits: u64,
    /// Type of a block.
    pub block: BlockType,
    /// Type that `select` or `ref.null` names.
    pub value: ValueType,
}

impl Instruction {
    /// Reads an instruction. Of `br_table` only the opcode and the number of labels, in `a`.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Step<Self> {
        let mut this = Self {
            opcode: 0,
            offset: cursor.offset(),
            end: 0,
            a: 0,
            b: 0,
            bits: 0,
            block: BlockType::Empty,
            value: ValueType::I32,
        };
        let byte = cursor.byte()?;
        this.opcode = u16::from(byte);
        if byte == 0xfc {
            let second = cursor.u32()?;
            match second {
                0..=0x11 => this.opcode = 0xfc00 | second as u16,
                0x13..=0x16 => {
                    return Err(ErrorKind::Unsupported(Proposal::WideArithmetic).into());
                }
                _ => return Err(ErrorKind::Malformed(Reason::Opcode).into()),
            }
        }
        this.read_immediates(cursor)?;
        this.end = cursor.offset();
        Ok(this)
    }

    fn read_immediates(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        match self.opcode {
            op::UNREACHABLE | op::NOP | op::ELSE | op::END | op::RETURN | op::DROP | op::SELECT => {}
            op::FIRST_NUMERIC..=op::LAST_NUMERIC | op::REF_IS_NULL => {}
            op::FIRST_SATURATING..=op::LAST_SATURATING => {}
            op::BLOCK | op::LOOP | op::IF => self.block = BlockType::read(cursor)?,
            op::BR | op::BR_IF | op::BR_TABLE | op::CALL | op::REF_FUNC => self.a = cursor.u32()?,
            op::LOCAL_GET..=op::TABLE_SET | op::ELEM_DROP | op::DATA_DROP => self.a = cursor.u32()?,
            op::TABLE_GROW | op::TABLE_SIZE | op::TABLE_FILL => self.a = cursor.u32()?,
            op::CALL_INDIRECT | op::TABLE_INIT | op::TABLE_COPY => {
                self.a = cursor.u32()?;
                self.b = cursor.u32()?;
            }
            op::SELECT_TYPED => {
                if cursor.u32()? != 1 {
                    return cursor.fail(ErrorKind::Invalid(Reason::TypesOfSelect));
                }
                self.value = value_type(cursor)?;
            }
            op::FIRST_LOAD..=op::LAST_STORE => {
                self.a = cursor.u32()?;
                if self.a & 0x40 != 0 {
                    return cursor.fail(ErrorKind::Unsupported(Proposal::MultiMemory));
                }
                if self.a > 31 {
                    return cursor.fail(ErrorKind::Malformed(Reason::Alignment));
                }
                self.b = cursor.u32()?;
            }
            op::MEMORY_SIZE | op::MEMORY_GROW | op::MEMORY_FILL => memory_index(cursor)?,
            op::MEMORY_COPY => {
                memory_index(cursor)?;
                memory_index(cursor)?;
            }
            op::MEMORY_INIT => {
                self.a = cursor.u32()?;
                memory_index(cursor)?;
            }
            op::I32_CONST => self.bits = cursor.signed(32)? as u64,
            op::I64_CONST => self.bits = cursor.signed(64)? as u64,
            op::F32_CONST => self.bits = cursor.little_endian(4)?,
            op::F64_CONST => self.bits = cursor.little_endian(8)?,
            op::REF_NULL => {
                self.value = value_type(cursor)?;
                if !self.value.is_reference() {
                    return cursor.fail(ErrorKind::Malformed(Reason::ReferenceType));
                }
            }
            _ => return Err(unknown(self.opcode).into()),
        }
        Ok(())
    }
}

/// What an opcode that this engine does not have belongs to.
fn unknown(opcode: u16) -> ErrorKind {
    ErrorKind::Unsupported(match opcode {
        0x06..=0x0a | 0x18 | 0x19 | 0x1f => Proposal::ExceptionHandling,
        0x12 | 0x13 => Proposal::TailCalls,
        0x14 | 0x15 | 0xd4..=0xd6 => Proposal::FunctionReferences,
        0xd3 | 0xfb => Proposal::GarbageCollection,
        0xfd => Proposal::Simd,
        0xfe => Proposal::Threads,
        _ => return ErrorKind::Malformed(Reason::Opcode),
    })
}

pub(crate) fn value_type(cursor: &mut Cursor<'_>) -> Step<ValueType> {
    let byte = cursor.byte()?;
    match ValueType::from_byte(byte) {
        Ok(value) => Ok(value),
        Err(kind) => cursor.fail_last(kind),
    }
}

/// The byte that names the memory, of which there is one.
fn memory_index(cursor: &mut Cursor<'_>) -> Step<()> {
    if cursor.byte()? != 0 {
        return cursor.fail_last(ErrorKind::Unsupported(Proposal::MultiMemory));
    }
    Ok(())
}

/// Operands and result of instructions that only compute: how many operands of which type, and the result.
pub(crate) struct Numeric {
    pub(crate) operands: u32,
    pub(crate) operand: ValueType,
    pub(crate) result: ValueType,
}

const I32: ValueType = ValueType::I32;
const I64: ValueType = ValueType::I64;
const F32: ValueType = ValueType::F32;
const F64: ValueType = ValueType::F64;

/// Runs of opcodes with the same types, by the last opcode of the run.
const NUMERIC: [(u8, u8, ValueType, ValueType); 33] = [
    (0x45, 1, I32, I32),
    (0x4f, 2, I32, I32),
    (0x50, 1, I64, I32),
    (0x5a, 2, I64, I32),
    (0x60, 2, F32, I32),
    (0x66, 2, F64, I32),
    (0x69, 1, I32, I32),
    (0x78, 2, I32, I32),
    (0x7b, 1, I64, I64),
    (0x8a, 2, I64, I64),
    (0x91, 1, F32, F32),
    (0x98, 2, F32, F32),
    (0x9f, 1, F64, F64),
    (0xa6, 2, F64, F64),
    (0xa7, 1, I64, I32),
    (0xa9, 1, F32, I32),
    (0xab, 1, F64, I32),
    (0xad, 1, I32, I64),
    (0xaf, 1, F32, I64),
    (0xb1, 1, F64, I64),
    (0xb3, 1, I32, F32),
    (0xb5, 1, I64, F32),
    (0xb6, 1, F64, F32),
    (0xb8, 1, I32, F64),
    (0xba, 1, I64, F64),
    (0xbb, 1, F32, F64),
    (0xbc, 1, F32, I32),
    (0xbd, 1, F64, I64),
    (0xbe, 1, I32, F32),
    (0xbf, 1, I64, F64),
    (0xc1, 1, I32, I32),
    (0xc4, 1, I64, I64),
    (0xff, 0, I32, I32),
];

/// Types of an instruction that only computes.
pub(crate) fn numeric(opcode: u16) -> Numeric {
    let opcode = match opcode {
        // Saturating truncations have the types of the trapping ones, which lie in the same order.
        0xfc00..=0xfc01 => 0xa8,
        0xfc02..=0xfc03 => 0xaa,
        0xfc04..=0xfc05 => 0xae,
        0xfc06..=0xfc07 => 0xb0,
        _ => opcode as u8,
    };
    let mut found = NUMERIC[0];
    for run in NUMERIC {
        found = run;
        if opcode <= run.0 {
            break;
        }
    }
    Numeric {
        operands: u32::from(found.1),
        operand: found.2,
        result: found.3,
    }
}

/// Type and binary logarithm of the bytes of a load or store.
pub(crate) fn access(opcode: u16) -> (ValueType, u32) {
    match opcode {
        0x28 | 0x36 => (I32, 2),
        0x29 | 0x37 => (I64, 3),
        0x2a | 0x38 => (F32, 2),
        0x2b | 0x39 => (F64, 3),
        0x2c | 0x2d | 0x3a => (I32, 0),
        0x2e | 0x2f | 0x3b => (I32, 1),
        0x30 | 0x31 | 0x3c => (I64, 0),
        0x32 | 0x33 | 0x3d => (I64, 1),
        _ => (I64, 2),
    }
}
