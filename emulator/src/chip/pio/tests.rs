//! Programs as they are published for PIO, assembled here, and the waveforms they make.

mod cases;

use super::{Inputs, Pio};
use crate::chip::memory::Write;

/// An assembled program.
struct Program<'a> {
    code: &'a [u16],
    /// Wrap target and wrap source.
    wrap: (u32, u32),
    optional_side_set: bool,
}

/// A block, its clock, and what it drove.
struct Bench {
    pio: Pio,
    now: u64,
    pins: u32,
    /// Each change of what pins are driven to: cycle and levels.
    waveform: Vec<(u64, u32)>,
}

impl Bench {
    /// A block with this program in its memory, and state machine 0 wrapped to it.
    fn new(program: &Program<'_>) -> Self {
        let mut bench = Self {
            pio: Pio::new(),
            now: 0,
            pins: 0,
            waveform: Vec::new(),
        };
        for (i, &instruction) in program.code.iter().enumerate() {
            bench.write(0x48 + 4 * i as u32, instruction.into());
        }
        let (target, source) = program.wrap;
        bench.write(
            0xcc,
            source << 12 | target << 7 | u32::from(program.optional_side_set) << 30,
        );
        bench
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            synchronized: self.pins,
            direct: self.pins,
        }
    }

    fn write(&mut self, offset: u32, value: u32) {
        let inputs = self.inputs();
        assert!(self.pio.write(offset, Write::plain(value), self.now, inputs));
        self.settle();
    }

    fn read(&mut self, offset: u32) -> u32 {
        let value = self.pio.read(offset).unwrap();
        self.settle();
        value
    }

    fn settle(&mut self) {
        let effects = std::mem::take(&mut self.pio.effects);
        if effects.any() {
            self.pio.wake(self.now);
        }
        let levels = self.pio.levels;
        if effects.pins && self.waveform.last().is_none_or(|last| last.1 != levels) {
            self.waveform.push((self.now, levels));
        }
    }

    fn start(&mut self) {
        self.write(0x00, 1);
        self.waveform.clear();
    }

    fn run_until(&mut self, until: u64) {
        while let (at, machine) = self.pio.next()
            && at <= until
        {
            self.now = at;
            let inputs = self.inputs();
            self.pio.step(machine, inputs);
            self.settle();
        }
        self.now = until;
    }

    fn set_input(&mut self, pins: u32) {
        self.pins = pins;
        self.pio.pins_changed(self.now);
    }
}

#[test]
fn square_wave() {
    let mut bench = Bench::new(&Program {
        code: &[0xe081, 0xe101, 0xe000, 0x0001],
        wrap: (0, 3),
        optional_side_set: false,
    });
    bench.write(0xc8, 1 << 16);
    bench.start();
    bench.run_until(14);
    // the direction first
    assert_eq!(
        bench.waveform,
        [(1, 0), (2, 1), (4, 0), (6, 1), (8, 0), (10, 1), (12, 0), (14, 1)]
    );
    assert_eq!(bench.read(0x40), 1, "direction");
}

#[test]
fn a_fractional_divider_spreads_its_jitter() {
    let mut bench = Bench::new(&Program {
        code: &[0xe001, 0xe000],
        wrap: (0, 1),
        optional_side_set: false,
    });
    bench.write(0xc8, 2 << 16 | 0x80 << 8);
    bench.start();
    bench.run_until(21);
    let times: Vec<u64> = bench.waveform.iter().map(|change| change.0).collect();
    assert_eq!(times, [1, 4, 6, 9, 11, 14, 16, 19, 21], "2.5 cycles each");
}

#[test]
fn uart_transmitter_sends_a_frame() {
    // .side_set 1 opt
    // pull       side 1 [7]
    // set x, 7   side 0 [7]
    // bitloop:
    // out pins, 1
    // jmp x-- bitloop   [6]
    let program = &Program {
        code: &[0x9fa0, 0xf727, 0x6001, 0x0642],
        wrap: (0, 3),
        optional_side_set: true,
    };
    let mut bench = Bench::new(program);
    // eight cycles a bit, OUT and side-set on pin 0
    bench.write(0xdc, 2 << 29 | 1 << 20);
    bench.write(0xd0, 1 << 19 | 1 << 18);
    bench.write(0x10, 0x55);
    bench.start();
    bench.run_until(100);
    let times: Vec<_> = bench.waveform.to_vec();
    // idle high, start bit, 1 0 1 0 1 0 1 0, stop bit
    let start = times[1].0;
    let expected: Vec<(u64, u32)> = (0..10)
        .map(|bit| (start + 8 * bit, u32::from(bit % 2 == 1)))
        .collect();
    assert_eq!(times[1..], expected);
    assert_eq!(bench.read(0x08) >> 24 & 1, 1, "stalled with an empty FIFO");
}

