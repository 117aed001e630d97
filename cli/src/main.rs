//! The command line of picolet: nodes as parts of a Linux process, an administrator's commands, and settings of boards.
//!
//! The nodes themselves are `picolet-linux`. The emulated board, the in-memory cluster and the demo are the feature `lab`.

mod approve;
mod cluster;
#[cfg(feature = "lab")]
mod demo;
#[cfg(feature = "lab")]
mod devcluster;
#[cfg(feature = "lab")]
mod emulate;
mod firmware;
mod logging;
mod nodes;
mod provision;
mod retire;
mod run;
mod serial_line;
#[cfg(test)]
mod tests;
mod update;
mod wasm;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// A real Kubernetes node, for microcontrollers and for Linux.
#[derive(Parser)]
#[command(name = "picolet", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be asked for.
#[derive(Subcommand)]
enum Verb {
    /// Run nodes of a cluster in this process.
    Run(Box<run::Arguments>),
    /// Approve the certificates that picolets ask for to serve `kubectl logs` and metrics.
    Approve(approve::Arguments),
    /// List the picolets of a cluster: version, signal, certificates, last reset.
    Nodes(nodes::Arguments),
    /// Take a picolet out of its cluster: drain it, delete its Node, its Lease and its certificate requests.
    Retire(retire::Arguments),
    /// Show the main job: an in-memory cluster, a node, and a ConfigMap that drives it.
    #[cfg(feature = "lab")]
    Demo(demo::Arguments),
    /// Run a small in-memory Kubernetes API, for development and tests.
    #[cfg(feature = "lab")]
    Devcluster(devcluster::Arguments),
    /// Run the image of a Pico W on this machine, until Ctrl-C.
    #[cfg(feature = "lab")]
    Emulate(Box<emulate::Arguments>),
    /// Make the settings of a board: a file to drag onto it, or sent over its serial line.
    Provision(Box<provision::Arguments>),
    /// Update the firmware of a board over its serial line.
    Update(update::Arguments),
    /// Sign, verify and inspect firmware files.
    Firmware(firmware::Arguments),
    /// Run a WebAssembly module as a pod would, see what is in it, check whether it fits on a board.
    #[command(subcommand)]
    Wasm(wasm::Verb),
    /// Print the completions of a shell: picolet completions bash > /etc/bash_completion.d/picolet
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Run(arguments) => run::run(*arguments),
        Verb::Approve(arguments) => approve::run(&arguments),
        Verb::Nodes(arguments) => nodes::run(&arguments),
        Verb::Retire(arguments) => retire::run(&arguments),
        #[cfg(feature = "lab")]
        Verb::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "lab")]
        Verb::Devcluster(arguments) => devcluster::run(arguments),
        #[cfg(feature = "lab")]
        Verb::Emulate(arguments) => return emulate::run(&arguments),
        Verb::Provision(arguments) => provision::run(*arguments),
        Verb::Update(arguments) => update::run(&arguments),
        Verb::Firmware(arguments) => firmware::run(&arguments),
        Verb::Wasm(verb) => match wasm::run(verb) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Verb::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Arguments::command(),
                "picolet",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
