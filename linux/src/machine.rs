//! A Linux process as the machine that a node runs on.
//!
//! Its shape is that of a board, so that what is tried here holds there: the same capacity, the same pins. Pins and LED
//! are simulated and logged; time, randomness, temperature and memory are the real machine's.

use crate::clock::WallClock;
use crate::journal::Journal;
use crate::state::{MachineIds, NodeState, uuid};
use anyhow::Result;
use picolet_platform::{
    Clock, Duration, Entropy, HeapFigures, Led, LedMode, Level, Log, LogCursor, LogExtent, LogNext, Machine,
    Memory, PinMode, PinReading, PinSet, Pins, Record, RecordError, Records, ResetReason, Sensors, System,
    TimeSource, UnixMicros,
};
use sha2::{Digest, Sha256};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::Notify;

/// What a Pico W has.
const MEMORY_BYTES: u64 = 264 * 1024;
/// What of it pods can have there.
const POD_MEMORY_BYTES: u64 = 88 * 1024;
/// The region for modules there.
const STORAGE_BYTES: u64 = 220 * 1024;

/// One simulated board.
pub(crate) struct Linux {
    node: String,
    started: Instant,
    clock: WallClock,
    identity: Identity,
    state: Option<NodeState>,
    pins: RefCell<[PinMode; 64]>,
    led: Cell<LedMode>,
    reboot: Notify,
    reset_reason: ResetReason,
    /// It was told to forget who it is.
    forgets: Cell<bool>,
    journal: Arc<Journal>,
    /// The processor time of the process, shared among its nodes.
    nodes: u32,
}

struct Identity {
    ids: MachineIds,
    boot_id: String,
    kernel_version: String,
    os_image: String,
    cpu_khz: u32,
}

impl Identity {
    fn new(ids: MachineIds) -> Self {
        let random = || {
            let mut bytes = [0; 16];
            fill(&mut bytes);
            bytes
        };
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mhz = cpu.lines().find_map(|line| {
            line.strip_prefix("cpu MHz")?
                .split(':')
                .nth(1)?
                .trim()
                .parse::<f64>()
                .ok()
        });
        Self {
            ids,
            boot_id: uuid(&random()),
            kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
            os_image: format!(
                "picolet on {}",
                name.map_or("Linux", |name| name.trim_matches('"'))
            ),
            cpu_khz: mhz.map_or(0, |mhz| (mhz * 1000.0) as u32),
        }
    }
}

/// The identifiers of a node without a state directory: the same ones whenever it is started on this host, and other ones for each
/// node of a process.
fn derived_ids(node: &str) -> MachineIds {
    let host = fs::read_to_string("/etc/machine-id")
        .ok()
        .filter(|id| !id.trim().is_empty());
    let hostname = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let seed = host.unwrap_or_else(hostname);
    let digest = Sha256::digest(format!("picolet\0{}\0{node}", seed.trim()));
    MachineIds::new(&digest.into())
}

fn fill(bytes: &mut [u8]) {
    // The kernel's generator fails only where the kernel does not have it; no node can be run safely there.
    getrandom::fill(bytes).expect("the operating system gives randomness");
}

impl Linux {
    /// A board for the node of that name, one of `nodes` in this process, which keeps what outlives it in `state`. It began for that reason,
    /// and its log is read from that journal.
    ///
    /// # Errors
    /// The machine ID in `state` cannot be read or kept.
    pub(crate) fn new(
        node: &str,
        state: Option<NodeState>,
        nodes: u32,
        clock: WallClock,
        (reset_reason, journal): (ResetReason, Arc<Journal>),
    ) -> Result<Self> {
        let ids = match &state {
            Some(state) => state.machine_ids(|| derived_ids(node))?,
            None => derived_ids(node),
        };
        Ok(Self {
            node: node.to_owned(),
            started: Instant::now(),
            clock,
            identity: Identity::new(ids),
            state,
            pins: RefCell::new([PinMode::Unset; 64]),
            led: Cell::new(LedMode::Off),
            reboot: Notify::new(),
            reset_reason,
            forgets: Cell::new(false),
            journal,
            nodes,
        })
    }

    /// Completes when the node asks to be restarted.
    pub(crate) async fn rebooted(&self) {
        self.reboot.notified().await;
    }

    /// Whether it was told to forget who it is.
    pub(crate) fn forgets(&self) -> bool {
        self.forgets.get()
    }
}

impl Clock for Linux {
    fn uptime(&self) -> Duration {
        self.started.elapsed().into()
    }

    fn now(&self) -> Option<UnixMicros> {
        self.clock.now()
    }

    fn time_source(&self) -> TimeSource {
        self.clock.source()
    }

    fn set_time(&self, now: UnixMicros, source: TimeSource) {
        self.clock.set(now, source);
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration.into()).await;
    }
}

impl Entropy for Linux {
    fn fill(&self, bytes: &mut [u8]) {
        fill(bytes);
    }
}

/// A line of the log without control characters, as on a board: a tenant's ConfigMap is shown in some, and must neither end a line
/// nor drive a terminal.
struct OneLine<'a>(fmt::Arguments<'a>);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Plain<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Plain<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                let plain = |c: char| if c.is_control() { ' ' } else { c };
                text.chars()
                    .try_for_each(|c| fmt::Write::write_char(self.0, plain(c)))
            }
        }
        fmt::write(&mut Plain(f), self.0)
    }
}

impl Log for Linux {
    fn log(&self, level: Level, line: fmt::Arguments<'_>) {
        let (node, line) = (&*self.node, OneLine(line));
        match level {
            Level::Debug => tracing::debug!(node, "{line}"),
            Level::Info => tracing::info!(node, "{line}"),
            Level::Warn => tracing::warn!(node, "{line}"),
            Level::Error => tracing::error!(node, "{line}"),
        }
    }

