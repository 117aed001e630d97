//! Reads and validates a module in one pass, while its bytes arrive.
//!
//! A [`Validator`] takes pieces of any size and keeps none of them. What it decodes at a time (a section's head, a function type's
//! value, an instruction, a label of `br_table`) takes less than [`CARRY`] bytes: if a piece ends in the middle of such an item, the
//! item's bytes are carried over and read again with those that follow. A step changes nothing before it has read all of its item.
//!
//! It remembers what later parts of the module refer to, within [`Limits`], and drives an [`Emitter`] with the functions.

mod function;
mod operations;
mod sections;

use alloc::vec::Vec;

use crate::emitter::Emitter;
use crate::error::{Error, ErrorKind, Proposal, Reason};
use crate::info::Info;
use crate::limits::Limits;
use crate::reader::{Cursor, Step, Stop, Utf8};
use function::Function;

/// Bytes of the longest item, and more.
const CARRY: usize = 32;

const NO_END: u32 = u32::MAX;

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Section,
    Count,
    Entry,
    NameLength(After),
    Name(After),
    CustomContent {
        is_names: bool,
    },
    ImportDescription,
    ExportDescription,
    TypeParams {
        left: u32,
        params: u32,
    },
    TypeResultCount {
        params: u32,
    },
    TypeResults {
        left: u32,
        params: u32,
        results: u32,
    },
    GlobalValue,
    ElementOffset,
    ElementCount,
    ElementItem {
        left: u32,
    },
    DataOffset,
    DataLength,
    DataBytes,
    LocalGroupCount,
    LocalGroup {
        left: u32,
    },
    Code,
    Label {
        left: u32,
        arity: Option<u32>,
        instruction: u32,
    },
}

/// What follows a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    ImportField,
    ImportDescription,
    ExportDescription,
    Custom,
}

/// Validates a module piece by piece.
pub struct Validator<'e> {
    emitter: &'e mut dyn Emitter,
    limits: Limits,
    info: Info,
    state: State,
    carry: [u8; CARRY],
    carried: usize,
    /// Offset of the first byte that is not used.
    offset: u32,
    section: u8,
    section_end: u32,
    /// Place of the last section in the order of sections.
    order: u8,
    /// Entries of the section that are left.
    left: u32,
    /// Types of all functions.
    functions: Vec<u16>,
    /// Functions whose bodies have been read.
    bodies: u32,
    data_count: Option<u32>,
    /// Bytes left of a name.
    name_left: u32,
    name_hash: u64,
    name_is_names: u8,
    utf8: Utf8,
    /// Hashes of the names of exports, in ascending order.
    export_names: Vec<u64>,
    /// Functions that `ref.func` may name, as bits.
    declared: Vec<u32>,
    /// Flags of the element segment that is read.
    element_flags: u32,
    function: Function,
    body_end: u32,
    failed: Option<Error>,
}

impl core::fmt::Debug for Validator<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Validator")
    }
}

impl<'e> Validator<'e> {
    /// Validates within `limits` and drives `emitter`.
    #[must_use]
    pub fn new(limits: &Limits, emitter: &'e mut dyn Emitter) -> Self {
        Self {
            emitter,
            limits: *limits,
            info: Info::default(),
            state: State::Header,
            carry: [0; CARRY],
            carried: 0,
            offset: 0,
            section: 0,
            section_end: NO_END,
            order: 0,
            left: 0,
            functions: Vec::new(),
            bodies: 0,
            data_count: None,
            name_left: 0,
            name_hash: 0,
            name_is_names: 0,
            utf8: Utf8::default(),
            export_names: Vec::new(),
            declared: Vec::new(),
            element_flags: 0,
            function: Function::default(),
            body_end: 0,
            failed: None,
        }
    }

