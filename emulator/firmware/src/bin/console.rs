//! A console on USB that shouts back what is typed.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::peripherals::USB;
use embassy_rp::usb::{Driver, InterruptHandler};
use embassy_rp::{bind_interrupts, uart};
use embassy_usb::class::cdc_acm::{CdcAcmClass, State};
use emulator_firmware::{log_to, say};
use static_cell::StaticCell;

bind_interrupts!(struct Irqs { USBCTRL_IRQ => InterruptHandler<USB>; });

#[embassy_executor::task]
async fn run(mut device: embassy_usb::UsbDevice<'static, Driver<'static, USB>>) {
    device.run().await;
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    static CONFIGURATION: StaticCell<[u8; 256]> = StaticCell::new();
    static BOS: StaticCell<[u8; 256]> = StaticCell::new();
    static CONTROL: StaticCell<[u8; 64]> = StaticCell::new();
    static STATE: StaticCell<State<'static>> = StaticCell::new();
    let p = embassy_rp::init(Default::default());
    log_to(uart::Uart::new_blocking(
        p.UART0,
        p.PIN_0,
        p.PIN_1,
        uart::Config::default(),
    ));
    let mut config = embassy_usb::Config::new(0xc0de, 0xcafe);
    config.product = Some("console");
    let mut builder = embassy_usb::Builder::new(
        Driver::new(p.USB, Irqs),
        config,
        CONFIGURATION.init([0; 256]),
        BOS.init([0; 256]),
        &mut [],
        CONTROL.init([0; 64]),
    );
    let mut class = CdcAcmClass::new(&mut builder, STATE.init(State::new()), 64);
    spawner.spawn(run(builder.build()).unwrap());
    class.wait_connection().await;
    say!("connected at {} baud", class.line_coding().data_rate());
    class.write_packet(b"hello\r\n").await.unwrap();
    let mut packet = [0; 64];
    loop {
        let length = class.read_packet(&mut packet).await.unwrap();
        packet[..length].make_ascii_uppercase();
        class.write_packet(&packet[..length]).await.unwrap();
    }
}
