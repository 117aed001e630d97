//! The program that is run, and calls into it.

use crate::processor::{FLASH, Processor, RAM};
use anyhow::{Context, bail, ensure};
use object::{Object, ObjectSegment, ObjectSymbol};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a call's input lies; its output follows at [`OUTPUT`].
const INPUT: u32 = RAM.0 + 0x2_8000;
const OUTPUT: u32 = INPUT + 0x1000;
/// The stack's top: the end of RAM.
const STACK: u32 = RAM.0 + RAM.1 as u32;
/// How far below its top the stack is watched.
const STACK_WATCHED: u32 = 32 * 1024;
/// Enough for the slowest operation of RustCrypto.
const LIMIT: u64 = 1_000_000_000;

/// A program for thumbv6m, linked.
pub struct Image {
    segments: Vec<(u32, Vec<u8>)>,
    functions: HashMap<String, u32>,
    sizes: BTreeMap<String, u64>,
}

/// What a call cost and gave.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Instructions executed.
    pub instructions: u64,
    /// Cycles by the Cortex-M0+'s table.
    pub cycles: u64,
    /// Bytes of stack.
    pub stack: u32,
    /// The hash of all addresses fetched, loaded and stored, in their order.
    pub trace: u64,
    /// What the function wrote.
    pub output: Vec<u8>,
    /// The stack below the function's caller, as the call left it; what it did not touch holds [`Measured::PAINT`].
    pub left_on_stack: Vec<u8>,
}

impl Measured {
    /// What untouched stack holds.
    pub const PAINT: u8 = 0xa5;
}

impl Image {
    /// Builds `image/` for thumbv6m with `-Os` and these features, and reads it.
    ///
    /// # Errors
    /// If cargo fails, or what it made is not understood.
    pub fn build(features: &[&str]) -> anyhow::Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("image");
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/ec-trace");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let target = target.join(if features.is_empty() {
            "default".into()
        } else {
            features.join("-")
        });
        cargo
            .current_dir(&directory)
            .args(["build", "--quiet", "--release", "--target", "thumbv6m-none-eabi"])
            .arg("--target-dir")
            .arg(&target)
            .args(["--features", &features.join(",")]);
        // The image's settings are its own, not those of the build that this runs in.
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_DIR",
        ] {
            cargo.env_remove(name);
        }
        ensure!(
            cargo.status().context("cannot run cargo")?.success(),
            "the image does not build"
        );
        let path: PathBuf = target.join("thumbv6m-none-eabi/release/picolet-ec-image");
        Self::from_elf(&std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?)
    }

    /// Reads a linked program for thumbv6m with flash at 0x1000_0000 and RAM at 0x2000_0000.
    ///
    /// # Errors
    /// If it is no ELF file, or holds nothing to load.
    pub fn from_elf(elf: &[u8]) -> anyhow::Result<Self> {
        let file = object::File::parse(elf)?;
        let mut segments = Vec::new();
        for segment in file.segments() {
            let data = segment.data()?.to_vec();
            let address = u32::try_from(segment.address())?;
            if !data.is_empty() && (address >= RAM.0 || address >= FLASH.0) {
                segments.push((address, data));
            }
        }
        let mut functions = HashMap::new();
        let mut sizes = BTreeMap::new();
        for symbol in file.symbols() {
            let name = symbol.name()?;
            functions.insert(name.to_owned(), symbol.address() as u32);
            if symbol.size() > 0 && (FLASH.0..RAM.0).contains(&(symbol.address() as u32)) {
                *sizes.entry(name.to_owned()).or_default() += symbol.size();
            }
        }
        let image = Image {
            segments,
            functions,
            sizes,
        };
        ensure!(!image.segments.is_empty(), "the image has nothing to load");
        Ok(image)
    }

    /// Bytes of code and constants that the image puts into flash.
    pub fn flash_size(&self) -> usize {
        self.segments.iter().map(|(_, data)| data.len()).sum()
    }

    /// Whether the image has this function.
    pub fn has(&self, function: &str) -> bool {
        self.functions.contains_key(function)
    }

    /// Every symbol in flash that has a size.
    pub fn symbol_sizes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.sizes.iter().map(|(name, size)| (name.as_str(), *size))
    }

    /// A processor with this image loaded.
    pub fn machine(&self) -> Machine {
        let mut processor = Processor::new();
        for (address, data) in &self.segments {
            if let Some(memory) = processor
                .memory(*address)
                .and_then(|memory| memory.get_mut(..data.len()))
            {
                memory.copy_from_slice(data);
            }
        }
        Machine {
            functions: self.functions.clone(),
            processor,
        }
    }
}

