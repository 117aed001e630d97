//! `picolet wasm`: the built program runs modules, lists them and checks whether they fit.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Builds an example and returns the path of the module; `None` where the target is missing.
fn guest(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = workspace.join("target/guests/cargo");
    let target = "wasm32-wasip1";
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            name,
            "--target",
            target,
        ])
        .current_dir(workspace.join("guests"))
        .env("CARGO_TARGET_DIR", &folder)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("rustup target add") {
        picolet_oracle::not_run(&format!("rustup target add {target}"));
        return None;
    }
    assert!(output.status.success(), "{errors}");
    Some(folder.join(format!("{target}/release/{name}.wasm")))
}

/// Runs `picolet wasm` with that on its standard input.
fn picolet(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_picolet"))
        .arg("wasm")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A module that does not read it may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn run_gives_a_module_arguments_files_and_input() {
    let Some(crc) = guest("crc") else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    fs::write(folder.path().join("etc/check"), "123456789").unwrap();
    let (crc, folder) = (crc.to_str().unwrap(), folder.path().to_str().unwrap());
    let (code, output, errors) = told(&picolet(&["run", crc], "123456789"));
    assert_eq!((code, output.as_str(), errors.as_str()), (0, "cbf43926  -\n", ""));
    let run = [
        "run",
        "--dir",
        folder,
        "--dir",
        &format!("{folder}/etc:/more"),
        crc,
        "/etc/check",
        "more/check",
        "/none",
    ];
    let (code, output, errors) = told(&picolet(&run, ""));
    assert_eq!(
        (code, output.as_str()),
        (1, "cbf43926  /etc/check\ncbf43926  more/check\n")
    );
    assert!(errors.contains("No such file or directory"), "{errors}");
}

#[test]
fn run_keeps_what_a_module_changes_in_memory() {
    let Some(counter) = guest("counter") else { return };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("counter"), "41\n").unwrap();
    let data = format!("{}:/data", folder.path().display());
    let counter = counter.to_str().unwrap();
    let (code, output, _) = told(&picolet(&["run", "--dir", &data, counter], ""));
    assert_eq!((code, output.as_str()), (0, "start 42\n"));
    assert_eq!(fs::read(folder.path().join("counter")).unwrap(), b"41\n");
    let (code, _, errors) = told(&picolet(&["run", "--read-only", "--dir", &data, counter], ""));
    assert_eq!(code, 1);
    assert!(errors.contains("Read-only file system"), "{errors}");
}

#[test]
fn run_ends_a_module_at_its_limits() {
    let Some(hello) = guest("hello") else { return };
    let hello = hello.to_str().unwrap();
    let (code, output, errors) = told(&picolet(&["run", "--memory", "4Ki", hello], ""));
    assert_eq!(
        (code, output.as_str(), errors.as_str()),
        (137, "", "out of memory: raise --memory\n")
    );
    let (code, _, errors) = told(&picolet(&["run", "--fuel", "10", hello], ""));
    assert_eq!((code, errors.as_str()), (124, "out of fuel: raise --fuel\n"));
    let (code, output, _) = told(&picolet(&["run", "--memory", "32Ki", hello], ""));
    assert_eq!((code, output.as_str()), (0, "Hello, world!\n"));
}

#[test]
fn check_and_inspect_tell_what_a_module_takes() {
    let Some(hello) = guest("hello") else { return };
    let hello = hello.to_str().unwrap();
    let (code, output, errors) = told(&picolet(&["check", "--board", "pico-w", hello], ""));
    assert_eq!(code, 0, "{output}{errors}");
    for line in [
        "ok    flash: ",
        "ok    imports: all known",
        "ok    memory: ",
        "exit code 0",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    let (code, output, _) = told(&picolet(&["inspect", hello], ""));
    assert_eq!(code, 0);
    for line in [
        "wasi_snapshot_preview1.fd_write",
        "  code ",
        "memory touched ",
        "takes signals     no",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
}

#[test]
fn module_that_cannot_run_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let component = write("component.wasm", b"\0asm\x0d\0\x01\0");
    let (code, _, errors) = told(&picolet(&["run", &component], ""));
    assert_eq!(code, 1);
    assert!(
        errors.contains("component") && errors.contains("wasm32-wasip1"),
        "{errors}"
    );
    // (module (import "env" "f" (func)) (func (export "_start")))
    let unknown = write(
        "unknown.wasm",
        b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01f\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\x01\x0a\x04\x01\x02\0\x0b",
    );
    for verb in ["run", "check"] {
        let (code, output, errors) = told(&picolet(&[verb, &unknown], ""));
        assert_eq!(code, 1);
        assert!((output + &errors).contains("unknown import env.f: build for wasm32-wasip1"));
    }
}
