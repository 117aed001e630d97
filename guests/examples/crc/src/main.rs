//! CRC-32 (ISO-HDLC, as zip and Ethernet have it) of the files that are its arguments, or of standard input.

use std::fs::File;
use std::io::{self, Read};
use std::{array, env};

const POLYNOMIAL: u32 = 0xedb8_8320;

fn main() -> io::Result<()> {
    let table: [u32; 256] = array::from_fn(|index| {
        (0..8).fold(index as u32, |value, _| {
            let carry = value & 1 != 0;
            value >> 1 ^ if carry { POLYNOMIAL } else { 0 }
        })
    });
    let mut names = env::args().skip(1).peekable();
    if names.peek().is_none() {
        println!("{:08x}  -", crc(&table, &mut io::stdin().lock())?);
    }
    for name in names {
        println!("{:08x}  {name}", crc(&table, &mut File::open(&name)?)?);
    }
    Ok(())
}

fn crc(table: &[u32; 256], from: &mut dyn Read) -> io::Result<u32> {
    let mut buffer = [0; 512];
    let mut crc = u32::MAX;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(!crc);
        }
        for byte in &buffer[..count] {
            crc = table[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
        }
    }
}
