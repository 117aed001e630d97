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
use super::quirks::{Noise, Quirks};
use super::sdpcm::{BUFFERS, Body, Channel, Control, Endpoint, Packet};
use super::station::Peers;
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
/// The ioctl by which the host leaves a network, and what is answered when it is in none (`wlioctl_defs.h`, `bcmutils.h`).
const DISASSOC: u32 = 52;
const NOT_ASSOCIATED: i32 = -17;
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
    /// What it and the access points do now and then.
    pub quirks: Quirks,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: [0x28, 0xcd, 0xc1, 0x00, 0x00, 0x01],
            usb_power: true,
            rejoins: false,
            failures: Vec::new(),
            quirks: Quirks::default(),
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
    /// Since when WL_REG_ON is low.
    low_since: Option<Time>,
    /// Reads of the test register since power-up.
    start_reads: u32,
    /// Control messages since the board was made.
    controls: u32,
    /// Frames that will be lost, and whether the station was joined when that was last looked at.
    to_lose: u32,
    was_joined: bool,
    noise: Noise,
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
        let mut firmware = Self::firmware(&config);
        firmware.set_peers(Peers::new(&config.quirks));
        Self {
            failures: Failures::new(&config.failures),
            noise: Noise::new(&config.quirks),
            config,
            air,
            link,
            unplugged: false,
            powered_at: None,
            low_since: Some(Time::ZERO),
            start_reads: 0,
            controls: 0,
            to_lose: 0,
            was_joined: false,
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

    /// Its quirks, to change.
    pub fn quirks_mut(&mut self) -> &mut Quirks {
        &mut self.config.quirks
    }

    /// Control messages of the host since the board was made.
    #[must_use]
    pub fn controls(&self) -> u32 {
        self.controls
    }

    /// Whether it fails, or will.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        !self.failures.is_empty()
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
        if self.noise.is_on() {
            return;
        }
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
        self.controls += 1;
        if self.failures.has(FailureMode::NoAnswer, self.now) {
            return;
        }
        let (status, data) = if self.is_refused(&control) {
            (NOT_ASSOCIATED, Vec::new())
        } else {
            self.firmware.control(&control, &self.air, self.now)
        };
        self.note(|| describe(&control, status));
        if let Some(complaint) = self.firmware.take_complaint() {
            self.note(|| complaint);
        }
        if self.config.quirks.lost_answers.contains(&self.controls) {
            self.note(|| "the answer is lost".into());
            return;
        }
        self.answers
            .push_back((self.now + CONTROL, control.answer(status, &data)));
        // A host that does not fetch its answers may not pile them up here.
        while self.answers.len() > usize::from(BUFFERS) {
            self.answers.pop_front();
        }
    }

    fn is_refused(&self, control: &Control<'_>) -> bool {
        let quirks = &self.config.quirks;
        quirks.refused.contains(&self.controls)
            || quirks.refuses_disassoc && control.command == DISASSOC && !self.firmware.is_associated()
    }

    /// Whether the next frame, in either direction, is lost since it comes too soon after a join.
    fn loses_frame(&mut self) -> bool {
        let joined = self.firmware.link().is_some();
        if joined && !self.was_joined {
            self.to_lose = self.config.quirks.lost_frames;
        }
        self.was_joined = joined;
        let lost = self.to_lose > 0;
        self.to_lose = self.to_lose.saturating_sub(1);
        lost
    }

    fn transmit(&mut self, frame: &[u8]) {
        let fits = (14..=LARGEST_FRAME).contains(&frame.len());
        if !fits || self.firmware.link().is_none() || self.outbound.len() >= usize::from(BUFFERS) {
            self.statistics.unsent += 1;
            self.note(|| format!("did not send a frame of {} bytes", frame.len()));
            return;
        }
        if self.loses_frame() {
            self.note(|| "lost a frame of the host".into());
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
                if self.loses_frame() {
                    self.statistics.missed += 1;
                    continue;
                }
                let ready = self.ready_for_host(now, destination[0] & 1 != 0);
                let end = self.occupy_air(ready, frame.len());
                self.inbound.push_back((end, frame));
            } else {
                self.statistics.filtered += 1;
            }
        }
    }

    fn busy_buffers(&self) -> usize {
        match self.failures.has(FailureMode::NoCredit, self.now) {
            true => usize::from(BUFFERS),
            false => self.outbound.len(),
        }
    }

    /// Loses all that a radio without power does not keep.
    fn lose_power(&mut self, now: Time) {
        if self.powered_at.take().is_some() {
            self.failures.power_off(now);
        }
        self.start_reads = 0;
        self.wire = Wire::default();
        self.wire.select(!self.selected);
        self.registers = Registers::default();
        self.backplane = Backplane::default();
        let peers = self.firmware.take_peers();
        self.firmware = Self::firmware(&self.config);
        self.firmware.set_peers(peers);
        self.endpoint = Endpoint::default();
        self.packets.clear();
        self.answers.clear();
        self.outbound.clear();
        self.inbound.clear();
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
        if on == self.low_since.is_none() {
            return;
        }
        self.catch_up(now);
        self.note(|| if on { "power on".into() } else { "power off".into() });
        let least = self.config.quirks.power_off;
        if !on {
            self.low_since = Some(now);
            if least.is_zero() {
                self.lose_power(now);
            }
            return;
        }
        let low = self.low_since.take().map(|since| now.since(since));
        if self.powered_at.is_some() && low.is_some_and(|low| low < least) {
            self.note(|| format!("WL_REG_ON was low for {low:?}: too short to reset"));
            return;
        }
        self.lose_power(now);
        self.powered_at = Some(now);
    }

    fn cut_power(&mut self, now: Time) {
        self.power(false, now);
        self.lose_power(now);
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
        let flips = self.noise.edge(level, now);
        if !level {
            self.noise.flipped = flips;
        }
        match self
            .wire
            .clock(level, data ^ (level && flips), self.registers.format())
        {
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
            self.wire.output().map(|level| level ^ self.noise.flipped)
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
            noise: self.noise.clone(),
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
