//! Tells the program the date of its commit, so that a build can be repeated: no clock of a node is ever below it.

use std::process::Command;

/// What git says; nothing in a source archive, which has no history.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A worktree has its own, elsewhere.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    if let Some(time) = git(&["log", "-1", "--format=%ct"]) {
        println!("cargo:rustc-env=PICOLET_COMMIT_TIME={time}");
    }
}
