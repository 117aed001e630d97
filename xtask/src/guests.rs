//! `cargo xtask guests`: the WebAssembly modules of `guests/`, each by its own toolchain from a package registry.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use picolet_image::cargo::cargo;

/// Examples in Rust: with the standard library, and without.
const STD: [&str; 4] = ["counter", "crc", "hello", "thermometer"];
const NO_STD: [&str; 2] = ["blink", "hello-small"];

/// The package with the compiler of C and Zig.
const ZIGLANG: &str = "ziglang==0.17.1";

/// What to build.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build only what needs no toolchain but Rust's.
    #[arg(long)]
    only_rust: bool,
    /// Fail where the toolchain of a language cannot be installed, instead of leaving its modules out.
    #[arg(long)]
    require_all: bool,
}

/// A module that was built.
struct Module {
    name: String,
    language: &'static str,
    path: PathBuf,
}

/// Builds all modules and prints their sizes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = crate::workspace().join("target/guests");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut modules = rust(&folder)?;
    let mut missing = Vec::new();
    if !arguments.only_rust {
        for (what, build) in [
            ("C and Zig", c_and_zig as fn(&Path) -> Result<Vec<Module>>),
            ("AssemblyScript", assemblyscript),
        ] {
            match build(&folder) {
                Ok(built) => modules.extend(built),
                Err(error) => missing.push(format!("not built: {what}: {error:#}")),
            }
        }
    }
    println!("{:<22} {:<15} {:>7}", "module", "language", "bytes");
    for module in &modules {
        let size = fs::metadata(&module.path)
            .with_context(|| format!("cannot read {}", module.path.display()))?
            .len();
        println!("{:<22} {:<15} {size:>7}", module.name, module.language);
    }
    missing.iter().for_each(|line| println!("{line}"));
    if arguments.require_all && !missing.is_empty() {
        bail!("{} toolchains are missing", missing.len());
    }
    Ok(())
}

/// Builds the examples in Rust.
fn rust(folder: &Path) -> Result<Vec<Module>> {
    crate::check::install_targets()?;
    let [std_target, no_std_target] = crate::check::WASM_TARGETS;
    let mut modules = Vec::new();
    for (names, target, language) in [
        (STD.as_slice(), std_target, "Rust"),
        (&NO_STD, no_std_target, "Rust, no_std"),
    ] {
        let packages = names.iter().flat_map(|name| ["--package", *name]);
        let mut command = cargo();
        command
            .args(["build", "--release", "--target", target])
            .args(packages)
            .env(
                "CARGO_TARGET_DIR",
                crate::workspace().join(crate::check::GUESTS_TARGET),
            )
            .current_dir(crate::workspace().join("guests"));
        succeed(&mut command)?;
        for name in names {
            let built = folder.join(format!("cargo/{target}/release/{name}.wasm"));
            modules.push(place(folder, name, language, &built)?);
        }
    }
    Ok(modules)
}

/// Builds the examples in C and Zig with the compiler that PyPI has.
fn c_and_zig(folder: &Path) -> Result<Vec<Module>> {
    let environment = folder.join("tools/python");
    let python = environment.join("bin/python");
    let installed = Command::new(&python)
        .args(["-c", "import ziglang"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        succeed(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            ZIGLANG,
        ]))?;
    }
    let sources = crate::workspace().join("guests");
    let zig = |arguments: &[&str], source: &Path, output: &str| -> Result<()> {
        succeed(
            Command::new(&python)
                .args(["-m", "ziglang"])
                .args(arguments)
                .arg(sources.join(source))
                .arg(output)
                .env("ZIG_GLOBAL_CACHE_DIR", folder.join("tools/zig"))
                .env("ZIG_LOCAL_CACHE_DIR", folder.join("tools/zig"))
                .current_dir(folder),
        )
    };
    let c = [
        "cc",
        "--target=wasm32-wasi",
        "-Os",
        "-s",
        "-Wl,-z,stack-size=4096",
    ];
    zig(&c, Path::new("c/hello.c"), "-ohello-c.wasm")?;
    let executable = [
        "build-exe",
        "-target",
        "wasm32-wasi",
        "-O",
        "ReleaseSmall",
        "-fstrip",
        "--stack",
        "8192",
    ];
    zig(
        &executable,
        Path::new("zig/hello.zig"),
        "-femit-bin=hello-zig.wasm",
    )?;
    Ok(vec![
        module(folder, "hello-c", "C"),
        module(folder, "hello-zig", "Zig"),
    ])
}

/// Builds the example in AssemblyScript with the compiler that npm has.
fn assemblyscript(folder: &Path) -> Result<Vec<Module>> {
    let tools = folder.join("tools/assemblyscript");
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let sources = crate::workspace().join("guests/assemblyscript");
    for file in ["package.json", "package-lock.json", "hello.ts"] {
        fs::copy(sources.join(file), tools.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    if !tools.join("node_modules/assemblyscript").exists() {
        succeed(
            Command::new("npm")
                .args(["ci", "--silent", "--no-audit", "--no-fund"])
                .current_dir(&tools),
        )?;
    }
    let output = folder.join("hello-assemblyscript.wasm");
    succeed(
        Command::new("node")
            .args(["node_modules/assemblyscript/bin/asc.js", "hello.ts"])
            .args(["--config", "node_modules/@assemblyscript/wasi-shim/asconfig.json"])
            .args([
                "-O3z",
                "--runtime",
                "stub",
                "--noAssert",
                "--stackSize",
                "1024",
                "--outFile",
            ])
            .arg(&output)
            .current_dir(&tools),
    )?;
    Ok(vec![module(folder, "hello-assemblyscript", "AssemblyScript")])
}

/// Copies a module to where all of them are.
fn place(folder: &Path, name: &str, language: &'static str, built: &Path) -> Result<Module> {
    let module = module(folder, name, language);
    fs::copy(built, &module.path).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(module)
}

fn module(folder: &Path, name: &str, language: &'static str) -> Module {
    Module {
        name: name.to_owned(),
        language,
        path: folder.join(format!("{name}.wasm")),
    }
}

/// Runs a command whose output is of interest only if it fails.
fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
