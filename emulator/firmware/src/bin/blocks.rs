//! Blocks by their registers, as drivers seldom use them, with results that do not depend on the host.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_rp::pac::clocks::vals::Fc0src;
use embassy_rp::pac::dma::vals::{Calc, DataSize, TreqSel};
use embassy_rp::pac::{self, dma::regs::CtrlTrig, sio::regs::Interp1ctrlLane0 as Lane};
use embassy_rp::peripherals::PIO0;
use embassy_rp::pio::{self, Pio, program::pio_asm};
use embassy_rp::{bind_interrupts, uart};
use embassy_time::{Duration, Instant, Timer};
use emulator_firmware::{log_to, say};
use fixed::types::U24F8;

bind_interrupts!(struct Irqs { PIO0_IRQ_0 => pio::InterruptHandler<PIO0>; });

/// The aliases of a register (RP2040 datasheet, section 2.1.2).
const PLAIN: usize = 0;
const XOR: usize = 0x1000;
const SET: usize = 0x2000;
const CLEAR: usize = 0x3000;

fn aliases() {
    let register = pac::WATCHDOG.scratch3();
    for (alias, value) in [(PLAIN, 0b0101_u32), (XOR, 0b0110), (SET, 0b1000), (CLEAR, 0b0001)] {
        // SAFETY: an alias of a register that nobody else uses, and which only keeps what is written.
        unsafe { register.as_ptr().byte_add(alias).write_volatile(value) };
    }
    say!("aliases: {:04b}", register.read());
}

fn resets() {
    let divider = pac::UART1.uartibrd();
    let done = || pac::RESETS.reset_done().read().uart1();
    let write_and_read = || {
        divider.write(|w| w.set_baud_divint(9));
        divider.read().baud_divint()
    };
    pac::RESETS.reset().modify(|r| r.set_uart1(true));
    say!("resets: held {}, done {}", write_and_read(), done());
    pac::RESETS.reset().modify(|r| r.set_uart1(false));
    while !done() {}
    say!(
        "resets: released {}, then {}",
        divider.read().baud_divint(),
        write_and_read()
    );
}

fn clocks() {
    let counter = pac::CLOCKS;
    counter.fc0_ref_khz().write(|w| w.set_fc0_ref_khz(12_000));
    counter.fc0_interval().write(|w| w.set_fc0_interval(10));
    counter.fc0_min_khz().write(|w| w.set_fc0_min_khz(0));
    counter.fc0_max_khz().write(|w| w.set_fc0_max_khz(0x1ff_ffff));
    for (name, source) in [
        ("ref", Fc0src::CLK_REF),
        ("sys", Fc0src::CLK_SYS),
        ("peri", Fc0src::CLK_PERI),
        ("usb", Fc0src::CLK_USB),
        ("adc", Fc0src::CLK_ADC),
        ("rtc", Fc0src::CLK_RTC),
    ] {
        counter.fc0_src().write(|w| w.set_fc0_src(source));
        while !counter.fc0_status().read().done() {}
        say!("clocks: {name} {} kHz", counter.fc0_result().read().khz());
    }
}

fn sio() {
    let lock = pac::SIO.spinlock(5);
    let state = || pac::SIO.spinlock_st().read() >> 5 & 1;
    let (first, second, held) = (lock.read(), lock.read(), state());
    lock.write_value(1);
    say!("spinlock: {first:x}, {second:x}, held {held}, then {}", state());

    let mailbox = pac::SIO.fifo();
    // the boot ROM of the other core has told that it is there
    while mailbox.st().read().vld() {
        mailbox.rd().read();
    }
    mailbox.rd().read();
    let status = mailbox.st().read();
    mailbox.st().write_value(status);
    say!(
        "mailbox: data {}, room {}, read empty {}, then {}",
        status.vld(),
        status.rdy(),
        status.roe(),
        mailbox.st().read().roe()
    );

    const ALL: u32 = 31 << 10;
    let lanes = pac::SIO.interp(0);
    lanes.ctrl_lane0().write_value(Lane(ALL));
    lanes.accum0().write_value(0);
    lanes.base0().write_value(5);
    let sums = [(); 3].map(|()| lanes.pop_lane0().read());
    // blend: between the bases, by the low byte of the other accumulator
    lanes.ctrl_lane0().write_value(Lane(ALL | 1 << 21));
    lanes.ctrl_lane1().write(|w| w.set_mask_msb(7));
    lanes.base0().write_value(100);
    lanes.base1().write_value(200);
    lanes.accum1().write_value(64);
    let blend = lanes.peek_lane1().read();
    let lanes = pac::SIO.interp(1);
    lanes.ctrl_lane0().write_value(Lane(ALL | 1 << 22));
    lanes.base0().write_value(10);
    lanes.base1().write_value(20);
    let clamped = [3, 15, 35].map(|value| {
        lanes.accum0().write_value(value);
        lanes.peek_lane0().read()
    });
    say!("interpolator: sums {sums:?}, blend {blend}, clamp {clamped:?}");
}

/// What a transfer of bytes is set up with, chained to nobody.
fn bytes(channel: u8, pace: TreqSel) -> CtrlTrig {
    let mut control = CtrlTrig::default();
    control.set_en(true);
    control.set_data_size(DataSize::SIZE_BYTE);
    control.set_incr_read(true);
    control.set_treq_sel(pace);
    control.set_chain_to(channel);
    control
}

fn wait_for(channel: usize) {
    while pac::DMA.ch(channel).ctrl_trig().read().busy() {}
}

