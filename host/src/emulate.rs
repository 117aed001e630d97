//! `picolet emulate`: a Pico W that runs on this machine, from the very image that a user flashes.
//!
//! The board is in `emulator/`; this reads what was asked for and puts the board together, `session` runs it. It never looks into the firmware, and knows nothing of Kubernetes.

mod session;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use picolet_emulator::net::{Captured, Conditions, Impaired, Link, Local, Publish, Tap, User};
use picolet_emulator::radio::{AccessPoint, Air, Config as RadioConfig, Cyw43439, Security};
use picolet_emulator::{Board, Config, Image, Profile, Stop, Vcd};
use session::Session;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, exit};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The size of the boot ROM (RP2040 datasheet, section 2.6.1).
const BOOT_ROM: usize = 16 * 1024;
/// Ended by something that is wrong with what was given, as clap's own errors do.
const BAD_INPUT: u8 = 2;

/// Run the image of a Pico W on this machine, until Ctrl-C.
#[derive(Args)]
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
    /// What is behind the access point: user (sockets of this machine; the device is 10.0.2.15, this machine 10.0.2.2),
    /// local (DHCP and names, no way out, repeatable), tap:NAME (an interface), or none (nothing is on the air).
    #[arg(long, value_name = "NETWORK", default_value = "user")]
    network: Network,
    /// Lead an address of this machine to a port of the device: 127.0.0.1:10250=10250. May repeat.
    #[arg(long, value_name = "IP:PORT=DEVICE_PORT")]
    publish: Vec<Publish>,
    /// How bad the network is: loss=5%,delay=20ms,jitter=5ms,reorder=1%,duplicate=1%,corrupt=0.1%,bandwidth=2M,cut=10s-12s,seed=7
    #[arg(long, value_name = "CONDITIONS")]
    conditions: Option<Conditions>,
    /// The name of the network on the air.
    #[arg(long, value_name = "NAME", default_value = "picolet")]
    ssid: String,
    /// Its passphrase (WPA2), 8 to 63 characters, from the first line of a file. [default: an open network]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The seed of the chip's noise, and of the network in process.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How fast emulated time goes: 1 is the clock on the wall, max as fast as it can. [default: 1 with user and tap,
    /// else max]
    #[arg(long, value_name = "FACTOR")]
    speed: Option<Speed>,
    /// End after so many seconds of emulated time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// End at this cycle of the system clock, or up to a few later, when an instruction or a transfer is done.
    #[arg(long, value_name = "CYCLES", conflicts_with = "seconds")]
    stop_at: Option<u64>,
    /// Write what passes between the radio and the network, for Wireshark.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Write the levels of all pins, for a logic analyser's program. A radio moves its pins millions of times a second.
    #[arg(long, value_name = "FILE")]
    vcd: Option<PathBuf>,
    /// Show at the end where the cycles went, by function of the first ELF file; with a file, also as folded stacks.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    profile: Option<Option<PathBuf>>,
}

/// What is behind the access point.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Network {
    User,
    Local,
    Tap(String),
    None,
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "user" => Ok(Self::User),
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("tap:") {
                Some(name) if !name.is_empty() => Ok(Self::Tap(name.to_owned())),
                _ => Err("a network is user, local, tap:NAME or none"),
            },
        }
    }
}

/// How fast emulated time goes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Speed(Option<f64>);

impl FromStr for Speed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let factor = || {
            text.parse()
                .ok()
                .filter(|factor| (0.001..=1000.0).contains(factor))
        };
        match text {
            "max" => Ok(Self(None)),
            _ => factor()
                .map(|factor| Self(Some(factor)))
                .ok_or("a speed is max, or a factor from 0.001 to 1000"),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let number = text.parse().ok().filter(|seconds| *seconds > 0.0);
    number
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or("not a number of seconds above zero")
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

/// Runs it. Ends with 0 when it was asked to end, 1 when the board or a file stopped it, and 2 when what was given is
/// wrong.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    let (error, code) = match prepare(arguments).map(|session| session.run(arguments)) {
        Ok(Ok(Stop::Reached)) => return ExitCode::SUCCESS,
        Ok(Ok(stop)) => (anyhow!("the board stopped: {stop}"), ExitCode::FAILURE),
        Ok(Err(error)) => (error, ExitCode::FAILURE),
        Err(error) => (error, ExitCode::from(BAD_INPUT)),
    };
    eprintln!("error: {error:#}");
    code
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
        Some(path) if path.exists() || images.is_empty() => Some((path, read(path)?)),
        _ => None,
    };
    let air = air(arguments)?;
    let radio = Box::new(Cyw43439::new(RadioConfig::default(), air, link(arguments)?));
    let mut board = Board::new(Config {
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
    board.set_profile(profile);
    board.set_pin_log(arguments.vcd.is_some());
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    ctrlc::set_handler(move || {
        // whoever asks twice does not want to wait
        if seen.swap(true, Ordering::Relaxed) {
            exit(130);
        }
    })
    .context("cannot wait for Ctrl-C")?;
    let folded = arguments.profile.iter().flatten().next();
    Ok(Session {
        vcd: arguments
            .vcd
            .as_deref()
            .map(|path| Ok::<_, anyhow::Error>(Vcd::new(create(path)?)?))
            .transpose()?,
        folded: folded.map(|path| create(path)).transpose()?,
        board,
        interrupted,
    })
}

/// What is on the air.
fn air(arguments: &Arguments) -> Result<Air> {
    if arguments.network == Network::None {
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
        arguments.publish.is_empty() || arguments.network == Network::User,
        "--publish is for --network user: the other networks have no address of this machine"
    );
    let mut link: Box<dyn Link> = match &arguments.network {
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
             --publish 127.0.0.1:8080=80 --publish 9=9",
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
            given.publish.iter().map(|it| it.port).collect::<Vec<_>>(),
            [80, 9]
        );
        assert_eq!(parse("--profile a.elf").unwrap().profile, Some(None));
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
            "a.elf --conditions rain=5%",
        ] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
