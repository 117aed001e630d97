//! The CYW43439, from its four pins to the network behind its antenna.
//!
//! It is modelled as its driver can see it. Nothing of what the driver uploads is run, and there is no radio wave: how
//! strong an access point is, and when it falls silent, is a list ([`Air`]). Bluetooth and access point mode are not
//! modelled. The model was derived from the drivers that it is tested with, and a misunderstanding that it shares with
//! them stays invisible.

mod transfer;

use std::any::Any;
use std::collections::VecDeque;
use std::time::Duration;

use super::air::{self, Air};
use super::backplane::Backplane;
use super::bus::{Inputs, Registers};
use super::event::Event;
use super::failure::{Failure, FailureMode, Failures};
use super::firmware::{Firmware, PowerSave};
use super::gspi::{Request, Wire};
use super::sdpcm::{BUFFERS, Body, Channel, Control, Endpoint, Packet};
use super::{Radio, Status};
use crate::Time;
use crate::net::{Link, Unplugged};

/// From power-on until the bus answers (CYW43439 datasheet, section 20.1: 150 ms before the first access).
const POWER_UP: Duration = Duration::from_millis(150);
/// How long the firmware takes for a control message.
const CONTROL: Duration = Duration::from_micros(150);
/// Frames that the chip keeps for a host that does not fetch them; more are lost.
const RECEIVE_BUFFERS: usize = 48;
/// Frames that an access point keeps for a station that sleeps; more are lost.
const ACCESS_POINT_BUFFERS: usize = 64;
/// The largest frame: 1500 bytes behind the Ethernet header.
const LARGEST_FRAME: usize = 1514;
/// Lines of trace kept until they are taken.
const TRACE_LINES: usize = 10_000;

/// What is particular to one board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its Ethernet address, until the firmware sets another.
    pub address: [u8; 6],
    /// Powered by USB, which the chip's pin 2 tells.
    pub usb_power: bool,
    /// The firmware goes on looking for a network that it lost. Drivers that rely on that are wrong to; off, it does
    /// not.
    pub rejoins: bool,
    /// How and when it fails.
    pub failures: Vec<Failure>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: [0x28, 0xcd, 0xc1, 0x00, 0x00, 0x01],
            usb_power: true,
            rejoins: false,
            failures: Vec::new(),
        }
    }
}

/// The radio of a Pico W, and the network that it can reach.
pub struct Cyw43439 {
    config: Config,
    air: Air,
    link: Box<dyn Link>,
    /// The link stands for one that could not be copied.
    unplugged: bool,
    powered_at: Option<Time>,
    selected: bool,
    wire: Wire,
    registers: Registers,
    backplane: Backplane,
    firmware: Firmware,
    endpoint: Endpoint,
    /// Packets that wait for the host to fetch them.
    packets: VecDeque<Vec<u8>>,
    /// Answers to control messages that are being worked out.
    answers: VecDeque<(Time, Vec<u8>)>,
    /// Frames of the host on their way to the access point.
    outbound: VecDeque<(Time, Vec<u8>)>,
    /// Frames for the host on their way from the access point.
    inbound: VecDeque<(Time, Vec<u8>)>,
    /// Until when the air is busy.
    busy_until: Time,
    /// When the last frame passed, for the radio's sleep.
    last_frame: Time,
    failures: Failures,
    statistics: Statistics,
    fault: Option<String>,
    tracing: bool,
    trace: VecDeque<String>,
    /// As far as anything was told; the link is sent frames with it.
    now: Time,
}

/// What the radio counted since the board was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Ethernet frames that the host sent to the network.
    pub sent: u64,
    /// Ethernet frames that the host was given.
    pub received: u64,
    /// Frames of the host that were dropped: not joined, or too large.
    pub unsent: u64,
    /// Frames for the host that no buffer was free for, or that came while it was not joined.
    pub missed: u64,
    /// Frames for others, by the address filters.
    pub filtered: u64,
    /// Packets of the host that made no sense.
    pub malformed: u64,
    /// Transfers on the bus.
    pub transfers: u64,
    /// Bits that the chip sampled on the bus.
    pub bits: u64,
}

impl std::fmt::Debug for Cyw43439 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cyw43439")
            .field("status", &self.status())
            .field("statistics", &self.statistics())
            .finish()
    }
}

