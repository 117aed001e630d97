//! Function bodies: locals, blocks and the operand stack.

use alloc::vec::Vec;

use super::{State, Validator};
use crate::emitter::{Branch, FunctionHead, LocalGroup, Site};
use crate::error::{ErrorKind, Reason};
use crate::instruction::{BlockType, Instruction, op};
use crate::limits::Limits;
use crate::reader::{Cursor, Step};
use crate::types::{Types, ValueType};

/// Type of an operand; `None` in unreachable code, where any value may be taken from the stack.
pub(super) type Operand = Option<ValueType>;

pub(super) const MISMATCH: ErrorKind = ErrorKind::Invalid(Reason::TypeMismatch);

/// A block that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub(super) opcode: u16,
    block: BlockType,
    /// Operands under it.
    height: u32,
    /// Slots of these.
    slots: u32,
    unreachable: bool,
}

/// The function that is read.
#[derive(Debug, Default)]
pub(super) struct Function {
    pub(super) operands: Vec<Operand>,
    pub(super) controls: Vec<Control>,
    groups: Vec<LocalGroup>,
    ty: u32,
    /// Slots of the operands.
    pub(super) slots: u32,
    max_slots: u32,
    /// Number of open blocks where code became unreachable.
    unreachable_at: Option<usize>,
    max_operands: u32,
}

impl Function {
    pub(super) fn push(&mut self, operand: Operand) -> Result<(), ErrorKind> {
        if self.operands.len() >= self.max_operands as usize {
            return Err(ErrorKind::Limit(Reason::OperandsOfAFunction));
        }
        self.operands.push(operand);
        self.slots += operand.map_or(0, ValueType::slots);
        if self.is_reachable() {
            self.max_slots = self.max_slots.max(self.slots);
        }
        Ok(())
    }

    pub(super) fn push_all(&mut self, values: &[ValueType]) -> Result<(), ErrorKind> {
        values.iter().try_for_each(|value| self.push(Some(*value)))
    }

    pub(super) fn pop(&mut self) -> Result<Operand, ErrorKind> {
        let Some(control) = self.controls.last() else {
            return Err(MISMATCH);
        };
        if self.operands.len() <= control.height as usize {
            return if control.unreachable {
                Ok(None)
            } else {
                Err(MISMATCH)
            };
        }
        let operand = self.operands.pop().flatten();
        self.slots -= operand.map_or(0, ValueType::slots);
        Ok(operand)
    }

    pub(super) fn pop_expected(&mut self, expected: ValueType) -> Result<Operand, ErrorKind> {
        let operand = self.pop()?;
        if operand.is_some_and(|value| value != expected) {
            return Err(MISMATCH);
        }
        Ok(operand)
    }

    pub(super) fn pop_all(&mut self, values: &[ValueType]) -> Result<(), ErrorKind> {
        values
            .iter()
            .rev()
            .try_for_each(|value| self.pop_expected(*value).map(|_| ()))
    }

    /// Checks that the topmost operands are of these types, and leaves them there.
    ///
    /// In unreachable code unknown operands stay unknown, as another label of the same `br_table` may take them as another type.
    pub(super) fn check_all(&mut self, values: &[ValueType]) -> Result<(), ErrorKind> {
        let Some(control) = self.controls.last() else {
            return Err(MISMATCH);
        };
        let present = &self.operands[control.height as usize..];
        if present.len() < values.len() && !control.unreachable {
            return Err(MISMATCH);
        }
        let mut pairs = present.iter().rev().zip(values.iter().rev());
        if pairs.any(|(operand, value)| operand.is_some_and(|operand| operand != *value)) {
            return Err(MISMATCH);
        }
        Ok(())
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.unreachable_at.is_none()
    }

    /// The rest of the innermost block is not reached.
    pub(super) fn set_unreachable(&mut self) {
        let depth = self.controls.len();
        if let Some(control) = self.controls.last_mut() {
            control.unreachable = true;
            self.operands.truncate(control.height as usize);
            self.slots = control.slots;
            self.unreachable_at.get_or_insert(depth);
        }
    }

    pub(super) fn local(&self, index: u32) -> Result<ValueType, ErrorKind> {
        let group = self.groups.partition_point(|group| group.end <= index);
        self.groups
            .get(group)
            .map(|group| group.value)
            .ok_or(ErrorKind::Invalid(Reason::UnknownLocal))
    }

