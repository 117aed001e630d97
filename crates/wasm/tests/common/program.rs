//! Runs all exports of a module on this engine and on wasmi, and notes what can be observed.

use std::rc::Rc;

use picolet_wasm::{
    Arena, Extern, ImportRequest, ImportType, InstantiateError, Limits, Module, Outcome, Store, StoreLimits,
    TrapKind, Value, ValueType,
};

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// Bits of the results; of references only whether they are null.
    Returned(Vec<u64>),
    Trapped(TrapKind),
    /// Stack or memory was used up: engines differ.
    Exhausted,
}

/// All that can be observed of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) calls: Vec<End>,
    pub(crate) globals: Vec<u64>,
    pub(crate) memory: Vec<u8>,
}

impl Observed {
    pub(crate) fn is_exhausted(&self) -> bool {
        self.calls.contains(&End::Exhausted)
    }
}

/// What a run may take.
#[derive(Clone, Copy)]
pub(crate) struct Means {
    pub(crate) frames: u32,
    pub(crate) stack: u32,
    /// Fuel of a slice.
    pub(crate) slice: i32,
}

pub(crate) const PLENTY: Means = Means {
    frames: 4000,
    stack: 1_000_000,
    slice: 1_000_000,
};

/// The number that the host's functions and calls give as argument or result, by a counter.
fn number(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(1);
    // Small numbers and large ones, since most addresses are small.
    if counter.is_multiple_of(3) {
        counter.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    } else {
        *counter * 7
    }
}

fn value(ty: ValueType, counter: &mut u64) -> Value {
    let bits = number(counter);
    match ty {
        ValueType::I32 => Value::I32(bits as i32),
        ValueType::I64 => Value::I64(bits as i64),
        // No NaNs: an engine may change their bits where a value is only moved.
        ValueType::F32 => Value::F32((bits as i32 as f32).to_bits()),
        ValueType::F64 => Value::F64((bits as i64 as f64).to_bits()),
        ValueType::FuncRef => Value::FuncRef(None),
        ValueType::ExternRef => Value::ExternRef(None),
    }
}

fn bits(value: &Value) -> u64 {
    match value {
        Value::I32(value) => u64::from(*value as u32),
        Value::I64(value) => *value as u64,
        Value::F32(bits) => u64::from(*bits),
        Value::F64(bits) => *bits,
        Value::FuncRef(reference) => u64::from(reference.is_some()),
        Value::ExternRef(reference) => u64::from(reference.is_some()),
    }
}

fn end(store: &mut Store, means: Means, counter: &mut u64, signatures: &[Vec<ValueType>]) -> End {
    let mut fuel = 0;
    let mut slices = 0u64;
    loop {
        match store.run(&mut fuel) {
            Outcome::Finished => return End::Returned(store.results().iter().map(bits).collect()),
            Outcome::HostCall { number, .. } => {
                let results: Vec<_> = signatures[number as usize]
                    .iter()
                    .map(|ty| value(*ty, counter))
                    .collect();
                store.resume(&results).unwrap();
            }
            Outcome::OutOfFuel => {
                fuel = fuel.saturating_add(means.slice);
                slices += 1;
                assert!(slices < 1 << 32, "it ends");
            }
            Outcome::Trap(trap) if trap.kind == TrapKind::StackExhausted => return End::Exhausted,
            Outcome::Trap(trap) => {
                assert_ne!(trap.kind, TrapKind::Corrupt);
                return End::Trapped(trap.kind);
            }
            Outcome::OutOfMemory => return End::Exhausted,
        }
    }
}

