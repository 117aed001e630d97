//! A store: instances that may share memories, tables and globals, and the one program that runs in them.
//!
//! A container has a store of its own; stores share nothing but the [`Arena`]. A store with a single instance pays for sharing with
//! one index for each table and global and for the memory, and with a comparison at calls through tables; calls of the instance's own
//! functions pay nothing.

mod link;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

pub use link::{Extern, ImportRequest, ImportType, InstantiateError, Resolver};

use crate::ids::{FUNCTION_BITS, Function, GlobalId, InstanceId, MemoryId, TableId};
use crate::instance::{FunctionImport, Global, Instance, Table, reference};
use crate::interpreter::{Exit, Machine, Registers};
use crate::memory::arena::Arena;
use crate::memory::{Budget, Fault, Memory};
use crate::module::ExportKind;
use crate::reader::Cursor;
use crate::trap::{Trap, TrapKind};
use crate::types::{FunctionType, GlobalType, MemoryType, TableType, Types, Value, ValueType};

/// Bounds on what a store takes at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Frames of 1 KiB that its memories may touch.
    pub frames: u32,
    /// Pages of 64 KiB that a memory may grow to.
    pub pages: u32,
    /// Elements that a table may grow to.
    pub table_elements: u32,
    /// Slots of 32 bits of the stack, which is allocated at once.
    pub stack: u32,
}

impl Default for StoreLimits {
    /// For a microcontroller: a stack of 2 KiB.
    fn default() -> Self {
        Self {
            frames: 64,
            pages: 32,
            table_elements: 1024,
            stack: 512,
        }
    }
}

/// Why [`Store::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function returned: [`Store::results`].
    Finished,
    /// The function of the host with this number is called by an instance: [`Store::arguments`], then [`Store::resume`].
    HostCall {
        /// The number that the resolver gave.
        number: u32,
        /// The instance whose import it is.
        instance: InstanceId,
    },
    /// The fuel is used up. The program goes on with the next run.
    OutOfFuel,
    /// The program broke a rule and cannot go on.
    Trap(Trap),
    /// The program touched more memory than there is for it, and cannot go on.
    OutOfMemory,
}

/// Why a function cannot be called or a call of the host not be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// There is no such function.
    UnknownFunction,
    /// The values are of other types.
    TypeMismatch,
    /// A program runs in the store already, or none that waits for the host.
    Busy,
    /// The stack is too small.
    StackExhausted,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownFunction => "unknown function",
            Self::TypeMismatch => "type mismatch",
            Self::Busy => "store is busy",
            Self::StackExhausted => "call stack exhausted",
        })
    }
}

impl core::error::Error for CallError {}

/// What the program of a store does.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing runs. The last function called, whose results may lie on the stack.
    Idle(Option<Function>),
    Ready(Function),
    /// A function of the host is called directly, or by the program.
    HostCall {
        called: Function,
        host: Function,
        entered: bool,
    },
}

/// Instances and the program that runs in them.
#[derive(Debug)]
pub struct Store {
    arena: Arena,
    limits: StoreLimits,
    budget: Budget,
    instances: Vec<Instance>,
    memories: Vec<Memory>,
    tables: Vec<Table>,
    globals: Vec<Global>,
    stack: Box<[u32]>,
    at: Registers,
    state: State,
}

const NO_MEMORY: MemoryType = MemoryType {
    min: 0,
    max: Some(0),
    page_log2: 16,
};

impl Store {
    /// A store without instances whose memories take frames of `arena`.
    #[must_use]
    pub fn new(arena: &Arena, limits: StoreLimits) -> Self {
        Self {
            arena: arena.clone(),
            limits,
            budget: Budget {
                limit: limits.frames,
                used: 0,
            },
            instances: Vec::new(),
            memories: Vec::new(),
            tables: Vec::new(),
            globals: Vec::new(),
            stack: vec![0; limits.stack as usize].into_boxed_slice(),
            at: Registers::default(),
            state: State::Idle(None),
        }
    }

