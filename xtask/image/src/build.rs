//! Builds programs of the workspace `boards/`, in place or so that the same source gives the same bytes anywhere.
//!
//! Paths get into a program in two ways. As text, in the places of panics: they are rewritten. And by the names that
//! the compiler gives to what it makes, which follow from the absolute folder of a crate and decide in which order
//! things are laid out: no option helps against that. A reproducible build is made of a copy of the source, in a folder named after
//! what is in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::cargo::cargo;

/// What the source of a program is, as far as a build reads it.
const SOURCE: [&str; 5] = [
    "boards",
    "crates",
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
];

/// How to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In the project's folder: fast, and the layout of the program depends on where that is.
    #[default]
    Here,
    /// In a copy: the same source gives the same program anywhere.
    Reproducible,
}

/// Builds a binary of `boards/` as it is shipped, and returns its ELF file.
///
/// # Errors
/// cargo does not succeed.
pub fn build(package: &str, binary: &str, target: &str, place: Place) -> Result<PathBuf> {
    let root = match place {
        Place::Here => crate::workspace().to_owned(),
        Place::Reproducible => copy_of(crate::workspace())?,
    };
    build_in(&root, package, binary, target, place)
}

/// The same in another folder with the project's source.
///
/// # Errors
/// cargo does not succeed.
pub fn build_in(root: &Path, package: &str, binary: &str, target: &str, place: Place) -> Result<PathBuf> {
    crate::patch::run_in(root)?;
    let boards = root.join("boards");
    let flags = shorter_paths(root)?;
    let config = format!("target.{target}.rustflags={}", Value::from(flags));
    let profile = profile(target);
    let arguments = [
        "build",
        "--profile",
        profile,
        "--locked",
        "--package",
        package,
        "--bin",
        binary,
        "--target",
        target,
        "--config",
        &config,
    ];
    let mut command = cargo();
    if place == Place::Reproducible
        && let Some(time) = commit_time(crate::workspace())
    {
        // The copy has no history to ask.
        command.env("PICOLET_COMMIT_TIME", time);
    }
    let status = command
        .args(arguments)
        // The boards' own configuration and toolchain file count, and the cargo that runs this has set others.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(&boards)
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "`cargo build --package {package} --target {target}` failed in {}",
        boards.display()
    );
    Ok(boards.join("target").join(target).join(profile).join(binary))
}

/// When the source's last commit was made, in seconds since the epoch; `None` without a history.
fn commit_time(root: &Path) -> Option<String> {
    let log = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(root)
        .output()
        .ok()?;
    let time = String::from_utf8(log.stdout).ok()?;
    log.status.success().then(|| time.trim().to_owned())
}

/// Options that rewrite the paths of the places of panics: without them they differ from machine to machine, and those of
/// the registry's crates alone are 6 KB of flash.
fn shorter_paths(root: &Path) -> Result<Vec<String>> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    let registries = home.join("registry/src");
    let mut folders = vec![root.to_owned()];
    // Nothing is there before the first crate is fetched, and the name of a registry's folder is cargo's business.
    for folder in fs::read_dir(&registries).into_iter().flatten() {
        folders.push(folder.context("cannot read the registry's folder")?.path());
    }
    let option = |folder: PathBuf| format!("--remap-path-prefix={}=", folder.display());
    Ok(folders.into_iter().map(option).collect())
}

/// The profile that a chip's images are shipped with.
fn profile(target: &str) -> &'static str {
    match target {
        "thumbv8m.main-none-eabihf" => "pico-2-w",
        _ => "release",
    }
}

/// Copies the source into a folder whose name says what is in it, unless it is there already.
///
/// # Errors
/// git does not list the source, or the copy cannot be written.
pub fn copy_of(root: &Path) -> Result<PathBuf> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
        ])
        .args(SOURCE)
        .current_dir(root)
        .output()
        .context("cannot run git, which knows the files of the source")?;
    ensure!(
        output.status.success(),
        "git does not list the source: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut hash = Sha256::new();
    let mut files = Vec::new();
    let mut names: Vec<_> = String::from_utf8(output.stdout)
        .context("the name of a file is not UTF-8")?
        .split_terminator('\0')
        .map(str::to_owned)
        .collect();
    names.sort();
    for name in names {
        // A file may be listed that was removed a moment ago.
        let Ok(bytes) = fs::read(root.join(&name)) else {
            continue;
        };
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(&name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
        files.push((name, bytes));
    }
    let hash = hash.finalize();
    let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    // Not the folder for temporary files that the environment names: its path would be part of the program.
    let folder = Path::new("/tmp").join(format!("picolet-{name}"));
    let complete = folder.join(".complete");
    if !complete.exists() {
        for (name, bytes) in files {
            let file = folder.join(name);
            let parent = file.parent().context("a file without a folder")?;
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
            fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
        }
        fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a build sees must not depend on where the source is: two folders with the same files are copied to one.
    #[test]
    fn the_same_source_is_built_in_the_same_folder() {
        let folders = [1, 2].map(|_| tempfile::tempdir().unwrap());
        for folder in &folders {
            let git = Command::new("git")
                .args(["init", "--quiet"])
                .current_dir(folder)
                .status();
            assert!(git.unwrap().success());
            fs::create_dir_all(folder.path().join("crates/a")).unwrap();
            fs::write(folder.path().join("crates/a/lib.rs"), "//! a").unwrap();
            fs::write(
                folder.path().join("README.md"),
                folder.path().display().to_string(),
            )
            .unwrap();
        }
        let copies = folders.each_ref().map(|folder| copy_of(folder.path()).unwrap());
        assert_eq!(copies[0], copies[1]);
        assert_eq!(
            fs::read_to_string(copies[0].join("crates/a/lib.rs")).unwrap(),
            "//! a"
        );
        assert!(!copies[0].join("README.md").exists());

        fs::write(folders[1].path().join("crates/a/lib.rs"), "//! b").unwrap();
        let other = copy_of(folders[1].path()).unwrap();
        assert_ne!(other, copies[0]);
        for copy in [&copies[0], &other] {
            fs::remove_dir_all(copy).unwrap();
        }
    }
}
