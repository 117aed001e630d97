//! What the images of both boards share: radio, sockets, TLS, the machine, and the node that runs on them.
//!
//! # Who runs where
//! Two executors on one core. The network's runs at the priority of an interrupt: the radio's driver, the TCP/IP
//! stack, DHCP, the time servers. The thread's runs everything else: TLS and the node. A signature takes the thread a
//! hundred milliseconds, in which the network goes on.
//!
//! Sockets are used from the thread without another copy of their bytes: see [`network::socket`].
//!
//! Nothing here decides anything about Kubernetes: that is `picolet-kubelet`'s.
#![no_std]

extern crate alloc;

mod clock;
mod entropy;
mod executor;
mod fault;
mod firmware;
mod flash;
mod log;
mod machine;
mod memory;
mod network;
mod node;
mod pins;

use embassy_rp::clocks::clk_sys_freq;
use embassy_rp::watchdog::Watchdog;
use picolet_platform::Level;
use picolet_store::layout::Layout;
use picolet_store::settings::Settings;

/// What one board has that the other has not.
pub struct Model {
    /// Its name and the map of its flash.
    pub layout: &'static Layout,
    /// Its microcontroller.
    pub mcu: &'static str,
    /// Its RAM in bytes.
    pub memory_bytes: u64,
}

/// Runs the board. To be called once, first.
pub fn run(model: &'static Model) -> ! {
    memory::start();
    let before = fault::before();
    let p = embassy_rp::init(embassy_rp::config::Config::default());
    let layout = model.layout;
    log::start(p.UART0, p.PIN_0, p.PIN_1);
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
    if let Some(crash) = before.crash {
        log::line(Level::Error, format_args!("the run before ended: {crash}"));
    }
    let watchdog = Watchdog::new(p.WATCHDOG);
    let storage = flash::Storage::new(p.FLASH);
    let unique = storage.unique_number();
    let records = match storage.records(layout.device) {
        Ok(records) => records,
        Err(error) => fault::wait(watchdog, format_args!("{error}")),
    };
    match entropy::start(flash::carried(&records).as_ref(), unique) {
        Ok(next) => {
            if let Err(error) = flash::carry(&records, &next) {
                fault::wait(watchdog, format_args!("{error}"));
            }
        }
        Err(failure) => fault::wait(watchdog, format_args!("{failure}")),
    }
    let settings = match Settings::read(flash::mapped(layout.settings)) {
        Ok(settings) => settings,
        Err(error) => fault::wait(watchdog, format_args!("{error}")),
    };
    let firmware = match network::firmware(flash::mapped(layout.radio)) {
        Ok(firmware) => firmware,
        Err(error) => fault::wait(watchdog, format_args!("{error}")),
    };
    let machine = machine::Identity::of(model, unique, before.reason);
    let radio = network::Hardware {
        firmware,
        power: p.PIN_23,
        select: p.PIN_25,
        data: p.PIN_24,
        clock: p.PIN_29,
        pio: p.PIO0,
        dma: p.DMA_CH0,
    };
    let pins = pins::Bank::new(p.ADC, settings.uart_log());
    executor::run(
        |spawner| network::spawn(spawner, radio, settings),
        |spawner| {
            spawner.spawn(fault::feed(watchdog).expect("this is spawned once"));
            if let Some(node) = node::spawn(spawner, machine, pins, records, settings) {
                spawner.spawn(firmware::prove(node, storage, layout).expect("this is spawned once"));
            }
        },
    )
}
