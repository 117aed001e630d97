//! The board's network: what runs on the network's executor, and what the thread may see of it.

pub(crate) mod api;
mod device;
mod radio;
mod sntp;
pub(crate) mod socket;
mod supervisor;

use crate::{entropy, fault, log};
use alloc::boxed::Box;
use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr};
use core::pin::Pin;
use critical_section::Mutex;
use cyw43::{A4, Aligned, Control, PowerManagementMode, SpiBus};
// Half of the PIO's clock is the bus's: 31.25 MHz on the Pico W. Some Pico 2 W have bit errors at 37.5 MHz, so it is 25 MHz there.
#[cfg(target_abi = "eabi")]
use cyw43_pio::DEFAULT_CLOCK_DIVIDER as CLOCK_DIVIDER;
#[cfg(target_abi = "eabihf")]
use cyw43_pio::RM2_CLOCK_DIVIDER as CLOCK_DIVIDER;
use cyw43_pio::{OVERCLOCK_CLOCK_DIVIDER, PioSpi};
use device::Device;
use embassy_executor::{SendSpawner, Spawner};
use embassy_futures::select::{Either, select};
use embassy_net::{Config, DhcpConfig, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{DMA_CH0, PIN_23, PIN_24, PIN_25, PIN_29, PIO0};
use embassy_rp::pio::{InterruptHandler, Pio};
use embassy_rp::{Peri, bind_interrupts, dma};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer, with_timeout};
use picolet_device::led::{BOOTING, Show};
use picolet_device::radio as radio_format;
use picolet_device::radio::{Radio, RadioError};
use picolet_device::recovery::RadioFailure;
use picolet_store::settings::Settings;
use static_cell::StaticCell;
use supervisor::Supervisor;

bind_interrupts!(struct Interrupts {
    PIO0_IRQ_0 => InterruptHandler<PIO0>;
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>;
});

/// What the radio hangs on, the same on both boards.
pub(crate) struct Hardware {
    pub(crate) room: Room,
    pub(crate) firmware: Firmware,
    /// The radio may have had power until just now.
    pub(crate) restarted: bool,
    pub(crate) power: Peri<'static, PIN_23>,
    pub(crate) select: Peri<'static, PIN_25>,
    pub(crate) data: Peri<'static, PIN_24>,
    pub(crate) clock: Peri<'static, PIN_29>,
    pub(crate) pio: Peri<'static, PIO0>,
    pub(crate) dma: Peri<'static, DMA_CH0>,
}

/// A piece of the radio's firmware, as its driver takes it.
type Piece = &'static Aligned<A4, [u8]>;

