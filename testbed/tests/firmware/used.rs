//! Boards whose flash is slow, or holds what another program left, and settings that change what the pins do.

use crate::{Bench, READY};
use picolet_store::layout::{PICO_W, Region};
use picolet_store::settings::Field;
use picolet_testbed::Options;
use std::time::Duration;

/// The address at which the processor sees flash.
const FLASH: u32 = 0x1000_0000;
const UART_PIN: u32 = 0;

/// What a board that ran another program has in the regions of settings and records.
fn foreign(bench: &mut Bench, regions: &[Region]) {
    for region in regions {
        let bytes = vec![0; region.length as usize];
        let written = bench.testbed.board.write_memory(FLASH + region.offset, &bytes);
        assert!(written.is_some());
    }
}

#[test]
fn board_has_no_settings_when_another_program_was_there() {
    let mut bench = Bench::new();
    foreign(&mut bench, &[PICO_W.settings, PICO_W.device]);
    bench.testbed.board.power_on();
    bench.expect("there are no settings; send some", READY);
}

#[test]
fn board_starts_within_its_watchdog_when_its_flash_is_slow() {
    let number = 7_u64.to_le_bytes();
    let mut bench = Bench::with(Options::default(), &[(Field::ResetIdentity, &number)]);
    foreign(&mut bench, &[PICO_W.device]);
    bench.testbed.board.set_slow_flash(true);
    bench.testbed.board.power_on();
    bench.within(Duration::from_secs(40), "Ready", |testbed| {
        testbed.is_ready(crate::NODE) || testbed.board.figures().resets > 0
    });
    assert_eq!(bench.testbed.board.figures().resets, 0, "{}", bench.log);
    let erases = bench.testbed.board.figures().flash_erases;
    println!("{erases} erases\n{}", bench.log);
    assert!(erases > 15, "{erases}");
}

#[test]
fn free_uart_leaves_its_pins_alone() {
    let mut bench = Bench::with(Options::default(), &[(Field::FreeUart, b"")]);
    bench.testbed.board.power_on();
    bench.expect_ready();
    assert_eq!(bench.log, "", "nothing is sent on the UART");
    for level in [true, false] {
        bench.testbed.board.drive_pin(UART_PIN, Some(level));
        assert_eq!(bench.testbed.board.pin(UART_PIN), level);
    }
}

#[test]
fn temperature_is_the_nearest_that_the_converter_can_tell() {
    let mut bench = Bench::ready();
    for celsius in [-20.0_f32, 0.0, 26.6, 27.0, 45.3, 85.0] {
        bench.testbed.board.set_temperature(celsius);
        let metric = bench.metric("node_temperature_celsius");
        let value: f32 = metric
            .rsplit(' ')
            .next()
            .and_then(|value| value.parse().ok())
            .expect("a number");
        // Half a step of 3.3 V / 4096 by 1.721 mV a degree.
        assert!((value - celsius).abs() <= 0.24, "{celsius}: {metric}");
    }
}
