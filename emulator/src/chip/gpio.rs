//! Pins: who drives them, what they read, and the interrupts they raise (RP2040 datasheet, section 2.19).
//!
//! A level is worked out for all pins at once, with one mask for each function that a pin can have.

use super::Write;

/// The user's pins.
pub(crate) const PINS: usize = 30;
const ALL: u32 = (1 << PINS) - 1;
const FUNCTIONS: usize = 10;
/// IE, drive strength 4 mA, pull-down, Schmitt trigger.
const PAD_RESET: u32 = 0x56;

/// The functions of a pin (FUNCSEL), as far as something drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Function {
    Pwm = 4,
    Sio = 5,
    Pio0 = 6,
    Pio1 = 7,
}

/// What a function drives: levels, and on which pins it drives at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Drive {
    pub levels: u32,
    pub enable: u32,
}

/// IO_BANK0 and PADS_BANK0.
#[derive(Debug, Clone)]
pub(crate) struct Gpio {
    control: [u32; PINS],
    pads: [u32; PINS],
    voltage: u32,
    swd_pads: [u32; 2],
    drives: [Drive; FUNCTIONS],
    /// For each function the pins that have it.
    selected: [u32; FUNCTIONS],
    /// OUTOVER and OEOVER: invert, then force.
    out_invert: u32,
    out_forced: u32,
    out_force: u32,
    enable_invert: u32,
    enable_forced: u32,
    enable_force: u32,
    in_invert: u32,
    in_forced: u32,
    in_force: u32,
    irq_invert: u32,
    irq_forced: u32,
    irq_force: u32,
    pull_up: u32,
    input_enable: u32,
    output_disable: u32,
    /// What is driven from outside of the chip.
    external: Drive,
    /// What the chip drives now.
    pub out: Drive,
    /// The levels of the pads.
    pub levels: u32,
    /// Edges that were seen: falling in bit 2, rising in bit 3 of each pin's four.
    edges: [u32; 4],
    /// INTE and INTF of processor 0, processor 1, dormant wake.
    enabled: [[u32; 4]; 3],
    forced: [[u32; 4]; 3],
}

impl Gpio {
    pub(crate) fn new() -> Self {
        let mut gpio = Self {
            control: [0x1f; PINS],
            pads: [PAD_RESET; PINS],
            voltage: 0,
            swd_pads: [0xda, 0x5a],
            drives: [Drive::default(); FUNCTIONS],
            selected: [0; FUNCTIONS],
            out_invert: 0,
            out_forced: 0,
            out_force: 0,
            enable_invert: 0,
            enable_forced: 0,
            enable_force: 0,
            in_invert: 0,
            in_forced: 0,
            in_force: 0,
            irq_invert: 0,
            irq_forced: 0,
            irq_force: 0,
            pull_up: 0,
            input_enable: ALL,
            output_disable: 0,
            external: Drive::default(),
            out: Drive::default(),
            levels: 0,
            edges: [0; 4],
            enabled: [[0; 4]; 3],
            forced: [[0; 4]; 3],
        };
        gpio.update();
        gpio
    }

    /// The pads go back to reset; what is outside stays.
    pub(crate) fn reset_bank(&mut self) {
        let (external, pads) = (self.external, self.pads);
        let keep = (self.pull_up, self.input_enable, self.output_disable, self.levels);
        *self = Self {
            external,
            pads,
            levels: self.levels,
            ..Self::new()
        };
        (self.pull_up, self.input_enable, self.output_disable, self.levels) = keep;
        self.update();
    }

    pub(crate) fn reset_pads(&mut self) {
        for pin in 0..PINS {
            self.set_pad(pin, PAD_RESET);
        }
        self.update();
    }

    /// What a function drives has changed. Answers whether a level did.
    #[inline(always)]
    pub(crate) fn drive(&mut self, function: Function, levels: u32, enable: u32) -> bool {
        let drive = &mut self.drives[function as usize];
        if (drive.levels ^ levels | drive.enable ^ enable) & self.selected[function as usize] == 0 {
            *drive = Drive { levels, enable };
            return false;
        }
        *drive = Drive { levels, enable };
        self.update()
    }

    /// Something outside drives pins, or lets go of them. Answers whether a level changed.
    pub(crate) fn drive_external(&mut self, mask: u32, levels: u32, enable: u32) -> bool {
        self.external.levels = self.external.levels & !mask | levels & mask;
        self.external.enable = self.external.enable & !mask | enable & mask;
        self.update()
    }

