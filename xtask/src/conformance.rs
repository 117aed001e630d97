//! `cargo xtask conformance`: what the conformance run has to show besides that it passes.

use anyhow::{Context, Result, ensure};
use picolet_image::cargo::cargo;

/// What is shown.
#[derive(clap::Subcommand)]
pub(crate) enum Verb {
    /// Every endpoint of the kubelet API by every kind of caller, on a real control plane, held against the kubelet's rules.
    Authz {
        /// By an emulated board in place of a Linux process.
        #[arg(long)]
        board: bool,
    },
}

/// Runs the case that prints it.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    let (case, long) = match verb {
        Verb::Authz { board: false } => ("access::matrix", None),
        Verb::Authz { board: true } => ("board::access::matrix", Some(("PICOLET_LONG_TESTS", "1"))),
    };
    let status = cargo()
        .envs(long)
        .args(["test", "--quiet", "--package", "picolet-conformance"])
        .args(["--test", "control_plane", "--", "--exact", case])
        .current_dir(crate::workspace())
        .env("PICOLET_PRINT_MATRIX", "1")
        .status()
        .context("cannot run cargo test")?;
    ensure!(status.success(), "{case} does not hold");
    Ok(())
}
