//! What the images of both boards share: radio, sockets, TLS, the machine, and the node that runs on them.
//!
//! # Who runs where
//! Two executors on one core. The network's runs at the priority of an interrupt: the radio's driver, the TCP/IP
//! stack, DHCP, the time servers. The thread's runs everything else: TLS and the node. A signature takes the thread a
//! hundred milliseconds, in which the network goes on.
//!
//! Sockets are used from the thread without another copy of their bytes: see `network::socket`.
//!
//! Nothing here decides anything about Kubernetes: that is `picolet-kubelet`'s.
#![no_std]

extern crate alloc;

// embassy-rp reads it on the RP2040 only.
#[cfg(target_abi = "eabihf")]
mod bootsel;
mod button;
mod clock;
mod entropy;
mod executor;
mod fault;
mod firmware;
mod flash;
mod i2c;
mod kept;
mod log;
mod machine;
mod memory;
mod network;
mod node;
mod noise;
mod pins;
mod shutdown;
mod updates;
mod usb;
mod watchdog;

use core::fmt;
use embassy_executor::Spawner;
use embassy_executor::raw::Executor;
use embassy_rp::Peri;
use embassy_rp::clocks::clk_sys_freq;
use embassy_rp::peripherals::ADC;
use embassy_rp::watchdog::Watchdog;
use flash::DeviceRecords;
use picolet_device::entropy::NoiseFailure;
use picolet_device::led::{Code, Show};
use picolet_platform::{Level, ResetReason};
use picolet_store::layout::Layout;
use picolet_store::settings::{InstallError, Settings, SettingsError};

/// What one board has that the other has not.
pub struct Model {
    /// Its name and the map of its flash.
    pub layout: &'static Layout,
    /// Its microcontroller.
    pub mcu: &'static str,
    /// Its RAM in bytes.
    pub memory_bytes: u64,
    /// Bytes of it that are reserved for pods. Constant, since allocatable memory must not follow the free heap.
    pub pod_memory_bytes: u64,
}

/// What a node needs of the flash.
struct Provisions {
    records: DeviceRecords,
    settings: Settings<'static>,
}

/// Tells what a person must mend.
fn told(code: Code, why: &dyn fmt::Display) -> Code {
    log::line(Level::Error, format_args!("{why}"));
    code
}

/// Brings up what everything else rests on: records, clock, randomness and settings.
fn prepare(
    storage: &'static flash::Storage,
    layout: &Layout,
    unique: [u8; 8],
    gatherer: &mut entropy::ChipGatherer,
) -> Result<Provisions, Code> {
    let bad_flash = |error| told(Code::BadFlash, &error);
    let records = storage.records(layout.device).map_err(bad_flash)?;
    if flash::forget(&records, storage, layout.settings).map_err(bad_flash)? {
        log::line(
            Level::Warn,
            format_args!("the device has forgotten who it is, and its settings, as it was told"),
        );
    }
    let no_keys = |failure: NoiseFailure| {
        told(
            Code::NoEntropy,
            &format_args!("{failure}; no keys, trying again every 60 s"),
        )
    };
    let (next, failure) =
        entropy::start(gatherer, flash::carried(&records).as_ref(), unique).map_err(no_keys)?;
    if let Some(failure) = failure {
        log::line(Level::Warn, format_args!("{failure}; using the stored seed"));
    }
    if let Err(error) = flash::carry(&records, &next) {
        log::line(Level::Warn, format_args!("random seed not stored: {error}"));
        // Otherwise the next run is seeded by its noise and by what this run was seeded with.
        if let Some(failure) = failure {
            return Err(no_keys(failure));
        }
    }
    storage.mend_settings(layout.settings);
    let settings = storage.settings(layout.settings).map_err(|error| {
        let code = match error {
            InstallError::Settings(SettingsError::Missing) => Code::NoSettings,
            _ => Code::BadSettings,
        };
        told(code, &error)
    })?;
    if let Some(number) = settings.reset_identity()
        && flash::reset_identity(&records, number).map_err(bad_flash)?
    {
        log::line(
            Level::Warn,
            format_args!("the device has forgotten who it is, as its settings ask"),
        );
    }
    clock::start(flash::time_floor(&records));
    Ok(Provisions { records, settings })
}

