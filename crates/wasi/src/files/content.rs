//! What is in files: reading, writing, their length.

use alloc::vec::Vec;

use super::{FileSystem, Kind, NodeId};
use crate::errno::Errno;

/// Files in RAM grow in steps of so many bytes.
const STEP: usize = 64;

impl FileSystem {
    /// Reads from `offset` on and returns how many bytes: fewer only at the end of the file.
    pub(crate) fn read(&self, id: NodeId, offset: u32, bytes: &mut [u8]) -> Result<usize, Errno> {
        match &self.node(id).kind {
            Kind::Image {
                source,
                offset: start,
                length,
            } => {
                let left = length.saturating_sub(offset) as usize;
                let count = left.min(bytes.len());
                let source = self.sources.get(usize::from(*source)).ok_or(Errno::Io)?;
                let at = start.checked_add(offset).ok_or(Errno::Io)?;
                if let Some(bytes) = bytes.get_mut(..count)
                    && count > 0
                {
                    source.read(at, bytes)?;
                }
                Ok(count)
            }
            Kind::Ram(content) => Ok(copy(content, offset, bytes)),
            Kind::Object(object) => Ok(copy(&object.bytes.borrow(), offset, bytes)),
            Kind::Zero => {
                bytes.fill(0);
                Ok(bytes.len())
            }
            Kind::Null => Ok(0),
            _ => Err(Errno::IsDirectory),
        }
    }

    /// Writes all of `bytes` at `offset`; what is between the end of the file and `offset` becomes zero. Modified at `now`.
    pub(crate) fn write(&mut self, id: NodeId, offset: u32, bytes: &[u8], now: u64) -> Result<usize, Errno> {
        let start = offset as usize;
        let end = start.checked_add(bytes.len()).ok_or(Errno::FileTooBig)?;
        let length = match &self.node(id).kind {
            Kind::Ram(content) => content.len(),
            Kind::Null | Kind::Zero => return Ok(bytes.len()),
            _ => return Err(Errno::ReadOnly),
        };
        if end > length && !bytes.is_empty() {
            self.resize(id, end)?;
        }
        if let Some(node) = self.nodes.get_mut(usize::from(id.0))
            && let Kind::Ram(content) = &mut node.kind
        {
            if let Some(part) = content.get_mut(start..end) {
                part.copy_from_slice(bytes);
            }
            node.modified = now;
        }
        Ok(bytes.len())
    }

    /// Makes a file `length` bytes long, with zeros where it grows. Modified at `now`.
    pub(crate) fn set_length(&mut self, id: NodeId, length: u64, now: u64) -> Result<(), Errno> {
        match &self.node(id).kind {
            Kind::Ram(_) => {
                let length = u32::try_from(length).map_err(|_| Errno::FileTooBig)?;
                self.resize(id, length as usize)?;
                if let Some(node) = self.nodes.get_mut(usize::from(id.0)) {
                    node.modified = now;
                }
                Ok(())
            }
            Kind::Null | Kind::Zero => Err(Errno::Invalid),
            _ => Err(Errno::ReadOnly),
        }
    }

    /// Makes a file of an image one in RAM, so that it can be written.
    pub(crate) fn make_writable(&mut self, id: NodeId) -> Result<(), Errno> {
        let Kind::Image { length, .. } = self.node(id).kind else {
            return match self.node(id).kind {
                Kind::Ram(_) | Kind::Null | Kind::Zero => Ok(()),
                _ => Err(Errno::ReadOnly),
            };
        };
        if !self.account.charge(length) {
            return Err(Errno::NoSpace);
        }
        let copied = self.copy_of(id, length as usize);
        match copied {
            Ok(content) => {
                if let Some(node) = self.nodes.get_mut(usize::from(id.0)) {
                    node.kind = Kind::Ram(content);
                }
                Ok(())
            }
            Err(error) => {
                self.account.release(length);
                Err(error)
            }
        }
    }

    fn copy_of(&self, id: NodeId, length: usize) -> Result<Vec<u8>, Errno> {
        let mut content = Vec::new();
        content.try_reserve_exact(length).map_err(|_| Errno::NoMemory)?;
        content.resize(length, 0);
        self.read(id, 0, &mut content)?;
        Ok(content)
    }

    /// Changes the length of a file in RAM and what is charged for it.
    fn resize(&mut self, id: NodeId, length: usize) -> Result<(), Errno> {
        let Some(node) = self.nodes.get_mut(usize::from(id.0)) else {
            return Err(Errno::BadDescriptor);
        };
        let Kind::Ram(content) = &mut node.kind else {
            return Err(Errno::ReadOnly);
        };
        let capacity = content.capacity();
        if length > capacity {
            // A whole step if there is room, else to the byte.
            let step = length.checked_next_multiple_of(STEP).unwrap_or(length);
            let wanted = [step, length].into_iter().find_map(|wanted| {
                let more = u32::try_from(wanted - capacity).ok()?;
                self.account.charge(more).then_some((wanted, more))
            });
            let (wanted, more) = wanted.ok_or(Errno::NoSpace)?;
            if content.try_reserve_exact(wanted - content.len()).is_err() {
                self.account.release(more);
                return Err(Errno::NoMemory);
            }
        }
        content.resize(length, 0);
        if length < capacity / 2 {
            content.shrink_to(length);
            let less = capacity.saturating_sub(content.capacity());
            self.account.release(less as u32);
        }
        Ok(())
    }
}

/// Copies what fits from `offset` on.
pub(crate) fn copy(content: &[u8], offset: u32, bytes: &mut [u8]) -> usize {
    let rest = content.get(offset as usize..).unwrap_or_default();
    let count = rest.len().min(bytes.len());
    if let (Some(to), Some(from)) = (bytes.get_mut(..count), rest.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}
