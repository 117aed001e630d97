//! The device itself: what it measures, what its cells and pins are, and what it can be told to do.

use crate::devices::{Mode, OF_SLICE};
use crate::host::Host;
use crate::server::Server;
use crate::server::metrics::Decimal;
use crate::server::response::{Answer, JSON, OrNull, Text};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Write as _};
use picolet_kube::json::{Code, Decoder, Field, Shape, Sink, shape};
use picolet_kube::{Collector, integer};
use picolet_platform::{Clock, Duration, LedMode, Memory, Network, PinMode, Pins, Sensors};

/// Analogue inputs that are asked for.
const ADC_CHANNELS: u8 = 8;
/// Memory cells that are written at once.
const CELLS_AT_ONCE: usize = 32;

/// What the device can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Blink so often.
    BlinkLed {
        /// How often.
        times: u16,
        /// How long it is lit and dark each time, in milliseconds.
        delay_ms: u16,
    },
    /// Show this on the LED from now on.
    SetLed(LedMode),
    /// Make itself seen.
    Identify {
        /// For so long.
        seconds: u16,
    },
    /// Make a pin do this from now on.
    SetGpio {
        /// Which.
        pin: u8,
        /// What. A PWM frequency of 0 is that of the pin's slice.
        mode: PinMode,
    },
    /// Restart.
    Reboot,
    /// Forget who the node is and what it was provisioned with, and restart.
    Forget,
}

/// Why a command is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The body is not one JSON document.
    Json,
    /// `command` is missing or none of those that there are.
    Unknown,
    /// A parameter is missing.
    Missing(&'static str),
    /// A parameter is no whole number in its range.
    Range(&'static str, u16, u16),
    /// A parameter is none of these words.
    Word(&'static str, &'static str),
    /// `forget` does not name this node.
    Node,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json => {
                f.write_str(r#"the body is not one JSON document like {"command":"identify","params":{}}"#)
            }
            Self::Unknown => {
                f.write_str("command: is one of blink_led, set_led, identify, set_gpio, reboot and forget")
            }
            Self::Missing(name) => write!(f, "params.{name}: is missing"),
            Self::Range(name, least, most) => {
                let (least, most) = (u32::from(*least), u32::from(*most));
                write!(f, "params.{name}: is a whole number from {least} to {most}")
            }
            Self::Word(name, words) => write!(f, "params.{name}: is one of {words}"),
            Self::Node => {
                f.write_str("params.node: is the name of this node, so that no other forgets who it is")
            }
        }
    }
}

impl core::error::Error for CommandError {}

/// The fields of a command, in the order in which their values are kept.
const NAMES: [&str; 10] = [
    "command",
    "times",
    "delay_ms",
    "state",
    "period_ms",
    "seconds",
    "pin",
    "value",
    "duty",
    "node",
];
const FIRST: u8 = 32;

const fn field(index: u8) -> Shape {
    Shape::Value(Field(FIRST + index))
}

const SHAPE: Code = shape!(Shape::Object(&[
    ("command", field(0)),
    (
        "params",
        Shape::Object(&[
            ("times", field(1)),
            ("delay_ms", field(2)),
            ("state", field(3)),
            ("period_ms", field(4)),
            ("seconds", field(5)),
            ("pin", field(6)),
            ("value", field(7)),
            ("duty", field(8)),
            ("node", field(9)),
        ]),
    ),
]));

#[derive(Default)]
struct Fields {
    values: [Option<Box<str>>; NAMES.len()],
    collector: Collector,
}

impl Sink for Fields {
    fn text(&mut self, field: Field, piece: &[u8], last: bool) {
        if let Some(value) = self.collector.push(piece, last) {
            let index = usize::from(field.0.wrapping_sub(FIRST));
            if let Some(kept) = self.values.get_mut(index) {
                *kept = Some(value.unwrap_or_default().into());
            }
        }
    }
}

