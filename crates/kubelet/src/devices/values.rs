//! What a ConfigMap says, read as it streams by: `memory_values`, `gpio`, `led`.
//!
//! A value may be of any length; what is kept is at most a kilobyte of cells, one mode for each pin, and one for the
//! LED. The first entry that is wrong is kept with the reason, for the person who wrote it.

use super::problem::{ENTRY_BYTES, Problem, Rejection};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use picolet_kube::config_map::Data;
use picolet_kube::integer;
use picolet_platform::{LedMode, PWM_HERTZ, PinMode, PinSet};

/// The frequency of a pin that names none: that of its PWM slice.
pub(crate) const OF_SLICE: u32 = 0;
/// Cells of the device's memory.
pub const CELLS: usize = 1024;
/// Which of 1024 cells are set, and to what.
#[derive(Clone)]
struct Cells {
    set: [u32; CELLS / 32],
    values: [u8; CELLS],
}

/// What one ConfigMap sets.
#[derive(Clone, Default)]
pub(super) struct Values {
    cells: Option<Box<Cells>>,
    pins: Vec<(u8, PinMode)>,
    led: Option<LedMode>,
}

impl Values {
    /// The value of a cell, where it is set.
    pub(super) fn cell(&self, address: u16) -> Option<u8> {
        let cells = self.cells.as_ref()?;
        let at = usize::from(address);
        (cells.set.get(at / 32)? >> (at % 32) & 1 == 1).then(|| cells.values[at])
    }

    /// The mode of a pin, where it is set.
    pub(super) fn pin(&self, pin: u8) -> Option<PinMode> {
        self.pins
            .iter()
            .find(|(number, _)| *number == pin)
            .map(|(_, mode)| *mode)
    }

    /// The mode of the LED, where it is set.
    pub(super) fn led(&self) -> Option<LedMode> {
        self.led
    }

    fn set_cell(&mut self, address: u16, value: u8) -> bool {
        let cells = self.cells.get_or_insert_with(|| {
            Box::new(Cells {
                set: [0; CELLS / 32],
                values: [0; CELLS],
            })
        });
        let at = usize::from(address);
        let fresh = cells.set[at / 32] >> (at % 32) & 1 == 0;
        cells.set[at / 32] |= 1 << (at % 32);
        cells.values[at] = value;
        fresh
    }
}

/// The key that is being read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Other,
    MemoryValues,
    Gpio,
    Led,
}

impl Key {
    const fn name(self) -> &'static str {
        match self {
            Self::MemoryValues => "memory_values",
            Self::Gpio => "gpio",
            Self::Led => "led",
            Self::Other => "",
        }
    }
}

/// Where the data of a ConfigMap is read into, to be taken whole or not at all.
pub(super) struct Parser {
    allowed: PinSet,
    pub(super) values: Values,
    pub(super) rejection: Option<Rejection>,
    /// A key that nobody knows: told, but no reason to refuse the rest.
    pub(super) unknown: Option<heapless::String<ENTRY_BYTES>>,
    key: Key,
    entry: heapless::Vec<u8, ENTRY_BYTES>,
    overflow: bool,
}

impl Parser {
    /// An empty parser for a board with these pins.
    pub(super) fn new(allowed: PinSet) -> Self {
        Self {
            allowed,
            values: Values::default(),
            rejection: None,
            unknown: None,
            key: Key::Other,
            entry: heapless::Vec::new(),
            overflow: false,
        }
    }

    fn end_entry(&mut self) {
        let text = shown(&self.entry);
        let entry = text.trim_ascii();
        if !entry.is_empty() && self.rejection.is_none() {
            let taken = match self.key {
                Key::MemoryValues => self.memory(entry),
                Key::Gpio => self.gpio(entry),
                _ => self.led(entry),
            };
            // An entry that is too long for its buffer is none that could be right: it is told as what was expected.
            if let Err(problem) = taken.and(if self.overflow {
                Err(self.expected())
            } else {
                Ok(())
            }) {
                let mut shown = heapless::String::new();
                let _ = shown.push_str(entry);
                self.rejection = Some(Rejection {
                    key: self.key.name(),
                    entry: shown,
                    problem,
                });
            }
        }
        self.entry.clear();
        self.overflow = false;
    }

    const fn expected(&self) -> Problem {
        match self.key {
            Key::MemoryValues => Problem::Byte,
            Key::Gpio => Problem::PinMode,
            _ => Problem::Led,
        }
    }

