//! The sections of a module but for code.

use super::{After, State, Validator};
use crate::error::{ErrorKind, Proposal, Reason};
use crate::info::{DataSegment, ElementMode, ElementSegment, Import, ImportKind};
use crate::instruction::{Instruction, op, value_type};
use crate::limits::Limits;
use crate::reader::{Cursor, Step};
use crate::types::{GlobalType, MemoryType, TableType, Types, ValueType};

/// Adds to a list whose length a limit bounds.
fn push<T>(list: &mut alloc::vec::Vec<T>, item: T, limit: u32, what: Reason) -> Result<(), ErrorKind> {
    if list.len() >= limit as usize {
        return Err(ErrorKind::Limit(what));
    }
    list.push(item);
    Ok(())
}

impl Validator<'_> {
    /// The number of entries of a section.
    pub(super) fn count(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let count = cursor.u32()?;
        self.left = count;
        self.state = State::Entry;
        match self.section {
            5 if count > 1 => return Err(ErrorKind::Unsupported(Proposal::MultiMemory).at(start).into()),
            7 => self.info.exports = (cursor.offset(), count),
            10 => {
                if count != self.functions.len() as u32 - self.info.imported_functions {
                    return Err(ErrorKind::Malformed(Reason::NumberOfFunctionsAndBodies)
                        .at(start)
                        .into());
                }
                self.emitter.start(count).map_err(|kind| kind.at(start))?;
            }
            11 if self.data_count.is_some_and(|announced| announced != count) => {
                return Err(ErrorKind::Malformed(Reason::NumberOfDataSegments)
                    .at(start)
                    .into());
            }
            12 => {
                self.data_count = Some(count);
                self.left = 0;
            }
            _ => {}
        }
        Ok(())
    }

    /// The start of an entry of the section.
    pub(super) fn entry(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let limits = self.limits;
        match self.section {
            1 => return self.type_head(cursor),
            2 => {
                // The names are looked up in the module's bytes when it is linked.
                self.info.import_offset = start;
                self.state = State::NameLength(After::ImportField);
                return Ok(());
            }
            3 => {
                let ty = cursor.u32()?;
                self.add_function(ty).map_err(|kind| kind.at(start))?;
            }
            4 => {
                let table = table_type(cursor)?;
                if table.min > limits.table_elements {
                    return Err(ErrorKind::Limit(Reason::ElementsOfATable).at(start).into());
                }
                push(&mut self.info.tables, table, limits.tables, Reason::Tables)
                    .map_err(|kind| kind.at(start))?;
            }
            5 => {
                let memory = memory_type(cursor)?;
                if u64::from(memory.min) << memory.page_log2 > u64::from(limits.pages) << 16 {
                    return Err(ErrorKind::Limit(Reason::PagesOfMemory).at(start).into());
                }
                self.add_memory(memory).map_err(|kind| kind.at(start))?;
            }
            6 => {
                let global = global_type(cursor)?;
                push(&mut self.info.globals, global, limits.globals, Reason::Globals)
                    .map_err(|kind| kind.at(start))?;
                self.state = State::GlobalValue;
                return Ok(());
            }
            7 => {
                self.state = State::NameLength(After::ExportDescription);
                return Ok(());
            }
            8 => {
                let function = cursor.u32()?;
                let types = &self.info.types;
                let ty = self
                    .functions
                    .get(function as usize)
                    .and_then(|ty| types.get(u32::from(*ty)));
                let ty = ty.ok_or(ErrorKind::Invalid(Reason::UnknownFunction).at(start))?;
                if !types.params(ty).is_empty() || !types.results(ty).is_empty() {
                    return Err(ErrorKind::Invalid(Reason::TypeOfTheStartFunction)
                        .at(start)
                        .into());
                }
                self.info.start = Some(function);
            }
            9 => return self.element_head(cursor),
            10 => return self.body(cursor),
            11 => return self.data_head(cursor),
            _ => {}
        }
        self.left -= 1;
        Ok(())
    }

    /// Ends an entry that took several steps.
    fn entry_done(&mut self) {
        self.state = State::Entry;
        self.left -= 1;
    }

    fn type_head(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        match cursor.byte()? {
            0x60 => {}
            0x4e..=0x50 | 0x5e | 0x5f => {
                return Err(ErrorKind::Unsupported(Proposal::GarbageCollection)
                    .at(start)
                    .into());
            }
            _ => return Err(ErrorKind::Malformed(Reason::FunctionType).at(start).into()),
        }
        if self.info.types.len() >= self.limits.types.min(u32::from(u16::MAX)) as usize {
            return Err(ErrorKind::Limit(Reason::Types).at(start).into());
        }
        let params = cursor.u32()?;
        if !Types::fits(params) {
            return Err(ErrorKind::Limit(Reason::ParametersOrResultsOfAType)
                .at(start)
                .into());
        }
        self.state = State::TypeParams { left: params, params };
        self.skip_empty_list();
        Ok(())
    }

    pub(super) fn function_type(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        if let State::TypeResultCount { params } = self.state {
            let results = cursor.u32()?;
            if !Types::fits(results) {
                return Err(ErrorKind::Limit(Reason::ParametersOrResultsOfAType)
                    .at(start)
                    .into());
            }
            self.state = State::TypeResults {
                left: results,
                params,
                results,
            };
        } else {
            let value = value_type(cursor)?;
            self.info.types.push_value(value).map_err(|kind| kind.at(start))?;
            match &mut self.state {
                State::TypeParams { left, .. } | State::TypeResults { left, .. } => *left -= 1,
                _ => {}
            }
        }
        self.skip_empty_list();
        if let State::TypeResults {
            left: 0,
            params,
            results,
        } = self.state
        {
            self.info
                .types
                .finish(params, results)
                .map_err(|kind| kind.at(start))?;
            self.entry_done();
        }
        Ok(())
    }

    fn skip_empty_list(&mut self) {
        if let State::TypeParams { left: 0, params } = self.state {
            self.state = State::TypeResultCount { params };
        }
    }

    fn add_function(&mut self, ty: u32) -> Result<(), ErrorKind> {
        if self.info.types.get(ty).is_none() {
            return Err(ErrorKind::Invalid(Reason::UnknownType));
        }
        let limit = self.limits.functions.min(Limits::MAX_FUNCTIONS);
        push(&mut self.functions, ty as u16, limit, Reason::Functions)
    }

    fn add_memory(&mut self, memory: MemoryType) -> Result<(), ErrorKind> {
        if self.info.memory.replace(memory).is_some() {
            return Err(ErrorKind::Unsupported(Proposal::MultiMemory));
        }
        Ok(())
    }

    pub(super) fn import_description(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let kind = match cursor.byte()? {
            0 => {
                let ty = cursor.u32()?;
                self.add_function(ty).map_err(|kind| kind.at(start))?;
                self.info.imported_functions += 1;
                ImportKind::Function(ty as u16)
            }
            1 => {
                let table = table_type(cursor)?;
                push(&mut self.info.tables, table, self.limits.tables, Reason::Tables)
                    .map_err(|kind| kind.at(start))?;
                self.info.imported_tables += 1;
                ImportKind::Table(table)
            }
            2 => {
                let memory = memory_type(cursor)?;
                self.add_memory(memory).map_err(|kind| kind.at(start))?;
                self.info.memory_imported = true;
                ImportKind::Memory(memory)
            }
            3 => {
                let global = global_type(cursor)?;
                push(
                    &mut self.info.globals,
                    global,
                    self.limits.globals,
                    Reason::Globals,
                )
                .map_err(|kind| kind.at(start))?;
                self.info.imported_globals += 1;
                ImportKind::Global(global)
            }
            4 => {
                return Err(ErrorKind::Unsupported(Proposal::ExceptionHandling)
                    .at(start)
                    .into());
            }
            _ => return Err(ErrorKind::Malformed(Reason::KindOfAnImport).at(start).into()),
        };
        let import = Import {
            name: self.info.import_offset,
            kind,
        };
        push(
            &mut self.info.imports,
            import,
            self.limits.imports,
            Reason::Imports,
        )
        .map_err(|kind| kind.at(start))?;
        self.entry_done();
        Ok(())
    }

    pub(super) fn export_description(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let kind = cursor.byte()?;
        let index = cursor.u32()?;
        let exists = match kind {
            0 => (index as usize) < self.functions.len(),
            1 => (index as usize) < self.info.tables.len(),
            2 => index == 0 && self.info.memory.is_some(),
            3 => (index as usize) < self.info.globals.len(),
            4 => {
                return Err(ErrorKind::Unsupported(Proposal::ExceptionHandling)
                    .at(start)
                    .into());
            }
            _ => return Err(ErrorKind::Malformed(Reason::KindOfAnExport).at(start).into()),
        };
        if !exists {
            return Err(ErrorKind::Invalid(Reason::UnknownExport).at(start).into());
        }
        if kind == 0 {
            self.declare(index);
        }
        // Two names with one hash would be refused too: no module in practice has them, and one that is made for it harms
        // only itself.
        match self.export_names.binary_search(&self.name_hash) {
            Ok(_) => return Err(ErrorKind::Invalid(Reason::DuplicateExport).at(start).into()),
            Err(place) => {
                if self.export_names.len() >= self.limits.exports as usize {
                    return Err(ErrorKind::Limit(Reason::Exports).at(start).into());
                }
                self.export_names.insert(place, self.name_hash);
            }
        }
        self.entry_done();
        Ok(())
    }

    /// Lets `ref.func` name a function, which exists.
    fn declare(&mut self, function: u32) {
        let word = function as usize / 32;
        if self.declared.len() <= word {
            self.declared.resize(word + 1, 0);
        }
        self.declared[word] |= 1 << (function % 32);
    }

    pub(super) fn global_value(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let Some(global) = self.info.globals.last().copied() else {
            return Ok(());
        };
        self.constant(cursor, global.value)?;
        self.info.global_values.push(start);
        self.entry_done();
        Ok(())
    }

    /// A constant expression with its `end`.
    fn constant(&mut self, cursor: &mut Cursor<'_>, expected: ValueType) -> Step<()> {
        let instruction = Instruction::read(cursor)?;
        let fail = |kind: ErrorKind| Err(kind.at(instruction.offset).into());
        let found = match instruction.opcode {
            op::I32_CONST => ValueType::I32,
            op::I64_CONST => ValueType::I64,
            op::F32_CONST => ValueType::F32,
            op::F64_CONST => ValueType::F64,
            op::REF_NULL => instruction.value,
            op::REF_FUNC => {
                if instruction.a as usize >= self.functions.len() {
                    return fail(ErrorKind::Invalid(Reason::UnknownFunction));
                }
                ValueType::FuncRef
            }
            op::GLOBAL_GET => match self.info.globals.get(instruction.a as usize) {
                Some(global) if instruction.a < self.info.imported_globals && !global.mutable => global.value,
                _ => return fail(ErrorKind::Invalid(Reason::GlobalOfAConstantExpression)),
            },
            _ => return fail(ErrorKind::Invalid(Reason::ConstantExpressionRequired)),
        };
        if found != expected {
            return fail(ErrorKind::Invalid(Reason::TypeMismatch));
        }
        let end = cursor.offset();
        match cursor.byte()? {
            0x0b => {}
            0x6a..=0x6c | 0x7c..=0x7e | 0x23 | 0x41 | 0x42 => {
                return Err(ErrorKind::Unsupported(Proposal::ExtendedConst).at(end).into());
            }
            _ => {
                return Err(ErrorKind::Invalid(Reason::ConstantExpressionRequired)
                    .at(end)
                    .into());
            }
        }
        if instruction.opcode == op::REF_FUNC {
            self.declare(instruction.a);
        }
        Ok(())
    }

    fn element_head(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let flags = cursor.u32()?;
        if flags > 7 {
            return Err(ErrorKind::Malformed(Reason::FlagsOfAnElementSegment)
                .at(start)
                .into());
        }
        let mode = match flags & 3 {
            0 => ElementMode::Active { table: 0, offset: 0 },
            2 => ElementMode::Active {
                table: cursor.u32()?,
                offset: 0,
            },
            1 => ElementMode::Passive,
            _ => ElementMode::Declarative,
        };
        if let ElementMode::Active { table, .. } = mode
            && table as usize >= self.info.tables.len()
        {
            return Err(ErrorKind::Invalid(Reason::UnknownTable).at(start).into());
        }
        let segment = ElementSegment {
            mode,
            items: 0,
            count: 0,
            expressions: flags & 4 != 0,
            element: ValueType::FuncRef,
        };
        push(
            &mut self.info.elements,
            segment,
            self.limits.elements,
            Reason::ElementSegments,
        )
        .map_err(|kind| kind.at(start))?;
        self.element_flags = flags;
        self.state = if flags & 1 == 0 {
            State::ElementOffset
        } else {
            State::ElementCount
        };
        Ok(())
    }

    pub(super) fn element_offset(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        self.constant(cursor, ValueType::I32)?;
        if let Some(segment) = self.info.elements.last_mut()
            && let ElementMode::Active { offset, .. } = &mut segment.mode
        {
            *offset = start;
        }
        self.state = State::ElementCount;
        Ok(())
    }

    pub(super) fn element_count(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let mut element = ValueType::FuncRef;
        if self.element_flags & 3 != 0 {
            if self.element_flags & 4 != 0 {
                element = reference_type(cursor)?;
            } else if cursor.byte()? != 0 {
                return Err(ErrorKind::Malformed(Reason::KindOfAnElementSegment)
                    .at(start)
                    .into());
            }
        }
        let count = cursor.u32()?;
        let Some(segment) = self.info.elements.last_mut() else {
            return Ok(());
        };
        if let ElementMode::Active { table, .. } = segment.mode
            && self
                .info
                .tables
                .get(table as usize)
                .is_none_or(|table| table.element != element)
        {
            return Err(ErrorKind::Invalid(Reason::TypeOfAnElementSegment)
                .at(start)
                .into());
        }
        segment.element = element;
        segment.count = count;
        segment.items = cursor.offset();
        self.state = State::ElementItem { left: count };
        if count == 0 {
            self.entry_done();
        }
        Ok(())
    }

    pub(super) fn element_item(&mut self, cursor: &mut Cursor<'_>, left: u32) -> Step<()> {
        let start = cursor.offset();
        let Some(segment) = self.info.elements.last() else {
            return Ok(());
        };
        if segment.expressions {
            let element = segment.element;
            self.constant(cursor, element)?;
        } else {
            let function = cursor.u32()?;
            if function as usize >= self.functions.len() {
                return Err(ErrorKind::Invalid(Reason::UnknownFunction).at(start).into());
            }
            self.declare(function);
        }
        self.state = State::ElementItem { left: left - 1 };
        if left == 1 {
            self.entry_done();
        }
        Ok(())
    }

    fn data_head(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        let flags = cursor.u32()?;
        let memory = match flags {
            0 | 1 => 0,
            2 => cursor.u32()?,
            _ => return Err(ErrorKind::Malformed(Reason::FlagsOfADataSegment).at(start).into()),
        };
        let active = flags != 1;
        if active && (memory > 0 || self.info.memory.is_none()) {
            return Err(ErrorKind::Invalid(Reason::UnknownMemory).at(start).into());
        }
        let segment = DataSegment {
            offset: None,
            start: 0,
            length: 0,
        };
        push(
            &mut self.info.data,
            segment,
            self.limits.data,
            Reason::DataSegments,
        )
        .map_err(|kind| kind.at(start))?;
        self.state = if active {
            State::DataOffset
        } else {
            State::DataLength
        };
        Ok(())
    }

    pub(super) fn data_offset(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let start = cursor.offset();
        self.constant(cursor, ValueType::I32)?;
        if let Some(segment) = self.info.data.last_mut() {
            segment.offset = Some(start);
        }
        self.state = State::DataLength;
        Ok(())
    }

    pub(super) fn data_length(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let length = cursor.u32()?;
        let start = cursor.offset();
        if length > self.section_end - start {
            return cursor.fail(ErrorKind::Malformed(Reason::UnexpectedEnd));
        }
        let Some(segment) = self.info.data.last_mut() else {
            return Ok(());
        };
        segment.start = start;
        segment.length = length;
        self.state = State::DataBytes;
        if length == 0 {
            self.entry_done();
        }
        Ok(())
    }

    pub(super) fn data_bytes(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let Some(&segment) = self.info.data.last() else {
            return Ok(());
        };
        let end = segment.start + segment.length;
        if cursor.take(end - cursor.offset()).is_empty() {
            cursor.byte()?;
        }
        if cursor.offset() == end {
            self.entry_done();
        }
        Ok(())
    }
}

