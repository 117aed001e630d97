//! The log on UART 0.

use core::cell::RefCell;
use core::fmt::{self, Write};
use critical_section::Mutex;
use embassy_rp::Peri;
use embassy_rp::peripherals::{PIN_0, PIN_1, UART0};
use embassy_rp::uart::{Blocking, Config, Uart};
use embassy_time::Instant;
use picolet_platform::Level;

static UART: Mutex<RefCell<Option<Uart<'static, Blocking>>>> = Mutex::new(RefCell::new(None));

struct Text<'a>(&'a mut Uart<'static, Blocking>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.blocking_write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Opens the port.
pub(crate) fn start(uart: Peri<'static, UART0>, tx: Peri<'static, PIN_0>, rx: Peri<'static, PIN_1>) {
    let mut config = Config::default();
    config.baudrate = 921_600;
    let uart = Uart::new_blocking(uart, tx, rx, config);
    critical_section::with(|section| UART.borrow(section).replace(Some(uart)));
}

/// Writes a line.
pub(crate) fn line(level: Level, text: fmt::Arguments<'_>) {
    let level = match level {
        Level::Debug => "DEBUG",
        Level::Info => "INFO",
        Level::Warn => "WARN",
        Level::Error => "ERROR",
    };
    let now = Instant::now().as_millis();
    critical_section::with(|section| {
        if let Some(uart) = UART.borrow(section).borrow_mut().as_mut() {
            // A UART that nobody reads takes bytes all the same.
            let _ = write!(Text(uart), "{}.{:03} {level} {text}\r\n", now / 1000, now % 1000);
        }
    });
}
