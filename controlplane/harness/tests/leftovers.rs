//! Nothing is left behind: not by a child that is dropped, not by a run that was killed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use picolet_controlplane::{Process, RunDirectory, is_running, stop_recorded};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn a_dropped_process_takes_its_children_along() {
    let folder = tempfile::tempdir().unwrap();
    let (log, child) = (folder.path().join("log"), folder.path().join("child"));
    let script = format!("sleep 1000 & echo $! > {}; wait", child.display());
    let mut process = Process::start("parent", shell(&script), &log).unwrap();
    let has_child = || fs::read_to_string(&child).is_ok_and(|text| !text.is_empty());
    process.wait_until(Duration::from_secs(10), has_child).unwrap();
    let child = fs::read_to_string(&child).unwrap();
    drop(process);
    // Gone, or a zombie that its new parent has yet to ask for.
    let status = fs::read_to_string(format!("/proc/{}/status", child.trim())).unwrap_or_default();
    assert!(status.is_empty() || status.contains("State:\tZ"), "{status}");
}

#[test]
fn a_process_that_ends_early_is_an_error_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(
        "server",
        shell("echo no such port >&2; exit 3"),
        &folder.path().join("log"),
    )
    .unwrap();
    let error = process
        .wait_until(Duration::from_secs(10), || false)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("server ended (exit status: 3)") && error.contains("no such port"),
        "{error}"
    );
}

#[test]
fn a_process_that_ignores_the_request_to_end_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let script = format!(
        "trap '' TERM; touch {}; while true; do sleep 0.1; done",
        ready.display()
    );
    let mut process = Process::start("stubborn", shell(&script), &folder.path().join("log")).unwrap();
    process
        .wait_until(Duration::from_secs(10), || ready.exists())
        .unwrap();
    let status = process.stop(Duration::from_millis(200));
    assert!(!status.success());
}

#[test]
fn a_folder_belongs_to_one_process() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let first = RunDirectory::create(&path).unwrap();
    assert!(is_running(&path));
    let error = RunDirectory::create(&path).unwrap_err().to_string();
    assert!(error.contains("stop it first"), "{error}");
    drop(first);
    assert!(!path.exists());
    assert!(!stop_recorded(&path).unwrap());
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next() {
    let parent = tempfile::tempdir().unwrap();
    let left = parent.path().join("left");
    fs::create_dir(&left).unwrap();
    // No process has ever started that early; its id may well be in use.
    fs::write(left.join("owner"), format!("{} 1\n", std::process::id())).unwrap();
    // What is nobody's run stays.
    let other = parent.path().join("other");
    fs::create_dir(&other).unwrap();
    let run = RunDirectory::create(&parent.path().join("run")).unwrap();
    assert!(!left.exists());
    assert!(other.exists());
    assert!(Path::new(run.path()).exists());
}
