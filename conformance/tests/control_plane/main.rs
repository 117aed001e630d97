//! A node against a real control plane: one control plane for the whole run, one node or more for each case.
//!
//! Run one case by a part of its name: `cargo test --package picolet-conformance --test control_plane -- drain`.

mod configuration;
mod deployment;
mod lifecycle;
mod outage;
mod pods;
mod registration;
mod serving;
mod writes;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use picolet_conformance::{Case, Cluster, Unavailable};

/// A case, as the modules list them.
struct Entry {
    name: &'static str,
    /// Whether no other case may run at the same time: it stops the API server, or has a limit of a few seconds.
    alone: bool,
    body: fn(&Case<'_>) -> Result<()>,
}

const fn beside(name: &'static str, body: fn(&Case<'_>) -> Result<()>) -> Entry {
    Entry {
        name,
        alone: false,
        body,
    }
}

const fn alone(name: &'static str, body: fn(&Case<'_>) -> Result<()>) -> Entry {
    Entry {
        name,
        alone: true,
        body,
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if arguments.list {
        let trials = cases().map(|(name, _)| Trial::test(name, || Ok(())));
        return libtest_mimic::run(&arguments, trials.collect()).exit_code();
    }
    // Before libtest-mimic starts its threads: a private network is entered by a process with one.
    let cluster = Arc::new(Cluster::start());
    let trials = cases().map(|(name, entry)| {
        let cluster = Arc::clone(&cluster);
        Trial::test(name.clone(), move || match &*cluster {
            Ok(cluster) => Case::run(cluster, &name, entry.alone, entry.body)
                .map_err(|error| format!("{error:#}").into()),
            Err(Unavailable::Missing(remedy)) => {
                picolet_oracle::not_run_named(remedy, &name);
                Ok(())
            }
            Err(Unavailable::Failed(error)) => Err(format!("there is no control plane: {error:#}").into()),
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    // The runner has dropped the cases: this is the last owner, and ends the control plane.
    if let Some(Ok(mut cluster)) = Arc::into_inner(cluster)
        && conclusion.has_failed()
    {
        eprintln!("the logs are in {}", cluster.keep_logs().display());
    }
    conclusion.exit_code()
}

/// Every case, under the name of its module.
fn cases() -> impl Iterator<Item = (String, &'static Entry)> {
    let modules = [
        ("registration", registration::CASES),
        ("configuration", configuration::CASES),
        ("lifecycle", lifecycle::CASES),
        ("pods", pods::CASES),
        ("serving", serving::CASES),
        ("deployment", deployment::CASES),
        ("writes", writes::CASES),
        ("outage", outage::CASES),
    ];
    modules.into_iter().flat_map(|(module, cases)| {
        cases
            .iter()
            .map(move |entry| (format!("{module}::{}", entry.name), entry))
    })
}
