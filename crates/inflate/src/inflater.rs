//! The state machine.

use crate::bits::{Bits, Held};
use crate::code::{Code, NoSymbol};
use crate::window::{Window, WindowError};

/// Why a stream cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// The stream is not DEFLATE, or damaged.
    Invalid,
    /// The window failed.
    Window,
}

impl From<WindowError> for InflateError {
    fn from(WindowError: WindowError) -> Self {
        Self::Window
    }
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that were used. The rest is to be passed again.
    pub used: usize,
    /// The stream ended: the rest of the input does not belong to it.
    pub is_done: bool,
}

/// Symbols for literals, the end of a block, and lengths.
const LITERALS: usize = 286;
/// Symbols for distances.
const DISTANCES: usize = 30;
/// Symbols for the lengths of codes.
const CODE_LENGTHS: usize = 19;
/// Their order in the stream (RFC 1951, 3.2.7).
const ORDER: [u8; CODE_LENGTHS] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const END_OF_BLOCK: u16 = 256;
/// The farthest distance that a stream may name.
const FARTHEST: usize = 32_768;

/// What comes next in the stream.
#[derive(Clone, Copy)]
enum State {
    BlockHeader,
    StoredLength,
    StoredCheck { length: u16 },
    Stored { length: u16 },
    Counts,
    CodeLengths { known: usize },
    Lengths { known: usize },
    Repeat { known: usize, symbol: u16 },
    Symbol,
    LengthBits { symbol: u16 },
    Distance { length: usize },
    DistanceBits { length: usize, symbol: u16 },
    Copy { length: usize, distance: usize },
    Done,
    Failed,
}

/// Why a call returns.
enum Pause {
    Input,
    Room,
    Done,
}

