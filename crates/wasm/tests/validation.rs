//! The validator accepts what wasmparser accepts, and nothing else.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{LIMITS, Random, config, count, generate};
use picolet_wasm::{ErrorKind, Limits, NoEmitter, Validator, validate};
use wasmparser::WasmFeatures;

fn reference(bytes: &[u8]) -> bool {
    let features = WasmFeatures::WASM2
        .difference(WasmFeatures::SIMD)
        .union(WasmFeatures::CUSTOM_PAGE_SIZES);
    wasmparser::Validator::new_with_features(features)
        .validate_all(bytes)
        .is_ok()
}

/// Whether both agree on a module; a limit of ours is no disagreement.
fn compare(bytes: &[u8], what: &str) -> Option<bool> {
    let expected = reference(bytes);
    match validate(bytes, &LIMITS) {
        Err(error) if matches!(error.kind, ErrorKind::Limit(_)) => None,
        result => {
            if result.is_ok() != expected {
                let path = std::env::temp_dir().join("disagreement.wasm");
                let _ = std::fs::write(&path, bytes);
                panic!(
                    "{what}: ours {result:?}, wasmparser {expected}, {}",
                    path.display()
                );
            }
            Some(expected)
        }
    }
}

fn validate_in_pieces(
    bytes: &[u8],
    limits: &Limits,
    mut size: impl FnMut() -> usize,
) -> Result<(), picolet_wasm::Error> {
    let mut emitter = NoEmitter;
    let mut validator = Validator::new(limits, &mut emitter);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size().clamp(1, rest.len()));
        validator.push(piece)?;
        rest = after;
    }
    validator.end()
}

#[test]
fn validator_agrees_with_wasmparser_on_generated_and_mutated_modules() {
    let modules = count("PICOLET_WASM_VALIDATE", 400);
    let (mut valid, mut mutated, mut accepted, mut limited) = (0u64, 0u64, 0u64, 0u64);
    for seed in 0..modules {
        let mut random = Random(seed);
        let mut config = config(&mut random);
        config.allow_invalid_funcs = random.below(3) == 0;
        let Some(module) = generate(&mut random, config) else {
            continue;
        };
        let bytes = module.to_bytes();
        match compare(&bytes, &format!("seed {seed}")) {
            Some(true) => valid += 1,
            Some(false) => {}
            None => limited += 1,
        }
        for mutation in 0..20 {
            let mut bytes = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(bytes.len().max(1));
                if bytes.is_empty() {
                    break;
                }
                match random.below(5) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes[at] = bytes[at].wrapping_add(1),
                    3 => {
                        bytes.remove(at);
                    }
                    _ => bytes.truncate(at.max(1)),
                }
            }
            mutated += 1;
            match compare(&bytes, &format!("seed {seed}, mutation {mutation}")) {
                Some(true) => accepted += 1,
                Some(false) => {}
                None => limited += 1,
            }
            let whole = validate(&bytes, &LIMITS);
            assert_eq!(
                validate_in_pieces(&bytes, &LIMITS, || 1 + random.below(40)),
                whole,
                "seed {seed}"
            );
        }
    }
    println!(
        "{valid} valid modules, {mutated} mutated ones of which {accepted} are valid, {limited} exceed a limit"
    );
    assert!(valid * 10 > modules * 5, "most modules are valid");
    assert!(accepted > 0 && limited * 50 < mutated);
}

#[test]
fn validator_gives_the_same_result_when_the_module_comes_byte_by_byte() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let config = config(&mut random);
        let Some(module) = generate(&mut random, config) else {
            continue;
        };
        let bytes = module.to_bytes();
        let whole = validate(&bytes, &LIMITS);
        assert_eq!(whole, Ok(()));
        for size in [1, 2, 3, 31, 32, 33, 64] {
            assert_eq!(
                validate_in_pieces(&bytes, &LIMITS, || size),
                whole,
                "seed {seed}, pieces of {size}"
            );
        }
    }
}
