//! A board with its quirks, and the USB host that it is plugged into.

use crate::board::Board;
use crate::machine::Stop;
use crate::quirks::{BoardQuirks, UsbChange, UsbHost};
use crate::time::Time;

impl Board {
    /// Sets up all of them but the radio's, which the board was made with. To be called before power-on.
    pub fn set_quirks(&mut self, quirks: &BoardQuirks) {
        self.set_oscillator(quirks.oscillator);
        self.set_slow_flash(quirks.slow_flash);
        self.set_usb_host(quirks.usb.clone());
        if let Some((operation, fraction)) = quirks.run_press {
            self.press_run_in(operation, fraction);
        }
    }

    /// Puts this USB host in place of an ideal one.
    pub fn set_usb_host(&mut self, host: UsbHost) {
        self.set_usb_echo(host.echo);
        self.planned = host.changes;
        self.planned.sort_by_key(|(at, _)| *at);
    }

    /// Runs until a moment or until this many instructions have been run since power-on, whatever comes first. Idle
    /// time is skipped.
    pub fn run(&mut self, until: Time, instructions: u64) -> Stop {
        while let Some((at, change)) = self.planned.first().copied().filter(|(at, _)| *at < until) {
            let stop = self.run_undisturbed(at, instructions);
            if stop != Stop::Reached || self.time() < at {
                return stop;
            }
            self.planned.remove(0);
            match change {
                UsbChange::Attached(attached) => self.set_usb_attached(attached),
                UsbChange::Suspended(suspended) => self.set_usb_suspended(suspended),
            }
        }
        self.run_undisturbed(until, instructions)
    }
}
