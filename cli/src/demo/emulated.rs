//! The demo's boards: each an emulated Pico W on a thread of its own, from the file that a user flashes, with what its
//! serial line, its pins and its LED do shown as it happens.

use super::signals::{Blinking, Level, Light};
use crate::emulate::{address_of, serial_number};
use anyhow::{Context, Result, anyhow};
use picolet_devcluster::host::DevCluster;
use picolet_emulator::net::{HOST, Publish, User};
use picolet_emulator::radio::{AccessPoint, Air, Config as RadioConfig, Cyw43439, Security};
use picolet_emulator::{Board, Config, Image, Stop, Time};
use picolet_store::layout::PICO_W;
use picolet_store::settings::{Field, SLOT, Writer};
use picolet_store::uf2;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The network on the air, and its passphrase.
const SSID: &str = "attic";
const PASSPHRASE: &str = "correct horse";
/// Emulated time between two looks at the board.
const SLICE: Duration = Duration::from_millis(10);
/// How long the pins are recorded to tell what they do, and how often that is done again while one of them pulses.
const RECORDED: Duration = Duration::from_millis(40);
const AGAIN: Duration = Duration::from_millis(500);
/// The pins that are the user's: 2 to 22 and 26 to 28.
const USERS: u32 = 0x1c7f_fffc;

/// What can be seen of a board.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Emulated time since it got power.
    pub(super) up: Duration,
    /// What the pins do that it drives.
    pub(super) pins: BTreeMap<u32, Level>,
    /// What the LED does.
    pub(super) led: Option<Light>,
    /// Why it does not run any more.
    stopped: Option<String>,
}

