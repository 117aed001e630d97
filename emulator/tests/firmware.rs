//! Firmware written with embassy, on the emulated board: what it prints, and what the board looks like from outside.

mod common;

use common::{board, log_until};
use picolet_emulator::{PowerCut, Stop, Time, WatchdogReset};
use std::time::Duration;

#[test]
fn two_cores_share_a_counter_and_a_mailbox() {
    let log = log_until(&mut board("cores"), "done", 200);
    assert_eq!(
        log,
        "core 0 starts the other\nthe other is core 1\nanswer 42\ncount 10000\ndone\n"
    );
}

#[test]
fn the_blocks_do_what_the_driver_expects() {
    let mut board = board("peripherals");
    board.connect_pins(2, 3);
    board.set_analog(0, 1.0);
    board.set_temperature(37.0);
    board.attach_i2c_memory(0, 0x50, [0; 256]);
    let log = log_until(&mut board, "done", 4000);
    assert_eq!(
        log,
        "reset by power, scratch 0\n\
         timer: 5 ms took 5 ms\n\
         gpio: pulse over after 500 us\n\
         flash: id [e6, 60, 58, 38, 83, 70, 69, 63], jedec ef4015\n\
         flash: erase took 45 ms\n\
         flash: written by firmware\n\
         adc: sensor 854, pin 1241\n\
         dma: copied\n\
         spi: looped back\n\
         i2c: [1, 2, 3], nobody true\n\
         pwm: 999\n\
         rtc: 2024-3-1 0:0:0\n\
         rom: clz 11, popcount 9\n\
         rom: sqrt 3fb504f3, fix 92681\n\
         sio: -14 -2\n\
         reset by forced, scratch c0ffee\n\
         reset by timeout, scratch dead\n\
         done\n"
    );
    assert_eq!(board.last_watchdog_reset(), Some(WatchdogReset::Timeout));
    assert_eq!(board.figures().resets, 2);
    assert_eq!(&board.flash()[0x1f_0000..][..19], b"written by firmware");
    assert_eq!(board.wear()[0x1f0], 1);
}

#[test]
fn registers_do_what_the_datasheet_says() {
    let mut board = board("blocks");
    board.set_pin_log(true);
    let log = log_until(&mut board, "done", 400);
    assert_eq!(
        log,
        "aliases: 1010\n\
         resets: held 0, done false\n\
         resets: released 0, then 9\n\
         clocks: ref 12000 kHz\n\
         clocks: sys 125000 kHz\n\
         clocks: peri 125000 kHz\n\
         clocks: usb 48000 kHz\n\
         clocks: adc 48000 kHz\n\
         clocks: rtc 46 kHz\n\
         spinlock: 20, 0, held 1, then 0\n\
         mailbox: data false, room true, read empty true, then false\n\
         interpolator: sums [5, 10, 15], blend 125, clamp [10, 15, 20]\n\
         dma: crc32 cbf43926\n\
         dma: crc16 29b1\n\
         dma: sum 1dd\n\
         dma: paced 90 us, chained to 4 of 4\n\
         uart: echo in 350 us, silence true, empty true\n\
         pwm: wraps every 1000 us\n\
         pio: edcba987\n\
         done\n"
    );
    // the wave on GPIO2: 1250 cycles of 8 ns for each of its four steps
    let mut changes: Vec<(u64, u32)> = Vec::new();
    for (time, levels) in board.take_pin_log() {
        let level = levels >> 2 & 1;
        if changes.last().is_none_or(|last| last.1 != level) {
            changes.push((time.as_nanos(), level));
        }
    }
    let wave: Vec<(u64, u32)> = changes
        .windows(2)
        .map(|two| (two[1].0 - two[0].0, two[0].1))
        .collect();
    assert!(wave.len() > 20, "{wave:?}");
    for step in &wave[1..] {
        assert_eq!(step.0, if step.1 == 1 { 30_000 } else { 10_000 });
    }
}

#[test]
fn a_console_on_usb_answers() {
    let mut board = board("console");
    board.run_until(Time::from_millis(50));
    assert!(board.usb_is_open());
    assert_eq!(String::from_utf8_lossy(&board.take_usb()), "hello\r\n");
    assert!(board.take_uart(0).starts_with(b"connected"));
    let text =
        "a line that is longer than the sixty-four bytes of a packet, to see that two of them come through\n";
    board.feed_usb(text.as_bytes());
    board.run_until(Time::from_millis(80));
    assert_eq!(String::from_utf8_lossy(&board.take_usb()), text.to_uppercase());
}