impl Fields {
    fn get(&self, name: &'static str) -> Option<&str> {
        let index = NAMES.iter().position(|known| *known == name)?;
        self.values.get(index)?.as_deref()
    }

    fn word(&self, name: &'static str) -> Result<&str, CommandError> {
        self.get(name).ok_or(CommandError::Missing(name))
    }

    /// A whole number in a range; `default` where it is missing.
    fn number(
        &self,
        name: &'static str,
        range: (u16, u16),
        default: Option<u16>,
    ) -> Result<u16, CommandError> {
        let (least, most) = range;
        let value = match self.get(name) {
            None => default.ok_or(CommandError::Missing(name))?,
            Some(text) => integer(text, 10)
                .and_then(|value| u16::try_from(value).ok())
                .ok_or(CommandError::Range(name, least, most))?,
        };
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(CommandError::Range(name, least, most))
        }
    }

    /// A whole number up to `most`.
    fn byte(&self, name: &'static str, most: u8) -> Result<u8, CommandError> {
        self.number(name, (0, u16::from(most)), None)
            .map(|value| value as u8)
    }
}

impl Command {
    /// Reads a command to the node of that name from the body of a request.
    ///
    /// # Errors
    /// Names the field and what it may be.
    #[inline(never)]
    pub fn parse(body: &[u8], node: &str) -> Result<Self, CommandError> {
        let mut fields = Fields::default();
        let mut decoder = Decoder::new(SHAPE);
        let read = decoder.feed(body, &mut fields);
        if read.is_err() || !decoder.at_boundary() || decoder.documents() != 1 {
            return Err(CommandError::Json);
        }
        match fields.get("command") {
            Some("blink_led") => Ok(Self::BlinkLed {
                times: fields.number("times", (1, 1000), None)?,
                delay_ms: fields.number("delay_ms", (10, 10_000), Some(200))?,
            }),
            Some("set_led") => Ok(Self::SetLed(match fields.word("state")? {
                "on" => LedMode::On,
                "off" => LedMode::Off,
                "blink" => LedMode::Blink {
                    period_ms: fields.number("period_ms", (20, 60_000), Some(1000))?,
                },
                _ => return Err(CommandError::Word("state", "on, off and blink")),
            })),
            Some("identify") => Ok(Self::Identify {
                seconds: fields.number("seconds", (1, 3600), Some(10))?,
            }),
            Some("set_gpio") => Ok(Self::SetGpio {
                pin: fields.byte("pin", 63)?,
                mode: match fields.word("value")? {
                    "high" => PinMode::High,
                    "low" => PinMode::Low,
                    "pwm" => PinMode::Pwm {
                        duty: fields.byte("duty", 255)?,
                        hertz: OF_SLICE,
                    },
                    _ => return Err(CommandError::Word("value", "high, low and pwm")),
                },
            }),
            Some("reboot") => Ok(Self::Reboot),
            Some("forget") if fields.get("node") == Some(node) => Ok(Self::Forget),
            Some("forget") => Err(CommandError::Node),
            _ => Err(CommandError::Unknown),
        }
    }
}

fn failure(code: u16, message: &dyn fmt::Display) -> Answer<'static> {
    Answer::error(true, code, message)
}

