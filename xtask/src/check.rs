//! `cargo xtask check`: what can be said of the code without running it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The boards: Pico W (RP2040) and Pico 2 W (RP2350).
pub(crate) const THUMB_TARGETS: [&str; 2] = ["thumbv6m-none-eabi", "thumbv8m.main-none-eabihf"];

/// Crates of the core that this workspace cannot build for a board.
///
/// TLS needs rustls with our patch there, which only `boards/`, a workspace of its own, has. The trace of `picolet-ec` is a program
/// for a host.
const NOT_FOR_BOARDS: [&str; 2] = ["picolet-tls", "picolet-ec-trace"];

/// Workspaces beside this one, whose code is formatted by the same rules.
const OTHER_WORKSPACES: [&str; 4] = ["boards", "fuzz", "emulator/firmware", "crates/ec/trace/image"];

/// Runs all checks and fails with the first that fails.
pub(crate) fn run() -> Result<()> {
    install_targets()?;
    let core = core_packages()?;
    step("rustfmt", &["fmt", "--all", "--check"], &[])?;
    for folder in OTHER_WORKSPACES {
        let manifest = crate::workspace().join(folder).join("Cargo.toml");
        if manifest.exists() {
            let manifest = manifest.display().to_string();
            let name = format!("rustfmt, {folder}");
            step(
                &name,
                &["fmt", "--all", "--check", "--manifest-path", &manifest],
                &[],
            )?;
        }
    }
    step(
        "clippy",
        &["clippy", "--workspace", "--all-targets", "--", "--deny=warnings"],
        &[],
    )?;
    for target in THUMB_TARGETS {
        let packages: Vec<&str> = core
            .iter()
            .flat_map(|name| ["--package", name.as_str()])
            .collect();
        let tail = ["--target", target, "--", "--deny=warnings"];
        step(
            &format!("clippy, {target}"),
            &[&["clippy"], packages.as_slice(), &tail].concat(),
            &[],
        )?;
        step(
            &format!("build of the core, {target}"),
            &[&["build"], packages.as_slice(), &tail[..2]].concat(),
            &[],
        )?;
    }
    step(
        "documentation",
        &["doc", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "--deny=warnings")],
    )?;
    go()?;
    println!("check: all is well");
    Ok(())
}

/// Runs cargo and says how it went.
pub(crate) fn step(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    println!("check: {name}");
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(crate::workspace());
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "{name} failed: run `cargo {}` to see it alone",
        arguments.join(" ")
    );
    println!("check: {name}: ok ({} s)", start.elapsed().as_secs());
    Ok(())
}

/// The core's crates that must build for the boards: all in `crates/`, but for those that cannot here.
fn core_packages() -> Result<Vec<String>> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["metadata", "--format-version=1", "--no-deps"])
        .current_dir(crate::workspace());
    let output = command.output().context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let core = crate::workspace().join("crates");
    let mut names = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let name = package["name"].as_str().unwrap_or_default();
        if Path::new(manifest).starts_with(&core) && !NOT_FOR_BOARDS.contains(&name) {
            names.push(name.to_owned());
        }
    }
    ensure!(!names.is_empty(), "there is no crate in {}", core.display());
    Ok(names)
}

/// Installs targets and components of the toolchain that this machine lacks, where rustup is there to do it.
fn install_targets() -> Result<()> {
    let list = |what: &str| {
        Command::new("rustup")
            .args([what, "list", "--installed"])
            .output()
    };
    let (Ok(targets), Ok(components)) = (list("target"), list("component")) else {
        return Ok(());
    };
    let targets = String::from_utf8_lossy(&targets.stdout);
    for target in THUMB_TARGETS
        .into_iter()
        .filter(|target| !targets.lines().any(|line| line == *target))
    {
        rustup(&["target", "add", target])?;
    }
    let components = String::from_utf8_lossy(&components.stdout);
    for component in ["clippy", "rustfmt"]
        .into_iter()
        .filter(|component| !components.contains(component))
    {
        rustup(&["component", "add", component])?;
    }
    Ok(())
}

fn rustup(arguments: &[&str]) -> Result<()> {
    let status = Command::new("rustup")
        .args(arguments)
        .status()
        .context("cannot run rustup")?;
    ensure!(status.success(), "`rustup {}` failed", arguments.join(" "));
    Ok(())
}

/// Formats and vets our few lines of Go, where there is Go.
fn go() -> Result<()> {
    for folder in ["controlplane/tlspeer", "controlplane/kubernetes/promlint"] {
        let folder = crate::workspace().join(folder);
        let Ok(output) = Command::new("gofmt")
            .args(["-l", "."])
            .current_dir(&folder)
            .output()
        else {
            println!("check: Go's formatting and vet: not run: install Go");
            return Ok(());
        };
        let unformatted = String::from_utf8_lossy(&output.stdout);
        if !unformatted.is_empty() {
            bail!("run gofmt -w in {}: {}", folder.display(), unformatted.trim());
        }
        let status = Command::new("go")
            .args(["vet", "."])
            .current_dir(&folder)
            .status()
            .context("cannot run go vet")?;
        ensure!(status.success(), "go vet failed in {}", folder.display());
    }
    println!("check: Go's formatting and vet: ok");
    Ok(())
}