/// Runs the start function and all exported functions. `None`: the module imports more than functions.
pub(crate) fn ours(bytes: &[u8], limits: &Limits, means: Means) -> Option<Observed> {
    let module = Rc::new(Module::load(bytes, limits).expect("a valid module"));
    let limits = StoreLimits {
        frames: means.frames,
        pages: 32,
        table_elements: 2_000_000,
        stack: means.stack,
    };
    let arena = Arena::on_heap(means.frames);
    let mut store = Store::new(&arena, limits);
    let mut signatures = Vec::new();
    let mut resolve = |request: &ImportRequest<'_>| match request.ty {
        ImportType::Function(_, results) => {
            signatures.push(results.to_vec());
            Some(Extern::Host(signatures.len() as u32 - 1))
        }
        _ => None,
    };
    let mut observed = Observed {
        calls: Vec::new(),
        globals: Vec::new(),
        memory: Vec::new(),
    };
    let instance = match store.instantiate(module.clone(), &mut resolve) {
        Ok(instance) => instance,
        Err(InstantiateError::Trap(kind)) => {
            observed.calls.push(End::Trapped(kind));
            return Some(observed);
        }
        Err(InstantiateError::UnknownImport(_)) => return None,
        Err(InstantiateError::OutOfMemory) => {
            observed.calls.push(End::Exhausted);
            return Some(observed);
        }
        Err(error) => panic!("{error}"),
    };
    let mut counter = 0;
    if let Some(start) = store.start_function(instance) {
        store.call(start, &[]).unwrap();
        let end = end(&mut store, means, &mut counter, &signatures);
        let stop = !matches!(end, End::Returned(_));
        observed.calls.push(end);
        if stop {
            return Some(observed);
        }
    }
    for number in 0.. {
        let Some((name, _, _)) = module.export_at(number) else {
            break;
        };
        if let Some(Extern::Function(function)) = store.export(instance, name) {
            let params = store.function_type(function).unwrap().0.to_vec();
            let arguments: Vec<_> = params.iter().map(|ty| value(*ty, &mut counter)).collect();
            let end = match store.call(function, &arguments) {
                Ok(()) => end(&mut store, means, &mut counter, &signatures),
                Err(_) => End::Exhausted,
            };
            let stop = end == End::Exhausted;
            observed.calls.push(end);
            if stop {
                return Some(observed);
            }
        }
    }
    for number in 0.. {
        let Some((name, _, _)) = module.export_at(number) else {
            break;
        };
        match store.export(instance, name) {
            Some(Extern::Global(global)) => observed.globals.push(bits(&store.global(global).unwrap())),
            Some(Extern::Memory(memory)) => {
                observed.memory = vec![0; store.memory_bytes(memory).unwrap() as usize];
                if store.copy_out(memory, 0, &mut observed.memory).is_err() {
                    observed.calls.push(End::Exhausted);
                }
            }
            _ => {}
        }
    }
    let frames = store.frames();
    drop(store);
    assert_eq!(arena.frames_in_use(), 0, "frames are given back: {frames}");
    Some(observed)
}

fn to_wasmi(value: Value, ty: wasmi::ValType) -> wasmi::Val {
    match value {
        Value::I32(value) => wasmi::Val::I32(value),
        Value::I64(value) => wasmi::Val::I64(value),
        Value::F32(bits) => wasmi::Val::F32(wasmi::F32::from_bits(bits)),
        Value::F64(bits) => wasmi::Val::F64(wasmi::F64::from_bits(bits)),
        _ => wasmi::Val::default_for_ty(ty),
    }
}

fn wasmi_bits(value: &wasmi::Val) -> u64 {
    match value {
        wasmi::Val::I32(value) => u64::from(*value as u32),
        wasmi::Val::I64(value) => *value as u64,
        wasmi::Val::F32(value) => u64::from(value.to_bits()),
        wasmi::Val::F64(value) => value.to_bits(),
        wasmi::Val::FuncRef(reference) => u64::from(!reference.is_null()),
        wasmi::Val::ExternRef(reference) => u64::from(!reference.is_null()),
        other => panic!("{other:?}"),
    }
}

fn ours_of(ty: wasmi::ValType) -> ValueType {
    match ty {
        wasmi::ValType::I32 => ValueType::I32,
        wasmi::ValType::I64 => ValueType::I64,
        wasmi::ValType::F32 => ValueType::F32,
        wasmi::ValType::F64 => ValueType::F64,
        wasmi::ValType::FuncRef => ValueType::FuncRef,
        _ => ValueType::ExternRef,
    }
}

