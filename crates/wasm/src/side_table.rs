//! The side table: what the interpreter must know of a function and cannot see at an instruction.
//!
//! It is an array of 32-bit words, written once and in flash on a board. It starts with a record of [`RECORD_WORDS`] words for each
//! function of the module; then come, function by function:
//!
//! 1. if it has locals of two slots, a half word for each local: its slot, doubled, plus 1 if it is wide;
//! 2. two words for each branch, in the order of the code (`if`, `else`, `br`, `br_if`, one for each label of `br_table`);
//! 3. if it has a `drop` or `select` of two slots: their number and their offsets in ascending order.
//!
//! A branch is (offset of the target << 8 | slots to move, slot to move them to << 16 | difference to the target's place in the side table).
//! Slots are counted from the frame. Where nothing has to be moved, none are, and the slot is the new height.

use alloc::vec::Vec;

use crate::emitter::{Branch, Emitter, FunctionHead, Site};
use crate::error::{ErrorKind, Reason};
use crate::instruction::{Instruction, op};
use crate::limits::Limits;

/// Slots of a frame between locals and operands: what a return restores.
pub(crate) const SAVED_SLOTS: u32 = 4;

pub(crate) const RECORD_WORDS: u32 = 6;

/// Takes the words of a side table.
///
/// Words come in any order, each at most once. Words that never come are not used. On flash a sink can therefore program erased
/// words as they come, or gather them in pages.
pub trait Sink {
    /// Writes a word.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Sink`] if there is no room for it.
    fn write(&mut self, index: u32, word: u32) -> Result<(), ErrorKind>;
}

impl Sink for Vec<u32> {
    fn write(&mut self, index: u32, word: u32) -> Result<(), ErrorKind> {
        let index = index as usize;
        if index >= self.len() {
            let more = index + 1 - self.len();
            self.try_reserve(more).map_err(|_| ErrorKind::Sink)?;
            self.resize(index + 1, u32::MAX);
        }
        self[index] = word;
        Ok(())
    }
}

/// What the interpreter reads of a function when it is called. It stays where it is: six words in flash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunctionRecord<'t>(&'t [u32; RECORD_WORDS as usize]);

impl<'t> FunctionRecord<'t> {
    pub(crate) fn read(table: &'t [u32], index: u32) -> Option<Self> {
        let start = (index as usize).wrapping_mul(RECORD_WORDS as usize);
        table.get(start..)?.first_chunk().map(Self)
    }

    /// Offset of the first instruction.
    pub(crate) fn body(self) -> u32 {
        self.0[0] >> 8
    }

    /// Offset behind the function.
    pub(crate) fn end(self) -> u32 {
        self.0[1] >> 8
    }

    pub(crate) fn params(self) -> u32 {
        self.0[0] & 0xff
    }

    pub(crate) fn results(self) -> u32 {
        self.0[1] & 0xff
    }

    /// Slots of locals, parameters included.
    pub(crate) fn locals(self) -> u32 {
        self.0[2] >> 16
    }

    /// Most slots of operands.
    pub(crate) fn operands(self) -> u32 {
        self.0[2] & 0xffff
    }

    /// First branch, as a word of the side table.
    pub(crate) fn branches(self) -> u32 {
        self.0[3] >> 8
    }

    /// Table of locals, as a word of the side table; 0: all locals take one slot.
    pub(crate) fn local_table(self) -> u32 {
        self.0[4] >> 8
    }

    /// List of wide operations, as a word of the side table; 0: none.
    pub(crate) fn wide_list(self) -> u32 {
        self.0[5] >> 8
    }

    pub(crate) fn ty(self) -> u32 {
        (self.0[4] & 0xff) << 8 | self.0[5] & 0xff
    }
}

/// A record that is made.
#[derive(Clone, Copy, Debug, Default)]
struct NewRecord {
    body: u32,
    end: u32,
    params: u32,
    results: u32,
    locals: u32,
    operands: u32,
    branches: u32,
    local_table: u32,
    wide_list: u32,
    ty: u32,
}

