//! The project's own commands, one module each. Nothing here is part of the product.

mod budgets;
mod check;
mod conformance;
mod control_plane;
mod demo;
mod ec;
mod fuzz;
mod guests;
mod image;
mod limits;
mod modules;
mod recording;
mod sizes;
mod test;
mod wasm;

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
    /// All that needs no test run: rustfmt, clippy on the host and both thumb targets, the core's builds, the docs.
    Check,
    /// The part of check that takes seconds: no sibling modules import each other in a cycle, no file is too long.
    Modules,
    /// The main job, shown as it happens: an in-memory cluster, a node, and a ConfigMap that drives it.
    Demo(demo::Arguments),
    /// Every test, the ones against a real control plane included, with a summary at the end.
    Test(test::Arguments),
    /// Tables that the conformance run checks, printed.
    #[command(subcommand)]
    Conformance(conformance::Verb),
    /// A real Kubernetes control plane, built from Go modules, to develop against.
    #[command(subcommand)]
    ControlPlane(control_plane::Verb),
    /// Runs the demo and writes it as docs/demo.svg, for the README.
    Recording,
    /// What a user flashes: bootloader, application and radio firmware in one file.
    Image(image::Arguments),
    /// Builds the WebAssembly modules of guests/ into target/guests and lists their sizes.
    Guests(guests::Arguments),
    /// Makes boards/vendor: releases of libraries with our patches, which the boards' workspace needs.
    Patch,
    /// What a board's image takes of flash and RAM, by crate.
    Sizes(sizes::Arguments),
    /// Measures what budgets.toml limits.
    Budgets,
    /// Measures speed: exact counts on simulated processors, ratios on this machine.
    #[command(subcommand)]
    Bench(Bench),
}

/// What is measured.
#[derive(Subcommand)]
enum Bench {
    /// From a change of a ConfigMap at a real kube-apiserver to the node that applied it.
    Configmap,
    /// Public-key arithmetic beside RustCrypto's, on a simulated Cortex-M0+ and here.
    Ec,
    /// The emulator beside real time, the crate rp2040-emu, and its prototype where that is at hand.
    Emulator,
    /// A thousand nodes in one process: time to Ready, memory of one more node.
    Fleet,
    /// The WebAssembly engine beside wasmi and native code, its cycles on a simulated Cortex-M0+, and guests on the emulated board.
    Wasm,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Check => check::run(),
        Verb::Modules => modules::run(workspace()),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Conformance(verb) => conformance::run(&verb),
        Verb::ControlPlane(verb) => control_plane::run(&verb),
        Verb::Recording => recording::run(),
        Verb::Image(arguments) => image::run(&arguments),
        Verb::Guests(arguments) => guests::run(&arguments),
        Verb::Patch => picolet_image::patch::run(),
        Verb::Sizes(arguments) => sizes::run(&arguments),
        Verb::Budgets => budgets::run(),
        Verb::Bench(Bench::Configmap) => demo::bench("picolet-conformance", "configmap"),
        Verb::Bench(Bench::Ec) => ec::bench(),
        Verb::Bench(Bench::Emulator) => demo::bench("picolet-emulator", "emulator"),
        Verb::Bench(Bench::Fleet) => demo::bench("picolet", "fleet"),
        Verb::Bench(Bench::Wasm) => wasm::bench(),
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
