//! Whoever looks at each instruction: the trace, the profiler, the debugger. With one of them on, the machine runs the
//! slower of its two loops.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;

use crate::Image;
use crate::boot::image::Symbol;
use crate::code::decode::{Decoded, Op};
use crate::cpu::{Core, Observe};

/// Where the cycles went, by function.
///
/// A call stack is followed by calls and returns; an interrupt's handler stands on what it interrupted.
#[derive(Debug, Default)]
pub struct Profile {
    functions: Vec<Symbol>,
    cores: [Followed; 2],
    /// Cycles by call stack, as indices of functions.
    stacks: HashMap<Vec<u32>, u64>,
}

/// Where a core is, as the profiler has followed it.
#[derive(Debug, Default, Clone)]
struct Followed {
    stack: Vec<u32>,
    /// The bounds of the function on top.
    bounds: (u32, u32),
    since: u64,
    last: Op,
    handler: u32,
}

/// The index of code that no symbol covers.
const UNKNOWN: u32 = u32::MAX;
/// Stacks are not followed deeper than this.
const DEEPEST: usize = 64;

impl Profile {
    /// A profile of an image's functions. Without symbols, all is one function.
    #[must_use]
    pub fn new(image: &Image) -> Self {
        Self {
            functions: image.symbols().to_vec(),
            ..Self::default()
        }
    }

    fn find(&self, pc: u32) -> (u32, (u32, u32)) {
        let after = self.functions.partition_point(|function| function.address <= pc);
        match after.checked_sub(1).map(|index| (index, &self.functions[index])) {
            Some((index, function)) if pc - function.address < function.size => {
                (index as u32, (function.address, function.address + function.size))
            }
            _ => (UNKNOWN, (pc & !1, (pc & !1) + 2)),
        }
    }

    fn step(&mut self, core: &Core, pc: u32, op: Op, cycles: u64) {
        let followed = &self.cores[core.id];
        let inside = (followed.bounds.0..followed.bounds.1).contains(&pc);
        if inside && followed.last != Op::Bl {
            self.cores[core.id].last = op;
            return;
        }
        let (function, bounds) = self.find(pc);
        let followed = &mut self.cores[core.id];
        if !followed.stack.is_empty() {
            *self.stacks.entry(followed.stack.clone()).or_default() += cycles.saturating_sub(followed.since);
        }
        let called = matches!(followed.last, Op::Bl | Op::BlFar | Op::Blx) || core.ipsr > followed.handler;
        if called {
            if followed.stack.len() < DEEPEST {
                followed.stack.push(function);
            }
        } else if let Some(depth) = followed.stack.iter().rposition(|&other| other == function) {
            followed.stack.truncate(depth + 1);
        } else {
            // a jump into another function: it takes the place of the one that jumped
            followed.stack.pop();
            followed.stack.push(function);
        }
        (followed.bounds, followed.since, followed.last, followed.handler) = (bounds, cycles, op, core.ipsr);
    }

    fn name(&self, function: u32) -> &str {
        self.functions
            .get(function as usize)
            .map_or("(no symbol)", |function| &function.name)
    }

    /// The functions that took most cycles themselves, with those cycles, most first.
    #[must_use]
    pub fn hottest(&self, count: usize) -> Vec<(String, u64)> {
        let mut own: HashMap<u32, u64> = HashMap::new();
        for (stack, cycles) in &self.stacks {
            if let Some(top) = stack.last() {
                *own.entry(*top).or_default() += cycles;
            }
        }
        let mut own: Vec<(String, u64)> = own
            .into_iter()
            .map(|(function, cycles)| (self.name(function).to_owned(), cycles))
            .collect();
        own.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        own.truncate(count);
        own
    }

    /// Writes call stacks and cycles as flame-graph tools read them: `main;work;hash 1234`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_folded(&self, mut out: impl io::Write) -> io::Result<()> {
        let mut lines: Vec<String> = self
            .stacks
            .iter()
            .map(|(stack, cycles)| {
                let names: Vec<String> = stack
                    .iter()
                    .map(|&function| self.name(function).replace([';', ' '], "_"))
                    .collect();
                format!("{} {cycles}", names.join(";"))
            })
            .collect();
        lines.sort();
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// A step of a core: until it leaves the range, which is empty for a single instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub core: usize,
    pub range: (u32, u32),
}

