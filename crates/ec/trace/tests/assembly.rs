//! The assembly, run on the simulated processor, against the Rust twin (word for word) and so against num-bigint, with which
//! the twin is compared in its own tests.
#![allow(
    dead_code,
    missing_docs,
    unexpected_cfgs,
    unreachable_pub,
    reason = "modules of the crate, included as they are"
)]

use picolet_ec_trace::{Image, Machine};

// The twin is private to the crate: it is included here with what it stands on.
#[path = "../../src/arch/mod.rs"]
mod arch;
#[path = "../../src/ct.rs"]
mod ct;
#[path = "../../src/words.rs"]
mod words;

use arch::tests::Operands;
use words::{Words, reduce_once};

fn compare(machine: &mut Machine, name: &str, operands: &[&Words], expected: &[u32]) {
    let operands: Vec<&[u32]> = operands.iter().map(|operand| operand.as_slice()).collect();
    let result = machine
        .call_assembly(&format!("picolet_ec_{name}"), &operands, expected.len())
        .unwrap();
    assert_eq!(result, expected, "{name}({operands:x?})");
}

fn compare_pairs(image: &Image, seed: u64, pairs: usize) {
    let mut machine = image.machine();
    let mut operands = Operands::new(seed);
    for _ in 0..pairs {
        let (a, b) = (&operands.number(), &operands.number());
        compare(&mut machine, "mul_wide", &[a, b], &arch::mul_wide(a, b));
        compare(&mut machine, "25519_mul", &[a, b], &arch::f25519_mul(a, b));
        compare(&mut machine, "25519_sqr", &[a], &arch::f25519_sqr(a));
        compare(&mut machine, "25519_add", &[a, b], &arch::f25519_add(a, b));
        compare(&mut machine, "25519_sub", &[a, b], &arch::f25519_sub(a, b));
        compare(
            &mut machine,
            "25519_mul_121665",
            &[a],
            &arch::f25519_mul_121665(a),
        );
        let [a, b] = [a, b].map(|number| reduce_once(number, 0, &arch::P256_PRIME));
        let (a, b) = (&a, &b);
        compare(&mut machine, "p256_mul", &[a, b], &arch::p256_mul(a, b));
        compare(&mut machine, "p256_sqr", &[a], &arch::p256_sqr(a));
        compare(&mut machine, "p256_add", &[a, b], &arch::p256_add(a, b));
        compare(&mut machine, "p256_sub", &[a, b], &arch::p256_sub(a, b));
        compare(&mut machine, "p256_half", &[a], &arch::p256_half(a));
    }
}

#[test]
fn assembly_equals_the_twin_on_a_million_pairs() {
    let image = &Image::build(&[]).unwrap();
    std::thread::scope(|scope| {
        for seed in 5..9 {
            scope.spawn(move || compare_pairs(image, seed, 250_000));
        }
    });
}

/// Extremes, in all pairs: 0, 1, the primes and their neighbours, powers of two, all ones.
#[test]
fn assembly_equals_the_twin_on_edges() {
    let mut edges: Vec<Words> = vec![words::ZERO, words::ONE, [!0; 8], arch::P256_PRIME];
    let prime_25519 = [0xffff_ffed, !0, !0, !0, !0, !0, !0, 0x7fff_ffff];
    edges.push(prime_25519);
    edges.push(words::add(&prime_25519, &prime_25519).0);
    for base in edges.clone() {
        edges.push(words::add(&base, &words::ONE).0);
        edges.push(words::sub(&base, &words::ONE).0);
    }
    edges.extend(
        (0..256)
            .step_by(16)
            .map(|bit| core::array::from_fn(|i| if i == bit / 32 { 1 << (bit % 32) } else { 0 })),
    );
    let image = Image::build(&[]).unwrap();
    let mut machine = image.machine();
    for a in &edges {
        for b in &edges {
            compare(&mut machine, "mul_wide", &[a, b], &arch::mul_wide(a, b));
            compare(&mut machine, "25519_mul", &[a, b], &arch::f25519_mul(a, b));
            compare(&mut machine, "25519_add", &[a, b], &arch::f25519_add(a, b));
            compare(&mut machine, "25519_sub", &[a, b], &arch::f25519_sub(a, b));
            let [a, b] = [a, b].map(|number| reduce_once(number, 0, &arch::P256_PRIME));
            compare(&mut machine, "p256_mul", &[&a, &b], &arch::p256_mul(&a, &b));
            compare(&mut machine, "p256_add", &[&a, &b], &arch::p256_add(&a, &b));
            compare(&mut machine, "p256_sub", &[&a, &b], &arch::p256_sub(&a, &b));
        }
        compare(&mut machine, "25519_sqr", &[a], &arch::f25519_sqr(a));
        compare(
            &mut machine,
            "25519_mul_121665",
            &[a],
            &arch::f25519_mul_121665(a),
        );
        let a = reduce_once(a, 0, &arch::P256_PRIME);
        compare(&mut machine, "p256_sqr", &[&a], &arch::p256_sqr(&a));
        compare(&mut machine, "p256_half", &[&a], &arch::p256_half(&a));
    }
}
