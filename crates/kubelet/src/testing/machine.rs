//! A machine in memory, every part of which a test can set and look at.

use super::{START, TestClock};
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use picolet_kube::Timestamp;
use picolet_platform::{
    Clock, Duration, Entropy, Firmware, HeapFigures, Led, LedMode, Level, Log, LogCursor, LogExtent, LogNext,
    Memory, PinMode, PinReading, PinSet, Pins, Record, RecordError, Records, ResetReason, Sensors, System,
    TimeSource, UnixMicros,
};
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

/// A Pico W of 264 KiB, but for what a test changes.
pub(crate) struct Machine {
    pub(crate) time: TestClock,
    /// Who has told the time of day.
    pub(crate) time_source: Cell<TimeSource>,
    /// What was told, and when.
    pub(crate) told: Cell<(Timestamp, Duration)>,
    pub(crate) heap: Cell<HeapFigures>,
    pub(crate) temperature: Cell<Option<i32>>,
    pub(crate) cpu_micros: Cell<u64>,
    pub(crate) pins: RefCell<BTreeMap<u8, PinMode>>,
    /// Millivolts at the analogue inputs, from 0 on.
    pub(crate) adc: RefCell<Vec<u16>>,
    /// What the LED was told, in order.
    pub(crate) led: RefCell<Vec<LedMode>>,
    pub(crate) records: RefCell<BTreeMap<u8, Vec<u8>>>,
    /// Whether records cannot be written.
    pub(crate) broken: Cell<bool>,
    /// The record that cannot be read at the moment.
    pub(crate) unreadable: Cell<Option<Record>>,
    /// Every line of the log.
    pub(crate) lines: RefCell<Vec<String>>,
    /// Their times, as far as they are known, since the start of their run.
    pub(crate) line_millis: RefCell<Vec<u32>>,
    /// How many of them are no longer kept, and how many are of the run before.
    pub(crate) kept: Cell<(u32, u32)>,
    /// How often it was restarted.
    pub(crate) reboots: Cell<u32>,
    /// Its firmware, where a bootloader has started it.
    pub(crate) firmware: Cell<Option<&'static dyn Firmware>>,
    /// How the run before crashed.
    pub(crate) crash: Option<&'static str>,
    random: Cell<u64>,
}

impl Machine {
    pub(crate) fn new(time: TestClock) -> Self {
        // Other bytes for a machine that starts later.
        let seed = 0x9e37_79b9_7f4a_7c15 ^ time.now().as_micros();
        Self {
            time,
            time_source: Cell::new(TimeSource::Synchronized),
            told: Cell::new((START, Duration::ZERO)),
            heap: Cell::new(HeapFigures {
                total: 131_072,
                used: 40_960,
                peak: 65_536,
            }),
            temperature: Cell::new(Some(27_449)),
            cpu_micros: Cell::new(1_234_567),
            pins: RefCell::default(),
            adc: RefCell::new(std::vec![1650, 0, 3299]),
            led: RefCell::default(),
            records: RefCell::default(),
            broken: Cell::default(),
            unreadable: Cell::default(),
            lines: RefCell::default(),
            line_millis: RefCell::default(),
            kept: Cell::default(),
            reboots: Cell::new(0),
            firmware: Cell::default(),
            crash: None,
            random: Cell::new(seed),
        }
    }
}

impl Clock for Machine {
    fn uptime(&self) -> Duration {
        self.time.now()
    }

    fn now(&self) -> Option<UnixMicros> {
        let (told, at) = self.told.get();
        let micros = told.micros() + (self.time.now() - at).as_micros();
        (self.time_source.get() != TimeSource::Unknown).then_some(UnixMicros(micros))
    }

    fn time_source(&self) -> TimeSource {
        self.time_source.get()
    }

    fn set_time(&self, now: UnixMicros, source: TimeSource) {
        self.time_source.set(source);
        self.told.set((Timestamp::from_micros(now.0), self.time.now()));
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        self.time.sleep(duration)
    }
}

impl Entropy for Machine {
    /// The same bytes in each run (xorshift64).
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut x = self.random.get();
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            self.random.set(x);
            *byte = x as u8;
        }
    }
}

