//! The log in RAM: what the ports are fed from, and what is still there after a reset.
//!
//! A ring of whole lines. Writing never waits: the oldest lines make room. Whoever reads has a [`Cursor`] of its own; a
//! reader that is too slow, or not there, loses lines and is told how many bytes. Memory that was not cleared may
//! hold a log of the run before, damaged or whole, or anything at all: [`Ring::recover`] keeps what its checks bear out.
//!
//! A line never holds a secret: that is the duty of whoever writes it.

use core::fmt::{self, Write};

use picolet_platform::{Level, LogExtent};

/// Bytes of a line's text; what is longer is cut off and marked.
pub const LINE: usize = 200;

/// What is before the text of a line: its length, its level, a check, and the time in four bytes.
const HEAD: usize = 7;

/// `log` and the format of the ring, 1. Firmware of another version reads it: another layout has another number.
const MAGIC: u32 = u32::from_le_bytes(*b"log\x01");

/// Where a reader is. Positions count all bytes ever written.
pub use picolet_platform::LogCursor as Cursor;

/// A line as it was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// How much it matters.
    pub level: Level,
    /// Milliseconds from the start of its run to the line; they start over after 49 days.
    pub millis: u32,
    /// What it says.
    pub text: &'a str,
}

/// As the ports have it: `12.345 INFO text`, without an end of line.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        };
        let (seconds, millis) = (self.millis / 1000, self.millis % 1000);
        write!(f, "{seconds}.{millis:03} {level} {}", self.text)
    }
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// The next line.
    Line(Line<'a>),
    /// So many bytes of lines are gone that it has not read.
    Lost(u32),
}

/// The ring. `N` is a power of two; it is meant to lie in memory that a reset leaves alone.
#[derive(Debug)]
#[repr(C)]
pub struct Ring<const N: usize> {
    magic: u32,
    /// Position of the oldest line.
    start: u32,
    /// Position of the next line.
    end: u32,
    /// How far the port that outlives a reset has come: see [`Ring::told`].
    told: u32,
    /// Of the four before.
    check: u32,
    /// Position of the first line of this run; of the oldest, once that one is gone.
    run: u32,
    bytes: [u8; N],
}

