//! The project's own commands, one module each. Nothing here is part of the product.

use clap::{Parser, Subcommand};

/// picolet's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be asked for.
#[derive(Subcommand)]
enum Verb {}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().verb {}
}
