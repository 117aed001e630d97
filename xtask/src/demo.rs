//! `cargo xtask demo` and `cargo xtask bench fleet`: build the command line, and run its demo or its fleet.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is passed on to `picolet demo`: --once, --log, --node-ip …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<String>,
}

/// Runs it until Ctrl-C.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let verb = ["run", "--quiet", "--package", "picolet", "--", "demo"];
    cargo(verb.into_iter().chain(arguments.demo.iter().map(String::as_str)))
}

/// Runs the fleet of `host/benches/fleet.rs`.
pub(crate) fn bench_fleet() -> Result<()> {
    cargo(["bench", "--quiet", "--package", "picolet", "--bench", "fleet"])
}

/// Runs cargo in the project's folder.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(crate::workspace())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}
