//! Instantiates a module and runs its export `run`.

use core::cell::UnsafeCell;
use picolet_wasm::{Arena, Extern, Frame, ImportRequest, Limits, Module, Outcome, Store, StoreLimits, Value};

/// The store of the module that was loaded last.
struct Loaded(UnsafeCell<Option<Store>>);
// SAFETY: there is one thread.
unsafe impl Sync for Loaded {}
static LOADED: Loaded = Loaded(UnsafeCell::new(None));

struct Frames(UnsafeCell<[Frame; 16]>);
// SAFETY: there is one thread.
unsafe impl Sync for Frames {}
static FRAMES: Frames = Frames(UnsafeCell::new([[0; 256]; 16]));

/// Output: whether the module was loaded, bytes that the module and its store take on the heap.
fn load(input: &[u32], output: &mut [u32]) {
    let bytes = crate::bytes(input);
    // SAFETY: it is called once for a machine.
    let arena = Arena::from_static(unsafe { &mut *FRAMES.0.get() });
    let mut store = Store::new(
        &arena,
        StoreLimits {
            stack: 512,
            ..StoreLimits::default()
        },
    );
    let loaded = Module::load(&bytes, &Limits::SMALL).ok().and_then(|module| {
        let heap = module.heap_bytes();
        let none = &mut |_: &ImportRequest<'_>| None;
        let instance = store.instantiate(module.into(), none).ok()?;
        let Some(Extern::Function(run)) = store.export(instance, "run") else {
            return None;
        };
        let count = store.function_type(run)?.0.len();
        let argument = Value::I32(input.last().copied().unwrap_or(0) as i32);
        store.call(run, [argument].get(..count)?).ok()?;
        Some(heap + store.heap_bytes())
    });
    // SAFETY: there is one thread, and no reference to it elsewhere.
    unsafe { *LOADED.0.get() = Some(store) };
    if let [first, second, ..] = output {
        *first = u32::from(loaded.is_some());
        *second = loaded.unwrap_or(0) as u32;
    }
}

/// Output: whether the function ended, and its result.
fn run(_: &[u32], output: &mut [u32]) {
    // SAFETY: there is one thread, and no reference to it elsewhere.
    let Some(store) = (unsafe { &mut *LOADED.0.get() }) else {
        return;
    };
    let mut fuel = i32::MAX;
    let ended = store.run(&mut fuel) == Outcome::Finished;
    if let [first, second, third, ..] = output {
        *first = u32::from(ended);
        *second = match store.results().first() {
            Some(Value::I32(value)) => *value as u32,
            _ => 0,
        };
        *third = store.frames();
    }
}

crate::operation!(wasm_load, load);
crate::operation!(wasm_run, run);
