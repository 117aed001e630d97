//! Tells the program the date of its commit, so that a build can be repeated: no clock of a node is ever below it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../../.git/logs/HEAD");
    let log = Command::new("git").args(["log", "-1", "--format=%ct"]).output();
    // A source archive has no history; the program then knows no date.
    if let Ok(log) = log
        && log.status.success()
    {
        println!(
            "cargo:rustc-env=PICOLET_COMMIT_TIME={}",
            String::from_utf8_lossy(&log.stdout).trim()
        );
    }
}