/// Runs the board. To be called once, first.
pub fn run(model: &'static Model) -> ! {
    let gatherer = entropy::gatherer();
    memory::start(|bytes| gatherer.mix(bytes));
    log::start();
    executor::run(start(model, network::radio_room(), gatherer))
}

// In a frame of its own: what stays on the stack for ever would be five kilobytes more.
#[inline(never)]
fn start(
    model: &'static Model,
    room: network::Room,
    gatherer: &'static mut entropy::ChipGatherer,
) -> &'static Executor {
    let before = fault::before();
    let p = embassy_rp::init(embassy_rp::config::Config::default());
    let layout = model.layout;
    log::line(
        Level::Info,
        format_args!(
            "picolet {} on {}, {} MHz, started by {}",
            env!("CARGO_PKG_VERSION"),
            layout.board,
            clk_sys_freq() / 1_000_000,
            before.reason.as_str()
        ),
    );
    if let Some(crash) = &before.crash {
        log::line(Level::Error, format_args!("the run before ended: {crash}"));
    }
    let storage = flash::Storage::new(p.FLASH);
    firmware::open(storage, layout);
    let unique = storage.unique_number();
    let provisions = prepare(storage, layout, unique, gatherer);
    let settings = provisions.as_ref().ok().map(|provisions| provisions.settings);
    let radio = network::firmware(flash::radio(layout)).map(|firmware| network::Hardware {
        room,
        firmware,
        restarted: before.reason != ResetReason::PowerOn,
        power: p.PIN_23,
        select: p.PIN_25,
        data: p.PIN_24,
        clock: p.PIN_29,
        pio: p.PIO0,
        dma: p.DMA_CH0,
    });
    let radio_name = radio.as_ref().map_or([0; 4], |radio| radio.firmware.name);
    let records = provisions.as_ref().ok().map(|provisions| &provisions.records);
    let updater = updates::updater(layout, radio_name, settings, records);
    executor::start(
        |spawner| match radio {
            Ok(radio) => network::spawn(spawner, radio, settings),
            // The LED hangs on the radio: there is nothing to show it by.
            Err(error) => log::line(Level::Error, format_args!("{error}")),
        },
        |spawner| {
            spawner.spawn(watchdog::feed(Watchdog::new(p.WATCHDOG)).expect("this is spawned once"));
            if settings.is_none_or(|settings| settings.uart_log()) {
                spawner.spawn(log::run(p.UART0, p.PIN_0).expect("this is spawned once"));
            }
            usb::spawn(
                spawner,
                p.USB,
                unique,
                layout.board,
                storage.part(layout.settings),
                updater,
            );
            // Without records there is nothing to do for it.
            if !matches!(provisions, Err(Code::BadFlash)) {
                let gather = entropy::run(gatherer, storage, layout.device, unique);
                spawner.spawn(gather.expect("this is spawned once"));
            }
            let node = provisions.and_then(|provisions| {
                let identity = machine::Identity::of(model, unique, before, updater);
                node(spawner, identity, p.ADC, provisions)
            });
            let button = button::watch(p.BOOTSEL, node.ok(), storage, layout.device);
            spawner.spawn(button.expect("this is spawned once"));
            if let Err(code) = node {
                network::show(Show::Code(code));
            }
        },
    )
}

// In a frame of its own: two kilobytes less at the start.
#[inline(never)]
fn node(
    spawner: Spawner,
    identity: machine::Identity,
    adc: Peri<'static, ADC>,
    Provisions { records, settings }: Provisions,
) -> Result<&'static node::Node, Code> {
    let pins = pins::Bank::new(adc, settings.uart_log());
    let node = node::spawn(spawner, identity, pins, records, settings);
    node.map_err(|error| {
        told(
            Code::BadSettings,
            &format_args!("the settings' certificates: {error}"),
        )
    })
}
