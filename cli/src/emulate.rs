//! `picolet emulate`: a Pico W that runs on this machine, from the very image that a user flashes.
//!
//! The board is in `emulator/`; this reads what was asked for and puts the board together, `session` runs it
//! and `terminal` is where a person sits. It never looks into the firmware, and knows nothing of Kubernetes.

mod options;
mod session;
mod terminal;
mod usb;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use options::{Cut, Listen, Mac, Network, RunPress, Speed, Trace, seconds};
use picolet_emulator::gdb::Server;
use picolet_emulator::net::{Captured, Conditions, Impaired, Link, Local, Publish, Tap, User};
use picolet_emulator::radio::{AccessPoint, Air, Config as RadioConfig, Cyw43439, Failure, Quirks, Security};
use picolet_emulator::{Board, BoardQuirks, Config, Image, Oscillator, Profile, Stop, UsbHost, Vcd};
use picolet_linux::files;
use session::{Session, Tracer};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use usb::UsbLine;

/// The size of the boot ROM (RP2040 datasheet, section 2.6.1).
const BOOT_ROM: usize = 16 * 1024;
/// Ended by something that is wrong with what was given, as clap's own errors do.
const BAD_INPUT: u8 = 2;

/// Run the image of a Pico W on this machine, until Ctrl-C.
///
/// What the board sends on UART 0 appears here, and what is typed goes to it; with a board that says nothing there it is the
/// console on USB. Ctrl-] h shows what else can be done. Ends with 0 when it was asked to end, 1 when the board or a file stopped it, and 2 when what
/// was given is wrong or cannot run.
#[derive(Args)]
#[command(after_help = "\
Examples:
  picolet emulate wifi.uf2 --publish 127.0.0.1:8080=80     then: curl http://127.0.0.1:8080/
  picolet emulate wifi.elf --gdb 3333                      then: gdb-multiarch wifi.elf -ex 'target remote :3333'
  picolet emulate app.elf --network none --seconds 1 --profile --vcd pins.vcd
  picolet emulate app.uf2 --flash board.bin --power-cut-at flash:3:50%")]