    /// Takes the next bytes of the module.
    ///
    /// # Errors
    ///
    /// The module is refused. It stays refused with further bytes.
    pub fn push(&mut self, mut piece: &[u8]) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.read(&mut piece);
        self.failed = result.err();
        result
    }

    fn read(&mut self, piece: &mut &[u8]) -> Result<(), Error> {
        if self
            .offset
            .checked_add((self.carried + piece.len()) as u32)
            .is_none()
            || piece.len() > u32::MAX as usize / 2
        {
            return Err(ErrorKind::Limit(Reason::SizeOfAModule).at(self.offset));
        }
        while self.carried > 0 && !piece.is_empty() {
            // Fill up what was carried, and read from there until only bytes of the piece are left.
            let old = self.carried;
            let more = (CARRY - old).min(piece.len());
            self.carry[old..old + more].copy_from_slice(&piece[..more]);
            let carry = self.carry;
            let used = self.steps(&carry[..old + more], old)?;
            if used >= old {
                *piece = &piece[used - old..];
                self.carried = 0;
            } else {
                // Every item fits, so that all of the piece has been taken.
                self.carry.copy_within(used..old + more, 0);
                self.carried = old + more - used;
                *piece = &piece[more..];
            }
        }
        if !piece.is_empty() {
            let used = self.steps(piece, piece.len())?;
            let rest = &piece[used..];
            self.carry[..rest.len()].copy_from_slice(rest);
            self.carried = rest.len();
        }
        Ok(())
    }

    /// Reads items from `bytes` until `enough` bytes are used or an item is incomplete. Returns the bytes used.
    fn steps(&mut self, bytes: &[u8], enough: usize) -> Result<usize, Error> {
        let mut used = 0;
        while used < enough {
            let in_body = matches!(
                self.state,
                State::LocalGroupCount | State::LocalGroup { .. } | State::Code | State::Label { .. }
            );
            let end = if in_body { self.body_end } else { self.section_end };
            let mut cursor = Cursor::new(&bytes[used..], self.offset, end);
            match self.step(&mut cursor) {
                Ok(()) => {
                    used += cursor.consumed();
                    self.offset = cursor.offset();
                    self.leave_section()?;
                }
                Err(Stop::Incomplete) => break,
                Err(Stop::Error(kind)) => return Err(kind.at(cursor.error_offset())),
            }
        }
        Ok(used)
    }

    /// Ends a section whose entries have all been read.
    fn leave_section(&mut self) -> Result<(), Error> {
        if self.state != State::Entry || self.left > 0 {
            return Ok(());
        }
        if self.offset != self.section_end {
            return Err(ErrorKind::Malformed(Reason::SizeOfASection).at(self.offset));
        }
        self.state = State::Section;
        self.section_end = NO_END;
        Ok(())
    }

    // Inlined into the loop of its caller, the addresses of all fields would be computed ahead and kept on the stack.
    #[inline(never)]
    fn step(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        match self.state {
            State::Header => self.header(cursor),
            State::Section => self.section_head(cursor),
            State::Count => self.count(cursor),
            State::Entry => self.entry(cursor),
            State::NameLength(after) => self.name_length(cursor, after),
            State::Name(after) => self.name(cursor, after),
            State::CustomContent { is_names } => self.custom_content(cursor, is_names),
            State::ImportDescription => self.import_description(cursor),
            State::ExportDescription => self.export_description(cursor),
            State::TypeParams { .. } | State::TypeResultCount { .. } | State::TypeResults { .. } => {
                self.function_type(cursor)
            }
            State::GlobalValue => self.global_value(cursor),
            State::ElementOffset => self.element_offset(cursor),
            State::ElementCount => self.element_count(cursor),
            State::ElementItem { left } => self.element_item(cursor, left),
            State::DataOffset => self.data_offset(cursor),
            State::DataLength => self.data_length(cursor),
            State::DataBytes => self.data_bytes(cursor),
            State::LocalGroupCount => self.local_group_count(cursor),
            State::LocalGroup { left } => self.local_group(cursor, left),
            State::Code => self.code(cursor),
            State::Label {
                left,
                arity,
                instruction,
            } => self.label(cursor, left, arity, instruction),
        }
    }

    fn header(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        for expected in *b"\0asm" {
            if cursor.byte()? != expected {
                return Err(ErrorKind::Malformed(Reason::MagicNumber).into());
            }
        }
        let version = cursor.little_endian(4)? as u32;
        let kind = match version {
            1 => {
                self.state = State::Section;
                return Ok(());
            }
            // Layer 1, in the two upper bytes.
            0x0001_0000.. if version >> 16 == 1 => ErrorKind::Unsupported(Proposal::ComponentModel),
            _ => ErrorKind::Malformed(Reason::Version),
        };
        cursor.fail_at(4, kind)
    }

    fn section_head(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let id = cursor.byte()?;
        let size = cursor.u32()?;
        let end = cursor.offset().checked_add(size).filter(|end| *end < NO_END);
        let Some(end) = end else {
            return Err(ErrorKind::Malformed(Reason::SizeOfASection).into());
        };
        self.section = id;
        self.section_end = end;
        if id == 0 {
            self.state = State::NameLength(After::Custom);
            return Ok(());
        }
        // Data count comes before code, though its number is higher.
        let order = match id {
            1..=9 => id,
            12 => 10,
            10 => 11,
            11 => 12,
            13 => {
                return Err(ErrorKind::Unsupported(Proposal::ExceptionHandling).into());
            }
            _ => return Err(ErrorKind::Malformed(Reason::Section).into()),
        };
        if order <= self.order {
            return Err(ErrorKind::Malformed(Reason::OrderOfSections).into());
        }
        self.order = order;
        self.state = if id == 8 { State::Entry } else { State::Count };
        self.left = 1;
        Ok(())
    }

    /// Reads the rest of a name's length and goes on with its bytes.
    fn name_length(&mut self, cursor: &mut Cursor<'_>, after: After) -> Step<()> {
        self.name_left = cursor.u32()?;
        self.name_hash = 0xcbf2_9ce4_8422_2325;
        self.name_is_names = if self.name_left == 4 { 0 } else { u8::MAX };
        self.utf8 = Utf8::default();
        self.state = State::Name(after);
        self.end_name(cursor, after)
    }

    fn name(&mut self, cursor: &mut Cursor<'_>, after: After) -> Step<()> {
        let start = cursor.offset();
        let bytes = cursor.take(self.name_left);
        if bytes.is_empty() {
            cursor.byte()?;
        }
        if let Some(wrong) = self.utf8.first_wrong(bytes) {
            return cursor.fail_at(start + wrong as u32, ErrorKind::Malformed(Reason::Utf8));
        }
        for &byte in bytes {
            self.name_hash = (self.name_hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            if b"name".get(usize::from(self.name_is_names)) == Some(&byte) {
                self.name_is_names += 1;
            }
        }
        self.name_left -= bytes.len() as u32;
        self.end_name(cursor, after)
    }

    fn end_name(&mut self, cursor: &mut Cursor<'_>, after: After) -> Step<()> {
        if self.name_left > 0 {
            return Ok(());
        }
        if !self.utf8.is_complete() {
            return cursor.fail(ErrorKind::Malformed(Reason::Utf8));
        }
        self.state = match after {
            After::ImportField => State::NameLength(After::ImportDescription),
            After::ImportDescription => State::ImportDescription,
            After::ExportDescription => State::ExportDescription,
            After::Custom => {
                let is_names = self.name_is_names == 4;
                if is_names {
                    self.info.names = (cursor.offset(), self.section_end - cursor.offset());
                }
                self.custom_end(cursor.offset(), is_names)
            }
        };
        Ok(())
    }

    /// The state behind `offset` of a custom section.
    fn custom_end(&mut self, offset: u32, is_names: bool) -> State {
        if offset < self.section_end {
            return State::CustomContent { is_names };
        }
        self.section_end = NO_END;
        State::Section
    }

    fn custom_content(&mut self, cursor: &mut Cursor<'_>, is_names: bool) -> Step<()> {
        if cursor.take(self.section_end - cursor.offset()).is_empty() {
            cursor.byte()?;
        }
        self.state = self.custom_end(cursor.offset(), is_names);
        Ok(())
    }

    /// Ends the module.
    ///
    /// # Errors
    ///
    /// The module is refused, because it ends too early or was refused before.
    pub(crate) fn finish(self) -> Result<Info, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.state != State::Section || self.carried > 0 {
            return Err(ErrorKind::Malformed(Reason::UnexpectedEnd).at(self.offset));
        }
        let own = self.functions.len() as u32 - self.info.imported_functions;
        if self.bodies != own {
            return Err(ErrorKind::Malformed(Reason::NumberOfFunctionsAndBodies).at(self.offset));
        }
        if self
            .data_count
            .is_some_and(|count| count != self.info.data.len() as u32)
        {
            return Err(ErrorKind::Malformed(Reason::NumberOfDataSegments).at(self.offset));
        }
        let mut info = self.info;
        info.size = self.offset;
        info.functions = own;
        info.shrink();
        Ok(info)
    }

    /// Ends the module, which was only to be validated.
    ///
    /// # Errors
    ///
    /// As for [`Validator::push`]; or the module ends too early.
    pub fn end(self) -> Result<(), Error> {
        self.finish().map(|_| ())
    }
}

/// Validates a module that is whole.
///
/// # Errors
///
/// The module is refused.
pub fn validate(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    let mut emitter = crate::emitter::NoEmitter;
    let mut validator = Validator::new(limits, &mut emitter);
    validator.push(bytes)?;
    validator.end()
}