impl NewRecord {
    fn write(&self, sink: &mut dyn Sink, index: u32) -> Result<(), ErrorKind> {
        if self.body.max(self.end).max(self.branches).max(self.wide_list) >> 24 != 0 {
            return Err(ErrorKind::Limit(Reason::SizeOfAModule));
        }
        if self.operands > 0xffff {
            return Err(ErrorKind::Limit(Reason::OperandsOfAFunction));
        }
        let words = [
            self.body << 8 | self.params,
            self.end << 8 | self.results,
            self.locals << 16 | self.operands,
            self.branches << 8,
            self.local_table << 8 | self.ty >> 8,
            self.wide_list << 8 | self.ty & 0xff,
        ];
        for (word, at) in words.into_iter().zip(index * RECORD_WORDS..) {
            sink.write(at, word)?;
        }
        Ok(())
    }
}

/// A block that is open.
#[derive(Clone, Copy, Debug)]
struct Label {
    /// Of a loop: where it starts, and its place in the side table.
    start: Option<(u32, u32)>,
    /// Of an `if` without `else` so far: the branch that is taken if the condition is false.
    false_branch: Option<Pending>,
}

/// A branch whose target is not known yet.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Its first word in the side table.
    at: u32,
    /// Index of the block at whose end the target lies.
    block: u32,
    keep: u8,
    slot: u16,
}

/// Writes a side table.
pub struct SideTable<'s> {
    sink: &'s mut dyn Sink,
    limits: Limits,
    function: NewRecord,
    index: u32,
    next: u32,
    labels: Vec<Label>,
    pending: Vec<Pending>,
    wide: Vec<u32>,
}

impl core::fmt::Debug for SideTable<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SideTable")
    }
}

impl<'s> SideTable<'s> {
    /// Writes to `sink`.
    #[must_use]
    pub fn new(sink: &'s mut dyn Sink, limits: &Limits) -> Self {
        Self {
            sink,
            limits: *limits,
            function: NewRecord::default(),
            index: 0,
            next: 0,
            labels: Vec::new(),
            pending: Vec::new(),
            wide: Vec::new(),
        }
    }

    /// Words written so far.
    #[must_use]
    pub fn words(&self) -> u32 {
        self.next
    }

    fn push(&mut self, word: u32) -> Result<(), ErrorKind> {
        self.sink.write(self.next, word)?;
        self.next += 1;
        Ok(())
    }

    /// Writes the branch at `at`.
    fn write_branch(
        &mut self,
        at: u32,
        keep: u8,
        slot: u16,
        target: u32,
        next: u32,
    ) -> Result<(), ErrorKind> {
        if target >> 24 != 0 {
            return Err(ErrorKind::Limit(Reason::SizeOfAModule));
        }
        // Counted in branches of two words.
        let difference = i16::try_from((next as i32 - at as i32) / 2)
            .map_err(|_| ErrorKind::Limit(Reason::BranchesOfAFunction))?;
        self.sink.write(at, target << 8 | u32::from(keep))?;
        self.sink
            .write(at + 1, u32::from(slot) << 16 | u32::from(difference as u16))
    }

    fn resolve(&mut self, pending: Pending, target: u32) -> Result<(), ErrorKind> {
        self.write_branch(pending.at, pending.keep, pending.slot, target, self.next)
    }

    fn add_branch(&mut self, branch: &Branch) -> Result<(), ErrorKind> {
        let at = self.next;
        self.next += 2;
        let block = (self.labels.len() as u32).wrapping_sub(1 + branch.label);
        let first = self.function.locals + SAVED_SLOTS;
        let in_place = branch.base + branch.keep == branch.height;
        let (keep, slot) = if in_place {
            (0, branch.height)
        } else {
            (branch.keep, branch.base)
        };
        let keep = u8::try_from(keep).map_err(|_| ErrorKind::Limit(Reason::ResultsOfABlock))?;
        let slot = u16::try_from(first + slot).map_err(|_| ErrorKind::Limit(Reason::OperandsOfAFunction))?;
        match self.labels.get(block as usize).and_then(|label| label.start) {
            Some((target, next)) => self.write_branch(at, keep, slot, target, next),
            None => {
                if self.pending.len() >= self.limits.pending_branches as usize {
                    return Err(ErrorKind::Limit(Reason::PendingBranches));
                }
                self.pending.push(Pending {
                    at,
                    block,
                    keep,
                    slot,
                });
                Ok(())
            }
        }
    }

