//! The rule of each instruction.

use super::Validator;
use super::function::{MISMATCH, label_types, params, results};
use crate::emitter::Site;
use crate::error::{ErrorKind, Reason};
use crate::instruction::{self, BlockType, Instruction, op};
use crate::types::{GlobalType, TableType, ValueType};

const I32: ValueType = ValueType::I32;

impl Validator<'_> {
    /// Checks an instruction other than `br_table` and gives it to the emitter.
    pub(super) fn check(&mut self, instruction: &Instruction) -> Result<(), ErrorKind> {
        let mut site = Site {
            height: self.function.slots,
            reachable: self.function.is_reachable(),
            wide: false,
        };
        match instruction.opcode {
            op::ELSE | op::END => return self.check_end(instruction, site),
            op::BR | op::BR_IF => return self.check_branch(instruction, site),
            op::DROP => {
                let operand = self.function.pop()?;
                site.wide = operand.is_some_and(ValueType::is_wide);
            }
            op::SELECT => {
                self.function.pop_expected(I32)?;
                let second = self.function.pop()?;
                let first = self.function.pop()?;
                let known = first.or(second);
                if known.is_some_and(ValueType::is_reference)
                    || second.is_some_and(|second| known != Some(second))
                {
                    return Err(MISMATCH);
                }
                site.wide = known.is_some_and(ValueType::is_wide);
                self.function.push(known)?;
            }
            _ => self.check_plain(instruction)?,
        }
        if site.reachable {
            self.emitter.instruction(instruction, &site)?;
        }
        Ok(())
    }

    fn check_end(&mut self, instruction: &Instruction, site: Site) -> Result<(), ErrorKind> {
        let is_else = instruction.opcode == op::ELSE;
        let types = &self.info.types;
        let control = self.function.close(types)?;
        let block = control.block();
        if is_else && control.opcode != op::IF {
            return Err(ErrorKind::Invalid(Reason::ElseWithoutIf));
        }
        // A block that was opened in unreachable code was not reported.
        let was_reported = self.function.is_reachable();
        if is_else {
            self.function.open(op::ELSE, block, types, &self.limits)?;
        } else {
            if control.opcode == op::IF && params(types, &block) != results(types, &block) {
                return Err(MISMATCH);
            }
            if !self.function.controls.is_empty() {
                self.function.push_all(results(types, &block))?;
            }
        }
        if was_reported {
            self.emitter.instruction(instruction, &site)?;
        }
        Ok(())
    }

    fn check_branch(&mut self, instruction: &Instruction, site: Site) -> Result<(), ErrorKind> {
        let conditional = instruction.opcode == op::BR_IF;
        if conditional {
            self.function.pop_expected(I32)?;
        }
        let types = &self.info.types;
        let control = self.function.label(instruction.a)?;
        let label = label_types(types, &control);
        let branch = self.function.branch(instruction.a, types)?;
        self.function.pop_all(label)?;
        self.function.push_all(label)?;
        if site.reachable {
            self.emitter.branch(&branch)?;
            self.emitter.instruction(instruction, &site)?;
        }
        if !conditional {
            self.function.set_unreachable();
        }
        Ok(())
    }

    /// Instructions about which the emitter need not be told more than that they are there.
    fn check_plain(&mut self, instruction: &Instruction) -> Result<(), ErrorKind> {
        let (a, b) = (instruction.a, instruction.b);
        match instruction.opcode {
            op::UNREACHABLE => self.function.set_unreachable(),
            op::NOP => {}
            op::BLOCK | op::LOOP | op::IF => self.check_block(instruction)?,
            op::RETURN => {
                let types = &self.info.types;
                let Some(body) = self.function.controls.first().copied() else {
                    return Err(MISMATCH);
                };
                self.function.pop_all(results(types, &body.block()))?;
                self.function.set_unreachable();
            }
            op::CALL => {
                let ty = self
                    .functions
                    .get(a as usize)
                    .copied()
                    .ok_or(ErrorKind::Invalid(Reason::UnknownFunction))?;
                self.check_call(u32::from(ty))?;
            }
            op::CALL_INDIRECT => {
                if self.table(b)?.element != ValueType::FuncRef {
                    return Err(MISMATCH);
                }
                if self.info.types.get(a).is_none() {
                    return Err(ErrorKind::Invalid(Reason::UnknownType));
                }
                self.function.pop_expected(I32)?;
                self.check_call(a)?;
            }
            op::SELECT_TYPED => self.apply(
                &[instruction.value, instruction.value, I32],
                Some(instruction.value),
            )?,
            op::LOCAL_GET => self.apply(&[], Some(self.function.local(a)?))?,
            op::LOCAL_SET => self.apply(&[self.function.local(a)?], None)?,
            op::LOCAL_TEE => {
                let local = self.function.local(a)?;
                self.apply(&[local], Some(local))?;
            }
            op::GLOBAL_GET => self.apply(&[], Some(self.global(a)?.value))?,
            op::GLOBAL_SET => {
                let global = self.global(a)?;
                if !global.mutable {
                    return Err(ErrorKind::Invalid(Reason::GlobalIsImmutable));
                }
                self.apply(&[global.value], None)?;
            }
            op::FIRST_LOAD..=op::LAST_STORE => {
                self.require_memory()?;
                let (value, log2) = instruction::access(instruction.opcode);
                if a > log2 {
                    return Err(ErrorKind::Invalid(Reason::AlignmentExceedsTheSizeOfTheAccess));
                }
                if instruction.opcode <= op::LAST_LOAD {
                    self.apply(&[I32], Some(value))?;
                } else {
                    self.apply(&[I32, value], None)?;
                }
            }
            op::I32_CONST => self.apply(&[], Some(I32))?,
            op::I64_CONST => self.apply(&[], Some(ValueType::I64))?,
            op::F32_CONST => self.apply(&[], Some(ValueType::F32))?,
            op::F64_CONST => self.apply(&[], Some(ValueType::F64))?,
            op::FIRST_NUMERIC..=op::LAST_NUMERIC | op::FIRST_SATURATING..=op::LAST_SATURATING => {
                let types = instruction::numeric(instruction.opcode);
                for _ in 0..types.operands {
                    self.function.pop_expected(types.operand)?;
                }
                self.function.push(Some(types.result))?;
            }
            _ => self.check_reference_or_bulk(instruction)?,
        }
        Ok(())
    }

    fn check_block(&mut self, instruction: &Instruction) -> Result<(), ErrorKind> {
        let types = &self.info.types;
        if let BlockType::Function(index) = instruction.block
            && types.get(index).is_none()
        {
            return Err(ErrorKind::Invalid(Reason::UnknownType));
        }
        if instruction.opcode == op::IF {
            self.function.pop_expected(I32)?;
        }
        self.function.pop_all(params(types, &instruction.block))?;
        self.function
            .open(instruction.opcode, instruction.block, types, &self.limits)
    }

    fn check_reference_or_bulk(&mut self, instruction: &Instruction) -> Result<(), ErrorKind> {
        let (a, b) = (instruction.a, instruction.b);
        match instruction.opcode {
            op::REF_NULL => self.apply(&[], Some(instruction.value)),
            op::REF_IS_NULL => {
                if self.function.pop()?.is_some_and(|value| !value.is_reference()) {
                    return Err(MISMATCH);
                }
                self.function.push(Some(I32))
            }
            op::REF_FUNC => {
                if a as usize >= self.functions.len() {
                    return Err(ErrorKind::Invalid(Reason::UnknownFunction));
                }
                let word = self.declared.get(a as usize / 32).copied().unwrap_or(0);
                if word >> (a % 32) & 1 == 0 {
                    return Err(ErrorKind::Invalid(Reason::UndeclaredFunctionReference));
                }
                self.apply(&[], Some(ValueType::FuncRef))
            }
            op::TABLE_GET => self.apply(&[I32], Some(self.table(a)?.element)),
            op::TABLE_SET => self.apply(&[I32, self.table(a)?.element], None),
            op::TABLE_SIZE => {
                self.table(a)?;
                self.apply(&[], Some(I32))
            }
            op::TABLE_GROW => self.apply(&[self.table(a)?.element, I32], Some(I32)),
            op::TABLE_FILL => self.apply(&[I32, self.table(a)?.element, I32], None),
            op::TABLE_COPY => {
                if self.table(a)?.element != self.table(b)?.element {
                    return Err(MISMATCH);
                }
                self.apply(&[I32; 3], None)
            }
            op::TABLE_INIT => {
                if self.table(b)?.element != self.element(a)? {
                    return Err(MISMATCH);
                }
                self.apply(&[I32; 3], None)
            }
            op::ELEM_DROP => self.element(a).map(|_| ()),
            op::MEMORY_SIZE => {
                self.require_memory()?;
                self.apply(&[], Some(I32))
            }
            op::MEMORY_GROW => {
                self.require_memory()?;
                self.apply(&[I32], Some(I32))
            }
            op::MEMORY_COPY | op::MEMORY_FILL => {
                self.require_memory()?;
                self.apply(&[I32; 3], None)
            }
            op::MEMORY_INIT => {
                self.require_memory()?;
                self.require_data(a)?;
                self.apply(&[I32; 3], None)
            }
            op::DATA_DROP => self.require_data(a),
            _ => Err(ErrorKind::Malformed(Reason::Opcode)),
        }
    }

    fn apply(&mut self, operands: &[ValueType], result: Option<ValueType>) -> Result<(), ErrorKind> {
        self.function.pop_all(operands)?;
        match result {
            Some(result) => self.function.push(Some(result)),
            None => Ok(()),
        }
    }

    fn check_call(&mut self, ty: u32) -> Result<(), ErrorKind> {
        let types = &self.info.types;
        let block = BlockType::Function(ty);
        self.function.pop_all(params(types, &block))?;
        self.function.push_all(results(types, &block))
    }

    fn table(&self, index: u32) -> Result<TableType, ErrorKind> {
        self.info
            .tables
            .get(index as usize)
            .copied()
            .ok_or(ErrorKind::Invalid(Reason::UnknownTable))
    }

    fn global(&self, index: u32) -> Result<GlobalType, ErrorKind> {
        self.info
            .globals
            .get(index as usize)
            .copied()
            .ok_or(ErrorKind::Invalid(Reason::UnknownGlobal))
    }

    fn element(&self, index: u32) -> Result<ValueType, ErrorKind> {
        let segment = self.info.elements.get(index as usize);
        segment
            .map(|segment| segment.element)
            .ok_or(ErrorKind::Invalid(Reason::UnknownElementSegment))
    }

    fn require_memory(&self) -> Result<(), ErrorKind> {
        self.info
            .memory
            .map(|_| ())
            .ok_or(ErrorKind::Invalid(Reason::UnknownMemory))
    }

    fn require_data(&self, index: u32) -> Result<(), ErrorKind> {
        match self.data_count {
            None => Err(ErrorKind::Malformed(Reason::DataCountSectionRequired)),
            Some(count) if index >= count => Err(ErrorKind::Invalid(Reason::UnknownDataSegment)),
            Some(_) => Ok(()),
        }
    }
}
