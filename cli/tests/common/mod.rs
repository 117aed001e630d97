//! What the tests share: a cluster beside the program, and for `picolet emulate` the images of the emulator's own tests.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod cluster;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Builds an image, and answers where its ELF file is.
pub(crate) fn firmware(package: &str, name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = workspace.join("target/emulator-firmware");
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace.join("emulator/firmware"))
        .args(["build", "--quiet", "--release", "--package", package])
        .args(["--bin", name, "--target-dir"])
        .arg(&target)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .expect("cargo");
    assert!(
        status.success(),
        "{name} does not build: is the target thumbv6m-none-eabi installed?"
    );
    target.join("thumbv6m-none-eabi/release").join(name)
}

/// Starts `picolet emulate` with this image; what it says on both its streams is to be read.
pub(crate) fn emulate(image: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_picolet"))
        .arg("emulate")
        .arg(image)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program")
}

/// Ctrl-C: the run ends in order.
pub(crate) fn interrupt(child: &Child) {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
}
