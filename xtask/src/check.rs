//! `cargo xtask check`: what can be said of the code without running it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use picolet_image::cargo::cargo;
use serde_json::Value;

/// The boards: Pico W (RP2040) and Pico 2 W (RP2350).
pub(crate) const THUMB_TARGETS: [&str; 2] = ["thumbv6m-none-eabi", "thumbv8m.main-none-eabihf"];

/// Where cargo keeps what it builds of guests.
pub(crate) const GUESTS_TARGET: &str = "target/guests/cargo";

/// Guests with and without the standard library.
pub(crate) const WASM_TARGETS: [&str; 2] = ["wasm32-wasip1", "wasm32-unknown-unknown"];

/// Crates of the core that this workspace cannot build for a board.
///
/// TLS needs rustls with our patch there, which only `boards/`, a workspace of its own, has. The trace of `picolet-ec` is a program
/// for a host.
const NOT_FOR_BOARDS: [&str; 2] = ["picolet-tls", "picolet-ec-trace"];

/// The programs in `boards/`. A board's image is vetted for the other chip too, though it is never linked for it.
const BOARD_PACKAGES: [&str; 8] = [
    "picolet-bootloader",
    "test-application",
    "guest-runner",
    "wasi-size",
    "handshake",
    "link-test",
    "pico-w",
    "pico-2-w",
];

/// What the feature `lab` of the command line adds, and what only tests may use.
const LAB_PACKAGES: [&str; 5] = [
    "picolet-controlplane",
    "picolet-devcluster",
    "picolet-emulator",
    "picolet-image",
    "picolet-testbed",
];

/// Workspaces beside this one, whose code is formatted by the same rules.
const OTHER_WORKSPACES: [&str; 6] = [
    "boards",
    "fuzz",
    "guests",
    "emulator/firmware",
    "crates/ec/trace/image",
    "crates/ec/trace/m33",
];

