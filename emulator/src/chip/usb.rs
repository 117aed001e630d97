//! The USB device controller (RP2040 datasheet, section 4.1), and a host on the other end of the cable.
//!
//! The host enumerates the device, takes its first configuration and, if that has a CDC data interface, opens it as a
//! terminal program would: what the firmware writes to its console comes out, what is typed goes in. Transactions
//! happen when both sides are ready for them, a fixed time apart; the wire itself is not drawn.
//!
//! A host may echo what it reads, as Linux does until a program has set a terminal up, close the console, suspend the bus, or go away.
//!
//! The controller's host mode and isochronous endpoints are not modelled.

use std::collections::VecDeque;

use super::Write;

const MEMORY: usize = 4096;
/// Time between a plug and the reset that the host sends, in microseconds: short of what a real one takes.
const CONNECT_MICROS: u64 = 1_000;
/// Time of a transaction on a full-speed bus with a packet of 64 bytes, in microseconds.
const TRANSACTION_MICROS: u64 = 50;
/// Idle time after which a bus is suspended, in microseconds (USB 2.0, section 7.1.7.6).
const SUSPEND_MICROS: u64 = 3_000;

/// Bits of a buffer control register (section 4.1.2.5).
mod buffer {
    pub(super) const FULL: u32 = 1 << 15;
    pub(super) const STALL: u32 = 1 << 11;
    pub(super) const AVAILABLE: u32 = 1 << 10;
    pub(super) const LENGTH: u32 = 0x3ff;
}

mod interrupt {
    pub(super) const BUFF_STATUS: u32 = 1 << 4;
    pub(super) const BUS_RESET: u32 = 1 << 12;
    pub(super) const DEV_SUSPEND: u32 = 1 << 14;
    pub(super) const DEV_RESUME: u32 = 1 << 15;
    pub(super) const SETUP_REQ: u32 = 1 << 16;
}

mod status {
    pub(super) const VBUS_DETECTED: u32 = 1;
    pub(super) const SUSPENDED: u32 = 1 << 4;
    pub(super) const RESUME: u32 = 1 << 11;
    pub(super) const CONNECTED: u32 = 1 << 16;
    pub(super) const SETUP_REC: u32 = 1 << 17;
    pub(super) const BUS_RESET: u32 = 1 << 19;
}

/// A control transfer that the host has begun.
#[derive(Debug, Clone)]
struct Control {
    setup: [u8; 8],
    /// What is sent, or what came back.
    data: Vec<u8>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Setup,
    Data,
    Status,
}

/// How far the host has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Detached,
    Reset,
    Device,
    Address,
    ConfigurationHead,
    Configuration,
    SetConfiguration,
    LineCoding,
    LineState,
    Running,
    /// The device is not what the host can use.
    GaveUp,
}

/// What the host found in the configuration.
#[derive(Debug, Clone, Copy, Default)]
struct Console {
    control_interface: Option<u8>,
    bulk_in: u8,
    bulk_out: u8,
    out_size: usize,
}

/// The controller and the host.
#[derive(Debug, Clone)]
pub(crate) struct Usb {
    memory: Box<[u8; MEMORY]>,
    address: u32,
    main_control: u32,
    sie_control: u32,
    sie_status: u32,
    buffer_status: u32,
    abort: u32,
    stall_arm: u32,
    muxing: u32,
    power: u32,
    phy: [u32; 3],
    enabled: u32,
    forced: u32,
    /// Which way an endpoint's transactions toggle, as the host counts.
    step: Step,
    control: Option<Control>,
    console: Console,
    due: u64,
    cycles_per_micro: u64,
    /// What came out of the console.
    pub output: Vec<u8>,
    input: VecDeque<u8>,
    /// The cable is plugged in.
    attached: bool,
    /// The host has stopped the bus.
    suspended: bool,
    /// When the device notices that the bus is idle.
    idle_at: u64,
    /// The host sends what it reads back.
    pub echo: bool,
    /// A program has the console open, and what the device was last told of that.
    open: bool,
    opened: bool,
}

