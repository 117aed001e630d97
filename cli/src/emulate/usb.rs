//! The board's USB console as a serial line of this machine: a pseudo-terminal, for programs that want `/dev/ttyACM0`.
//!
//! It is there for as long as the board runs, whether anybody opens it or not. What a board says while nobody reads is
//! lost once the line is full, as the board's own is on a cable.

use anyhow::{Context, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Bytes that are carried at once.
const PIECE: usize = 256;

/// The line, and its name.
pub(super) struct UsbLine {
    line: File,
    /// The other end, which would be gone for good when the first program closes it.
    _held: File,
    link: PathBuf,
}

impl UsbLine {
    /// Makes one, with a link to it at `link`.
    pub(super) fn make(link: &Path) -> Result<Self> {
        let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("no pseudo-terminal")?;
        grantpt(&line).context("no pseudo-terminal")?;
        unlockpt(&line).context("no pseudo-terminal")?;
        let name = ptsname(&line, Vec::new()).context("no pseudo-terminal")?;
        let name = PathBuf::from(name.into_string().context("its name is no text")?);
        let held = File::options().read(true).write(true).open(&name)?;
        // As a cable: no echo, no lines, no signals.
        let mut settings = tcgetattr(&held)?;
        settings.make_raw();
        tcsetattr(&held, OptionalActions::Now, &settings)?;
        let flags = fcntl_getfl(&line)?;
        fcntl_setfl(&line, flags | OFlags::NONBLOCK)?;
        // What a run before left there is a link to a line that is gone.
        if fs::read_link(link).is_ok_and(|target| !target.exists()) {
            fs::remove_file(link)?;
        }
        symlink(&name, link).with_context(|| format!("cannot make a link to {}", name.display()))?;
        eprintln!("the USB console is {} ({})", link.display(), name.display());
        Ok(Self {
            line: File::from(line),
            _held: held,
            link: link.to_owned(),
        })
    }

    /// Carries what the board says to whoever reads.
    pub(super) fn tell(&mut self, bytes: &[u8]) {
        // What does not fit is lost.
        let _ = self.line.write(bytes);
    }

    /// What somebody has sent to the board, not more than it takes at once.
    pub(super) fn take(&mut self) -> Result<Vec<u8>> {
        let mut piece = vec![0; PIECE];
        let length = match self.line.read(&mut piece) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error).context("--usb"),
        };
        piece.truncate(length);
        Ok(piece)
    }
}

impl Drop for UsbLine {
    fn drop(&mut self) {
        // It may have been removed by somebody, who knows of it then.
        let _ = fs::remove_file(&self.link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_as_they_are_and_the_name_goes_with_the_board() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("console");
        let mut line = UsbLine::make(&link).expect("a line");
        assert!(line.take().expect("nothing yet").is_empty());
        for _ in 0..2 {
            // One program after the other.
            let mut program = File::options()
                .read(true)
                .write(true)
                .open(&link)
                .expect("it is there");
            line.tell(b"% ok\r\n");
            let mut told = [0; 6];
            program.read_exact(&mut told).expect("it was told");
            assert_eq!(&told, b"% ok\r\n");
            program.write_all(b"hello\n\x03").expect("it takes");
            assert_eq!(line.take().expect("typed"), b"hello\n\x03");
        }
        // Nobody reads, and it does not matter.
        for _ in 0..100 {
            line.tell(&[b'x'; 1000]);
        }
        drop(line);
        assert!(fs::symlink_metadata(&link).is_err());
    }
}