impl Cyw43439 {
    /// A radio without power, in that surrounding, whose access points all lead to `link`.
    #[must_use]
    pub fn new(config: Config, air: Air, link: Box<dyn Link>) -> Self {
        let firmware = Self::firmware(&config);
        Self {
            failures: Failures::new(&config.failures),
            config,
            air,
            link,
            unplugged: false,
            powered_at: None,
            selected: false,
            wire: Wire::default(),
            registers: Registers::default(),
            backplane: Backplane::default(),
            firmware,
            endpoint: Endpoint::default(),
            packets: VecDeque::new(),
            answers: VecDeque::new(),
            outbound: VecDeque::new(),
            inbound: VecDeque::new(),
            busy_until: Time::ZERO,
            last_frame: Time::ZERO,
            statistics: Statistics::default(),
            fault: None,
            tracing: false,
            trace: VecDeque::new(),
            now: Time::ZERO,
        }
    }

    fn firmware(config: &Config) -> Firmware {
        Firmware::new(config.address, u8::from(config.usb_power) << 2, config.rejoins)
    }

    /// What is on the air around it.
    #[must_use]
    pub fn air(&self) -> &Air {
        &self.air
    }

    /// What is on the air around it, to plan changes.
    pub fn air_mut(&mut self) -> &mut Air {
        &mut self.air
    }

    /// Has the radio fail, beside the failures that it has already.
    pub fn plan_failure(&mut self, failure: Failure) {
        self.failures.add(failure);
    }

    /// Ends its failures, also those to come.
    pub fn mend(&mut self) {
        self.failures = Failures::default();
    }

    /// The network behind it.
    pub fn link_mut(&mut self) -> &mut dyn Link {
        &mut *self.link
    }

