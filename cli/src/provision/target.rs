//! Where settings go: into a file, or over a board's serial line.

use super::serial::Board;
use anyhow::{Context, Result, bail};
use picolet_linux::durable::{Draft, draft_of};
use picolet_store::layout::Layout;
use picolet_store::settings::{CAPACITY, HEADER, SLOT, Settings};
use picolet_store::uf2;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
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
    /// On the drive of a board, which takes the settings and vanishes: nothing there can be renamed or synced.
    Drive(File),
}

/// What a bootloader has on its drive (<https://github.com/microsoft/uf2>).
const DRIVE: &str = "INFO_UF2.TXT";

/// What a person does next.
const COPY: &str =
    "Plug the board in with its BOOTSEL button held, and copy the file to the drive that appears.";
const EJECT: &str =
    "The board restarts with them once the drive is written; if it does not, eject the drive.";

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
            _ if path.parent().is_some_and(|folder| folder.join(DRIVE).exists()) => {
                File::create(&path).map(Writer::Drive)
            }
            _ => match Draft::create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let draft = draft_of(&path);
                    bail!(
                        "{}: {} is in the way: remove it, or choose another name",
                        place(),
                        draft.display()
                    )
                }
                draft => draft.map(Writer::Draft),
            },
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
                let (written, next) = match writer {
                    Writer::Draft(draft) => (draft.publish(&file), COPY),
                    Writer::Direct(mut device) => (device.write_all(&file), COPY),
                    Writer::Drive(mut drive) => (drive.write_all(&file), EJECT),
                };
                written.with_context(|| format!("--output {}", output.display()))?;
                println!(
                    "{}: settings of {name} for a {} ({length} of {CAPACITY} bytes). It holds secrets.\n{next}",
                    output.display(),
                    layout.board
                );
            }
        }
        Ok(())
    }
}