impl Log for Machine {
    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        self.lines.borrow_mut().push(format!("{level:?} {line}"));
        let millis = u32::try_from(self.time.now().as_millis()).expect("short tests");
        self.line_millis.borrow_mut().push(millis);
    }

    /// Places are numbers of lines.
    fn log_extent(&self) -> LogExtent {
        let (gone, before) = self.kept.get();
        LogExtent {
            oldest: LogCursor(gone),
            run: LogCursor(before.max(gone)),
            end: LogCursor(u32::try_from(self.lines.borrow().len()).expect("few lines")),
        }
    }

    fn next_line(&self, cursor: &mut LogCursor, line: &mut String) -> Option<LogNext> {
        let (gone, _) = self.kept.get();
        if cursor.0 < gone {
            let bytes = gone - core::mem::replace(&mut cursor.0, gone);
            return Some(LogNext::Lost { bytes });
        }
        let index = cursor.0 as usize;
        line.push_str(self.lines.borrow().get(index)?);
        cursor.0 += 1;
        let millis = self.line_millis.borrow()[index];
        Some(LogNext::Line { millis })
    }
}

impl Memory for Machine {
    fn heap(&self) -> HeapFigures {
        self.heap.get()
    }
}

impl Pins for Machine {
    fn pins(&self) -> PinSet {
        PinSet::range(2, 22).union(PinSet::range(26, 28))
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        assert!(self.pins().contains(pin), "pin {pin} is not the user's");
        let mut pins = self.pins.borrow_mut();
        pins.insert(pin, mode);
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        let mode = self.pins.borrow().get(&pin).copied().unwrap_or_default();
        let high = matches!(mode, PinMode::High);
        self.pins().contains(pin).then_some(PinReading { mode, high })
    }

    fn read_adc(&self, channel: u8) -> Option<u16> {
        self.adc.borrow().get(usize::from(channel)).copied()
    }
}

impl Led for Machine {
    fn set_led(&self, mode: LedMode) {
        self.led.borrow_mut().push(mode);
    }
}

impl Sensors for Machine {
    fn temperature_millicelsius(&self) -> Option<i32> {
        self.temperature.get()
    }
}

impl Records for Machine {
    async fn load(&self, record: Record, buffer: &mut [u8]) -> Option<usize> {
        let records = self.records.borrow();
        let is_readable = self.unreadable.get() != Some(record);
        let value = records.get(&(record as u8)).filter(|_| is_readable)?;
        buffer.get_mut(..value.len())?.copy_from_slice(value);
        (!value.is_empty()).then_some(value.len())
    }

    async fn store(&self, record: Record, value: &[u8]) -> Result<(), RecordError> {
        if self.broken.get() {
            return Err(RecordError::Io);
        }
        self.records.borrow_mut().insert(record as u8, value.into());
        Ok(())
    }
}

impl System for Machine {
    fn machine(&self) -> picolet_platform::Machine<'_> {
        picolet_platform::Machine {
            board: "pico-w",
            mcu: "rp2040",
            machine_id: "e66118604b5c7a21",
            system_uuid: "e6611860-4b5c-7a21-0000-000000000000",
            boot_id: "5a4d2f6e-0000-4000-8000-000000000001",
            kernel_version: "embassy",
            os_image: "picolet",
            cores: 2,
            cpu_khz: 125_000,
            memory_bytes: 270_336,
            pod_memory_bytes: 65_536,
            storage_bytes: 225_280,
        }
    }

    fn reset_reason(&self) -> ResetReason {
        ResetReason::PowerOn
    }

    fn cpu_micros(&self) -> u64 {
        self.cpu_micros.get()
    }

    fn storage_used_bytes(&self) -> u64 {
        4096
    }

    fn last_crash(&self) -> Option<&dyn fmt::Display> {
        let crash = self.crash.as_ref()?;
        Some(crash)
    }

    fn firmware(&self) -> Option<&dyn Firmware> {
        self.firmware.get()
    }

    async fn reboot(&self) {
        self.reboots.set(self.reboots.get() + 1);
    }
}
