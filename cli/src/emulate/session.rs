//! A board that runs: serial ports and menu on the terminal, a debugger, Ctrl-C as the plug, and its figures at the end.
//!
//! All that can be wrong with what was given was found before.

use super::options::{Cut, Network, Speed, Trace};
use super::terminal::{Command, MENU, Terminal};
use super::usb::UsbLine;
use super::{Arguments, create};
use anyhow::{Context, Result};
use picolet_emulator::gdb::{Ended, Server, Wish};
use picolet_emulator::radio::{Change, Cyw43439};
use picolet_emulator::{Board, Fault, Stop, Time, Vcd};
use picolet_linux::durable::write_durably;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Emulated time between two looks at the serial ports and at Ctrl-C.
const SLICE: Duration = Duration::from_millis(10);
/// The same while each instruction is a line.
const TRACED_SLICE: Duration = Duration::from_micros(100);
/// How long the host waits for a debugger or a person, while the board stands still.
const WAIT: Duration = Duration::from_millis(20);
/// How often the status line is drawn.
const REDRAW: Duration = Duration::from_millis(250);
/// Bytes typed that the board is given in a slice: less than a UART of 115,200 baud takes.
const TYPED: usize = 64;
/// What comes in before the board has said anything waits so long for it to be ready.
const START: Time = Time::from_millis(2_000);

/// A board that is ready to be switched on.
pub(super) struct Session {
    pub(super) board: Board,
    pub(super) gdb: Option<Server>,
    pub(super) tracer: Tracer,
    pub(super) usb: Option<UsbLine>,
    pub(super) vcd: Option<Vcd<BufWriter<File>>>,
    pub(super) folded: Option<BufWriter<File>>,
    pub(super) interrupted: Arc<AtomicBool>,
}

/// Carries traces to where they are wanted.
pub(super) struct Tracer {
    out: Box<dyn Write>,
    instructions: bool,
    registers: bool,
    radio: bool,
}

