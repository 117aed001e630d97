//! gdb itself at the server: it attaches, loads, breaks, steps, watches, and sees both cores.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{board, firmware, has_tool};
use picolet_emulator::gdb::{Server, Wish};
use picolet_emulator::{Board, Image, Stop};

/// Runs a board under gdb with these commands, and answers what gdb said; the board goes on where gdb left it.
fn debug(board: &mut Board, elf: &Path, commands: &[&str]) -> String {
    let mut server = Server::listen(([127, 0, 0, 1], 0).into(), true).expect("a port");
    let address = server.address().expect("an address");
    let mut gdb = Command::new("gdb-multiarch");
    gdb.args(["-nx", "-batch", "-ex", "set confirm off", "-ex", "set language c"]);
    gdb.args(["-ex", &format!("target remote {address}")]);
    for command in commands {
        gdb.args(["-ex", command]);
    }
    let child = gdb
        .arg(elf)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("gdb starts");
    let reader = std::thread::spawn(move || child.wait_with_output().expect("gdb ends"));
    while !reader.is_finished() {
        if server.serve(board, Duration::from_millis(5)) != Wish::Run {
            continue;
        }
        let stop = board.run_until(board.time() + Duration::from_millis(1));
        let told = server.report(board, &stop);
        assert!(told || stop == Stop::Reached, "{stop}");
    }
    let output = reader.join().expect("no panic");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    text.join("\n--- stderr\n")
}

fn expect(said: &str, parts: &[&str]) {
    let mut rest = said;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("no {part:?} in the rest of what gdb said:\n{said}");
        };
        rest = after;
    }
}

#[test]
fn breaks_in_main_steps_watches_and_resets() {
    if !has_tool("gdb-multiarch") {
        return;
    }
    let elf = firmware("cores");
    let mut board = board("cores");
    let said = debug(
        &mut board,
        &elf,
        &[
            "info threads",
            "break main",
            "continue",
            "compare-sections .text",
            "info registers pc msp control",
            "echo stepped\\n",
            "stepi",
            "x/xw 0x40000000",
            // what the next call pushes
            "set $slot = $sp - 4",
            "set var *(int*)$slot = 0x12345678",
            "watch *(int*)$slot",
            "continue",
            "delete",
            "monitor status",
            "monitor reset",
            "maintenance flush register-cache",
            "break main",
            "continue",
            "backtrace",
            "detach",
        ],
    );
    expect(
        &said,
        &[
            "core 0: runs",
            "core 1: ",
            "Breakpoint 1, main",
            "Section .text",
            "matched",
            "pc ",
            "<main",
            "msp ",
            "control ",
            "stepped",
            "2927",
            "Hardware watchpoint 2",
            "Old value = 305419896",
            "New value",
            "Breakpoint 3, main",
            "#0  main",
        ],
    );
    assert!(said.contains("core 1 sleeps"), "{said}");
    assert!(
        !said.contains("did not match") && !said.contains("mismatch"),
        "{said}"
    );
    // what gdb left runs to its end
    common::log_until(&mut board, "done", 2000);
}

#[test]
fn both_cores_are_threads() {
    if !has_tool("gdb-multiarch") {
        return;
    }
    let elf = firmware("cores");
    let image = Image::parse(&std::fs::read(&elf).expect("built")).expect("an image");
    let entry = image
        .symbols()
        .iter()
        .find(|symbol| symbol.name.contains("core1_startup"))
        .expect("what the other core starts with");
    let mut board = board("cores");
    let said = debug(
        &mut board,
        &elf,
        &[
            &format!("hbreak *{:#x}", entry.address),
            "continue",
            "info threads",
            "info registers pc",
            "x/xw 0xd0000000",
            "set scheduler-locking on",
            "stepi",
            "set scheduler-locking off",
            "thread 1",
            "x/xw 0xd0000000",
            "info registers sp pc",
            "delete",
            "detach",
        ],
    );
    expect(
        &said,
        &[
            "Thread 2 hit Breakpoint 1",
            "* 2 ",
            &format!("pc             {:#x}", entry.address),
            "0xd0000000:\t0x00000001",
            "Switching to thread 1",
            "0xd0000000:\t0x00000000",
            "sp ",
        ],
    );
    common::log_until(&mut board, "done", 2000);
}

#[test]
fn loads_a_program_and_survives_a_gdb_that_is_killed() {
    if !has_tool("gdb-multiarch") {
        return;
    }
    let elf = firmware("cores");
    let mut board = Board::new(picolet_emulator::Config::default());
    let bytes = std::fs::read(&elf).expect("built");
    board
        .load(&Image::parse(&bytes).expect("an image"))
        .expect("it fits");
    // the vector table and what follows is lost
    board.write_memory(0x1000_0100, &[0; 4096]).expect("flash");
    board.power_on();
    let said = debug(
        &mut board,
        &elf,
        &[
            "load",
            "compare-sections .text",
            "monitor reset",
            "break main",
            "shell kill -9 $PPID",
        ],
    );
    expect(&said, &["Loading section .text", "matched"]);
    common::log_until(&mut board, "done", 2000);
}
