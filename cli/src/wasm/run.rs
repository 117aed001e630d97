//! `picolet wasm run`, and running a module for its figures.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use picolet_kube::Quantity;
use picolet_linux::client::printable;
use picolet_wasi::engine::{Program, StartError, Step};
use picolet_wasi::files::{FileLimits, FileSystem, ImageFile, NodeId, Owner, Quota};
use picolet_wasi::{Absent, Errno, Host, Limits, Strings, Wasi};
use picolet_wasm::{Arena, InstantiateError, Module, StoreLimits};

use super::machine::{HostFile, Machine};
use super::{device, module, variable};

/// Exit codes: out of fuel as of timeout(1), a trap as of SIGABRT, out of memory as of SIGKILL.
const OUT_OF_FUEL: u8 = 124;
const TRAPPED: u8 = 134;
const KILLED: u8 = 137;

/// Fuel of a slice.
const SLICE: i32 = 1_000_000;

/// Run a module with the engine and the WASI that pods get.
#[derive(Args)]
#[command(after_help = "\
Examples:
  picolet wasm run hello.wasm
  picolet wasm run --memory 32Ki --env LANG=C app.wasm --verbose
  picolet wasm run --dir . crc.wasm /README.md
  picolet wasm run --device --lm75 21.5 thermometer.wasm")]
pub(crate) struct Arguments {
    /// An environment variable, NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// A folder whose files the module sees, as its root or at PATH. What it changes stays in its memory.
    #[arg(long, value_name = "FOLDER[:PATH]", value_parser = folder)]
    dir: Vec<(PathBuf, String)>,
    /// Let the module change nothing.
    #[arg(long)]
    read_only: bool,
    /// Memory that the module may take, as the memory limit of a container, and as much again for its files.
    #[arg(long, value_name = "QUANTITY", default_value = "16Mi", value_parser = memory)]
    memory: u32,
    /// Branches and calls after which the module is ended. [default: no limit]
    #[arg(long, value_name = "N")]
    fuel: Option<u64>,
    #[command(flatten)]
    device: device::Options,
    /// The module.
    #[arg(value_name = "MODULE")]
    module: PathBuf,
    /// Arguments of the module.
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn folder(text: &str) -> Result<(PathBuf, String), String> {
    let (folder, path) = text.rsplit_once(':').unwrap_or((text, "/"));
    if !path.starts_with('/') {
        return Err("PATH must start with a slash".into());
    }
    Ok((folder.into(), path.to_owned()))
}

fn memory(text: &str) -> Result<u32, String> {
    let bytes = Quantity::parse(text).map_err(|error| error.to_string())?.value();
    let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes >= 1_024);
    bytes.ok_or_else(|| "not between 1Ki and 4Gi".into())
}

/// What a module is given.
pub(crate) struct Setup {
    pub(crate) files: FileSystem,
    pub(crate) root: NodeId,
    pub(crate) read_only: bool,
    pub(crate) arguments: Strings,
    pub(crate) environment: Strings,
    pub(crate) limits: Limits,
    /// Bytes.
    pub(crate) memory: u32,
}

impl Setup {
    /// No files, and nothing but the name of a program.
    pub(crate) fn new(limits: Limits, files: FileLimits, memory: u32) -> Result<Self> {
        let mut files = FileSystem::new(files, Rc::new(Quota::new(memory)));
        let root = files.add_root(true, 0o755, Owner::default()).map_err(no_room)?;
        files.add_devices(root).map_err(no_room)?;
        Ok(Self {
            files,
            root,
            read_only: false,
            arguments: Strings::new(),
            environment: Strings::new(),
            limits,
            memory,
        })
    }

    /// Makes the module ready to run.
    pub(crate) fn start(self, module: Module) -> Result<Program> {
        let files = Rc::new(RefCell::new(self.files));
        let wasi = Wasi::new(files, self.root, self.read_only, Owner::default(), self.limits);
        let mut wasi = wasi.map_err(no_room)?;
        wasi.set_strings(Rc::new(self.arguments), Rc::new(self.environment));
        let frames = self.memory / picolet_wasm::FRAME_BYTES;
        let limits = StoreLimits {
            frames,
            table_elements: 1 << 20,
            stack: 64 * 1_024,
            ..StoreLimits::default()
        };
        let module = Rc::new(module);
        Program::new(module.clone(), &Arena::on_heap(frames), limits, wasi)
            .map_err(|error| anyhow!(explain(&module, error)))
    }
}

/// Why a module cannot start, by the names of what it imports.
pub(crate) fn explain(module: &Module, error: StartError) -> String {
    match error {
        StartError::Instantiate(InstantiateError::UnknownImport(index)) => {
            let (from, name) = module.import_names(index).unwrap_or_default();
            format!(
                "unknown import {}.{}: {}",
                printable(from),
                printable(name),
                remedy(from)
            )
        }
        error => error.to_string(),
    }
}

