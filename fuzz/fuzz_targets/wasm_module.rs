//! Modules: any bytes and generated ones. Whatever validates runs with bounded fuel and memory, also if the module or its side table
//! was changed after validation, and nothing panics.
#![no_main]

use std::rc::Rc;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use picolet_wasm::{
    Arena, Extern, ImportRequest, ImportType, Limits, Module, Outcome, Shared, SideTable, Store, StoreLimits,
    Validator, Value, ValueType,
};

const LIMITS: Limits = Limits {
    pages: 32,
    ..Limits::LARGE
};

fn zero(ty: ValueType) -> Value {
    match ty {
        ValueType::I32 => Value::I32(0),
        ValueType::I64 => Value::I64(0),
        ValueType::F32 => Value::F32(0),
        ValueType::F64 => Value::F64(0),
        ValueType::FuncRef => Value::FuncRef(None),
        ValueType::ExternRef => Value::ExternRef(None),
    }
}

/// Validates a module in pieces of this size: its side table.
fn validate(bytes: &[u8], piece: usize) -> Option<Vec<u32>> {
    let mut words = Vec::new();
    let mut emitter = SideTable::new(&mut words, &LIMITS);
    let mut validator = Validator::new(&LIMITS, &mut emitter);
    let pushed = bytes.chunks(piece).try_for_each(|piece| validator.push(piece));
    let whole = picolet_wasm::validate(bytes, &LIMITS);
    // A side table has limits of its own.
    match (pushed.and_then(|()| validator.end()), whole) {
        (Ok(()), Ok(())) => Some(words),
        (Err(_), Ok(())) => None,
        (pieces, whole) => {
            assert_eq!(pieces, whole);
            None
        }
    }
}

fn module(bytes: &[u8], code: &[u8], words: &[u32]) -> Option<Module> {
    let mut ignored = Vec::new();
    let mut emitter = SideTable::new(&mut ignored, &LIMITS);
    let mut validator = Validator::new(&LIMITS, &mut emitter);
    validator.push(bytes).ok()?;
    Module::new(validator, Shared::Heap(code.into()), Shared::Heap(words.into())).ok()
}

fn run(module: Module) -> Option<()> {
    let module = Rc::new(module);
    let arena = Arena::on_heap(20);
    let mut store = Store::new(
        &arena,
        StoreLimits {
            frames: 16,
            pages: 32,
            table_elements: 2000,
            stack: 2000,
        },
    );
    let mut hosts: Vec<Vec<ValueType>> = Vec::new();
    let mut resolve = |request: &ImportRequest<'_>| match request.ty {
        ImportType::Function(_, results) => {
            hosts.push(results.to_vec());
            Some(Extern::Host(hosts.len() as u32 - 1))
        }
        _ => None,
    };
    let instance = store.instantiate(module.clone(), &mut resolve).ok()?;
    let mut functions: Vec<_> = store.start_function(instance).into_iter().collect();
    for number in 0..20 {
        let Some((name, ..)) = module.export_at(number) else {
            break;
        };
        if let Some(Extern::Function(function)) = store.export(instance, name) {
            functions.push(function);
        }
    }
    for function in functions {
        let arguments: Vec<_> = store
            .function_type(function)?
            .0
            .iter()
            .map(|ty| zero(*ty))
            .collect();
        store.stop();
        if store.call(function, &arguments).is_err() {
            continue;
        }
        let mut left = 100_000;
        while left > 0 {
            let mut fuel = 997.min(left);
            left -= 1 + fuel;
            match store.run(&mut fuel) {
                Outcome::HostCall { number, .. } => {
                    store.arguments();
                    let results: Vec<_> = hosts.get(number as usize)?.iter().map(|ty| zero(*ty)).collect();
                    store.resume(&results).ok()?;
                }
                Outcome::OutOfFuel => {}
                Outcome::Finished => {
                    store.results();
                    break;
                }
                Outcome::Trap(trap) => {
                    module.function_name(trap.function);
                    break;
                }
                Outcome::OutOfMemory => break,
            }
        }
    }
    assert!(arena.frames_in_use() <= 16);
    drop(store);
    assert_eq!(arena.frames_in_use(), 0);
    Some(())
}

/// Half of the inputs are a module, of the other half one is generated.
fn bytes(data: &[u8], how: u8) -> Option<Vec<u8>> {
    if how & 1 == 0 {
        return Some(data.to_vec());
    }
    let config = wasm_smith::Config {
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        custom_page_sizes_enabled: how & 2 != 0,
        extended_const_enabled: false,
        relaxed_simd_enabled: false,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        memory64_enabled: false,
        export_everything: true,
        allow_invalid_funcs: how & 4 != 0,
        max_memory32_bytes: 32 << 16,
        max_table_elements: 1000,
        ..wasm_smith::Config::default()
    };
    Some(
        wasm_smith::Module::new(config, &mut Unstructured::new(data))
            .ok()?
            .to_bytes(),
    )
}

fuzz_target!(|data: &[u8]| {
    let Some((&[how, piece, place, change], data)) = data.split_first_chunk() else {
        return;
    };
    let Some(bytes) = bytes(data, how) else { return };
    let Some(words) = validate(&bytes, usize::from(piece) + 1) else {
        return;
    };
    if let Some(module) = module(&bytes, &bytes, &words) {
        run(module);
    }
    // A flash that lost bits.
    let (mut code, mut table) = (bytes.clone(), words.clone());
    let at = code.len() * usize::from(place) / 256;
    code[at] ^= change;
    if let Some(module) = module(&bytes, &code, &words) {
        run(module);
    }
    if !table.is_empty() {
        let at = table.len() * usize::from(place) / 256;
        table[at] ^= u32::from(change) << (8 * (change & 3));
        if let Some(module) = module(&bytes, &bytes, &table) {
            run(module);
        }
    }
});
