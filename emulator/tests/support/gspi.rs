//! The host's end of the radio's bus, edge by edge, and as much of a driver as tests need: a third reading of the
//! protocol beside embassy's driver and the model.

use std::collections::VecDeque;
use std::time::Duration;

use picolet_emulator::Time;
use picolet_emulator::radio::{Radio, clm};

/// Half a period of the clock: 31.25 MHz.
const HALF: Duration = Duration::from_nanos(16);

/// A packet of the radio: channel, and what is behind all headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The answer to a control message: its id, status and data.
    Control(u16, i32, Vec<u8>),
    /// An event: kind, status, reason, flags, data.
    Event(u32, u32, u32, u16, Vec<u8>),
    Data(Vec<u8>),
    Credit,
}

/// A driver of the radio.
pub struct Host<R> {
    pub radio: R,
    pub now: Time,
    pub status: u32,
    /// One line for each transfer, with the bytes that were written or read.
    pub log: Vec<String>,
    pub packets: VecDeque<Packet>,
    swapped: bool,
    window: u32,
    pub sequence: u8,
    pub credit: u8,
    id: u16,
}

impl<R: Radio> Host<R> {
    pub fn new(radio: R) -> Self {
        let mut host = Self {
            radio,
            now: Time::ZERO,
            status: 0,
            log: Vec::new(),
            packets: VecDeque::new(),
            swapped: true,
            window: 0xaaaa_aaaa,
            sequence: 0,
            credit: 1,
            id: 0,
        };
        host.radio.select(true, host.now);
        host
    }