fn reference_type(cursor: &mut Cursor<'_>) -> Step<ValueType> {
    let start = cursor.offset();
    let value = value_type(cursor)?;
    if !value.is_reference() {
        return Err(ErrorKind::Malformed(Reason::ReferenceType).at(start).into());
    }
    Ok(value)
}

/// Flags of limits: bit 0 maximum, 1 shared, 2 64-bit addresses, 3 page size.
fn limits(cursor: &mut Cursor<'_>, flags: u8) -> Step<(u32, Option<u32>)> {
    let min = cursor.u32()?;
    let max = if flags & 1 != 0 { Some(cursor.u32()?) } else { None };
    if max.is_some_and(|max| max < min) {
        return cursor.fail(ErrorKind::Invalid(Reason::MinimumExceedsMaximum));
    }
    Ok((min, max))
}

fn flags(cursor: &mut Cursor<'_>, allowed: u8) -> Step<u8> {
    let start = cursor.offset();
    let flags = cursor.byte()?;
    let kind = match flags & !allowed {
        0 => return Ok(flags),
        excess if excess & 0xf0 != 0 => ErrorKind::Malformed(Reason::FlagsOfLimits),
        excess if excess & 2 != 0 => ErrorKind::Unsupported(Proposal::Threads),
        excess if excess & 4 != 0 => ErrorKind::Unsupported(Proposal::Memory64),
        _ => ErrorKind::Malformed(Reason::FlagsOfLimits),
    };
    Err(kind.at(start).into())
}

