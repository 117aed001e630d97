//! Settings over a serial line: a small line protocol between `picolet provision --serial` and a board.
//!
//! Lines are ASCII and end with a line feed; a carriage return before it is passed over. What the board answers begins
//! with `% `; everything else on the line is its log. Each request is answered by one line, `% ok …` or `% error …`
//! with words for a person. There is no request that reads settings: what was written never comes back.
//!
//! | request | answer | |
//! |---|---|---|
//! | `hello` | `% ok picolet 1 BOARD` | the protocol's version, and which board it is |
//! | `begin LENGTH CHECKSUM` | `% ok begin` | entries of so many bytes (decimal) with this CRC-32 (8 hexadecimal digits) come now; what came before is forgotten |
//! | `data OFFSET HEX` | `% ok data NEXT` | up to 128 bytes of them, in order |
//! | `commit` | `% ok commit` | they are whole and in order, written, and count from the next boot on |
//! | `restart` | `% ok restart` | the board boots |
//! | `firmware …` | `% ok firmware …` | firmware updates: handed on, since they are not about settings |
//! | `noise LINES` | `% noise HEX` for each line, `% ok noise` | raw samples of the noise source, 256 a line, the first in the highest bit |
//!
//! The entries are those of a block of [`settings`](crate::settings). An empty line is no request: it ends what a
//! terminal may have left behind. Neither is a line of the board's own, which a terminal may echo. After an error the board knows what it knew before, and `begin` starts over.
//!
//! [`Console`] is the board's side: bytes in, answers out. It knows no USB and no UART, keeps one line and, between
//! `begin` and `commit`, the entries; both are bounded and wiped.

use crate::settings::{CAPACITY, checksum, install};
use alloc::vec::Vec;
use core::fmt::Write;
use embedded_storage_async::nor_flash::NorFlash;
use heapless::String;
use zeroize::{Zeroize, Zeroizing};

/// The version of the protocol.
pub const VERSION: u32 = 1;
/// The most bytes that one `data` may carry.
pub const PIECE: usize = 128;
/// The longest line in either direction, without its end.
pub const LINE: usize = 2 * PIECE + 24;
/// What an answer begins with.
pub const ANSWER: &str = "% ";

/// The board's answer to a line.
#[derive(Debug)]
pub struct Answer {
    /// What to write, with its end of line.
    pub line: String<LINE>,
    /// What the board does after that.
    pub then: Then,
}

/// What a board does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing more.
    Nothing,
    /// New settings are in flash. They count from the next boot on.
    Written,
    /// It boots.
    Restart,
    /// The line is no answer yet but a request about firmware, without its first word: it is answered elsewhere.
    Firmware,
    /// So many lines of raw samples come before the answer ([`noise_line`]).
    Noise(u32),
}

/// The board's end of the line.
pub struct Console {
    board: &'static str,
    line: [u8; LINE],
    length: usize,
    /// The line is too long: nothing of it counts.
    overflow: bool,
    incoming: Option<Incoming>,
}

/// Entries that are on their way.
struct Incoming {
    entries: Zeroizing<Vec<u8>>,
    length: usize,
    checksum: u32,
}

type Outcome = Result<Then, &'static str>;

impl Console {
    /// The line of the board with this name.
    pub const fn new(board: &'static str) -> Self {
        Self {
            board,
            line: [0; LINE],
            length: 0,
            overflow: false,
            incoming: None,
        }
    }

    /// Takes the next byte. If it ends a request the answer is returned; `region` is the settings' region alone, from 0
    /// on, and is touched only by a `commit` of settings that are in order.
    pub async fn take<F: NorFlash>(&mut self, byte: u8, region: &mut F) -> Option<Answer> {
        if byte != b'\n' {
            match self.line.get_mut(self.length) {
                Some(place) => *place = byte,
                None => self.overflow = true,
            }
            self.length = (self.length + 1).min(LINE);
            return None;
        }
        let mut line = core::mem::replace(&mut self.line, [0; LINE]);
        let length = core::mem::take(&mut self.length);
        let overflow = core::mem::take(&mut self.overflow);
        let text = &line[..length];
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let answer = if overflow {
            Some(failed("the line is too long"))
        } else if let Some(request) = firmware_request(text) {
            Some(request)
        } else if is_own(text) {
            None
        } else {
            Some(self.answer(text, region).await)
        };
        line.zeroize();
        answer
    }

    async fn answer<F: NorFlash>(&mut self, line: &[u8], region: &mut F) -> Answer {
        let mut words = str::from_utf8(line).unwrap_or_default().split(' ');
        let request = words.next().unwrap_or_default();
        let arguments = [words.next(), words.next()];
        let more = words.next().is_some();
        let outcome = match (request, arguments) {
            _ if more => Err(UNKNOWN),
            ("hello", [None, None]) => {
                return said(Then::Nothing, format_args!("picolet {VERSION} {}", self.board));
            }
            ("begin", [Some(length), Some(checksum)]) => self.begin(length, checksum),
            ("data", [Some(offset), Some(hex)]) => match self.data(offset, hex) {
                Ok(next) => return said(Then::Nothing, format_args!("data {next}")),
                Err(what) => Err(what),
            },
            ("commit", [None, None]) => match self.whole() {
                Ok(entries) => match install(region, &entries).await {
                    Ok(()) => Ok(Then::Written),
                    Err(error) => return failed_with(format_args!("{error}")),
                },
                Err(what) => Err(what),
            },
            ("restart", [None, None]) => Ok(Then::Restart),
            ("noise", [Some(lines), None]) => match number(lines) {
                Some(lines) => Ok(Then::Noise(lines as u32)),
                None => Err("the number of lines has up to five digits"),
            },
            _ => Err(UNKNOWN),
        };
        match outcome {
            Ok(then) => said(then, format_args!("{request}")),
            Err(what) => failed(what),
        }
    }