fn dma() {
    let text = *b"123456789";
    let sink = [0_u8; 1];
    let dma = pac::DMA;
    let set_up = |channel: usize, length: u32| {
        let channel = dma.ch(channel);
        channel.read_addr().write_value(text.as_ptr() as u32);
        channel.write_addr().write_value(sink.as_ptr() as u32);
        channel.trans_count().write_value(length);
        channel
    };
    for (name, calculation, seed, reverse, invert) in [
        ("crc32", Calc::CRC32R, u32::MAX, true, true),
        ("crc16", Calc::CRC16, 0xffff, false, false),
        ("sum", Calc::SUM, 0, false, false),
    ] {
        dma.sniff_data().write_value(seed);
        dma.sniff_ctrl().write(|w| {
            w.set_en(true);
            w.set_dmach(2);
            w.set_calc(calculation);
            w.set_out_rev(reverse);
            w.set_out_inv(invert);
        });
        let mut control = bytes(2, TreqSel::PERMANENT);
        control.set_sniff_en(true);
        set_up(2, 9).ctrl_trig().write_value(control);
        wait_for(2);
        say!("dma: {name} {:x}", dma.sniff_data().read());
    }

    // 125 MHz / 1250, nine times, and then what is chained to it
    dma.timer(0).write(|w| {
        w.set_x(1);
        w.set_y(1250);
    });
    set_up(3, 4)
        .al1_ctrl()
        .write_value(bytes(3, TreqSel::PERMANENT).0);
    let start = Instant::now();
    let mut control = bytes(2, TreqSel::TIMER0);
    control.set_chain_to(3);
    set_up(2, 9).ctrl_trig().write_value(control);
    wait_for(2);
    let took = start.elapsed().as_micros();
    wait_for(3);
    say!(
        "dma: paced {} us, chained to {} of 4",
        (took + 5) / 10 * 10,
        dma.ch(3).read_addr().read() - text.as_ptr() as u32
    );
}

/// A UART that hears itself (PL011, LBE).
async fn loop_back() {
    let uart = pac::UART1;
    uart.uartibrd().write(|w| w.set_baud_divint(67));
    uart.uartfbrd().write(|w| w.set_baud_divfrac(52));
    uart.uartlcr_h().write(|w| {
        w.set_wlen(0b11);
        w.set_fen(true);
    });
    uart.uartcr().write(|w| {
        w.set_uarten(true);
        w.set_lbe(true);
        w.set_txe(true);
        w.set_rxe(true);
    });
    for byte in *b"echo" {
        uart.uartdr().write(|w| w.set_data(byte));
    }
    let start = Instant::now();
    while uart.uartfr().read().busy() {}
    let took = start.elapsed().as_micros();
    // the input is silent for 32 bits
    Timer::after_micros(400).await;
    let timed_out = uart.uartris().read().rtris();
    let mut came = [0; 4];
    for byte in &mut came {
        *byte = uart.uartdr().read().data();
    }
    say!(
        "uart: {} in {} us, silence {timed_out}, empty {}",
        core::str::from_utf8(&came).unwrap_or("?"),
        (took + 5) / 10 * 10,
        uart.uartfr().read().rxfe()
    );
}

fn pwm() {
    let slice = pac::PWM.ch(4);
    slice.div().write(|w| w.set_int(125));
    slice.top().write(|w| w.set_top(999));
    let wrapped = || {
        pac::PWM.intr().write(|w| w.0 = 1 << 4);
        while pac::PWM.intr().read().0 >> 4 & 1 == 0 {}
        Instant::now()
    };
    slice.csr().write(|w| w.set_en(true));
    let (first, second) = (wrapped(), wrapped());
    say!(
        "pwm: wraps every {} us",
        ((second - first).as_micros() + 5) / 10 * 10
    );
}

#[embassy_executor::main(executor = "embassy_rp::executor::Executor", entry = "cortex_m_rt::entry")]
async fn main(_spawner: Spawner) {
    let p = embassy_rp::init(Default::default());
    log_to(uart::Uart::new_blocking(
        p.UART0,
        p.PIN_0,
        p.PIN_1,
        uart::Config::default(),
    ));
    aliases();
    resets();
    clocks();
    sio();
    dma();
    loop_back().await;
    pwm();

    // PIO: one machine computes, with an interrupt for each word; another makes a wave on a pin, three to one
    let Pio {
        mut common,
        mut irq0,
        mut sm0,
        mut sm1,
        ..
    } = Pio::new(p.PIO0, Irqs);
    let invert = pio_asm!(
        ".wrap_target",
        "pull block",
        "mov isr, ~osr",
        "push block",
        "irq 0",
        ".wrap"
    );
    let mut config = pio::Config::default();
    config.use_program(&common.load_program(&invert.program), &[]);
    sm0.set_config(&config);
    sm0.set_enable(true);
    sm0.tx().wait_push(0x1234_5678).await;
    irq0.wait().await;
    say!("pio: {:x}", sm0.rx().wait_pull().await);

    let wave = pio_asm!(".wrap_target", "set pins, 1 [2]", "set pins, 0", ".wrap");
    let pin = common.make_pio_pin(p.PIN_2);
    let mut config = pio::Config::default();
    config.use_program(&common.load_program(&wave.program), &[]);
    config.set_set_pins(&[&pin]);
    config.clock_divider = U24F8::from_num(1250);
    sm1.set_config(&config);
    sm1.set_pin_dirs(pio::Direction::Out, &[&pin]);
    sm1.set_enable(true);
    Timer::after(Duration::from_millis(1)).await;
    say!("done");
    loop {
        cortex_m::asm::wfi();
    }
}