#[test]
fn uart_receiver_takes_frames_and_tells_bad_ones() {
    // start:
    // wait 0 pin 0
    // set x, 7 [10]
    // bitloop:
    // in pins, 1
    // jmp x-- bitloop [6]
    // jmp pin good_stop
    // irq 4 rel
    // wait 1 pin 0
    // jmp start
    // good_stop:
    // push
    let program = &Program {
        code: &[
            0x2020, 0xea27, 0x4001, 0x0642, 0x00c8, 0xc014, 0x20a0, 0x0000, 0x8020,
        ],
        wrap: (0, 8),
        optional_side_set: false,
    };
    const PIN: u32 = 5;
    let mut bench = Bench::new(program);
    bench.write(0xcc, PIN << 24 | 8 << 12);
    // IN from the pin, shifted right: the first bit is the lowest
    bench.write(0xdc, PIN << 15);
    bench.write(0xd0, 1 << 18);
    bench.set_input(1 << PIN);
    bench.start();
    // eight cycles a bit, and a sender whose clock is 4 % slow or fast, in hundredths of a cycle
    let mut send = |period: u64, byte: u32, stop: u32| {
        let start = bench.now;
        let bits = byte << 1 | stop << 9;
        for bit in 0..10 {
            bench.set_input((bits >> bit & 1) << PIN);
            bench.run_until(start + period * (bit + 1) / 100);
        }
        // idle: the receiver is at most half a bit behind
        bench.set_input(1 << PIN);
        bench.run_until(bench.now + 4);
        let taken = (bench.read(0x0c) >> 4 & 15 != 0).then(|| bench.read(0x20) >> 24);
        let flags = bench.read(0x30);
        bench.write(0x30, flags);
        (taken, flags)
    };
    for period in [800, 768, 832] {
        for byte in [0x55, 0x00, 0xff, 0xa7] {
            assert_eq!(send(period, byte, 1), (Some(byte), 0), "{period}");
        }
        // no stop bit: its flag instead of a byte; the next frame is taken again
        assert_eq!(send(period, 0x31, 0), (None, 1 << 4), "{period}");
        assert_eq!(send(period, 0x32, 1), (Some(0x32), 0), "{period}");
    }
}

#[test]
fn ws2812_makes_long_and_short_pulses() {
    // .side_set 1
    // .wrap_target
    // bitloop:
    // out x, 1       side 0 [2]
    // jmp !x do_zero side 1 [1]
    // do_one:
    // jmp bitloop    side 1 [4]
    // do_zero:
    // nop            side 0 [4]
    // .wrap
    let program = &Program {
        code: &[0x6221, 0x1123, 0x1400, 0xa442],
        wrap: (0, 3),
        optional_side_set: false,
    };
    let mut bench = Bench::new(program);
    bench.write(0xdc, 1 << 29);
    // shift left, autopull at 24, FIFOs joined
    bench.write(0xd0, 1 << 30 | 24 << 25 | 1 << 18 | 1 << 17);
    bench.write(0x10, 0xa0_0000 << 8);
    bench.start();
    bench.run_until(260);
    let rises: Vec<_> = bench.waveform.iter().filter(|change| change.1 == 1).collect();
    assert_eq!(rises.len(), 24);
    assert!(
        rises.windows(2).all(|pair| pair[1].0 - pair[0].0 == 10),
        "ten cycles a bit"
    );
    let widths: Vec<u64> = bench
        .waveform
        .windows(2)
        .filter(|pair| pair[0].1 == 1)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    assert_eq!(widths[..4], [7, 2, 7, 2], "1, 0, 1, 0");
}

#[test]
fn spi_shifts_both_ways() {
    // .side_set 1
    // out pins, 1 side 0 [1]
    // in pins, 1  side 1 [1]
    let program = &Program {
        code: &[0x6101, 0x5101],
        wrap: (0, 1),
        optional_side_set: false,
    };
    let mut bench = Bench::new(program);
    // OUT on pin 0, side-set on pin 1, IN from pin 2; left, autopush and autopull at 8
    bench.write(0xdc, 1 << 29 | 1 << 20 | 2 << 15 | 1 << 10);
    bench.write(0xd0, 8 << 25 | 8 << 20 | 1 << 17 | 1 << 16);
    bench.write(0x10, 0xa5 << 24);
    bench.set_input(4);
    bench.start();
    bench.run_until(100);
    let data: Vec<u32> = bench
        .waveform
        .windows(2)
        .filter(|pair| pair[0].1 & 2 == 0 && pair[1].1 & 2 != 0)
        .map(|pair| pair[1].1 & 1)
        .collect();
    assert_eq!(data, [1, 0, 1, 0, 0, 1, 0, 1]);
    assert_eq!(bench.read(0x0c) >> 4 & 15, 1, "one word was pushed");
    assert_eq!(bench.read(0x20), 0xff);
}