impl<H: Host> Server<'_, H> {
    /// `/pico/status`
    pub(super) fn pico_status(&self) -> Answer<'_> {
        let machine = self.node.machine;
        let temperature = machine.temperature_millicelsius().map(|millis| {
            let half = if millis < 0 { -50 } else { 50 };
            Decimal((i64::from(millis) + half) / 100, 1)
        });
        let heartbeat = self.node.health.heartbeat();
        Answer::json(format_args!(
            r#"{{"wifi_rssi":{},"free_memory":{},"uptime_seconds":{},"temperature_celsius":{},"last_k8s_update":{}}}"#,
            OrNull(self.node.network.rssi_dbm().map(|dbm| Decimal(dbm.into(), 0))),
            machine.heap().free(),
            machine.uptime().as_secs(),
            OrNull(temperature),
            OrNull(heartbeat.map(|(_, at)| Text(at.time()))),
        ))
    }

    /// `/pico/memory`. The cells are those of one moment, however long it takes to send them.
    pub(super) fn pico_memory(&self) -> Answer<'_> {
        let cells = self.node.devices.cells();
        let last_update = self.node.devices.last_update();
        let mut written = 0;
        Answer::pieces(JSON, move |out| {
            if written == 0 {
                out.push_str(r#"{"memory_cells":["#);
            }
            for (address, value) in cells.iter().skip(written).take(CELLS_AT_ONCE) {
                if written > 0 {
                    out.push(',');
                }
                let (address, value) = (u32::from(*address), u32::from(*value));
                let _ = write!(out, r#"{{"address":{address},"value":{value}}}"#);
                written += 1;
            }
            if written < cells.len() {
                return true;
            }
            let _ = write!(
                out,
                r#"],"last_update":{}}}"#,
                OrNull(last_update.map(|at| Text(at.time())))
            );
            false
        })
    }

    /// `/pico/gpio`
    pub(super) fn pico_gpio(&self) -> Answer<'_> {
        let machine = self.node.machine;
        let mut pins = String::new();
        for pin in machine.pins().iter() {
            if let Some(reading) = machine.read_pin(pin) {
                let (pin, mode, level) = (u32::from(pin), Mode(reading.mode), u32::from(reading.high));
                let comma = if pins.is_empty() { "" } else { "," };
                let _ = write!(pins, r#"{comma}{{"pin":{pin},"mode":"{mode}","level":{level}}}"#);
            }
        }
        let mut adc = String::new();
        for channel in 0..ADC_CHANNELS {
            if let Some(millivolts) = machine.read_adc(channel) {
                let (channel, volts) = (u32::from(channel), Decimal(i64::from(millivolts), 3));
                let comma = if adc.is_empty() { "" } else { "," };
                let _ = write!(adc, r#"{comma}{{"channel":{channel},"volts":{volts}}}"#);
            }
        }
        Answer::json(format_args!(r#"{{"pins":[{pins}],"adc":[{adc}]}}"#))
    }

    /// `POST /pico/command`
    pub(super) fn pico_command(&self, body: &[u8]) -> Answer<'_> {
        let node = &self.node;
        let command = match Command::parse(body, &node.settings.node_name) {
            Ok(command) => command,
            Err(error) => return failure(400, &error),
        };
        let now = node.machine.uptime();
        let devices = node.devices;
        let taken = match command {
            Command::BlinkLed { .. } | Command::SetLed(_) => devices.check_led(),
            Command::SetGpio { pin, .. } if !node.machine.pins().contains(pin) => {
                let pin = u32::from(pin);
                let message = format_args!("params.pin: {pin}: the board has no such pin for its user");
                return failure(400, &message);
            }
            Command::SetGpio { pin, mode } => devices.command_pin(pin, mode),
            _ => Ok(()),
        };
        if let Err(words) = taken {
            return failure(409, &words);
        }
        match command {
            Command::BlinkLed { times, delay_ms } => devices.display.blink(times, delay_ms, now),
            Command::SetLed(mode) => devices.command_led(mode),
            Command::Identify { seconds } => {
                let until = now.saturating_add(Duration::from_secs(u64::from(seconds)));
                devices.display.identify(until);
            }
            Command::SetGpio { .. } | Command::Reboot | Command::Forget => {}
        }
        if matches!(command, Command::SetLed(_) | Command::SetGpio { .. }) {
            devices.drive(node.machine);
        }
        let mut answer = Answer::json(format_args!(r#"{{"status":"ok"}}"#));
        answer.forget = command == Command::Forget;
        answer.reboot = answer.forget || command == Command::Reboot;
        answer.close = answer.reboot;
        answer
    }
}