    /// Works the levels of the pads out. Answers whether one changed.
    fn update(&mut self) -> bool {
        let mut out = Drive::default();
        for (drive, selected) in self.drives.iter().zip(self.selected) {
            out.levels |= drive.levels & selected;
            out.enable |= drive.enable & selected;
        }
        let levels = (out.levels ^ self.out_invert) & !self.out_forced | self.out_force;
        let enable = (out.enable ^ self.enable_invert) & !self.enable_forced | self.enable_force;
        let enable = enable & !self.output_disable;
        self.out = Drive { levels, enable };
        let undriven = self.external.levels & self.external.enable | self.pull_up & !self.external.enable;
        let before = self.levels;
        self.levels = (levels & enable | undriven & !enable) & ALL;
        let changed = before ^ self.levels;
        if changed == 0 {
            return false;
        }
        // edges are seen behind IE and IRQOVER
        let seen =
            |levels: u32| (levels & self.input_enable ^ self.irq_invert) & !self.irq_forced | self.irq_force;
        let (was, is) = (seen(before), seen(self.levels));
        let mut moved = was ^ is;
        while moved != 0 {
            let pin = moved.trailing_zeros();
            moved &= moved - 1;
            self.edges[pin as usize / 8] |= if is >> pin & 1 != 0 { 8 } else { 4 } << (4 * (pin % 8));
        }
        true
    }

    /// The levels as peripherals see them: behind the input buffer and INOVER.
    #[inline(always)]
    pub(crate) fn inputs(&self) -> u32 {
        (self.levels & self.input_enable ^ self.in_invert) & !self.in_forced | self.in_force
    }

    /// What a peripheral would see if the pads had these levels.
    pub(crate) fn inputs_of(&self, levels: u32) -> u32 {
        (levels & self.input_enable ^ self.in_invert) & !self.in_forced | self.in_force
    }

    /// The function of a pin.
    pub(crate) fn function(&self, pin: usize) -> u32 {
        self.control[pin] & 31
    }

    /// INTR: edges as latched, levels as they are.
    fn raw(&self, word: usize) -> u32 {
        let seen = (self.levels & self.input_enable ^ self.irq_invert) & !self.irq_forced | self.irq_force;
        let mut raw = self.edges[word];
        for i in 0..8 {
            let pin = word * 8 + i;
            if pin < PINS {
                raw |= if seen >> pin & 1 != 0 { 2 } else { 1 } << (4 * i);
            }
        }
        raw
    }

    /// IO_IRQ_BANK0 of a processor.
    pub(crate) fn interrupt(&self, core: usize) -> bool {
        (0..4).any(|word| {
            let (enabled, forced) = (self.enabled[core][word], self.forced[core][word]);
            forced != 0 || enabled != 0 && self.raw(word) & enabled != 0
        })
    }

