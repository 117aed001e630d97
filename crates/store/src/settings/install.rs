//! Reads and writes settings on a board.

use super::{CAPACITY, CHECKSUM, HEADER, Header, MAGIC, SLOT, Settings, SettingsError, VERSION, checksum};
use alloc::vec::Vec;
use core::fmt;
use embedded_storage_async::nor_flash::NorFlash;

/// What is read and programmed at once.
const PIECE: usize = 256;

/// Why settings were not read, or not written: those from before still count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError<E> {
    /// They are not in order.
    Settings(SettingsError),
    /// The flash failed.
    Flash(E),
    /// The flash did not keep what was written.
    Verify,
}

impl<E: fmt::Debug> fmt::Display for InstallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Flash(error) => write!(f, "the flash failed: {error:?}"),
            Self::Verify => f.write_str("the flash does not keep what is written to it"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for InstallError<E> {}

impl<E> From<SettingsError> for InstallError<E> {
    fn from(error: SettingsError) -> Self {
        Self::Settings(error)
    }
}

const SLOTS: [u32; 2] = [0, SLOT as u32];

/// Copies the entries of the settings that count out of flash, so that their region can be written while they are in use.
/// They are at most [`CAPACITY`] bytes, and not checked yet: see [`Settings::read_entries`]. `region` is the settings'
/// region alone, from 0 on.
///
/// # Errors
/// [`SettingsError::Missing`] where neither slot begins as settings do: it is erased, or has what another program left there.
/// [`SettingsError::Version`], or [`SettingsError::Damaged`].
pub async fn load<F: NorFlash>(region: &mut F) -> Result<Vec<u8>, InstallError<F::Error>> {
    let mut piece = [0; PIECE];
    for slot in SLOTS {
        let Some(header) = whole(region, slot).await? else {
            continue;
        };
        if header.version != VERSION {
            return Err(SettingsError::Version(header.version).into());
        }
        let mut entries = Vec::with_capacity(header.length);
        for at in (slot + HEADER as u32..).step_by(PIECE) {
            let rest = header.length - entries.len();
            if rest == 0 {
                break;
            }
            region.read(at, &mut piece).await.map_err(InstallError::Flash)?;
            entries.extend_from_slice(&piece[..PIECE.min(rest)]);
        }
        return Ok(entries);
    }
    for slot in SLOTS {
        region.read(slot, &mut piece).await.map_err(InstallError::Flash)?;
        if piece.starts_with(MAGIC) {
            return Err(SettingsError::Damaged.into());
        }
    }
    Err(SettingsError::Missing.into())
}

/// Makes `entries` the settings that count from the next boot on. `region` is the settings' region alone, from 0 on.
///
/// Whenever the power is cut, what is read is old or new.
///
/// # Errors
/// Nothing was written if they are not in order, and nothing is lost whatever fails.
pub async fn install<F: NorFlash>(region: &mut F, entries: &[u8]) -> Result<(), InstallError<F::Error>> {
    Settings::read_entries(entries)?;
    if entries.len() > CAPACITY {
        return Err(SettingsError::Damaged.into());
    }
    // The first slot can only be given up while the second one has the same.
    mend(region).await?;
    let header = Header {
        version: VERSION,
        length: entries.len(),
        checksum: checksum(entries),
    };
    for slot in SLOTS {
        erase(region, slot).await?;
        for (piece, at) in entries.chunks(PIECE).zip((slot + HEADER as u32..).step_by(PIECE)) {
            program(region, at, piece).await?;
        }
        finish(region, slot, header).await?;
    }
    Ok(())
}

/// Makes both slots the same again where new settings reached only the first: to be called at each boot. `region` is
/// the settings' region alone, from 0 on.
///
/// # Errors
/// The settings that count are still there.
pub async fn mend<F: NorFlash>(region: &mut F) -> Result<(), InstallError<F::Error>> {
    let [first, second] = SLOTS;
    let Some(header) = whole(region, first).await? else {
        return Ok(());
    };
    if whole(region, second).await? == Some(header) {
        return Ok(());
    }
    erase(region, second).await?;
    let mut piece = [0; PIECE];
    for at in (HEADER as u32..)
        .step_by(PIECE)
        .take(header.length.div_ceil(PIECE))
    {
        region
            .read(first + at, &mut piece)
            .await
            .map_err(InstallError::Flash)?;
        program(region, second + at, &piece).await?;
    }
    finish(region, second, header).await
}

/// Erases the settings, both of them. `region` is theirs alone, from 0 on.
///
/// # Errors
/// Some of it may be there still.
pub async fn remove<F: NorFlash>(region: &mut F) -> Result<(), InstallError<F::Error>> {
    for slot in SLOTS {
        erase(region, slot).await?;
    }
    Ok(())
}

async fn erase<F: NorFlash>(region: &mut F, slot: u32) -> Result<(), InstallError<F::Error>> {
    let end = slot + SLOT as u32;
    region.erase(slot, end).await.map_err(InstallError::Flash)
}

/// Programs a page.
async fn program<F: NorFlash>(region: &mut F, at: u32, piece: &[u8]) -> Result<(), InstallError<F::Error>> {
    let mut page = [0xff; PIECE];
    page[..piece.len()].copy_from_slice(piece);
    region.write(at, &page).await.map_err(InstallError::Flash)
}

/// Makes entries count that were programmed, if the flash kept them.
async fn finish<F: NorFlash>(
    region: &mut F,
    slot: u32,
    header: Header,
) -> Result<(), InstallError<F::Error>> {
    program(region, slot, &header.bytes()).await?;
    if whole(region, slot).await? == Some(header) {
        Ok(())
    } else {
        Err(InstallError::Verify)
    }
}

/// The header of a slot with a whole block.
async fn whole<F: NorFlash>(region: &mut F, slot: u32) -> Result<Option<Header>, InstallError<F::Error>> {
    let mut piece = [0; PIECE];
    region.read(slot, &mut piece).await.map_err(InstallError::Flash)?;
    let Some(header) = Header::read(&piece).filter(|header| header.length <= CAPACITY) else {
        return Ok(None);
    };
    let mut sum = CHECKSUM.digest();
    for start in (0..header.length).step_by(PIECE) {
        let at = slot + (HEADER + start) as u32;
        region.read(at, &mut piece).await.map_err(InstallError::Flash)?;
        sum.update(&piece[..PIECE.min(header.length - start)]);
    }
    Ok((sum.finalize() == header.checksum).then_some(header))
}
