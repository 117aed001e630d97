//! What passes between a device and its network, in a file that Wireshark opens (the format of libpcap, with
//! nanoseconds).

use std::io::{self, Write};
use std::time::Duration;

use super::Link;
use crate::Time;

/// Marks a file whose timestamps have nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const SNAPSHOT_LENGTH: u32 = 65_535;

/// A link whose frames are written down, in both directions and in the order in which they pass.
pub struct Captured<W> {
    link: Box<dyn Link>,
    file: Option<W>,
    error: Option<io::Error>,
}

impl<W> std::fmt::Debug for Captured<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Captured")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<W: Write + Send> Captured<W> {
    /// `link`, written down in `file`, which should have a buffer.
    ///
    /// # Errors
    /// The file's.
    pub fn new(link: Box<dyn Link>, mut file: W) -> io::Result<Self> {
        for word in [MAGIC, 4 << 16 | 2, 0, 0, SNAPSHOT_LENGTH, ETHERNET] {
            file.write_all(&word.to_le_bytes())?;
        }
        Ok(Self {
            link,
            file: Some(file),
            error: None,
        })
    }

    /// Why nothing more is written since some moment.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    fn write(&mut self, frame: &[u8], now: Time) {
        let Some(file) = &mut self.file else { return };
        let nanos = now.as_nanos();
        let length = u32::try_from(frame.len())
            .unwrap_or(u32::MAX)
            .min(SNAPSHOT_LENGTH);
        let seconds = u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX);
        let fraction = u32::try_from(nanos % 1_000_000_000).unwrap_or(0);
        let mut record = Vec::with_capacity(16 + frame.len());
        for word in [seconds, fraction, length, length] {
            record.extend(word.to_le_bytes());
        }
        record.extend(&frame[..length as usize]);
        if let Err(error) = file.write_all(&record) {
            self.error = Some(error);
            self.file = None;
        }
    }
}

impl<W: Write + Send> Link for Captured<W> {
    fn send(&mut self, frame: &[u8], now: Time) {
        self.write(frame, now);
        self.link.send(frame, now);
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        let frame = self.link.receive(now)?;
        self.write(&frame, now);
        Some(frame)
    }

    fn next_event(&self) -> Option<Time> {
        self.link.next_event()
    }

    fn wait_for_host(&mut self, limit: Duration) -> bool {
        self.link.wait_for_host(limit)
    }

    fn duplicate(&self) -> Option<Box<dyn Link>> {
        // A board and its copy cannot both write the rest of one file.
        None
    }
}

impl<W> Drop for Captured<W> {
    fn drop(&mut self) {
        // The writer's own buffer is flushed when it is dropped, with its errors lost, as is usual.
        self.file.take();
    }
}