    fn end_block(&mut self, target: u32) -> Result<(), ErrorKind> {
        let Some(label) = self.labels.pop() else {
            return Ok(());
        };
        if let Some(pending) = label.false_branch {
            self.resolve(pending, target)?;
        }
        let block = self.labels.len() as u32;
        // Branches to the innermost block need not be the last ones that were added.
        let mut index = 0;
        while let Some(&pending) = self.pending.get(index) {
            if pending.block == block {
                self.pending.swap_remove(index);
                self.resolve(pending, target)?;
            } else {
                index += 1;
            }
        }
        Ok(())
    }

    fn write_locals(&mut self, head: &FunctionHead<'_>) -> Result<(), ErrorKind> {
        self.function.local_table = 0;
        if !head.groups.iter().any(|group| group.value.is_wide()) {
            return Ok(());
        }
        self.function.local_table = self.next;
        let (mut local, mut slot, mut word) = (0, 0, 0);
        for group in head.groups {
            while local < group.end {
                let half = slot << 1 | u32::from(group.value.is_wide());
                if local & 1 == 0 {
                    word = half;
                } else {
                    self.push(half << 16 | word)?;
                }
                slot += group.value.slots();
                local += 1;
            }
        }
        if local & 1 != 0 {
            self.push(word)?;
        }
        Ok(())
    }
}

impl Emitter for SideTable<'_> {
    fn start(&mut self, functions: u32) -> Result<(), ErrorKind> {
        self.next = functions * RECORD_WORDS;
        Ok(())
    }

    fn function(&mut self, head: &FunctionHead<'_>) -> Result<(), ErrorKind> {
        if head.locals > self.limits.locals.min(0x7fff) {
            return Err(ErrorKind::Limit(Reason::LocalsOfAFunction));
        }
        self.write_locals(head)?;
        self.index = head.index;
        self.function.body = head.body;
        self.function.params = head.params;
        self.function.results = head.results;
        self.function.locals = head.locals;
        self.function.ty = head.ty;
        self.function.branches = self.next;
        self.labels.clear();
        self.pending.clear();
        self.wide.clear();
        self.labels.push(Label {
            start: None,
            false_branch: None,
        });
        Ok(())
    }

    fn instruction(&mut self, instruction: &Instruction, site: &Site) -> Result<(), ErrorKind> {
        match instruction.opcode {
            op::BLOCK | op::LOOP | op::IF => {
                let mut false_branch = None;
                if instruction.opcode == op::IF {
                    // The parameters of the block stay where they are; the condition is gone.
                    let slot = self.function.locals + SAVED_SLOTS + site.height - 1;
                    let slot =
                        u16::try_from(slot).map_err(|_| ErrorKind::Limit(Reason::OperandsOfAFunction))?;
                    false_branch = Some(Pending {
                        at: self.next,
                        block: 0,
                        keep: 0,
                        slot,
                    });
                    self.next += 2;
                }
                let start = (instruction.opcode == op::LOOP).then_some((instruction.end, self.next));
                self.labels.push(Label { start, false_branch });
            }
            op::ELSE => {
                let false_branch = self.labels.last_mut().and_then(|label| label.false_branch.take());
                if site.reachable {
                    self.add_branch(&Branch {
                        label: 0,
                        height: site.height,
                        base: site.height,
                        keep: 0,
                    })?;
                }
                if let Some(pending) = false_branch {
                    self.resolve(pending, instruction.end)?;
                }
            }
            op::END => {
                // A branch out of the function goes to its last `end`, which returns.
                let last = self.labels.len() == 1;
                self.end_block(if last { instruction.offset } else { instruction.end })?;
            }
            op::DROP | op::SELECT if site.wide => {
                if self.wide.len() >= self.limits.wide_operations as usize {
                    return Err(ErrorKind::Limit(Reason::WideDropsAndSelectsOfAFunction));
                }
                self.wide.push(instruction.offset);
            }
            _ => {}
        }
        Ok(())
    }

    fn branch(&mut self, branch: &Branch) -> Result<(), ErrorKind> {
        self.add_branch(branch)
    }

    fn finish(&mut self, end: u32, operand_slots: u32) -> Result<(), ErrorKind> {
        self.function.end = end;
        self.function.operands = operand_slots;
        self.function.wide_list = 0;
        if !self.wide.is_empty() {
            self.function.wide_list = self.next;
            self.push(self.wide.len() as u32)?;
            for index in 0..self.wide.len() {
                self.push(self.wide[index])?;
            }
        }
        self.function.write(self.sink, self.index)
    }
}
