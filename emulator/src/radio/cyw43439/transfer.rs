//! Transfers on the radio's bus: what a command of the host reads and writes, by function.

use std::fmt::Write;

use super::Cyw43439;
use crate::radio::bus::interrupt;
use crate::radio::failure::FailureMode;
use crate::radio::gspi::{Command, Function};

/// Addresses of function 0.
const STATUS_REGISTER: std::ops::Range<u32> = 0x08..0x0c;
const TEST_REGISTER: u32 = 0x14;

impl Cyw43439 {
    pub(super) fn read(&mut self, command: Command) {
        let mut data = vec![0; command.length];
        match command.function {
            // Until its own reset is over the chip drives nothing but zeros.
            _ if !self.is_awake() => {}
            Function::Bus if self.is_starting(command) => {}
            Function::Bus => {
                let inputs = self.inputs();
                for (index, byte) in data.iter_mut().enumerate() {
                    let address = command.address_of(index);
                    *byte = match STATUS_REGISTER.contains(&address) && self.is_status_high() {
                        true => 0xff,
                        false => self.registers.read(address, inputs),
                    };
                }
            }
            Function::Backplane => {
                for (index, byte) in data.iter_mut().enumerate() {
                    match self.backplane.read(command.address_of(index), self.now) {
                        Ok(value) => *byte = value,
                        Err(error) => {
                            self.fail(error.to_string());
                            break;
                        }
                    }
                }
            }
            Function::Wlan => match self.packets.pop_front() {
                Some(packet) => {
                    let length = packet.len().min(data.len());
                    data[..length].copy_from_slice(&packet[..length]);
                }
                None => self.registers.raise(interrupt::DATA_UNAVAILABLE),
            },
            Function::Bluetooth => {
                self.fail("Bluetooth (function 3 of the radio's bus) is not modelled".into())
            }
        }
        self.note_transfer(command, &data);
        let format = self.registers.format();
        let delay = self.registers.delay(command.function);
        let status = self.trailer();
        self.wire.answer(delay, &data, status, format);
    }

    pub(super) fn write(&mut self, command: Command) {
        let data = self.wire.written().to_vec();
        // The answer still travels as the command did, even if the command changes that.
        let format = self.registers.format();
        self.note_transfer(command, &data);
        if self.is_awake() {
            match command.function {
                Function::Bus => {
                    for (index, byte) in data.iter().enumerate() {
                        self.registers.write(command.address_of(index), *byte);
                    }
                }
                Function::Backplane => self.write_backplane(command, &data),
                Function::Wlan if self.failures.is_hung(self.now) => {}
                Function::Wlan if self.inputs().ready => self.take(&data),
                Function::Wlan => {
                    self.registers.raise(interrupt::COMMAND_ERROR);
                    self.note(|| "a frame came before the firmware ran".into());
                }
                Function::Bluetooth => {
                    self.fail("Bluetooth (function 3 of the radio's bus) is not modelled".into())
                }
            }
        }
        let status = self.trailer();
        self.wire.answer(0, &[], status, format);
    }

    /// Whether this reads the test register, which does not answer yet.
    fn is_starting(&mut self, command: Command) -> bool {
        let starting = command.address == TEST_REGISTER && self.start_reads < self.config.quirks.start_reads;
        self.start_reads += u32::from(starting);
        starting
    }

    /// The status word behind a transfer.
    fn trailer(&self) -> Option<u32> {
        self.is_awake()
            .then(|| self.registers.trailer(self.inputs()))
            .flatten()
            .map(|status| match self.is_status_high() {
                true => u32::MAX,
                false => status,
            })
    }

    fn is_status_high(&self) -> bool {
        self.failures.has(FailureMode::StatusHigh, self.now)
    }

    fn write_backplane(&mut self, command: Command, data: &[u8]) {
        let failed = self.backplane.upload_error().cloned();
        let started = self.backplane.ready_at();
        for (index, byte) in data.iter().enumerate() {
            match self.backplane.write(command.address_of(index), *byte, self.now) {
                Ok(false) => {}
                Ok(true) => {
                    self.packets.pop_front();
                }
                Err(error) => return self.fail(error.to_string()),
            }
        }
        match self.backplane.upload_error() {
            Some(error) if failed.as_ref() != Some(error) => self.fail(error.to_string()),
            None if self.backplane.ready_at() != started && started.is_none() => {
                let size = self.backplane.uploaded();
                self.note(|| format!("a firmware of {size} bytes starts"));
            }
            _ => {}
        }
    }

    fn note_transfer(&mut self, command: Command, data: &[u8]) {
        self.statistics.transfers += 1;
        // Uploads are noise, and frames are told of by what is in them, which may be secret.
        let in_window =
            command.function == Function::Backplane && command.address < 0x8000 && command.length > 4;
        if self.tracing && !in_window && command.function != Function::Wlan {
            let mut line = format!(
                "{} f{} {:05x}:",
                if command.write { "write" } else { "read " },
                command.function as u8,
                command.address
            );
            for byte in data.iter().take(16) {
                let _ = write!(line, " {byte:02x}");
            }
            self.note(|| line);
        }
    }
}
