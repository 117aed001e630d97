//! I2C buses: embassy's driver, with a time limit.
//!
//! The driver's types fix pins when the firmware is compiled. Here a bus takes its pins when a transfer starts, since they are the user's
//! for everything else, and its block is held in reset between transfers, so that it drives no line.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use embassy_rp::i2c::{AbortReason, Async, Config, Error, I2c, Instance, InterruptHandler};
use embassy_rp::peripherals::{I2C0, I2C1, PIN_4, PIN_5, PIN_6, PIN_7};
use embassy_rp::{bind_interrupts, pac};
use embassy_time::{Duration, Instant};
use picolet_platform::{I2cError, PinSet};

bind_interrupts!(struct Interrupts {
    I2C0_IRQ => InterruptHandler<I2C0>;
    I2C1_IRQ => InterruptHandler<I2C1>;
});

/// SDA and SCL of each bus, those that the board's documentation names: GP4 and GP5, GP6 and GP7.
const PINS: [PinSet; 2] = [PinSet(0b11 << 4), PinSet(0b11 << 6)];

/// Twice what the longest transfer takes at 100 kHz: the rest is for devices that stretch the clock.
const TIME_LIMIT: Duration = Duration::from_millis(100);

/// IC_TX_ABRT_SOURCE: a device did not acknowledge a byte (RP2040 datasheet 4.3.17, RP2350 datasheet 12.2.17).
const DATA_NOT_ACKNOWLEDGED: u32 = 1 << 3;

/// A transfer, and the bytes that it has read.
type Work = Pin<Box<dyn Future<Output = (Result<(), Error>, Vec<u8>)>>>;

struct Transfer {
    work: Work,
    until: Instant,
}

/// The buses, each with the transfer that was started on it.
pub(crate) struct Buses([RefCell<Option<Transfer>>; PINS.len()]);

impl Buses {
    pub(crate) const fn new() -> Self {
        Self([const { RefCell::new(None) }; PINS.len()])
    }

    /// As [`picolet_platform::I2c::bus_pins`].
    pub(crate) fn pins(&self, bus: u8) -> Option<PinSet> {
        PINS.get(usize::from(bus)).copied()
    }

    /// As [`picolet_platform::I2c::start`].
    pub(crate) fn start(&self, bus: u8, address: u8, write: &[u8], read: usize) -> Result<(), I2cError> {
        let place = self.0.get(usize::from(bus)).ok_or(I2cError::NoBus)?;
        let mut place = place.borrow_mut();
        if place.is_some() {
            return Err(I2cError::Busy);
        }
        let (mut from, mut into) = (Vec::new(), Vec::new());
        // Without memory it is tried again later.
        from.try_reserve_exact(write.len())
            .and_then(|()| into.try_reserve_exact(read))
            .map_err(|_| I2cError::Busy)?;
        from.extend_from_slice(write);
        into.resize(read, 0);
        let config = Config::default();
        // SAFETY: nothing else drives these blocks, and a block has one transfer at a time. Whoever led the pins elsewhere before does so
        // again afterwards.
        let work = unsafe {
            if bus == 0 {
                let bus = I2c::new_async(I2C0::steal(), PIN_5::steal(), PIN_4::steal(), Interrupts, config);
                transfer(bus, address, from, into)
            } else {
                let bus = I2c::new_async(I2C1::steal(), PIN_7::steal(), PIN_6::steal(), Interrupts, config);
                transfer(bus, address, from, into)
            }
        };
        let until = Instant::now() + TIME_LIMIT;
        *place = Some(Transfer { work, until });
        Ok(())
    }

    /// As [`picolet_platform::I2c::finish`].
    pub(crate) fn finish(&self, bus: u8, read: &mut [u8]) -> Option<Result<(), I2cError>> {
        let Some(place) = self.0.get(usize::from(bus)) else {
            return Some(Err(I2cError::NoBus));
        };
        let mut place = place.borrow_mut();
        let Some(Transfer { work, until }) = &mut *place else {
            return Some(Err(I2cError::Bus));
        };
        // Whoever waits asks again, and every step goes by the block's state.
        let result = match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((result, bytes)) => {
                if let Some(bytes) = bytes.get(..read.len()) {
                    read.copy_from_slice(bytes);
                }
                result.map_err(error_of)
            }
            Poll::Pending if Instant::now() < *until => return None,
            Poll::Pending => Err(I2cError::Bus),
        };
        *place = None;
        stop(bus);
        Some(result)
    }

    /// As [`picolet_platform::I2c::abandon`].
    pub(crate) fn abandon(&self, bus: u8) {
        if let Some(place) = self.0.get(usize::from(bus)) {
            *place.borrow_mut() = None;
            stop(bus);
        }
    }
}

fn transfer<T: Instance>(
    mut bus: I2c<'static, T, Async>,
    address: u8,
    write: Vec<u8>,
    mut read: Vec<u8>,
) -> Work {
    Box::pin(async move {
        let result = if read.is_empty() {
            bus.write_async(address, write).await
        } else if write.is_empty() {
            bus.read_async(address, &mut read).await
        } else {
            bus.write_read_async(address, write, &mut read).await
        };
        (result, read)
    })
}

/// Holds a bus's block in reset, by which both lines are released.
fn stop(bus: u8) {
    pac::RESETS.reset().modify(|w| match bus {
        0 => w.set_i2c0(true),
        _ => w.set_i2c1(true),
    });
}

fn error_of(error: Error) -> I2cError {
    match error {
        Error::Abort(AbortReason::NoAcknowledge) => I2cError::NoAddress,
        Error::Abort(AbortReason::Other(reason)) if reason & DATA_NOT_ACKNOWLEDGED != 0 => {
            I2cError::NoAcknowledge
        }
        _ => I2cError::Bus,
    }
}