impl<const N: usize> Ring<N> {
    /// An empty ring.
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two() && N >= 2 * (HEAD + LINE)) }
        let mut ring = Self {
            magic: MAGIC,
            start: 0,
            end: 0,
            told: 0,
            check: 0,
            run: 0,
            bytes: [0; N],
        };
        ring.check = ring.sum();
        ring
    }

    /// Makes a ring of what a reset left: the lines from the oldest to the first that is damaged; or an empty ring.
    /// Returns whether there was one. To be called once, before anything else.
    pub fn recover(&mut self) -> bool {
        let used = self.end.wrapping_sub(self.start);
        if self.magic != MAGIC || self.check != self.sum() || used > N as u32 {
            *self = Self::new();
            return false;
        }
        let mut at = self.start;
        let mut text = [0; LINE];
        while at != self.end {
            match self.read(at, &mut text) {
                Some((_, next)) => at = next,
                // What is behind a damaged line cannot be found any more.
                None => self.end = at,
            }
        }
        if self.told.wrapping_sub(self.start) > self.end.wrapping_sub(self.start) {
            self.told = self.start;
        }
        self.begin_run();
        self.check = self.sum();
        true
    }

    /// From here on lines are of another run: what is there is of those before.
    pub fn begin_run(&mut self) {
        self.run = self.end;
    }

    /// Adds a line.
    pub fn push(&mut self, level: Level, millis: u32, text: &Text) {
        let text = text.as_str().as_bytes();
        let length = HEAD + text.len();
        while N - (self.end.wrapping_sub(self.start) as usize) < length {
            let (oldest, before) = (usize::from(self.byte(self.start)), self.start);
            self.start = before.wrapping_add((HEAD + oldest) as u32);
            if self.run == before {
                self.run = self.start;
            }
        }
        let mut head = [0; HEAD];
        head[0] = text.len() as u8;
        head[1] = level as u8 | length_check(text.len()) << 2;
        head[3..].copy_from_slice(&millis.to_le_bytes());
        head[2] = sum(&head, text);
        for (n, byte) in head.iter().chain(text).enumerate() {
            let place = self.end.wrapping_add(n as u32) as usize & (N - 1);
            self.bytes[place] = *byte;
        }
        self.end = self.end.wrapping_add(length as u32);
        self.check = self.sum();
    }

    /// The position of the oldest line there is.
    pub fn oldest(&self) -> Cursor {
        Cursor(self.start)
    }

    /// Which lines there are.
    pub fn extent(&self) -> LogExtent {
        LogExtent {
            oldest: Cursor(self.start),
            run: Cursor(self.run),
            end: Cursor(self.end),
        }
    }

    /// Where the one reader is that goes on after a reset where it was before.
    pub fn told(&self) -> Cursor {
        Cursor(self.told)
    }

    /// Notes how far that reader has come.
    pub fn tell(&mut self, cursor: Cursor) {
        self.told = cursor.0;
        self.check = self.sum();
    }

    /// What is next for a reader, which goes on by it; `None` when there is nothing new. The text is put into `text`.
    pub fn next<'a>(&self, cursor: &mut Cursor, text: &'a mut [u8; LINE]) -> Option<Next<'a>> {
        let used = self.end.wrapping_sub(self.start);
        let unread = self.end.wrapping_sub(cursor.0);
        if unread > used {
            let lost = self.start.wrapping_sub(cursor.0);
            cursor.0 = self.start;
            return Some(Next::Lost(lost));
        }
        if unread == 0 {
            return None;
        }
        let (line, next) = self.read(cursor.0, text)?;
        cursor.0 = next;
        Some(Next::Line(line))
    }

    /// The line at a position, and the position of the one behind it; `None` if it is damaged.
    fn read<'a>(&self, at: u32, text: &'a mut [u8; LINE]) -> Option<(Line<'a>, u32)> {
        let left = self.end.wrapping_sub(at) as usize;
        let mut head = [0; HEAD];
        for (n, byte) in head.iter_mut().enumerate() {
            *byte = self.byte(at.wrapping_add(n as u32));
        }
        let length = usize::from(head[0]);
        let check = core::mem::take(&mut head[2]);
        if length > LINE || HEAD + length > left || head[1] >> 2 != length_check(length) {
            return None;
        }
        let text = &mut text[..length];
        for (n, byte) in text.iter_mut().enumerate() {
            *byte = self.byte(at.wrapping_add((HEAD + n) as u32));
        }
        if check != sum(&head, text) {
            return None;
        }
        let level = match head[1] & 3 {
            0 => Level::Debug,
            1 => Level::Info,
            2 => Level::Warn,
            _ => Level::Error,
        };
        let line = Line {
            level,
            millis: u32::from_le_bytes([head[3], head[4], head[5], head[6]]),
            text: core::str::from_utf8(text).ok()?,
        };
        Some((line, at.wrapping_add((HEAD + length) as u32)))
    }

    fn byte(&self, at: u32) -> u8 {
        self.bytes[at as usize & (N - 1)]
    }

    /// Not a sum that anybody could not forge: it tells a log from memory that was just switched on.
    const fn sum(&self) -> u32 {
        let mixed = self.start.rotate_left(7) ^ self.end.rotate_left(19) ^ self.told.rotate_left(29);
        (mixed ^ self.magic).wrapping_mul(0x9e37_79b1) ^ N as u32
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Check of a length, of six bits, which differs for lengths that differ in one bit: with such a length the CRC would be one of other bytes,
/// and right once in 256.
const fn length_check(length: usize) -> u8 {
    (length % 61) as u8
}

/// CRC-8 of a line; the place of the check itself is 0.
fn sum(head: &[u8; HEAD], text: &[u8]) -> u8 {
    const CRC: crc::Crc<u8, crc::NoTable> = crc::Crc::<u8, crc::NoTable>::new(&crc::CRC_8_SMBUS);
    let mut digest = CRC.digest();
    digest.update(head);
    digest.update(text);
    // A line of nothing but zeros has a check, too.
    !digest.finalize()
}

/// Text up to [`LINE`] bytes, in which nothing ends a line or drives a terminal.
pub struct Text {
    bytes: [u8; LINE],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; LINE],
            length: 0,
        }
    }
}

