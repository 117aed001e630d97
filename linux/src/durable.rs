//! Files that are either old or new after a power cut, never torn and never missing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The name of the draft of `path`. A process that is killed while it writes leaves the draft behind.
pub fn draft_of(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// Replaces the file at `path`, which only its owner can read from then on.
///
/// # Errors
/// The old file is still there.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Draft::replace(path)?.publish(bytes)
}

/// Removes the file at `path` and its draft, if they exist.
///
/// # Errors
/// The file may still be there.
pub(crate) fn remove_durably(path: &Path) -> io::Result<()> {
    for file in [&draft_of(path), path] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory_of(path)
}

/// A new version of a file, in the same directory. Dropping it removes it.
pub struct Draft {
    file: File,
    path: PathBuf,
    published: bool,
}

impl Draft {
    /// Creates an empty draft of the file at `path`, readable by its owner alone. One that is left from before is replaced.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written to.
    fn replace(path: &Path) -> io::Result<Self> {
        match fs::remove_file(draft_of(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Self::create(path),
        }
    }

    /// Creates an empty draft of the file at `path`, readable by its owner alone.
    ///
    /// # Errors
    /// The directory does not exist or cannot be written to, or there is a file with the name of the draft.
    pub fn create(path: &Path) -> io::Result<Self> {
        let draft = draft_of(path);
        // A file or a link that somebody else puts there in between is not written to.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            published: false,
        })
    }

    /// Where the draft is.
    pub fn draft_path(&self) -> PathBuf {
        draft_of(&self.path)
    }

    /// Writes the draft and puts it in the place of the file.
    ///
    /// # Errors
    /// The old file is still there, unless only its directory could not be synced.
    pub fn publish(mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        fs::rename(self.draft_path(), &self.path)?;
        self.published = true;
        sync_directory_of(&self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            // Nothing depends on it.
            let _ = fs::remove_file(self.draft_path());
        }
    }
}

/// Makes the names in the directory of `path` survive a power cut: a rename is in the directory, not in the file.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match File::open(directory)?.sync_all() {
        // Some file systems (FAT, FUSE) do not sync directories.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn file_keeps_its_old_content_when_the_draft_is_not_published() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("file");
        fs::write(&path, "old").expect("a file");
        let before = fs::metadata(&path).expect("a file").ino();
        let draft = Draft::create(&path).expect("a draft");
        assert!(draft_of(&path).exists());
        drop(draft);
        assert!(!draft_of(&path).exists());
        assert_eq!(fs::read(&path).expect("a file"), b"old");

        write_durably(&path, b"new").expect("written");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
        let after = fs::metadata(&path).expect("a file");
        assert_ne!(after.ino(), before, "it was written in place");
        assert_eq!(after.permissions().mode() & 0o777, 0o600);
        assert!(!draft_of(&path).exists());
    }

    #[test]
    fn draft_of_a_killed_process_is_replaced_and_removed() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("file");
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, draft_of(&path)).expect("a link");
        write_durably(&path, b"new").expect("written");
        assert!(!elsewhere.exists(), "the link was followed");
        fs::write(draft_of(&path), "left behind").expect("a file");
        remove_durably(&path).expect("removed");
        remove_durably(&path).expect("removed already");
        assert!(!path.exists() && !draft_of(&path).exists());
    }
}
