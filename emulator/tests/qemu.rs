//! Random Thumb programs, here and on QEMU's Cortex-M0: the same registers, flags and memory.

mod common;

use std::process::Command;

use common::thumb::{CODE, DATA, DATA_SIZE, program};
use picolet_emulator::{Board, Config, Image, Stop, Time};

/// What the memory is in the end, and how many instructions that took.
fn run_here(program: &[u8]) -> (Vec<u8>, u64) {
    let mut board = Board::new(Config::default());
    // QEMU's memory begins without noise.
    board.write_memory(DATA, &[0; DATA_SIZE]).expect("RAM");
    board.load(&Image::from_bytes(CODE, program).unwrap()).unwrap();
    board.power_on();
    board.set_debugged(true);
    let stop = board.run_until(Time::from_millis(60_000));
    assert_eq!(
        stop,
        Stop::Breakpoint { core: 0 },
        "at {:08x?}",
        board.registers(0)
    );
    (
        board.read_memory(DATA, DATA_SIZE).unwrap(),
        board.figures().instructions,
    )
}

fn run_on_qemu(program: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (vectors, code) = (folder.path().join("vectors.bin"), folder.path().join("code.bin"));
    std::fs::write(&vectors, &program[..8]).unwrap();
    std::fs::write(&code, program).unwrap();
    let console = folder.path().join("console");
    let output = Command::new("timeout")
        .args([
            "60",
            "qemu-system-arm",
            "-M",
            "microbit",
            "-display",
            "none",
            "-monitor",
            "none",
            "-serial",
            "none",
        ])
        .args([
            "-semihosting-config",
            "enable=on,target=native,chardev=out",
            "-chardev",
        ])
        .arg(format!("file,id=out,path={}", console.display()))
        .args([
            "-device",
            &format!("loader,file={},addr=0,force-raw=on", vectors.display()),
        ])
        .args([
            "-device",
            &format!("loader,file={},addr={CODE:#x},force-raw=on", code.display()),
        ])
        .output()
        .unwrap();
    let memory = std::fs::read(&console).unwrap_or_default();
    assert_eq!(
        memory.len(),
        DATA_SIZE,
        "QEMU wrote something else: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    memory
}

#[test]
fn random_programs_end_as_on_qemu() {
    if !common::has_tool("qemu-system-arm") {
        return;
    }
    let mut instructions = 0;
    for seed in 1..=6 {
        let program = program(seed, 1_500);
        let (here, count) = run_here(&program);
        let there = run_on_qemu(&program);
        instructions += count;
        // the stack's end of the memory is written on both alike; report the first difference by address
        let difference = here.iter().zip(&there).position(|(a, b)| a != b);
        assert_eq!(
            difference.map(|at| DATA + at as u32),
            None,
            "seed {seed}: memory differs"
        );
    }
    println!("{instructions} instructions agree with QEMU");
    assert!(instructions >= 2_000_000, "only {instructions}");
}
