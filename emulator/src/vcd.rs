//! Changes of pins as a value change dump, which logic analysers' programs read (IEEE 1364-2005, section 18).

use std::io::{self, Write};

use crate::Time;
use crate::chip::gpio::PINS;

/// A dump that is being written.
#[derive(Debug)]
pub struct Vcd<W> {
    out: W,
    levels: Option<u32>,
}

/// The identifier of a pin: a printable character.
fn identifier(pin: usize) -> char {
    char::from(b'!' + pin as u8)
}

impl<W: Write> Vcd<W> {
    /// Starts a dump of all pins.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(mut out: W) -> io::Result<Self> {
        writeln!(
            out,
            "$version picolet emulator $end\n$timescale 1ns $end\n$scope module rp2040 $end"
        )?;
        for pin in 0..PINS {
            writeln!(out, "$var wire 1 {} gpio{pin} $end", identifier(pin))?;
        }
        writeln!(out, "$upscope $end\n$enddefinitions $end")?;
        Ok(Self { out, levels: None })
    }

    /// Writes what [`crate::Board::take_pin_log`] gave.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&mut self, changes: &[(Time, u32)]) -> io::Result<()> {
        for &(time, levels) in changes {
            let changed = self.levels.map_or(u32::MAX, |before| before ^ levels);
            if changed == 0 {
                continue;
            }
            writeln!(self.out, "#{}", time.as_nanos())?;
            for pin in (0..PINS).filter(|pin| changed >> pin & 1 != 0) {
                writeln!(self.out, "{}{}", levels >> pin & 1, identifier(pin))?;
            }
            self.levels = Some(levels);
        }
        Ok(())
    }

    /// Ends the dump at this moment and gives the writer back.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish(mut self, time: Time) -> io::Result<W> {
        writeln!(self.out, "#{}", time.as_nanos())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_written() {
        let mut vcd = Vcd::new(Vec::new()).unwrap();
        vcd.write(&[
            (Time::from_nanos(8), 1),
            (Time::from_nanos(16), 1),
            (Time::from_nanos(24), 3),
        ])
        .unwrap();
        let text = String::from_utf8(vcd.finish(Time::from_nanos(30)).unwrap()).unwrap();
        assert!(text.contains("$var wire 1 ! gpio0 $end"));
        let (_, body) = text.split_once("$enddefinitions $end\n").unwrap();
        assert!(body.starts_with("#8\n1!\n0\"\n0#\n"));
        assert!(body.ends_with("#24\n1\"\n#30\n"));
    }
}
