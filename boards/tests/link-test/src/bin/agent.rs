//! The node agent without TLS, on a platform whose every answer comes from nowhere: how much flash the core takes, and
//! by [`FUTURE`] how large the future of the whole agent is.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt::{self, Write as _};
use core::future::{Future, pending};
use core::hint::black_box;
use core::net::{IpAddr, Ipv4Addr};
use core::sync::atomic::AtomicU8;
use cortex_m_rt::entry;
use embassy_futures::block_on;
use embedded_io_async::{ErrorType, Read, Write};
use link_test::{Nowhere, input, output, start};
use picolet_kubelet::{Agent, Capacity, Join, Limits, Settings};
use picolet_platform::{
    AcceptError, Accepted, Clock, Credential, DialError, Dialled, Duration, Endpoint, Entropy, HeapFigures,
    Identities, Led, LedMode, Level, Lifetime, Log, LogCursor, LogExtent, LogNext, Machine, Memory, Network,
    NetworkFigures, PinMode, PinReading, PinSet, Pins, Record, RecordError, Records, ResetReason, Sensors,
    Subject, System, TimeSource, Undated, UnixMicros,
};
use picolet_platform::{IdentityError, Purpose};
use picolet_runtime::NoRuntime;

// A driver's functions are too large to be compiled into each place that calls them; so are these not to be.
#[inline(never)]
fn number() -> u32 {
    u32::from_le_bytes([input(), input(), input(), input()])
}

fn validity() -> Lifetime {
    Lifetime {
        not_before: u64::from(number()),
        not_after: u64::from(number()),
    }
}

struct Board;

struct Text;

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(output);
        Ok(())
    }
}

impl Clock for Board {
    #[inline(never)]
    fn uptime(&self) -> Duration {
        Duration::from_millis(u64::from(number()))
    }

    fn now(&self) -> Option<UnixMicros> {
        (input() > 0).then(|| UnixMicros(u64::from(number())))
    }

    fn time_source(&self) -> TimeSource {
        match input() {
            0 => TimeSource::Unknown,
            1 => TimeSource::ApiServer,
            2 => TimeSource::Hint,
            _ => TimeSource::Synchronized,
        }
    }

    fn set_time(&self, now: UnixMicros, source: TimeSource) {
        output(now.0 as u8 ^ source as u8);
    }

    async fn sleep(&self, duration: Duration) {
        output(duration.as_millis() as u8);
        if input() == 0 {
            pending::<()>().await;
        }
    }
}

impl Entropy for Board {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill_with(input);
    }
}

impl Log for Board {
    fn log(&self, _: Level, line: fmt::Arguments<'_>) {
        let _ = Text.write_fmt(line);
    }

    fn log_extent(&self) -> LogExtent {
        LogExtent {
            oldest: LogCursor(number()),
            run: LogCursor(number()),
            end: LogCursor(number()),
        }
    }

    fn next_line(&self, cursor: &mut LogCursor, line: &mut String) -> Option<LogNext> {
        cursor.0 = number();
        line.push(char::from(input()));
        match input() {
            0 => None,
            1 => Some(LogNext::Lost { bytes: number() }),
            _ => Some(LogNext::Line { millis: number() }),
        }
    }
}

impl Memory for Board {
    fn heap(&self) -> HeapFigures {
        HeapFigures {
            total: number().into(),
            used: number().into(),
            peak: number().into(),
        }
    }
}

impl Pins for Board {
    fn pins(&self) -> PinSet {
        PinSet::range(2, 22).union(PinSet::range(26, 28))
    }

    fn set_pin(&self, pin: u8, mode: PinMode) {
        output(pin);
        black_box(mode);
    }

    fn read_pin(&self, _: u8) -> Option<PinReading> {
        (input() > 0).then(|| PinReading {
            mode: PinMode::Pwm {
                duty: input(),
                hertz: number(),
            },
            high: input() > 0,
        })
    }

    fn read_adc(&self, _: u8) -> Option<u16> {
        (input() > 0).then(|| number() as u16)
    }
}

impl Led for Board {
    fn set_led(&self, mode: LedMode) {
        black_box(mode);
    }
}

impl Sensors for Board {
    fn temperature_millicelsius(&self) -> Option<i32> {
        (input() > 0).then(|| number() as i32)
    }
}

impl System for Board {
    fn machine(&self) -> Machine<'_> {
        Machine {
            board: black_box("pico-w"),
            mcu: black_box("rp2040"),
            machine_id: black_box("0123"),
            system_uuid: black_box("0123"),
            boot_id: black_box("0123"),
            kernel_version: black_box("embassy"),
            os_image: black_box("picolet"),
            cores: number(),
            cpu_khz: number(),
            memory_bytes: u64::from(number()),
            pod_memory_bytes: u64::from(number()),
            storage_bytes: u64::from(number()),
        }
    }

    fn reset_reason(&self) -> ResetReason {
        if input() > 0 {
            ResetReason::Panic
        } else {
            ResetReason::PowerOn
        }
    }

    fn cpu_micros(&self) -> u64 {
        u64::from(number())
    }

    fn storage_used_bytes(&self) -> u64 {
        u64::from(number())
    }

    async fn reboot(&self) {
        output(1);
    }
}

