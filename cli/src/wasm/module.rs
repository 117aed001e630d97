//! Reading a module, and what a validator sees of it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use picolet_linux::files;
use picolet_wasm::{
    Branch, Emitter, ErrorKind, FunctionHead, Instruction, Limits, Module, SideTable, Site, Validator,
};

/// Bytes of the largest module that the engine takes.
const LARGEST: u64 = 16 << 20;

/// A module and what it takes.
pub(crate) struct Read {
    pub(crate) bytes: Vec<u8>,
    pub(crate) module: Module,
    /// Bytes of the table of its branches, which lies beside it in flash.
    pub(crate) side_table: usize,
    /// Instructions that can be reached, and those of them that use floating point.
    pub(crate) instructions: u32,
    pub(crate) floats: u32,
    pub(crate) functions: u32,
}

/// Reads and validates a module.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Read> {
    let bytes =
        files::read_prefix(path, LARGEST + 1).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= LARGEST,
        "{}: modules have at most 16 MiB",
        path.display()
    );
    let name = path.display();
    let mut words = Vec::new();
    let mut count = Count {
        table: SideTable::new(&mut words, limits),
        instructions: 0,
        floats: 0,
        functions: 0,
    };
    let mut validator = Validator::new(limits, &mut count);
    let result = validator.push(&bytes).and_then(|()| validator.end());
    if let Err(error) = result {
        bail!("{name}: {error}");
    }
    let Count {
        instructions,
        floats,
        functions,
        ..
    } = count;
    let side_table = words.len() * size_of::<u32>();
    let module = Module::load(&bytes, limits).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    Ok(Read {
        bytes,
        module,
        side_table,
        instructions,
        floats,
        functions,
    })
}

/// Counts what it hands on.
struct Count<'e> {
    table: SideTable<'e>,
    instructions: u32,
    floats: u32,
    functions: u32,
}

impl Emitter for Count<'_> {
    fn start(&mut self, functions: u32) -> Result<(), ErrorKind> {
        self.functions = functions;
        self.table.start(functions)
    }

    fn function(&mut self, function: &FunctionHead<'_>) -> Result<(), ErrorKind> {
        self.table.function(function)
    }

    fn instruction(&mut self, instruction: &Instruction, site: &Site) -> Result<(), ErrorKind> {
        self.instructions += 1;
        self.floats += u32::from(is_float(instruction.opcode));
        self.table.instruction(instruction, site)
    }

    fn branch(&mut self, branch: &Branch) -> Result<(), ErrorKind> {
        self.table.branch(branch)
    }

    fn finish(&mut self, end: u32, operand_slots: u32) -> Result<(), ErrorKind> {
        self.table.finish(end, operand_slots)
    }
}

/// Whether an instruction computes with floating-point numbers; loads, stores and constants of them do not.
const fn is_float(opcode: u16) -> bool {
    matches!(opcode, 0x5b..=0x66 | 0x8b..=0xa6 | 0xa8..=0xab | 0xae..=0xbb | 0xfc00..=0xfc07)
}

/// A section of a module.
pub(crate) struct Section<'m> {
    pub(crate) name: &'m str,
    pub(crate) bytes: usize,
}

const NAMES: [&str; 13] = [
    "custom",
    "type",
    "import",
    "function",
    "table",
    "memory",
    "global",
    "export",
    "start",
    "element",
    "code",
    "data",
    "data count",
];

/// The sections of a module that is valid.
pub(crate) fn sections(bytes: &[u8]) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((id, after)) = rest.split_first() {
        let Some((length, after)) = unsigned(after) else {
            break;
        };
        let Some(content) = after.get(..length) else { break };
        rest = after.get(length..).unwrap_or_default();
        let mut name = NAMES.get(usize::from(*id)).copied().unwrap_or("unknown");
        if *id == 0
            && let Some((length, after)) = unsigned(content)
            && let Some(text) = after.get(..length).and_then(|text| str::from_utf8(text).ok())
        {
            name = text;
        }
        sections.push(Section { name, bytes: length });
    }
    sections
}

/// An unsigned LEB128 of 32 bits.
fn unsigned(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, bytes.get(index + 1..)?));
        }
    }
    None
}