    fn begin(&mut self, length: &str, checksum: &str) -> Outcome {
        let length = number(length).filter(|length| (1..=CAPACITY).contains(length));
        let length = length.ok_or("settings have 1 to 7936 bytes")?;
        let mut sum = [0; 4];
        if checksum.len() != 8 || unhex(checksum, &mut sum).is_none() {
            return Err("the checksum has 8 hexadecimal digits");
        }
        // What came before is wiped first: there is memory for one.
        self.incoming = None;
        let mut entries = Zeroizing::new(Vec::new());
        entries
            .try_reserve_exact(length)
            .map_err(|_| "there is no memory for it at the moment; try again, or restart the board")?;
        self.incoming = Some(Incoming {
            entries,
            length,
            checksum: u32::from_be_bytes(sum),
        });
        Ok(Then::Nothing)
    }

    fn data(&mut self, offset: &str, hex: &str) -> Result<usize, &'static str> {
        let incoming = self.incoming.as_mut().ok_or(NOT_BEGUN)?;
        if number(offset) != Some(incoming.entries.len()) {
            return Err("a piece is missing or came twice; begin again");
        }
        let mut piece = Zeroizing::new([0; PIECE]);
        let piece = unhex(hex, &mut *piece).ok_or("data is up to 128 bytes in hexadecimal digits")?;
        if incoming.entries.len() + piece.len() > incoming.length {
            return Err("more came than was said; begin again");
        }
        incoming.entries.extend_from_slice(piece);
        Ok(incoming.entries.len())
    }

    /// All entries, if they are what was announced. They are no longer incoming then.
    fn whole(&mut self) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let incoming = self.incoming.as_ref().ok_or(NOT_BEGUN)?;
        if incoming.entries.len() < incoming.length {
            return Err("pieces are missing; send the rest, or begin again");
        }
        let checksum_holds = checksum(&incoming.entries) == incoming.checksum;
        let incoming = self.incoming.take().ok_or(NOT_BEGUN)?;
        if checksum_holds {
            Ok(incoming.entries)
        } else {
            Err("the settings were damaged on the way; begin again")
        }
    }
}

/// A request about firmware.
fn firmware_request(line: &[u8]) -> Option<Answer> {
    let request = str::from_utf8(line).ok()?.strip_prefix("firmware ")?;
    let line = String::try_from(request).ok()?;
    let then = Then::Firmware;
    Some(Answer { line, then })
}

/// Whether a line is empty or the echo of an answer or of the log: no request begins with a digit, as each line of the log does, or with
/// a bracket, as what stands for lost ones.
fn is_own(line: &[u8]) -> bool {
    matches!(line, [] | [b'%' | b'(' | b'0'..=b'9', ..])
}

/// Bytes of samples in a line.
pub const SAMPLES: usize = 32;

/// A line of raw samples, with its end.
pub fn noise_line(samples: &[u8; SAMPLES]) -> String<LINE> {
    let mut line = String::new();
    // There is room.
    let _ = line.push_str("% noise ");
    for digit in samples.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        let _ = line.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
    }
    let _ = line.push_str("\r\n");
    line
}

const UNKNOWN: &str = "unknown request; settings are sent by `picolet provision --serial`";
const NOT_BEGUN: &str = "nothing was begun";

fn said(then: Then, words: core::fmt::Arguments<'_>) -> Answer {
    answer("% ok ", then, words)
}

fn failed(what: &str) -> Answer {
    failed_with(format_args!("{what}"))
}

fn failed_with(words: core::fmt::Arguments<'_>) -> Answer {
    answer("% error ", Then::Nothing, words)
}

fn answer(start: &str, then: Then, words: core::fmt::Arguments<'_>) -> Answer {
    let mut line = String::new();
    // What does not fit is left out, but for the end of the line. No answer of ours is as long.
    let _ = write!(line, "{start}{words}");
    while line.len() + 2 > LINE {
        line.pop();
    }
    let _ = line.push_str("\r\n");
    Answer { line, then }
}

/// A decimal number of at most five digits.
fn number(digits: &str) -> Option<usize> {
    let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| {
        digits
            .bytes()
            .fold(0, |value, digit| value * 10 + usize::from(digit - b'0'))
    })
}

/// Bytes from pairs of hexadecimal digits.
fn unhex<'b>(digits: &str, bytes: &'b mut [u8]) -> Option<&'b [u8]> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let bytes = bytes.get_mut(..digits.len() / 2)?;
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    (rest.is_empty() && !pairs.is_empty()).then_some(bytes)
}