    pub(super) fn label(&self, label: u32) -> Result<Control, ErrorKind> {
        let index = (self.controls.len() as u32)
            .checked_sub(1)
            .and_then(|last| last.checked_sub(label));
        let control = index.and_then(|index| self.controls.get(index as usize));
        control.copied().ok_or(ErrorKind::Invalid(Reason::UnknownLabel))
    }

    pub(super) fn open(
        &mut self,
        opcode: u16,
        block: BlockType,
        types: &Types,
        limits: &Limits,
    ) -> Result<(), ErrorKind> {
        if self.controls.len() > limits.control_depth as usize {
            return Err(ErrorKind::Limit(Reason::NestedBlocks));
        }
        let (height, slots) = (self.operands.len() as u32, self.slots);
        self.controls.push(Control {
            opcode,
            block,
            height,
            slots,
            unreachable: false,
        });
        self.push_all(params(types, &block))
    }

    /// Takes the results of the innermost block, of which nothing else may be left, and leaves it.
    pub(super) fn close(&mut self, types: &Types) -> Result<Control, ErrorKind> {
        let control = self.label(0)?;
        self.pop_all(results(types, &control.block))?;
        if self.operands.len() != control.height as usize {
            return Err(MISMATCH);
        }
        if self.unreachable_at == Some(self.controls.len()) {
            self.unreachable_at = None;
        }
        self.controls.pop();
        self.slots = control.slots;
        Ok(control)
    }

    /// The branch to a label from here.
    pub(super) fn branch(&self, label: u32, types: &Types) -> Result<Branch, ErrorKind> {
        let control = self.label(label)?;
        let keep = label_types(types, &control)
            .iter()
            .map(|value| value.slots())
            .sum();
        Ok(Branch {
            label,
            height: self.slots,
            base: control.slots,
            keep,
        })
    }

    fn add_locals(&mut self, count: u32, value: ValueType) -> Result<(), ErrorKind> {
        let start = self.groups.last().map_or(0, |group| group.end);
        let end = start
            .checked_add(count)
            .ok_or(ErrorKind::Malformed(Reason::LocalsOfAFunction))?;
        if count > 0 {
            match self.groups.last_mut() {
                Some(group) if group.value == value => group.end = end,
                _ => self.groups.push(LocalGroup { end, value }),
            }
        }
        Ok(())
    }

    fn local_slots(&self) -> u64 {
        let mut start = 0;
        let mut slots = 0;
        for group in &self.groups {
            slots += u64::from(group.end - start) * u64::from(group.value.slots());
            start = group.end;
        }
        slots
    }
}

fn type_of(types: &Types, index: u32) -> Option<crate::types::FunctionType> {
    types.get(index)
}

pub(super) fn params<'a>(types: &'a Types, block: &'a BlockType) -> &'a [ValueType] {
    match block {
        BlockType::Function(index) => type_of(types, *index).map_or(&[], |ty| types.params(ty)),
        _ => &[],
    }
}

pub(super) fn results<'a>(types: &'a Types, block: &'a BlockType) -> &'a [ValueType] {
    match block {
        BlockType::Empty => &[],
        BlockType::Value(value) => core::slice::from_ref(value),
        BlockType::Function(index) => type_of(types, *index).map_or(&[], |ty| types.results(ty)),
    }
}

/// Types that a branch to a block takes.
pub(super) fn label_types<'a>(types: &'a Types, control: &'a Control) -> &'a [ValueType] {
    if control.opcode == op::LOOP {
        params(types, &control.block)
    } else {
        results(types, &control.block)
    }
}

impl Control {
    pub(super) fn block(&self) -> BlockType {
        self.block
    }
}

