//! Validates a module and writes its side table.

use alloc::vec::Vec;
use picolet_wasm::{Limits, SideTable, Validator};

/// Output: whether the module was refused, and words of the side table.
fn validate(input: &[u32], output: &mut [u32]) {
    let bytes = crate::bytes(input);
    let limits = Limits::SMALL;
    let mut table: Vec<u32> = Vec::new();
    let mut emitter = SideTable::new(&mut table, &limits);
    let mut validator = Validator::new(&limits, &mut emitter);
    let refused = bytes
        .chunks(256)
        .try_for_each(|piece| validator.push(piece))
        .is_err()
        || validator.end().is_err();
    if let [first, second, ..] = output {
        *first = u32::from(refused);
        *second = table.len() as u32;
    }
}

crate::operation!(wasm_validate, validate);
