//! `cargo xtask bench ec`: what the public-key arithmetic costs, beside RustCrypto's in the same run.
//!
//! On the simulated Cortex-M0+ instructions and cycles are exact and repeatable; on this machine they are times, and only their
//! ratio says something.

use std::collections::HashMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use picolet_ec_trace::{Image, Machine, Measured};
use picolet_image::cargo::cargo;

use crate::limits::{self, Cost};

/// What was counted, by name and kind: what `budgets.toml` limits.
pub(crate) type Figures = HashMap<(&'static str, Cost), u64>;

/// An operation: our function in the image, its input, and RustCrypto's name if it has one.
struct Operation {
    what: &'static str,
    name: &'static str,
    input: Vec<u8>,
    /// Bytes of output that must be equal for both.
    output: usize,
}

/// The name of what all operations share: the most stack of any, the flash of all.
const ALL: &str = "operations";

/// A round of `boards/tests/handshake`.
struct Round {
    client: u64,
    server: u64,
    idle: u64,
    idle_stretch: u64,
}

/// The handshakes and what they say of the keys: in the last, all three (the authority's, the server's, the client's) are prepared.
const ROUNDS: usize = 4;

/// Prints the table. Fails if a budget does not hold.
pub(crate) fn bench() -> Result<()> {
    let both = Image::build(&["rustcrypto"])?;
    let mut machine = both.machine();
    let mut figures = Figures::new();

    println!("Simulated Cortex-M0+, thumbv6m, -Os, memory without wait states");
    println!(
        "{:34} {:>10} {:>10} {:>6}   {:>12} {:>12} {:>6}",
        "", "instr.", "cycles", "stack", "RustCrypto", "cycles", "ratio"
    );
    for operation in operations(&mut machine)? {
        let own = measure(&mut machine, &operation, &mut figures)?;
        let Operation {
            what,
            name,
            input,
            output,
        } = operation;
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
    }

    let ours = Image::build(&[])?;
    let flash = flash(&ours);
    figures.insert((ALL, Cost::Flash), flash);
    let operations = size_of(&ours, |name| {
        name.starts_with("p256_") || name.starts_with("x25519_")
    });
    let hash = size_of(&ours, |name| name.contains("sha2"));
    println!(
        "\nFlash, code and tables: {flash} bytes (beside it: {operations} in the functions that call it, SHA-256 {hash})"
    );

    println!("\nHandshakes of rustls, TLS 1.3, certificates on both sides, not resumed: cycles");
    println!(
        "{:34} {:>10} {:>10} {:>14} {:>14}",
        "", "client", "server", "idle after it", "its longest"
    );
    let rounds = handshakes(&mut figures)?;
    for (number, round) in rounds.iter().enumerate() {
        let Round {
            client,
            server,
            idle,
            idle_stretch,
        } = round;
        let what = match number {
            0 => "no key prepared".to_owned(),
            _ => format!("{number} of 3 keys prepared"),
        };
        println!("{what:34} {client:>10} {server:>10} {idle:>14} {idle_stretch:>14}");
    }

    m33()?;

    println!("\nThis machine, release build");
    let status = cargo()
        .args(["bench", "--quiet", "--package", "picolet-ec", "--bench", "native"])
        .current_dir(crate::workspace())
        .status()
        .context("cannot run cargo bench")?;
    ensure!(status.success(), "the native benchmark failed");

    let mut over = Vec::new();
    for ((name, cost), measured) in figures {
        if let Some(limit) = limits::limit(name, cost)?.filter(|limit| measured > *limit) {
            over.push(format!("{name}, {cost:?}: {measured}, the limit is {limit}"));
        }
    }
    ensure!(over.is_empty(), "over budget:\n{}", over.join("\n"));
    Ok(())
}

/// Everything that has a budget, without RustCrypto and without printing.
pub(crate) fn figures() -> Result<Figures> {
    let image = Image::build(&[])?;
    let mut machine = image.machine();
    let mut figures = Figures::new();
    for operation in operations(&mut machine)? {
        measure(&mut machine, &operation, &mut figures)?;
    }
    figures.insert((ALL, Cost::Flash), flash(&image));
    handshakes(&mut figures)?;
    Ok(figures)
}

fn measure(machine: &mut Machine, operation: &Operation, figures: &mut Figures) -> Result<Measured> {
    let measured = machine.call(operation.name, &operation.input, operation.output)?;
    figures.insert((operation.name, Cost::Cycles), measured.cycles);
    let most = figures.entry((ALL, Cost::Stack)).or_default();
    *most = u64::from(measured.stack).max(*most);
    Ok(measured)
}

/// Prints the instructions on a Cortex-M33, if there is QEMU to count them.
fn m33() -> Result<()> {
    let folder = crate::workspace().join("crates/ec/trace/m33");
    let target = crate::workspace().join("target/ec-m33");
    let status = cargo()
        .args(["build", "--quiet", "--release", "--target", M33])
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .current_dir(folder)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the program for the Cortex-M33 does not build");
    let output = Command::new("qemu-system-arm")
        .args([
            "-M",
            "mps2-an505",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "none",
        ])
        .args([
            "-semihosting-config",
            "enable=on,target=native",
            "-icount",
            "shift=0",
        ])
        .arg("-kernel")
        .arg(target.join(M33).join("release/picolet-ec-m33"))
        .output();
    let Ok(output) = output else {
        println!("\nNo figures of the Cortex-M33: install qemu-system-arm");
        return Ok(());
    };
    ensure!(
        output.status.success(),
        "on the Cortex-M33 ours and RustCrypto's do not come to the same"
    );
    // What a target writes goes to the standard error output of QEMU.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let counts: HashMap<&str, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    println!("\nCortex-M33 under QEMU, thumbv8m.main with UMAAL, -O3: instructions");
    for line in text.lines() {
        let Some((name, own)) = line.split_once(' ').filter(|(name, _)| !name.starts_with("rust")) else {
            continue;
        };
        print!("{name:34} {own:>10}");
        if let Some(theirs) = counts.get(format!("rustcrypto_{name}").as_str()) {
            let ratio = *theirs as f64 / own.parse::<f64>().unwrap_or(f64::NAN);
            print!("          RustCrypto {theirs:>10} {ratio:>6.2}");
        }
        println!();
    }
    Ok(())
}

/// The target of the Pico 2 W.
const M33: &str = "thumbv8m.main-none-eabihf";

/// Runs `boards/tests/handshake`, built as an image is.
fn handshakes(figures: &mut Figures) -> Result<Vec<Round>> {
    const WORDS: usize = 4;
    let path = crate::sizes::build("handshake", "handshake", "thumbv6m-none-eabi")?;
    let elf = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let measured = Image::from_elf(&elf)?
        .machine()
        .call("handshakes", &[], 4 * WORDS * ROUNDS)?;
    let words = measured.output.as_chunks().0;
    let words: Vec<u64> = words
        .iter()
        .map(|word| u32::from_le_bytes(*word).into())
        .collect();
    let rounds: Vec<Round> = words
        .as_chunks()
        .0
        .iter()
        .map(|&[client, server, idle, idle_stretch]: &[u64; WORDS]| Round {
            client,
            server,
            idle,
            idle_stretch,
        })
        .collect();
    let most = |of: fn(&Round) -> u64| rounds.iter().map(of).max().unwrap_or_default();
    figures.insert(("handshake_client", Cost::Cycles), most(|round| round.client));
    figures.insert(("handshake_server", Cost::Cycles), most(|round| round.server));
    figures.insert(("handshake_idle", Cost::Cycles), most(|round| round.idle_stretch));
    if let Some(last) = rounds.last() {
        figures.insert(("handshake_client_prepared", Cost::Cycles), last.client);
        figures.insert(("handshake_server_prepared", Cost::Cycles), last.server);
    }
    figures.insert(("handshake", Cost::Stack), measured.stack.into());
    Ok(rounds)
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
    let operation = |what, name, input: &[u8], output| Operation {
        what,
        name,
        input: input.to_vec(),
        output,
    };
    Ok(vec![
        operation("P-256 key generation", "p256_public_key", &key, 65),
        operation("P-256 key generation from entropy", "p256_generate", &entropy, 97),
        operation("P-256 sign, RFC 6979", "p256_sign", &signed, 64),
        operation(
            "P-256 sign, hedged",
            "p256_sign_hedged",
            &[&signed[..], &digest].concat(),
            64,
        ),
        operation("P-256 verify", "p256_verify", &verified, 1),
        operation(
            "P-256 verify, prepared key",
            "p256_verify_prepared",
            &verified[..96],
            1,
        ),
        operation("P-256 prepare a key", "p256_prepare", &point, 1),
        operation(
            "P-256 ECDH",
            "p256_diffie_hellman",
            &[&key[..], &point].concat(),
            33,
        ),
        operation(
            "P-256 decompress a point",
            "p256_decompress",
            &[&[2], &point[1..33]].concat(),
            65,
        ),
        operation("X25519 key generation", "x25519_public_key", &key, 32),
        operation("X25519 shared secret", "x25519_diffie_hellman", &signed, 32),
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
