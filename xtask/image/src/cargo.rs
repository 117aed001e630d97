//! cargo: how it is called, and where it keeps packages.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The cargo that runs this, or the one that is installed, as a person calls it.
///
/// A cargo tells whatever it runs of which package that is, and build scripts may ask for the same names, as ring's does: were they
/// handed on, ring and all that is built on it would be built anew with each change between a terminal and here.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|start| text.starts_with(start))
            || text == "OUT_DIR"
        {
            command.env_remove(name);
        }
    }
    command
}

/// The folder of a package that a workspace's lock file names, fetched if it is not there yet.
///
/// # Errors
/// There is none, or cargo cannot get it.
pub fn package_folder(workspace: &Path, name: &str, release: Option<&str>) -> Result<PathBuf> {
    let metadata =
        metadata(workspace, &["--offline", "--locked"]).or_else(|_| metadata(workspace, &["--locked"]))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let versions: Vec<_> = packages.filter(|package| package["name"] == name).collect();
    let fits = |package: &&&Value| release.is_none_or(|release| package["version"] == release);
    let Some(package) = versions.iter().find(fits) else {
        let found: Vec<_> = versions
            .iter()
            .filter_map(|package| package["version"].as_str())
            .collect();
        anyhow::bail!(
            "wanted is {name} {}, and Cargo.lock has {}",
            release.unwrap_or_default(),
            if found.is_empty() {
                "none".to_owned()
            } else {
                found.join(", ")
            }
        );
    };
    let manifest = Path::new(
        package["manifest_path"]
            .as_str()
            .context("cargo metadata has no manifest_path")?,
    );
    Ok(manifest
        .parent()
        .context("a manifest without a folder")?
        .to_owned())
}

fn metadata(workspace: &Path, arguments: &[&str]) -> Result<Value> {
    let output = cargo()
        .args(["metadata", "--format-version=1"])
        .args(arguments)
        .current_dir(workspace)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")
}
