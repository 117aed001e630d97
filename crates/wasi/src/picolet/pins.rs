//! Pins, LED, analogue inputs, the temperature, I2C.

use alloc::vec::Vec;

use picolet_platform::{I2cError, LONGEST_TRANSFER, LedMode, PWM_HERTZ, PinMode, PwmOutput};

use crate::context::{Call, Wasi};
use crate::descriptors::{Descriptor, Target};
use crate::device::Device;
use crate::errno::Errno;
use crate::host::Host;
use crate::outcome::{Interest, Result, Wait};

/// Bytes of an event: time u64, pin u32, level u32.
pub(crate) const EVENT: usize = 16;

type Checked<T> = core::result::Result<T, Errno>;

/// The pin in the first slot, if the instance may read it.
fn own_pin(device: &Device<'_>, call: &Call<'_>) -> Checked<u8> {
    let pin = u8::try_from(call.slot(0)).map_err(|_| Errno::NoDevice)?;
    if !device.pins.pins().contains(pin) {
        return Err(Errno::NoDevice);
    }
    if !device.grant.pins.contains(pin) {
        return Err(Errno::NotPermitted);
    }
    Ok(pin)
}

/// The pin in the first slot, if the instance may drive it.
fn free_pin(device: &Device<'_>, call: &Call<'_>) -> Checked<u8> {
    let pin = own_pin(device, call)?;
    if device.configuration.driven().pins.contains(pin) {
        return Err(Errno::Busy);
    }
    Ok(pin)
}

/// What the pin does now.
fn mode_of(device: &Device<'_>, pin: u8) -> Checked<PinMode> {
    Ok(device.pins.read_pin(pin).ok_or(Errno::NoDevice)?.mode)
}

/// `gpio_mode(pin, mode)`: 0 off, 1 input, 4 output. Pulls (2, 3) are not supported by any board yet.
pub(super) fn gpio_mode(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let pin = free_pin(device, call)?;
    let mode = match (call.slot(1), mode_of(device, pin)?) {
        (0 | 1, _) => PinMode::Unset,
        (2 | 3, _) => return Err(Errno::NotSupported.into()),
        (4, mode @ (PinMode::Low | PinMode::High)) => mode,
        (4, _) => PinMode::Low,
        _ => return Err(Errno::Invalid.into()),
    };
    device.pins.set_pin(pin, mode);
    Ok(())
}

/// `gpio_write(pin, level)`, of a pin that is an output.
pub(super) fn gpio_write(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let pin = free_pin(device, call)?;
    if !matches!(mode_of(device, pin)?, PinMode::Low | PinMode::High) {
        return Err(Errno::Invalid.into());
    }
    let mode = if call.slot(1) == 0 {
        PinMode::Low
    } else {
        PinMode::High
    };
    device.pins.set_pin(pin, mode);
    Ok(())
}

/// `gpio_read(pin, *level)`: 0 or 1, of a pin in any mode.
pub(super) fn gpio_read(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let pin = own_pin(device, call)?;
    let reading = device.pins.read_pin(pin).ok_or(Errno::NoDevice)?;
    call.put_u32(1, reading.high.into())
}

/// `gpio_pwm(pin, duty, hertz)`: `duty` of 65535. EBUSY if a pin of the same PWM slice runs at another frequency, or one of the same output
/// with another duty.
pub(super) fn gpio_pwm(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let pin = free_pin(device, call)?;
    let (duty, hertz) = (call.slot(1), call.slot(2));
    if duty > 0xffff || !PWM_HERTZ.contains(&hertz) {
        return Err(Errno::Invalid.into());
    }
    let wanted = PinMode::Pwm {
        duty: (duty >> 8) as u8,
        hertz,
    };
    let output = PwmOutput::of(pin);
    for other in device.pins.pins().iter().filter(|other| *other != pin) {
        let its = PwmOutput::of(other);
        if its.slice == output.slice
            && let mode @ PinMode::Pwm { hertz: runs, .. } = mode_of(device, other)?
            && (runs != hertz || its == output && mode != wanted)
        {
            return Err(Errno::Busy.into());
        }
    }
    device.pins.set_pin(pin, wanted);
    Ok(())
}

/// `gpio_watch(pin, edges, *fd)`: bit 0 rising, bit 1 falling.
pub(super) fn gpio_watch(wasi: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let pin = own_pin(device, call)?;
    let edges = call.slot(1);
    if edges == 0 || edges > 3 {
        return Err(Errno::Invalid.into());
    }
    wasi.descriptors.reserve()?;
    call.put_u32(2, 0)?;
    let watch = device.events.watch(pin, edges & 1 != 0, edges & 2 != 0)?;
    let descriptor = Descriptor::new(Target::Pin(watch), true, false);
    let number = wasi.descriptors.insert(descriptor)?;
    call.put_u32(2, number)
}