#[test]
fn a_console_on_usb_goes_on_in_the_time_of_the_host() {
    let mut board = board("console");
    board.set_pace(Some(1.0));
    board.run_until(Time::from_millis(300));
    board.feed_usb(b"a line\n");
    board.run_until(Time::from_millis(400));
    assert_eq!(String::from_utf8_lossy(&board.take_usb()), "hello\r\nA LINE\n");
}

#[test]
fn two_runs_are_the_same_and_so_is_one_from_a_snapshot() {
    let run = |board: &mut picolet_emulator::Board| {
        let log = log_until(board, "flash: w", 400);
        (log, board.figures())
    };
    let mut first = board("peripherals");
    first.connect_pins(2, 3);
    let mut second = board("peripherals");
    second.connect_pins(2, 3);
    first.run_until(Time::from_millis(7));
    let snapshot = first.snapshot();
    second.run_until(Time::from_millis(7));
    let expected = run(&mut first);
    assert_eq!(run(&mut second), expected);
    for _ in 0..3 {
        first.restore(&snapshot).unwrap();
        assert_eq!(run(&mut first), expected);
    }
}

#[test]
fn flash_goes_on_when_run_is_pressed_and_boot_rom_waits_for_it() {
    let mut board = board("peripherals");
    board.connect_pins(2, 3);
    log_until(&mut board, "gpio", 100);
    let filled = vec![0; 4096];
    board.write_memory(0x101f_0000, &filled).unwrap();
    board.set_slow_flash(true);
    let erase = board.flash_operations() + 1;
    board.press_run_in(erase, 64);
    while board.flash_operations() < erase {
        board.run_until(board.time() + Duration::from_micros(10));
    }
    let begin = board.time();
    board.take_uart(0);
    log_until(&mut board, "timer", 1000);
    assert_eq!(board.flash()[0x1f_0000..0x1f_1000], [0xff; 4096]);
    assert_eq!(board.figures().resets, 1);
    // Three quarters of 400 ms, in steps of 4 ms.
    let waited = board.time().since(begin);
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
}

#[test]
fn power_goes_in_any_operation_of_the_flash() {
    let mut board = board("peripherals");
    board.connect_pins(2, 3);
    log_until(&mut board, "gpio", 100);
    let snapshot = board.snapshot();
    for (number, fraction, expected) in [(1, 128, [0_u8; 4]), (2, 0, [0xff; 4]), (2, 2, *b"wr\xff\xff")] {
        board.restore(&snapshot).unwrap();
        let filled = vec![0; 4096];
        board.write_memory(0x101f_0000, &filled).unwrap();
        board.cut_power_at(PowerCut::FlashOperation { number, fraction });
        assert_eq!(board.run_until(Time::from_millis(1000)), Stop::PowerLost);
        let found = &board.flash()[0x1f_0000..];
        let (at, rest) = if number == 1 { (2048, 2047) } else { (0, 4) };
        assert_eq!(found[at..at + 4], expected);
        assert_eq!(found[rest], 0xff);
        board.power_cycle();
        board.take_uart(0);
        assert!(log_until(&mut board, "timer", 100).starts_with("reset by power"));
    }
}

#[test]
fn power_goes_before_an_instruction() {
    let mut board = board("cores");
    board.cut_power_at(PowerCut::Instruction(12_345));
    assert_eq!(board.run_until(Time::from_millis(100)), Stop::PowerLost);
    assert_eq!(board.figures().instructions, 12_345);
}

#[test]
fn bootsel_shows_the_drive_and_what_is_dragged_there_is_put_over_what_is_there() {
    let mut board = board("cores");
    board.set_bootsel(true);
    board.power_cycle();
    let drive = Stop::UsbBoot { bootable: true };
    assert_eq!(board.run_until(Time::from_millis(50)), drive);
    // a second file, for the end of flash: the first one is still there
    let data = [0x5a; 512];
    let second = picolet_emulator::Image::from_bytes(0x101f_f000, &data).expect("an image");
    board.load(&second).expect("it fits");
    board.set_bootsel(false);
    board.power_cycle();
    board.take_uart(0);
    assert!(log_until(&mut board, "done", 200).contains("count 10000"));
    assert_eq!(board.flash()[0x1f_f000..][..512], data);
    // nothing to start is told apart from a button
    let mut empty = picolet_emulator::Board::new(picolet_emulator::Config::default());
    empty.power_on();
    let nothing = Stop::UsbBoot { bootable: false };
    assert_eq!(empty.run_until(Time::from_millis(50)), nothing);
}