pub(crate) struct Arguments {
    /// ELF or UF2 files, each put over what is there.
    #[arg(value_name = "IMAGE", required_unless_present = "flash")]
    images: Vec<PathBuf>,
    /// What flash holds, kept from run to run: read before the images if the file is there, and written at the end.
    #[arg(long, value_name = "FILE")]
    flash: Option<PathBuf>,
    /// A boot ROM of an RP2040 to run instead of the emulated one.
    #[arg(long, value_name = "FILE")]
    bootrom: Option<PathBuf>,
    /// Which of several boards this is: each has its own serial number and Ethernet address.
    #[arg(long, value_name = "N", default_value_t = 1)]
    board: u16,
    /// The radio's Ethernet address. [default: 28:cd:c1:00:00:01, with the number of the board at the end]
    #[arg(long, value_name = "ADDRESS")]
    mac: Option<Mac>,
    /// The seed of the chip's noise, and of the network in process.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// What is behind the access point: user (sockets of this machine; the device is 10.0.2.15, this machine 10.0.2.2),
    /// local (DHCP and names, no way out, repeatable), tap:NAME (an interface), or none (nothing is on the air).
    #[arg(
        long,
        value_name = "NETWORK",
        default_value = "user",
        help_heading = "Network"
    )]
    network: Network,
    /// The same as --network tap:NAME.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "network",
        help_heading = "Network"
    )]
    tap: Option<String>,
    /// Lead an address of this machine to a port of the device: 127.0.0.1:10250=10250. May repeat.
    #[arg(long, value_name = "IP:PORT=DEVICE_PORT", help_heading = "Network")]
    publish: Vec<Publish>,
    /// How bad the network is: loss=5%,delay=20ms,jitter=5ms,reorder=1%,duplicate=1%,corrupt=0.1%,bandwidth=2M,cut=10s-12s,seed=7
    #[arg(long, value_name = "CONDITIONS", help_heading = "Network")]
    conditions: Option<Conditions>,
    /// Break the radio: MODE:TIME, for ever, or MODE:TIME:N, until it has lost power N times, such as mute:10s:1. Modes: mute (the
    /// firmware hangs), no-answer (to control messages; frames pass), deaf (joined, but no frame arrives), no-interrupt (waiting
    /// packets are not signalled), status-high (the status word is all ones), no-credit (no room for packets of the host), bus-high,
    /// bus-low (the data line is stuck). May repeat.
    #[arg(long, value_name = "FAILURE", help_heading = "Network")]
    radio_failure: Vec<Failure>,
    /// What the radio and the access points do now and then, with commas between: lost-answer=N, refused=N (the Nth control message),
    /// refuses-disassoc, start-reads=N, power-off=TIME (shortest reset), bit-errors=N[/PERIOD[/FROM]] (of a billion
    /// bits, while the clock's period is below PERIOD), silent-deauth, comeback=TIME, handshake-timeouts=N, join-delay=TIME, lost-frames=N (after a join), seed=N
    #[arg(long, value_name = "QUIRKS", help_heading = "Network")]
    radio_quirks: Option<Quirks>,
    /// The chip's ring oscillator, with commas between: hz=N, duty=PART, jitter=PART, ripple=PART, ripple-hz=N, stuck. [default: a bad one, of
    /// 6.5 MHz]
    #[arg(long, value_name = "PARTS", help_heading = "Silicon")]
    oscillator: Option<Oscillator>,
    /// Programs and erases of flash take as long as its datasheet allows: 400 ms a sector, not 45.
    #[arg(long, help_heading = "Silicon")]
    slow_flash: bool,
    /// Pull RUN low in the middle of a program or erase of flash, counted from 1: flash:3, or flash:3:25% for when.
    #[arg(long, value_name = "WHEN", help_heading = "Silicon")]
    press_run_at: Option<RunPress>,
    /// What the USB host does, with commas between: echo (it sends the console's lines back), unplug=FROM-TO, suspend=FROM-TO, such as
    /// unplug=10s-12s.
    #[arg(long, value_name = "PARTS", help_heading = "Silicon")]
    usb_host: Option<UsbHost>,
    /// Draw all of these, and what the radio does, from a seed, and show what was drawn.
    #[arg(
        long,
        value_name = "SEED",
        conflicts_with_all = ["radio_failure", "radio_quirks", "oscillator", "slow_flash", "press_run_at", "usb_host"],
        help_heading = "Silicon"
    )]
    quirks: Option<u64>,
    /// The name of the network on the air.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "picolet",
        help_heading = "Network"
    )]
    ssid: String,
    /// Its passphrase (WPA2), 8 to 63 characters, from the first line of a file. [default: an open network]
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    passphrase_file: Option<PathBuf>,
    /// Write what passes between the radio and the network, for Wireshark.
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pcap: Option<PathBuf>,

    /// How fast emulated time goes: 1 is the clock on the wall, max as fast as it can. [default: 1 with user and tap,
    /// else max]
    #[arg(long, value_name = "FACTOR", help_heading = "Time")]
    speed: Option<Speed>,
    /// End after so many seconds of emulated time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = "Time")]
    seconds: Option<Duration>,
    /// End at this cycle of the system clock, or up to a few later, when an instruction or a transfer is done.
    #[arg(
        long,
        value_name = "CYCLES",
        conflicts_with = "seconds",
        help_heading = "Time"
    )]
    stop_at: Option<u64>,
    /// Lose power, and get it back: before an instruction, counted over both cores (instruction:1000000), or in the
    /// middle of a program or erase of flash, counted from 1 (flash:3, or flash:3:25% for how much of it happens). May
    /// repeat, in the order in which it is to happen.
    #[arg(long, value_name = "WHEN", help_heading = "Time")]
    power_cut_at: Vec<Cut>,

    /// Wait on this port for gdb before the first instruction: 3333, or 127.0.0.1:3333.
    #[arg(long, value_name = "PORT", help_heading = "Debugging")]
    gdb: Option<Listen>,
    /// Do not wait: gdb may come at any time.
    #[arg(long, requires = "gdb", help_heading = "Debugging")]
    gdb_no_wait: bool,
    /// Trace instructions, radio, registers, or those of a block (UART0, DMA.CH1). May repeat.
    #[arg(long, value_name = "WHAT", help_heading = "Debugging")]
    trace: Vec<Trace>,
    /// Write the trace into a file. [default: to standard error]
    #[arg(long, value_name = "FILE", requires = "trace", help_heading = "Debugging")]
    trace_to: Option<PathBuf>,
    /// Write the levels of all pins, for a logic analyser's program. A radio moves its pins millions of times a second.
    #[arg(long, value_name = "FILE", help_heading = "Debugging")]
    vcd: Option<PathBuf>,
    /// Show at the end where the cycles went, by function of the first ELF file; with a file, also as folded stacks.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, help_heading = "Debugging")]
    profile: Option<Option<PathBuf>>,
    /// Make the USB console a serial line of this machine with this name, for `picolet provision --serial`, and show it here
    /// no more.
    #[arg(long, value_name = "LINK")]
    usb: Option<PathBuf>,
    /// Show no status in the last line of the terminal.
    #[arg(long, help_heading = "Debugging")]
    no_status: bool,
}

