//! The project's own commands, one module each. Nothing here is part of the product.

mod control_plane;

use std::path::Path;
use std::process::ExitCode;

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
enum Verb {
    /// A real Kubernetes control plane, built from Go modules, to develop against.
    #[command(subcommand)]
    ControlPlane(control_plane::Verb),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::ControlPlane(verb) => control_plane::run(&verb),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the whole project.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the project's folder")
}
