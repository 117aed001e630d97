//! Tests of the device, and what those of others need of it.

mod cluster;
mod examples;
mod ownership;

use super::layers::BASE;
use super::values::Parser;
use super::*;
use core::cell::RefCell;
use picolet_kube::config_map::Data;
use picolet_platform::PinReading;
use std::collections::BTreeMap;
use std::format;

/// A ConfigMap of that version.
fn map(name: &str, version: u32, data: &[(&str, &str)]) -> (Metadata, Parser) {
    let metadata = Metadata {
        name: name.into(),
        namespace: "default".into(),
        uid: format!("uid-{name}").into(),
        resource_version: format!("{version}").into(),
        ..Metadata::default()
    };
    let mut parser = Parser::new(PinSet::range(2, 22));
    for (key, value) in data {
        parser.key(key);
        parser.piece(value.as_bytes(), true);
    }
    (metadata, parser)
}

/// Applies a ConfigMap, without driving the device.
fn apply_to(devices: &Devices, name: &str, version: u32, data: &[(&str, &str)]) {
    let (metadata, mut parser) = map(name, version, data);
    let now = Timestamp::from_seconds(u64::from(version));
    devices.apply(&metadata, &mut parser, now);
}

/// Applies `pico-config` with this data, without driving the device, for the tests of others.
pub(crate) fn configure(devices: &Devices, data: &[(&str, &str)]) {
    let (metadata, mut parser) = map(BASE, 1, data);
    devices.apply(&metadata, &mut parser, crate::testing::START);
}

/// Pins that remember what they were told.
#[derive(Default)]
struct Board {
    told: RefCell<Vec<(u8, PinMode)>>,
    modes: RefCell<BTreeMap<u8, PinMode>>,
}

impl Board {
    /// What it was told since this was last asked.
    fn take(&self) -> Vec<(u8, PinMode)> {
        self.told.take()
    }

    /// The pins that do something.
    fn modes(&self) -> Vec<(u8, PinMode)> {
        self.modes
            .borrow()
            .iter()
            .map(|(pin, mode)| (*pin, *mode))
            .collect()
    }
}

impl Pins for Board {
    fn pins(&self) -> PinSet {
        PinSet::range(2, 22)
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        self.told.borrow_mut().push((pin, mode));
        let mut modes = self.modes.borrow_mut();
        match mode {
            PinMode::Unset => modes.remove(&pin),
            mode => modes.insert(pin, mode),
        };
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        let mode = self.modes.borrow().get(&pin).copied().unwrap_or_default();
        Some(PinReading { mode, high: false })
    }

    fn read_adc(&self, _: u8) -> Option<u16> {
        None
    }
}