    fn log_request(
        &self,
        level: Level,
        endpoint: &str,
        client: &dyn fmt::Display,
        status: u16,
        duration_ms: u64,
    ) {
        let node = &*self.node;
        match level {
            Level::Debug => tracing::debug!(node, endpoint, %client, status, duration_ms),
            _ => tracing::info!(node, endpoint, %client, status, duration_ms),
        }
    }

    fn log_extent(&self) -> LogExtent {
        self.journal.extent()
    }

    fn next_line(&self, cursor: &mut LogCursor, line: &mut String) -> Option<LogNext> {
        self.journal.next_line(cursor, line)
    }
}

impl Memory for Linux {
    /// The machine's memory, looked at once a second by the whole process.
    fn heap(&self) -> HeapFigures {
        static LAST: Mutex<Option<(Instant, HeapFigures)>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((at, figures)) = *last
            && at.elapsed() < core::time::Duration::from_secs(1)
        {
            return figures;
        }
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let total = kib("MemTotal:") * 1024;
        let used = total.saturating_sub(kib("MemAvailable:") * 1024);
        let peak = last.map_or(used, |(_, before)| before.peak.max(used));
        let figures = HeapFigures { total, used, peak };
        *last = Some((Instant::now(), figures));
        figures
    }

    /// The node's share of the process, as far as a board has so much.
    fn used_bytes(&self) -> Option<u64> {
        let text = fs::read_to_string("/proc/self/statm").ok()?;
        let resident: u64 = text.split(' ').nth(1)?.parse().ok()?;
        let page = rustix::param::page_size() as u64;
        Some((resident * page / u64::from(self.nodes.max(1))).min(MEMORY_BYTES))
    }
}

impl Pins for Linux {
    fn pins(&self) -> PinSet {
        PinSet::range(2, 22).union(PinSet::range(26, 28))
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        if let Some(kept) = self.pins.borrow_mut().get_mut(usize::from(pin)) {
            *kept = mode;
        }
        self.log(Level::Info, format_args!("pin {pin} is now {mode:?} (simulated)"));
    }

    fn read_pin(&self, pin: u8) -> Option<PinReading> {
        let mode = self
            .pins()
            .contains(pin)
            .then(|| self.pins.borrow()[usize::from(pin)])?;
        let high = matches!(mode, PinMode::High | PinMode::Pwm { duty: 1.., .. });
        Some(PinReading { mode, high })
    }

    fn read_adc(&self, _channel: u8) -> Option<u16> {
        None
    }
}

impl Led for Linux {
    fn set_led(&self, mode: LedMode) {
        if self.led.replace(mode) != mode {
            self.log(Level::Info, format_args!("the LED is now {mode:?} (simulated)"));
        }
    }
}

impl Sensors for Linux {
    fn temperature_millicelsius(&self) -> Option<i32> {
        fs::read_to_string("/sys/class/thermal/thermal_zone0/temp")
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

impl System for Linux {
    fn machine(&self) -> Machine<'_> {
        let id = &self.identity;
        Machine {
            board: "linux",
            mcu: std::env::consts::ARCH,
            machine_id: &id.ids.machine_id,
            system_uuid: &id.ids.system_uuid,
            boot_id: &id.boot_id,
            kernel_version: &id.kernel_version,
            os_image: &id.os_image,
            cores: 2,
            cpu_khz: id.cpu_khz,
            memory_bytes: MEMORY_BYTES,
            pod_memory_bytes: POD_MEMORY_BYTES,
            storage_bytes: STORAGE_BYTES,
        }
    }

    fn reset_reason(&self) -> ResetReason {
        self.reset_reason
    }

    /// The node's share of what the process used.
    fn cpu_micros(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let micros = u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
            + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000;
        micros / u64::from(self.nodes.max(1))
    }

    fn storage_used_bytes(&self) -> u64 {
        0 // there are no modules yet
    }

    async fn reboot(&self) {
        self.reboot.notify_one();
    }
}

impl Records for Linux {
    async fn load(&self, record: Record, buffer: &mut [u8]) -> Option<usize> {
        let bytes = self.state.as_ref()?.load(record)?;
        buffer.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        (!bytes.is_empty()).then_some(bytes.len())
    }

    async fn store(&self, record: Record, value: &[u8]) -> Result<(), RecordError> {
        self.forgets.set(self.forgets() || record == Record::Forget);
        match &self.state {
            Some(state) => state.store(record, value).map_err(|_| RecordError::Io),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::PoisonError;
    use tracing::subscriber::with_default;

    /// What a subscriber is given.
    struct Taken(Arc<Mutex<Vec<String>>>);

    impl tracing::field::Visit for Taken {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            taken.push(format!("{field}={value:?}"));
        }
    }

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Taken {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            event.record(&mut Taken(self.0.clone()));
        }
    }

    #[test]
    fn line_of_the_log_has_no_control_characters() {
        use tracing_subscriber::layer::SubscriberExt as _;
        let clock = WallClock::new(crate::clock::Source::System);
        let journal = (ResetReason::PowerOn, Journal::of("pico-line"));
        let machine = Linux::new("pico-line", None, 1, clock, journal).expect("a machine");
        let lines = Arc::new(Mutex::new(Vec::new()));
        with_default(tracing_subscriber::registry().with(Taken(lines.clone())), || {
            machine.log(
                Level::Info,
                format_args!("entry \"{}\"", "a\r\nINFO \u{1b}[2J\u{9b}b\u{e4}"),
            );
        });
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(
            lines.contains(&"message=entry \"a  INFO  [2J b\u{e4}\"".to_owned()),
            "{lines:?}"
        );
    }
}