/// Decompresses one DEFLATE stream.
pub struct Inflater {
    state: State,
    held: Held,
    is_last: bool,
    /// Bytes of output so far, as far as distances count.
    written: usize,
    /// How many lengths of codes the block has: for literals and lengths, for distances, for lengths of codes.
    counts: [usize; 3],
    /// Lengths of the codes for literals and lengths, then for distances.
    lengths: [u8; LITERALS + DISTANCES],
    /// First the code for lengths of codes, then the one for literals and lengths.
    literals: Code,
    distances: Code,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// At the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::BlockHeader,
            held: Held::NONE,
            is_last: false,
            written: 0,
            counts: [0; 3],
            lengths: [0; LITERALS + DISTANCES],
            literals: Code::new(),
            distances: Code::new(),
        }
    }

    /// Decompresses until the input is used up, the window has no room, or the stream ends.
    ///
    /// A call that uses no input and finds room has made no progress: the stream goes on behind the input.
    ///
    /// # Errors
    /// The stream is invalid or the window failed. So does each later call.
    pub fn inflate<W: Window + ?Sized>(
        &mut self,
        input: &[u8],
        window: &mut W,
    ) -> Result<Progress, InflateError> {
        let mut bits = Bits::new(self.held, input);
        let pause = self.run(&mut bits, window);
        let pause = pause.inspect_err(|_| self.state = State::Failed)?;
        let used = match pause {
            // What is held belongs to something whose rest is missing.
            Pause::Input => input.len(),
            Pause::Room | Pause::Done => bits.give_back(),
        };
        self.held = bits.held;
        Ok(Progress {
            used,
            is_done: matches!(pause, Pause::Done),
        })
    }

    fn run<W: Window + ?Sized>(
        &mut self,
        bits: &mut Bits<'_>,
        window: &mut W,
    ) -> Result<Pause, InflateError> {
        // In each state either the state changes after all its bits were there, or nothing does.
        macro_rules! take {
            ($count:expr) => {
                match bits.take($count) {
                    Some(value) => value,
                    None => return Ok(Pause::Input),
                }
            };
        }
        macro_rules! symbol {
            ($code:expr) => {
                match $code.read(bits) {
                    Ok(symbol) => symbol,
                    Err(NoSymbol::Input) => return Ok(Pause::Input),
                    Err(NoSymbol::Invalid) => return Err(InflateError::Invalid),
                }
            };
        }
        loop {
            self.state = match self.state {
                State::Symbol => {
                    if window.room() == 0 {
                        return Ok(Pause::Room);
                    }
                    match symbol!(self.literals) {
                        symbol if symbol < END_OF_BLOCK => {
                            window.put(symbol as u8)?;
                            self.wrote(1);
                            continue;
                        }
                        END_OF_BLOCK => self.block_ended(),
                        symbol => State::LengthBits { symbol },
                    }
                }
                State::LengthBits { symbol } => {
                    let (base, count) = length(symbol).ok_or(InflateError::Invalid)?;
                    State::Distance {
                        length: base + take!(count) as usize,
                    }
                }
                State::Distance { length } => State::DistanceBits {
                    length,
                    symbol: symbol!(self.distances),
                },
                State::DistanceBits { length, symbol } => {
                    let (base, count) = distance(symbol).ok_or(InflateError::Invalid)?;
                    let distance = base + take!(count) as usize;
                    if distance > self.written {
                        return Err(InflateError::Invalid);
                    }
                    State::Copy { length, distance }
                }
                State::Copy { length, distance } => {
                    let now = length.min(window.room());
                    if now == 0 {
                        return Ok(Pause::Room);
                    }
                    window.copy_back(distance, now)?;
                    self.wrote(now);
                    match length - now {
                        0 => State::Symbol,
                        length => State::Copy { length, distance },
                    }
                }
                State::BlockHeader => {
                    let header = take!(3);
                    self.is_last = header & 1 == 1;
                    match header >> 1 {
                        0 => {
                            bits.align();
                            State::StoredLength
                        }
                        1 => self.assign_fixed(),
                        2 => State::Counts,
                        _ => return Err(InflateError::Invalid),
                    }
                }
                State::StoredLength => State::StoredCheck {
                    length: take!(16) as u16,
                },
                State::StoredCheck { length } => {
                    if take!(16) as u16 != !length {
                        return Err(InflateError::Invalid);
                    }
                    State::Stored { length }
                }
                State::Stored { length: 0 } => self.block_ended(),
                State::Stored { length } => {
                    if window.room() == 0 {
                        return Ok(Pause::Room);
                    }
                    window.put(take!(8) as u8)?;
                    self.wrote(1);
                    State::Stored { length: length - 1 }
                }
                State::Counts => {
                    let counts = take!(14) as usize;
                    self.counts = [257 + counts % 32, 1 + counts / 32 % 32, 4 + counts / 1024];
                    if self.counts[0] > LITERALS || self.counts[1] > DISTANCES {
                        return Err(InflateError::Invalid);
                    }
                    self.lengths[..CODE_LENGTHS].fill(0);
                    State::CodeLengths { known: 0 }
                }
                State::CodeLengths { known } if known < self.counts[2] => {
                    let symbol = ORDER.get(known).copied().unwrap_or_default();
                    self.lengths[usize::from(symbol)] = take!(3) as u8;
                    State::CodeLengths { known: known + 1 }
                }
                State::CodeLengths { .. } => {
                    if !self.literals.assign(&self.lengths[..CODE_LENGTHS], false) {
                        return Err(InflateError::Invalid);
                    }
                    State::Lengths { known: 0 }
                }
                State::Lengths { known } if known < self.counts[0] + self.counts[1] => {
                    match symbol!(self.literals) {
                        symbol @ 0..=15 => {
                            self.set_lengths(known, 1, symbol as u8)?;
                            State::Lengths { known: known + 1 }
                        }
                        symbol => State::Repeat { known, symbol },
                    }
                }
                State::Lengths { .. } => self.assign_dynamic()?,
                State::Repeat { known, symbol } => {
                    let (base, count) = match symbol {
                        16 => (3, 2),
                        17 => (3, 3),
                        _ => (11, 7),
                    };
                    let repeated = base + take!(count) as usize;
                    let value = match known.checked_sub(1) {
                        _ if symbol != 16 => 0,
                        Some(last) => self.lengths[last % (LITERALS + DISTANCES)],
                        None => return Err(InflateError::Invalid),
                    };
                    self.set_lengths(known, repeated, value)?;
                    State::Lengths {
                        known: known + repeated,
                    }
                }
                State::Done => return Ok(Pause::Done),
                State::Failed => return Err(InflateError::Invalid),
            };
        }
    }

    fn wrote(&mut self, count: usize) {
        self.written = FARTHEST.min(self.written + count);
    }

    fn block_ended(&self) -> State {
        if self.is_last {
            State::Done
        } else {
            State::BlockHeader
        }
    }

    fn set_lengths(&mut self, known: usize, count: usize, value: u8) -> Result<(), InflateError> {
        let end = known + count;
        if end > self.counts[0] + self.counts[1] {
            return Err(InflateError::Invalid);
        }
        let lengths = self.lengths.get_mut(known..end);
        lengths.ok_or(InflateError::Invalid)?.fill(value);
        Ok(())
    }

    fn assign_dynamic(&mut self) -> Result<State, InflateError> {
        let [literals, distances, _] = self.counts;
        let (literals, rest) = self
            .lengths
            .split_at_checked(literals)
            .ok_or(InflateError::Invalid)?;
        let distances = rest.get(..distances).ok_or(InflateError::Invalid)?;
        // A block that cannot end is invalid. Few distances, or none, may be used.
        let is_valid = literals[usize::from(END_OF_BLOCK)] != 0
            && self.literals.assign(literals, true)
            && self.distances.assign(distances, true);
        if is_valid {
            Ok(State::Symbol)
        } else {
            Err(InflateError::Invalid)
        }
    }

    /// RFC 1951, 3.2.6. Two symbols of each code are never used.
    fn assign_fixed(&mut self) -> State {
        let mut lengths = [8; 288];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        let _complete = self.literals.assign(&lengths, false);
        let _complete = self.distances.assign(&[5; 32], false);
        State::Symbol
    }
}

/// The shortest length of a symbol above [`END_OF_BLOCK`], and how many bits are to be added (RFC 1951, 3.2.5).
fn length(symbol: u16) -> Option<(usize, u32)> {
    let index = u32::from(symbol - 257);
    match index {
        0..8 => Some((3 + index as usize, 0)),
        8..28 => {
            let bits = index / 4 - 1;
            Some((3 + ((4 + index as usize % 4) << bits), bits))
        }
        28 => Some((258, 0)),
        _ => None,
    }
}

/// The shortest distance of a symbol, and how many bits are to be added (RFC 1951, 3.2.5).
fn distance(symbol: u16) -> Option<(usize, u32)> {
    let index = u32::from(symbol);
    match index {
        0..4 => Some((1 + index as usize, 0)),
        4..30 => {
            let bits = index / 2 - 1;
            Some((1 + ((2 + index as usize % 2) << bits), bits))
        }
        _ => None,
    }
}
