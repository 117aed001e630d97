//! tar archives: ustar (POSIX.1-2017), with the pax records `path`, `linkpath` and `size` and GNU's long names.

use alloc::vec::Vec;

const BLOCK: usize = 512;
/// Limit for the length of a name in bytes.
pub const NAME_BYTES: usize = 256;
/// Limit for the length of a pax header in bytes.
const PAX_BYTES: u64 = 64 * 1024;
/// Limit for the length of a pax record that is read in bytes; longer ones are skipped.
const RECORD_BYTES: usize = NAME_BYTES + 24;

/// Why an archive cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TarError {
    /// A header's checksum is wrong, or a number malformed.
    Header,
    /// A name has more than 256 bytes.
    NameTooLong,
    /// A pax header is malformed or has more than 64 KB.
    Pax,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with content.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    SymbolicLink,
    /// A directory.
    Directory,
    /// A device, a pipe, or what is not known. Its content is skipped.
    Other,
}

/// The header of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// The name, as it is in the archive.
    pub name: Vec<u8>,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Length of the content in bytes.
    pub size: u64,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Everything was taken: receive more.
    More,
    /// An entry begins.
    Entry(Entry),
    /// The next piece of the current entry's content.
    Data(&'a [u8]),
    /// The archive ended. What follows is padding.
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    /// Content that is handed on: bytes to come, and bytes of padding behind it.
    Data(u64, u16),
    /// Content that is skipped.
    Skip(u64, u16),
    /// A name of the next entry: of the link if true.
    LongName(u64, u16, bool),
    /// Pax records; they count for the next entry only if true.
    Pax(u64, u16, bool),
    End,
}

/// What pax records and long names say of the next entry.
#[derive(Default)]
struct Overrides {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Reads an archive, in pieces of any size.
pub struct Tar {
    state: State,
    block: [u8; BLOCK],
    filled: usize,
    next: Overrides,
    /// A name or a pax record that is being read.
    text: Vec<u8>,
    /// Length of the current pax record, 0 while its digits are read.
    record: usize,
    /// Bytes of the current pax record that were read.
    read: usize,
    zeros: bool,
}

impl Default for Tar {
    fn default() -> Self {
        Self {
            state: State::Header,
            block: [0; BLOCK],
            filled: 0,
            next: Overrides::default(),
            text: Vec::new(),
            record: 0,
            read: 0,
            zeros: false,
        }
    }
}

impl Tar {
    /// Whether the archive may end here: between two entries, or after its end mark.
    pub fn at_boundary(&self) -> bool {
        match self.state {
            State::End => true,
            State::Header => self.filled == 0,
            _ => false,
        }
    }

    /// Takes bytes off the front of `received`: `Ok((taken, event))`. Call it with the rest until it returns [`Event::More`] or
    /// [`Event::End`].
    ///
    /// # Errors
    /// The archive is malformed; it must not be called again.
    pub fn take<'a>(&mut self, received: &'a [u8]) -> Result<(usize, Event<'a>), TarError> {
        let mut at = 0;
        loop {
            let rest = received.get(at..).unwrap_or_default();
            match self.state {
                State::End => return Ok((at, Event::End)),
                State::Header => {
                    let take = rest.len().min(BLOCK - self.filled);
                    if let (Some(place), Some(piece)) = (
                        self.block.get_mut(self.filled..self.filled + take),
                        rest.get(..take),
                    ) {
                        place.copy_from_slice(piece);
                    }
                    self.filled += take;
                    at += take;
                    if self.filled < BLOCK {
                        return Ok((at, Event::More));
                    }
                    self.filled = 0;
                    if let Some(entry) = self.header()? {
                        return Ok((at, Event::Entry(entry)));
                    }
                }
                State::Data(left, padding) => {
                    let (piece, left) = split(rest, left);
                    at += piece.len();
                    self.state = match left {
                        0 => State::Skip(0, padding),
                        left => State::Data(left, padding),
                    };
                    if !piece.is_empty() {
                        return Ok((at, Event::Data(piece)));
                    }
                    if left > 0 {
                        return Ok((at, Event::More));
                    }
                }
                State::Skip(left, padding) => {
                    let (piece, left) = split(rest, left + u64::from(padding));
                    at += piece.len();
                    if left > 0 {
                        self.state = State::Skip(left, 0);
                        return Ok((at, Event::More));
                    }
                    self.state = State::Header;
                }
                State::LongName(left, padding, is_link) => {
                    let (piece, left) = split(rest, left);
                    at += piece.len();
                    if self.text.len() + piece.len() > NAME_BYTES + 1 {
                        return Err(TarError::NameTooLong);
                    }
                    self.text.extend_from_slice(piece);
                    self.state = State::LongName(left, padding, is_link);
                    if left > 0 {
                        return Ok((at, Event::More));
                    }
                    let mut name = core::mem::take(&mut self.text);
                    name.truncate(text(&name).len());
                    let place = if is_link {
                        &mut self.next.link
                    } else {
                        &mut self.next.name
                    };
                    *place = Some(name);
                    self.state = State::Skip(0, padding);
                }
                State::Pax(left, padding, counts) => {
                    let (piece, left) = split(rest, left);
                    at += piece.len();
                    for &byte in piece {
                        self.pax_byte(byte, counts)?;
                    }
                    self.state = State::Pax(left, padding, counts);
                    if left > 0 {
                        return Ok((at, Event::More));
                    }
                    if self.read != 0 {
                        return Err(TarError::Pax);
                    }
                    self.state = State::Skip(0, padding);
                }
            }
        }
    }