/// What the radio's processor runs: decompressed on its way there.
struct Program(Box<radio_format::Firmware<'static>>);

impl cyw43::Firmware for Program {
    fn next(&mut self) -> Option<&[u8]> {
        self.0.next_piece()
    }
}

// Seven kilobytes that are made on the stack: not in a frame that stays.
#[inline(never)]
fn program(compressed: &'static [u8]) -> Program {
    Program(Box::new(radio_format::Firmware::new(compressed)))
}

/// What the radio's processor runs, and what it must know of the board.
pub(crate) struct Firmware {
    /// What our firmware names it by that needs this one.
    pub(crate) name: [u8; 4],
    program: Program,
    countries: &'static [u8],
    parameters: Piece,
}

/// The radio's firmware in its region of the flash, which both slots of ours use.
pub(crate) fn firmware(region: &'static [u8]) -> Result<Firmware, RadioError> {
    let radio = Radio::find(region)?;
    if !radio.is_whole(region) {
        return Err(RadioError::Damaged);
    }
    Ok(Firmware {
        name: radio.name,
        program: program(radio.firmware),
        countries: radio.countries,
        parameters: piece(radio.parameters),
    })
}

/// `bytes` of the region, each piece of which begins at a multiple of four and is filled up to one.
fn piece(bytes: &'static [u8]) -> Piece {
    let begin = bytes.as_ptr().expose_provenance();
    assert!(begin.is_multiple_of(4), "a region begins with a sector");
    let whole = core::ptr::slice_from_raw_parts(core::ptr::with_exposed_provenance::<u8>(begin), bytes.len());
    // SAFETY: flash that is mapped for ever and not changed while this runs, aligned as is said. `Aligned` is the bytes
    // and what fills them up, which lies in the same region.
    unsafe { &*(whole as *const Aligned<A4, [u8]>) }
}

type Bus = SpiBus<Output<'static>, PioSpi<'static, PIO0, 0>>;

/// What is known of the network from outside.
#[derive(Clone, Copy)]
struct Condition {
    /// The board's own address, while the link is up and it has one.
    address: Option<Ipv4Addr>,
    rssi_dbm: Option<i8>,
}

static CONDITION: Mutex<Cell<Condition>> = Mutex::new(Cell::new(Condition {
    address: None,
    rssi_dbm: None,
}));

/// Wakes who lights the LED, which hangs on the radio: it shall show something else.
static LED: Signal<CriticalSectionRawMutex, ()> = Signal::new();
/// What it shall show, and what goes before that.
static SHOWN: Mutex<Cell<(Show, Option<Show>)>> = Mutex::new(Cell::new((BOOTING, None)));

fn condition() -> Condition {
    critical_section::with(|section| CONDITION.borrow(section).get())
}

fn update(change: impl FnOnce(&mut Condition)) {
    critical_section::with(|section| {
        let mut condition = CONDITION.borrow(section).get();
        change(&mut condition);
        CONDITION.borrow(section).set(condition);
    });
}

/// Asks whoever keeps the radio joined to leave the network, and reports that it has.
static LEAVE: Signal<CriticalSectionRawMutex, ()> = Signal::new();
static LEFT: Signal<CriticalSectionRawMutex, ()> = Signal::new();
/// Limit of leaving, which takes some milliseconds.
const LEAVING: Duration = Duration::from_millis(300);

/// Leaves the network for good, if the board is in one: an access point that protects management frames refuses a station that it
/// still has associated.
pub(crate) async fn leave() {
    LEAVE.signal(());
    // One that has not left is refused for some seconds.
    let _ = with_timeout(LEAVING, LEFT.wait()).await;
}

/// Makes the LED show this from now on.
pub(crate) fn show(what: Show) {
    change_shown(|shown| shown.0 = what);
}

/// Makes the LED show this whatever else it is told, as long as it is something.
pub(crate) fn show_over(what: Option<Show>) {
    change_shown(|shown| shown.1 = what);
}

fn change_shown(change: impl FnOnce(&mut (Show, Option<Show>))) {
    critical_section::with(|section| {
        let shown = SHOWN.borrow(section);
        let mut new = shown.get();
        change(&mut new);
        shown.set(new);
    });
    LED.signal(());
}

/// What the LED shall show now.
fn shown() -> Show {
    let (shown, over) = critical_section::with(|section| SHOWN.borrow(section).get());
    over.unwrap_or(shown)
}

/// Starts the network on its executor; without settings only the LED, which hangs on the radio.
pub(crate) fn spawn(spawner: SendSpawner, hardware: Hardware, settings: Option<Settings<'static>>) {
    spawner.spawn(run(hardware, settings).expect("the first task has its place"));
}

#[embassy_executor::task]
async fn run_radio(runner: cyw43::Runner<'static, Bus>) {
    driver(runner).await;
}

// On the heap, and made in a frame of its own: a task that makes what it waits for has it on the stack twice whenever it is polled,
// here four kilobytes, in an interrupt on top of whatever the thread does.
#[inline(never)]
fn driver(runner: cyw43::Runner<'static, Bus>) -> Pin<Box<dyn Future<Output = ()>>> {
    let mut run = Box::pin(runner.run());
    Box::pin(async move { run.as_mut().await })
}

#[embassy_executor::task]
async fn run_stack(mut runner: Runner<'static, Device>) -> ! {
    runner.run().await
}

/// What the driver works in. To be called once, at the very start: it is made on the stack, and would be the most that is
/// ever there if it were made by a task of an interrupt.
#[inline(never)]
pub(crate) fn radio_room() -> Room {
    static STATE: StaticCell<cyw43::State> = StaticCell::new();
    Room(STATE.init_with(cyw43::State::new))
}

/// What the radio's driver works in.
pub(crate) struct Room(&'static mut cyw43::State);

// SAFETY: it is as new, with nothing in it that belongs to an executor. The driver puts that there.
unsafe impl Send for Room {}

/// DHCP, DNS, one for the time, and the node's own.
const SOCKETS: usize = 3 + socket::OUTBOUND + socket::INBOUND;

// Large: in a frame of its own, and not in that of the task, which stays.
#[inline(never)]
fn stack_resources() -> &'static mut StackResources<SOCKETS> {
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    RESOURCES.init_with(StackResources::new)
}

/// The address as the settings have it.
fn address_config(settings: Settings<'static>) -> Config {
    let dns = settings.dns().collect();
    match settings.address() {
        Some(fixed) => Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(fixed.address, fixed.prefix),
            gateway: fixed.gateway,
            dns_servers: dns,
        }),
        None => {
            let mut dhcp = DhcpConfig::default();
            dhcp.hostname = settings.hostname().try_into().ok();
            // The first frames after a join are lost now and then.
            dhcp.retry_config.discover_timeout = DHCP_RETRY;
            dhcp.retry_config.initial_request_timeout = DHCP_RETRY;
            Config::dhcpv4(dhcp)
        }
    }
}