impl Records for Board {
    async fn load(&self, _: Record, buffer: &mut [u8]) -> Option<usize> {
        buffer.fill_with(input);
        Some(buffer.len())
    }

    async fn store(&self, _: Record, value: &[u8]) -> Result<(), RecordError> {
        value.iter().copied().for_each(output);
        Ok(())
    }
}

struct Ether;

/// A stream whose errors are of a kind, as a real one's are.
struct Wire(Nowhere);

impl ErrorType for Wire {
    type Error = Infallible;
}

impl Read for Wire {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        if input() == 0 {
            pending::<()>().await;
        }
        self.0.read(buffer).await
    }
}

impl Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Identities for Ether {
    fn request(
        &self,
        purpose: Purpose,
        node: &str,
        _: Option<IpAddr>,
        key: &mut Vec<u8>,
    ) -> Result<String, IdentityError> {
        black_box((purpose, node, key));
        match input() {
            0 => Err(IdentityError::Name),
            1 => Err(IdentityError::Entropy),
            _ => Ok(black_box("request").into()),
        }
    }

    fn adopt(
        &self,
        purpose: Purpose,
        node: &str,
        key: &[u8],
        chain: &[u8],
        now: u64,
    ) -> Result<Vec<u8>, IdentityError> {
        black_box((purpose, node, key, now));
        match input() {
            0 => Err(IdentityError::OtherKey),
            1 => Err(IdentityError::OtherNode),
            _ => Ok(chain.into()),
        }
    }

    fn restore(&self, purpose: Purpose, node: &str, record: &[u8]) -> Result<(), IdentityError> {
        black_box((purpose, node, record));
        if input() > 0 {
            Ok(())
        } else {
            Err(IdentityError::Malformed)
        }
    }

    fn withhold(&self, purpose: Purpose) {
        black_box(purpose);
    }

    fn present(&self, purpose: Purpose) {
        black_box(purpose);
    }

    fn lifetime(&self, purpose: Purpose) -> Option<Lifetime> {
        black_box(purpose);
        (input() > 0).then(|| Lifetime {
            not_before: u64::from(number()),
            not_after: u64::from(number()),
        })
    }

    fn serves(&self, address: IpAddr) -> bool {
        black_box(address);
        input() > 0
    }
}

impl Network for Ether {
    type Outbound = Wire;
    type Inbound = Wire;

    fn identities(&self) -> impl Identities {
        Ether
    }

    async fn dial(&self) -> Result<Dialled<Wire>, DialError> {
        if input() > 0 {
            Ok(Dialled {
                stream: Wire(Nowhere),
                endpoint: Endpoint {
                    server: number() as u8,
                    address: number() as u8,
                },
                validity: validity(),
            })
        } else {
            Err(DialError::Tls)
        }
    }

    async fn dial_undated(&self) -> Result<Undated<Wire>, DialError> {
        Ok(Undated {
            stream: self.dial().await?.stream,
            validity: validity(),
        })
    }

    fn pass_over(&self, endpoint: Endpoint) {
        black_box(endpoint);
    }

    async fn accept(&self) -> Result<Accepted<Wire>, AcceptError> {
        if input() > 0 {
            let credential = if input() > 0 {
                Credential::Certificate(Box::new(Subject {
                    user: black_box("user").into(),
                    uid: (input() > 0).then(|| black_box("uid").into()),
                    groups: Default::default(),
                    credential_id: black_box("id").into(),
                    not_after: number().into(),
                }))
            } else {
                Credential::None
            };
            Ok(Accepted {
                stream: Wire(Nowhere),
                credential,
                peer: IpAddr::V4(Ipv4Addr::from(number())),
            })
        } else {
            Err(AcceptError::Handshake)
        }
    }

    fn with_host<R>(&self, use_it: impl FnOnce(&str) -> R) -> R {
        use_it(black_box("host"))
    }

    fn address(&self) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from(number())))
    }

    fn rssi_dbm(&self) -> Option<i8> {
        Some(input() as i8)
    }

    fn figures(&self) -> NetworkFigures {
        NetworkFigures {
            handshakes_server: number(),
            ..NetworkFigures::default()
        }
    }
}

async fn agent() -> ! {
    let settings = Settings {
        node_name: black_box("pico").into(),
        config_namespace: black_box("default").into(),
        taints: Default::default(),
        capacity: Capacity::default(),
        reported_port: Some(10250),
        static_tokens: Default::default(),
        anonymous_health: input() > 0,
        join: Some(Join {
            token: (input() > 0).then(|| black_box("token").into()),
        }),
        limits: Limits {
            connections: 2,
            ..Limits::default()
        },
        built: picolet_kube::Timestamp::from_seconds(u64::from(number())),
    };
    Agent::<(Board, Ether, NoRuntime)>::new(settings, Board, Ether, NoRuntime)
        .run()
        .await
}

const fn size<Made: Future>(_: fn() -> Made) -> usize {
    size_of::<Made>()
}

/// Counts as static memory what the agent and all its futures take.
static FUTURE: [AtomicU8; size(agent)] = [const { AtomicU8::new(0) }; size(agent)];

#[entry]
fn main() -> ! {
    start();
    black_box(&FUTURE);
    block_on(agent())
}
