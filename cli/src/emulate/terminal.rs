//! The terminal as a serial monitor: keys go to the board, Ctrl-] opens a menu, and the last line shows how it is.
//!
//! Ctrl-C stays with the operating system: it ends the run. Where standard input is no terminal, what comes from it goes
//! to the board as it is.

use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr,
};
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Ctrl-].
const ESCAPE: u8 = 0x1d;
/// Pieces of input that wait for the board; the reader then waits too.
const PIECES: usize = 4;

/// How the terminal was before.
static BEFORE: OnceLock<Termios> = OnceLock::new();
/// Rows of the terminal while its last line is taken.
static STATUS_ROWS: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);

/// What the menu offers, as it shows it.
pub(super) const MENU: &str = "  r  reset (RUN)                 a  access point lost, or found again
  b  BOOTSEL pressed or let go   s  status
  p  power cut, and back         c  send Ctrl-C to the board
  q  quit                        ]  send Ctrl-] to the board
  h  this";

/// What a person asked for in the menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Reset,
    Bootsel,
    PowerCut,
    AccessPoint,
    Status,
    Help,
    Quit,
    /// A key that means nothing.
    Unknown(u8),
}

/// The terminal, or what stands in for it.
pub(super) struct Terminal {
    input: Receiver<Vec<u8>>,
    keys: Keys,
    /// What was typed and the board has not been given.
    pub(super) typed: VecDeque<u8>,
    /// Somebody sits in front of it.
    pub(super) interactive: bool,
    status: bool,
    rows: u16,
}

/// Tells keys for the board from those for the menu.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    fn take(&mut self, bytes: &[u8], typed: &mut VecDeque<u8>) -> Vec<Command> {
        let mut commands = Vec::new();
        for &byte in bytes {
            if !self.escaped {
                self.escaped = byte == ESCAPE;
                if !self.escaped {
                    typed.push_back(byte);
                }
                continue;
            }
            self.escaped = false;
            commands.push(match byte.to_ascii_lowercase() {
                b'r' => Command::Reset,
                b'b' => Command::Bootsel,
                b'p' => Command::PowerCut,
                b'a' => Command::AccessPoint,
                b's' => Command::Status,
                b'q' => Command::Quit,
                b'h' | b'?' => Command::Help,
                b'c' => {
                    typed.push_back(3);
                    continue;
                }
                b']' | ESCAPE => {
                    typed.push_back(ESCAPE);
                    continue;
                }
                other => Command::Unknown(other),
            });
        }
        commands
    }
}

impl Terminal {
    /// Takes the terminal over, if this process is in its foreground; with `status`, also its last line.
    pub(super) fn open(status: bool) -> Self {
        let stdin = io::stdin();
        let foreground = tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp());
        let interactive = stdin.is_terminal() && foreground && make_raw().is_some();
        let status = status && interactive && io::stdout().is_terminal() && io::stderr().is_terminal();
        let (sender, input) = sync_channel(PIECES);
        // A terminal that this process does not own would stop it for reading.
        if interactive || !stdin.is_terminal() {
            thread::spawn(move || {
                let mut buffer = [0; 256];
                while let Ok(length @ 1..) = io::stdin().read(&mut buffer) {
                    if sender.send(buffer[..length].to_vec()).is_err() {
                        break;
                    }
                }
            });
        }
        Self {
            input,
            keys: Keys::default(),
            typed: VecDeque::new(),
            interactive,
            status,
            rows: 0,
        }
    }

    /// Takes what was typed; answers what the menu was asked for.
    pub(super) fn take(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        // a person is heard at once; a pipe waits until the board has taken what came before
        while (self.interactive || self.typed.is_empty())
            && let Ok(bytes) = self.input.try_recv()
        {
            if self.interactive {
                commands.extend(self.keys.take(&bytes, &mut self.typed));
            } else {
                self.typed.extend(bytes);
            }
        }
        commands
    }

    /// Shows a line at the bottom, if that is wanted.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) -> io::Result<()> {
        if !self.status {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        let Ok(size) = tcgetwinsize(&out) else {
            return Ok(());
        };
        let (rows, columns) = (size.ws_row, usize::from(size.ws_col));
        if rows < 3 || columns < 20 {
            return Ok(());
        }
        if rows != self.rows {
            // all but the last line scrolls
            self.rows = rows;
            STATUS_ROWS.store(rows, std::sync::atomic::Ordering::Relaxed);
            write!(out, "\n\x1b[A\x1b7\x1b[1;{}r\x1b8", rows - 1)?;
        }
        let line: String = line().chars().take(columns).collect();
        write!(out, "\x1b7\x1b[{rows};1H\x1b[7m{line:columns$}\x1b[0m\x1b8")?;
        out.flush()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Keys come one by one, and are not shown by the terminal: the board does that.
fn make_raw() -> Option<()> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).ok()?;
    let mut raw = before.clone();
    raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN;
    // Enter is a carriage return, as terminals of boards have it
    raw.input_modes -= InputModes::ICRNL | InputModes::IXON;
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    BEFORE.get_or_init(|| before);
    tcsetattr(&stdin, OptionalActions::Now, &raw).ok()
}

/// Leaves the terminal as it was found. Whoever ends the process calls it.
pub(super) fn restore() {
    if let Some(before) = BEFORE.get() {
        let rows = STATUS_ROWS.swap(0, std::sync::atomic::Ordering::Relaxed);
        if rows > 0 {
            // the whole screen scrolls again, and the last line is free
            let _ = write!(io::stdout(), "\x1b7\x1b[r\x1b[{rows};1H\x1b[2K\x1b8");
            let _ = io::stdout().flush();
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_to_the_board_or_to_the_menu() {
        let mut keys = Keys::default();
        let mut typed = VecDeque::new();
        assert_eq!(keys.take(b"ab\x1d", &mut typed), []);
        assert_eq!(
            keys.take(b"Rc\x1dx", &mut typed),
            [Command::Reset, Command::Unknown(b'x')]
        );
        assert_eq!(keys.take(b"\x1dc\x1d]\x1d\x1d\x1dq", &mut typed), [Command::Quit]);
        assert_eq!(typed, *b"abc\x03\x1d\x1d");
    }

    #[test]
    fn the_menu_shows_every_key() {
        for key in ["r ", "b ", "p ", "q ", "a ", "s ", "c ", "] ", "h "] {
            assert!(MENU.contains(&format!("  {key}")), "{key}");
        }
    }
}