    fn field(&self, from: usize, length: usize) -> &[u8] {
        self.block.get(from..from + length).unwrap_or_default()
    }

    /// Reads a header; returns the entry unless the header is about the next one.
    fn header(&mut self) -> Result<Option<Entry>, TarError> {
        if self.block.iter().all(|byte| *byte == 0) {
            if core::mem::replace(&mut self.zeros, true) {
                self.state = State::End;
            }
            return Ok(None);
        }
        self.zeros = false;
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        // The checksum counts as blanks.
        let expected = sum(&self.block) - sum(self.field(148, 8)) + 8 * 32;
        if number(self.field(148, 8)) != Some(u64::from(expected)) {
            return Err(TarError::Header);
        }
        let size = number(self.field(124, 12)).ok_or(TarError::Header)?;
        let kind = self.block[156];
        let is_extension = matches!(kind, b'L' | b'K' | b'x' | b'g');
        let size = self.next.size.filter(|_| !is_extension).unwrap_or(size);
        // Only what has content is followed by it, but sizes of others are written too.
        let content = match kind {
            b'1'..=b'6' => 0,
            _ => size,
        };
        let padding = (content.wrapping_neg() % BLOCK as u64) as u16;
        match kind {
            b'L' | b'K' => {
                if content > NAME_BYTES as u64 + 1 {
                    return Err(TarError::NameTooLong);
                }
                self.text.clear();
                self.state = State::LongName(content, padding, kind == b'K');
                return Ok(None);
            }
            b'x' | b'g' => {
                if content > PAX_BYTES {
                    return Err(TarError::Pax);
                }
                (self.read, self.record) = (0, 0);
                self.text.clear();
                self.state = State::Pax(content, padding, kind == b'x');
                return Ok(None);
            }
            _ => {}
        }
        let next = core::mem::take(&mut self.next);
        let name = match next.name {
            Some(name) => name,
            None => self.name(),
        };
        let link = next.link.unwrap_or_else(|| text(self.field(157, 100)).to_vec());
        let kind = match kind {
            // Archives before ustar mark directories by a slash.
            b'0' | 0 if name.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::SymbolicLink,
            b'5' => EntryKind::Directory,
            _ => EntryKind::Other,
        };
        self.state = match kind {
            EntryKind::File => State::Data(content, padding),
            _ => State::Skip(content, padding),
        };
        let mode = number(self.field(100, 8)).ok_or(TarError::Header)?;
        Ok(Some(Entry {
            kind,
            name,
            link,
            mode: (mode & 0o7777) as u32,
            size: if kind == EntryKind::File { content } else { 0 },
        }))
    }

    /// The name in the header: the prefix of ustar, a slash and the name, 256 bytes at most.
    fn name(&self) -> Vec<u8> {
        let mut name = Vec::new();
        let prefix = text(self.field(345, 155));
        if self.field(257, 6) == b"ustar\0" && !prefix.is_empty() {
            name.extend_from_slice(prefix);
            name.push(b'/');
        }
        name.extend_from_slice(text(self.field(0, 100)));
        name
    }

    /// Reads a byte of pax records: `LENGTH KEY=VALUE\n`, where the length counts all of it.
    fn pax_byte(&mut self, byte: u8, counts: bool) -> Result<(), TarError> {
        self.read += 1;
        if self.record == 0 {
            match byte {
                b'0'..=b'9' if self.text.len() < 6 => self.text.push(byte),
                b' ' => {
                    let length = decimal(&self.text).ok_or(TarError::Pax)?;
                    self.record = usize::try_from(length).map_err(|_| TarError::Pax)?;
                    if self.record <= self.read {
                        return Err(TarError::Pax);
                    }
                    self.text.clear();
                }
                _ => return Err(TarError::Pax),
            }
            return Ok(());
        }
        if self.read < self.record {
            // One more than the limit shows that it was exceeded.
            if self.text.len() <= RECORD_BYTES {
                self.text.push(byte);
            }
            return Ok(());
        }
        if byte != b'\n' {
            return Err(TarError::Pax);
        }
        let record = core::mem::take(&mut self.text);
        (self.read, self.record) = (0, 0);
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or(TarError::Pax)?;
        let (key, value) = record.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        if !counts {
            return Ok(());
        }
        match key {
            b"path" | b"linkpath" if value.len() > NAME_BYTES => return Err(TarError::NameTooLong),
            b"path" => self.next.name = Some(value.to_vec()),
            b"linkpath" => self.next.link = Some(value.to_vec()),
            b"size" => self.next.size = Some(decimal(value).ok_or(TarError::Pax)?),
            _ => {}
        }
        Ok(())
    }
}

/// Splits off at most `left` bytes; returns them and how many are left.
fn split(rest: &[u8], left: u64) -> (&[u8], u64) {
    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (rest.get(..take).unwrap_or_default(), left - take as u64)
}

/// A text up to its first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number in decimal digits, up to 63 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    let number: u64 = core::str::from_utf8(digits).ok()?.parse().ok()?;
    (number >> 63 == 0).then_some(number)
}

/// A number in octal digits, or in GNU's base 256, up to 63 bits. Blanks and zeros around the digits are skipped.
fn number(field: &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    if let Some((first @ 0x80.., rest)) = field.split_first() {
        let first = first & 0x7f;
        for &byte in core::iter::once(&first).chain(rest) {
            value = value.checked_mul(256)? | u64::from(byte);
        }
        return (value >> 63 == 0).then_some(value);
    }
    for &byte in text(field).trim_ascii() {
        value = match byte {
            b'0'..=b'7' => value.checked_mul(8)? + u64::from(byte - b'0'),
            _ => return None,
        };
    }
    Some(value)
}
