//! Values of options that need more than clap knows.

use picolet_emulator::PowerCut;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// What is behind the access point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Network {
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
pub(super) struct Speed(pub(super) Option<f64>);

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

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mac(pub(super) [u8; 6]);

impl FromStr for Mac {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut address = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut address {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or("an Ethernet address is six bytes, such as 28:cd:c1:00:00:02")?;
        }
        if parts.next().is_some() || address[0] & 1 != 0 {
            return Err("an Ethernet address of one board is six bytes, the first of them even");
        }
        Ok(Self(address))
    }
}

/// A moment at which power is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut(pub(super) PowerCut);

impl FromStr for Cut {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a power cut is instruction:N, or flash:N or flash:N:SHARE%, with N from 1";
        let (kind, rest) = text.split_once(':').ok_or(FORM)?;
        let (number, share) = match rest.split_once(':') {
            Some((number, share)) => (number, Some(share)),
            None => (rest, None),
        };
        let number = number.parse().ok().filter(|number| *number > 0).ok_or(FORM)?;
        match (kind, share) {
            ("instruction", None) => Ok(Self(PowerCut::Instruction(number))),
            ("flash", share) => {
                let percent: u32 = match share {
                    None => 50,
                    Some(share) => share
                        .strip_suffix('%')
                        .and_then(|it| it.parse().ok())
                        .ok_or(FORM)?,
                };
                let fraction = u8::try_from(percent * 256 / 100).ok().filter(|_| percent < 100);
                let fraction = fraction.ok_or("less than 100% of an operation happens before the cut")?;
                Ok(Self(PowerCut::FlashOperation { number, fraction }))
            }
            _ => Err(FORM),
        }
    }
}

/// A moment at which RUN is pulled low.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunPress {
    pub(super) operation: u64,
    pub(super) fraction: u8,
}

impl FromStr for RunPress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse().map(|Cut(cut)| cut) {
            Ok(PowerCut::FlashOperation { number, fraction }) => Ok(Self {
                operation: number,
                fraction,
            }),
            _ => Err("RUN is pulled low at flash:N or flash:N:SHARE%, with N from 1"),
        }
    }
}

/// What to trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trace {
    Instructions,
    Radio,
    /// All registers whose names start with this.
    Registers(String),
}

impl FromStr for Trace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "instructions" => return Ok(Self::Instructions),
            "radio" => return Ok(Self::Radio),
            "registers" => return Ok(Self::Registers(String::new())),
            _ => {}
        }
        let name = text.to_ascii_uppercase();
        let block = name.split('.').next().unwrap_or_default();
        if picolet_emulator::blocks().any(|known| !block.is_empty() && known.starts_with(block)) {
            return Ok(Self::Registers(name));
        }
        let blocks: Vec<_> = picolet_emulator::blocks().collect();
        Err(format!(
            "can be instructions, radio, registers, or a block or register of the chip: {}",
            blocks.join(", ")
        ))
    }
}

/// Where to wait for gdb: a port of this machine alone, or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listen(pub(super) SocketAddr);

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = || text.parse().ok().map(|port| (Ipv4Addr::LOCALHOST, port).into());
        port()
            .or_else(|| text.parse().ok())
            .map(Self)
            .ok_or("give a port, such as 3333, or an address and a port, such as 127.0.0.1:3333")
    }
}

pub(super) fn seconds(text: &str) -> Result<Duration, &'static str> {
    let number = text.parse().ok().filter(|seconds| *seconds > 0.0);
    number
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or("not a number of seconds above zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_cuts_are_read() {
        let cut = |text: &str| text.parse::<Cut>().map(|cut| cut.0);
        assert_eq!(cut("instruction:7"), Ok(PowerCut::Instruction(7)));
        let flash = |number, fraction| Ok(PowerCut::FlashOperation { number, fraction });
        assert_eq!(cut("flash:3"), flash(3, 128));
        assert_eq!(cut("flash:3:25%"), flash(3, 64));
        for wrong in [
            "7",
            "flash:0",
            "flash:1:100%",
            "instruction:1:5%",
            "flash:1:-1%",
            "clock:1",
        ] {
            assert!(cut(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_of_run_are_operations_of_flash() {
        let press = RunPress {
            operation: 3,
            fraction: 64,
        };
        assert_eq!("flash:3:25%".parse(), Ok(press));
        assert!("instruction:7".parse::<RunPress>().is_err());
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!("28:cd:c1:00:00:02".parse(), Ok(Mac([0x28, 0xcd, 0xc1, 0, 0, 2])));
        for wrong in [
            "28:cd:c1:00:00",
            "29:cd:c1:00:00:02",
            "28:cd:c1:0:0:2",
            "28:cd:c1:00:00:02:03",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
        assert_eq!("3333".parse(), Ok(Listen(([127, 0, 0, 1], 3333).into())));
        assert_eq!("127.0.0.9:1".parse(), Ok(Listen(([127, 0, 0, 9], 1).into())));
        assert!("localhost:1".parse::<Listen>().is_err());
    }

    #[test]
    fn blocks_to_trace_are_known() {
        assert_eq!("uart0".parse(), Ok(Trace::Registers("UART0".to_owned())));
        assert_eq!("DMA.CH1".parse(), Ok(Trace::Registers("DMA.CH1".to_owned())));
        assert!("toaster".parse::<Trace>().unwrap_err().contains("UART0"));
        assert!(".".parse::<Trace>().is_err());
    }
}