impl Arguments {
    /// What the board and its surroundings do.
    fn quirks(&self) -> BoardQuirks {
        if let Some(seed) = self.quirks {
            let quirks = BoardQuirks::fuzzed(seed);
            eprintln!("{quirks:?}");
            return quirks;
        }
        BoardQuirks {
            radio: self.radio_quirks.clone().unwrap_or_default(),
            failures: self.radio_failure.clone(),
            oscillator: self.oscillator.unwrap_or_default(),
            slow_flash: self.slow_flash,
            run_press: self.press_run_at.map(|press| (press.operation, press.fraction)),
            usb: self.usb_host.clone().unwrap_or_default(),
        }
    }

    fn network(&self) -> Network {
        match &self.tap {
            Some(name) => Network::Tap(name.clone()),
            None => self.network.clone(),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

/// Runs it, and says how it ended.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let (error, code) = match prepare(arguments).map(|session| session.run(arguments)) {
        Ok(Ok(Stop::Reached)) => return ExitCode::SUCCESS,
        Ok(Ok(stop)) => {
            // the image is at fault, and no other run will end differently
            let cannot_run = matches!(stop, Stop::Lockup { .. } | Stop::UsbBoot { bootable: false });
            let code = if cannot_run { BAD_INPUT } else { 1 };
            (anyhow!("the board stopped: {stop}"), code)
        }
        Ok(Err(error)) => (error, 1),
        Err(error) => (error, BAD_INPUT),
    };
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

/// Puts the board together. What can be wrong with what was given is found here.
fn prepare(arguments: &Arguments) -> Result<Session> {
    let mut images = Vec::new();
    for path in &arguments.images {
        let image = Image::parse(&read(path)?).with_context(|| path.display().to_string())?;
        images.push((path, image));
    }
    let boot_rom = arguments.bootrom.as_deref().map(read).transpose()?;
    if let Some(rom) = &boot_rom {
        let size = rom.len();
        ensure!(
            size == BOOT_ROM,
            "--bootrom: the boot ROM of an RP2040 has {BOOT_ROM} bytes, and the file {size}"
        );
    }
    let profiled = images.iter().find(|(_, image)| !image.symbols().is_empty());
    if arguments.profile.is_some() && profiled.is_none() {
        bail!("--profile: no image names its functions; give an ELF file that is not stripped");
    }
    let profile = arguments.profile.as_ref().and(profiled);
    let profile = profile.map(|(_, image)| Profile::new(image));
    let kept = match &arguments.flash {
        Some(path) if path.exists() || images.is_empty() => Some((path, flash_image(path)?)),
        _ => None,
    };
    let air = air(arguments)?;
    let quirks = arguments.quirks();
    let radio = RadioConfig {
        address: arguments
            .mac
            .map_or_else(|| address_of(arguments.board), |mac| mac.0),
        failures: quirks.failures.clone(),
        quirks: quirks.radio.clone(),
        ..RadioConfig::default()
    };
    let radio = Box::new(Cyw43439::new(radio, air, link(arguments)?));
    let mut board = Board::new(Config {
        unique_id: serial_number(arguments.board),
        seed: arguments.seed,
        boot_rom,
        radio,
        ..Config::default()
    });
    if let Some((path, picture)) = kept {
        board
            .set_flash(&picture)
            .with_context(|| path.display().to_string())?;
    }
    for (path, image) in &images {
        board.load(image).with_context(|| path.display().to_string())?;
    }
    board.set_quirks(&quirks);
    board.set_profile(profile);
    board.set_pin_log(arguments.vcd.is_some());
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    ctrlc::set_handler(move || {
        // whoever asks twice does not want to wait
        if seen.swap(true, Ordering::Relaxed) {
            terminal::restore();
            exit(130);
        }
    })
    .context("cannot wait for Ctrl-C")?;
    let gdb = arguments
        .gdb
        .map(|gdb| listen(gdb, !arguments.gdb_no_wait))
        .transpose()?;
    let folded = arguments.profile.iter().flatten().next();
    Ok(Session {
        vcd: arguments
            .vcd
            .as_deref()
            .map(|path| Ok::<_, anyhow::Error>(Vcd::new(create(path)?)?))
            .transpose()?,
        folded: folded.map(|path| create(path)).transpose()?,
        usb: arguments
            .usb
            .as_deref()
            .map(|link| UsbLine::make(link).with_context(|| format!("--usb {}", link.display())))
            .transpose()?,
        tracer: Tracer::new(&mut board, arguments)?,
        gdb,
        board,
        interrupted,
    })
}

/// Bytes of a Pico W's flash.
const FLASH_SIZE: usize = 2 << 20;

/// Reads what flash held at the end of a run. The file is overwritten at the end of this one, so it must be nothing else.
fn flash_image(path: &Path) -> Result<Vec<u8>> {
    let image = files::read_prefix(path, FLASH_SIZE as u64 + 1)
        .with_context(|| format!("--flash {}", path.display()))?;
    let is_firmware = image.starts_with(b"UF2\n") || image.starts_with(b"\x7fELF");
    ensure!(
        image.len() == FLASH_SIZE && !is_firmware,
        "--flash {}: not the flash of a Pico W, which has {FLASH_SIZE} bytes, and this file would be overwritten; name one that does \
         not exist yet",
        path.display()
    );
    Ok(image)
}

/// The Ethernet address of one of several boards: of a range that the maker of the Pico W has.
pub(crate) fn address_of(board: u16) -> [u8; 6] {
    let [high, low] = board.to_be_bytes();
    [0x28, 0xcd, 0xc1, 0, high, low]
}

/// The serial number in the flash chip of one of several boards.
pub(crate) fn serial_number(board: u16) -> [u8; 8] {
    let mut id = Config::default().unique_id;
    for (byte, number) in id[6..].iter_mut().zip(board.wrapping_sub(1).to_be_bytes()) {
        *byte ^= number;
    }
    id
}

/// Waits for gdb, and says how to come.
fn listen(Listen(address): Listen, hold: bool) -> Result<Server> {
    let server = Server::listen(address, hold).with_context(|| format!("--gdb: cannot wait at {address}"))?;
    let address = server.address().context("--gdb")?;
    let waits = if hold { "waiting for gdb" } else { "gdb may come" };
    eprintln!("{waits} at {address}: gdb-multiarch IMAGE.elf -ex 'target remote {address}'");
    Ok(server)
}

/// What is on the air.
fn air(arguments: &Arguments) -> Result<Air> {
    if arguments.network() == Network::None {
        return Ok(Air::default());
    }
    let length = arguments.ssid.len();
    ensure!(
        (1..=32).contains(&length),
        "--ssid: the name of a network has 1 to 32 bytes, and this one {length}"
    );
    let security = match &arguments.passphrase_file {
        None => Security::Open,
        Some(path) => {
            let text = String::from_utf8(read(path)?).ok();
            let line = text.as_deref().and_then(|text| text.lines().next());
            let passphrase = line.filter(|line| (8..=63).contains(&line.len()));
            let passphrase = passphrase.with_context(|| {
                let path = path.display();
                format!("{path}: the first line is no passphrase of 8 to 63 characters")
            })?;
            Security::Wpa2(passphrase.to_owned())
        }
    };
    Ok(Air::new(vec![AccessPoint::new(&arguments.ssid, security)]))
}

/// What is behind the access point. The capture is nearest to the radio: it has what the device saw.
fn link(arguments: &Arguments) -> Result<Box<dyn Link>> {
    ensure!(
        arguments.publish.is_empty() || arguments.network() == Network::User,
        "--publish is for --network user: the other networks have no address of this machine"
    );
    let mut link: Box<dyn Link> = match &arguments.network() {
        Network::User => {
            let user = User::new(&arguments.publish).context("--publish")?;
            for Publish { listen, port } in user.published() {
                eprintln!("{listen} leads to port {port} of the device");
            }
            Box::new(user)
        }
        Network::Tap(name) => Box::new(Tap::open(name).context("--network")?),
        Network::Local | Network::None => Local::new(arguments.seed).link(),
    };
    if let Some(conditions) = &arguments.conditions {
        link = Box::new(Impaired::new(link, conditions.clone()));
    }
    if let Some(path) = &arguments.pcap {
        link = Box::new(Captured::new(link, create(path)?)?);
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("emulate").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    #[test]
    fn arguments_are_read() {
        let plain = parse("a.elf b.uf2").unwrap();
        assert_eq!((plain.images.len(), plain.network), (2, Network::User));
        let given = parse(
            "a.elf --network tap:tap0 --speed max --seconds 1.5 --profile=f --conditions loss=5%,delay=20ms \
             --publish 127.0.0.1:8080=80 --publish 9=9 --radio-failure mute:10s:1 \
             --radio-quirks comeback=1s,silent-deauth",
        )
        .unwrap();
        assert_eq!(given.network, Network::Tap("tap0".to_owned()));
        assert_eq!(given.speed, Some(Speed(None)));
        assert_eq!(given.seconds, Some(Duration::from_millis(1500)));
        assert_eq!(given.profile, Some(Some(PathBuf::from("f"))));
        assert_eq!(
            given.conditions.map(|it| it.delay),
            Some(Duration::from_millis(20))
        );
        assert_eq!(
            given.radio_quirks,
            Some("comeback=1s,silent-deauth".parse().unwrap())
        );
        assert_eq!(given.radio_failure, ["mute:10s:1".parse().unwrap()]);
        assert_eq!(
            given.publish.iter().map(|it| it.port).collect::<Vec<_>>(),
            [80, 9]
        );
        assert_eq!(parse("--profile a.elf").unwrap().profile, Some(None));
    }

    #[test]
    fn every_board_is_another() {
        assert_eq!(address_of(1), RadioConfig::default().address);
        assert_eq!(serial_number(1), Config::default().unique_id);
        assert_ne!(serial_number(2), serial_number(258));
        assert_eq!(
            parse("a.elf --tap tap0").unwrap().network(),
            Network::Tap("tap0".to_owned())
        );
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        for line in [
            "",
            "a.elf --network tap:",
            "a.elf --network bridge",
            "a.elf --speed 0",
            "a.elf --speed nan",
            "a.elf --seconds -1",
            "a.elf --seconds 1 --stop-at 1",
            "a.elf --publish 80",
            "a.elf --power-cut-at 5",
            "a.elf --trace toaster",
            "a.elf --trace-to file",
            "a.elf --gdb-no-wait",
            "a.elf --tap a --network none",
            "a.elf --conditions rain=5%",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