fn table_type(cursor: &mut Cursor<'_>) -> Step<TableType> {
    let start = cursor.offset();
    let mut ahead = *cursor;
    if ahead.byte()? == 0x40 {
        return Err(ErrorKind::Unsupported(Proposal::FunctionReferences)
            .at(start)
            .into());
    }
    let element = reference_type(cursor)?;
    let flags = flags(cursor, 1)?;
    let (min, max) = limits(cursor, flags)?;
    Ok(TableType { element, min, max })
}

fn memory_type(cursor: &mut Cursor<'_>) -> Step<MemoryType> {
    let start = cursor.offset();
    let flags = flags(cursor, 0b1001)?;
    let (min, max) = limits(cursor, flags)?;
    let page_log2 = if flags & 8 != 0 { cursor.u32()? } else { 16 };
    if page_log2 != 0 && page_log2 != 16 {
        return Err(ErrorKind::Invalid(Reason::PageSize).at(start).into());
    }
    if page_log2 == 16 && min.max(max.unwrap_or(0)) > 1 << 16 {
        return Err(ErrorKind::Invalid(Reason::SizeOfAMemory).at(start).into());
    }
    Ok(MemoryType {
        min,
        max,
        page_log2: page_log2 as u8,
    })
}

fn global_type(cursor: &mut Cursor<'_>) -> Step<GlobalType> {
    let value = value_type(cursor)?;
    let start = cursor.offset();
    let mutable = match cursor.byte()? {
        0 => false,
        1 => true,
        2 | 3 => return Err(ErrorKind::Unsupported(Proposal::Threads).at(start).into()),
        _ => return Err(ErrorKind::Malformed(Reason::Mutability).at(start).into()),
    };
    Ok(GlobalType { value, mutable })
}