    /// What it counted.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        Statistics {
            bits: self.wire.sampled(),
            ..self.statistics
        }
    }

    /// The country whose rules the host has told it to keep, `XX` for what is allowed everywhere.
    #[must_use]
    pub fn country(&self) -> Option<&str> {
        self.firmware.country()
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            if self.trace.len() >= TRACE_LINES {
                self.trace.pop_front();
            }
            let line = format!("{} radio: {}", self.now, line());
            self.trace.push_back(line);
        }
    }

    fn fail(&mut self, fault: String) {
        self.note(|| fault.clone());
        self.fault.get_or_insert(fault);
    }

    fn inputs(&self) -> Inputs {
        // A firmware that hangs later leaves it set.
        let hung_at_start = self
            .backplane
            .ready_at()
            .is_some_and(|at| self.failures.is_hung(at));
        let is_signalled = !self.failures.has(FailureMode::NoInterrupt, self.now);
        Inputs {
            ready: self.backplane.is_ready(self.now) && !hung_at_start,
            packet: self.packets.front().map(Vec::len).filter(|_| is_signalled),
        }
    }

    /// Whether it does nothing by itself: it has no power, or its firmware hangs.
    fn is_inert(&self) -> bool {
        self.powered_at.is_none() || self.failures.is_hung(self.now)
    }

    /// Whether the bus works: it has had power for long enough.
    fn is_awake(&self) -> bool {
        self.powered_at.is_some_and(|since| self.now >= since + POWER_UP)
    }

    /// Takes a packet of the host.
    fn take(&mut self, data: &[u8]) {
        let packet = match Packet::parse(data) {
            Ok(packet) => packet,
            Err(error) => {
                self.statistics.malformed += 1;
                self.note(|| format!("dropped a packet of {} bytes: {error}", data.len()));
                return;
            }
        };
        self.endpoint.received(packet.sequence);
        match packet.body {
            Body::Control(control) => self.control(control),
            Body::Data(frame) => self.transmit(frame),
        }
    }

    fn control(&mut self, control: Control<'_>) {
        if self.failures.has(FailureMode::NoAnswer, self.now) {
            return;
        }
        let (status, data) = self.firmware.control(&control, &self.air, self.now);
        self.note(|| describe(&control, status));
        if let Some(complaint) = self.firmware.take_complaint() {
            self.note(|| complaint);
        }
        self.answers
            .push_back((self.now + CONTROL, control.answer(status, &data)));
        // A host that does not fetch its answers may not pile them up here.
        while self.answers.len() > usize::from(BUFFERS) {
            self.answers.pop_front();
        }
    }

    fn transmit(&mut self, frame: &[u8]) {
        let fits = (14..=LARGEST_FRAME).contains(&frame.len());
        if !fits || self.firmware.link().is_none() || self.outbound.len() >= usize::from(BUFFERS) {
            self.statistics.unsent += 1;
            self.note(|| format!("did not send a frame of {} bytes", frame.len()));
            return;
        }
        let end = self.occupy_air(self.now, frame.len());
        self.outbound.push_back((end, frame.to_vec()));
    }

    /// Reserves the air for a frame that is ready at `ready`; returns when it has passed.
    fn occupy_air(&mut self, ready: Time, length: usize) -> Time {
        self.busy_until = self.busy_until.max(ready) + air::airtime(length);
        self.last_frame = self.busy_until;
        self.busy_until
    }

    /// When a frame for the host that reaches the access point at `now` can go on air: at once while the radio is
    /// awake, at the beacon that it next wakes for otherwise.
    fn ready_for_host(&self, now: Time, group: bool) -> Time {
        let dtim = self
            .firmware
            .link()
            .and_then(|bssid| self.air.get(bssid))
            .map_or(1, |ap| ap.dtim_period);
        let asleep = match self.firmware.power_save() {
            PowerSave::Off => return now,
            PowerSave::Always => true,
            PowerSave::After(idle) => now >= self.last_frame + idle,
        };
        match (group, asleep) {
            // With a station asleep, groups wait for the DTIM even if this one is awake.
            (true, _) => air::next_beacon(now, u32::from(dtim)),
            (false, true) => air::next_beacon(now, self.firmware.listen_interval(dtim)),
            (false, false) => now,
        }
    }

    /// Takes what the network has for the host.
    fn receive(&mut self, now: Time) {
        while let Some(frame) = self.link.receive(now) {
            let Some(destination) = frame.first_chunk::<6>().filter(|_| frame.len() <= LARGEST_FRAME) else {
                self.statistics.missed += 1;
                continue;
            };
            let heard = self
                .firmware
                .link()
                .and_then(|bssid| self.air.get(bssid))
                .is_some_and(|ap| ap.is_heard());
            let deaf = self.failures.has(FailureMode::Deaf, now);
            if deaf || !heard || self.inbound.len() >= ACCESS_POINT_BUFFERS {
                self.statistics.missed += 1;
            } else if self.firmware.takes(*destination) {
                let ready = self.ready_for_host(now, destination[0] & 1 != 0);
                let end = self.occupy_air(ready, frame.len());
                self.inbound.push_back((end, frame));
            } else {
                self.statistics.filtered += 1;
            }
        }
    }

    fn busy_buffers(&self) -> usize {
        self.outbound.len()
    }

    fn push(&mut self, channel: Channel, body: &[u8]) {
        let busy = self.busy_buffers();
        let packet = match channel {
            Channel::Control => self.endpoint.control(body, busy),
            Channel::Event | Channel::Data => self.endpoint.frame(channel, body, busy),
        };
        self.packets.push_back(packet);
    }

    fn tell(&mut self, event: &Event) {
        self.note(|| {
            format!(
                "event {:?} status {} reason {}",
                event.kind, event.status, event.reason
            )
        });
        if self.packets.len() < RECEIVE_BUFFERS {
            let frame = event.to_frame(self.firmware.address());
            self.push(Channel::Event, &frame);
        }
    }

    /// Does what is due by `now`, in the order in which it is due.
    fn catch_up(&mut self, now: Time) {
        self.now = self.now.max(now);
        if self.is_inert() {
            // The network goes on without the board.
            self.answers.clear();
            self.outbound.clear();
            self.inbound.clear();
            while self.link.receive(now).is_some() {
                self.statistics.missed += 1;
            }
            while self.air.change(now).is_some() {}
            return;
        }
        while let Some(change) = self.air.change(now) {
            self.note(|| format!("on the air: {change:?}"));
            self.firmware.change(&change, &self.air, now);
        }
        while let Some((end, frame)) = self.outbound.pop_front_if(|(end, _)| *end <= now) {
            self.statistics.sent += 1;
            if self
                .firmware
                .link()
                .and_then(|bssid| self.air.get(bssid))
                .is_some_and(|ap| ap.is_heard())
            {
                self.link.send(&frame, end);
            }
        }
        self.receive(now);
        while let Some((_, answer)) = self.answers.pop_front_if(|(at, _)| *at <= now) {
            self.push(Channel::Control, &answer);
        }
        for event in self.firmware.advance(&self.air, now) {
            self.tell(&event);
        }
        while let Some((_, frame)) = self.inbound.pop_front_if(|(end, _)| *end <= now) {
            if self.firmware.link().is_none() || self.packets.len() >= RECEIVE_BUFFERS {
                self.statistics.missed += 1;
                continue;
            }
            self.statistics.received += 1;
            self.push(Channel::Data, &frame);
        }
        if self.packets.is_empty() && self.endpoint.owes_credit(self.busy_buffers()) {
            let packet = self.endpoint.credit_update(self.busy_buffers());
            self.packets.push_back(packet);
        }
    }
}

