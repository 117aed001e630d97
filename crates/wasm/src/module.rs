//! A validated module: what is kept of it in RAM, and what is looked up in its bytes.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::ops::Deref;

use crate::error::{Error, ErrorKind, Reason};
use crate::info::{DataSegment, ElementSegment, Import, ImportKind, Info};
use crate::limits::Limits;
use crate::reader::{Cursor, Step};
use crate::side_table::{FunctionRecord, SideTable};
use crate::types::{FunctionType, GlobalType, TableType};
use crate::validate::Validator;

/// Something that is read in place: in memory-mapped flash, or shared on the heap.
#[derive(Clone, Debug)]
pub enum Shared<T: 'static> {
    /// In flash, or for as long as the process runs.
    Static(&'static [T]),
    /// On the heap.
    Heap(Rc<[T]>),
}

impl<T> Deref for Shared<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Static(slice) => slice,
            Self::Heap(slice) => slice,
        }
    }
}

/// Kind of what a module exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportKind {
    /// A function.
    Function,
    /// A table.
    Table,
    /// A memory.
    Memory,
    /// A global.
    Global,
}

/// A validated module with its side table.
#[derive(Debug)]
pub struct Module {
    pub(crate) bytes: Shared<u8>,
    pub(crate) side_table: Shared<u32>,
    pub(crate) info: Info,
}

impl Module {
    /// Ends validation: puts together the module's bytes, which lie where the host stored them while it pushed them, and the side
    /// table that [`SideTable`] wrote.
    ///
    /// # Errors
    ///
    /// The module is refused, or `bytes` is not as long as what was pushed.
    pub fn new(validator: Validator<'_>, bytes: Shared<u8>, side_table: Shared<u32>) -> Result<Self, Error> {
        let info = validator.finish()?;
        if bytes.len() != info.size as usize {
            return Err(ErrorKind::Malformed(Reason::BytesDifferFromWhatWasValidated).at(info.size));
        }
        Ok(Self {
            bytes,
            side_table,
            info,
        })
    }

    /// Validates a module that is whole, and keeps it and its side table on the heap.
    ///
    /// # Errors
    ///
    /// The module is refused.
    pub fn load(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let mut words = Vec::new();
        let mut emitter = SideTable::new(&mut words, limits);
        let mut validator = Validator::new(limits, &mut emitter);
        validator.push(bytes)?;
        let info = validator.finish()?;
        Ok(Self {
            bytes: Shared::Heap(bytes.into()),
            side_table: Shared::Heap(words.into()),
            info,
        })
    }

    /// Number of imports.
    #[must_use]
    pub fn imports(&self) -> u32 {
        self.info.imports.len() as u32
    }

    /// Names of an import: module and field.
    #[must_use]
    pub fn import_names(&self, index: u32) -> Option<(&str, &str)> {
        let import = self.info.imports.get(index as usize)?;
        let mut cursor = self.cursor(import.name);
        let module = name(&mut cursor).ok()?;
        Some((module, name(&mut cursor).ok()?))
    }

    /// Number among all imports of the function that is imported as number `function`.
    pub(crate) fn function_import(&self, function: u32) -> Option<(u32, u16)> {
        let functions = self
            .info
            .imports
            .iter()
            .zip(0..)
            .filter_map(|(import, index)| match import.kind {
                ImportKind::Function(ty) => Some((index, ty)),
                _ => None,
            });
        functions.into_iter().nth(function as usize)
    }

    /// The export of a name: kind and index.
    #[must_use]
    pub fn export(&self, wanted: &str) -> Option<(ExportKind, u32)> {
        let (offset, count) = self.info.exports;
        let mut cursor = self.cursor(offset);
        for _ in 0..count {
            let (found, kind, index) = export(&mut cursor).ok()?;
            if found == wanted {
                return Some((kind, index));
            }
        }
        None
    }

    /// The export of a number: name, kind and index.
    #[must_use]
    pub fn export_at(&self, number: u32) -> Option<(&str, ExportKind, u32)> {
        let (offset, count) = self.info.exports;
        let mut cursor = self.cursor(offset);
        for _ in 0..number.min(count) {
            export(&mut cursor).ok()?;
        }
        if number < count {
            export(&mut cursor).ok()
        } else {
            None
        }
    }

    /// The name that the module's name section gives a function.
    #[must_use]
    pub fn function_name(&self, function: u32) -> Option<&str> {
        let (offset, length) = self.info.names;
        let end = (offset + length) as usize;
        let content = self.bytes.get(..end)?;
        let mut cursor = Cursor::whole(content, offset);
        loop {
            let id = cursor.byte().ok()?;
            let size = cursor.u32().ok()?;
            if id != 1 {
                cursor.take(size);
                continue;
            }
            let count = cursor.u32().ok()?;
            for _ in 0..count {
                let index = cursor.u32().ok()?;
                let found = name(&mut cursor).ok()?;
                if index == function {
                    return Some(found);
                }
            }
            return None;
        }
    }

    /// Bytes of the module that are heap in this process, without the module's bytes and side table.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let info = &self.info;
        core::mem::size_of::<Self>()
            + info.types.heap_bytes()
            + info.imports.len() * core::mem::size_of::<Import>()
            + info.tables.len() * core::mem::size_of::<TableType>()
            + info.globals.len() * core::mem::size_of::<GlobalType>()
            + info.global_values.len() * 4
            + info.elements.len() * core::mem::size_of::<ElementSegment>()
            + info.data.len() * core::mem::size_of::<DataSegment>()
    }

    pub(crate) fn cursor(&self, offset: u32) -> Cursor<'_> {
        Cursor::whole(&self.bytes, offset)
    }

    /// Record of a function of the module's own.
    pub(crate) fn record(&self, index: u32) -> Option<FunctionRecord<'_>> {
        if index >= self.info.functions {
            return None;
        }
        FunctionRecord::read(&self.side_table, index)
    }

    /// Index of a function's type.
    pub(crate) fn type_index(&self, function: u32) -> Option<u32> {
        match function.checked_sub(self.info.imported_functions) {
            None => self.function_import(function).map(|(_, ty)| u32::from(ty)),
            Some(own) => self.record(own).map(|record| record.ty()),
        }
    }

    /// Type of a function.
    pub(crate) fn function_type(&self, function: u32) -> Option<FunctionType> {
        self.info.types.get(self.type_index(function)?)
    }
}

fn name<'a>(cursor: &mut Cursor<'a>) -> Step<&'a str> {
    let length = cursor.u32()?;
    let bytes = cursor.take(length);
    match core::str::from_utf8(bytes) {
        Ok(name) if bytes.len() == length as usize => Ok(name),
        _ => cursor.fail(ErrorKind::Malformed(Reason::Name)),
    }
}

fn export<'a>(cursor: &mut Cursor<'a>) -> Step<(&'a str, ExportKind, u32)> {
    let name = name(cursor)?;
    let kind = match cursor.byte()? {
        0 => ExportKind::Function,
        1 => ExportKind::Table,
        2 => ExportKind::Memory,
        _ => ExportKind::Global,
    };
    Ok((name, kind, cursor.u32()?))
}