impl Validator<'_> {
    /// The start of a body.
    pub(super) fn body(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let size = cursor.u32()?;
        let end = cursor
            .offset()
            .checked_add(size)
            .filter(|end| *end <= self.section_end);
        let Some(end) = end else {
            return Err(ErrorKind::Malformed(Reason::SizeOfAFunction).into());
        };
        self.body_end = end;
        let index = self.info.imported_functions + self.bodies;
        let ty = u32::from(self.functions.get(index as usize).copied().unwrap_or(0));
        let function = &mut self.function;
        function.operands.clear();
        function.controls.clear();
        function.groups.clear();
        function.ty = ty;
        function.slots = 0;
        function.max_slots = 0;
        function.unreachable_at = None;
        function.max_operands = self.limits.operands;
        if let Some(found) = self.info.types.get(ty) {
            for value in self.info.types.params(found) {
                function.add_locals(1, *value)?;
            }
        }
        self.state = State::LocalGroupCount;
        Ok(())
    }

    pub(super) fn local_group_count(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let left = cursor.u32()?;
        self.state = State::LocalGroup { left };
        self.start_code(cursor, left)
    }

    pub(super) fn local_group(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Step<()> {
        let count = cursor.u32()?;
        let value = crate::instruction::value_type(cursor)?;
        self.function.add_locals(count, value)?;
        if self.function.groups.len() > self.limits.local_groups as usize {
            return Err(ErrorKind::Limit(Reason::GroupsOfLocals).into());
        }
        self.state = State::LocalGroup { left: left - 1 };
        self.start_code(cursor, left - 1)
    }

    /// Starts the instructions once no groups of locals are left.
    fn start_code(&mut self, cursor: &mut Cursor<'_>, groups_left: u32) -> Step<()> {
        if groups_left > 0 {
            return Ok(());
        }
        cursor.mark();
        let locals = self.function.local_slots();
        if locals > u64::from(self.limits.locals) {
            return Err(ErrorKind::Limit(Reason::LocalsOfAFunction).into());
        }
        let types = &self.info.types;
        let ty = self.function.ty;
        let (params, results) = types
            .get(ty)
            .map_or((0, 0), |ty| (ty.param_slots, ty.result_slots));
        let head = FunctionHead {
            index: self.bodies,
            ty,
            params: u32::from(params),
            results: u32::from(results),
            locals: locals as u32,
            groups: &self.function.groups,
            body: cursor.offset(),
        };
        self.emitter.function(&head)?;
        // The body is a block without parameters: these are locals.
        let control = Control {
            opcode: op::BLOCK,
            block: BlockType::Function(ty),
            height: 0,
            slots: 0,
            unreachable: false,
        };
        self.function.controls.push(control);
        self.state = State::Code;
        Ok(())
    }

    pub(super) fn code(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let instruction = Instruction::read(cursor)?;
        if instruction.opcode == op::BR_TABLE {
            self.function.pop_expected(ValueType::I32)?;
            self.state = State::Label {
                left: instruction.a,
                arity: None,
                instruction: instruction.offset,
            };
            return Ok(());
        }
        self.check(&instruction)?;
        if self.function.controls.is_empty() {
            return self.end_body(cursor);
        }
        Ok(())
    }

    fn end_body(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let end = cursor.offset();
        if end != self.body_end {
            return cursor.fail(ErrorKind::Malformed(Reason::SizeOfAFunction));
        }
        cursor.mark();
        self.emitter.finish(end, self.function.max_slots)?;
        self.bodies += 1;
        self.left -= 1;
        self.state = State::Entry;
        Ok(())
    }

    /// A label of `br_table`: `left` come after it.
    pub(super) fn label(
        &mut self,
        cursor: &mut Cursor<'_>,
        left: u32,
        arity: Option<u32>,
        instruction: u32,
    ) -> Step<()> {
        let label = cursor.u32()?;
        self.check_label(label, arity, left == 0, instruction, cursor.offset())?;
        Ok(())
    }

    fn check_label(
        &mut self,
        label: u32,
        arity: Option<u32>,
        last: bool,
        instruction: u32,
        end: u32,
    ) -> Result<(), ErrorKind> {
        let function = &mut self.function;
        let control = function.label(label)?;
        let types = label_types(&self.info.types, &control);
        if arity.is_some_and(|arity| arity != types.len() as u32) {
            return Err(MISMATCH);
        }
        function.check_all(types)?;
        let arity = Some(types.len() as u32);
        let reachable = function.is_reachable();
        if reachable {
            let branch = function.branch(label, &self.info.types)?;
            self.emitter.branch(&branch)?;
        }
        let State::Label { left, .. } = self.state else {
            return Ok(());
        };
        if !last {
            self.state = State::Label {
                left: left - 1,
                arity,
                instruction,
            };
            return Ok(());
        }
        if reachable {
            let site = Site {
                height: function.slots,
                reachable,
                wide: false,
            };
            let instruction = Instruction {
                opcode: op::BR_TABLE,
                offset: instruction,
                end,
                a: 0,
                b: 0,
                bits: 0,
                block: BlockType::Empty,
                value: ValueType::I32,
            };
            self.emitter.instruction(&instruction, &site)?;
        }
        function.set_unreachable();
        self.state = State::Code;
        Ok(())
    }
}