    fn memory(&mut self, entry: &str) -> Result<(), Problem> {
        let (address, value) = entry.split_once('=').ok_or(Problem::NoEquals)?;
        let address = number(address)
            .filter(|n| *n < CELLS as u32)
            .ok_or(Problem::Address)?;
        let value = number(value)
            .and_then(|n| u8::try_from(n).ok())
            .ok_or(Problem::Byte)?;
        if self.values.set_cell(address as u16, value) {
            Ok(())
        } else {
            Err(Problem::Twice)
        }
    }

    fn gpio(&mut self, entry: &str) -> Result<(), Problem> {
        let (pin, mode) = entry.split_once('=').ok_or(Problem::NoEquals)?;
        let pin = number(pin)
            .and_then(|n| u8::try_from(n).ok())
            .ok_or(Problem::Pin)?;
        let mode = pin_mode(mode.trim_ascii())?;
        if !self.allowed.contains(pin) {
            return Err(Problem::Pin);
        }
        if self.values.pin(pin).is_some() {
            return Err(Problem::Twice);
        }
        self.values.pins.push((pin, mode)); // at most once for each pin of the board
        Ok(())
    }

    fn led(&mut self, entry: &str) -> Result<(), Problem> {
        if self.values.led.is_some() {
            return Err(Problem::Twice);
        }
        self.values.led = Some(led_mode(entry).ok_or(Problem::Led)?);
        Ok(())
    }
}

/// Reads `low`, `high`, `pwm:DUTY` or `pwm:DUTY@HERTZ`.
fn pin_mode(text: &str) -> Result<PinMode, Problem> {
    match text {
        "low" => return Ok(PinMode::Low),
        "high" => return Ok(PinMode::High),
        _ => {}
    }
    let pwm = text.strip_prefix("pwm:").ok_or(Problem::PinMode)?;
    let (duty, hertz) = pwm
        .split_once('@')
        .map_or((pwm, None), |(duty, hertz)| (duty, Some(hertz)));
    let duty = number(duty)
        .and_then(|n| u8::try_from(n).ok())
        .ok_or(Problem::PinMode)?;
    let hertz = match hertz {
        None => OF_SLICE,
        Some(text) => number(text)
            .filter(|hertz| PWM_HERTZ.contains(hertz))
            .ok_or(Problem::Frequency)?,
    };
    Ok(PinMode::Pwm { duty, hertz })
}

/// A mode of a pin in the words of a ConfigMap.
pub(crate) struct Mode(pub(crate) PinMode);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PinMode::Unset => f.write_str("unset"),
            PinMode::Low => f.write_str("low"),
            PinMode::High => f.write_str("high"),
            PinMode::Pwm { duty, hertz } => {
                write!(f, "pwm:{duty}")?;
                match hertz {
                    OF_SLICE => Ok(()),
                    hertz => write!(f, "@{hertz}"),
                }
            }
        }
    }
}

/// Reads `on`, `off` or `blink:MILLISECONDS`.
fn led_mode(text: &str) -> Option<LedMode> {
    match text {
        "on" => Some(LedMode::On),
        "off" => Some(LedMode::Off),
        _ => {
            let period = number(text.strip_prefix("blink:")?)?;
            let period_ms = u16::try_from(period)
                .ok()
                .filter(|ms| (20..=60_000).contains(ms))?;
            Some(LedMode::Blink { period_ms })
        }
    }
}

/// Reads a number, decimal or `0x` hexadecimal, with nothing else around it but spaces.
fn number(text: &str) -> Option<u32> {
    let text = text.trim_ascii();
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    // `integer` would take a sign.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u32::try_from(integer(digits, radix)?).ok()
}

/// The bytes as text, as far as there is room; what is no UTF-8 (an entry cut in the middle of a character) is left off.
fn shown(bytes: &[u8]) -> heapless::String<ENTRY_BYTES> {
    let bytes = bytes.get(..bytes.len().min(ENTRY_BYTES)).unwrap_or_default();
    let whole = core::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let text = core::str::from_utf8(bytes.get(..whole).unwrap_or_default());
    heapless::String::try_from(text.unwrap_or_default()).unwrap_or_default()
}

impl Data for Parser {
    fn key(&mut self, key: &str) {
        self.key = match key {
            "memory_values" => Key::MemoryValues,
            "gpio" => Key::Gpio,
            "led" => Key::Led,
            _ => {
                if self.unknown.is_none() {
                    self.unknown = Some(shown(key.as_bytes()));
                }
                Key::Other
            }
        };
    }

    fn piece(&mut self, piece: &[u8], last: bool) {
        if self.key == Key::Other {
            return;
        }
        for byte in piece {
            if matches!(byte, b',' | b'\n') {
                self.end_entry();
            } else {
                self.overflow |= self.entry.push(*byte).is_err();
            }
        }
        if last {
            self.end_entry();
        }
    }