/// What stands at the end of a line that was cut off.
const CUT: char = '…';

impl Text {
    /// What arguments of formatting say.
    pub fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::default();
        // An error is the end of the room, which is marked.
        let _ = text.write_fmt(arguments);
        text
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    fn push(&mut self, one: char) {
        let mut utf8 = [0; 4];
        let utf8 = one.encode_utf8(&mut utf8).as_bytes();
        self.bytes[self.length..self.length + utf8.len()].copy_from_slice(utf8);
        self.length += utf8.len();
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for one in text.chars() {
            if self.length + one.len_utf8() + CUT.len_utf8() > LINE {
                self.push(CUT);
                return Err(fmt::Error);
            }
            self.push(if one.is_control() { ' ' } else { one });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn read<const N: usize>(ring: &Ring<N>, mut cursor: Cursor) -> Vec<String> {
        let mut text = [0; LINE];
        let mut lines = Vec::new();
        while let Some(next) = ring.next(&mut cursor, &mut text) {
            lines.push(match next {
                Next::Line(line) => line.to_string(),
                Next::Lost(bytes) => format!("lost {bytes}"),
            });
        }
        lines
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let mut ring = Ring::<512>::new();
        ring.push(Level::Info, 1, &Text::of(format_args!("first")));
        ring.push(Level::Error, 61_023, &Text::of(format_args!("se\r\ncond")));
        let lines = ["0.001 INFO first", "61.023 ERROR se  cond"];
        assert_eq!(read(&ring, ring.oldest()), lines);
        assert_eq!(read(&ring, ring.told()), lines);
    }

    #[test]
    fn slow_readers_are_told_what_they_lost() {
        let mut ring = Ring::<512>::new();
        let cursor = ring.oldest();
        for n in 0..100 {
            ring.push(Level::Info, n, &Text::of(format_args!("line {n:3}")));
        }
        let lines = read(&ring, cursor);
        // 15 bytes each: 34 are kept.
        assert_eq!(lines[0], "lost 990");
        assert_eq!(lines[1], "0.066 INFO line  66");
        assert_eq!(lines.len(), 35);
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let mut ring = Ring::<512>::new();
        ring.push(Level::Info, 0, &Text::of(format_args!("{}", "ä".repeat(LINE))));
        let lines = read(&ring, ring.oldest());
        assert_eq!(lines[0], format!("0.000 INFO {}…", "ä".repeat((LINE - 3) / 2)));
    }

    #[test]
    fn memory_of_a_cold_start_is_an_empty_ring() {
        for fill in [0x00, 0xff, 0x5a] {
            let mut ring = Ring::<512> {
                magic: u32::from_ne_bytes([fill; 4]),
                start: u32::from_ne_bytes([fill; 4]),
                end: u32::from_ne_bytes([fill; 4]),
                told: u32::from_ne_bytes([fill; 4]),
                check: u32::from_ne_bytes([fill; 4]),
                run: u32::from_ne_bytes([fill; 4]),
                bytes: [fill; 512],
            };
            assert!(!ring.recover());
            assert!(read(&ring, ring.oldest()).is_empty());
        }
    }

    #[test]
    fn runs_are_told_apart_as_long_as_there_is_something_of_them() {
        let mut ring = Ring::<512>::new();
        let push = |ring: &mut Ring<512>, n| ring.push(Level::Info, n, &Text::of(format_args!("line {n:3}")));
        (0..3).for_each(|n| push(&mut ring, n));
        assert_eq!(ring.extent().run, ring.oldest());
        assert!(ring.recover());
        push(&mut ring, 3);
        assert_eq!(read(&ring, ring.extent().run), ["0.003 INFO line   3"]);
        assert_eq!(read(&ring, ring.oldest()).len(), 4);
        (4..100).for_each(|n| push(&mut ring, n));
        assert_eq!(ring.extent().run, ring.oldest());
    }

    #[test]
    fn a_port_goes_on_where_it_was() {
        let mut ring = Ring::<512>::new();
        ring.push(Level::Info, 0, &Text::of(format_args!("told")));
        let mut cursor = ring.told();
        let mut text = [0; LINE];
        ring.next(&mut cursor, &mut text).expect("a line");
        ring.tell(cursor);
        ring.push(Level::Info, 0, &Text::of(format_args!("not told")));
        assert!(ring.recover());
        assert_eq!(read(&ring, ring.told()), ["0.000 INFO not told"]);
        assert_eq!(read(&ring, ring.oldest()).len(), 2);
    }

    proptest! {
        /// The newest lines are there, in order; nothing else is; and a reset changes nothing.
        #[test]
        fn keeps_the_newest(lines in prop::collection::vec(".{0,60}", 0..60), start in any::<u32>()) {
            let mut ring = Ring::<512>::new();
            (ring.start, ring.end, ring.told, ring.run) = (start, start, start, start);
            for (n, line) in lines.iter().enumerate() {
                ring.push(Level::Warn, n as u32, &Text::of(format_args!("{line}")));
            }
            let kept = read(&ring, ring.oldest());
            let expected: Vec<String> = lines
                .iter()
                .enumerate()
                .map(|(n, line)| {
                    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                    format!("0.{n:03} WARN {line}")
                })
                .collect();
            prop_assert!(expected.ends_with(&kept) || lines.iter().any(|line| line.len() > LINE - 3));
            let bytes: usize = lines.iter().map(|line| line.len() + HEAD).sum();
            prop_assert!(kept.len() == lines.len() || bytes > 512);
            prop_assert_eq!(ring.extent().run, ring.oldest());
            ring.check = ring.sum();
            prop_assert!(ring.recover());
            prop_assert_eq!(read(&ring, ring.oldest()), kept);
            prop_assert_eq!(read(&ring, ring.extent().run).len(), 0);
        }

        /// Damage costs lines, and never makes up others.
        #[test]
        fn damage_is_found(lines in prop::collection::vec("[a-z]{1,30}", 1..30), at in 0_usize..512, bit in 0_u8..8) {
            let mut ring = Ring::<512>::new();
            for line in &lines {
                ring.push(Level::Info, 7, &Text::of(format_args!("{line}")));
            }
            let before = read(&ring, ring.oldest());
            ring.bytes[at] ^= 1 << bit;
            prop_assert!(ring.recover());
            for line in read(&ring, ring.oldest()) {
                prop_assert!(before.contains(&line), "{line}");
            }
            ring.push(Level::Info, 8, &Text::of(format_args!("goes on")));
            let after = read(&ring, ring.oldest());
            prop_assert_eq!(after.last().map(String::as_str), Some("0.008 INFO goes on"));
        }

        /// Any memory at all is a ring that can be used afterwards.
        #[test]
        fn any_memory_is_a_ring(bytes in prop::collection::vec(any::<u8>(), 512), start in any::<u32>(), used in 0_u32..600) {
            let mut ring = Ring::<512>::new();
            ring.bytes.copy_from_slice(&bytes);
            (ring.start, ring.end, ring.told) = (start, start.wrapping_add(used), start ^ used);
            ring.check = ring.sum();
            ring.recover();
            ring.push(Level::Info, 8, &Text::of(format_args!("goes on")));
            let after = read(&ring, ring.oldest());
            prop_assert_eq!(after.last().map(String::as_str), Some("0.008 INFO goes on"));
        }
    }
}