/// A line of trace about a control message, without its data: passphrases are among them.
fn describe(control: &Control<'_>, status: i32) -> String {
    let what = if control.set { "set" } else { "get" };
    let name = control.data.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(name).unwrap_or("?");
    match control.command {
        262 | 263 => format!("{what} variable {name}, {} bytes: {status}", control.data.len()),
        command => format!("{what} ioctl {command}, {} bytes: {status}", control.data.len()),
    }
}

impl Radio for Cyw43439 {
    fn power(&mut self, on: bool, now: Time) {
        if on == self.powered_at.is_some() {
            return;
        }
        self.catch_up(now);
        self.note(|| if on { "power on".into() } else { "power off".into() });
        self.powered_at = on.then_some(now);
        if !on {
            self.failures.power_off(now);
        }
        self.wire = Wire::default();
        self.wire.select(!self.selected);
        self.registers = Registers::default();
        self.backplane = Backplane::default();
        self.firmware = Self::firmware(&self.config);
        self.endpoint = Endpoint::default();
        self.packets.clear();
        self.answers.clear();
        self.outbound.clear();
        self.inbound.clear();
    }

    fn select(&mut self, level: bool, now: Time) {
        self.selected = !level;
        self.wire.select(level);
        if self.powered_at.is_some() {
            self.catch_up(now);
        }
    }

    fn clock(&mut self, level: bool, data: bool, now: Time) {
        if self.powered_at.is_none() || self.failures.stuck(now).is_some() {
            return;
        }
        match self.wire.clock(level, data, self.registers.format()) {
            None => {}
            Some(request) => {
                self.catch_up(now);
                match request {
                    Request::Read(command) => self.read(command),
                    Request::Write(command) => self.write(command),
                }
            }
        }
    }

    fn data(&self) -> Option<bool> {
        if self.powered_at.is_none() {
            None
        } else if let Some(level) = self.failures.stuck(self.now) {
            Some(level)
        } else if self.wire.is_selected() {
            self.wire.output()
        } else {
            Some(self.registers.interrupt_level(self.inputs()))
        }
    }

    fn next_event(&self) -> Option<Time> {
        let link = self.link.next_event();
        let failure = self.failures.next(self.now);
        if self.is_inert() {
            return link.into_iter().chain(failure).min();
        }
        let first = |queue: &VecDeque<(Time, Vec<u8>)>| queue.front().map(|(at, _)| *at);
        let ready = self.backplane.ready_at().filter(|at| *at > self.now);
        let own = [
            first(&self.answers),
            first(&self.outbound),
            first(&self.inbound),
            ready,
        ];
        own.into_iter()
            .chain([link, failure, self.air.next_change(), self.firmware.next_event()])
            .flatten()
            .min()
    }

    fn advance(&mut self, now: Time) {
        self.catch_up(now);
    }

    fn wait_for_host(&mut self, limit: Duration) -> bool {
        self.link.wait_for_host(limit)
    }

    fn duplicate(&self) -> Box<dyn Radio> {
        let link = self.link.duplicate();
        Box::new(Self {
            config: self.config.clone(),
            air: self.air.clone(),
            unplugged: link.is_none(),
            link: link.unwrap_or_else(|| Box::new(Unplugged)),
            wire: self.wire.clone(),
            registers: self.registers.clone(),
            backplane: self.backplane.clone(),
            firmware: self.firmware.clone(),
            endpoint: self.endpoint.clone(),
            packets: self.packets.clone(),
            answers: self.answers.clone(),
            outbound: self.outbound.clone(),
            inbound: self.inbound.clone(),
            failures: self.failures.clone(),
            fault: self.fault.clone(),
            trace: self.trace.clone(),
            ..*self
        })
    }

    fn plug_in(&mut self, network: Box<dyn Link>) {
        (self.link, self.unplugged) = (network, false);
    }

    fn is_unplugged(&self) -> bool {
        self.unplugged
    }

    fn status(&self) -> Status {
        let joined = self
            .firmware
            .link()
            .and_then(|bssid| self.air.get(bssid))
            .map(|ap| ap.ssid.clone());
        Status {
            powered: self.powered_at.is_some(),
            gpio: self.firmware.gpio(),
            joined,
            sent: self.statistics.sent,
            received: self.statistics.received,
        }
    }

    fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    fn set_trace(&mut self, on: bool) {
        self.tracing = on;
    }

    fn take_trace(&mut self) -> Vec<String> {
        self.trace.drain(..).collect()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
