//! Modules that wasm-smith generates, and limits for tests.
#![allow(dead_code, reason = "not every test uses all of it")]

pub(crate) mod program;

use picolet_wasm::Limits;
use wasm_smith::{Config, Module};

/// Limits that no generated module exceeds.
pub(crate) const LIMITS: Limits = Limits {
    pages: 65_536,
    tables: 1000,
    table_elements: 2_000_000,
    ..Limits::LARGE
};

/// How many modules are tried: what the variable says, or the sample of an ordinary run.
pub(crate) fn count(variable: &str, sample: u64) -> u64 {
    std::env::var(variable).map_or(sample, |text| text.parse().expect("a number"))
}

/// A generator of numbers: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// What this engine takes.
pub(crate) fn config(random: &mut Random) -> Config {
    Config {
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        custom_page_sizes_enabled: random.below(4) == 0,
        extended_const_enabled: false,
        relaxed_simd_enabled: false,
        simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        memory64_enabled: false,
        max_memories: 1,
        max_tables: 4,
        max_type_size: 40,
        max_instructions: 300,
        max_memory32_bytes: 32 << 16,
        max_table_elements: 1000,
        memory_max_size_required: true,
        table_max_size_required: true,
        ..Config::default()
    }
}

/// Generates a module.
pub(crate) fn generate(random: &mut Random, config: Config) -> Option<Module> {
    let length = 200 + random.below(3000);
    let bytes = random.bytes(length);
    Module::new(config, &mut arbitrary::Unstructured::new(&bytes)).ok()
}
