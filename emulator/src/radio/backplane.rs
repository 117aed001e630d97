//! Function 1: a window of 32 KB into the chip's backplane, with the cores' registers, the wireless processor's RAM
//! and the few registers of the bus that lie above the window.
//!
//! The chip's firmware is uploaded through here and never run: when its processor is let out of reset, what lies in
//! RAM is looked at, and if it can be a firmware with its board parameters behind it, the model of that firmware
//! starts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::Time;

/// RAM of the wireless processor, in bytes.
pub(super) const RAM: usize = 512 * 1024;
/// A firmware is larger than this: the released ones are about 230 KB.
const SMALLEST_FIRMWARE: usize = 32 * 1024;

const CHIPCOMMON: u32 = 0x1800_0000;
const SDIO_CORE: u32 = 0x1800_2000;
const WLAN_CORE: u32 = 0x1800_3000;
const SOCSRAM_CORE: u32 = 0x1800_4000;
/// Between a core's registers and those of its wrapper.
const WRAPPER: u32 = 0x10_0000;
const WRAPPER_CONTROL: u32 = 0x408;
const WRAPPER_RESET: u32 = 0x800;

/// From the release of the processor until its fast clock runs: the figure that embassy's driver names.
const CLOCK_START: Duration = Duration::from_millis(29);
/// From then until the firmware takes frames.
const FIRMWARE_START: Duration = Duration::from_millis(8);

/// Why the wireless processor does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum UploadError {
    /// Too few bytes from address 0 on.
    Small(usize),
    /// The first words are not a stack pointer and a reset vector of its processor.
    NoVectors,
    /// The last word of RAM is not a length and its complement.
    NoParameterLength(u32),
    /// The board parameters are not text of the form `key=value`.
    Parameters(usize),
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the radio's processor was started without a firmware to run: ")?;
        match self {
            Self::Small(size) => write!(
                f,
                "{size} bytes were uploaded to address 0 on, and a firmware has {SMALLEST_FIRMWARE} at the least"
            ),
            Self::NoVectors => f.write_str("what was uploaded does not start with a Cortex-M3 vector table"),
            Self::NoParameterLength(word) => write!(
                f,
                "the last word of its RAM is {word:#010x} and not the length of the board parameters (NVRAM) in words, \
                 with its complement in the upper half"
            ),
            Self::Parameters(length) => {
                write!(
                    f,
                    "the {length} bytes before the end of its RAM are not board parameters (NVRAM), key=value each"
                )
            }
        }
    }
}

impl std::error::Error for UploadError {}

/// An address that the model does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unmodelled(pub(super) u32);