/// A board that runs until this is dropped.
pub(super) struct Emulated {
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Emulated {
    /// Gives power to the board of that number, which has the image and settings that make it the node `name` at
    /// `address`.
    pub(super) fn start(
        image: &Image,
        cluster: &DevCluster,
        number: u16,
        name: &str,
        address: SocketAddr,
    ) -> Result<Self> {
        let settings = settings(cluster, name, address.ip())?;
        let published = [Publish {
            listen: address,
            port: address.port(),
        }];
        let network = User::new(&published).context("the board's kubelet port: choose another --node-ip")?;
        let access_point = AccessPoint::new(SSID, Security::Wpa2(PASSPHRASE.to_owned()));
        let radio = RadioConfig {
            address: address_of(number),
            ..RadioConfig::default()
        };
        let radio = Cyw43439::new(radio, Air::new(vec![access_point]), Box::new(network));
        let config = Config {
            unique_id: serial_number(number),
            // An even seed and the odd one after it are the same to the emulator.
            seed: 2 * u64::from(number),
            radio: Box::new(radio),
            ..Config::default()
        };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let ended = Arc::new(AtomicBool::new(false));
        let (image, shared, end) = (image.clone(), seen.clone(), ended.clone());
        let colour = std::io::stdout().is_terminal();
        let name = name.to_owned();
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                let mut desk = Desk::new(Board::new(config), name, colour, shared);
                if let Err(error) = desk.run(&[image, settings], &end) {
                    lock(&desk.seen).stopped = Some(format!("{error:#}"));
                }
            })
            .context("cannot start a thread for the board")?;
        Ok(Self {
            seen,
            ended,
            thread: Some(thread),
        })
    }

    /// What can be seen of it now.
    ///
    /// # Errors
    /// When it does not run any more.
    pub(super) fn seen(&self) -> Result<Seen> {
        let seen = lock(&self.seen).clone();
        match seen.stopped {
            Some(why) => Err(anyhow!(why)),
            None => Ok(seen),
        }
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong there was told.
            let _ = thread.join();
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `picolet provision` would make for this node, as the file that is dragged onto the board.
fn settings(cluster: &DevCluster, name: &str, address: IpAddr) -> Result<Image> {
    let IpAddr::V4(address) = address else {
        anyhow::bail!("--node-ip {address}: a board speaks IPv4");
    };
    let client = cluster.node_identity(name)?;
    let serving = cluster.pki().node_serving(name, &[IpAddr::V4(address)])?;
    let ca = &cluster.pki().ca().certificate_der;
    let server = format!("https://{HOST}:{}", cluster.address().port());
    let time = Ipv4Addr::to_string(&HOST);
    let mut block = [0; SLOT];
    let mut writer = Writer::new(&mut block);
    let fields: [(Field, &[u8]); 12] = [
        (Field::Ssid, SSID.as_bytes()),
        (Field::Passphrase, PASSPHRASE.as_bytes()),
        (Field::Ntp, time.as_bytes()),
        (Field::Server, server.as_bytes()),
        (Field::CertificateAuthority, ca),
        (Field::ClientCertificate, &client.certificate_der),
        (Field::ClientKey, &client.key_der),
        (Field::ServingCertificate, &serving.certificate_der),
        (Field::ServingKey, &serving.key_der),
        (Field::ClientAuthority, ca),
        (Field::NodeName, name.as_bytes()),
        (Field::NodeIp, &address.octets()),
    ];
    for (field, value) in fields {
        writer.put(field, value)?;
    }
    let blocks = uf2::settings(&PICO_W, writer.finish()?);
    Image::parse(&blocks.flatten().collect::<Vec<u8>>()).context("the settings of the board")
}

/// A recording of the pins: since when, and their levels then.
type Recording = (Time, u32);

/// A board, and somebody who looks at it.
struct Desk {
    board: Board,
    name: String,
    colour: bool,
    seen: Arc<Mutex<Seen>>,
    /// What the serial line has sent of a line.
    line: Vec<u8>,
    led: Blinking,
    recording: Option<Recording>,
    recorded: Time,
}

impl Desk {
    fn new(board: Board, name: String, colour: bool, seen: Arc<Mutex<Seen>>) -> Self {
        Self {
            board,
            name,
            colour,
            seen,
            line: Vec::new(),
            led: Blinking::new(),
            recording: None,
            recorded: Time::ZERO,
        }
    }

    /// Runs the board in the time of this machine.
    fn run(&mut self, files: &[Image], ended: &AtomicBool) -> Result<()> {
        for file in files {
            self.board.load(file)?;
        }
        self.board.set_pace(Some(1.0));
        self.board.power_on();
        while !ended.load(Ordering::Relaxed) {
            match self.board.run_until(self.board.time() + SLICE) {
                Stop::Reached => {}
                stop => {
                    self.show_log();
                    return Err(anyhow!("{} stopped: {stop}", self.name));
                }
            }
            self.show_log();
            self.look_at_the_led();
            self.look_at_the_pins();
            lock(&self.seen).up = self.board.time().since(Time::ZERO);
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        match self.colour {
            true => println!("\x1b[36m{} ┆\x1b[0m {text}", self.name),
            false => println!("{} ┆ {text}", self.name),
        }
    }

    fn show_log(&mut self) {
        // Both have the log; one is enough.
        drop(self.board.take_usb());
        for byte in self.board.take_uart(0) {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    let text = String::from_utf8_lossy(&line);
                    // Escape sequences are not for this terminal.
                    let text: String = text.trim_end().chars().filter(|c| !c.is_control()).collect();
                    self.say(&text);
                }
                byte => self.line.push(byte),
            }
        }
    }

    fn look_at_the_led(&mut self) {
        let lit = self.board.radio().status().gpio & 1 != 0;
        if let Some(light) = self.led.look(lit, self.board.time()) {
            lock(&self.seen).led = Some(light);
            self.say(&format!("LED      {light}"));
        }
    }

    /// Pins that pulse are recorded again and again, the others when they move.
    fn look_at_the_pins(&mut self) {
        let now = self.board.time();
        let driven = self.board.driven_pins() & USERS;
        if let Some(from) = self.recording {
            if now.since(from.0) >= RECORDED {
                let changes = self.board.take_pin_log();
                self.board.set_pin_log(false);
                (self.recording, self.recorded) = (None, now);
                self.show_pins(driven, from, &changes, now);
            }
            return;
        }
        let levels = self.board.pins();
        let seen = lock(&self.seen);
        let is_driven = |pin: &u32| driven >> pin & 1 != 0;
        let moved = (0..30).filter(is_driven).any(|pin| match seen.pins.get(&pin) {
            None => true,
            Some(Level::Pulses { .. }) => now.since(self.recorded) >= AGAIN,
            Some(level) => (*level == Level::High) != (levels >> pin & 1 != 0),
        });
        let left = seen.pins.keys().any(|pin| !is_driven(pin));
        drop(seen);
        if moved || left {
            self.board.set_pin_log(true);
            self.recording = Some((now, levels));
        }
    }

    fn show_pins(&mut self, driven: u32, from: Recording, changes: &[(Time, u32)], until: Time) {
        let mut pins = BTreeMap::new();
        for pin in (0..30).filter(|pin| driven >> pin & 1 != 0) {
            pins.insert(pin, Level::of(pin, from, changes, until));
        }
        let before = std::mem::replace(&mut lock(&self.seen).pins, pins.clone());
        for (pin, level) in &pins {
            if !before.get(pin).is_some_and(|before| before.looks_like(level)) {
                self.say(&format!("GPIO {pin:<2}  {level}"));
            }
        }
        for pin in before.keys().filter(|pin| !pins.contains_key(pin)) {
            self.say(&format!("GPIO {pin:<2}  is let go"));
        }
    }
}
