//! What the test images share: a log on UART 0 and a panic that says so there.
#![no_std]

use core::cell::RefCell;
use core::fmt::{self, Write};

use critical_section::Mutex;
use embassy_rp::uart::{Blocking, Uart};

static LOG: Mutex<RefCell<Option<Uart<'static, Blocking>>>> = Mutex::new(RefCell::new(None));

struct Port<'a>(&'a mut Uart<'static, Blocking>);

impl Write for Port<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.blocking_write(text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Makes this UART the log.
pub fn log_to(uart: Uart<'static, Blocking>) {
    critical_section::with(|section| LOG.borrow(section).replace(Some(uart)));
}

/// Prints on the log.
pub fn print(text: fmt::Arguments<'_>) {
    critical_section::with(|section| {
        if let Some(uart) = LOG.borrow_ref_mut(section).as_mut() {
            let _ = Port(uart).write_fmt(text);
        }
    });
}

/// Prints a line on the log.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::print(format_args!("{}\n", format_args!($($text)*))) }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say!("PANIC {info}");
    loop {
        cortex_m::asm::udf();
    }
}
