//! A node against a real control plane: one control plane for the whole run, one node or more for each case.
//!
//! Run one case by a part of its name: `cargo test --package picolet-conformance --test control_plane -- drain`.
//!
//! Cases whose names begin with `board::` are the same ones with emulated boards as nodes, which boot the image that a user
//! flashes. The essential ones run always; `PICOLET_LONG_TESTS=1` adds all but those that only Linux has, which are named with
//! the reason below.

mod access;
mod configuration;
mod deployment;
mod docs;
mod fault_proxy;
mod faults;
mod firmware;
mod fleet;
mod joining;
mod k3s;
mod lifecycle;
mod outage;
mod pods;
mod registration;
mod serving;
mod stolen_node;
mod writes;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use picolet_conformance::{Case, Cluster, LONG_TESTS, Unavailable};

/// A case, as the modules list them.
struct Entry {
    name: &'static str,
    /// Whether no other case may run at the same time: it stops the API server, or has a limit of a few seconds.
    alone: bool,
    board: Board,
    body: fn(&Case<'_>) -> Result<()>,
}

/// Whether a case is run with emulated boards too.
#[derive(Clone, Copy)]
enum Board {
    /// Always.
    Essential,
    /// When all is asked for.
    Also,
    /// Always, and never with processes.
    Only,
    /// Never, and why.
    Never(#[expect(dead_code, reason = "it is for those who read the cases")] &'static str),
}

impl Entry {
    /// This case is always run with boards too.
    const fn essential(mut self) -> Self {
        self.board = Board::Essential;
        self
    }

    /// Only emulated boards have what this case is about.
    const fn only_boards(mut self) -> Self {
        self.board = Board::Only;
        self
    }

    /// Only Linux has what this case is about.
    const fn only_linux(mut self, why: &'static str) -> Self {
        self.board = Board::Never(why);
        self
    }

    /// Whether it is run with boards, or with processes.
    fn is_for(&self, boards: bool, all: bool) -> bool {
        match self.board {
            Board::Essential => true,
            Board::Also => all || !boards,
            Board::Only => boards,
            Board::Never(_) => !boards,
        }
    }
}

const fn beside(name: &'static str, body: fn(&Case<'_>) -> Result<()>) -> Entry {
    Entry {
        name,
        alone: false,
        board: Board::Also,
        body,
    }
}

const fn alone(name: &'static str, body: fn(&Case<'_>) -> Result<()>) -> Entry {
    Entry {
        name,
        alone: true,
        board: Board::Also,
        body,
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        let trials = cases().map(|(name, ..)| Trial::test(name, || Ok(())));
        return libtest_mimic::run(&arguments, trials.collect()).exit_code();
    }
    // Before libtest-mimic starts its threads: a private network is entered by a process with one.
    let wanted = |name: &str| {
        let fits = |part: &String| name == part || (!arguments.exact && name.contains(part));
        arguments.filter.as_ref().is_none_or(fits) && !arguments.skip.iter().any(fits)
    };
    if !cases().any(|(name, ..)| wanted(&name)) {
        return libtest_mimic::run(&arguments, Vec::new()).exit_code();
    }
    let boards = cases().any(|(name, _, on_board)| on_board && wanted(&name));
    let cluster = Arc::new(Cluster::start(boards));
    let trials = cases().map(|(name, entry, on_board)| {
        let cluster = Arc::clone(&cluster);
        Trial::test(name.clone(), move || match &*cluster {
            Ok(cluster) => Case::run(cluster, &name, entry.alone, on_board, entry.body)
                .map_err(|error| format!("{error:#}").into()),
            Err(Unavailable::Missing(remedy)) => {
                picolet_oracle::not_run_named(remedy, &name);
                Ok(())
            }
            Err(Unavailable::Failed(error)) => Err(format!("there is no control plane: {error:#}").into()),
        })
    });
    // They wait for most of their time.
    arguments
        .test_threads
        .get_or_insert(2 * thread::available_parallelism().map_or(2, usize::from));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // The runner has dropped the cases: this is the last owner, and ends the control plane.
    if let Some(Ok(mut cluster)) = Arc::into_inner(cluster)
        && conclusion.has_failed()
    {
        eprintln!("the logs are in {}", cluster.keep_logs().display());
    }
    conclusion.exit_code()
}

/// Every case, under the name of its module, and whether its nodes are boards.
fn cases() -> impl Iterator<Item = (String, &'static Entry, bool)> {
    let modules = [
        ("registration", registration::CASES),
        ("configuration", configuration::CASES),
        ("lifecycle", lifecycle::CASES),
        ("pods", pods::CASES),
        ("firmware", firmware::CASES),
        ("serving", serving::CASES),
        ("access", access::CASES),
        ("joining", joining::CASES),
        ("stolen_node", stolen_node::CASES),
        ("k3s", k3s::CASES),
        ("deployment", deployment::CASES),
        ("fleet", fleet::CASES),
        ("writes", writes::CASES),
        ("outage", outage::CASES),
        ("fault_proxy", fault_proxy::CASES),
        ("faults", faults::CASES),
        ("docs", docs::CASES),
    ];
    let all = std::env::var_os(LONG_TESTS).is_some();
    [false, true].into_iter().flat_map(move |on_board| {
        let prefix = if on_board { "board::" } else { "" };
        modules.into_iter().flat_map(move |(module, cases)| {
            let cases = cases.iter().filter(move |entry| entry.is_for(on_board, all));
            cases.map(move |entry| (format!("{prefix}{module}::{}", entry.name), entry, on_board))
        })
    })
}
