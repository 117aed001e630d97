//! Blinks the LED and pin 2, until SIGTERM. The key `blink.times` of `pico-config` is how often, the key `blink.pin` which pin.
#![no_std]
#![no_main]

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use picolet_guest::{Delay, Error, Led, Output, config, pending_signal, print, set_led, start};

/// Milliseconds that the pin is high, and low.
const HALF: u32 = 250;

/// A small number from the configuration.
fn number(key: &str) -> Option<u32> {
    let mut buffer = [0; 8];
    let digits = config(key, &mut buffer).ok()?;
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn blink() -> Result<(), Error> {
    let pin = number("blink.pin").and_then(|pin| u8::try_from(pin).ok());
    let mut pin = Output::new(pin.unwrap_or(2))?;
    let mut left = number("blink.times");
    let mut delay = Delay;
    while left != Some(0) {
        pin.set_high()?;
        set_led(Led::On)?;
        print("on\n");
        delay.delay_ms(HALF);
        pin.set_low()?;
        set_led(Led::Off)?;
        print("off\n");
        delay.delay_ms(HALF);
        left = left.map(|left| left - 1);
        if pending_signal()?.is_some() {
            print("stopped\n");
            break;
        }
    }
    Ok(())
}

start!(blink);
