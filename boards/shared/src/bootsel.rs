//! The level of the BOOTSEL button on an RP2350, for which embassy-rp has no reader (it has one for the RP2040).
//!
//! The button pulls the flash's chip select to ground through a kiloohm. So the pad's output is switched off, which leaves the pad's
//! pull-up and the button to decide, and after a while the level is read; until the output is back there is no flash, and no code may
//! come from it (RP2350 datasheet: `GPIO_QSPI_SS_CTRL.OEOVER` of IO_QSPI, `GPIO_HI_IN.QSPI_CSN` of SIO). Built, but never run:
//! neither on hardware nor in the emulator, which has no RP2350.

use core::arch::asm;
use embassy_rp::Peri;
use embassy_rp::pac;
use embassy_rp::pac::io::vals::Oeover;
use embassy_rp::peripherals::BOOTSEL;

/// Chip select among the pins of IO_QSPI: behind the two of USB and the clock.
const SELECT: usize = 3;
/// `QSPI_CSN` in `GPIO_HI_IN`.
const SELECT_LEVEL: u32 = 1 << 27;
/// Channels of the DMA.
const DMA_CHANNELS: usize = 16;
/// Where the flash ends and RAM begins.
const RAM: u32 = 0x2000_0000;
/// Turns of two cycles at least until the level is read: 27 µs at 150 MHz. The pull-up, 80 kΩ at most, charges a pad and its trace
/// (some 10 pF) in a tenth of that.
const SETTLE: u32 = 2048;

/// Whether the button is pressed. Nothing else runs for some 30 to 60 µs.
pub(crate) fn is_pressed(_button: Peri<'_, BOOTSEL>) -> bool {
    critical_section::with(|_| {
        // The radio's firmware goes from flash to the radio by DMA.
        for channel in 0..DMA_CHANNELS {
            let channel = pac::DMA.ch(channel);
            while channel.read_addr().read() < RAM && channel.ctrl_trig().read().busy() {}
        }
        while pac::XIP_CTRL.stream_ctr().read().0 > 0 {}
        let control = pac::IO_QSPI.gpio(SELECT).ctrl();
        let driven = control.read();
        let mut released = driven;
        released.set_oeover(Oeover::DISABLE);
        let inputs = pac::SIO.gpio_in(1);
        // SAFETY: interrupts are off and core 1 was never started (it waits in the boot ROM), so that only this function runs, and it
        // lies in RAM with all that it does; DMA and the streaming of the XIP block are idle by the loops above. So nobody wants
        // the flash before the register has its value back.
        let levels =
            unsafe { levels_released(control.as_ptr().cast(), driven.0, released.0, inputs.as_ptr()) };
        levels & SELECT_LEVEL == 0
    })
}

/// Writes `released` to `control`, waits, reads `inputs`, and writes `driven` back. In assembly, so that no build calls anything in flash
/// on the way.
///
/// # Safety
/// `control` is the register of the flash's chip select, which has the value `driven`, and `inputs` a register that may be read; nobody
/// fetches from flash until this returns.
#[inline(never)]
#[unsafe(link_section = ".data.ram_func")]
unsafe fn levels_released(control: *mut u32, driven: u32, released: u32, inputs: *mut u32) -> u32 {
    let levels;
    // SAFETY: both are registers, as the caller says, and in between nothing is touched but processor registers. No clock reaches the flash
    // meanwhile: all it can see is its chip select going up or down, which ends a read (the QMI keeps it selected for up to 192
    // cycles after one, and has let go of it long before it is driven again). The last write is read back and waited for,
    // so that the return does not fetch from flash before it.
    unsafe {
        asm!(
            "str {released}, [{control}]",
            "2:",
            "subs {turns}, {turns}, #1",
            "bne 2b",
            "ldr {levels}, [{inputs}]",
            "str {driven}, [{control}]",
            "ldr {driven}, [{control}]",
            "dsb",
            control = in(reg) control,
            released = in(reg) released,
            driven = inout(reg) driven => _,
            turns = inout(reg) SETTLE => _,
            inputs = in(reg) inputs,
            levels = out(reg) levels,
            options(nostack),
        );
    }
    levels
}