#[test]
fn quadrature_counts_up_and_down() {
    // as published, with its jump table at 0: computed MOV PC
    // .origin 0
    // jmp update
    // jmp decrement
    // jmp increment
    // jmp update
    // jmp increment
    // jmp update
    // jmp update
    // jmp decrement
    // jmp decrement
    // jmp update
    // jmp update
    // jmp increment
    // jmp update
    // jmp increment
    // decrement:
    // jmp y--, update
    // .wrap_target
    // update:
    // mov isr, y
    // push noblock
    // sample:
    // out isr, 2
    // in pins, 2
    // mov osr, isr
    // mov pc, isr
    // increment:
    // mov y, ~y
    // jmp y--, increment_cont
    // increment_cont:
    // mov y, ~y
    // .wrap
    let program = &Program {
        code: &[
            0x000f, 0x000e, 0x0015, 0x000f, 0x0015, 0x000f, 0x000f, 0x000e, 0x000e, 0x000f, 0x000f, 0x0015,
            0x000f, 0x0015, 0x008f, 0xa0c2, 0x8000, 0x60c2, 0x4002, 0xa0e6, 0xa0a6, 0xa04a, 0x0097, 0xa04a,
        ],
        wrap: (15, 23),
        optional_side_set: false,
    };
    let mut bench = Bench::new(program);
    bench.write(0xd0, 1 << 19);
    let count = |bench: &mut Bench, pins: u32| {
        bench.set_input(pins);
        let until = bench.now + 40;
        bench.run_until(until);
        // the FIFO was full of old counts: take them out, and let a new one come
        for _ in 0..4 {
            bench.read(0x20);
        }
        bench.run_until(until + 40);
        bench.read(0x20) as i32
    };
    // the machine starts behind the table
    bench.write(0xd8, 15);
    bench.start();
    assert_eq!(count(&mut bench, 0), 0);
    let up: Vec<i32> = [1, 3, 2, 0, 1]
        .iter()
        .map(|&pins| count(&mut bench, pins))
        .collect();
    let step = up[0];
    assert_eq!(step.abs(), 1);
    assert_eq!(up, [1, 2, 3, 4, 5].map(|n| n * step));
    let down: Vec<i32> = [0, 2, 3].iter().map(|&pins| count(&mut bench, pins)).collect();
    assert_eq!(down, [4, 3, 2].map(|n| n * step));
}

#[test]
fn autopush_stalls_on_a_full_fifo_and_goes_on() {
    let mut bench = Bench::new(&Program {
        code: &[0x4020, 0x0042],
        wrap: (0, 1),
        optional_side_set: false,
    });
    bench.write(0xd0, 1 << 16);
    bench.start();
    bench.run_until(50);
    assert_eq!(bench.read(0x04) & 1, 1, "full");
    assert_eq!(bench.read(0x08) & 1, 1, "receive stall");
    assert_eq!(
        (0..4).map(|_| bench.read(0x20)).collect::<Vec<_>>(),
        [0, u32::MAX, u32::MAX - 1, u32::MAX - 2]
    );
    bench.run_until(52);
    assert_eq!(
        bench.read(0x20),
        u32::MAX - 3,
        "what was shifted in before the stall"
    );
}

#[test]
fn irq_wait_blocks_until_the_flag_is_cleared() {
    let mut bench = Bench::new(&Program {
        code: &[0xc022, 0xe001, 0x20c5, 0xe000, 0x0004],
        wrap: (0, 4),
        optional_side_set: false,
    });
    bench.write(0xdc, 1 << 26);
    bench.write(0x12c, 0x400);
    bench.start();
    bench.run_until(20);
    assert!(bench.pio.interrupt(0) && !bench.pio.interrupt(1));
    assert!(bench.waveform.is_empty());
    bench.write(0x30, 4);
    bench.run_until(30);
    assert_eq!(
        bench.waveform.iter().map(|change| change.1).collect::<Vec<_>>(),
        [1]
    );
    bench.write(0x34, 1 << 5);
    bench.run_until(40);
    assert_eq!(bench.waveform.last().unwrap().1, 0);
    assert_eq!(bench.read(0x30), 0, "waiting for a flag takes it");
}

#[test]
fn wait_for_a_pin_and_jump_on_one() {
    let mut bench = Bench::new(&Program {
        code: &[0x2087, 0xe001, 0x00c2, 0xe000, 0x0004],
        wrap: (0, 4),
        optional_side_set: false,
    });
    bench.write(0xdc, 1 << 26);
    bench.write(0xcc, 9 << 24 | 31 << 12);
    bench.start();
    bench.run_until(10);
    assert!(bench.waveform.is_empty());
    bench.set_input(1 << 7 | 1 << 9);
    bench.run_until(20);
    assert_eq!(bench.waveform, [(11, 1)]);
    bench.set_input(0);
    bench.run_until(30);
    assert_eq!(bench.waveform[1].1, 0);
}
