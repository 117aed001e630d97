//! Message bodies: reading them in pieces, and writing chunks.

use crate::error::HttpError;
use alloc::string::String;
use core::fmt::Write as _;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes of the body to come.
    Length(u64),
    /// In a chunk's size line: the size and the number of digits read so far.
    Size { size: u64, digits: u8 },
    /// In a chunk extension, after the size on the same line.
    Extension { size: u64 },
    /// After the CR of a size line.
    SizeEnd { size: u64 },
    /// Bytes of this chunk to come.
    Chunk(u64),
    /// After a chunk's data: its CR.
    ChunkEnd,
    /// After that CR.
    ChunkLineFeed,
    /// In the trailer section: whether the line is empty so far.
    Trailer { empty: bool },
    /// After the CR of a trailer line.
    TrailerEnd { empty: bool },
    /// Until the connection closes.
    Close,
    /// The whole body was read.
    Done,
}

/// Reads the body of one message, in pieces of any size.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    state: State,
}

impl Body {
    /// A message without a body.
    pub(crate) const EMPTY: Self = Self { state: State::Done };
    /// A body that ends when the connection closes.
    pub(crate) const UNTIL_CLOSE: Self = Self { state: State::Close };
    /// A chunked body.
    pub const CHUNKED: Self = Self {
        state: State::Size { size: 0, digits: 0 },
    };

    /// A body of `length` bytes.
    pub(crate) const fn of_length(length: u64) -> Self {
        let state = match length {
            0 => State::Done,
            _ => State::Length(length),
        };
        Self { state }
    }

    /// Whether the whole body was read.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the body ends when the connection closes.
    pub fn ends_with_connection(&self) -> bool {
        self.state == State::Close
    }

    /// Takes bytes off the front of `received`: `Ok((taken, piece))`. `piece`, which may be empty, is the part of the body among
    /// the bytes taken, and always their end. Call it until all of `received` is taken or the body [is done](Self::is_done).
    ///
    /// # Errors
    /// The framing is malformed: close the connection.
    pub fn take<'a>(&mut self, received: &'a [u8]) -> Result<(usize, &'a [u8]), HttpError> {
        let mut at = 0;
        while let Some(&byte) = received.get(at) {
            self.state = match self.state {
                State::Done => break,
                State::Close => return Ok((received.len(), &received[at..])),
                State::Length(left) | State::Chunk(left) => {
                    let rest = &received[at..];
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let remains = left - take as u64;
                    self.state = match self.state {
                        State::Length(_) if remains == 0 => State::Done,
                        State::Length(_) => State::Length(remains),
                        _ if remains == 0 => State::ChunkEnd,
                        _ => State::Chunk(remains),
                    };
                    return Ok((at + take, &rest[..take]));
                }
                State::Size { size, digits } => match (char::from(byte).to_digit(16), byte) {
                    (Some(digit), _) if digits < 15 => State::Size {
                        size: size << 4 | u64::from(digit),
                        digits: digits + 1,
                    },
                    (None, b'\r') if digits > 0 => State::SizeEnd { size },
                    (None, b';' | b' ' | b'\t') if digits > 0 => State::Extension { size },
                    _ => return Err(HttpError::Framing),
                },
                // A line feed alone ends a line for some readers and not for others: a way to smuggle requests.
                State::Extension { .. } | State::Trailer { .. } if byte == b'\n' => {
                    return Err(HttpError::Framing);
                }
                State::Extension { size } if byte == b'\r' => State::SizeEnd { size },
                state @ State::Extension { .. } => state,
                State::Trailer { empty } if byte == b'\r' => State::TrailerEnd { empty },
                State::Trailer { .. } => State::Trailer { empty: false },
                State::ChunkEnd if byte == b'\r' => State::ChunkLineFeed,
                State::SizeEnd { size: 0 } if byte == b'\n' => State::Trailer { empty: true },
                State::SizeEnd { size } if byte == b'\n' => State::Chunk(size),
                State::ChunkLineFeed if byte == b'\n' => State::Size { size: 0, digits: 0 },
                State::TrailerEnd { empty: true } if byte == b'\n' => State::Done,
                State::TrailerEnd { .. } if byte == b'\n' => State::Trailer { empty: true },
                State::SizeEnd { .. } | State::ChunkEnd | State::ChunkLineFeed | State::TrailerEnd { .. } => {
                    return Err(HttpError::Framing);
                }
            };
            at += 1;
        }
        Ok((at, &[]))
    }
}

/// Frames `piece` as a chunk, in place, and ends the body if it is the `last` one. An empty piece is no chunk, since that
/// would end the body.
pub fn write_chunk(piece: &mut String, last: bool) {
    if !piece.is_empty() {
        let mut size = String::new();
        let _ = write!(size, "{:x}\r\n", piece.len());
        piece.insert_str(0, &size);
        piece.push_str("\r\n");
    }
    if last {
        piece.push_str("0\r\n\r\n");
    }
}
