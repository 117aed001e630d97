//! Reads the chip's temperature, and that of an LM75 at address 0x48 of I2C bus 0 if there is one.

use std::error::Error;

use embedded_hal::i2c::I2c as _;
use picolet_guest::I2c;

/// The address of an LM75 whose address pins are low, and its register of the temperature: 11 bits of an eighth of a degree Celsius.
const LM75: u8 = 0x48;
const TEMPERATURE: u8 = 0;

fn main() -> Result<(), Box<dyn Error>> {
    match picolet_guest::temperature() {
        Ok(millicelsius) => println!("chip: {}", degrees(millicelsius)),
        Err(error) => println!("chip: {error}"),
    }
    let mut register = [0; 2];
    match I2c::new(0).write_read(LM75, &[TEMPERATURE], &mut register) {
        Ok(()) => {
            let eighths = i32::from(i16::from_be_bytes(register) >> 5);
            println!("LM75: {}", degrees(eighths * 125));
        }
        Err(error) => println!("LM75: {error}"),
    }
    Ok(())
}

/// Thousandths of a degree as text, without floating point.
fn degrees(millicelsius: i32) -> String {
    let sign = if millicelsius < 0 { "-" } else { "" };
    let whole = millicelsius.unsigned_abs() / 1_000;
    let tenths = millicelsius.unsigned_abs() % 1_000 / 100;
    format!("{sign}{whole}.{tenths} °C")
}
