//! The board as the node sees it: `picolet-platform`'s traits.

use crate::fault::Before;
use crate::flash::DeviceRecords;
use crate::i2c::Buses;
use crate::pins::Bank;
use crate::{Model, clock, entropy, executor, log, memory, network, shutdown};
use core::fmt;
use embassy_rp::clocks::clk_sys_freq;
use embassy_time::{Instant, Timer};
use heapless::String;
use picolet_device::led::Show;
use picolet_platform::{
    Clock, Duration, Entropy, Firmware, HeapFigures, I2c, I2cError, Led, LedMode, Level, Log, LogCursor,
    LogExtent, LogNext, Machine, Memory, PinMode, PinReading, PinSet, Pins, Record, RecordError, Records,
    ResetReason, Sensors, System, TimeSource, UnixMicros,
};

use picolet_update::Updater;

/// The kernel's place is embassy's.
const KERNEL: &str = "embassy-0.10";
const OS: &str = concat!("picolet ", env!("CARGO_PKG_VERSION"));

/// Which board this is.
pub(crate) struct Identity {
    model: &'static Model,
    /// The board's unique number, in hexadecimal.
    machine_id: String<32>,
    system_uuid: String<36>,
    boot_id: String<36>,
    before: Before,
    updater: Option<&'static Updater<'static>>,
}

/// 16 bytes as a UUID is written, with the bits of a version 8 (made by us).
fn uuid(mut bytes: [u8; 16]) -> String<36> {
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::new();
    for (n, byte) in bytes.into_iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            let _ = text.push('-');
        }
        hex(&mut text, byte);
    }
    text
}

/// A board's number in hexadecimal.
pub(crate) fn serial_number(unique: [u8; 8]) -> String<16> {
    let mut text = String::new();
    for byte in unique {
        hex(&mut text, byte);
    }
    text
}

fn hex<const N: usize>(text: &mut String<N>, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        let _ = text.push(char::from_digit(digit.into(), 16).unwrap_or_default());
    }
}

impl Identity {
    /// The identity of the board of this kind with this number, which came to start so.
    pub(crate) fn of(
        model: &'static Model,
        unique: [u8; 8],
        before: Before,
        updater: Option<&'static Updater<'static>>,
    ) -> Self {
        let mut number = [0; 16];
        number[..8].copy_from_slice(&unique);
        number[8..].copy_from_slice(b"picolet\0");
        let mut machine_id = String::new();
        for byte in number {
            hex(&mut machine_id, byte);
        }
        let mut random = [0; 16];
        entropy::fill(&mut random);
        Self {
            model,
            machine_id,
            system_uuid: uuid(number),
            boot_id: uuid(random),
            before,
            updater,
        }
    }
}

/// One board.
pub(crate) struct Board {
    pub(crate) identity: Identity,
    pub(crate) pins: Bank,
    pub(crate) i2c: Buses,
    pub(crate) records: DeviceRecords,
}

impl Clock for Board {
    fn uptime(&self) -> Duration {
        Duration::from_micros(Instant::now().as_micros())
    }

    fn now(&self) -> Option<UnixMicros> {
        clock::now()
    }

    fn time_source(&self) -> TimeSource {
        clock::source()
    }

    fn set_time(&self, now: UnixMicros, source: TimeSource) {
        clock::set(now, source);
    }

    async fn sleep(&self, duration: Duration) {
        Timer::after_micros(duration.as_micros().min(u64::MAX / 2)).await;
    }
}

impl Entropy for Board {
    fn fill(&self, bytes: &mut [u8]) {
        entropy::fill(bytes);
    }
}

impl Log for Board {
    #[inline(never)]
    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        log::line(level, line);
    }

    fn log_extent(&self) -> LogExtent {
        log::extent()
    }

    fn next_line(&self, cursor: &mut LogCursor, line: &mut alloc::string::String) -> Option<LogNext> {
        log::next_line(cursor, line)
    }
}

impl Memory for Board {
    fn heap(&self) -> HeapFigures {
        memory::heap()
    }
}

impl Pins for Board {
    fn pins(&self) -> PinSet {
        self.pins.pins()
    }

    #[inline(never)]
    fn set_pin(&self, pin: u8, mode: PinMode) {
        self.pins.set(pin, mode);
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        self.pins.read(pin)
    }

    fn read_adc(&self, channel: u8) -> Option<u16> {
        self.pins.analogue(channel)
    }
}

impl I2c for Board {
    fn bus_pins(&self, bus: u8) -> Option<PinSet> {
        self.i2c.pins(bus)
    }

    fn start(&self, bus: u8, address: u8, write: &[u8], read: usize) -> Result<(), I2cError> {
        self.i2c.start(bus, address, write, read)
    }

    fn finish(&self, bus: u8, read: &mut [u8]) -> Option<Result<(), I2cError>> {
        self.i2c.finish(bus, read)
    }

    fn abandon(&self, bus: u8) {
        self.i2c.abandon(bus);
    }
}

impl Led for Board {
    fn set_led(&self, mode: LedMode) {
        network::show(Show::Mode(mode));
    }
}

impl Sensors for Board {
    fn temperature_millicelsius(&self) -> Option<i32> {
        self.pins.temperature()
    }
}

impl System for Board {
    fn machine(&self) -> Machine<'_> {
        let Identity {
            model,
            machine_id,
            system_uuid,
            boot_id,
            ..
        } = &self.identity;
        Machine {
            board: model.layout.board,
            mcu: model.mcu,
            machine_id,
            system_uuid,
            boot_id,
            kernel_version: KERNEL,
            os_image: OS,
            cores: 2,
            cpu_khz: clk_sys_freq() / 1000,
            memory_bytes: model.memory_bytes,
            pod_memory_bytes: model.pod_memory_bytes,
            storage_bytes: model.layout.modules.length.into(),
        }
    }

    fn reset_reason(&self) -> ResetReason {
        self.identity.before.reason
    }

    fn last_crash(&self) -> Option<&dyn fmt::Display> {
        let crash = self.identity.before.crash.as_ref()?;
        Some(crash)
    }

    fn cpu_micros(&self) -> u64 {
        executor::busy_micros()
    }

    fn storage_used_bytes(&self) -> u64 {
        0 // there are no modules yet
    }

    fn firmware(&self) -> Option<&dyn Firmware> {
        let updater = self.identity.updater?;
        Some(updater)
    }

    async fn reboot(&self) {
        shutdown::restart().await
    }
}

impl Records for Board {
    async fn load(&self, record: Record, buffer: &mut [u8]) -> Option<usize> {
        self.records.load(record, buffer).await
    }

    async fn store(&self, record: Record, value: &[u8]) -> Result<(), RecordError> {
        self.records.store(record, value).await
    }
}