    /// Reads a register of IO_BANK0.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x000..=0x0ec => {
                let pin = offset as usize / 8;
                if offset & 4 != 0 {
                    self.control[pin]
                } else {
                    self.status(pin)
                }
            }
            0x0f0..=0x0fc => self.raw((offset as usize - 0xf0) / 4),
            0x100..=0x18c => {
                let (target, rest) = ((offset as usize - 0x100) / 0x30, (offset as usize - 0x100) % 0x30);
                let word = rest % 16 / 4;
                match rest / 16 {
                    0 => self.enabled[target][word],
                    1 => self.forced[target][word],
                    _ => self.raw(word) & self.enabled[target][word] | self.forced[target][word],
                }
            }
            _ => return None,
        })
    }

    /// GPIOx_STATUS (section 2.19.6.1).
    fn status(&self, pin: usize) -> u32 {
        let bit = |word: u32| word >> pin & 1;
        let function = self.function(pin) as usize;
        let drive = self.drives.get(function).copied().unwrap_or_default();
        bit(drive.levels) << 8
            | bit(self.out.levels) << 9
            | bit(drive.enable) << 12
            | bit(self.out.enable) << 13
            | bit(self.levels) << 17
            | bit(self.inputs()) << 19
            | bit(self.levels) << 24
            | bit((self.levels ^ self.irq_invert) & !self.irq_forced | self.irq_force) << 26
    }

    /// Writes a register of IO_BANK0. `None` for what is not modelled, else whether a level changed.
    pub(crate) fn write(&mut self, offset: u32, write: Write) -> Option<bool> {
        match offset {
            0x000..=0x0ec => {
                if offset & 4 != 0 {
                    let pin = offset as usize / 8;
                    self.set_control(pin, write.onto(self.control[pin]));
                    return Some(self.update());
                }
            }
            0x0f0..=0x0fc => self.edges[(offset as usize - 0xf0) / 4] &= !write.bits(),
            0x100..=0x18c => {
                let (target, rest) = ((offset as usize - 0x100) / 0x30, (offset as usize - 0x100) % 0x30);
                let word = rest % 16 / 4;
                match rest / 16 {
                    0 => self.enabled[target][word] = write.onto(self.enabled[target][word]),
                    1 => self.forced[target][word] = write.onto(self.forced[target][word]),
                    _ => {}
                }
            }
            _ => return None,
        }
        Some(false)
    }

    fn set_control(&mut self, pin: usize, control: u32) {
        let bit = 1 << pin;
        let was = self.function(pin) as usize;
        if let Some(selected) = self.selected.get_mut(was) {
            *selected &= !bit;
        }
        self.control[pin] = control & 0x3003_331f;
        if let Some(selected) = self.selected.get_mut((control & 31) as usize) {
            *selected |= bit;
        }
        let overrides = [
            (8, &mut self.out_invert, &mut self.out_forced, &mut self.out_force),
            (
                12,
                &mut self.enable_invert,
                &mut self.enable_forced,
                &mut self.enable_force,
            ),
            (16, &mut self.in_invert, &mut self.in_forced, &mut self.in_force),
            (
                28,
                &mut self.irq_invert,
                &mut self.irq_forced,
                &mut self.irq_force,
            ),
        ];
        for (shift, invert, forced, force) in overrides {
            let over = control >> shift & 3;
            *invert = *invert & !bit | if over == 1 { bit } else { 0 };
            *forced = *forced & !bit | if over >= 2 { bit } else { 0 };
            *force = *force & !bit | if over == 3 { bit } else { 0 };
        }
    }

    /// Reads a register of PADS_BANK0 (section 2.19.6.3).
    pub(crate) fn read_pad(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00 => self.voltage,
            0x04..=0x78 => self.pads[offset as usize / 4 - 1],
            0x7c | 0x80 => self.swd_pads[(offset as usize - 0x7c) / 4],
            _ => return None,
        })
    }

    /// Writes a register of PADS_BANK0.
    pub(crate) fn write_pad(&mut self, offset: u32, write: Write) -> Option<bool> {
        match offset {
            0x00 => self.voltage = write.onto(self.voltage) & 1,
            0x04..=0x78 => {
                let pin = offset as usize / 4 - 1;
                self.set_pad(pin, write.onto(self.pads[pin]));
                return Some(self.update());
            }
            0x7c | 0x80 => {
                let pad = &mut self.swd_pads[(offset as usize - 0x7c) / 4];
                *pad = write.onto(*pad);
            }
            _ => return None,
        }
        Some(false)
    }

    fn set_pad(&mut self, pin: usize, pad: u32) {
        self.pads[pin] = pad & 0xff;
        let bit = |shift: u32| (pad >> shift & 1) << pin;
        let mask = !(1 << pin);
        self.pull_up = self.pull_up & mask | bit(3);
        self.input_enable = self.input_enable & mask | bit(6);
        self.output_disable = self.output_disable & mask | bit(7);
    }
}

/// IO_QSPI and PADS_QSPI: six pins that lead to the flash (section 2.19.6.2). Chip select is also the BOOTSEL button.
#[derive(Debug, Clone)]
pub(crate) struct QspiPins {
    control: [u32; 6],
    pads: [u32; 7],
    interrupts: [u32; 9],
    /// The button is pressed: it pulls chip select low.
    pub button: bool,
}

/// Chip select among the QSPI pins.
const SELECT: usize = 1;

impl QspiPins {
    pub(crate) fn new(button: bool) -> Self {
        Self {
            control: [0; 6],
            pads: [0, 0x56, 0x52, 0x52, 0x52, 0x52, 0x5a],
            interrupts: [0; 9],
            button,
        }
    }

    /// How OUTOVER drives chip select: `Some(low)`, or `None` if the SSI does.
    pub(crate) fn forced_select(&self) -> Option<bool> {
        match self.control[SELECT] >> 8 & 3 {
            2 => Some(true),
            3 => Some(false),
            _ => None,
        }
    }

