//! rustls with our patch, for cores without compare-and-swap.
//!
//! The registry's own copy is copied to `boards/vendor/rustls`, which git ignores, and `boards/patches` is applied to
//! it; `boards/Cargo.toml` names that folder. No copy of the library is ever committed. Works offline once cargo has
//! fetched the library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build::package_folder;

/// The library, in the release that the patch was made for.
const LIBRARY: &str = "rustls";
const RELEASE: &str = "0.23.46";
/// Says in the patched copy which release and patch it is made of.
const STAMP: &str = ".patched";

/// Makes the patched copy, unless it is there and made of the same release and patch. Returns its folder.
///
/// # Errors
/// The lock file names another release, or the patch does not fit.
pub fn run() -> Result<PathBuf> {
    run_in(crate::workspace())
}

/// Does it for a copy of the project's folder.
pub(crate) fn run_in(root: &Path) -> Result<PathBuf> {
    let target = root.join("boards/vendor").join(LIBRARY);
    let patch = patch_file();
    let stamp = format!(
        "{LIBRARY} {RELEASE}\n{}",
        fs::read_to_string(&patch).with_context(|| format!("cannot read {}", patch.display()))?
    );
    if fs::read_to_string(target.join(STAMP)).is_ok_and(|found| found == stamp) {
        return Ok(target);
    }
    make(&target)?;
    fs::write(target.join(STAMP), stamp).context("cannot write the stamp")?;
    println!("patch: {LIBRARY} {RELEASE} is in {}", target.display());
    Ok(target)
}

fn patch_file() -> PathBuf {
    crate::workspace().join(format!("boards/patches/{LIBRARY}-{RELEASE}.patch"))
}

/// Copies the release to `target` and patches it there.
fn make(target: &Path) -> Result<()> {
    let source = source()?;
    if target.exists() {
        fs::remove_dir_all(target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    copy(&source, target)?;
    let target = target.canonicalize().context("the copy has gone")?;
    let output = Command::new("git")
        .args(["apply", "--whitespace=nowarn"])
        .arg(patch_file())
        // A repository around the copy would make git look for the files in its index.
        .env("GIT_CEILING_DIRECTORIES", target.parent().unwrap_or(&target))
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .current_dir(&target)
        .output()
        .context("cannot run git, which applies the patch")?;
    ensure!(
        output.status.success(),
        "the patch does not fit {LIBRARY} {RELEASE}: make it anew (boards/patches/README.md)\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Where cargo keeps the release: what the lock file names, fetched if it is not there yet.
fn source() -> Result<PathBuf> {
    package_folder(crate::workspace(), LIBRARY, Some(RELEASE)).with_context(|| {
        format!("the patch is for {LIBRARY} {RELEASE}: make one for the release in Cargo.lock")
    })
}

/// Copies what a build needs of a package.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            // Contents only: the registry's copy may be read-only.
            fs::write(&to, fs::read(&from)?).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when the lock file goes to another release, or the patch does not fit it.
    #[test]
    fn patch_fits_the_release_that_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join(LIBRARY);
        make(&target).unwrap();
        let patch = fs::read_to_string(patch_file()).unwrap();
        for line in patch.lines().filter_map(|line| line.strip_prefix("+++ b/")) {
            let original = fs::read(source().unwrap().join(line)).unwrap();
            assert_ne!(
                fs::read(target.join(line)).unwrap(),
                original,
                "{line} is as released"
            );
        }
    }
}
