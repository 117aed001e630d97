//! What a test put into flash beside the runner: a module, its arguments, configuration and files.
//!
//! Two words, the length of a text and that of the module; the text; from the next multiple of four on, the module. Files lie behind it.
//! Lines of the text:
//!
//! - `argument TEXT`
//! - `configuration KEY VALUE`
//! - `file PATH OFFSET LENGTH`, the offset from the beginning of the job

use core::slice;

use picolet_wasi::Errno;
use picolet_wasi::files::Source;

/// Where it lies.
const ADDRESS: usize = 0x1010_0000;
/// Where its side table is written to, as an offset in flash.
pub(crate) const TABLE: u32 = 0x18_0000;
/// Bytes that there are for the table.
pub(crate) const TABLE_LENGTH: u32 = 0x8_0000;
/// Where the chip shows its flash.
const FLASH: usize = 0x1000_0000;

/// The job.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    all: &'static [u8],
    text: &'static str,
    pub(crate) module: &'static [u8],
}

impl Job {
    /// The job in flash, if there is one.
    pub(crate) fn find() -> Option<Self> {
        // SAFETY: flash between the runner and the table, which is mapped here and not written while the program runs.
        let all = unsafe { slice::from_raw_parts(ADDRESS as *const u8, FLASH + TABLE as usize - ADDRESS) };
        let (lengths, rest) = all.split_at_checked(8)?;
        let [text, module] = [0, 4].map(|at| {
            let word = lengths.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            word.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
        });
        let start = text.checked_next_multiple_of(4)?;
        Some(Self {
            all,
            text: str::from_utf8(rest.get(..text)?).ok()?,
            module: rest.get(start..start.checked_add(module)?)?,
        })
    }

    /// What stands behind a word, in each line that begins with it.
    pub(crate) fn lines(self, word: &str) -> impl Iterator<Item = &'static str> {
        self.text
            .lines()
            .filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }

    /// The value of a key of the configuration.
    pub(crate) fn value(self, key: &str) -> Option<&'static str> {
        let mut pairs = self
            .lines("configuration")
            .filter_map(|line| line.split_once(' '));
        pairs.find_map(|(found, value)| (found == key).then_some(value))
    }
}

/// Files are read from the job, by offsets in it.
impl Source for Job {
    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        let offset = offset as usize;
        let part = self.all.get(offset..offset.saturating_add(bytes.len()));
        bytes.copy_from_slice(part.ok_or(Errno::Io)?);
        Ok(())
    }
}

/// Words of the table that was written to flash.
pub(crate) fn table(words: usize) -> &'static [u32] {
    let words = words.min(TABLE_LENGTH as usize / 4);
    // SAFETY: flash that is mapped here, aligned, and written before this is called only.
    unsafe { slice::from_raw_parts((FLASH + TABLE as usize) as *const u32, words) }
}
