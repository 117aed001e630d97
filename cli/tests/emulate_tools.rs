//! `picolet emulate` beside the tools of the trade: gdb at its port, sigrok on its pins, a program at its USB console.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;

use common::{emulate, firmware, interrupt};

const PACKAGE: &str = "emulator-firmware";

#[test]
fn gdb_breaks_in_main_steps_and_prints_registers() {
    let Some(gdb) = picolet_oracle::find("gdb-multiarch", "gdb-multiarch") else {
        return;
    };
    let elf = firmware(PACKAGE, "cores");
    let mut child = emulate(&elf, &["--network", "none", "--gdb", "127.0.0.1:0"]);
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = said
        .find_map(|line| {
            let line = line.ok()?;
            let (address, _) = line.strip_prefix("waiting for gdb at ")?.split_once(": ")?;
            Some(address.to_owned())
        })
        .expect("where it waits for gdb");
    let output = Command::new(gdb)
        .args(["-nx", "-batch", "-ex", &format!("target remote {address}")])
        .args(["-ex", "break main", "-ex", "continue", "-ex", "info registers"])
        .args(["-ex", "stepi", "-ex", "info registers pc", "-ex", "stepi"])
        .args(["-ex", "info registers pc", "-ex", "kill"])
        .arg(&elf)
        .output()
        .expect("gdb runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Breakpoint 1, main"), "{text}\n{errors}");
    for register in ["r0", "r12", "sp", "lr", "pc", "msp", "control"] {
        let found = text
            .lines()
            .any(|line| line.split_whitespace().next() == Some(register));
        assert!(found, "no {register} in\n{text}\n{errors}");
    }
    let places: Vec<u64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("pc ")?.split_whitespace().next())
        .map(|value| u64::from_str_radix(value.trim_start_matches("0x"), 16).expect("an address"))
        .collect();
    let [main, second, third] = places[..] else {
        panic!("pc should be there three times:\n{text}\n{errors}");
    };
    // `main` calls what embassy made of it, and that begins with something shorter than a call
    assert!(
        main != second && (2..=4).contains(&third.wrapping_sub(second)),
        "{main:#x} {second:#x} {third:#x}"
    );
    // whoever kills the program in gdb ends the run
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn sigrok_reads_the_wave_that_firmware_makes() {
    let Some(sigrok) = picolet_oracle::find("sigrok-cli", "sigrok-cli") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let vcd = directory.path().join("pins.vcd");
    let name = vcd.to_str().expect("a name");
    let elf = firmware(PACKAGE, "blocks");
    let ended = emulate(&elf, &["--network", "none", "--seconds", "0.4", "--vcd", name]);
    let ended = ended.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && log.ends_with("done\n"), "{log}");
    // the file counts nanoseconds: a sample a microsecond
    let output = Command::new(sigrok)
        .args(["-I", "vcd:downsample=1000", "-i", name])
        .args(["-C", "gpio2", "-O", "csv:header=false"])
        .output()
        .expect("sigrok-cli runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut runs: Vec<(&str, u32)> = Vec::new();
    for level in text.lines().filter(|line| ["0", "1"].contains(line)) {
        match runs.last_mut() {
            Some((last, count)) if *last == level => *count += 1,
            _ => runs.push((level, 1)),
        }
    }
    // PIO holds the pin high for 30 us, low for 10; the ends of the wave are something else
    let wave = runs.get(1..runs.len().saturating_sub(1)).unwrap_or_default();
    assert!(
        wave.len() > 20,
        "{runs:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (level, length) in &wave[1..] {
        assert_eq!(*length, if *level == "1" { 30 } else { 10 }, "{wave:?}");
    }
}

#[test]
fn the_usb_console_is_a_serial_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let link = directory.path().join("console");
    let name = link.to_str().expect("a name");
    let elf = firmware(PACKAGE, "console");
    let mut child = emulate(&elf, &["--network", "none", "--speed", "1", "--usb", name]);
    // what UART 0 says: from here on the console is open
    let mut log = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(
        log.next().expect("a line").expect("text"),
        "connected at 8000 baud"
    );
    let mut line = File::options()
        .read(true)
        .write(true)
        .open(&link)
        .expect("the line");
    let expect = |line: &mut File, text: &str| {
        let mut found = vec![0; text.len()];
        line.read_exact(&mut found).expect("the board answers");
        assert_eq!(String::from_utf8_lossy(&found), text);
    };
    expect(&mut line, "hello\r\n");
    let typed = "through a pseudo-terminal, \x03 and \x04 too, in more than one packet of sixty-four bytes\n";
    line.write_all(typed.as_bytes()).expect("it takes");
    expect(&mut line, &typed.to_uppercase());
    interrupt(&child);
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    assert!(!link.exists(), "the link goes with the board");
}
