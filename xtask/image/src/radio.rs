//! The radio's firmware: the maker's files and the parameters of the board, in the form that they have in flash.

use anyhow::{Context, Result};
use picolet_device::radio::{Radio, parameters};
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
    let radio = Radio {
        firmware: cyw43_firmware::CYW43_43439A0,
        countries: COUNTRIES,
        parameters: &parameters,
    };
    Ok(radio.region().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_has_all_three_pieces() {
        let region = region().unwrap();
        let radio = Radio::find(&region).unwrap();
        assert!(radio.is_whole(&region));
        assert_eq!((radio.firmware.len(), radio.countries.len()), (231_077, 984));
        assert!(radio.parameters.starts_with(b"NVRAMRev=$Rev$\0"));
        assert!(radio.parameters.ends_with(b"\0\0"));
    }
}