impl Tracer {
    /// Has the board trace what was asked for.
    pub(super) fn new(board: &mut Board, arguments: &Arguments) -> Result<Self> {
        let out: Box<dyn Write> = match &arguments.trace_to {
            Some(path) => Box::new(create(path)?),
            None => Box::new(io::stderr()),
        };
        let blocks: Vec<String> = arguments
            .trace
            .iter()
            .filter_map(|trace| match trace {
                Trace::Registers(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let tracer = Self {
            out,
            instructions: arguments.trace.contains(&Trace::Instructions),
            registers: !blocks.is_empty(),
            radio: arguments.trace.contains(&Trace::Radio),
        };
        board.set_instruction_trace(tracer.instructions);
        board.set_register_trace(tracer.registers.then_some(blocks));
        board.radio().set_trace(tracer.radio);
        Ok(tracer)
    }

    fn serve(&mut self, board: &mut Board) -> io::Result<()> {
        let mut lines = Vec::new();
        if self.instructions {
            lines.extend(board.take_instruction_trace());
        }
        if self.registers {
            lines.extend(board.take_register_trace());
        }
        if self.radio {
            lines.extend(board.radio().take_trace());
        }
        for line in lines {
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }
}

/// What the run of a board needs besides the board.
struct Run {
    terminal: Terminal,
    /// Power cuts to come, the next one last.
    cuts: Vec<Cut>,
    /// The board has said something, or would take what is typed.
    ready: bool,
    /// It has said something on UART 0.
    uart: bool,
    bootsel: bool,
    /// It cannot go on by itself, and somebody may reset it.
    parked: bool,
    faults: [Option<(Fault, u32)>; 2],
    drawn: Instant,
    /// Time and instructions when the status line was last drawn.
    since: (Time, u64),
}

impl Session {
    /// Runs the board until something ends it, and writes what is to be kept.
    pub(super) fn run(mut self, arguments: &Arguments) -> Result<Stop> {
        let paced = matches!(arguments.network(), Network::User | Network::Tap(_));
        let speed = arguments.speed.unwrap_or(Speed(paced.then_some(1.0)));
        let start = Instant::now();
        let mut run = Run {
            terminal: Terminal::open(!arguments.no_status),
            cuts: arguments.power_cut_at.iter().rev().copied().collect(),
            ready: false,
            uart: false,
            bootsel: false,
            parked: false,
            faults: [None; 2],
            drawn: start,
            since: (Time::ZERO, 0),
        };
        if run.terminal.interactive {
            eprintln!("Ctrl-] h for help, Ctrl-C to end");
        }
        self.board.set_pace(speed.0);
        self.board.power_on();
        self.arm(&mut run);
        let result = self.run_to_end(arguments, &mut run);
        drop(run);
        self.show_end(start.elapsed());
        let (board, vcd) = (&mut self.board, self.vcd.take());
        if let Some(vcd) = vcd {
            vcd.finish(board.time()).context("--vcd")?;
        }
        self.tracer.out.flush().context("--trace")?;
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
            write_durably(path, board.flash()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        result
    }

    fn run_to_end(&mut self, arguments: &Arguments, run: &mut Run) -> Result<Stop> {
        let end = arguments.seconds.map_or(Time::NEVER, |after| Time::ZERO + after);
        let longest = if self.tracer.instructions {
            TRACED_SLICE
        } else {
            SLICE
        };
        loop {
            let left = match arguments.stop_at {
                Some(cycle) => cycle.saturating_sub(self.board.figures().cycles),
                None => u64::MAX,
            };
            if self.interrupted.load(Ordering::Relaxed) || self.board.time() >= end || left == 0 {
                return Ok(Stop::Reached);
            }
            if let Some(gdb) = &mut self.gdb {
                match gdb.serve(&mut self.board, WAIT) {
                    Wish::Wait => {
                        if self.serve(run)? {
                            return Ok(Stop::Reached);
                        }
                        continue;
                    }
                    Wish::Ended(Ended::Killed) => return Ok(Stop::Reached),
                    Wish::Ended(ended) => eprintln!("{ended}"),
                    _ => {}
                }
            }
            if run.parked {
                sleep(WAIT);
                if self.serve(run)? {
                    return Ok(Stop::Reached);
                }
                continue;
            }
            // The clock may become faster on the way, so the last cycles are neared at twice the fastest one's 250 MHz.
            let cycle = 1_000_000_000 / self.board.system_clock().max(1) + 1;
            let step = Duration::from_nanos(left.saturating_mul(2).max(cycle)).min(longest);
            let stop = self.board.run_until((self.board.time() + step).min(end));
            let quit = self.serve(run)?;
            self.tell_faults(run);
            if quit {
                return Ok(Stop::Reached);
            }
            match stop {
                Stop::Reached => {}
                Stop::PowerLost => {
                    eprintln!("power was lost at {} s, and is back", self.board.time());
                    self.board.power_cycle();
                    self.arm(run);
                }
                stop => {
                    let debugged = self
                        .gdb
                        .as_mut()
                        .is_some_and(|gdb| gdb.report(&mut self.board, &stop));
                    let said = matches!(stop, Stop::Observer { .. } | Stop::Breakpoint { .. });
                    if !said && (debugged || run.terminal.interactive) {
                        eprintln!("the board stopped: {stop}");
                    }
                    if debugged {
                        continue;
                    }
                    if !run.terminal.interactive {
                        return Ok(stop);
                    }
                    eprintln!("Ctrl-] r resets it, Ctrl-] q ends");
                    run.parked = true;
                }
            }
        }
    }

    /// Has the next power cut happen.
    fn arm(&mut self, run: &mut Run) {
        if let Some(Cut(cut)) = run.cuts.pop() {
            self.board.cut_power_at(cut);
        }
    }

    /// A fault that no handler shows is otherwise an endless loop to whoever looks at the board.
    fn tell_faults(&mut self, run: &mut Run) {
        for (core, told) in run.faults.iter_mut().enumerate() {
            let fault = self.board.last_fault(core);
            if fault != *told {
                *told = fault;
                if let Some((fault, pc)) = fault {
                    eprintln!("core {core} took a HardFault: {fault} (pc {pc:#010x})");
                }
            }
        }
    }

    /// Carries what the board has written to the terminal, what was typed to the board, and what is watched into its
    /// file. Answers whether to end.
    fn serve(&mut self, run: &mut Run) -> Result<bool> {
        let mut out = io::stdout().lock();
        let (uart, usb) = (self.board.take_uart(0), self.board.take_usb());
        run.ready |= !uart.is_empty() || !usb.is_empty();
        run.uart |= !uart.is_empty();
        out.write_all(&uart).context("standard output")?;
        match &mut self.usb {
            Some(line) => {
                line.tell(&usb);
                let typed = line.take()?;
                if !typed.is_empty() {
                    self.board.feed_usb(&typed);
                }
            }
            // Many boards say the same on both.
            None if !run.uart => out.write_all(&usb).context("standard output")?,
            None => {}
        }
        out.flush().context("standard output")?;
        drop(out);
        if let Some(vcd) = &mut self.vcd {
            vcd.write(&self.board.take_pin_log()).context("--vcd")?;
        }
        self.tracer.serve(&mut self.board).context("--trace")?;
        for command in run.terminal.take() {
            if command == Command::Quit {
                return Ok(true);
            }
            self.obey(command, run);
        }
        run.ready |= self.board.usb_is_open() || self.board.time() > START;
        if run.ready && !run.terminal.typed.is_empty() {
            let length = run.terminal.typed.len().min(TYPED);
            let bytes: Vec<u8> = run.terminal.typed.drain(..length).collect();
            if self.board.usb_is_open() && self.usb.is_none() && !run.uart {
                self.board.feed_usb(&bytes);
            } else {
                self.board.feed_uart(0, &bytes);
            }
        }
        let took = run.drawn.elapsed();
        if took >= REDRAW {
            let (time, instructions) = (self.board.time(), self.board.figures().instructions);
            let ratio = time.since(run.since.0).as_secs_f64() / took.as_secs_f64();
            let mips = (instructions - run.since.1) as f64 / took.as_secs_f64() / 1e6;
            (run.drawn, run.since) = (Instant::now(), (time, instructions));
            run.terminal
                .show(|| format!("{time} s  {ratio:5.2}x  {mips:6.1} MIPS  {}", self.status()))
                .context("standard output")?;
        }
        Ok(false)
    }

    /// LED, link and pins.
    fn status(&mut self) -> String {
        let radio = self.board.radio().status();
        let led = if radio.gpio & 1 == 0 { "off" } else { "on" };
        let link = radio.joined.map_or("no link".to_owned(), |name| {
            format!("{name:?}, {} sent, {} received", radio.sent, radio.received)
        });
        // those of the radio move all the time
        let shown = self.board.driven_pins() & !(0b111 << 23 | 1 << 29);
        let pins: String = (0..30)
            .filter(|pin| shown >> pin & 1 != 0)
            .map(|pin| format!(" {pin}:{}", u8::from(self.board.pin(pin))))
            .collect();
        let pins = if pins.is_empty() {
            pins
        } else {
            format!("  pins{pins}")
        };
        format!("LED {led}  {link}{pins}")
    }

    fn obey(&mut self, command: Command, run: &mut Run) {
        match command {
            Command::Reset => {
                eprintln!("\nreset");
                self.board.reset();
                run.parked = false;
            }
            Command::Bootsel => {
                run.bootsel = !run.bootsel;
                self.board.set_bootsel(run.bootsel);
                let what = if run.bootsel { "pressed" } else { "let go" };
                eprintln!("\nBOOTSEL is {what}");
            }
            Command::PowerCut => {
                eprintln!("\npower was away");
                self.board.power_cycle();
                self.arm(run);
                run.parked = false;
            }
            Command::AccessPoint => {
                let now = self.board.time();
                let radio = self.board.radio().as_any_mut().downcast_mut::<Cyw43439>();
                let air = radio.map(Cyw43439::air_mut);
                let Some((air, ap)) =
                    air.and_then(|air| air.access_points().first().cloned().map(|ap| (air, ap)))
                else {
                    eprintln!("\nnothing is on the air");
                    return;
                };
                air.plan(now, Change::Present(ap.bssid, !ap.present));
                let what = if ap.present { "gone" } else { "back" };
                eprintln!("\nthe access point {:?} is {what}", ap.ssid);
            }
            Command::Status => {
                let figures = self.board.figures();
                eprintln!(
                    "\n{} s, {} cycles, {} instructions, {} resets  {}",
                    self.board.time(),
                    figures.cycles,
                    figures.instructions,
                    figures.resets,
                    self.status()
                );
            }
            Command::Help => eprintln!("\nCtrl-] and then\n{MENU}"),
            Command::Unknown(key) => {
                eprintln!("\nCtrl-] {:?} is nothing: Ctrl-] h for help", char::from(key))
            }
            Command::Quit => {}
        }
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