/// Between two questions for an address.
const DHCP_RETRY: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(1);
/// Limit of bringing the radio up, which takes two seconds. Half of that are fixed pauses of the driver.
const BRING_UP: Duration = Duration::from_secs(10);
/// How long the radio must be without power to be reset, beyond the 20 ms of its driver.
const POWER_OFF: Duration = Duration::from_millis(150);

/// Brings the radio up, and keeps it joined.
#[embassy_executor::task]
async fn run(hardware: Hardware, settings: Option<Settings<'static>>) {
    let supervisor = Supervisor::new();
    let (control, stack) = {
        supervisor.begin(BRING_UP);
        let mut started = started(hardware, settings);
        loop {
            match select(&mut started, supervisor.overdue()).await {
                Either::First(started) => break started,
                Either::Second(()) => supervisor.fail(RadioFailure::NotStarted),
            }
        }
    };
    supervisor.end();
    radio::run(control, &supervisor, settings.zip(stack)).await;
}

/// What is up then: the radio, and with settings the stack.
type Started = (Control<'static>, Option<Stack<'static>>);

// On the heap, and made in a frame of its own: it is large and done in a second, and the task stays.
#[inline(never)]
fn started(
    hardware: Hardware,
    settings: Option<Settings<'static>>,
) -> Pin<Box<dyn Future<Output = Started>>> {
    Box::pin(start(hardware, settings))
}

/// Brings the radio up and starts everything that runs beside it.
async fn start(hardware: Hardware, settings: Option<Settings<'static>>) -> Started {
    // SAFETY: a task of embassy's executor waits for this, so the context is its own.
    let spawner = unsafe { Spawner::for_current_executor() }.await;
    let power = Output::new(hardware.power, Level::Low);
    let select = Output::new(hardware.select, Level::High);
    let mut pio = Pio::new(hardware.pio, Interrupts);
    if hardware.restarted {
        Timer::after(POWER_OFF).await;
    }
    let mut divider = CLOCK_DIVIDER;
    for _ in 0..fault::radio_slower() {
        // It is 1.
        divider += OVERCLOCK_CLOCK_DIVIDER;
    }
    let bus = PioSpi::new(
        &mut pio.common,
        pio.sm0,
        divider,
        pio.irq0,
        select,
        hardware.data,
        hardware.clock,
        dma::Channel::new(hardware.dma, Interrupts),
    );
    let Firmware {
        mut program,
        countries,
        parameters,
        ..
    } = hardware.firmware;
    let (device, mut control, runner) =
        cyw43::new(hardware.room.0, power, bus, &mut program, parameters).await;
    drop(program);
    spawner.spawn(run_radio(runner).expect("this is spawned once"));
    let country = settings.map_or("XX", |settings| settings.country());
    // Settings have no other ones than of two letters.
    let code = country.as_bytes().first_chunk().copied().unwrap_or(*b"XX");
    if !control.init(countries, code).await {
        log::line(
            picolet_platform::Level::Warn,
            format_args!(
                "the radio does not know the country {country}: it keeps to what is allowed everywhere"
            ),
        );
    }
    let Some(settings) = settings else {
        return (control, None);
    };
    // In any other mode it sleeps until the next beacon as soon as nobody has spoken for 20 ms, and hears of a change a tenth
    // of a second late.
    control.set_power_management(PowerManagementMode::None).await;
    let (stack, runner) = embassy_net::new(
        Device(device),
        address_config(settings),
        stack_resources(),
        entropy::number(),
    );
    socket::start(stack);
    for task in [
        run_stack(runner).map(|task| spawner.spawn(task)),
        socket::undertake().map(|task| spawner.spawn(task)),
        sntp::keep_time(stack, settings).map(|task| spawner.spawn(task)),
    ] {
        task.expect("each is spawned once");
    }
    (control, Some(stack))
}

/// The board's own address.
fn address() -> Option<IpAddr> {
    condition().address.map(IpAddr::V4)
}
