//! Settings over the serial line of a board.

use crate::serial_line::Line;
use anyhow::{Result, ensure};
use picolet_store::serial::PIECE;
use picolet_store::settings::checksum;
use std::fmt::Write as _;
use std::path::Path;

/// A board that has answered.
pub(super) struct Board {
    line: Line,
    /// What it is.
    name: String,
}

impl Board {
    /// Greets the board at `device`, which must be a `board` if that is given.
    pub(super) fn greet(device: &Path, board: Option<&str>) -> Result<Self> {
        let (line, name) = Line::greet(device)?;
        if let Some(board) = board {
            ensure!(name == board, "the board is a {name}, but --board says {board}");
        }
        Ok(Self { line, name })
    }

    /// Sends it settings, with which it restarts. Returns what it is.
    ///
    /// # Errors
    /// The board has not confirmed that it has them.
    pub(super) fn send(mut self, entries: &[u8]) -> Result<String> {
        let line = &mut self.line;
        line.ask(&format!("begin {} {:08x}", entries.len(), checksum(entries)))?;
        let mut offset = 0;
        for piece in entries.chunks(PIECE) {
            let mut request = format!("data {offset} ");
            for byte in piece {
                write!(request, "{byte:02x}")?;
            }
            line.ask(&request)?;
            offset += piece.len();
        }
        line.ask("commit")?;
        // A board restarts with new settings in any case, and its line may break before it answers.
        let _ = line.ask("restart");
        Ok(self.name)
    }
}
