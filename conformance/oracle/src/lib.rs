//! Programs that tests compare us with (oracles): finds them, or says what to install.
//!
//! A test whose oracle is missing calls [`not_run`] and returns. It then counts as skipped in the closing summary of
//! `cargo xtask test`, by name and with the remedy; with `PICOLET_REQUIRE_ALL=1`, as in CI, it fails instead.
//!
//! ```no_run
//! let Some(tshark) = picolet_oracle::find("tshark", "tshark") else { return };
//! ```

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::thread;

/// Set to make a missing oracle a failure.
pub const REQUIRE_ALL: &str = "PICOLET_REQUIRE_ALL";

/// Names the file that [`not_run`] appends to. `cargo xtask test` sets it and reads the file at the end.
pub const NOT_RUN_FILE: &str = "PICOLET_NOT_RUN_FILE";

/// Returns the path of `program`, or says that `package` must be installed for this test.
///
/// # Panics
///
/// When it is missing and `PICOLET_REQUIRE_ALL` is set.
#[must_use]
pub fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    if found.is_none() {
        not_run(&format!("install {package}"));
    }
    found
}

/// Says that the calling test was not run and what to do about it, such as `install Go`.
///
/// # Panics
///
/// When `PICOLET_REQUIRE_ALL` is set.
pub fn not_run(remedy: &str) {
    // The test runner names its threads after the tests.
    not_run_named(remedy, thread::current().name().unwrap_or("a test"));
}

/// As [`not_run`], for a runner that does not name its threads.
///
/// # Panics
///
/// When `PICOLET_REQUIRE_ALL` is set.
pub fn not_run_named(remedy: &str, test: &str) {
    let required = env::var_os(REQUIRE_ALL).is_some_and(|value| !value.is_empty() && value != "0");
    assert!(
        !required,
        "not run: {remedy}; {REQUIRE_ALL} is set, so {test} fails"
    );
    // Not eprintln: the test runner shows that of failed tests only.
    let _ = writeln!(std::io::stderr(), "not run: {remedy} ({test})");
    if let Some(path) = env::var_os(NOT_RUN_FILE)
        && let Ok(mut file) = File::options().create(true).append(true).open(path)
    {
        let _ = writeln!(file, "{remedy}\t{test}");
    }
}
