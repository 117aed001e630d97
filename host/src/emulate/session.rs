//! A board that runs: serial ports on the terminal, Ctrl-C as the plug, and its figures at the end.
//!
//! All that can be wrong with what was given was found before.

use super::{Arguments, Network, Speed};
use anyhow::{Context, Result};
use picolet_emulator::{Board, Stop, Time, Vcd};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Emulated time between two looks at the serial ports and at Ctrl-C.
const SLICE: Duration = Duration::from_millis(10);

/// A board that is ready to be switched on.
pub(super) struct Session {
    pub(super) board: Board,
    pub(super) vcd: Option<Vcd<BufWriter<File>>>,
    pub(super) folded: Option<BufWriter<File>>,
    pub(super) interrupted: Arc<AtomicBool>,
}

impl Session {
    /// Runs the board until something ends it, and writes what is to be kept.
    pub(super) fn run(mut self, arguments: &Arguments) -> Result<Stop> {
        let paced = matches!(arguments.network, Network::User | Network::Tap(_));
        let speed = arguments.speed.unwrap_or(Speed(paced.then_some(1.0)));
        let start = Instant::now();
        self.board.set_pace(speed.0);
        self.board.power_on();
        let result = self.run_to_end(arguments);
        self.show_end(start.elapsed());
        let (board, vcd) = (&mut self.board, self.vcd.take());
        if let Some(vcd) = vcd {
            vcd.finish(board.time()).context("--vcd")?;
        }
        if let Some(profile) = board.set_profile(None) {
            let cycles = board.figures().cycles.max(1) as f64;
            for (name, own) in profile.hottest(20) {
                eprintln!("{:5.1} % {own:>12} cycles  {name}", own as f64 / cycles * 100.0);
            }
            if let Some(file) = &mut self.folded {
                profile.write_folded(&mut *file).context("--profile")?;
                file.flush().context("--profile")?;
            }
        }
        if let Some(path) = &arguments.flash {
            keep(path, board.flash()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        result
    }

    fn run_to_end(&mut self, arguments: &Arguments) -> Result<Stop> {
        let end = arguments.seconds.map_or(Time::NEVER, |after| Time::ZERO + after);
        loop {
            let left = match arguments.stop_at {
                Some(cycle) => cycle.saturating_sub(self.board.figures().cycles),
                None => u64::MAX,
            };
            if self.interrupted.load(Ordering::Relaxed) || self.board.time() >= end || left == 0 {
                return Ok(Stop::Reached);
            }
            // The clock may become faster on the way, so the last cycles are neared at twice the fastest one's 250 MHz.
            let cycle = 1_000_000_000 / self.board.system_clock().max(1) + 1;
            let step = Duration::from_nanos(left.saturating_mul(2).max(cycle)).min(SLICE);
            let stop = self.board.run_until((self.board.time() + step).min(end));
            self.serve()?;
            if stop != Stop::Reached {
                return Ok(stop);
            }
        }
    }

    /// Carries what the board has written to the terminal, and what is watched into its file.
    fn serve(&mut self) -> Result<()> {
        let mut out = io::stdout().lock();
        for bytes in [self.board.take_uart(0), self.board.take_usb()] {
            out.write_all(&bytes).context("standard output")?;
        }
        out.flush().context("standard output")?;
        if let Some(vcd) = &mut self.vcd {
            vcd.write(&self.board.take_pin_log()).context("--vcd")?;
        }
        Ok(())
    }

    /// The last line: what was done, and how fast.
    fn show_end(&mut self, took: Duration) {
        let (time, figures) = (self.board.time(), self.board.figures());
        let radio = self.board.radio().status();
        let (emulated, host) = (time.as_nanos() as f64 / 1e9, took.as_secs_f64().max(1e-9));
        let link = radio.joined.map_or("no link".to_owned(), |name| {
            format!(
                "joined {name:?}, {} frames sent, {} received",
                radio.sent, radio.received
            )
        });
        let resets = match figures.resets {
            0 => String::new(),
            resets => format!(", resets {resets}"),
        };
        eprintln!(
            "{emulated:.3} s emulated in {host:.3} s ({:.2} x real time): {} cycles, {} instructions, {:.1} MIPS{resets}; \
             LED {}; {link}",
            emulated / host,
            figures.cycles,
            figures.instructions,
            figures.instructions as f64 / host / 1e6,
            if radio.gpio & 1 == 0 { "off" } else { "on" },
        );
    }
}

/// Replaces a file in one step: a run that is killed leaves the old one.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}
