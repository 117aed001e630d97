//! How the chip comes to run an image: the boot ROM, and the files that images come in.

mod float;
pub(crate) mod image;
pub(crate) mod rom;

pub use image::{Image, ImageError};

/// Where the second stage is copied to.
pub(crate) const SECOND_STAGE: u32 = 0x2004_1f00;
/// Its size, checksum included.
pub(crate) const SECOND_STAGE_SIZE: usize = 256;

/// The checksum over the first 252 bytes of flash that the boot ROM wants to find in the next four (RP2040 datasheet,
/// section 2.8.1.3.1): CRC-32/MPEG-2.
pub(crate) fn second_stage_checksum(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = (crc << 1) ^ ((crc >> 31) * 0x04c1_1db7);
        }
    }
    crc
}

/// Whether flash starts with a second stage that the boot ROM would run.
pub(crate) fn has_second_stage(flash: &[u8]) -> bool {
    let Some((code, checksum)) = flash
        .get(..SECOND_STAGE_SIZE)
        .and_then(|stage| stage.split_last_chunk())
    else {
        return false;
    };
    second_stage_checksum(code) == u32::from_le_bytes(*checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_catalogue() {
        assert_eq!(second_stage_checksum(b"123456789"), 0x0376_e6e7);
    }

    #[test]
    fn erased_flash_has_no_second_stage() {
        assert!(!has_second_stage(&[0xff; 4096]));
        assert!(!has_second_stage(&[]));
        let mut stage = [0; 256];
        stage[252..].copy_from_slice(&second_stage_checksum(&[0; 252]).to_le_bytes());
        assert!(has_second_stage(&stage));
    }
}