/// An image in memory. What a function keeps in statics stays from call to call.
pub struct Machine {
    functions: HashMap<String, u32>,
    processor: Processor,
}

impl Machine {
    /// Calls `name(input: *const u8, output: *mut u8)`, an operation of the image.
    ///
    /// # Errors
    /// If there is no such function, or it faults (a panic is a fault).
    pub fn call(&mut self, name: &str, input: &[u8], output_length: usize) -> anyhow::Result<Measured> {
        self.write(INPUT, input)?;
        self.write(OUTPUT, &vec![0; output_length])?;
        self.call_with(name, &[INPUT, OUTPUT], output_length)
    }

    /// Calls one of the assembly's functions: output, then up to two operands.
    ///
    /// # Errors
    /// As [`Machine::call`].
    pub fn call_assembly(
        &mut self,
        name: &str,
        operands: &[&[u32]],
        output_words: usize,
    ) -> anyhow::Result<Vec<u32>> {
        let mut arguments = vec![OUTPUT];
        let mut address = INPUT;
        for operand in operands {
            arguments.push(address);
            let bytes: Vec<u8> = operand.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.write(address, &bytes)?;
            address += bytes.len() as u32;
        }
        let function = self.function(name)?;
        self.processor.call(function, &arguments, STACK, LIMIT)?;
        let bytes = self.read(OUTPUT, 4 * output_words)?;
        Ok(bytes
            .as_chunks()
            .0
            .iter()
            .map(|word| u32::from_le_bytes(*word))
            .collect())
    }

    fn call_with(&mut self, name: &str, arguments: &[u32], output_length: usize) -> anyhow::Result<Measured> {
        let function = self.function(name)?;
        self.write(STACK - STACK_WATCHED, &[Measured::PAINT; STACK_WATCHED as usize])?;
        self.processor
            .call(function, arguments, STACK, LIMIT)
            .with_context(|| format!("{name} failed"))?;
        let left_on_stack = self.read(STACK - STACK_WATCHED, STACK_WATCHED as usize)?;
        let Processor {
            instructions,
            cycles,
            trace,
            lowest_sp,
            ..
        } = self.processor;
        let output = self.read(OUTPUT, output_length)?;
        Ok(Measured {
            instructions,
            cycles,
            stack: STACK - lowest_sp,
            trace,
            output,
            left_on_stack,
        })
    }

    fn function(&self, name: &str) -> anyhow::Result<u32> {
        self.functions
            .get(name)
            .copied()
            .with_context(|| format!("the image has no function {name}"))
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> anyhow::Result<()> {
        match self
            .processor
            .memory(address)
            .and_then(|memory| memory.get_mut(..bytes.len()))
        {
            Some(memory) => memory.copy_from_slice(bytes),
            None => bail!("no memory for {} bytes at {address:#x}", bytes.len()),
        }
        Ok(())
    }

    fn read(&mut self, address: u32, length: usize) -> anyhow::Result<Vec<u8>> {
        let memory = self
            .processor
            .memory(address)
            .and_then(|memory| memory.get(..length));
        Ok(memory
            .with_context(|| format!("no memory at {address:#x}"))?
            .to_vec())
    }
}
