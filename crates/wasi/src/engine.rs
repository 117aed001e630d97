//! Programs: a module in picolet's engine, with its WASI.
//!
//! A program runs in slices of fuel and leaves nothing on the native stack between them: [`Program::run`] returns when the fuel is used up,
//! when a call has to wait, and when the program has ended.

use alloc::rc::Rc;
use core::fmt;

use picolet_wasm::{
    Arena, CallError, Extern, Fault, ImportRequest, ImportType, InstanceId, InstantiateError, MemoryId,
    Module, Outcome as Stop, Store, StoreLimits, Trap, Value, ValueType,
};

use crate::context::Wasi;
use crate::functions::preview1::{Function, MODULE};
use crate::functions::{Signature, picolet};
use crate::host::Host;
use crate::memory::{GuestMemory, MemoryError};
use crate::outcome::{Outcome, Wait};
use crate::picolet::MODULE as PICOLET;

/// Numbers of the functions of the `picolet` module begin here, those of WASI at 0.
const PICOLET_BASE: u32 = 256;

/// Fuel that a call of the host costs besides the instruction: it takes about as long as so many branches.
const HOST_CALL: i32 = 256;

/// Slots of the longest list of arguments.
const SLOTS: usize = 12;

/// Why a program cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The module does not export a function `_start` without parameters: it is no command.
    NoEntry,
    /// It imports what is not there, by the number of the import, or there is no room for it.
    Instantiate(InstantiateError),
    /// The stack is too small for its entry.
    Stack,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEntry => f.write_str("no function _start: build a command, not a library"),
            Self::Instantiate(error) => fmt::Display::fmt(error, f),
            Self::Stack => f.write_str("call stack exhausted"),
        }
    }
}

impl core::error::Error for StartError {}

/// Why a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The fuel is used up.
    OutOfFuel,
    /// A call waits.
    Waiting(Wait),
    /// The program has ended with this exit code.
    Exited(u32),
    /// The program broke a rule of WebAssembly and has ended.
    Trapped(Trap),
    /// The program reached its memory limit and has ended.
    OutOfMemory,
}

/// A module that runs.
pub struct Program {
    store: Store,
    instance: InstanceId,
    memory: Option<MemoryId>,
    wasi: Wasi,
    /// The start function of the module runs, and not yet its entry.
    starting: bool,
    waiting: bool,
    /// Set once it has ended.
    ended: Option<Step>,
}

