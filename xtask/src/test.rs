//! `cargo xtask test`: every test there is, and one summary.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use std::{env, fs, thread};

use anyhow::{Context, Result};
use picolet_controlplane::{Binaries, BuildError};
use picolet_image::cargo::cargo;

use crate::fuzz;

/// How many tests of a program run at once, as the standard runner reads it.
const THREADS: &str = "RUST_TEST_THREADS";

/// By which the tests know that the long ones are wanted.
const LONG_TESTS: &str = "PICOLET_LONG_TESTS";

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fail where a program to compare with is not installed, instead of counting the test as not run.
    #[arg(long)]
    require_all: bool,
    /// Run also what takes hours, such as a thousand boards with failing radios.
    #[arg(long)]
    long: bool,
    /// What is passed to `cargo test`, such as `--package picolet-kube` or a part of a test's name.
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// What the test runners said, added up.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Names of the tests that failed.
    failures: Vec<String>,
}

/// Runs all tests; the process ends with 1 when one fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    match Binaries::build() {
        Ok(_) => {}
        // The tests that need it say so themselves.
        Err(error @ BuildError::GoMissing) => eprintln!("{error}"),
        Err(error) => return Err(error.into()),
    }
    let not_run_file = crate::workspace().join("target/not-run.txt");
    let _ = fs::remove_file(&not_run_file);

    let (mut count, mut held) = cargo_test(arguments, None, &not_run_file)?;
    if !held && arguments.cargo.is_empty() {
        held = again_alone(arguments, &mut count, &not_run_file)?;
    }
    let mut not_run = fs::read_to_string(&not_run_file).unwrap_or_default();
    if arguments.cargo.is_empty() {
        fuzz(&mut count, &mut not_run, arguments.require_all)?;
    }
    summarize(&count, &not_run, start);
    if !held || count.failed > 0 {
        // The counts stay the last line.
        std::process::exit(1);
    }
    Ok(())
}

/// Runs `cargo test`, all of it or just the test of that name, and tells whether it succeeded.
fn cargo_test(arguments: &Arguments, name: Option<&str>, not_run_file: &Path) -> Result<(Count, bool)> {
    let mut command = cargo();
    command
        .args(["test", "--no-fail-fast"])
        .current_dir(crate::workspace());
    if arguments.cargo.is_empty() {
        command.arg("--workspace");
    }
    command
        .args(&arguments.cargo)
        .env(picolet_oracle::NOT_RUN_FILE, not_run_file);
    if let Some(name) = name {
        command.args(["--", "--test-threads=1", "--exact", name]);
    }
    if arguments.long {
        command.env(LONG_TESTS, "1");
    }
    if arguments.require_all {
        command.env(picolet_oracle::REQUIRE_ALL, "1");
    }
    if env::var_os(THREADS).is_none() {
        // Many tests wait for what takes its time, such as a missed Lease.
        let processors = thread::available_parallelism().map_or(2, usize::from);
        command.env(THREADS, (2 * processors).to_string());
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            count.add(&line);
            // Whoever watches may have gone away; the tests go on.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    Ok((count, status.success()))
}

/// The most failures that may be the machine's and not ours.
const FEW: usize = 5;

/// Gives the few tests that failed a second try, each in a run of its own: those of real processes and sockets may have
/// met a machine that was busy with the others. Whatever passes only then is told by name, so that it can be mended.
fn again_alone(arguments: &Arguments, count: &mut Count, not_run_file: &Path) -> Result<bool> {
    if count.failures.is_empty() || count.failures.len() > FEW || count.failures.len() != count.failed {
        return Ok(false);
    }
    println!("\nonce more, alone: {}", count.failures.join(", "));
    let mut unsteady = Vec::new();
    for test in &count.failures {
        // Not all of them at once: the runner of the conformance tests takes one name.
        let (second, held) = cargo_test(arguments, Some(test), not_run_file)?;
        if !held || second.failed > 0 || second.passed == 0 {
            return Ok(false);
        }
        unsteady.push(format!(
            "UNSTEADY: {test} failed among the others and passed alone"
        ));
    }
    println!("{}", unsteady.join("\n"));
    count.passed += core::mem::take(&mut count.failed);
    count.failures.clear();
    Ok(true)
}

/// Replays the corpora of the fuzz targets and counts them with the tests.
fn fuzz(count: &mut Count, not_run: &mut String, required: bool) -> Result<()> {
    let replayed = fuzz::replay(|target, held| {
        if held {
            count.passed += 1;
        } else {
            count.failed += 1;
            count.failures.push(target.to_owned());
        }
    })?;
    if !replayed && required {
        count.failed += 1;
        count.failures.push(format!("fuzz targets: {}", fuzz::REMEDY));
    } else if !replayed {
        // As every runner counts a test that was not run; the summary makes it a skipped one.
        count.passed += 1;
        not_run.push_str(&format!("{}\tfuzz targets\n", fuzz::REMEDY));
    }
    Ok(())
}

impl Count {
    /// Takes in a line of a test runner, such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let number = |what: &str| -> usize {
                let words: Vec<&str> = result
                    .split([' ', ';', '.'])
                    .filter(|word| !word.is_empty())
                    .collect();
                let found = words.windows(2).find(|pair| pair[1] == what);
                found.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
            };
            self.passed += number("passed");
            self.failed += number("failed");
            self.ignored += number("ignored");
        } else if let Some(test) = line
            .strip_prefix("test ")
            .and_then(|line| line.strip_suffix(" ... FAILED"))
        {
            self.failures.push(test.trim().to_owned());
        }
    }
}

/// Prints what was not run and why, what failed, and the counts. The last line is for machines too.
fn summarize(count: &Count, not_run: &str, start: Instant) {
    let mut remedies: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (remedy, test) in not_run.lines().filter_map(|line| line.split_once('\t')) {
        remedies.entry(remedy).or_default().push(test);
    }
    println!();
    for (remedy, tests) in &remedies {
        println!("not run: {remedy} ({} tests: {})", tests.len(), tests.join(", "));
    }
    for test in &count.failures {
        println!("FAILED: {test}");
    }
    // To its runner, a test that was not run has passed.
    let not_run: usize = remedies.values().map(Vec::len).sum();
    println!("took {} s", start.elapsed().as_secs());
    println!(
        "{} passed, {} failed, {} skipped",
        count.passed.saturating_sub(not_run),
        count.failed,
        count.ignored + not_run
    );
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn results_of_all_binaries_are_added_up() {
        let mut count = Count::default();
        for line in [
            "running 2 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 20 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 1.00s",
        ] {
            count.add(line);
        }
        assert_eq!((count.passed, count.failed, count.ignored), (21, 1, 3));
        assert_eq!(count.failures, ["a::c"]);
    }
}
