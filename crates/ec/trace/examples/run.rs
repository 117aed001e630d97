//! Runs one function of any thumbv6m program on the simulated processor and prints what it cost and the words that it wrote.
//!
//! `cargo run --release -p picolet-ec-trace --example run -- PROGRAM FUNCTION OUTPUT-WORDS`

use anyhow::Context;
use picolet_ec_trace::Image;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, function, words] = arguments.as_slice() else {
        anyhow::bail!("usage: run PROGRAM FUNCTION OUTPUT-WORDS");
    };
    let elf = std::fs::read(program).with_context(|| format!("cannot read {program}"))?;
    let measured = Image::from_elf(&elf)?
        .machine()
        .call(function, &[], 4 * words.parse::<usize>()?)?;
    println!(
        "{} instructions, {} cycles, {} bytes of stack",
        measured.instructions, measured.cycles, measured.stack
    );
    for word in measured.output.as_chunks().0 {
        println!("{}", u32::from_le_bytes(*word));
    }
    Ok(())
}