/// Runs all checks, whatever the ones before said, and fails when one did.
pub(crate) fn run() -> Result<()> {
    install_targets()?;
    picolet_image::patch::run()?;
    let root = crate::workspace();
    let core = core_packages()?;
    let core: Vec<&str> = core
        .iter()
        .flat_map(|name| ["--package", name.as_str()])
        .collect();
    let deny = ["--", "--deny=warnings"];
    let mut checks = Checks::default();
    checks.cargo("rustfmt", root, &["fmt", "--all", "--check"]);
    for folder in OTHER_WORKSPACES.map(|folder| root.join(folder)) {
        if folder.join("Cargo.toml").exists() {
            checks.cargo("rustfmt", &folder, &["fmt", "--all", "--check"]);
        }
    }
    let clippy = ["clippy", "--workspace", "--all-targets"];
    checks.cargo("clippy", root, &[&clippy, deny.as_slice()].concat());
    checks.without_lab(root);
    for target in THUMB_TARGETS {
        let target = ["--target", target];
        let clippy = ["clippy"].as_slice();
        checks.cargo(
            "clippy of the core",
            root,
            &[clippy, &core, &target, &deny].concat(),
        );
        checks.cargo(
            "build of the core",
            root,
            &[&["build"], core.as_slice(), &target].concat(),
        );
        let boards = root.join("boards");
        // One by one: together they would have each other's features, and need each other's heap.
        for package in BOARD_PACKAGES {
            checks.cargo(
                "clippy of boards",
                &boards,
                &[clippy, &["--package", package], &target, &deny].concat(),
            );
        }
    }
    checks.command(
        "clippy of guests",
        cargo()
            .args(["clippy", "--workspace", "--", "--deny=warnings"])
            .env("CARGO_TARGET_DIR", root.join(GUESTS_TARGET))
            .current_dir(root.join("guests")),
    );
    checks.command(
        "documentation",
        cargo()
            .args(["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "--deny=warnings")
            .current_dir(root),
    );
    checks.modules(root);
    checks.go();
    println!();
    for line in &checks.said {
        println!("check: {line}");
    }
    ensure!(
        checks.failed == 0,
        "{} of {} checks failed",
        checks.failed,
        checks.said.len()
    );
    Ok(())
}

/// What was checked so far.
#[derive(Default)]
struct Checks {
    said: Vec<String>,
    failed: usize,
}

impl Checks {
    /// Runs cargo in a folder.
    fn cargo(&mut self, name: &str, folder: &Path, arguments: &[&str]) {
        self.command(name, cargo().args(arguments).current_dir(folder));
    }

    /// Runs a command and notes how it went.
    fn command(&mut self, name: &str, command: &mut Command) {
        let arguments: Vec<_> = command
            .get_args()
            .map(|argument| argument.to_string_lossy())
            .collect();
        let what = format!("{name}: {}", arguments.join(" "));
        let folder = command.get_current_dir().unwrap_or(Path::new("."));
        let folder = folder.strip_prefix(crate::workspace()).unwrap_or(folder);
        let place = if folder.as_os_str().is_empty() {
            String::new()
        } else {
            format!(" in {}", folder.display())
        };
        println!("check: {what}{place}");
        let start = Instant::now();
        let result = command.stdin(Stdio::null()).status();
        let ok = result.is_ok_and(|status| status.success());
        self.failed += usize::from(!ok);
        let seconds = start.elapsed().as_secs();
        let result = if ok { "ok" } else { "FAILED" };
        self.said.push(format!("{result} ({seconds} s) {what}{place}"));
    }

    /// Vets the command line without its feature `lab`, and looks that it leaves out what the lab is made of.
    fn without_lab(&mut self, root: &Path) {
        let without = ["--package", "picolet", "--no-default-features"];
        let clippy = [&["clippy"], without.as_slice(), &["--", "--deny=warnings"]].concat();
        self.cargo("clippy without the lab", root, &clippy);
        self.note("dependencies without the lab", || {
            let tree = ["tree", "--edges=normal", "--prefix=none", "--format={p}"];
            let output = cargo()
                .args(tree)
                .args(without)
                .current_dir(root)
                .output()
                .context("cannot run cargo tree")?;
            ensure!(
                output.status.success(),
                "cargo tree failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let tree = String::from_utf8_lossy(&output.stdout);
            let lab = of_lab(&tree);
            ensure!(
                lab.is_empty(),
                "picolet depends on {} without its feature lab",
                lab.join(", ")
            );
            Ok(())
        });
    }

    /// Looks for sibling modules that import each other, and for files that are too long.
    fn modules(&mut self, root: &Path) {
        self.note("modules: imports and length", || crate::modules::run(root));
    }

    /// Notes how a check of our own went.
    fn note(&mut self, what: &str, check: impl FnOnce() -> Result<()>) {
        println!("check: {what}");
        let result = check();
        if let Err(error) = &result {
            println!("{error:#}");
        }
        self.failed += usize::from(result.is_err());
        let result = if result.is_ok() { "ok" } else { "FAILED" };
        self.said.push(format!("{result} {what}"));
    }

    /// Formats, vets and tests our few lines of Go, where there is Go.
    fn go(&mut self) {
        if Command::new("go").arg("version").output().is_err() {
            self.said.push("not run: install Go (go vet)".into());
            return;
        }
        for folder in [
            "conformance/k3s",
            "controlplane/tlspeer",
            "controlplane/kubernetes/promlint",
        ] {
            let folder = crate::workspace().join(folder);
            // gofmt names the files that differ, and succeeds all the same.
            let script =
                r#"files=$(gofmt -l .) && test -z "$files" || { echo "run gofmt -w: $files"; exit 1; }"#;
            self.command(
                "gofmt",
                Command::new("sh").args(["-c", script]).current_dir(&folder),
            );
            self.command(
                "go vet",
                Command::new("go").args(["vet", "."]).current_dir(&folder),
            );
            self.command(
                "go test",
                Command::new("go").args(["test", "."]).current_dir(&folder),
            );
        }
    }
}

/// The packages of the lab in what `cargo tree` says, a package with its version on each line.
fn of_lab(tree: &str) -> Vec<&str> {
    let mut found: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| LAB_PACKAGES.contains(name))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The core's crates that must build for the boards: all in `crates/`, but for those that cannot here.
fn core_packages() -> Result<Vec<String>> {
    let mut command = cargo();
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
pub(crate) fn install_targets() -> Result<()> {
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
        .chain(WASM_TARGETS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_the_lab_are_found_when_the_command_line_depends_on_them() {
        let tree = "picolet v0.1.0 (/p/cli)\npicolet-linux v0.1.0 (/p/linux)\npicolet-emulator v0.1.0 (/p/emulator)\n\
                    picolet-devcluster v0.1.0 (/p/devcluster)\npicolet-emulator v0.1.0 (/p/emulator) (*)\n";
        assert_eq!(of_lab(tree), ["picolet-devcluster", "picolet-emulator"]);
        assert!(of_lab("picolet v0.1.0 (/p/cli)\npicolet-linux v0.1.0 (/p/linux)\n").is_empty());
    }
}
