//! gSPI: the four-wire bus of the CYW43439, bit by bit (CYW43439 datasheet, section 4.2).
//!
//! A transfer starts when the chip is selected: one command word from the host; then either its data to the chip or,
//! after a response delay, the chip's data to the host; then, if enabled, a status word to the host. The chip samples
//! on the rising edge and shifts out on the falling one, the most significant bit of a word first.
//!
//! This module knows bits and words. What the registers behind a command mean is not its business.

/// The largest number of bytes that one command moves: its length field has 11 bits, and 0 stands for 2048.
pub(super) const MAX_TRANSFER: usize = 2048;

/// In which order the four bytes of a word travel (register 0x0, bits 0 and 1).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordFormat {
    /// 16-bit words, little-endian: the state after reset.
    #[default]
    Half,
    /// 32-bit words, little-endian.
    Word,
    /// Bytes in the order of their addresses, whatever the word's length.
    BigEndian,
}

impl WordFormat {
    /// Between the 32 bits in the order in which they travel and the four bytes that they carry.
    fn convert(self, word: u32) -> u32 {
        match self {
            Self::Half => word.rotate_left(16),
            Self::Word => word,
            Self::BigEndian => word.swap_bytes(),
        }
    }
}

/// A function of the bus: an address space of its own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// F0: the registers of the bus itself.
    #[default]
    Bus,
    /// F1: a window into the chip's backplane.
    Backplane,
    /// F2: frames from and to the wireless firmware.
    Wlan,
    /// F3: Bluetooth.
    Bluetooth,
}

/// A command word.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) write: bool,
    /// The address grows with each byte; otherwise every byte goes to the same address.
    pub(super) increment: bool,
    pub(super) function: Function,
    pub(super) address: u32,
    /// Bytes to move: 1 to 2048.
    pub(super) length: usize,
}

impl Command {
    fn from_word(word: u32) -> Self {
        let length = (word & 0x7ff) as usize;
        Self {
            write: word >> 31 != 0,
            increment: word >> 30 & 1 != 0,
            function: match word >> 28 & 3 {
                0 => Function::Bus,
                1 => Function::Backplane,
                2 => Function::Wlan,
                _ => Function::Bluetooth,
            },
            address: word >> 11 & 0x1_ffff,
            length: if length == 0 { MAX_TRANSFER } else { length },
        }
    }

    /// The address of the byte `index` of the transfer.
    pub(super) fn address_of(&self, index: usize) -> u32 {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        if self.increment {
            self.address.wrapping_add(index)
        } else {
            self.address
        }
    }
}

/// What the bits of a transfer amount to: the chip has to act before the next edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// The host wants data: answer with [`Wire::answer`].
    Read(Command),
    /// The host sent data, to be taken from [`Wire::written`]: answer with the status alone.
    Write(Command),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Command,
    Write,
    Answer,
    Idle,
}

/// The shift registers at the chip's end of the wire.
#[derive(Debug, Default, Clone)]
pub(super) struct Wire {
    selected: bool,
    clock: bool,
    phase: Phase,
    shift: u32,
    bits: u32,
    command: Command,
    written: Vec<u8>,
    /// The answer as it travels.
    answer: Vec<u8>,
    /// The bit of `answer` that is shifted out next.
    position: usize,
    output: bool,
    /// Bits sampled since power-on.
    sampled: u64,
}

impl Wire {
    /// The level of the chip select line, which is active low. A new transfer starts with its falling edge; rising, it
    /// ends a transfer wherever that stands, and a write that is not complete never happened.
    pub(super) fn select(&mut self, level: bool) {
        if self.selected == level {
            self.selected = !level;
            self.phase = Phase::Command;
            self.shift = 0;
            self.bits = 0;
            self.output = false;
        }
    }

    pub(super) fn is_selected(&self) -> bool {
        self.selected
    }

    /// What the chip drives on the data line, `None` while the host does.
    pub(super) fn output(&self) -> Option<bool> {
        matches!(self.phase, Phase::Answer | Phase::Idle).then_some(self.output)
    }

    /// Bits sampled since power-on.
    pub(super) fn sampled(&self) -> u64 {
        self.sampled
    }

    /// What the host sent with the last write.
    pub(super) fn written(&self) -> &[u8] {
        &self.written[..self.command.length.min(self.written.len())]
    }

    /// An edge of the clock.
    pub(super) fn clock(&mut self, level: bool, data: bool, format: WordFormat) -> Option<Request> {
        if self.clock == level {
            return None;
        }
        self.clock = level;
        if !self.selected {
            return None;
        }
        match (self.phase, level) {
            (Phase::Command | Phase::Write, true) => self.sample(data, format),
            (Phase::Answer, false) => {
                self.shift_out();
                None
            }
            _ => None,
        }
    }