/// `led(mode, period_ms)`: 0 off, 1 on, 2 blink.
pub(super) fn led(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    if !device.grant.led {
        return Err(Errno::NotPermitted.into());
    }
    if device.configuration.driven().led {
        return Err(Errno::Busy.into());
    }
    let mode = match call.slot(0) {
        0 => LedMode::Off,
        1 => LedMode::On,
        2 => match u16::try_from(call.slot(1)) {
            Ok(period_ms) if period_ms > 0 => LedMode::Blink { period_ms },
            _ => return Err(Errno::Invalid.into()),
        },
        _ => return Err(Errno::Invalid.into()),
    };
    device.led.set_led(mode);
    Ok(())
}

/// `adc_read(channel, *millivolts)`.
pub(super) fn adc_read(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let channel = call.slot(0);
    if channel > 7 {
        return Err(Errno::NoDevice.into());
    }
    if device.grant.adc >> channel & 1 == 0 {
        return Err(Errno::NotPermitted.into());
    }
    let millivolts = device.pins.read_adc(channel as u8).ok_or(Errno::NoDevice)?;
    call.put_u32(1, millivolts.into())
}

/// `temperature(*millicelsius)`.
pub(super) fn temperature(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let sensor = device.sensors.temperature_millicelsius();
    let temperature = sensor.ok_or(Errno::NoDevice)?;
    call.put_u32(0, temperature.cast_unsigned())
}

/// `i2c_transfer(bus, address, write, write_length, read, read_length)`: ENXIO if nothing answers at the address, EIO if the transfer
/// fails later. It waits while another transfer has the bus.
pub(super) fn i2c_transfer(_: &mut Wasi, call: &mut Call<'_>) -> Result {
    let device = call.device()?;
    let (bus, address) = (call.slot(0), call.slot(1));
    let (write, read) = (call.slot(3) as usize, call.slot(5) as usize);
    let bus = u8::try_from(bus).map_err(|_| Errno::NoDevice)?;
    let pins = device.i2c.bus_pins(bus).ok_or(Errno::NoDevice)?;
    if device.grant.pins.union(pins) != device.grant.pins {
        return Err(Errno::NotPermitted.into());
    }
    // A transfer that runs is finished, whoever drives its pins by now: nobody else could end it.
    let started = call.done > 0;
    if !started && device.configuration.driven().pins.0 & pins.0 != 0 {
        return Err(Errno::Busy.into());
    }
    let longest = write.max(read);
    if address > 0x7f || longest == 0 || longest > LONGEST_TRANSFER {
        return Err(Errno::Invalid.into());
    }
    let wait = Wait::on(Interest::I2C);
    let mut buffer = Vec::new();
    if buffer.try_reserve_exact(longest).is_err() {
        if started {
            device.i2c.abandon(bus);
        }
        return Err(Errno::NoMemory.into());
    }
    buffer.resize(longest, 0);
    let (written, received) = (call.slot(2), call.slot(4));
    if !started {
        let bytes = buffer.get_mut(..write).unwrap_or_default();
        call.memory.copy_out(written, bytes)?;
        match device.i2c.start(bus, address as u8, bytes, read) {
            Err(I2cError::Busy) => return Err(call.suspend(wait)),
            started => started.map_err(errno_of)?,
        }
        call.done = 1;
    }
    let bytes = buffer.get_mut(..read).unwrap_or_default();
    let Some(finished) = device.i2c.finish(bus, bytes) else {
        return Err(call.suspend(wait));
    };
    finished.map_err(errno_of)?;
    Ok(call.memory.copy_in(received, bytes)?)
}

const fn errno_of(error: I2cError) -> Errno {
    match error {
        I2cError::Busy => Errno::Busy,
        I2cError::NoBus => Errno::NoDevice,
        I2cError::NoAddress => Errno::NoSuchAddress,
        I2cError::NoAcknowledge | I2cError::Bus => Errno::Io,
    }
}

/// Whether a watched pin has an event.
pub(crate) fn has_events(watch: u8, host: &Host<'_>) -> bool {
    host.device.is_some_and(|device| device.events.has_event(watch))
}

/// Takes as many events as fit.
pub(crate) fn read_events(watch: u8, host: &Host<'_>, bytes: &mut [u8]) -> Checked<usize> {
    let device = host.device.ok_or(Errno::NoDevice)?;
    if bytes.len() < EVENT {
        return Err(Errno::Invalid);
    }
    let mut count = 0;
    for place in bytes.chunks_exact_mut(EVENT) {
        let Some(event) = device.events.next_event(watch) else {
            break;
        };
        let (time, rest) = place.split_at_mut(8);
        time.copy_from_slice(&event.time.to_le_bytes());
        rest.copy_from_slice(&[event.pin, 0, 0, 0, event.high.into(), 0, 0, 0]);
        count += EVENT;
    }
    if count == 0 {
        return Err(Errno::Again);
    }
    Ok(count)
}

/// Ends a watch whose descriptor was closed.
pub(crate) fn unwatch(watch: u8, host: &Host<'_>) {
    if let Some(device) = host.device {
        device.events.unwatch(watch);
    }
}