fn wasmi_end(error: &wasmi::Error) -> End {
    use wasmi::TrapCode;
    let Some(code) = error.as_trap_code() else {
        let text = error.to_string();
        // Errors of instantiation are no traps there.
        return if text.contains("table") || text.contains("element") {
            End::Trapped(TrapKind::TableOutOfBounds)
        } else {
            End::Trapped(TrapKind::MemoryOutOfBounds)
        };
    };
    End::Trapped(match code {
        TrapCode::UnreachableCodeReached => TrapKind::Unreachable,
        TrapCode::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        // The outcome of an index outside of a table at a call and elsewhere is one code there.
        TrapCode::TableOutOfBounds => TrapKind::TableOutOfBounds,
        TrapCode::IndirectCallToNull => TrapKind::UninitializedElement,
        TrapCode::IntegerDivisionByZero => TrapKind::DivisionByZero,
        TrapCode::IntegerOverflow => TrapKind::IntegerOverflow,
        TrapCode::BadConversionToInteger => TrapKind::InvalidConversion,
        TrapCode::BadSignature => TrapKind::IndirectCallTypeMismatch,
        _ => return End::Exhausted,
    })
}

/// The same as [`ours`] on wasmi.
pub(crate) fn wasmi(engine: &wasmi::Engine, bytes: &[u8]) -> Option<Observed> {
    let module = wasmi::Module::new(engine, bytes).expect("a valid module");
    let mut store = wasmi::Store::new(engine, 0u64);
    let mut imports = Vec::new();
    for import in module.imports() {
        let wasmi::ExternType::Func(ty) = import.ty() else {
            return None;
        };
        let results: Vec<_> = ty.results().to_vec();
        let function = wasmi::Func::new(&mut store, ty.clone(), move |mut caller, _, out| {
            for (slot, ty) in out.iter_mut().zip(&results) {
                *slot = to_wasmi(value(ours_of(*ty), caller.data_mut()), *ty);
            }
            Ok(())
        });
        imports.push(wasmi::Extern::Func(function));
    }
    let mut observed = Observed {
        calls: Vec::new(),
        globals: Vec::new(),
        memory: Vec::new(),
    };
    let instance = match wasmi::Instance::new(&mut store, &module, &imports) {
        Ok(instance) => instance,
        Err(error) => {
            observed.calls.push(wasmi_end(&error));
            return Some(observed);
        }
    };
    // Whether there was a start function: its end is noted by `ours`, too.
    if wasmparser::Parser::new(0)
        .parse_all(bytes)
        .any(|payload| matches!(payload, Ok(wasmparser::Payload::StartSection { .. })))
    {
        observed.calls.push(End::Returned(Vec::new()));
    }
    // In the order of the module, which is not that of wasmi.
    let ours = Module::load(bytes, &crate::common::LIMITS).unwrap();
    let names: Vec<String> = (0..)
        .map_while(|number| ours.export_at(number).map(|(name, ..)| name.to_owned()))
        .collect();
    for name in &names {
        let Some(function) = instance.get_func(&store, name) else {
            continue;
        };
        let ty = function.ty(&store);
        let counter = store.data_mut();
        let arguments: Vec<_> = ty
            .params()
            .iter()
            .map(|ty| to_wasmi(value(ours_of(*ty), counter), *ty))
            .collect();
        let mut results: Vec<_> = ty
            .results()
            .iter()
            .map(|ty| wasmi::Val::default_for_ty(*ty))
            .collect();
        let end = match function.call(&mut store, &arguments, &mut results) {
            Ok(()) => End::Returned(results.iter().map(wasmi_bits).collect()),
            Err(error) => wasmi_end(&error),
        };
        let stop = end == End::Exhausted;
        observed.calls.push(end);
        if stop {
            return Some(observed);
        }
    }
    for name in &names {
        if let Some(global) = instance.get_global(&store, name) {
            observed.globals.push(wasmi_bits(&global.get(&store)));
        }
        if let Some(memory) = instance.get_memory(&store, name) {
            observed.memory = memory.data(&store).to_vec();
        }
    }
    Some(observed)
}

/// What wasmi does not tell apart.
pub(crate) fn normalized(mut observed: Observed) -> Observed {
    for call in &mut observed.calls {
        if *call == End::Trapped(TrapKind::UndefinedElement) {
            *call = End::Trapped(TrapKind::TableOutOfBounds);
        }
    }
    observed
}