impl fmt::Display for Unmodelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the radio's backplane address {:#010x} is not modelled",
            self.0
        )?;
        if self.0 >> 24 == 0x19 || self.0 >> 16 == 0x64 {
            f.write_str(" (Bluetooth)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unmodelled {}

/// The wireless processor, as far as the model runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Processor {
    Stopped,
    Running(Time),
    Failed(UploadError),
}

/// The backplane and the window into it.
#[derive(Debug, Clone)]
pub(super) struct Backplane {
    window: u32,
    /// 0x10005 to 0x1001f, the registers of the bus above the window.
    local: [u8; 0x20],
    ram: Vec<u8>,
    /// Bytes of RAM that were written without a gap from address 0 on.
    uploaded: usize,
    /// Registers of the cores that were written, by word.
    registers: BTreeMap<u32, u32>,
    processor: Processor,
}

impl Default for Backplane {
    fn default() -> Self {
        Self {
            window: 0,
            local: [0; 0x20],
            ram: vec![0; RAM],
            uploaded: 0,
            registers: BTreeMap::new(),
            processor: Processor::Stopped,
        }
    }
}

impl Backplane {
    /// The firmware has started and takes frames.
    pub(super) fn is_ready(&self, now: Time) -> bool {
        matches!(self.processor, Processor::Running(since) if now >= since + CLOCK_START + FIRMWARE_START)
    }

    /// When [`Backplane::is_ready`] becomes true, if it will.
    pub(super) fn ready_at(&self) -> Option<Time> {
        match self.processor {
            Processor::Running(since) => Some(since + CLOCK_START + FIRMWARE_START),
            _ => None,
        }
    }

    fn fast_clock(&self, now: Time) -> bool {
        matches!(self.processor, Processor::Running(since) if now >= since + CLOCK_START)
    }

    /// Why the processor did not start when it was told to.
    pub(super) fn upload_error(&self) -> Option<&UploadError> {
        match &self.processor {
            Processor::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Bytes of firmware that were uploaded.
    pub(super) fn uploaded(&self) -> usize {
        self.uploaded
    }

    pub(super) fn read(&self, address: u32, now: Time) -> Result<u8, Unmodelled> {
        if address < 0x1_0000 {
            return self.read_backplane(self.window | address & 0x7fff);
        }
        let Some(index) = local(address) else {
            return Err(Unmodelled(address));
        };
        Ok(match index {
            0x0e => self.clock_status(now),
            // The device is on as soon as it is asked to stay on.
            0x1f => self.local[index] & 1 | (self.local[index] & 1) << 1,
            _ => self.local[index],
        })
    }

    /// 0x1000e: which clocks were asked for in the lower bits, which run in the upper ones.
    fn clock_status(&self, now: Time) -> u8 {
        const ALP_REQUESTS: u8 = 0x01 | 0x08;
        const HT_REQUESTS: u8 = 0x02 | 0x10;
        let value = self.local[0x0e] & 0x3f;
        let fast = self.fast_clock(now);
        let slow = value & (ALP_REQUESTS | HT_REQUESTS) != 0 || fast;
        value | u8::from(slow) << 6 | u8::from(fast) << 7
    }

    /// Writes one byte; `true` if that was the end of the frame that the host reads (0x1000d, bit 0).
    pub(super) fn write(&mut self, address: u32, value: u8, now: Time) -> Result<bool, Unmodelled> {
        if address < 0x1_0000 {
            return self
                .write_backplane(self.window | address & 0x7fff, value, now)
                .map(|()| false);
        }
        let Some(index) = local(address) else {
            return Err(Unmodelled(address));
        };
        self.local[index] = value;
        match index {
            0x0a => self.window = self.window & !0xff00 | u32::from(value & 0x80) << 8,
            0x0b => self.window = self.window & !0xff_0000 | u32::from(value) << 16,
            0x0c => self.window = self.window & !0xff00_0000 | u32::from(value) << 24,
            0x0d => return Ok(value & 1 != 0),
            _ => {}
        }
        Ok(false)
    }

    fn read_backplane(&self, address: u32) -> Result<u8, Unmodelled> {
        if let Some(byte) = self.ram.get(address as usize) {
            return Ok(*byte);
        }
        let word = match address & !3 {
            // The chip's number, 43439.
            CHIPCOMMON => 43439,
            word if is_register(word) => self.register(word),
            _ => return Err(Unmodelled(address)),
        };
        Ok(word.to_le_bytes()[(address & 3) as usize])
    }

    fn write_backplane(&mut self, address: u32, value: u8, now: Time) -> Result<(), Unmodelled> {
        let index = address as usize;
        if let Some(byte) = self.ram.get_mut(index) {
            *byte = value;
            if index == 0 {
                self.uploaded = 1;
            } else if index == self.uploaded {
                self.uploaded += 1;
            }
            return Ok(());
        }
        let word = address & !3;
        if !is_register(word) {
            return Err(Unmodelled(address));
        }
        if word == SDIO_CORE + 0x20 {
            // The interrupt status is written with ones to clear, and the model never sets any of it.
            return Ok(());
        }
        let mut bytes = self.register(word).to_le_bytes();
        bytes[(address & 3) as usize] = value;
        self.registers.insert(word, u32::from_le_bytes(bytes));
        if word & !0xfff == WLAN_CORE + WRAPPER {
            self.update_processor(now);
        }
        Ok(())
    }

    fn register(&self, word: u32) -> u32 {
        self.registers.get(&word).copied().unwrap_or(0)
    }

    /// Starts or stops the wireless processor after a write to its wrapper. It runs with its clock on (bit 0 of the
    /// control register) but not forced (bit 1) and not halted (bit 5), out of reset, and its RAM likewise.
    fn update_processor(&mut self, now: Time) {
        let wrapper = |core: u32, offset: u32| self.register(core + WRAPPER + offset);
        let runs = wrapper(WLAN_CORE, WRAPPER_CONTROL) & 0x23 == 1
            && wrapper(WLAN_CORE, WRAPPER_RESET) & 1 == 0
            && wrapper(SOCSRAM_CORE, WRAPPER_CONTROL) & 0x23 == 1
            && wrapper(SOCSRAM_CORE, WRAPPER_RESET) & 1 == 0;
        if !runs {
            self.processor = Processor::Stopped;
        } else if self.processor == Processor::Stopped {
            self.processor = self
                .check_upload()
                .map_or_else(Processor::Failed, |()| Processor::Running(now));
        }
    }

    fn check_upload(&self) -> Result<(), UploadError> {
        let word = |at: usize| {
            u32::from_le_bytes([self.ram[at], self.ram[at + 1], self.ram[at + 2], self.ram[at + 3]])
        };
        if self.uploaded < SMALLEST_FIRMWARE {
            return Err(UploadError::Small(self.uploaded));
        }
        // The reset vector is Thumb code within what was uploaded.
        let reset = word(4);
        if reset & 1 == 0 || reset as usize >= self.uploaded {
            return Err(UploadError::NoVectors);
        }
        let length = word(RAM - 4);
        if length & 0xffff != !length >> 16 {
            return Err(UploadError::NoParameterLength(length));
        }
        let length = 4 * (length & 0xffff) as usize;
        let parameters = self.ram[..RAM - 4]
            .len()
            .checked_sub(length)
            .map(|start| &self.ram[start..RAM - 4]);
        let is_text = |line: &[u8]| {
            line.is_empty()
                || line.contains(&b'=')
                    && line
                        .iter()
                        .all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t')
        };
        match parameters {
            Some(bytes)
                if !bytes.is_empty()
                    && bytes.split(|byte| matches!(byte, 0 | b'\n' | b'\r')).all(is_text) =>
            {
                Ok(())
            }
            _ => Err(UploadError::Parameters(length)),
        }
    }
}

/// The index of a register above the window.
fn local(address: u32) -> Option<usize> {
    (0x1_0005..0x1_0020)
        .contains(&address)
        .then_some((address & 0x1f) as usize)
}

/// Whether the backplane has a register at that word: a core's or its wrapper's.
fn is_register(word: u32) -> bool {
    let core = word & !0xfff;
    (CHIPCOMMON..=SOCSRAM_CORE).contains(&core)
        || (CHIPCOMMON..=SOCSRAM_CORE).contains(&core.wrapping_sub(WRAPPER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(backplane: &mut Backplane, address: u32) {
        for (register, shift) in [(0x1_000a, 8), (0x1_000b, 16), (0x1_000c, 24)] {
            backplane
                .write(register, (address >> shift) as u8, Time::ZERO)
                .expect("a window");
        }
    }

    fn store(backplane: &mut Backplane, address: u32, bytes: &[u8], now: Time) {
        for (address, byte) in (address..).zip(bytes) {
            point(backplane, address);
            backplane
                .write(address & 0x7fff, *byte, now)
                .expect("an address that is modelled");
        }
    }

    fn start(firmware: &[u8], parameters: &[u8]) -> Backplane {
        let mut backplane = Backplane::default();
        store(
            &mut backplane,
            SOCSRAM_CORE + WRAPPER + WRAPPER_CONTROL,
            &[1],
            Time::ZERO,
        );
        store(&mut backplane, 0, firmware, Time::ZERO);
        let top = RAM as u32 - 4;
        let words = parameters.len() as u32 / 4;
        store(
            &mut backplane,
            top - parameters.len() as u32,
            parameters,
            Time::ZERO,
        );
        store(
            &mut backplane,
            top,
            &(!words << 16 | words).to_le_bytes(),
            Time::ZERO,
        );
        store(
            &mut backplane,
            WLAN_CORE + WRAPPER + WRAPPER_CONTROL,
            &[1],
            Time::from_millis(1),
        );
        backplane
    }

    fn firmware() -> Vec<u8> {
        let mut firmware = vec![0x5a; 40_000];
        firmware[4..8].copy_from_slice(&0x1471u32.to_le_bytes());
        firmware
    }

    #[test]
    fn a_firmware_with_its_parameters_starts() {
        let backplane = start(&firmware(), b"boardtype=0x1\0xtalfreq=37400\0\0\0");
        assert_eq!(backplane.upload_error(), None);
        assert_eq!(backplane.uploaded(), 40_000);
        assert!(!backplane.is_ready(Time::from_millis(37)));
        assert!(backplane.is_ready(Time::from_millis(38)));
        assert_eq!(backplane.read(0x1_000e, Time::from_millis(30)), Ok(0xc0));
    }

    #[test]
    fn anything_else_does_not_and_says_why() {
        let parameters = b"boardtype=0x1\0\0\0";
        assert_eq!(
            start(&firmware()[..100], parameters).upload_error(),
            Some(&UploadError::Small(100))
        );
        assert_eq!(
            start(&[0; 40_000], parameters).upload_error(),
            Some(&UploadError::NoVectors)
        );
        assert_eq!(
            start(&firmware(), &[1; 16]).upload_error(),
            Some(&UploadError::Parameters(16))
        );
        assert!(!start(&firmware(), &[]).is_ready(Time::from_millis(100)));
    }

    #[test]
    fn the_window_shows_the_chip_and_its_cores() {
        let mut backplane = Backplane::default();
        point(&mut backplane, CHIPCOMMON);
        assert_eq!(backplane.read(0, Time::ZERO), Ok(0xaf));
        assert_eq!(backplane.read(0x8001, Time::ZERO), Ok(0xa9));
        point(&mut backplane, 0x1900_0000);
        assert_eq!(backplane.read(0, Time::ZERO), Err(Unmodelled(0x1900_0000)));
        assert!(Unmodelled(0x1900_0000).to_string().contains("Bluetooth"));
        assert_eq!(
            backplane.write(0x1_0002, 0, Time::ZERO),
            Err(Unmodelled(0x1_0002))
        );
    }

    #[test]
    fn the_bus_stays_awake_when_asked() {
        let mut backplane = Backplane::default();
        backplane.write(0x1_001f, 1, Time::ZERO).expect("a register");
        assert_eq!(backplane.read(0x1_001f, Time::ZERO), Ok(3));
        assert_eq!(backplane.write(0x1_000d, 1, Time::ZERO), Ok(true));
    }
}
