//! A board's serial line, as a computer uses it: requests and answers of the protocol of `picolet_store::serial`.

use anyhow::{Context, Result, anyhow, bail, ensure};
use picolet_linux::client::printable;
use picolet_store::serial::{ANSWER, VERSION};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an answer may take. A board erases sixteen kilobytes of flash before it answers `commit`.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long we listen to what a board has still to say from before.
const BEFORE: Duration = Duration::from_millis(500);
/// The longest line of a log that is passed over.
const LONGEST: usize = 4096;

/// A terminal without its manners: bytes go through as they are.
pub(crate) struct Line {
    file: File,
    received: Vec<u8>,
}

impl Line {
    /// Opens the line at `device` and greets the board there. Returns both its line and its name.
    ///
    /// # Errors
    /// There is no line, what is there is no picolet, or one of another protocol.
    pub(crate) fn greet(device: &Path) -> Result<(Self, String)> {
        let mut line = Self::open(device)?;
        line.settle()?;
        let hello = line.ask("hello")?;
        let mut words = hello.split(' ');
        ensure!(
            words.next() == Some("picolet"),
            "what is there is not a picolet: it says \"{hello}\""
        );
        ensure!(
            words.next().and_then(|version| version.parse().ok()) == Some(VERSION),
            "the board speaks another version of the protocol: \"{hello}\"; use firmware and program of one release"
        );
        let name = words.next().unwrap_or_default().to_owned();
        Ok((line, name))
    }

    fn open(device: &Path) -> Result<Self> {
        // Without O_NONBLOCK some drivers wait for a carrier.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(device, flags, Mode::empty()).context("cannot be opened")?;
        rustix::fs::fcntl_setfl(&file, OFlags::RDWR)?;
        let mut settings = tcgetattr(&file).context("is not a serial line")?;
        settings.make_raw();
        settings.control_modes |= rustix::termios::ControlModes::CLOCAL;
        // USB has no speed; a UART of a board has this one.
        let _ = settings.set_speed(115_200);
        // A read returns what there is, or nothing after a tenth of a second.
        settings.special_codes[SpecialCodeIndex::VMIN] = 0;
        settings.special_codes[SpecialCodeIndex::VTIME] = 1;
        tcsetattr(&file, OptionalActions::Flush, &settings).context("cannot be set up")?;
        Ok(Self {
            file: File::from(file),
            received: Vec::new(),
        })
    }

    /// Ends a line that somebody may have begun, and passes over what comes of it.
    ///
    /// # Errors
    /// The line broke.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.file.write_all(b"\n").context("cannot be written to")?;
        let end = Instant::now() + BEFORE;
        while Instant::now() < end {
            self.receive()?;
        }
        self.received.clear();
        Ok(())
    }

    /// Sends a request and returns what the board answers.
    ///
    /// # Errors
    /// The board refuses it, does not answer, or the line broke.
    pub(crate) fn ask(&mut self, request: &str) -> Result<String> {
        let verb = request.split(' ').next().unwrap_or_default();
        self.send(request)?;
        self.receive_answer(verb)?
            .map_err(|words| anyhow!("the board refuses \"{verb}\": {words}"))
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// The line broke.
    pub(crate) fn send(&mut self, request: &str) -> Result<()> {
        self.file
            .write_all(format!("{request}\n").as_bytes())
            .context("cannot be written to")
    }

    /// The answer to the oldest request that was not answered yet: what follows `% ok `, or the words of an error.
    ///
    /// # Errors
    /// The board does not answer, or the line broke.
    pub(crate) fn receive_answer(&mut self, verb: &str) -> Result<Result<String, String>> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            while let Some(line) = self.next_line() {
                let Some(answer) = line.strip_prefix(ANSWER) else {
                    continue; // its log
                };
                return Ok(match answer.strip_prefix("ok ") {
                    Some(words) => Ok(words.to_owned()),
                    None => Err(answer.strip_prefix("error ").unwrap_or(answer).to_owned()),
                });
            }
            self.receive()?;
        }
        bail!(
            "the board does not answer \"{verb}\": does it run picolet? A board without firmware takes settings as a file (-o)"
        )
    }

    fn next_line(&mut self) -> Option<String> {
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        // It ends up on a terminal, and what is plugged in can be anything.
        Some(printable(String::from_utf8_lossy(&line).trim_end()))
    }

    fn receive(&mut self) -> Result<()> {
        let mut piece = [0; 512];
        match self.file.read(&mut piece) {
            // A line that has hung up is at its end at once each time, and is no terminal any longer.
            Ok(0) if tcgetattr(&self.file).is_err() => {
                bail!("the line hung up: is the board still plugged in?")
            }
            Ok(length) => self.received.extend_from_slice(&piece[..length]),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error).context("the line broke"),
        }
        if self.received.len() > LONGEST && !self.received.contains(&b'\n') {
            self.received.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::{BufRead, BufReader};

    /// A line, and what is at its other end.
    fn line() -> (Line, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let line = Line::open(Path::new(name.to_str().expect("UTF-8"))).expect("a line");
        (line, File::from(master))
    }

    #[test]
    fn answer_has_no_control_sequences_when_it_is_printed() {
        let (mut line, mut device) = line();
        device
            .write_all(b"% error a\x1b]0;b\x07\x9bc\r\n")
            .expect("written");
        let error = line.ask("hello").expect_err("refused").to_string();
        assert!(error.ends_with(": a\u{fffd}]0;b\u{fffd}\u{fffd}c"), "{error:?}");
    }

    #[test]
    fn request_fails_when_the_line_hangs_up() {
        let (mut line, master) = line();
        let board = std::thread::spawn(move || {
            let mut request = String::new();
            BufReader::new(master).read_line(&mut request).expect("a request");
            request
        });
        let error = format!("{:#}", line.ask("hello").expect_err("it hung up"));
        assert!(
            error.contains("hung up") || error.contains("the line broke"),
            "{error}"
        );
        assert_eq!(board.join().expect("a board"), "hello\n");
    }
}
