//! Function 0: the registers of the bus itself (CYW43439 datasheet, section 4.2, "gSPI registers").

use super::gspi::{Function, WordFormat};

/// Bits of the interrupt register (0x4) and of its enable register (0x6).
pub(super) mod interrupt {
    /// Data were asked for that were not there.
    pub(in super::super) const DATA_UNAVAILABLE: u16 = 1 << 0;
    /// A command that makes no sense.
    pub(in super::super) const COMMAND_ERROR: u16 = 1 << 3;
    /// A frame waits in function 2.
    pub(in super::super) const PACKET_AVAILABLE: u16 = 1 << 5;
}

/// Bits of the status word.
mod status {
    pub(super) const DATA_NOT_AVAILABLE: u32 = 1 << 0;
    pub(super) const F2_RX_READY: u32 = 1 << 5;
    pub(super) const COMMAND_ERROR: u32 = 1 << 7;
    pub(super) const PACKET_AVAILABLE: u32 = 1 << 8;
    pub(super) const PACKET_LENGTH: u32 = 9;
}

/// What the registers show of the rest of the chip.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Inputs {
    /// The wireless firmware runs and takes frames.
    pub(super) ready: bool,
    /// The length of the frame that waits for the host.
    pub(super) packet: Option<usize>,
}

/// The registers of the bus.
#[derive(Debug, Clone)]
pub(super) struct Registers {
    /// 0x0: word length, endianness, speed, interrupt polarity.
    control: u8,
    /// 0x1: response delay in bytes, of all functions if `status_enable` says so.
    response_delay: u8,
    /// 0x2: what follows each transfer.
    status_enable: u8,
    interrupts: u16,
    interrupt_enable: u16,
    /// 0x18: a register to try the bus with.
    scratch: [u8; 4],
    /// 0x1c: response delay in bytes of each function.
    delays: [u8; 4],
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            control: 0x30,
            response_delay: 4,
            status_enable: 1,
            interrupts: 0,
            interrupt_enable: 0,
            scratch: [0; 4],
            delays: [0, 4, 0, 0],
        }
    }
}

impl Registers {
    pub(super) fn format(&self) -> WordFormat {
        match self.control & 3 {
            0 => WordFormat::Half,
            1 => WordFormat::Word,
            _ => WordFormat::BigEndian,
        }
    }

    /// How many bytes of nothing precede the data of a read.
    pub(super) fn delay(&self, function: Function) -> usize {
        let delay = if self.status_enable & 4 != 0 {
            self.response_delay
        } else {
            self.delays[function as usize]
        };
        usize::from(delay)
    }

    /// The status word that follows a transfer, if it is enabled.
    pub(super) fn trailer(&self, inputs: Inputs) -> Option<u32> {
        (self.status_enable & 1 != 0).then(|| self.status(inputs))
    }

    fn status(&self, inputs: Inputs) -> u32 {
        let mut word = 0;
        if self.interrupts & interrupt::DATA_UNAVAILABLE != 0 {
            word |= status::DATA_NOT_AVAILABLE;
        }
        if self.interrupts & interrupt::COMMAND_ERROR != 0 {
            word |= status::COMMAND_ERROR;
        }
        if inputs.ready {
            word |= status::F2_RX_READY;
        }
        if let Some(length) = inputs.packet {
            let length = u32::try_from(length).unwrap_or(0) & 0x7ff;
            word |= status::PACKET_AVAILABLE | length << status::PACKET_LENGTH;
        }
        word
    }

    /// The interrupts that are raised: those that stay until they are cleared, and the frame that waits.
    fn raised(&self, inputs: Inputs) -> u16 {
        let packet = if inputs.packet.is_some() {
            interrupt::PACKET_AVAILABLE
        } else {
            0
        };
        self.interrupts | packet
    }

    pub(super) fn raise(&mut self, bits: u16) {
        self.interrupts |= bits;
    }

    /// The level of the interrupt, which the data line shows while the chip is not selected.
    pub(super) fn interrupt_level(&self, inputs: Inputs) -> bool {
        let active_high = self.control & 0x20 != 0;
        (self.raised(inputs) & self.interrupt_enable != 0) == active_high
    }

    pub(super) fn read(&self, address: u32, inputs: Inputs) -> u8 {
        // Enabled, ready, largest packet in the upper bits.
        let information =
            |ready: bool, largest: u16| (1 | u16::from(ready) << 1 | largest << 2).to_le_bytes();
        let index = (address & 3) as usize;
        match address {
            0x00 => self.control,
            0x01 => self.response_delay,
            0x02 => self.status_enable,
            0x04 | 0x05 => self.raised(inputs).to_le_bytes()[index],
            0x06 | 0x07 => self.interrupt_enable.to_le_bytes()[index - 2],
            0x08..=0x0b => self.status(inputs).to_le_bytes()[index],
            0x0c | 0x0d => information(true, 64)[index],
            0x0e | 0x0f => information(inputs.ready, 2048)[index - 2],
            0x14..=0x17 => 0xfeed_beadu32.to_le_bytes()[index],
            0x18..=0x1b => self.scratch[index],
            0x1c..=0x1f => self.delays[index],
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, address: u32, value: u8) {
        let index = (address & 3) as usize;
        match address {
            0x00 => self.control = value,
            0x01 => self.response_delay = value,
            0x02 => self.status_enable = value,
            // Written with ones to clear.
            0x04 => self.interrupts &= !u16::from(value),
            0x05 => self.interrupts &= !(u16::from(value) << 8),
            0x06 => self.interrupt_enable = self.interrupt_enable & 0xff00 | u16::from(value),
            0x07 => self.interrupt_enable = self.interrupt_enable & 0xff | u16::from(value) << 8,
            0x18..=0x1b => self.scratch[index] = value,
            0x1c..=0x1f => self.delays[index] = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_format_follows_the_control_register() {
        let mut registers = Registers::default();
        assert_eq!(registers.format(), WordFormat::Half);
        registers.write(0, 0xb1);
        assert_eq!(registers.format(), WordFormat::Word);
        registers.write(0, 0xb3);
        assert_eq!(registers.format(), WordFormat::BigEndian);
    }

    #[test]
    fn a_waiting_frame_raises_the_interrupt_while_enabled() {
        let mut registers = Registers::default();
        let waiting = Inputs {
            ready: true,
            packet: Some(43),
        };
        assert!(!registers.interrupt_level(waiting));
        registers.write(6, 0x20);
        assert!(registers.interrupt_level(waiting));
        assert!(!registers.interrupt_level(Inputs::default()));
        assert_eq!(registers.trailer(waiting), Some(0x120 | 43 << 9));
        registers.write(0, 0);
        assert!(!registers.interrupt_level(waiting), "active low");
    }

    #[test]
    fn errors_stay_until_cleared() {
        let mut registers = Registers::default();
        registers.raise(interrupt::DATA_UNAVAILABLE);
        assert_eq!(registers.read(4, Inputs::default()), 1);
        registers.write(4, 1);
        assert_eq!(registers.read(4, Inputs::default()), 0);
    }

    #[test]
    fn the_delay_is_that_of_the_function_unless_one_holds_for_all() {
        let mut registers = Registers::default();
        assert_eq!(registers.delay(Function::Bus), 0);
        assert_eq!(registers.delay(Function::Backplane), 4);
        registers.write(0x1d, 16);
        assert_eq!(registers.delay(Function::Backplane), 16);
        registers.write(2, 5);
        assert_eq!(registers.delay(Function::Bus), 4);
    }
}