/// What to do about an import that is not there.
fn remedy(module: &str) -> &'static str {
    match module {
        "wasi_unstable" => "build for wasm32-wasip1",
        "env" => "build for wasm32-wasip1; with AssemblyScript, use @assemblyscript/wasi-shim",
        _ => "only wasi_snapshot_preview1 and picolet can be imported from",
    }
}

fn no_room(errno: Errno) -> anyhow::Error {
    anyhow!("no room for its files and arguments ({errno:?}): raise --memory")
}

/// The host of a module on this machine, which has no device.
pub(crate) fn host(machine: &Machine) -> Host<'_> {
    Host {
        clock: machine,
        entropy: machine,
        output: machine,
        input: machine,
        sockets: &Absent,
        signals: &Absent,
        device: None,
    }
}

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let read = module::read(&arguments.module, &picolet_wasm::Limits::LARGE)?;
    let mut setup = Setup::new(Limits::COMPUTER, FileLimits::COMPUTER, arguments.memory)?;
    setup.read_only = arguments.read_only;
    for (folder, path) in &arguments.dir {
        add_folder(&mut setup.files, setup.root, folder, path)?;
    }
    let name = arguments.module.file_name().unwrap_or_default().to_string_lossy();
    setup.arguments.push(&name).map_err(no_room)?;
    for argument in &arguments.arguments {
        setup.arguments.push(argument).map_err(no_room)?;
    }
    for (name, value) in &arguments.env {
        setup.environment.push_variable(name, value).map_err(no_room)?;
    }
    let mut program = setup.start(read.module)?;
    let machine = Machine::with_streams();
    let simulated = arguments.device.device();
    let device = simulated.as_ref().map(device::Simulated::as_device);
    let host = Host {
        device: device.as_ref(),
        ..host(&machine)
    };
    let mut left = arguments.fuel.unwrap_or(u64::MAX);
    loop {
        let slice = i32::try_from(left).unwrap_or(i32::MAX).min(SLICE);
        let mut fuel = slice;
        let step = program.run(&mut fuel, &host);
        left = left.saturating_sub(u64::try_from(i64::from(slice) - i64::from(fuel)).unwrap_or(0));
        match step {
            Step::Waiting(wait) => machine.wait(wait),
            Step::OutOfFuel if left > 0 => {}
            end => {
                program.stop(0, &host);
                return Ok(report(&end));
            }
        }
    }
}

/// The exit code of a module that has ended, and why on standard error.
fn report(end: &Step) -> ExitCode {
    ExitCode::from(match end {
        // As the kernel does.
        Step::Exited(code) => *code as u8,
        Step::Trapped(trap) => {
            eprintln!(
                "trap: {} in function {} at byte {}",
                trap.kind.message(),
                trap.function,
                trap.offset
            );
            TRAPPED
        }
        Step::OutOfMemory => {
            eprintln!("out of memory: raise --memory");
            KILLED
        }
        Step::OutOfFuel | Step::Waiting(_) => {
            eprintln!("out of fuel: raise --fuel");
            OUT_OF_FUEL
        }
    })
}

/// Folders in folders that are followed.
const DEEPEST: usize = 32;

/// Adds the files of a folder of this machine. Symbolic links become links of the image, which cannot lead out of it.
fn add_folder(files: &mut FileSystem, root: NodeId, folder: &Path, path: &str) -> Result<()> {
    let mut folders = vec![(folder.to_owned(), path.trim_end_matches('/').to_owned(), 0)];
    while let Some((folder, path, depth)) = folders.pop() {
        ensure!(depth < DEEPEST, "{} is too deep", folder.display());
        let cannot = || format!("cannot read {}", folder.display());
        files.add_directory(root, &path, 0o755).map_err(no_room)?;
        for entry in fs::read_dir(&folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            let Ok(name) = entry.file_name().into_string() else {
                bail!("{}: a name in it is not UTF-8", folder.display());
            };
            let (from, to) = (entry.path(), format!("{path}/{name}"));
            let kind = entry.file_type().with_context(cannot)?;
            if kind.is_dir() {
                folders.push((from, to, depth + 1));
            } else if kind.is_symlink() {
                let target = fs::read_link(&from).with_context(cannot)?;
                let target = target.to_string_lossy();
                files.add_link(root, &to, &target).map_err(no_room)?;
            } else if kind.is_file() {
                add_file(files, root, &from, &to)?;
            }
        }
    }
    Ok(())
}

fn add_file(files: &mut FileSystem, root: NodeId, from: &Path, to: &str) -> Result<()> {
    let file = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let length = u32::try_from(length).with_context(|| format!("{} is larger than 4 GiB", from.display()))?;
    let source = files.add_source(Rc::new(HostFile(file)));
    let source = source.map_err(|_| anyhow!("more than 255 files in the folders of --dir"))?;
    let part = ImageFile {
        source,
        offset: 0,
        length,
    };
    files.add_image_file(root, to, part, 0o644).map_err(no_room)?;
    Ok(())
}
