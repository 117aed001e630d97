//! Libraries with our patches: rustls for cores without compare-and-swap, and what the boards need of the radio's driver
//! and of the TCP/IP stack that those cannot be told.
//!
//! The registry's own copy of each is copied to `boards/vendor`, which git ignores, and its patch of `boards/patches` is
//! applied to it; `boards/Cargo.toml` names those folders. No copy of a library is ever committed. Works offline once
//! cargo has fetched the libraries.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::package_folder;

/// Says in a patched copy which release and patch it is made of.
const STAMP: &str = ".patched";

/// A library, in the release that its patch was made for.
struct Library {
    name: &'static str,
    release: &'static str,
}

const LIBRARIES: [Library; 3] = [
    Library {
        name: "cyw43",
        release: "0.7.0",
    },
    Library {
        name: "rustls",
        release: "0.23.46",
    },
    Library {
        name: "smoltcp",
        release: "0.13.1",
    },
];

/// Makes the patched copies, but for those that are there and made of the same release and patch.
///
/// # Errors
/// The lock file names another release, or a patch does not fit.
pub fn run() -> Result<()> {
    run_in(crate::workspace())
}

/// Does it for a copy of the project's folder.
pub(crate) fn run_in(root: &Path) -> Result<()> {
    for library in &LIBRARIES {
        library.patch_in(root)?;
    }
    Ok(())
}

impl Library {
    fn patch_in(&self, root: &Path) -> Result<()> {
        let Self { name, release } = self;
        let target = root.join("boards/vendor").join(name);
        let patch = self.patch_file();
        let stamp = format!(
            "{name} {release}\n{}",
            fs::read_to_string(&patch).with_context(|| format!("cannot read {}", patch.display()))?
        );
        if fs::read_to_string(target.join(STAMP)).is_ok_and(|found| found == stamp) {
            return Ok(());
        }
        self.make(&target)?;
        fs::write(target.join(STAMP), stamp).context("cannot write the stamp")?;
        println!("patch: {name} {release} is in {}", target.display());
        Ok(())
    }

    fn patch_file(&self) -> PathBuf {
        crate::workspace().join(format!("boards/patches/{}-{}.patch", self.name, self.release))
    }

    /// Copies the release to `target` and patches it there.
    fn make(&self, target: &Path) -> Result<()> {
        let source = self.source()?;
        if target.exists() {
            fs::remove_dir_all(target).with_context(|| format!("cannot remove {}", target.display()))?;
        }
        copy(&source, target)?;
        let target = target.canonicalize().context("the copy has gone")?;
        let output = Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .arg(self.patch_file())
            // A repository around the copy would make git look for the files in its index.
            .env("GIT_CEILING_DIRECTORIES", target.parent().unwrap_or(&target))
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .current_dir(&target)
            .output()
            .context("cannot run git, which applies the patch")?;
        ensure!(
            output.status.success(),
            "the patch does not fit {} {}: make it anew (boards/patches/README.md)\n{}",
            self.name,
            self.release,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Where cargo keeps the release: what the lock file names, fetched if it is not there yet.
    fn source(&self) -> Result<PathBuf> {
        package_folder(crate::workspace(), self.name, Some(self.release))
            .context("the patch is for another release than Cargo.lock has: make one for that")
    }
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

    /// Fails when the lock file goes to another release, or a patch does not fit it.
    #[test]
    fn patches_fit_the_releases_that_are_locked() {
        let folder = tempfile::tempdir().unwrap();
        for library in &LIBRARIES {
            let target = folder.path().join(library.name);
            library.make(&target).unwrap();
            let patch = fs::read_to_string(library.patch_file()).unwrap();
            for line in patch.lines().filter_map(|line| line.strip_prefix("+++ b/")) {
                let original = fs::read(library.source().unwrap().join(line)).unwrap();
                assert_ne!(
                    fs::read(target.join(line)).unwrap(),
                    original,
                    "{line} of {} is as released",
                    library.name
                );
            }
        }
    }
}
