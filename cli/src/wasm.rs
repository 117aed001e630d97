//! `picolet wasm`: run a module as a pod would, see what is in it, and whether it fits on a board.

mod device;
mod machine;
mod module;
mod report;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What to do with a module.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Run a module with the engine and the WASI that pods get.
    ///
    /// Ends with the exit code of the module; with 134 after a trap, 137 when it reached its memory limit, 124 when its fuel is used up.
    Run(run::Arguments),
    /// List what is in a module: sections, imports, declared memory, floating point.
    Inspect(report::Inspect),
    /// Check whether a module fits on a board: what it imports, flash, and memory that it touches.
    ///
    /// Ends with 1 if it does not, and says what to change.
    Check(report::Check),
}

/// Does it.
pub(crate) fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Inspect(arguments) => report::inspect(&arguments),
        Verb::Check(arguments) => report::check(&arguments),
    }
}

/// Parses `NAME=VALUE`.
fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("not of the form NAME=VALUE".into()),
    }
}
