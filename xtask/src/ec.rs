//! `cargo xtask bench ec`: what the public-key arithmetic costs, beside RustCrypto's in the same run.
//!
//! On the simulated Cortex-M0+ instructions and cycles are exact and repeatable; on this machine they are times, and only their
//! ratio says something.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use picolet_ec_trace::{Image, Machine, Measured};

/// An operation: our function in the image, its input, and RustCrypto's name if it has one.
struct Operation {
    what: &'static str,
    name: &'static str,
    input: Vec<u8>,
    /// Cycles that must not be exceeded.
    limit: u64,
    /// Bytes of output that must be equal for both.
    output: usize,
}

/// The most stack that an operation may use.
const STACK_LIMIT: u32 = 6 * 1024;
/// The most flash that code and tables may take.
const FLASH_LIMIT: u64 = 24 * 1024;

/// Prints the table. Fails if a budget does not hold.
pub(crate) fn bench() -> Result<()> {
    let ours = Image::build(&[])?;
    let both = Image::build(&["rustcrypto"])?;
    let mut machine = both.machine();
    let mut over = Vec::new();

    println!("Simulated Cortex-M0+, thumbv6m, -Os, memory without wait states");
    println!(
        "{:34} {:>10} {:>10} {:>6}   {:>12} {:>12} {:>6}",
        "", "instr.", "cycles", "stack", "RustCrypto", "cycles", "ratio"
    );
    for Operation {
        what,
        name,
        input,
        limit,
        output,
    } in operations(&mut machine)?
    {
        let own = machine.call(name, &input, output)?;
        print!(
            "{what:34} {:>10} {:>10} {:>6}",
            own.instructions, own.cycles, own.stack
        );
        let theirs = format!("rustcrypto_{name}");
        if both.has(&theirs) {
            let mut theirs = machine.call(&theirs, &input, output)?;
            ensure!(
                own.output == theirs.output,
                "{what}: RustCrypto comes to another result"
            );
            if name == "p256_sign" {
                // Its signing key computes its public half when it is read, which is not part of signing.
                let public = machine.call("rustcrypto_p256_public_key", &input[..32], 65)?;
                theirs.instructions -= public.instructions;
                theirs.cycles -= public.cycles;
            }
            let ratio = theirs.cycles as f64 / own.cycles as f64;
            print!(
                "   {:>12} {:>12} {ratio:>6.1}",
                theirs.instructions, theirs.cycles
            );
        }
        println!();
        if own.cycles > limit {
            over.push(format!("{what}: {} cycles, the limit is {limit}", own.cycles));
        }
        if own.stack > STACK_LIMIT {
            over.push(format!(
                "{what}: {} bytes of stack, the limit is {STACK_LIMIT}",
                own.stack
            ));
        }
    }

    let flash = flash(&ours);
    let operations = size_of(&ours, |name| {
        name.starts_with("p256_") || name.starts_with("x25519_")
    });
    let hash = size_of(&ours, |name| name.contains("sha2"));
    println!(
        "\nFlash, code and tables: {flash} bytes (beside it: {operations} in the functions that call it, SHA-256 {hash})"
    );
    if flash > FLASH_LIMIT {
        over.push(format!("{flash} bytes of flash, the limit is {FLASH_LIMIT}"));
    }

    println!("\nThis machine, release build");
    let status = Command::new(env!("CARGO"))
        .args(["bench", "--quiet", "--package", "picolet-ec", "--bench", "native"])
        .current_dir(crate::workspace())
        .status()
        .context("cannot run cargo bench")?;
    ensure!(status.success(), "the native benchmark failed");
    ensure!(over.is_empty(), "over budget:\n{}", over.join("\n"));
    Ok(())
}

/// What is measured. Operations that need a key or a signature get one from the operations before.
fn operations(machine: &mut Machine) -> Result<Vec<Operation>> {
    let (key, digest, entropy) = ([0x5a; 32], [0xc3; 32], [0x77; 48]);
    let signed = [key, digest].concat();
    let point = machine.call("p256_public_key", &key, 65)?.output;
    let Measured {
        output: signature, ..
    } = machine.call("p256_sign", &signed, 64)?;
    let verified = [&digest[..], &signature, &point].concat();
    machine.call("p256_prepare", &point, 1)?;
    let operation = |what, name, input: &[u8], output, limit| Operation {
        what,
        name,
        input: input.to_vec(),
        limit,
        output,
    };
    Ok(vec![
        operation("P-256 key generation", "p256_public_key", &key, 65, 1_600_000),
        operation(
            "P-256 key generation from entropy",
            "p256_generate",
            &entropy,
            97,
            1_600_000,
        ),
        operation("P-256 sign, RFC 6979", "p256_sign", &signed, 64, 2_200_000),
        operation(
            "P-256 sign, hedged",
            "p256_sign_hedged",
            &[&signed[..], &digest].concat(),
            64,
            2_200_000,
        ),
        operation("P-256 verify", "p256_verify", &verified, 1, 5_000_000),
        operation(
            "P-256 verify, prepared key",
            "p256_verify_prepared",
            &verified[..96],
            1,
            2_400_000,
        ),
        operation("P-256 prepare a key", "p256_prepare", &point, 1, 5_500_000),
        operation(
            "P-256 ECDH",
            "p256_diffie_hellman",
            &[&key[..], &point].concat(),
            33,
            5_500_000,
        ),
        operation(
            "P-256 decompress a point",
            "p256_decompress",
            &[&[2], &point[1..33]].concat(),
            65,
            2_000_000,
        ),
        operation("X25519 key generation", "x25519_public_key", &key, 32, 1_500_000),
        operation(
            "X25519 shared secret",
            "x25519_diffie_hellman",
            &signed,
            32,
            3_900_000,
        ),
    ])
}

/// Code and tables of the crate, as the linker tells them apart: what the compiler's and the hash's libraries add does not count, nor
/// do the functions through which the simulator calls, with what was inlined there.
fn flash(image: &Image) -> u64 {
    const LOCAL: [&str; 4] = ["mul128", "sqr128", "mul256", "sqr256"];
    size_of(image, |name| {
        name.contains("picolet_ec") && !name.contains("picolet_ec_image") || LOCAL.contains(&name)
    })
}

fn size_of(image: &Image, counts: impl Fn(&str) -> bool) -> u64 {
    image
        .symbol_sizes()
        .filter(|(name, _)| counts(name))
        .map(|(_, size)| size)
        .sum()
}
