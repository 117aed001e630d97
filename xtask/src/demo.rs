//! `cargo xtask demo` and the benches that are programs of their own: build what they need, and run them.

use anyhow::{Context, Result, ensure};
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_image::cargo::cargo;

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What is passed on to `picolet demo`: --boards 3, --board linux, --once, --log, --node-ip … Without --board the nodes are
    /// emulated Pico Ws, whose image is built first.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<String>,
}

impl Arguments {
    /// Whether the node is to be a Linux process.
    fn is_linux(&self) -> bool {
        let apart = self.demo.windows(2).any(|pair| pair == ["--board", "linux"]);
        apart || self.demo.iter().any(|word| word == "--board=linux")
    }
}

/// Runs it until Ctrl-C.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut words: Vec<&str> = arguments.demo.iter().map(String::as_str).collect();
    let (board, folder) = ("pico-w", "target/images");
    let image = format!("{folder}/picolet-{board}.uf2");
    if !arguments.is_linux() && !words.iter().any(|word| word.starts_with("--image")) {
        Image::build(board, board, &format!("picolet-{board}"), Place::Here)?
            .write(&crate::workspace().join(folder))?;
        words.extend(["--image", &image]);
    }
    let verb = ["run", "--quiet", "--package", "picolet", "--", "demo"];
    run_cargo(verb.into_iter().chain(words))
}

/// Runs a bench of the workspace.
pub(crate) fn bench(package: &str, bench: &str) -> Result<()> {
    run_cargo(["bench", "--quiet", "--package", package, "--bench", bench])
}

/// Runs cargo in the project's folder.
fn run_cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let status = cargo()
        .args(arguments)
        .current_dir(crate::workspace())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}
