//! Whatever firmware does to the radio's pins: edges, transfers, packets that are none, power lost in the middle.
#![no_main]

#[allow(dead_code, reason = "the tests use the rest of it")]
#[path = "../../tests/support/gspi.rs"]
mod gspi;

use std::any::Any;
use std::time::Duration;

use gspi::{Host, firmware};
use libfuzzer_sys::fuzz_target;
use picolet_emulator::Time;
use picolet_emulator::net::Link;
use picolet_emulator::radio::{AccessPoint, Air, Config, Cyw43439, Radio, Security, Status};

/// A network that sends everything back.
#[derive(Clone, Default)]
struct Mirror(Vec<Vec<u8>>);

impl Link for Mirror {
    fn send(&mut self, frame: &[u8], _now: Time) {
        self.0.push(frame.to_vec());
    }
    fn receive(&mut self, _now: Time) -> Option<Vec<u8>> {
        self.0.pop()
    }
    fn next_event(&self) -> Option<Time> {
        None
    }
    fn duplicate(&self) -> Option<Box<dyn Link>> {
        Some(Box::new(self.clone()))
    }
}

/// A copy of a radio, for a host that wants one of its own.
struct Copied(Box<dyn Radio>);

impl Radio for Copied {
    fn power(&mut self, on: bool, now: Time) {
        self.0.power(on, now);
    }
    fn select(&mut self, level: bool, now: Time) {
        self.0.select(level, now);
    }
    fn clock(&mut self, level: bool, data: bool, now: Time) {
        self.0.clock(level, data, now);
    }
    fn data(&self) -> Option<bool> {
        self.0.data()
    }
    fn next_event(&self) -> Option<Time> {
        self.0.next_event()
    }
    fn advance(&mut self, now: Time) {
        self.0.advance(now);
    }
    fn duplicate(&self) -> Box<dyn Radio> {
        self.0.duplicate()
    }
    fn status(&self) -> Status {
        self.0.status()
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self.0.as_any_mut()
    }
}

/// A host that has joined a network, made once.
fn joined() -> Host<Cyw43439> {
    let air = Air::new(vec![AccessPoint::new("net", Security::Wpa2("12345678".into()))]);
    let mut host = Host::new(Cyw43439::new(Config::default(), air, Box::<Mirror>::default()));
    let (firmware, parameters) = firmware();
    host.start(&firmware, parameters);
    host.configure();
    host.join("net", Some("12345678"));
    host.run(Duration::from_millis(400));
    host
}

thread_local! {
    static JOINED: Host<Cyw43439> = joined();
}

fuzz_target!(|data: &[u8]| {
    let (radio, now) = JOINED.with(|host| (host.radio.duplicate(), host.now));
    let mut host = Host::new(Copied(radio));
    host.now = now;
    host.speak_words();
    let mut rest = data;
    while let [kind, length, tail @ ..] = rest {
        let (body, tail) = tail.split_at((*length as usize).min(tail.len()));
        rest = tail;
        match kind % 8 {
            0 => body
                .iter()
                .for_each(|byte| host.edge(byte & 1 != 0, byte & 2 != 0)),
            1 if body.len() > 3 => host.write(
                u32::from(body[0]),
                u32::from(body[1]) << 9 | u32::from(body[2]),
                &body[3..],
            ),
            2 if body.len() > 3 => {
                host.read(
                    u32::from(body[0]),
                    u32::from(body[1]) << 9 | u32::from(body[2]),
                    usize::from(body[3]) + 1,
                );
            }
            3 if body.len() > 1 => host.send_packet(body[0], usize::from(body[1] % 24), &body[2..]),
            4 => host.write(2, 0, body),
            5 => host.wait(Duration::from_micros(
                body.iter().fold(0, |sum, byte| sum << 4 | u64::from(*byte)) % 20_000_000,
            )),
            6 => host.radio.select(length & 1 != 0, host.now),
            7 => host.radio.power(length & 3 != 0, host.now),
            _ => {}
        }
        host.radio.data();
        host.radio.status();
    }
});