impl Usb {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; MEMORY].try_into().expect("the size asked for"),
            address: 0,
            main_control: 0,
            sie_control: 0,
            sie_status: 0,
            buffer_status: 0,
            abort: 0,
            stall_arm: 0,
            muxing: 0,
            power: 0,
            phy: [0; 3],
            enabled: 0,
            forced: 0,
            step: Step::Detached,
            control: None,
            console: Console::default(),
            due: u64::MAX,
            cycles_per_micro: 125,
            output: Vec::new(),
            input: VecDeque::new(),
            attached: true,
            suspended: false,
            idle_at: u64::MAX,
            echo: false,
            open: true,
            opened: true,
        }
    }

    /// What a reset leaves: the host's side of the cable.
    pub(crate) fn reset(&mut self) {
        *self = Self {
            output: std::mem::take(&mut self.output),
            input: std::mem::take(&mut self.input),
            attached: self.attached,
            suspended: self.suspended,
            echo: self.echo,
            open: self.open,
            cycles_per_micro: self.cycles_per_micro,
            ..Self::new()
        };
    }

    pub(crate) fn set_clocks(&mut self, sys_hz: u64) {
        self.cycles_per_micro = (sys_hz / 1_000_000).max(1);
    }

    /// The host types on the console.
    pub(crate) fn feed(&mut self, bytes: &[u8], now: u64) {
        self.input.extend(bytes);
        self.memory_written(now);
    }

    /// Whether the host has the console open.
    pub(crate) fn is_open(&self) -> bool {
        self.step == Step::Running && self.console.bulk_in != 0 && self.opened
    }

    /// A program on the host opens the console, or closes it.
    pub(crate) fn set_open(&mut self, open: bool, now: u64) {
        self.open = open;
        self.memory_written(now);
    }

    /// The host suspends the bus, or lets it go on.
    pub(crate) fn set_suspended(&mut self, suspended: bool, now: u64) {
        if self.suspended == suspended {
            return;
        }
        self.suspended = suspended;
        if suspended {
            self.go_idle(now);
        } else if self.attached {
            self.idle_at = u64::MAX;
            self.sie_status |= status::RESUME;
            self.memory_written(now);
        }
    }

    /// The cable is plugged in, or out. A board that has power otherwise sees no more of that than an idle bus.
    pub(crate) fn set_attached(&mut self, attached: bool, now: u64) {
        if self.attached == attached {
            return;
        }
        self.attached = attached;
        self.control = None;
        self.input.clear();
        if !attached {
            self.step = Step::Detached;
            self.go_idle(now);
        } else if self.sie_control & 1 << 16 != 0 {
            self.step = Step::Reset;
            self.due = now + CONNECT_MICROS * self.cycles_per_micro;
        }
    }

    fn go_idle(&mut self, now: u64) {
        self.due = u64::MAX;
        self.idle_at = now + SUSPEND_MICROS * self.cycles_per_micro;
    }

    // ---- memory ----

    pub(crate) fn read_memory(&self, offset: u32) -> u32 {
        self.memory
            .as_chunks::<4>()
            .0
            .get(offset as usize / 4)
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    pub(crate) fn write_memory(&mut self, offset: u32, size: u32, value: u32) {
        let (offset, size) = (offset as usize, size as usize);
        if let Some(bytes) = self.memory.get_mut(offset..offset + size) {
            bytes.copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }

    fn set_word(&mut self, offset: usize, value: u32) {
        self.memory[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// The firmware wrote a buffer control register, or could have: the host may go on.
    pub(crate) fn memory_written(&mut self, now: u64) {
        if self.due == u64::MAX && self.could_go_on() {
            self.due = now + TRANSACTION_MICROS * self.cycles_per_micro;
        }
    }

    fn buffer_control(endpoint: u8, to_host: bool) -> usize {
        0x80 + usize::from(endpoint & 15) * 8 + if to_host { 0 } else { 4 }
    }

    fn buffer_state(&self, endpoint: u8, to_host: bool) -> u32 {
        self.read_memory(Self::buffer_control(endpoint, to_host) as u32) & 0xffff
    }

    /// Where the buffer of an endpoint lies.
    fn buffer_address(&self, endpoint: u8, to_host: bool) -> usize {
        if endpoint & 15 == 0 {
            return 0x100;
        }
        let control = 8 * usize::from(endpoint & 15) + if to_host { 0 } else { 4 };
        self.read_memory(control as u32) as usize & 0xfc0
    }

    /// The device has a packet for the host: takes it.
    fn take_packet(&mut self, endpoint: u8) -> Option<Vec<u8>> {
        let state = self.buffer_state(endpoint, true);
        if state & buffer::AVAILABLE == 0 || state & buffer::FULL == 0 {
            return None;
        }
        let start = self.buffer_address(endpoint, true);
        let length = ((state & buffer::LENGTH) as usize).min(MEMORY - start);
        let packet = self.memory[start..start + length].to_vec();
        self.finish_buffer(endpoint, true, state & !(buffer::AVAILABLE | buffer::FULL));
        Some(packet)
    }

    /// The device has room for a packet from the host: gives it.
    fn give_packet(&mut self, endpoint: u8, packet: &[u8]) -> bool {
        let state = self.buffer_state(endpoint, false);
        if state & buffer::AVAILABLE == 0 || state & buffer::FULL != 0 {
            return false;
        }
        let start = self.buffer_address(endpoint, false);
        let length = packet.len().min(MEMORY - start);
        self.memory[start..start + length].copy_from_slice(&packet[..length]);
        let state = state & !(buffer::AVAILABLE | buffer::LENGTH) | buffer::FULL | length as u32;
        self.finish_buffer(endpoint, false, state);
        true
    }

    fn finish_buffer(&mut self, endpoint: u8, to_host: bool, state: u32) {
        let offset = Self::buffer_control(endpoint, to_host);
        let other = self.read_memory(offset as u32) & 0xffff_0000;
        self.set_word(offset, other | state);
        self.buffer_status |= 1 << (2 * u32::from(endpoint & 15) + u32::from(!to_host));
    }

    fn stalls(&self, to_host: bool) -> bool {
        self.buffer_state(0, to_host) & buffer::STALL != 0 && self.stall_arm >> u32::from(!to_host) & 1 != 0
    }

    // ---- the host ----

    fn could_go_on(&self) -> bool {
        if self.suspended {
            return false;
        }
        match (&self.control, self.step) {
            (_, Step::Detached | Step::GaveUp) => false,
            (Some(control), _) => {
                let to_host = (control.setup[0] & 0x80 != 0) == (control.stage == Stage::Data);
                match control.stage {
                    Stage::Setup => true,
                    _ => {
                        let state = self.buffer_state(0, to_host);
                        state & buffer::AVAILABLE != 0 || self.stalls(to_host)
                    }
                }
            }
            (None, Step::Running) => {
                let console = self.console;
                if self.open != self.opened && console.control_interface.is_some() {
                    return true;
                }
                let out = console.bulk_in != 0
                    && self.opened
                    && self.buffer_state(console.bulk_in, true) & (buffer::AVAILABLE | buffer::FULL)
                        == buffer::AVAILABLE | buffer::FULL;
                let input = console.bulk_out != 0
                    && !self.input.is_empty()
                    && self.buffer_state(console.bulk_out, false) & (buffer::AVAILABLE | buffer::FULL)
                        == buffer::AVAILABLE;
                out || input
            }
            (None, _) => true,
        }
    }

    pub(crate) fn next_event(&self) -> u64 {
        self.due.min(self.idle_at)
    }

    pub(crate) fn advance(&mut self, now: u64) {
        if now >= self.idle_at {
            self.idle_at = u64::MAX;
            self.sie_status |= status::SUSPENDED;
        }
        if now < self.due {
            return;
        }
        self.due = u64::MAX;
        if self.control.is_some() {
            self.run_control();
        } else {
            self.next_step();
        }
        if self.could_go_on() {
            self.due = now + TRANSACTION_MICROS * self.cycles_per_micro;
        }
    }

    fn begin(&mut self, setup: [u8; 8], data: &[u8]) {
        self.control = Some(Control {
            setup,
            data: data.to_vec(),
            stage: Stage::Setup,
        });
    }

    fn next_step(&mut self) {
        match self.step {
            Step::Detached | Step::GaveUp => {}
            Step::Reset => {
                self.sie_status |= status::BUS_RESET | status::CONNECTED | status::VBUS_DETECTED;
                self.address = 0;
                self.step = Step::Device;
            }
            Step::Device => self.begin([0x80, 6, 0, 1, 0, 0, 18, 0], &[]),
            Step::Address => self.begin([0, 5, 1, 0, 0, 0, 0, 0], &[]),
            Step::ConfigurationHead => self.begin([0x80, 6, 0, 2, 0, 0, 9, 0], &[]),
            // its length came with the head
            Step::Configuration => self.begin([0x80, 6, 0, 2, 0, 0, 0, 2], &[]),
            Step::SetConfiguration => self.begin([0, 9, 1, 0, 0, 0, 0, 0], &[]),
            Step::LineCoding | Step::LineState if self.console.control_interface.is_none() => {
                self.step = Step::Running;
            }
            Step::LineCoding => {
                let interface = self.console.control_interface.unwrap_or(0);
                // 115200 baud, one stop bit, no parity, eight bits
                self.begin([0x21, 0x20, 0, 0, interface, 0, 7, 0], &[0, 0xc2, 1, 0, 0, 0, 8]);
            }
            Step::LineState => {
                let interface = self.console.control_interface.unwrap_or(0);
                self.opened = self.open;
                self.begin(
                    [0x21, 0x22, if self.open { 3 } else { 0 }, 0, interface, 0, 0, 0],
                    &[],
                );
            }
            Step::Running if self.open != self.opened && self.console.control_interface.is_some() => {
                self.step = Step::LineState;
            }
            Step::Running => self.run_console(),
        }
    }

    fn run_control(&mut self) {
        let Some(mut control) = self.control.take() else {
            return;
        };
        let reads = control.setup[0] & 0x80 != 0;
        let length = usize::from(u16::from_le_bytes([control.setup[6], control.setup[7]]));
        match control.stage {
            Stage::Setup => {
                self.memory[..8].copy_from_slice(&control.setup);
                self.sie_status |= status::SETUP_REC;
                // a SETUP packet clears a stall and what was armed before it
                self.stall_arm &= !3;
                control.stage = if length == 0 { Stage::Status } else { Stage::Data };
            }
            Stage::Data if reads => {
                if self.stalls(true) {
                    return self.control_done(&control, false);
                }
                if let Some(packet) = self.take_packet(0) {
                    let short = packet.len() < 64;
                    control.data.extend_from_slice(&packet);
                    if short || control.data.len() >= length {
                        control.stage = Stage::Status;
                    }
                }
            }
            Stage::Data => {
                if self.stalls(false) {
                    return self.control_done(&control, false);
                }
                if self.give_packet(0, &control.data) {
                    control.stage = Stage::Status;
                }
            }
            Stage::Status => {
                if self.stalls(!reads) {
                    return self.control_done(&control, false);
                }
                let done = if reads {
                    self.give_packet(0, &[])
                } else {
                    self.take_packet(0).is_some()
                };
                if done {
                    return self.control_done(&control, true);
                }
            }
        }
        self.control = Some(control);
    }

    /// A control transfer has ended: what it was for decides what comes next.
    fn control_done(&mut self, control: &Control, accepted: bool) {
        self.step = match self.step {
            // a terminal program does not mind a device that has no line settings
            Step::LineCoding => Step::LineState,
            Step::LineState => Step::Running,
            _ if !accepted => Step::GaveUp,
            Step::Device => Step::Address,
            Step::Address => Step::ConfigurationHead,
            Step::ConfigurationHead => Step::Configuration,
            Step::Configuration => {
                self.console = find_console(&control.data);
                Step::SetConfiguration
            }
            Step::SetConfiguration => Step::LineCoding,
            other => other,
        };
    }

    fn run_console(&mut self) {
        let console = self.console;
        if console.bulk_in != 0
            && self.opened
            && let Some(packet) = self.take_packet(console.bulk_in)
        {
            if self.echo {
                // ICRNL makes a line feed of a carriage return, ONLCR both of a line feed
                for byte in &packet {
                    match byte {
                        b'\r' | b'\n' => self.input.extend(b"\r\n"),
                        byte => self.input.push_back(*byte),
                    }
                }
            }
            self.output.extend_from_slice(&packet);
        }
        if console.bulk_out != 0 && !self.input.is_empty() {
            let length = self.input.len().min(console.out_size);
            let packet: Vec<u8> = self.input.iter().take(length).copied().collect();
            if self.give_packet(console.bulk_out, &packet) {
                self.input.drain(..length);
            }
        }
    }

    // ---- registers ----

    fn raw(&self) -> u32 {
        let bit = |set: bool, flag: u32| if set { flag } else { 0 };
        bit(self.buffer_status != 0, interrupt::BUFF_STATUS)
            | bit(self.sie_status & status::BUS_RESET != 0, interrupt::BUS_RESET)
            | bit(self.sie_status & status::SUSPENDED != 0, interrupt::DEV_SUSPEND)
            | bit(self.sie_status & status::RESUME != 0, interrupt::DEV_RESUME)
            | bit(self.sie_status & status::SETUP_REC != 0, interrupt::SETUP_REQ)
    }

    pub(crate) fn interrupt(&self) -> bool {
        (self.raw() & self.enabled | self.forced) != 0
    }

    /// Reads a register of the controller (section 4.1.4). `None` for what is not modelled.
    pub(crate) fn read(&mut self, offset: u32, _now: u64) -> Option<u32> {
        Some(match offset {
            0x00 => self.address,
            0x04..=0x3c | 0x44 | 0x54 => 0,
            // NAK_POLL
            0x6c => 0x0010_0010,
            0x40 => self.main_control,
            0x48 => 0,
            0x4c => self.sie_control,
            0x50 => self.sie_status,
            0x58 => self.buffer_status,
            0x5c => 0,
            0x60 => self.abort,
            // an abort is done at once
            0x64 => self.abort,
            0x68 => self.stall_arm,
            0x70 => 0,
            0x74 => self.muxing,
            0x78 => self.power,
            0x7c..=0x84 => self.phy[(offset as usize - 0x7c) / 4],
            0x8c => self.raw(),
            0x90 => self.enabled,
            0x94 => self.forced,
            0x98 => self.raw() & self.enabled | self.forced,
            _ => return None,
        })
    }

    /// Writes a register of the controller. `false` for what is not modelled.
    pub(crate) fn write(&mut self, offset: u32, write: Write, now: u64) -> bool {
        match offset {
            0x00 => self.address = write.onto(self.address) & 0x7f,
            // the host mode's registers: firmware clears them
            0x04..=0x3c | 0x44 | 0x6c | 0x88 => return write.bits() == 0,
            // INT_EP_CTRL, of the host mode too, and what is read-only
            0x54 | 0x48 | 0x5c | 0x8c | 0x98 => {}
            0x40 => {
                self.main_control = write.onto(self.main_control);
                // HOST_NDEVICE
                return self.main_control & 2 == 0;
            }
            0x4c => {
                let pulled_up = self.sie_control & 1 << 16 != 0;
                self.sie_control = write.onto(self.sie_control);
                let pulls_up = self.sie_control & 1 << 16 != 0;
                if pulls_up && !pulled_up && self.attached {
                    self.step = Step::Reset;
                    self.due = now + CONNECT_MICROS * self.cycles_per_micro;
                } else if !pulls_up {
                    self.step = Step::Detached;
                    self.control = None;
                    self.due = u64::MAX;
                }
            }
            0x50 => {
                self.sie_status &= !(write.bits() & !(status::VBUS_DETECTED | status::CONNECTED));
                self.memory_written(now);
            }
            0x58 => {
                self.buffer_status &= !write.bits();
                self.memory_written(now);
            }
            0x60 => self.abort = write.onto(self.abort),
            0x64 | 0x70 => {}
            0x68 => {
                self.stall_arm = write.onto(self.stall_arm) & 3;
                self.memory_written(now);
            }
            0x74 => self.muxing = write.onto(self.muxing),
            0x78 => self.power = write.onto(self.power),
            0x7c..=0x84 => {
                let phy = &mut self.phy[(offset as usize - 0x7c) / 4];
                *phy = write.onto(*phy);
            }
            0x90 => self.enabled = write.onto(self.enabled) & 0xf_ffff,
            0x94 => self.forced = write.onto(self.forced) & 0xf_ffff,
            _ => return false,
        }
        true
    }
}

/// Looks through a configuration descriptor for a CDC console (USB CDC 1.2, section 5).
fn find_console(descriptor: &[u8]) -> Console {
    let mut console = Console::default();
    let mut in_data_interface = false;
    let mut rest = descriptor;
    while let [length, kind, ..] = *rest {
        let length = usize::from(length);
        if length < 2 || length > rest.len() {
            break;
        }
        let (this, tail) = rest.split_at(length);
        match (kind, this) {
            (4, [_, _, number, _, _, class, subclass, ..]) => {
                in_data_interface = *class == 0x0a;
                if (*class, *subclass) == (2, 2) {
                    console.control_interface = Some(*number);
                }
            }
            (5, [_, _, address, attributes, size, ..]) if in_data_interface && attributes & 3 == 2 => {
                if address & 0x80 != 0 {
                    console.bulk_in = address & 15;
                } else {
                    console.bulk_out = address & 15;
                    console.out_size = usize::from(*size).clamp(1, 64);
                }
            }
            _ => {}
        }
        rest = tail;
    }
    console
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_console_among_other_interfaces() {
        let descriptor = [
            9, 2, 0, 0, 3, 1, 0, 0x80, 50, // configuration
            9, 4, 0, 0, 1, 2, 2, 0, 0, 5, 0x24, 0, 0x10, 1, 7, 5, 0x81, 3, 8, 0, 255, // CDC control
            9, 4, 1, 0, 2, 0x0a, 0, 0, 0, 7, 5, 0x82, 2, 64, 0, 0, 7, 5, 0x03, 2, 64, 0, 0, // CDC data
            9, 4, 2, 0, 1, 3, 0, 0, 0, 7, 5, 0x84, 3, 8, 0, 10, // a keyboard
        ];
        let console = find_console(&descriptor);
        assert_eq!(console.control_interface, Some(0));
        assert_eq!((console.bulk_in, console.bulk_out, console.out_size), (2, 3, 64));
        assert_eq!(find_console(&[9, 2, 0, 0]).bulk_in, 0, "cut short");
        assert_eq!(find_console(&[0, 0, 0]).bulk_in, 0, "of no length");
    }
}
