//! Boots an image and shows what it writes to its serial ports: `cargo run --release --example boot IMAGE [MILLISECONDS [BLOCKS]]`.

use std::time::Instant;

use picolet_emulator::{Board, Config, Image, Stop, Time};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("name an ELF or UF2 file")?;
    let milliseconds = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let image = Image::parse(&std::fs::read(path)?)?;
    let mut board = Board::new(Config::default());
    board.load(&image)?;
    if let Some(blocks) = arguments.next() {
        board.set_register_trace(Some(blocks.split(',').map(str::to_owned).collect()));
    }
    board.power_on();
    let start = Instant::now();
    let mut stop = Stop::Reached;
    for slice in 1..=milliseconds / 10 {
        stop = board.run_until(Time::from_millis(slice * 10));
        for port in [board.take_uart(0), board.take_usb()] {
            print!("{}", String::from_utf8_lossy(&port));
        }
        for line in board.take_register_trace() {
            println!("{line}");
        }
        if stop != Stop::Reached {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let figures = board.figures();
    let busy = figures.cycles - figures.idle_cycles;
    println!("{stop}");
    println!("{figures:?}");
    println!(
        "{:.1} MIPS, {:.2}x real time",
        figures.instructions as f64 / seconds / 1e6,
        busy as f64 / 125e6 / seconds
    );
    Ok(())
}
