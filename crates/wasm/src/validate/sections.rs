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
        let count = cursor.u32()?;
        self.left = count;
        self.state = State::Entry;
        match self.section {
            5 if count > 1 => return Err(ErrorKind::Unsupported(Proposal::MultiMemory).into()),
            7 => self.info.exports = (cursor.offset(), count),
            10 => {
                if count != self.functions.len() as u32 - self.info.imported_functions {
                    return Err(ErrorKind::Malformed(Reason::NumberOfFunctionsAndBodies).into());
                }
                self.emitter.start(count)?;
            }
            11 if self.data_count.is_some_and(|announced| announced != count) => {
                return Err(ErrorKind::Malformed(Reason::NumberOfDataSegments).into());
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
                self.add_function(ty)?;
            }
            4 => {
                let table = table_type(cursor)?;
                if table.min > limits.table_elements {
                    return Err(ErrorKind::Limit(Reason::ElementsOfATable).into());
                }
                push(&mut self.info.tables, table, limits.tables, Reason::Tables)?;
            }
            5 => {
                let memory = memory_type(cursor)?;
                if u64::from(memory.min) << memory.page_log2 > u64::from(limits.pages) << 16 {
                    return Err(ErrorKind::Limit(Reason::PagesOfMemory).into());
                }
                self.add_memory(memory)?;
            }
            6 => {
                let global = global_type(cursor)?;
                push(&mut self.info.globals, global, limits.globals, Reason::Globals)?;
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
                let ty = ty.ok_or(ErrorKind::Invalid(Reason::UnknownFunction))?;
                if !types.params(ty).is_empty() || !types.results(ty).is_empty() {
                    return Err(ErrorKind::Invalid(Reason::TypeOfTheStartFunction).into());
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
        match cursor.byte()? {
            0x60 => {}
            0x4e..=0x50 | 0x5e | 0x5f => {
                return Err(ErrorKind::Unsupported(Proposal::GarbageCollection).into());
            }
            _ => return Err(ErrorKind::Malformed(Reason::FunctionType).into()),
        }
        if self.info.types.len() >= self.limits.types.min(u32::from(u16::MAX)) as usize {
            return Err(ErrorKind::Limit(Reason::Types).into());
        }
        let params = cursor.u32()?;
        if !Types::fits(params) {
            return Err(ErrorKind::Limit(Reason::ParametersOrResultsOfAType).into());
        }
        self.state = State::TypeParams { left: params, params };
        self.skip_empty_list();
        Ok(())
    }

    pub(super) fn function_type(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        if let State::TypeResultCount { params } = self.state {
            let results = cursor.u32()?;
            if !Types::fits(results) {
                return Err(ErrorKind::Limit(Reason::ParametersOrResultsOfAType).into());
            }
            self.state = State::TypeResults {
                left: results,
                params,
                results,
            };
        } else {
            let value = value_type(cursor)?;
            self.info.types.push_value(value)?;
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
            self.info.types.finish(params, results)?;
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
        let kind = match cursor.byte()? {
            0 => {
                let ty = cursor.u32()?;
                self.add_function(ty)?;
                self.info.imported_functions += 1;
                ImportKind::Function(ty as u16)
            }
            1 => {
                let table = table_type(cursor)?;
                push(&mut self.info.tables, table, self.limits.tables, Reason::Tables)?;
                self.info.imported_tables += 1;
                ImportKind::Table(table)
            }
            2 => {
                let memory = memory_type(cursor)?;
                self.add_memory(memory)?;
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
                )?;
                self.info.imported_globals += 1;
                ImportKind::Global(global)
            }
            4 => {
                return Err(ErrorKind::Unsupported(Proposal::ExceptionHandling).into());
            }
            _ => return Err(ErrorKind::Malformed(Reason::KindOfAnImport).into()),
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
        )?;
        self.entry_done();
        Ok(())
    }

    pub(super) fn export_description(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let kind = cursor.byte()?;
        let index = cursor.u32()?;
        let exists = match kind {
            0 => (index as usize) < self.functions.len(),
            1 => (index as usize) < self.info.tables.len(),
            2 => index == 0 && self.info.memory.is_some(),
            3 => (index as usize) < self.info.globals.len(),
            4 => {
                return Err(ErrorKind::Unsupported(Proposal::ExceptionHandling).into());
            }
            _ => return Err(ErrorKind::Malformed(Reason::KindOfAnExport).into()),
        };
        if !exists {
            return Err(ErrorKind::Invalid(Reason::UnknownExport).into());
        }
        if kind == 0 {
            self.declare(index);
        }
        // Two names with one hash would be refused too: no module in practice has them, and one that is made for it harms
        // only itself.
        match self.export_names.binary_search(&self.name_hash) {
            Ok(_) => return Err(ErrorKind::Invalid(Reason::DuplicateExport).into()),
            Err(place) => {
                if self.export_names.len() >= self.limits.exports as usize {
                    return Err(ErrorKind::Limit(Reason::Exports).into());
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
        let fail = |kind: ErrorKind| Err(kind.into());
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
        match cursor.byte()? {
            0x0b => {}
            0x6a..=0x6c | 0x7c..=0x7e | 0x23 | 0x41 | 0x42 => {
                return cursor.fail_last(ErrorKind::Unsupported(Proposal::ExtendedConst));
            }
            _ => {
                return cursor.fail_last(ErrorKind::Invalid(Reason::ConstantExpressionRequired));
            }
        }
        if instruction.opcode == op::REF_FUNC {
            self.declare(instruction.a);
        }
        Ok(())
    }

    fn element_head(&mut self, cursor: &mut Cursor<'_>) -> Step<()> {
        let flags = cursor.u32()?;
        if flags > 7 {
            return Err(ErrorKind::Malformed(Reason::FlagsOfAnElementSegment).into());
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
            return Err(ErrorKind::Invalid(Reason::UnknownTable).into());
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
        )?;
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
        let mut element = ValueType::FuncRef;
        if self.element_flags & 3 != 0 {
            if self.element_flags & 4 != 0 {
                element = reference_type(cursor)?;
            } else if cursor.byte()? != 0 {
                return Err(ErrorKind::Malformed(Reason::KindOfAnElementSegment).into());
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
            return Err(ErrorKind::Invalid(Reason::TypeOfAnElementSegment).into());
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
        let Some(segment) = self.info.elements.last() else {
            return Ok(());
        };
        if segment.expressions {
            let element = segment.element;
            self.constant(cursor, element)?;
        } else {
            let function = cursor.u32()?;
            if function as usize >= self.functions.len() {
                return Err(ErrorKind::Invalid(Reason::UnknownFunction).into());
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
        let flags = cursor.u32()?;
        let memory = match flags {
            0 | 1 => 0,
            2 => cursor.u32()?,
            _ => return Err(ErrorKind::Malformed(Reason::FlagsOfADataSegment).into()),
        };
        let active = flags != 1;
        if active && (memory > 0 || self.info.memory.is_none()) {
            return Err(ErrorKind::Invalid(Reason::UnknownMemory).into());
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
        )?;
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
    let value = value_type(cursor)?;
    if !value.is_reference() {
        return cursor.fail_last(ErrorKind::Malformed(Reason::ReferenceType));
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
    let flags = cursor.byte()?;
    let kind = match flags & !allowed {
        0 => return Ok(flags),
        excess if excess & 0xf0 != 0 => ErrorKind::Malformed(Reason::FlagsOfLimits),
        excess if excess & 2 != 0 => ErrorKind::Unsupported(Proposal::Threads),
        excess if excess & 4 != 0 => ErrorKind::Unsupported(Proposal::Memory64),
        _ => ErrorKind::Malformed(Reason::FlagsOfLimits),
    };
    cursor.fail_last(kind)
}

fn table_type(cursor: &mut Cursor<'_>) -> Step<TableType> {
    if cursor.byte()? == 0x40 {
        return cursor.fail_last(ErrorKind::Unsupported(Proposal::FunctionReferences));
    }
    cursor.back();
    let element = reference_type(cursor)?;
    let flags = flags(cursor, 1)?;
    let (min, max) = limits(cursor, flags)?;
    Ok(TableType { element, min, max })
}

fn memory_type(cursor: &mut Cursor<'_>) -> Step<MemoryType> {
    let flags = flags(cursor, 0b1001)?;
    let (min, max) = limits(cursor, flags)?;
    let page_log2 = if flags & 8 != 0 { cursor.u32()? } else { 16 };
    if page_log2 != 0 && page_log2 != 16 {
        return Err(ErrorKind::Invalid(Reason::PageSize).into());
    }
    if page_log2 == 16 && min.max(max.unwrap_or(0)) > 1 << 16 {
        return Err(ErrorKind::Invalid(Reason::SizeOfAMemory).into());
    }
    Ok(MemoryType {
        min,
        max,
        page_log2: page_log2 as u8,
    })
}

fn global_type(cursor: &mut Cursor<'_>) -> Step<GlobalType> {
    let value = value_type(cursor)?;
    let mutable = match cursor.byte()? {
        0 => false,
        1 => true,
        2 | 3 => return cursor.fail_last(ErrorKind::Unsupported(Proposal::Threads)),
        _ => return cursor.fail_last(ErrorKind::Malformed(Reason::Mutability)),
    };
    Ok(GlobalType { value, mutable })
}