    /// The levels that GPIO_HI_IN shows. A pressed button wins only against a pin that is not driven.
    pub(crate) fn levels(&self) -> u32 {
        let driven = self.control[SELECT] >> 12 & 3 != 2;
        let select = match self.forced_select() {
            Some(low) if driven => !low,
            _ if driven => true,
            _ => !self.button,
        };
        0b11_1101 & !(1 << SELECT) | u32::from(select) << SELECT
    }

    /// IO_QSPI.
    pub(crate) fn read(&self, offset: u32) -> Option<u32> {
        Some(match offset {
            0x00..=0x2c if offset & 4 != 0 => self.control[offset as usize / 8],
            0x00..=0x2c => (self.levels() >> (offset / 8) & 1) * (1 << 17 | 1 << 19 | 1 << 24),
            0x30 => 0,
            0x34..=0x54 => self.interrupts[(offset as usize - 0x34) / 4],
            _ => return None,
        })
    }

    pub(crate) fn write(&mut self, offset: u32, write: Write) -> bool {
        match offset {
            0x00..=0x2c if offset & 4 != 0 => {
                let control = &mut self.control[offset as usize / 8];
                *control = write.onto(*control) & 0x3003_331f;
            }
            0x00..=0x30 => {}
            // interrupts of the flash's pins: can be enabled, never happen
            0x34..=0x54 => {
                let register = &mut self.interrupts[(offset as usize - 0x34) / 4];
                *register = write.onto(*register);
            }
            _ => return false,
        }
        true
    }

    /// PADS_QSPI.
    pub(crate) fn read_pad(&self, offset: u32) -> Option<u32> {
        self.pads.get(offset as usize / 4).copied()
    }

    pub(crate) fn write_pad(&mut self, offset: u32, write: Write) -> bool {
        self.pads
            .get_mut(offset as usize / 4)
            .map(|pad| *pad = write.onto(*pad))
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(gpio: &mut Gpio, pin: u32, function: Function) {
        gpio.write(pin * 8 + 4, Write::plain(function as u32));
    }

    #[test]
    fn a_pin_follows_its_function() {
        let mut gpio = Gpio::new();
        select(&mut gpio, 3, Function::Sio);
        assert!(gpio.drive(Function::Sio, 8, 8));
        assert_eq!(gpio.levels, 8);
        assert!(
            !gpio.drive(Function::Pio0, 0, 8),
            "another function does not reach the pin"
        );
        select(&mut gpio, 3, Function::Pio0);
        assert_eq!(gpio.levels, 0);
    }

    #[test]
    fn overrides_invert_and_force() {
        let mut gpio = Gpio::new();
        gpio.drive(Function::Sio, 0, 1);
        let level = |gpio: &mut Gpio, over: u32| {
            gpio.write(4, Write::plain(5 | over << 8));
            gpio.levels & 1
        };
        assert_eq!([0, 1, 2, 3].map(|over| level(&mut gpio, over)), [0, 1, 0, 1]);
        gpio.write(4, Write::plain(5 | 2 << 12 | 3 << 8));
        assert_eq!(gpio.levels & 1, 0, "output enable forced off");
    }

    #[test]
    fn pulls_decide_where_nobody_drives() {
        let mut gpio = Gpio::new();
        gpio.write_pad(4, Write::plain(0x48));
        assert_eq!(gpio.levels, 1);
        gpio.drive_external(1, 0, 1);
        assert_eq!(gpio.levels, 0);
        gpio.drive_external(1, 0, 0);
        assert_eq!(gpio.levels, 1);
        gpio.write_pad(4, Write::plain(0x08));
        assert_eq!(gpio.inputs(), 0, "the input buffer is off");
    }

    #[test]
    fn edges_are_latched_and_levels_are_not() {
        let mut gpio = Gpio::new();
        gpio.write(0x104, Write::plain(8 << 4 | 2 << 8));
        gpio.drive_external(1 << 9, 1 << 9, 1 << 9);
        gpio.drive_external(1 << 9, 0, 1 << 9);
        assert!(gpio.interrupt(0) && !gpio.interrupt(1));
        assert_eq!(gpio.read(0x124), Some(8 << 4), "the rising edge of pin 9");
        gpio.write(0xf4, Write::plain(8 << 4));
        assert!(!gpio.interrupt(0));
        gpio.drive_external(1 << 10, 1 << 10, 1 << 10);
        assert!(gpio.interrupt(0), "pin 10 is high");
    }
}
