//! Files that the emulator writes, opened by the programs that they are for.

mod common;

use std::fs;
use std::process::Command;

use common::has_tool;
use picolet_emulator::{Board, Config, Image, Time, Vcd};

#[test]
fn sigrok_reads_the_levels_of_pins() {
    if !has_tool("sigrok-cli") {
        return;
    }
    let mut board = Board::new(Config::default());
    let endless = [0x2004_0000_u32, 0x2000_0009, 0xe7fe_e7fe];
    let image = Image::from_bytes(0x2000_0000, &endless.map(u32::to_le_bytes).concat()).expect("RAM");
    board.load(&image).expect("it fits");
    board.set_pin_log(true);
    board.power_on();
    let mut vcd = Vcd::new(Vec::new()).expect("memory");
    // 4 ms high, 2 ms low, 1 ms high, once the boot ROM is through
    for (until, level) in [(11, false), (15, true), (17, false), (18, true), (19, false)] {
        board.drive_pin(3, Some(level));
        board.run_until(Time::from_millis(until));
        vcd.write(&board.take_pin_log()).expect("memory");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pins.vcd");
    fs::write(&file, vcd.finish(board.time()).expect("memory")).expect("written");
    let output = Command::new("sigrok-cli")
        .args(["-I", "vcd:downsample=100000", "-i"])
        .arg(&file)
        .args(["-C", "gpio3", "-O", "csv:header=false"])
        .output()
        .expect("sigrok-cli runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let levels: Vec<_> = text.lines().filter(|line| *line == "0" || *line == "1").collect();
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for level in &levels {
        match runs.last_mut() {
            Some((last, count)) if last == level => *count += 1,
            _ => runs.push((level, 1)),
        }
    }
    let high: Vec<usize> = runs
        .iter()
        .filter(|(level, _)| *level == "1")
        .map(|(_, count)| count.div_ceil(10))
        .collect();
    assert_eq!(
        high,
        [4, 1],
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