    /// Frames of 1 KiB that its memories have touched.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.budget.used
    }

    /// Bytes on the heap, modules and frames of the arena not counted.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let instances = self.instances.iter().map(|instance| {
            core::mem::size_of::<Instance>()
                + instance.functions.len() * core::mem::size_of::<FunctionImport>()
                + (instance.tables.len() + instance.globals.len()) * 4
                + instance.dropped_data.len()
                + instance.dropped_elements.len()
        });
        let memories = self
            .memories
            .iter()
            .map(|memory| core::mem::size_of::<Memory>() + memory.table_bytes());
        let tables = self
            .tables
            .iter()
            .map(|table| core::mem::size_of::<Table>() + table.elements.capacity() * 4);
        self.stack.len() * 4
            + self.globals.len() * core::mem::size_of::<Global>()
            + instances.sum::<usize>()
            + memories.sum::<usize>()
            + tables.sum::<usize>()
    }

    /// Makes a table that instances can import.
    pub fn new_table(&mut self, ty: TableType) -> Option<TableId> {
        self.tables.push(Table::new(ty, self.limits.table_elements)?);
        Some(TableId(self.tables.len() as u32 - 1))
    }

    /// Makes a memory that instances can import.
    pub fn new_memory(&mut self, ty: MemoryType) -> Option<MemoryId> {
        self.memories
            .push(Memory::new(&self.arena, ty, self.limits.pages)?);
        Some(MemoryId(self.memories.len() as u32 - 1))
    }

    /// Makes a global that instances can import.
    pub fn new_global(&mut self, value: Value, mutable: bool) -> GlobalId {
        let (low, high) = value.to_slots();
        self.globals.push(Global {
            ty: GlobalType {
                value: value.ty(),
                mutable,
            },
            low,
            high,
        });
        GlobalId(self.globals.len() as u32 - 1)
    }

    /// Value of a global.
    #[must_use]
    pub fn global(&self, global: GlobalId) -> Option<Value> {
        let global = self.globals.get(global.0 as usize)?;
        Some(Value::from_slots(global.ty.value, global.low, global.high))
    }

    /// What an instance exports under a name.
    #[must_use]
    pub fn export(&self, instance: InstanceId, name: &str) -> Option<Extern> {
        let found = self.instances.get(instance.0 as usize)?;
        let (kind, index) = found.module.export(name)?;
        self.exported(instance, kind, index)
    }

    fn exported(&self, instance: InstanceId, kind: ExportKind, index: u32) -> Option<Extern> {
        let found = self.instances.get(instance.0 as usize)?;
        Some(match kind {
            ExportKind::Function => Extern::Function(self.function(instance, index)?),
            ExportKind::Table => Extern::Table(TableId(*found.tables.get(index as usize)?)),
            ExportKind::Memory => Extern::Memory(MemoryId(found.memory?)),
            ExportKind::Global => Extern::Global(GlobalId(*found.globals.get(index as usize)?)),
        })
    }

    fn function(&self, instance: InstanceId, index: u32) -> Option<Function> {
        let found = self.instances.get(instance.0 as usize)?;
        let reference = reference(&found.functions, instance.0, index);
        Some(Function(reference - 1))
    }

    /// The start function of an instance, to be called before any other.
    #[must_use]
    pub fn start_function(&self, instance: InstanceId) -> Option<Function> {
        let start = self.instances.get(instance.0 as usize)?.module.info.start?;
        self.function(instance, start)
    }

    /// The memory of an instance, its own or an imported one.
    #[must_use]
    pub fn memory(&self, instance: InstanceId) -> Option<MemoryId> {
        self.instances.get(instance.0 as usize)?.memory.map(MemoryId)
    }

    /// Size of a memory in bytes.
    #[must_use]
    pub fn memory_bytes(&self, memory: MemoryId) -> Option<u64> {
        self.memories.get(memory.0 as usize).map(Memory::bytes)
    }

    /// Copies bytes out of a memory.
    ///
    /// # Errors
    ///
    /// They lie outside of it, or frames are used up.
    pub fn copy_out(&mut self, memory: MemoryId, address: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        let memory = self
            .memories
            .get_mut(memory.0 as usize)
            .ok_or(Fault::OutOfBounds)?;
        memory.read(&mut self.arena.0.borrow_mut(), &mut self.budget, address, bytes)
    }

    /// Copies bytes into a memory.
    ///
    /// # Errors
    ///
    /// As for [`Store::copy_out`].
    pub fn copy_in(&mut self, memory: MemoryId, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        let memory = self
            .memories
            .get_mut(memory.0 as usize)
            .ok_or(Fault::OutOfBounds)?;
        memory.write(&mut self.arena.0.borrow_mut(), &mut self.budget, address, bytes)
    }

    /// Parameters and results of a function.
    #[must_use]
    pub fn function_type(&self, function: Function) -> Option<(&[ValueType], &[ValueType])> {
        let (types, ty) = self.signature(function)?;
        Some((types.params(ty), types.results(ty)))
    }

    /// Types of a function, and where they lie.
    fn signature(&self, function: Function) -> Option<(&Types, FunctionType)> {
        let module = &self.instances.get(function.instance() as usize)?.module;
        Some((&module.info.types, module.function_type(function.index())?))
    }

    /// Calls a function, which [`Store::run`] then runs. A program that has not ended must be given up first with [`Store::stop`].
    ///
    /// # Errors
    ///
    /// Another call has not ended, the function or the types of its arguments are wrong, or the stack is too small.
    pub fn call(&mut self, function: Function, arguments: &[Value]) -> Result<(), CallError> {
        if !matches!(self.state, State::Idle(_)) {
            return Err(CallError::Busy);
        }
        let (types, ty) = self.signature(function).ok_or(CallError::UnknownFunction)?;
        if !types
            .params(ty)
            .iter()
            .copied()
            .eq(arguments.iter().map(|value| value.ty()))
        {
            return Err(CallError::TypeMismatch);
        }
        self.at = Registers::of_host();
        self.push_values(arguments)?;
        self.state = State::Ready(function);
        Ok(())
    }

    /// Gives up the program that runs.
    pub fn stop(&mut self) {
        self.state = State::Idle(None);
    }

    fn push_values(&mut self, values: &[Value]) -> Result<(), CallError> {
        for value in values {
            let (low, high) = value.to_slots();
            let slots = value.ty().slots() as usize;
            let place = self
                .stack
                .get_mut(self.at.sp..self.at.sp + slots)
                .ok_or(CallError::StackExhausted)?;
            for (slot, word) in place.iter_mut().zip([low, high]) {
                *slot = word;
            }
            self.at.sp += slots;
        }
        Ok(())
    }

    /// Runs the program until it ends or must wait. `fuel` is what it may use; what is left is written back, or what it used too
    /// much as a negative number, which the host takes off the next slice.
    pub fn run(&mut self, fuel: &mut i32) -> Outcome {
        let called = match self.state {
            State::Ready(function) => function,
            // Nothing to run: an ended program stays ended.
            State::Idle(_) => return Outcome::Finished,
            State::HostCall { host, .. } => return self.host_call(host),
        };
        let (exit, host) = self.run_program(called, fuel);
        let host = Function(host);
        match exit {
            Exit::Finished => {
                self.state = State::Idle(Some(called));
                Outcome::Finished
            }
            Exit::Host => {
                self.state = State::HostCall {
                    called,
                    host,
                    entered: !self.at.is_of_host(),
                };
                self.host_call(host)
            }
            Exit::Fuel | Exit::Switch => Outcome::OutOfFuel,
            Exit::OutOfMemory => {
                self.state = State::Idle(None);
                Outcome::OutOfMemory
            }
            Exit::Trap(kind) => {
                self.state = State::Idle(None);
                Outcome::Trap(self.trap(kind, called))
            }
        }
    }

    fn host_call(&self, host: Function) -> Outcome {
        let instance = host.instance();
        let function = host.index();
        let import = self
            .instances
            .get(instance as usize)
            .and_then(|found| found.functions.get(function as usize));
        let number = match import {
            Some(FunctionImport::Host(number)) => *number,
            _ => u32::MAX,
        };
        Outcome::HostCall {
            number,
            instance: InstanceId(instance),
        }
    }

    fn run_program(&mut self, called: Function, fuel: &mut i32) -> (Exit, u32) {
        let corrupt = (Exit::Trap(TrapKind::Corrupt), 0);
        let Self {
            arena,
            budget,
            instances,
            memories,
            tables,
            globals,
            stack,
            at,
            limits,
            ..
        } = self;
        // An instance without a memory has one of no pages.
        let Some(mut no_memory) = Memory::new(arena, NO_MEMORY, 0) else {
            return (Exit::OutOfMemory, 0);
        };
        let mut frames = arena.0.borrow_mut();
        let mut enters = at.is_of_host();
        loop {
            let address = if enters { called.0 } else { at.function };
            let Some(instance) = instances.get((address >> FUNCTION_BITS) as usize) else {
                return corrupt;
            };
            let memory = match instance.memory {
                Some(memory) => match memories.get_mut(memory as usize) {
                    Some(memory) => memory,
                    None => return corrupt,
                },
                None => &mut no_memory,
            };
            let mut machine = Machine {
                at: *at,
                fuel: *fuel,
                host: 0,
                code: &instance.module.bytes,
                side_table: &instance.module.side_table,
                stack,
                memory,
                frames: &mut frames,
                budget,
                globals,
                tables,
                instances,
                instance,
                table_limit: limits.table_elements,
            };
            let exit = if enters {
                machine.enter_first(called.0)
            } else {
                machine.run()
            };
            enters = false;
            *at = machine.at;
            *fuel = machine.fuel;
            match exit {
                Exit::Switch if *fuel >= 0 => {}
                Exit::Switch => return (Exit::Fuel, 0),
                exit => return (exit, machine.host),
            }
        }
    }

    /// Arguments of the host's function that is called.
    #[must_use]
    pub fn arguments(&self) -> Vec<Value> {
        let State::HostCall { host, .. } = self.state else {
            return Vec::new();
        };
        let Some((types, ty)) = self.signature(host) else {
            return Vec::new();
        };
        self.values(
            self.at.sp.wrapping_sub(usize::from(ty.param_slots)),
            types.params(ty),
        )
    }

    /// Results of the function that finished.
    #[must_use]
    pub fn results(&self) -> Vec<Value> {
        let State::Idle(Some(called)) = self.state else {
            return Vec::new();
        };
        let Some((types, ty)) = self.signature(called) else {
            return Vec::new();
        };
        self.values(
            self.at.sp.wrapping_sub(usize::from(ty.result_slots)),
            types.results(ty),
        )
    }

    fn values(&self, start: usize, types: &[ValueType]) -> Vec<Value> {
        let mut slots = self.stack.get(start..).unwrap_or(&[]).iter().copied();
        let mut next = || slots.next().unwrap_or(0);
        let values = types.iter().map(|ty| {
            let low = next();
            let high = if ty.is_wide() { next() } else { 0 };
            Value::from_slots(*ty, low, high)
        });
        values.collect()
    }

    /// Ends the call of a function of the host with its results.
    ///
    /// # Errors
    ///
    /// No such call waits, or the results are of other types.
    pub fn resume(&mut self, results: &[Value]) -> Result<(), CallError> {
        let State::HostCall {
            called,
            host,
            entered,
        } = self.state
        else {
            return Err(CallError::Busy);
        };
        let (types, ty) = self.signature(host).ok_or(CallError::UnknownFunction)?;
        if !types
            .results(ty)
            .iter()
            .copied()
            .eq(results.iter().map(|value| value.ty()))
        {
            return Err(CallError::TypeMismatch);
        }
        let params = usize::from(ty.param_slots);
        self.at.sp = self.at.sp.checked_sub(params).ok_or(CallError::StackExhausted)?;
        self.push_values(results)?;
        self.state = if entered {
            State::Ready(called)
        } else {
            State::Idle(Some(called))
        };
        Ok(())
    }

    /// Where a trap happened.
    fn trap(&self, kind: TrapKind, called: Function) -> Trap {
        let address = if self.at.is_of_host() {
            called.0
        } else {
            self.at.function
        };
        let function = address & ((1 << FUNCTION_BITS) - 1);
        let instance = address >> FUNCTION_BITS;
        let found = self.instances.get(instance as usize);
        let offset = found.and_then(|found| {
            let own = function.checked_sub(found.module.info.imported_functions)?;
            let record = found.module.record(own)?;
            last_instruction(found.module.cursor(record.body()), self.at.pc as u32)
        });
        Trap {
            kind,
            instance: InstanceId(instance),
            function,
            offset: offset.unwrap_or(0),
        }
    }
}

/// Offset of the instruction that ends at or behind `pc`, or whose bytes reach up to there.
fn last_instruction(mut cursor: Cursor<'_>, pc: u32) -> Option<u32> {
    let mut last = cursor.offset();
    while cursor.offset() < pc {
        last = cursor.offset();
        let instruction = crate::instruction::Instruction::read(&mut cursor).ok()?;
        if instruction.opcode == crate::instruction::op::BR_TABLE {
            for _ in 0..=instruction.a {
                cursor.u32().ok()?;
            }
        }
    }
    Some(last)
}