    fn binary(&mut self, key: &str) {
        if self.rejection.is_none() {
            self.rejection = Some(Rejection {
                key: "binaryData",
                entry: shown(key.as_bytes()),
                problem: Problem::Binary,
            });
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::string::{String, ToString};
    use std::{format, vec::Vec};

    fn read(data: &[(&str, &str)], step: usize) -> Parser {
        let mut parser = Parser::new(PinSet::range(2, 22));
        for (key, value) in data {
            parser.key(key);
            for piece in value.as_bytes().chunks(step) {
                parser.piece(piece, false);
            }
            parser.piece(b"", true);
        }
        parser
    }

    fn problem(key: &str, value: &str) -> Option<Problem> {
        read(&[(key, value)], 7)
            .rejection
            .map(|rejection| rejection.problem)
    }

    #[test]
    fn what_a_person_writes() {
        let parser = read(
            &[
                ("memory_values", "0=0x42,1=0x43, 2 = 0xFF ,1023=7,\n3=0\n"),
                ("gpio", "2=high,3=low,4=pwm:128,5=pwm:0x10@50"),
                ("led", "blink:500\n"),
            ],
            3,
        );
        assert_eq!(parser.rejection, None);
        let cells: Vec<_> = (0..CELLS as u16)
            .filter_map(|at| Some((at, parser.values.cell(at)?)))
            .collect();
        assert_eq!(cells, [(0, 0x42), (1, 0x43), (2, 0xff), (3, 0), (1023, 7)]);
        assert_eq!(parser.values.pin(2), Some(PinMode::High));
        assert_eq!(
            parser.values.pin(4),
            Some(PinMode::Pwm {
                duty: 128,
                hertz: OF_SLICE
            })
        );
        assert_eq!(parser.values.pin(5), Some(PinMode::Pwm { duty: 16, hertz: 50 }));
        assert_eq!(parser.values.pin(6), None);
        assert_eq!(parser.values.led(), Some(LedMode::Blink { period_ms: 500 }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (key, value, want) in [
            ("memory_values", "0=1,x=2", Problem::Address),
            ("memory_values", "1024=1", Problem::Address),
            ("memory_values", "0=256", Problem::Byte),
            ("memory_values", "0=-1", Problem::Byte),
            ("memory_values", "0=+1", Problem::Byte),
            ("memory_values", "0=0x", Problem::Byte),
            ("memory_values", "0", Problem::NoEquals),
            ("memory_values", "0=1,0=1", Problem::Twice),
            ("gpio", "0=high", Problem::Pin),
            ("gpio", "99=high", Problem::Pin),
            ("gpio", "2=on", Problem::PinMode),
            ("gpio", "2=pwm:256", Problem::PinMode),
            ("gpio", "2=pwm:1@7", Problem::Frequency),
            ("gpio", "2=low,2=high", Problem::Twice),
            ("led", "blue", Problem::Led),
            ("led", "blink:5", Problem::Led),
            ("led", "on,off", Problem::Twice),
        ] {
            assert_eq!(problem(key, value), Some(want), "{key}={value}");
        }
        let long = format!("0={}", "0".repeat(100));
        assert_eq!(problem("memory_values", &long), Some(Problem::Byte));
        let rejection = read(&[("gpio", "2=high,3=é")], 1).rejection.expect("refused");
        assert_eq!(
            rejection.to_string(),
            "gpio: entry \"3=é\": a pin is low, high, pwm:DUTY or pwm:DUTY@HERTZ with a duty from 0 to 255"
        );
        assert_eq!(
            read(&[("memory_value", "x")], 9).unknown.as_deref(),
            Some("memory_value")
        );
    }

    proptest! {
        #[test]
        fn any_cells_come_through(cells in prop::collection::btree_map(0u16..1024, any::<u8>(), 0..200), hex in any::<bool>(), step in 1usize..50) {
            let text: Vec<String> = cells.iter().map(|(at, value)| if hex { format!("{at:#x}={value:#X}").replace("0X", "0x") } else { format!("{at}={value}") }).collect();
            let parser = read(&[("memory_values", &text.join(","))], step);
            prop_assert_eq!(parser.rejection, None);
            let got: BTreeMap<u16, u8> = (0..1024).filter_map(|at| Some((at, parser.values.cell(at)?))).collect();
            prop_assert_eq!(got, cells);
        }

        #[test]
        fn no_text_panics(key in prop::sample::select(std::vec!["memory_values", "gpio", "led"]), text in any::<String>(), like in "[0-9a-fx=,:@pwm high\\n]{0,80}", step in 1usize..9) {
            read(&[(key, &text)], step);
            read(&[(key, &like)], step);
        }
    }
}