impl Program {
    /// Instantiates a module and enters it. Its memory takes frames of `arena`.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn new(
        module: Rc<Module>,
        arena: &Arena,
        limits: StoreLimits,
        wasi: Wasi,
    ) -> Result<Self, StartError> {
        let mut store = Store::new(arena, limits);
        let instance = store
            .instantiate(module, &mut resolve)
            .map_err(StartError::Instantiate)?;
        let mut program = Self {
            memory: store.memory(instance),
            store,
            instance,
            wasi,
            starting: true,
            waiting: false,
            ended: None,
        };
        match program.store.start_function(instance) {
            Some(start) => program.store.call(start, &[]).map_err(|_| StartError::Stack)?,
            None => program.enter()?,
        }
        Ok(program)
    }

    /// Runs until the fuel is used up, a call waits, or the program ends. `fuel` is what is left.
    pub fn run(&mut self, fuel: &mut i32, host: &Host<'_>) -> Step {
        loop {
            if let Some(end) = self.ended {
                return end;
            }
            let step = if self.waiting {
                self.waiting = false;
                let mut memory = Linear {
                    store: &mut self.store,
                    memory: self.memory,
                };
                let outcome = self.wasi.resume(&mut memory, host);
                self.take(outcome)
            } else {
                self.advance(fuel, host)
            };
            match step {
                None => {}
                Some(step @ (Step::OutOfFuel | Step::Waiting(_))) => return step,
                Some(end) => self.end(end, host),
            }
        }
    }

    /// Ends the program from outside.
    pub fn stop(&mut self, code: u32, host: &Host<'_>) {
        if self.ended.is_none() {
            self.end(Step::Exited(code), host);
        }
    }

    /// Bytes of memory that it has touched.
    #[must_use]
    pub fn memory_bytes(&self) -> u32 {
        self.store.frames().saturating_mul(picolet_wasm::FRAME_BYTES)
    }

    /// Bytes of memory that it has declared, or grown to.
    #[must_use]
    pub fn declared_bytes(&self) -> u64 {
        self.memory
            .and_then(|memory| self.store.memory_bytes(memory))
            .unwrap_or(0)
    }

    fn enter(&mut self) -> Result<(), StartError> {
        self.starting = false;
        let Some(Extern::Function(entry)) = self.store.export(self.instance, "_start") else {
            return Err(StartError::NoEntry);
        };
        self.store.call(entry, &[]).map_err(|error| match error {
            CallError::StackExhausted => StartError::Stack,
            _ => StartError::NoEntry,
        })
    }

    fn end(&mut self, end: Step, host: &Host<'_>) {
        self.wasi.close(host);
        self.store.stop();
        self.ended = Some(end);
    }

    /// Runs the engine until it stops. `None`: there is more to run.
    fn advance(&mut self, fuel: &mut i32, host: &Host<'_>) -> Option<Step> {
        match self.store.run(fuel) {
            Stop::Finished if self.starting => match self.enter() {
                Ok(()) => None,
                // As for a module whose entry traps at once.
                Err(_) => Some(Step::Exited(1)),
            },
            Stop::Finished => Some(Step::Exited(0)),
            Stop::OutOfFuel => Some(Step::OutOfFuel),
            Stop::Trap(trap) => Some(Step::Trapped(trap)),
            Stop::OutOfMemory => Some(Step::OutOfMemory),
            Stop::HostCall { number, .. } => {
                *fuel = fuel.saturating_sub(HOST_CALL);
                let outcome = self.call(number, host);
                self.take(outcome)
            }
        }
    }

    fn call(&mut self, number: u32, host: &Host<'_>) -> Outcome {
        let mut slots = [0; SLOTS];
        let mut free = slots.iter_mut();
        let mut put = |value: u32| {
            if let Some(slot) = free.next() {
                *slot = value;
            }
        };
        for value in self.store.arguments() {
            match value {
                Value::I32(value) => put(value.cast_unsigned()),
                Value::I64(value) => {
                    put(value as u32);
                    put((value >> 32) as u32);
                }
                _ => {}
            }
        }
        let mut memory = Linear {
            store: &mut self.store,
            memory: self.memory,
        };
        let at = |base| (number.wrapping_sub(base)) as usize;
        if let Some(function) = picolet::Function::ALL.get(at(PICOLET_BASE)) {
            self.wasi.call_picolet(*function, &slots, &mut memory, host)
        } else if let Some(function) = Function::ALL.get(at(0)) {
            self.wasi.call(*function, &slots, &mut memory, host)
        } else {
            Outcome::Exit(1)
        }
    }

    /// Gives the outcome of a call to the engine. `None`: there is more to run.
    fn take(&mut self, outcome: Outcome) -> Option<Step> {
        match outcome {
            Outcome::Return(value) => {
                // Only `proc_exit` has no result, and it does not return.
                let _ = self.store.resume(&[Value::I32(value.cast_signed())]);
                None
            }
            Outcome::Exit(code) => Some(Step::Exited(code)),
            Outcome::OutOfMemory => Some(Step::OutOfMemory),
            Outcome::Suspend(wait) => {
                self.waiting = true;
                Some(Step::Waiting(wait))
            }
        }
    }
}

/// The function that an import names, if it has that type.
fn resolve(request: &ImportRequest<'_>) -> Option<Extern> {
    let ImportType::Function(parameters, results) = request.ty else {
        return None;
    };
    let (number, signature) = match request.module {
        MODULE => {
            let function = Function::find(request.field)?;
            (function as u32, function.signature())
        }
        PICOLET => {
            let function = picolet::Function::find(request.field)?;
            (PICOLET_BASE + function as u32, function.signature())
        }
        _ => return None,
    };
    is_of(&signature, parameters, results).then_some(Extern::Host(number))
}

/// Whether a function has that type.
fn is_of(signature: &Signature, parameters: &[ValueType], results: &[ValueType]) -> bool {
    let letters = parameters.iter().map(|ty| match ty {
        ValueType::I32 => b'i',
        ValueType::I64 => b'I',
        _ => b'?',
    });
    let result: &[ValueType] = if signature.returns { &[ValueType::I32] } else { &[] };
    letters.eq(signature.parameters.bytes()) && results == result
}

/// Whether a module wants signals instead of being stopped at once: it imports a function that takes them.
#[must_use]
pub fn takes_signals(module: &Module) -> bool {
    (0..module.imports()).any(|index| {
        module.import_names(index).is_some_and(|(module, name)| {
            module == PICOLET && picolet::Function::find(name).is_some_and(picolet::Function::takes_signals)
        })
    })
}

/// The memory of the program.
struct Linear<'s> {
    store: &'s mut Store,
    memory: Option<MemoryId>,
}

fn failure(fault: Fault) -> MemoryError {
    match fault {
        Fault::OutOfMemory => MemoryError::OutOfMemory,
        Fault::OutOfBounds => MemoryError::Fault,
    }
}

impl GuestMemory for Linear<'_> {
    fn copy_out(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let memory = self.memory.ok_or(MemoryError::Fault)?;
        self.store.copy_out(memory, address, bytes).map_err(failure)
    }

    fn copy_in(&mut self, address: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        let memory = self.memory.ok_or(MemoryError::Fault)?;
        self.store.copy_in(memory, address, bytes).map_err(failure)
    }
}
