//! Where settings go: into a file, or over a board's serial line.

use super::serial::Board;
use crate::durable::Draft;
use anyhow::{Context, Result};
use picolet_store::layout::Layout;
use picolet_store::settings::{CAPACITY, HEADER, SLOT, Settings};
use picolet_store::uf2;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file that can be written, or a board that has answered.
pub(super) enum Target {
    Board {
        device: PathBuf,
        board: Board,
    },
    File {
        output: PathBuf,
        layout: &'static Layout,
        writer: Writer,
    },
}

/// A file as it is written.
pub(super) enum Writer {
    Draft(Draft),
    /// What is no file, such as `/dev/stdout`, cannot be replaced.
    Direct(File),
}

impl Target {
    /// Greets the board at `device`, which must be a `board` if that is given.
    pub(super) fn board(device: &Path, board: Option<&str>) -> Result<Self> {
        let board = Board::greet(device, board).with_context(|| format!("--serial {}", device.display()))?;
        Ok(Self::Board {
            device: device.to_owned(),
            board,
        })
    }

    /// Begins a file at `output`, for its owner alone. What is there stays until it is complete.
    pub(super) fn file(output: &Path, layout: &'static Layout) -> Result<Self> {
        let place = || format!("--output {}", output.display());
        // A link stays one.
        let path = fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
        let writer = match fs::metadata(&path) {
            Ok(existing) if !existing.is_file() => {
                OpenOptions::new().write(true).open(&path).map(Writer::Direct)
            }
            _ => Draft::create(&path).map(Writer::Draft),
        };
        Ok(Self::File {
            writer: writer.with_context(place)?,
            output: output.to_owned(),
            layout,
        })
    }

    /// The file that has to go if the program is interrupted.
    pub(super) fn unfinished_file(&self) -> Option<PathBuf> {
        match self {
            Self::File {
                writer: Writer::Draft(draft),
                ..
            } => Some(draft.draft_path()),
            _ => None,
        }
    }

    /// Brings the settings of the node of that name there, and says so.
    pub(super) fn deliver(self, name: &str, block: &[u8; SLOT]) -> Result<()> {
        let length = Settings::read_block(block)?.entries().len();
        match self {
            Self::Board { device, board } => {
                let board = board
                    .send(&block[HEADER..HEADER + length])
                    .with_context(|| format!("--serial {}", device.display()))?;
                println!(
                    "The {board} has its settings as {name} ({length} of {CAPACITY} bytes) and restarts."
                );
            }
            Self::File {
                output,
                layout,
                writer,
            } => {
                // Both slots get the same block.
                let region = [block.as_slice(), block].concat();
                let file = uf2::settings(layout, &region).flatten().collect::<Vec<u8>>();
                let written = match writer {
                    Writer::Draft(draft) => draft.publish(&file),
                    Writer::Direct(mut device) => device.write_all(&file),
                };
                written.with_context(|| format!("--output {}", output.display()))?;
                println!(
                    "{}: settings of {name} for a {} ({length} of {CAPACITY} bytes). It holds secrets.\n\
                     Plug the board in with its BOOTSEL button held, and copy the file to the drive that appears.",
                    output.display(),
                    layout.board
                );
            }
        }
        Ok(())
    }
}
