//! Files that a person names.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The most bytes of a file. Kubeconfigs, certificates, keys and tokens have some KiB; a device may never end.
const LIMIT: u64 = 1 << 20;

/// Reads a file of at most a megabyte.
///
/// # Errors
/// It cannot be read, or is larger.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = read_prefix(path, LIMIT + 1)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            "the file has more than a megabyte; is it the right one?",
        ));
    }
    Ok(bytes)
}

/// Reads the first `limit` bytes of a file, or all of a shorter one.
///
/// # Errors
/// It cannot be read.
pub fn read_prefix(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text of at most a megabyte.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_refused_when_it_never_ends() {
        let error = read(Path::new("/dev/zero")).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(read(Path::new("/dev/null")).expect("a file").is_empty());
    }
}
