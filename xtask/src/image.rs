//! `cargo xtask image`: what a user flashes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use picolet_boot::Slot;
use picolet_image::Image;
use picolet_image::build::Place;
use picolet_image::cargo::cargo;

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The board: pico-w or pico-2-w.
    #[arg(long, default_value = "pico-w")]
    board: String,
    /// The program of boards/ that is the application, in place of the board's own. It has a second binary for slot B, `NAME-b`.
    #[arg(long)]
    application: Option<String>,
    /// Private key that the firmware file is signed with: P-256, PKCS #8 in PEM.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// The folder that the files are written to.
    #[arg(long, default_value = "target/images")]
    output: PathBuf,
    /// Build in a folder of its own, so that the same source gives the same bytes on any machine: for releases.
    #[arg(long)]
    reproducible: bool,
    /// Make the image of the last commit in two clones and compare them.
    #[arg(long)]
    verify_reproducible: bool,
}

/// Makes the image.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.verify_reproducible {
        return verify(arguments);
    }
    let board = &*arguments.board;
    let (package, binary) = match &arguments.application {
        Some(application) => (application.clone(), application.clone()),
        None => (board.to_owned(), format!("picolet-{board}")),
    };
    let place = if arguments.reproducible {
        Place::Reproducible
    } else {
        Place::Here
    };
    let key = arguments
        .sign
        .as_deref()
        .map(picolet_image::read_key)
        .transpose()?;
    let mut image = Image::build(board, &package, &binary, place)?;
    if let Some(key) = &key {
        image.sign(key);
    }
    let folder = crate::workspace().join(&arguments.output);
    image.write(&folder)?;
    println!(
        "{}: bootloader {}, application {}, radio {} bytes",
        folder.join(format!("picolet-{board}.uf2")).display(),
        image.bootloader().len(),
        image.application(Slot::A).len(),
        image.radio().len()
    );
    Ok(())
}

/// Clones the last commit twice, makes the image in both, and compares the files.
fn verify(arguments: &Arguments) -> Result<()> {
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    // Clones that lie at different depths.
    let clones = [
        folders[0].path().join("a"),
        folders[1].path().join("another/clone"),
    ];
    let mut files = Vec::new();
    for clone in &clones {
        files.push(make_in(clone, arguments)?);
    }
    let board = &arguments.board;
    for (first, second) in files[0].iter().zip(&files[1]) {
        ensure!(
            fs::read(first)? == fs::read(second)?,
            "{} and {} differ",
            first.display(),
            second.display()
        );
    }
    println!("picolet-{board}.uf2, .pfw and .elf: two clones gave the same bytes");
    Ok(())
}

fn make_in(clone: &Path, arguments: &Arguments) -> Result<Vec<PathBuf>> {
    let git = Command::new("git")
        .args(["clone", "--quiet"])
        .arg(crate::workspace())
        .arg(clone)
        .status()
        .context("cannot run git")?;
    ensure!(git.success(), "git clone failed");
    let mut command = cargo();
    command
        .args(["xtask", "image", "--reproducible", "--board", &arguments.board])
        .current_dir(clone);
    if let Some(application) = &arguments.application {
        command.args(["--application", application]);
    }
    let status = command.status()?;
    ensure!(status.success(), "no image was made in {}", clone.display());
    // What was built for one clone must not be what the other compares.
    let copy = picolet_image::build::copy_of(clone)?;
    fs::remove_dir_all(&copy).with_context(|| format!("cannot remove {}", copy.display()))?;
    let images = clone.join("target/images");
    Ok(["uf2", "pfw", "elf"]
        .map(|kind| images.join(format!("picolet-{}.{kind}", arguments.board)))
        .into())
}