    /// Lets emulated time pass, with everything that the radio does in it.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.radio.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.radio.advance(self.now);
        }
        self.now = end;
        self.radio.advance(end);
    }

    pub fn edge(&mut self, level: bool, data: bool) {
        self.now = self.now + HALF;
        self.radio.clock(level, data, self.now);
    }

    fn send(&mut self, word: u32) {
        let word = if self.swapped { word.rotate_left(16) } else { word };
        for bit in (0..32).rev() {
            self.edge(false, word >> bit & 1 != 0);
            self.edge(true, word >> bit & 1 != 0);
        }
    }

    /// Samples after the falling edge, when the radio has shifted out.
    fn receive(&mut self) -> u32 {
        let mut word = 0;
        for _ in 0..32 {
            self.edge(false, false);
            word = word << 1 | u32::from(self.radio.data().unwrap_or(false));
            self.edge(true, false);
        }
        if self.swapped { word.rotate_left(16) } else { word }
    }

    fn select(&mut self, level: bool) {
        self.now = self.now + HALF;
        self.edge(false, false);
        self.radio.select(level, self.now);
    }

    fn command(write: bool, function: u32, address: u32, length: usize) -> u32 {
        u32::from(write) << 31
            | 1 << 30
            | function << 28
            | (address & 0x1_ffff) << 11
            | (length as u32 & 0x7ff)
    }

    /// From here on the radio speaks 32-bit words, as after its start.
    pub fn speak_words(&mut self) {
        self.swapped = false;
    }

    /// A transfer of words as they are: those to the radio, those from it, and the status.
    pub fn transfer(&mut self, to: &[u32], from: &mut [u32]) -> u32 {
        self.swapped = false;
        self.select(false);
        for word in to {
            self.send(*word);
        }
        for word in from {
            *word = self.receive();
        }
        let status = self.receive();
        self.select(true);
        status
    }

    pub fn write(&mut self, function: u32, address: u32, data: &[u8]) {
        self.log.push(line("WR", function, address, data));
        self.select(false);
        self.send(Self::command(true, function, address, data.len()));
        for chunk in data.chunks(4) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.send(u32::from_le_bytes(word));
        }
        self.status = self.receive();
        self.select(true);
    }

    pub fn read(&mut self, function: u32, address: u32, length: usize) -> Vec<u8> {
        self.select(false);
        self.send(Self::command(false, function, address, length));
        if function == 1 {
            self.receive();
        }
        let mut data = Vec::new();
        for _ in 0..length.div_ceil(4) {
            data.extend(self.receive().to_le_bytes());
        }
        data.truncate(length);
        self.status = self.receive();
        self.select(true);
        self.log.push(line("RD", function, address, &data));
        data
    }

    pub fn write_swapped(&mut self, address: u32, value: u32) {
        self.write(0, address, &value.to_le_bytes());
        if address == 0 {
            self.swapped = value & 1 == 0;
        }
    }

    fn point(&mut self, address: u32) {
        for (register, shift) in [(0x1_000c, 24), (0x1_000b, 16), (0x1_000a, 8)] {
            let (old, new) = ((self.window >> shift) as u8, ((address & !0x7fff) >> shift) as u8);
            if old != new {
                self.write(1, register, &[new]);
            }
        }
        self.window = address & !0x7fff;
    }

    pub fn write_backplane(&mut self, address: u32, data: &[u8]) {
        let mut address = address;
        for chunk in data.chunks(64) {
            self.point(address);
            let flag = if chunk.len() == 4 && data.len() == 4 {
                0x8000
            } else {
                0
            };
            self.write(1, address & 0x7fff | flag, chunk);
            address += chunk.len() as u32;
        }
    }

    pub fn read_backplane(&mut self, address: u32, length: usize) -> Vec<u8> {
        self.point(address);
        self.read(1, address & 0x7fff, length)
    }

    fn disable_core(&mut self, base: u32) {
        self.read_backplane(base + 0x800, 1);
        if self.read_backplane(base + 0x800, 1)[0] & 1 != 0 {
            return;
        }
        self.write_backplane(base + 0x408, &[0]);
        self.read_backplane(base + 0x408, 1);
        self.wait(Duration::from_millis(1));
        self.write_backplane(base + 0x800, &[1]);
        self.read_backplane(base + 0x800, 1);
    }

    fn reset_core(&mut self, base: u32) {
        self.disable_core(base);
        self.write_backplane(base + 0x408, &[3]);
        self.read_backplane(base + 0x408, 1);
        self.write_backplane(base + 0x800, &[0]);
        self.wait(Duration::from_millis(1));
        self.write_backplane(base + 0x408, &[1]);
        self.read_backplane(base + 0x408, 1);
        self.wait(Duration::from_millis(1));
    }

    /// Powers the radio up and lets the firmware start, in the order in which embassy's driver does.
    pub fn start(&mut self, firmware: &[u8], parameters: &[u8]) {
        const WLAN: u32 = 0x1810_3000;
        const SOCSRAM: u32 = 0x1810_4000;
        self.radio.power(true, self.now);
        self.wait(Duration::from_millis(250));
        assert_eq!(self.read(0, 0x14, 4), 0xfeed_beadu32.to_le_bytes());
        self.write_swapped(0x18, 0x1234_5678);
        assert_eq!(self.read(0, 0x18, 4), 0x1234_5678u32.to_le_bytes());
        self.read(0, 0, 4);
        self.write_swapped(0, 0x0003_04b1);
        self.read(0, 0, 1);
        self.read(0, 0x14, 4);
        self.read(0, 0x18, 4);
        self.write(0, 0x1d, &[4]);
        self.write(0, 4, &[0x99]);
        self.write(0, 6, &[0xbe, 0]);
        self.write(1, 0x1_000e, &[0x08]);
        self.write(1, 0x1_0008, &[0x10]);
        self.read(1, 0x1_0008, 1);
        assert_ne!(self.read(1, 0x1_000e, 1)[0] & 0x40, 0, "the slow clock");
        self.write(1, 0x1_000e, &[0]);
        assert_eq!(self.read_backplane(0x1800_0000, 2), [0xaf, 0xa9]);
        self.disable_core(WLAN);
        self.disable_core(SOCSRAM);
        self.reset_core(SOCSRAM);
        self.write_backplane(0x1800_4010, &[3, 0, 0, 0]);
        self.write_backplane(0x1800_4044, &[0; 4]);
        let logged = self.log.len();
        self.write_backplane(0, firmware);
        let parameter_space = parameters.len().next_multiple_of(4);
        self.write_backplane((512 * 1024 - 4 - parameter_space) as u32, parameters);
        self.log.retain({
            let mut index = 0;
            move |line| {
                index += 1;
                index <= logged || !line.starts_with("WR f1 0")
            }
        });
        let words = (parameter_space / 4) as u32;
        self.write_backplane(512 * 1024 - 4, &(!words << 16 | words).to_le_bytes());
        self.reset_core(WLAN);
        self.wait(Duration::from_millis(40));
        assert_ne!(self.read(1, 0x1_000e, 1)[0] & 0x80, 0, "the fast clock");
        self.write_backplane(0x1800_2024, &[0xf0, 0, 0, 0]);
        self.write(0, 6, &[0x20, 0]);
        self.write(1, 0x1_0008, &[0x20]);
        assert_ne!(self.status & 0x20, 0, "the firmware takes frames");
        self.write(1, 0x1_000f, &[0]);
        self.read(1, 0x1_000f, 1);
        self.write(1, 0x1_000e, &[0x10]);
        self.read(1, 0x1_000e, 1);
    }

    /// Sends a packet on function 2.
    pub fn send_packet(&mut self, channel: u8, header: usize, body: &[u8]) {
        let length = (header + body.len()) as u16;
        let mut packet = Vec::new();
        packet.extend(length.to_le_bytes());
        packet.extend((!length).to_le_bytes());
        packet.extend([self.sequence, channel, 0, header as u8, 0, 0, 0, 0]);
        packet.resize(header, 0);
        packet.extend(body);
        packet.resize(packet.len().next_multiple_of(4), 0);
        self.sequence = self.sequence.wrapping_add(1);
        self.write(2, 0, &packet);
    }

    /// Fetches every packet that waits.
    pub fn fetch(&mut self) {
        loop {
            let status = self.read(0, 8, 4);
            let status = u32::from_le_bytes(status.try_into().expect("four bytes"));
            self.log.pop();
            if status & 0x100 == 0 {
                return;
            }
            let packet = self.read(2, 0, (status >> 9 & 0x7ff) as usize);
            let packet = self.parse(&packet);
            self.packets.push_back(packet);
        }
    }

    fn parse(&mut self, packet: &[u8]) -> Packet {
        let half = |at: usize| u16::from_le_bytes([packet[at], packet[at + 1]]);
        let word = |at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(half(0), !half(2));
        assert_eq!(usize::from(half(0)), packet.len());
        self.credit = packet[9];
        let start = usize::from(packet[7]);
        if start == packet.len() {
            return Packet::Credit;
        }
        if packet[5] == 0 {
            let length = word(start + 4) as usize;
            assert_eq!(start + 16 + length, packet.len());
            return Packet::Control(
                half(start + 10),
                word(start + 12).cast_signed(),
                packet[start + 16..].to_vec(),
            );
        }
        let body = &packet[start + 4 + 4 * usize::from(packet[start + 3])..];
        if packet[5] == 2 {
            return Packet::Data(body.to_vec());
        }
        assert_eq!(body[12..14], [0x88, 0x6c]);
        let big = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
        let flags = u16::from_be_bytes([body[26], body[27]]);
        Packet::Event(big(28), big(32), big(36), flags, body[72..].to_vec())
    }

    /// Sends a control message, and waits for its answer.
    pub fn control(&mut self, set: bool, command: u32, data: &[u8]) -> (i32, Vec<u8>) {
        self.id += 1;
        let mut body = Vec::new();
        body.extend(command.to_le_bytes());
        body.extend((data.len() as u32).to_le_bytes());
        body.extend((u16::from(set) << 1).to_le_bytes());
        body.extend(self.id.to_le_bytes());
        body.extend([0; 4]);
        body.extend(data);
        self.send_packet(0, 12, &body);
        for _ in 0..10 {
            self.wait(Duration::from_micros(200));
            self.fetch();
            let found = self
                .packets
                .iter()
                .position(|packet| matches!(packet, Packet::Control(..)));
            if let Some(Packet::Control(id, status, data)) =
                found.and_then(|index| self.packets.remove(index))
            {
                assert_eq!(id, self.id);
                return (status, data);
            }
        }
        panic!("no answer to control message {command}");
    }

    pub fn set(&mut self, name: &str, value: &[u8]) -> i32 {
        self.control(true, 263, &[name.as_bytes(), &[0], value].concat())
            .0
    }

    pub fn get(&mut self, name: &str, room: usize) -> Vec<u8> {
        let mut data = [name.as_bytes(), &[0]].concat();
        data.resize(data.len().max(room), 0);
        let (status, data) = self.control(false, 262, &data);
        assert_eq!(status, 0, "{name}");
        data
    }

    pub fn set_word(&mut self, command: u32, word: u32) -> i32 {
        self.control(true, command, &word.to_le_bytes()).0
    }

    /// What a driver configures before it joins.
    pub fn configure(&mut self) {
        let blob = clm::build(&[(*b"DE", 0), (*b"XX", 3)]);
        let length = u32::try_from(blob.len()).unwrap().to_le_bytes();
        let header = [[6, 0x10, 2, 0], length, [0; 4]].concat();
        assert_eq!(self.set("clmload", &[header, blob].concat()), 0);
        assert_eq!(self.get("clmload_status", 19)[..4], [0; 4]);
        assert_eq!(self.set("bus:txglom", &[0; 4]), 0);
        assert_eq!(self.set("apsta", &[1, 0, 0, 0]), 0);
        self.get("cur_etheraddr", 20);
        assert_eq!(self.set("country", b"XX\0\0\xff\xff\xff\xffXX\0\0"), 0);
        assert_eq!(self.set_word(64, 0), 0);
        assert_eq!(self.set("ampdu_ba_wsize", &[8, 0, 0, 0]), 0);
        assert_eq!(self.set("ampdu_mpdu", &[4, 0, 0, 0]), 0);
        assert_eq!(
            self.set("bsscfg:event_msgs", &[&[0; 4], &[0xff; 24][..]].concat()),
            0
        );
        assert_eq!(self.control(true, 2, &[]).0, 0);
        assert_eq!(self.set_word(110, 1), 0);
        assert_eq!(self.set_word(142, 0), 0);
    }

    /// Starts to join: with a passphrase by WPA2, without one openly.
    pub fn join(&mut self, ssid: &str, passphrase: Option<&str>) {
        assert_eq!(self.set_word(134, if passphrase.is_some() { 4 } else { 0 }), 0);
        let supplicant = [0, 0, 0, 0, u8::from(passphrase.is_some()), 0, 0, 0];
        assert_eq!(self.set("bsscfg:sup_wpa", &supplicant), 0);
        if let Some(passphrase) = passphrase {
            let mut key = vec![passphrase.len() as u8, 0, 1, 0];
            key.extend(passphrase.as_bytes());
            key.resize(68, 0);
            assert_eq!(self.control(true, 268, &key).0, 0);
        }
        assert_eq!(self.set_word(20, 1), 0);
        assert_eq!(self.set_word(22, 0), 0);
        assert_eq!(self.set_word(165, if passphrase.is_some() { 0x80 } else { 0 }), 0);
        let mut name = (ssid.len() as u32).to_le_bytes().to_vec();
        name.extend(ssid.as_bytes());
        name.resize(36, 0);
        assert_eq!(self.control(true, 26, &name).0, 0);
    }

    /// Lets time pass and fetches what comes, each millisecond.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.wait(Duration::from_millis(1));
            // The interrupt is the level of the data line.
            if self.radio.data() == Some(true) {
                self.fetch();
            }
        }
    }

    /// The events that came, as kind and status, taken out of the packets.
    pub fn take_events(&mut self) -> Vec<(u32, u32)> {
        let mut events = Vec::new();
        self.packets.retain(|packet| match packet {
            Packet::Event(kind, status, ..) => {
                events.push((*kind, *status));
                false
            }
            _ => true,
        });
        events
    }

    /// The frames that came, taken out of the packets.
    pub fn take_frames(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        self.packets.retain_mut(|packet| match packet {
            Packet::Data(frame) => {
                frames.push(std::mem::take(frame));
                false
            }
            _ => true,
        });
        frames
    }

    /// Sends an Ethernet frame.
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.send_packet(2, 14, &[&[0x20, 0, 0, 0], frame].concat());
    }
}

/// Something that passes for a firmware, and parameters that pass for a board's.
pub fn firmware() -> (Vec<u8>, &'static [u8]) {
    let mut firmware: Vec<u8> = (0..40_000u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    firmware[4..8].copy_from_slice(&0x1471u32.to_le_bytes());
    (firmware, b"manfid=0x2d0\0prodid=0x0727\0xtalfreq=37400\0\0")
}

fn line(what: &str, function: u32, address: u32, data: &[u8]) -> String {
    let shown = &data[..data.len().min(24)];
    format!("{what} f{function} {address:05x} {} {shown:02x?}", data.len())
}
