//! gzip members (RFC 1952) around the inflater.

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use picolet_inflate::{InflateError, Inflater, Window};

static CHECKSUM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

const HEADER_BYTES: u8 = 10;
const TRAILER_BYTES: u8 = 8;
const HEADER_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0xe0;

/// Why a stream is not gzip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GzipError {
    /// The header is malformed, or uses what is reserved.
    Header,
    /// The compressed data is malformed, or the window failed.
    Inflate(InflateError),
    /// Checksum or length of the output differ from the trailer.
    Checksum,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the fixed part of the header: bytes read.
    Header(u8),
    /// In the length of the extra field: bytes read.
    ExtraLength(u8),
    /// In the extra field: bytes to come.
    Extra(u16),
    /// In a text that ends with a zero: the flags from it on.
    Text,
    /// In the header's checksum: bytes read.
    HeaderChecksum(u8),
    Data,
    /// In the trailer: bytes read.
    Trailer(u8),
}

/// Decompresses a gzip stream of any number of members.
///
/// The window takes the output. Whoever drives it hands each piece of the output to [`Gunzip::output`] before the next call of
/// [`Gunzip::take`], since the trailer is checked against it.
pub struct Gunzip {
    state: State,
    /// Flags of parts of the header that are still to come.
    flags: u8,
    extra: u16,
    /// CRC-32 of the header so far, then of the output.
    checksum: u32,
    length: u32,
    trailer: [u8; 8],
    has_member: bool,
    inflater: Inflater,
}

impl Default for Gunzip {
    fn default() -> Self {
        Self {
            state: State::Header(0),
            flags: 0,
            extra: 0,
            checksum: 0,
            length: 0,
            trailer: [0; 8],
            has_member: false,
            inflater: Inflater::new(),
        }
    }
}

/// Extends a checksum by a piece.
fn extend(checksum: u32, piece: &[u8]) -> u32 {
    // The algorithm inverts and reflects at both ends; a digest continues with what it gave.
    let mut digest = CHECKSUM.digest_with_initial(checksum.reverse_bits() ^ u32::MAX);
    digest.update(piece);
    digest.finalize()
}

impl Gunzip {
    /// Whether the input may end here: after a member.
    pub fn is_complete(&self) -> bool {
        self.has_member && self.state == State::Header(0)
    }

    /// Adds a piece of output to the checksum.
    pub fn output(&mut self, piece: &[u8]) {
        self.checksum = extend(self.checksum, piece);
        self.length = self.length.wrapping_add(piece.len() as u32);
    }

    /// Takes bytes off the front of `received` and returns how many. It returns after the data of each member, and when the
    /// window has no room: take the output, then call it again with the rest, until all is taken and the window has room.
    ///
    /// # Errors
    /// The stream is malformed; it must not be called again.
    pub fn take(&mut self, received: &[u8], window: &mut dyn Window) -> Result<usize, GzipError> {
        let mut at = 0;
        while self.state != State::Data {
            let Some(&byte) = received.get(at) else {
                return Ok(at);
            };
            at += 1;
            self.byte(byte)?;
        }
        let rest = received.get(at..).unwrap_or_default();
        let progress = self.inflater.inflate(rest, window).map_err(GzipError::Inflate)?;
        if progress.is_done {
            self.state = State::Trailer(0);
        }
        Ok(at + progress.used)
    }

    /// Takes a byte of a header or a trailer.
    fn byte(&mut self, byte: u8) -> Result<(), GzipError> {
        let is_header = !matches!(self.state, State::Trailer(_) | State::HeaderChecksum(_));
        if is_header {
            self.checksum = extend(self.checksum, &[byte]);
        }
        match self.state {
            State::Header(at) => {
                let is_valid = match at {
                    0 => byte == 0x1f,
                    1 => byte == 0x8b,
                    2 => byte == 8,
                    3 => byte & RESERVED == 0,
                    _ => true,
                };
                if !is_valid {
                    return Err(GzipError::Header);
                }
                if at == 3 {
                    self.flags = byte;
                }
                self.state = State::Header(at + 1);
                if at + 1 == HEADER_BYTES {
                    self.next_part();
                }
            }
            State::ExtraLength(0) => {
                self.extra = byte.into();
                self.state = State::ExtraLength(1);
            }
            State::ExtraLength(_) => {
                self.extra |= u16::from(byte) << 8;
                self.state = State::Extra(self.extra);
                if self.extra == 0 {
                    self.next_part();
                }
            }
            State::Extra(left @ 2..) => self.state = State::Extra(left - 1),
            State::Extra(_) => self.next_part(),
            State::Text if byte == 0 => self.next_part(),
            State::Text => {}
            State::HeaderChecksum(at) => {
                if byte != (self.checksum >> (8 * u32::from(at))) as u8 {
                    return Err(GzipError::Header);
                }
                self.state = State::HeaderChecksum(at + 1);
                if at == 1 {
                    self.next_part();
                }
            }
            State::Trailer(at) => {
                if let Some(place) = self.trailer.get_mut(usize::from(at)) {
                    *place = byte;
                }
                self.state = State::Trailer(at + 1);
                if at + 1 == TRAILER_BYTES {
                    self.end_member()?;
                }
            }
            State::Data => {}
        }
        Ok(())
    }

    /// Goes on to the next part of the header that the flags announce, or to the data.
    fn next_part(&mut self) {
        let parts = [
            (EXTRA, State::ExtraLength(0)),
            (NAME, State::Text),
            (COMMENT, State::Text),
            (HEADER_CHECKSUM, State::HeaderChecksum(0)),
        ];
        for (flag, state) in parts {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                self.state = state;
                return;
            }
        }
        self.state = State::Data;
        self.checksum = 0;
        self.length = 0;
    }

    fn end_member(&mut self) -> Result<(), GzipError> {
        let [a, b, c, d, lengths @ ..] = self.trailer;
        if u32::from_le_bytes([a, b, c, d]) != self.checksum || u32::from_le_bytes(lengths) != self.length {
            return Err(GzipError::Checksum);
        }
        self.checksum = 0;
        self.inflater = Inflater::new();
        self.state = State::Header(0);
        self.has_member = true;
        Ok(())
    }
}