    fn sample(&mut self, data: bool, format: WordFormat) -> Option<Request> {
        self.sampled += 1;
        self.shift = self.shift << 1 | u32::from(data);
        self.bits += 1;
        if self.bits < 32 {
            return None;
        }
        self.bits = 0;
        let word = format.convert(self.shift);
        if self.phase == Phase::Command {
            self.command = Command::from_word(word);
            self.written.clear();
            if !self.command.write {
                return Some(Request::Read(self.command));
            }
            self.phase = Phase::Write;
            return None;
        }
        self.written.extend_from_slice(&word.to_le_bytes());
        (self.written.len() >= self.command.length).then_some(Request::Write(self.command))
    }

    fn shift_out(&mut self) {
        match self.answer.get(self.position / 8) {
            Some(byte) => {
                self.output = byte >> (7 - self.position % 8) & 1 != 0;
                self.position += 1;
            }
            None => {
                self.phase = Phase::Idle;
                self.output = false;
            }
        }
    }

    /// Shifts out `delay` bytes of nothing, then `data` filled up to whole words, then the status word if there is one.
    pub(super) fn answer(&mut self, delay: usize, data: &[u8], status: Option<u32>, format: WordFormat) {
        self.answer.clear();
        self.answer.resize(delay, 0);
        let words = data.chunks(4).map(|chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        });
        for word in words.chain(status) {
            self.answer.extend_from_slice(&format.convert(word).to_be_bytes());
        }
        self.position = 0;
        self.phase = Phase::Answer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(wire: &mut Wire, word: u32, format: WordFormat) -> Option<Request> {
        let mut request = None;
        for bit in (0..32).rev() {
            wire.clock(false, false, format);
            let level = word >> bit & 1 != 0;
            request = request.or(wire.clock(true, level, format));
        }
        request
    }

    fn receive(wire: &mut Wire, format: WordFormat) -> u32 {
        (0..32).fold(0, |word, _| {
            wire.clock(false, false, format);
            let bit = wire.output().unwrap_or_default();
            wire.clock(true, false, format);
            word << 1 | u32::from(bit)
        })
    }

    fn selected() -> Wire {
        let mut wire = Wire::default();
        wire.select(true);
        wire.select(false);
        wire
    }

    #[test]
    fn a_read_answers_after_its_delay() {
        let mut wire = selected();
        let word = 1 << 30 | 1 << 28 | 0x1000e << 11 | 1;
        let Some(Request::Read(command)) = send(&mut wire, word, WordFormat::Word) else {
            panic!("no read");
        };
        assert_eq!(command.function, Function::Backplane);
        assert_eq!((command.address, command.length), (0x1000e, 1));
        wire.answer(4, &[0x48], Some(0x20), WordFormat::Word);
        assert_eq!(receive(&mut wire, WordFormat::Word), 0);
        assert_eq!(receive(&mut wire, WordFormat::Word), 0x48);
        assert_eq!(receive(&mut wire, WordFormat::Word), 0x20);
        assert_eq!(receive(&mut wire, WordFormat::Word), 0);
    }

    #[test]
    fn a_write_is_complete_with_its_last_byte() {
        let mut wire = selected();
        assert_eq!(
            send(&mut wire, 1 << 31 | 1 << 30 | 2 << 28 | 5, WordFormat::Word),
            None
        );
        assert_eq!(send(&mut wire, 0x0403_0201, WordFormat::Word), None);
        assert!(matches!(
            send(&mut wire, 5, WordFormat::Word),
            Some(Request::Write(_))
        ));
        assert_eq!(wire.written(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn words_travel_in_the_order_asked_for() {
        // FEEDBEAD read by a driver that has not set the word length yet: halves swapped.
        let mut wire = selected();
        let word = 1u32 << 30 | 0x14 << 11 | 4;
        let request = send(&mut wire, word.rotate_left(16), WordFormat::Half);
        assert!(matches!(
            request,
            Some(Request::Read(Command {
                address: 0x14,
                length: 4,
                ..
            }))
        ));
        wire.answer(0, &0xfeed_beadu32.to_le_bytes(), None, WordFormat::Half);
        assert_eq!(receive(&mut wire, WordFormat::Half).rotate_left(16), 0xfeed_bead);
        assert_eq!(WordFormat::BigEndian.convert(0x0102_0304), 0x0403_0201);
    }

    #[test]
    fn deselecting_drops_half_a_write() {
        let mut wire = selected();
        send(&mut wire, 1 << 31 | 8, WordFormat::Word);
        send(&mut wire, 1, WordFormat::Word);
        wire.select(true);
        wire.select(false);
        assert!(matches!(
            send(&mut wire, 4, WordFormat::Word),
            Some(Request::Read(_))
        ));
    }

    #[test]
    fn the_length_zero_is_two_kilobytes() {
        assert_eq!(Command::from_word(2 << 28).length, MAX_TRANSFER);
        assert_eq!(Command::from_word(0x7ff).length, 0x7ff);
    }

    #[test]
    fn a_fixed_address_does_not_grow() {
        assert_eq!(
            Command {
                address: 8,
                ..Command::default()
            }
            .address_of(3),
            8
        );
        assert_eq!(
            Command {
                address: 8,
                increment: true,
                ..Command::default()
            }
            .address_of(3),
            11
        );
    }
}
