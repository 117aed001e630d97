//! The radio's firmware: the maker's files and the parameters of the board, in the form that they have in flash.

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, FlushCompress, Status};
use picolet_device::radio::{Radio, WINDOW, name, parameters};
use std::fs;

/// The licence that the maker's files are under, to lie beside every image.
pub const LICENSE: &str = "LICENSE-permissive-binary-license-1.0.txt";

/// The country locale matrix, as its maker releases it.
pub const COUNTRIES: &[u8] = cyw43_firmware::CYW43_43439A0_CLM;

/// What goes into the radio's region of the flash.
///
/// # Errors
/// The parameters cannot be read.
pub fn region() -> Result<Vec<u8>> {
    let file = crate::workspace().join("boards/radio/nvram.txt");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let parameters: Vec<u8> = parameters(&text).collect();
    let firmware = cyw43_firmware::CYW43_43439A0;
    let radio = Radio {
        firmware: &deflate(firmware)?,
        countries: COUNTRIES,
        parameters: &parameters,
        name: name(firmware, COUNTRIES, &parameters),
    };
    Ok(radio.region().collect())
}

/// Compresses with the window that a board has.
fn deflate(bytes: &[u8]) -> Result<Vec<u8>> {
    const BITS: u8 = WINDOW.ilog2() as u8;
    let mut stream = Vec::with_capacity(bytes.len() + 1024);
    let mut compress = Compress::new_with_window_bits(Compression::best(), false, BITS);
    let status = compress.compress_vec(bytes, &mut stream, FlushCompress::Finish);
    ensure!(
        status.context("cannot compress the radio's firmware")? == Status::StreamEnd,
        "the radio's firmware does not compress"
    );
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_device::radio::Firmware;
    use picolet_store::layout::PICO_W;

    #[test]
    fn region_has_all_three_pieces_and_decompresses_to_the_makers_file() {
        let region = region().unwrap();
        let radio = Radio::find(&region).unwrap();
        assert!(radio.is_whole(&region));
        let (mut firmware, mut found) = (Firmware::new(radio.firmware), Vec::new());
        loop {
            match firmware.next_piece().unwrap() {
                [] => break,
                piece => found.extend_from_slice(piece),
            }
        }
        assert!(found == cyw43_firmware::CYW43_43439A0);
        assert_eq!(radio.countries.len(), 984);
        assert!(radio.parameters.starts_with(b"NVRAMRev=$Rev$\0"));
        assert!(radio.parameters.ends_with(b"\0\0"));
        println!(
            "{} bytes of firmware, {} of the region",
            radio.firmware.len(),
            region.len()
        );
        assert!(region.len() <= PICO_W.radio.length as usize);
    }
}
