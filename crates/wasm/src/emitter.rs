//! What a validator drives while it reads function bodies.

use crate::error::ErrorKind;
use crate::instruction::Instruction;
use crate::types::ValueType;

/// Turns validated functions into what runs them: the side table of the interpreter, or machine code.
///
/// The validator calls it in the order of the module, in one pass, and only with code that is valid and can be reached: `block`,
/// `loop` and `if` that lie in unreachable code are left out with all that is in them. `else` and `end` of a block that was
/// opened are always reported, so that blocks nest.
pub trait Emitter {
    /// The code section starts, with this number of functions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Sink`] or [`ErrorKind::Limit`], as for all methods.
    fn start(&mut self, functions: u32) -> Result<(), ErrorKind>;

    /// A function starts.
    ///
    /// # Errors
    ///
    /// As for [`Emitter::start`].
    fn function(&mut self, function: &FunctionHead<'_>) -> Result<(), ErrorKind>;

    /// An instruction. The labels of `br`, `br_if` and `br_table` come before it through [`Emitter::branch`].
    ///
    /// # Errors
    ///
    /// As for [`Emitter::start`].
    fn instruction(&mut self, instruction: &Instruction, site: &Site) -> Result<(), ErrorKind>;

    /// A branch of the instruction that comes next.
    ///
    /// # Errors
    ///
    /// As for [`Emitter::start`].
    fn branch(&mut self, branch: &Branch) -> Result<(), ErrorKind>;

    /// The function ends, behind its last `end`.
    ///
    /// # Errors
    ///
    /// As for [`Emitter::start`].
    fn finish(&mut self, end: u32, operand_slots: u32) -> Result<(), ErrorKind>;
}

/// A function as its body starts.
#[derive(Debug)]
pub struct FunctionHead<'a> {
    /// Index among the module's own functions.
    pub index: u32,
    /// Index of its type.
    pub ty: u32,
    /// Slots of its parameters.
    pub params: u32,
    /// Slots of its results.
    pub results: u32,
    /// Slots of its locals, parameters included.
    pub locals: u32,
    /// Its locals, parameters included.
    pub groups: &'a [LocalGroup],
    /// Offset of its first instruction.
    pub body: u32,
}

/// Locals of one type that lie side by side.
#[derive(Clone, Copy, Debug)]
pub struct LocalGroup {
    /// Index of the local behind the last one of the group.
    pub end: u32,
    /// Their type.
    pub value: ValueType,
}

/// What is known at an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Slots on the operand stack before the instruction.
    pub height: u32,
    /// Whether the instruction is reached from the one before it. Only `else` and `end` are reported if not.
    pub reachable: bool,
    /// Whether `drop` or `select` is of a value of two slots.
    pub wide: bool,
}

/// Where a branch goes and what it does to the operand stack.
#[derive(Clone, Copy, Debug)]
pub struct Branch {
    /// Label, counted outwards from 0.
    pub label: u32,
    /// Slots on the operand stack when the branch is taken.
    pub height: u32,
    /// Slots of the operand stack that lie under the values that are kept.
    pub base: u32,
    /// Slots on top of the operand stack that the target takes.
    pub keep: u32,
}

/// Emits nothing: for validation alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEmitter;

impl Emitter for NoEmitter {
    fn start(&mut self, _: u32) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn function(&mut self, _: &FunctionHead<'_>) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn instruction(&mut self, _: &Instruction, _: &Site) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn branch(&mut self, _: &Branch) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn finish(&mut self, _: u32, _: u32) -> Result<(), ErrorKind> {
        Ok(())
    }
}
