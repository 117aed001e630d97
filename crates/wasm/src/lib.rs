//! A WebAssembly engine for microcontrollers: it validates a module while its bytes arrive, runs it in place from read-only memory,
//! and stops wherever the host wants.
//!
//! # What it runs
//!
//! WebAssembly 2.0 without SIMD, and memories with pages of 1 byte. Everything else is refused with the name of the proposal and the
//! offset of the byte ([`ErrorKind::Unsupported`]). The host bounds what a module may contain ([`Limits`]) and what it may take at run
//! time ([`StoreLimits`]).
//!
//! # From bytes to a result
//!
//! 1. A [`Validator`] takes the module in pieces of any size. It drives an [`Emitter`] with the functions: [`SideTable`] writes what
//!    the interpreter needs beside the code to a [`Sink`], which may be flash. Another emitter can write machine code.
//! 2. A [`Module`] puts together the module's bytes, the side table, and what the validator kept: about 10 bytes for each type, import,
//!    global and segment, nothing for functions and exports, which are looked up in place.
//! 3. A [`Store`] instantiates modules, calls a function ([`Store::call`]) and runs it in slices ([`Store::run`]). A call of the host ends the
//!    slice: the host reads the arguments, does its work, for as long as that takes, and resumes the program.
//!
//! ```
//! use picolet_wasm::{Arena, Extern, ImportRequest, Limits, Module, Outcome, Store, StoreLimits, Value};
//!
//! // (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
//! let bytes = b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03add\0\0\
//!     \x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b";
//! let module = Module::load(bytes, &Limits::SMALL)?;
//! let mut store = Store::new(&Arena::on_heap(16), StoreLimits::default());
//! let instance = store.instantiate(module.into(), &mut |_: &ImportRequest<'_>| None)?;
//! let Some(Extern::Function(add)) = store.export(instance, "add") else { panic!() };
//! store.call(add, &[Value::I32(40), Value::I32(2)])?;
//! let mut fuel = 1000;
//! assert_eq!(store.run(&mut fuel), Outcome::Finished);
//! assert!(matches!(store.results()[..], [Value::I32(42)]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! * Nothing of a program lies on the native stack between two slices, and no function of the engine recurses.
//! * Values are untyped slots of 32 bits; those of 64 bits take two, the low word first. The validator knows the types and the side table
//!   says where an instruction needs them. A reference is 0 for null, and 1 more than a function's address or the host's number.
//! * The interpreter trusts neither the module's bytes nor the side table: if they were changed after validation, a program traps as
//!   [`TrapKind::Corrupt`] or computes nonsense within its own store. It never panics and there is no `unsafe` code.
//! * A result of floating-point arithmetic that is a NaN is the canonical one, so that a program does the same everywhere.
//! * Memory is in frames of 1 KiB ([`Arena`]), taken on first touch. Hosts copy in and out and never hold a reference.
//!
//! # Limits
//!
//! A module has at most 16 MiB and one memory. A function has at most 32,767 slots of locals, blocks and functions 255 slots of parameters
//! or results. Stores are for one thread. Speed is that of an in-place interpreter: see `docs/decisions/0002-wasm-engine.md`.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod emitter;
mod error;
mod ids;
mod info;
mod instance;
mod instruction;
mod interpreter;
mod limits;
mod memory;
mod module;
mod reader;
mod side_table;
mod store;
mod trap;
mod types;
mod validate;

pub use emitter::{Branch, Emitter, FunctionHead, LocalGroup, NoEmitter, Site};
pub use error::{Error, ErrorKind, Proposal, Reason};
pub use ids::{Function, GlobalId, InstanceId, MemoryId, TableId};
pub use instruction::{BlockType, Instruction};
pub use limits::Limits;
pub use memory::Fault;
pub use memory::arena::{Arena, FRAME_BYTES, Frame};
pub use module::{ExportKind, Module, Shared};
pub use side_table::{SideTable, Sink};
pub use store::{
    CallError, Extern, ImportRequest, ImportType, InstantiateError, Outcome, Resolver, Store, StoreLimits,
};
pub use trap::{Trap, TrapKind};
pub use types::{GlobalType, MemoryType, TableType, Value, ValueType};
pub use validate::{Validator, validate};
