//! `picolet emulate` as a person meets it: the built program, files, and how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One block of a UF2 file.
fn block(address: u32, family: u32, payload: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    let words = [
        0x0a32_4655,
        0x9e5d_5157,
        0x2000,
        address,
        payload.len() as u32,
        0,
        1,
        family,
    ];
    for (place, word) in block.chunks_mut(4).zip(words) {
        place.copy_from_slice(&u32::to_le_bytes(word));
    }
    block[32..32 + payload.len()].copy_from_slice(payload);
    block[508..].copy_from_slice(&0x0ab1_6f30_u32.to_le_bytes());
    block
}

const RP2040: u32 = 0xe48b_ff56;

/// A program in RAM: a vector table, and a branch to itself.
fn program() -> Vec<u8> {
    let words = [0x2004_0000, 0x2000_0009, 0xe7fe_e7fe_u32];
    block(0x2000_0000, RP2040, &words.map(u32::to_le_bytes).concat())
}

fn emulate(arguments: &[&str], files: &[&Path]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_picolet"))
        .arg("emulate")
        .args(arguments)
        .args(files)
        .output()
        .expect("the program");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn file(directory: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn what_is_wrong_with_an_image_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let elf = fs::read(env!("CARGO_BIN_EXE_picolet")).expect("an ELF file");
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("text", b"hello".to_vec(), "neither an ELF nor a UF2 file"),
        ("cut.elf", b"\x7fELF\x01\x01\x01".to_vec(), "broken ELF file"),
        ("host.elf", elf, "ELF file"),
        ("cut.uf2", program()[..300].to_vec(), "cut short"),
        (
            "other.uf2",
            block(0x1000_0000, 0xe48b_ff59, &[1; 256]),
            "RP2350, ARM",
        ),
        (
            "nowhere.uf2",
            block(0x4000_0000, RP2040, &[1; 256]),
            "neither flash nor RAM",
        ),
        ("large.uf2", block(0x1020_0000, RP2040, &[1; 256]), "2048 KiB"),
    ];
    for (name, bytes, words) in cases {
        let path = file(&directory, name, &bytes);
        let (code, said) = emulate(&["--network", "none"], &[&path]);
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(words) && said.contains(name), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
    let (code, said) = emulate(&["--network", "none"], &[&directory.path().join("missing")]);
    assert!(code == Some(2) && said.contains("cannot read"), "{said}");
}

#[test]
fn what_is_wrong_with_an_option_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = file(&directory, "loop.uf2", &program());
    let short = file(&directory, "short", b"secret\n");
    let short = short.to_str().expect("a name");
    for (arguments, words) in [
        (
            &["--network", "none", "--publish", "127.0.0.1:0=7"][..],
            "--network user",
        ),
        (&["--network", "none", "--bootrom", short], "16384 bytes"),
        (&["--network", "none", "--profile"], "names its functions"),
        (&["--network", "local", "--passphrase-file", short], "8 to 63"),
        (&["--network", "tap:a-name-that-is-too-long"], "1 to 15 bytes"),
        (&["--network", "none", "--vcd", "/proc/none/vcd"], "cannot write"),
    ] {
        let (code, said) = emulate(arguments, &[&image]);
        assert!(code == Some(2) && said.contains(words), "{arguments:?}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_run_ends_where_it_was_told_to_with_its_figures() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = file(&directory, "loop.uf2", &program());
    let flash = directory.path().join("flash");
    let vcd = directory.path().join("vcd");
    let names = [&flash, &vcd].map(|path| path.to_str().expect("a name"));
    let options = [
        "--network",
        "none",
        "--stop-at",
        "100000",
        "--flash",
        names[0],
        "--vcd",
        names[1],
    ];
    let (code, said) = emulate(&options, &[&image]);
    assert_eq!(code, Some(0), "{said}");
    let cycles = said
        .split(" cycles")
        .next()
        .and_then(|text| text.rsplit(' ').next());
    let cycles: u64 = cycles
        .and_then(|text| text.parse().ok())
        .expect("a number of cycles");
    assert!((100_000..100_100).contains(&cycles), "{said}");
    assert!(said.contains("LED off; no link"), "{said}");
    assert!(fs::read(&flash).expect("kept") == [0xff; 0x20_0000]);
    assert!(fs::read_to_string(&vcd).expect("written").contains("gpio29"));

    // Another file is not overwritten, a firmware image least of all.
    let mut uf2 = b"UF2\n".to_vec();
    uf2.resize(0x20_0000, 0);
    for other in [b"notes".to_vec(), uf2] {
        let path = directory.path().join("other");
        fs::write(&path, &other).expect("a file");
        let (code, said) = emulate(
            &["--network", "none", "--flash", path.to_str().expect("a name")],
            &[],
        );
        assert!(code != Some(0) && said.contains("would be overwritten"), "{said}");
        assert!(fs::read(&path).expect("kept") == other);
    }

    // what is in flash alone cannot start: there is nothing
    let (code, said) = emulate(&["--network", "none", "--flash", names[0]], &[]);
    assert!(code == Some(2) && said.contains("no second stage"), "{said}");
}

#[test]
fn a_jump_into_nowhere_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    // the entry point, and the handler of the fault that follows, are where nothing is
    let words = [0x2004_0000_u32, 0x3000_0001, 0x3000_0001, 0x3000_0001];
    let program = block(0x2000_0000, RP2040, &words.map(u32::to_le_bytes).concat());
    let image = file(&directory, "nowhere.uf2", &program);
    let (code, said) = emulate(&["--network", "none", "--seconds", "1"], &[&image]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("core 0 locked up: jump to 0x30000000"), "{said}");
}

#[test]
fn power_is_cut_and_traces_are_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = file(&directory, "loop.uf2", &program());
    let trace = directory.path().join("trace");
    let trace = trace.to_str().expect("a name");
    let options = [
        "--network",
        "none",
        "--stop-at",
        "40000",
        "--power-cut-at",
        "instruction:100",
        "--trace",
        "instructions",
        "--trace-to",
        trace,
    ];
    let (code, said) = emulate(&options, &[&image]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("power was lost at") && said.contains("resets 1"),
        "{said}"
    );
    let trace = fs::read_to_string(trace).expect("written");
    assert!(
        trace.lines().count() > 100 && trace.contains("20000008"),
        "{trace}"
    );
}