impl Step {
    fn ends_at(&self, core: usize, pc: u32) -> bool {
        self.core == core && !(self.range.0..self.range.1).contains(&pc)
    }
}

/// The observers of a board.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    pub profile: Option<Profile>,
    /// Instructions as lines.
    pub trace: Option<Vec<String>>,
    /// Addresses to stop before, and whether the debugger asked for a breakpoint of the hardware.
    pub breakpoints: Vec<(u32, bool)>,
    /// Address, length, and whether it is about writes (bit 0) and reads (bit 1).
    pub watchpoints: Vec<(u32, u32, u8)>,
    /// The watchpoint that was hit: by which core, its address, and what it is about. The core stops behind the
    /// instruction, as the debug unit of a Cortex-M has it.
    pub watched: Option<(usize, u32, u8)>,
    /// The step to take.
    pub step: Option<Step>,
    /// The instruction to go on with, which is not stopped at again.
    pub resume_at: Option<(usize, u32)>,
}

impl Observers {
    pub(crate) fn is_empty(&self) -> bool {
        self.profile.is_none()
            && self.trace.is_none()
            && self.breakpoints.is_empty()
            && self.watchpoints.is_empty()
            && self.step.is_none()
    }
}

/// The memory that an instruction is about to touch: address, length, and whether it writes.
fn access(core: &Core, d: Decoded) -> Option<(u32, u32, bool)> {
    let n = core.r[usize::from(d.n & 15)];
    let indexed = n.wrapping_add(core.r[usize::from(d.m & 15)]);
    let list = 4 * d.imm.count_ones();
    Some(match d.op {
        Op::StrReg => (indexed, 4, true),
        Op::StrhReg => (indexed, 2, true),
        Op::StrbReg => (indexed, 1, true),
        Op::LdrReg => (indexed, 4, false),
        Op::LdrhReg | Op::LdrshReg => (indexed, 2, false),
        Op::LdrbReg | Op::LdrsbReg => (indexed, 1, false),
        Op::StrImm => (n.wrapping_add(d.imm), 4, true),
        Op::LdrImm => (n.wrapping_add(d.imm), 4, false),
        Op::StrhImm => (n.wrapping_add(d.imm), 2, true),
        Op::LdrhImm => (n.wrapping_add(d.imm), 2, false),
        Op::StrbImm => (n.wrapping_add(d.imm), 1, true),
        Op::LdrbImm => (n.wrapping_add(d.imm), 1, false),
        Op::LdrLiteral => (d.imm, 4, false),
        Op::Push => (core.r[13].wrapping_sub(list), list, true),
        Op::Pop => (core.r[13], list, false),
        Op::PopPc => (core.r[13], list + 4, false),
        Op::Stm => (n, list, true),
        Op::Ldm => (n, list, false),
        _ => return None,
    })
}

impl Observe for Observers {
    const ACTIVE: bool = true;

    fn before(&mut self, core: &Core, pc: u32, d: Decoded, cycles: u64) -> bool {
        let resumed = self.resume_at.take_if(|at| *at == (core.id, pc)).is_some();
        let stepped = || self.step.is_some_and(|step| step.ends_at(core.id, pc));
        let broken = || self.breakpoints.iter().any(|(address, _)| *address == pc);
        let watched = || self.watched.is_some_and(|(watched, ..)| watched == core.id);
        if !resumed && (stepped() || broken() || watched()) {
            return true;
        }
        if !self.watchpoints.is_empty()
            && let Some((address, length, writes)) = access(core, d)
        {
            let kind = if writes { 1 } else { 2 };
            let hit = self.watchpoints.iter().find(|(at, size, kinds)| {
                kinds & kind != 0 && address < at.wrapping_add(*size) && *at < address.wrapping_add(length)
            });
            if let Some(hit) = hit {
                self.watched = Some((core.id, hit.0, hit.2));
            }
        }
        if let Some(profile) = &mut self.profile {
            profile.step(core, pc, d.op, cycles);
        }
        if let Some(lines) = &mut self.trace {
            let mut line = format!("{cycles:>12} {} {pc:08x} {:?}", core.id, d.op);
            for (name, value) in [("r0", 0), ("r1", 1), ("r2", 2), ("r3", 3), ("sp", 13), ("lr", 14)] {
                let _ = write!(line, " {name}={:08x}", core.r[value]);
            }
            lines.push(line);
        }
        false
    }
}
