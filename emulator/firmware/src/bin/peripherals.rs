//! One look at each block, with results that do not depend on the host.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::adc::{self, Adc};
use embassy_rp::flash::{Blocking, Flash};
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::i2c::{self, I2c};
use embassy_rp::pwm::{self, Pwm};
use embassy_rp::rtc::{DateTime, DayOfWeek, Rtc};
use embassy_rp::spi::{self, Spi};
use embassy_rp::watchdog::{ResetReason, Watchdog};
use embassy_rp::{bind_interrupts, dma, pac, rom_data, uart};
use embassy_time::{Duration, Instant, Timer};
use emulator_firmware::{log_to, say};

bind_interrupts!(struct Irqs {
    ADC_IRQ_FIFO => adc::InterruptHandler;
    DMA_IRQ_0 => dma::InterruptHandler<embassy_rp::peripherals::DMA_CH0>, dma::InterruptHandler<embassy_rp::peripherals::DMA_CH1>;
    RTC_IRQ => embassy_rp::rtc::InterruptHandler;
});

const FLASH: usize = 2 * 1024 * 1024;
const OFFSET: u32 = 0x1f_0000;

#[embassy_executor::task]
async fn pulse(mut pin: Output<'static>) {
    Timer::after_micros(300).await;
    pin.set_high();
    Timer::after_micros(200).await;
    pin.set_low();
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(spawner: Spawner) {
    let mut p = embassy_rp::init(Default::default());
    log_to(uart::Uart::new_blocking(
        p.UART0,
        p.PIN_0,
        p.PIN_1,
        uart::Config::default(),
    ));
    let mut watchdog = Watchdog::new(p.WATCHDOG);
    let reason = match watchdog.reset_reason() {
        None => "power",
        Some(ResetReason::Forced) => "forced",
        Some(ResetReason::TimedOut) => "timeout",
    };
    say!("reset by {reason}, scratch {:x}", watchdog.get_scratch(0));
    match watchdog.get_scratch(0) {
        0xc0ffee => {
            watchdog.set_scratch(0, 0xdead);
            watchdog.start(Duration::from_millis(50));
            loop {}
        }
        0xdead => {
            say!("done");
            loop {
                cortex_m::asm::wfi();
            }
        }
        _ => {}
    }

    // timer
    let start = Instant::now();
    Timer::after_millis(5).await;
    say!("timer: 5 ms took {} ms", start.elapsed().as_millis());

    // GPIO: a pin watches the wire from another, which the test lays
    spawner.spawn(pulse(Output::new(p.PIN_2, Level::Low)).unwrap());
    let mut input = Input::new(p.PIN_3, Pull::Down);
    let start = Instant::now();
    input.wait_for_rising_edge().await;
    input.wait_for_falling_edge().await;
    say!(
        "gpio: pulse over after {} us",
        start.elapsed().as_micros() / 500 * 500
    );

    // flash
    let mut flash = Flash::<_, Blocking, FLASH>::new_blocking(p.FLASH.reborrow());
    let mut id = [0; 8];
    flash.blocking_unique_id(&mut id).unwrap();
    say!(
        "flash: id {id:02x?}, jedec {:x}",
        flash.blocking_jedec_id().unwrap()
    );
    let start = Instant::now();
    flash.blocking_erase(OFFSET, OFFSET + 4096).unwrap();
    say!("flash: erase took {} ms", start.elapsed().as_millis());
    flash.blocking_write(OFFSET, b"written by firmware").unwrap();
    let mut back = [0; 19];
    flash.blocking_read(OFFSET, &mut back).unwrap();
    say!("flash: {}", core::str::from_utf8(&back).unwrap());

    // ADC
    let mut adc = Adc::new_blocking(p.ADC, adc::Config::default());
    let mut sensor = adc::Channel::new_temp_sensor(p.ADC_TEMP_SENSOR);
    let mut pin = adc::Channel::new_pin(p.PIN_26, Pull::None);
    say!(
        "adc: sensor {}, pin {}",
        adc.blocking_read(&mut sensor).unwrap(),
        adc.blocking_read(&mut pin).unwrap()
    );

    // DMA: memory to memory
    let source: [u32; 64] = core::array::from_fn(|i| i as u32 * 3);
    let mut target = [0_u32; 64];
    let mut channel = dma::Channel::new(p.DMA_CH0, Irqs);
    // SAFETY: both arrays live until the transfer is over.
    unsafe { channel.copy(&source, &mut target) }.await;
    say!("dma: {}", if source == target { "copied" } else { "wrong" });

    // SPI, looped back inside
    let mut config = spi::Config::default();
    config.frequency = 2_000_000;
    let mut bus = Spi::new_blocking(p.SPI0, p.PIN_18, p.PIN_19, p.PIN_16, config);
    pac::SPI0.cr1().modify(|control| control.set_lbm(true));
    let mut bytes = *b"looped back";
    bus.blocking_transfer_in_place(&mut bytes).unwrap();
    say!("spi: {}", core::str::from_utf8(&bytes).unwrap());

    // I2C, with a memory on the bus
    let mut bus = I2c::new_blocking(p.I2C0, p.PIN_5, p.PIN_4, i2c::Config::default());
    bus.blocking_write(0x50_u16, &[8, 1, 2, 3]).unwrap();
    let mut bytes = [0; 3];
    bus.blocking_write_read(0x50_u16, &[8], &mut bytes).unwrap();
    say!(
        "i2c: {bytes:?}, nobody {:?}",
        bus.blocking_write(0x51_u16, &[0]).is_err()
    );

    // PWM: 1 kHz, a quarter high; the test looks at the pin
    let mut config = pwm::Config::default();
    config.divider = 125.into();
    config.top = 999;
    config.compare_a = 250;
    let _pwm = Pwm::new_output_a(p.PWM_SLICE3, p.PIN_6, config);
    Timer::after_millis(10).await;
    say!("pwm: {}", pac::PWM.ch(3).top().read().top());

    // RTC
    let mut rtc = Rtc::new(p.RTC, Irqs);
    let date = DateTime {
        year: 2024,
        month: 2,
        day: 29,
        day_of_week: DayOfWeek::Thursday,
        hour: 23,
        minute: 59,
        second: 59,
    };
    rtc.set_datetime(date).unwrap();
    Timer::after_millis(1500).await;
    let now = rtc.now().unwrap();
    say!(
        "rtc: {}-{}-{} {}:{}:{}",
        now.year,
        now.month,
        now.day,
        now.hour,
        now.minute,
        now.second
    );

    // the boot ROM's functions
    say!(
        "rom: clz {}, popcount {}",
        rom_data::clz32(0x0010_0000),
        rom_data::popcount32(0xf0f0_0001)
    );
    let root = rom_data::float_funcs::fsqrt(2.0);
    say!(
        "rom: sqrt {:x}, fix {}",
        root.to_bits(),
        rom_data::float_funcs::float_to_fix(root, 16)
    );

    // the divider and interpolator of the SIO
    let sio = pac::SIO;
    sio.div().sdividend().write_value((-100_i32) as u32);
    sio.div().sdivisor().write_value(7);
    while !sio.div().csr().read().ready() {}
    let (remainder, quotient) = (
        sio.div().remainder().read() as i32,
        sio.div().quotient().read() as i32,
    );
    say!("sio: {quotient} {remainder}");

    // what is in the FIFO of the UART would be lost
    Timer::after_millis(10).await;
    watchdog.set_scratch(0, 0xc0ffee);
    watchdog.trigger_reset();
    loop {}
}
