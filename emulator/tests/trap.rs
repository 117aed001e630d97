//! What is not modelled stops the machine, and says what it was and from where.

use std::any::Any;

use picolet_emulator::radio::{Radio, Status};
use picolet_emulator::{Board, Config, Image, Stop, Time};

const CODE: u32 = 0x2000_0000;

/// Runs a program from RAM, behind a vector table of two words.
fn run(program: &[u16], config: Config) -> Stop {
    let mut bytes = Vec::new();
    bytes.extend(0x2000_1000_u32.to_le_bytes());
    bytes.extend((CODE + 9).to_le_bytes());
    bytes.extend(program.iter().flat_map(|half| half.to_le_bytes()));
    let mut board = Board::new(config);
    board
        .load(&Image::from_bytes(CODE, &bytes).expect("an image"))
        .expect("it fits");
    board.power_on();
    board.run_until(Time::from_millis(20))
}

#[test]
fn a_register_is_named_with_its_value_and_the_program_counter() {
    // ldr r0, =XIP_CTRL.STREAM_CTR; movs r1, #5; str r1, [r0]; b .
    let stop = run(
        &[0x4801, 0x2105, 0x6001, 0xe7fe, 0x0018, 0x1400],
        Config::default(),
    );
    let Stop::NotModelled {
        what,
        value,
        core,
        pc,
    } = stop
    else {
        panic!("{stop}")
    };
    assert!(what.contains("STREAM_CTR"), "{what}");
    assert_eq!((value, core, pc), (Some(5), 0, CODE + 8 + 6));
}

/// A radio that cannot do what it is asked for, as soon as it is selected.
#[derive(Default, Clone)]
struct Broken {
    fault: Option<String>,
}

impl Radio for Broken {
    fn power(&mut self, _on: bool, _now: Time) {}

    fn select(&mut self, level: bool, _now: Time) {
        if level {
            self.fault = Some("radio: ioctl 999 is not modelled".into());
        }
    }

    fn clock(&mut self, _level: bool, _data: bool, _now: Time) {}

    fn data(&self) -> Option<bool> {
        None
    }

    fn next_event(&self) -> Option<Time> {
        None
    }

    fn advance(&mut self, _now: Time) {}

    fn duplicate(&self) -> Box<dyn Radio> {
        Box::new(self.clone())
    }

    fn status(&self) -> Status {
        Status::default()
    }

    fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[test]
fn a_fault_of_the_radio_stops_the_board() {
    // IO_BANK0 out of reset; GPIO25 to the SIO, enabled, high: the radio is selected; then b .
    let program = [
        0x4806, 0x2120, 0x6001, 0x4806, 0x2105, 0x6001, 0x4805, 0x4906, 0x6001, 0x4806, 0x6001, 0xe7fe,
        0x0000, 0x0000, 0xf000, 0x4000, 0x40cc, 0x4001, 0x0024, 0xd000, 0x0000, 0x0200, 0x0014, 0xd000,
    ];
    let config = Config {
        radio: Box::new(Broken::default()),
        ..Config::default()
    };
    let stop = run(&program, config);
    let Stop::NotModelled { what, core, pc, .. } = stop else {
        panic!("{stop}")
    };
    assert_eq!(what, "radio: ioctl 999 is not modelled");
    assert_eq!((core, pc), (0, CODE + 8 + 22));
}
