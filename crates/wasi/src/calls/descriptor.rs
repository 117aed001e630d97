//! Calls on descriptors.

use crate::context::{Call, Wasi};
use crate::descriptors::{APPEND, Descriptor, FLAGS, NONBLOCK, Target};
use crate::errno::Errno;
use crate::files::{FileStat, FileType};
use crate::memory::{CHUNK, GuestMemory, MemoryError, advance, write_u32, write_u64};
use crate::outcome::Result;

/// `rights` of the interface. They are reported because libraries look at them, and not enforced: access is what a file was opened for.
mod rights {
    pub(super) const READ: u32 = 1 << 1;
    pub(super) const WRITE: u32 = 1 << 6;
    pub(super) const POLL: u32 = 1 << 27;
    /// Seeking is not among them, by which wasi-libc knows a terminal and writes line by line.
    pub(super) const STREAM: u32 = 1 << 3 | 1 << 21 | POLL;
    /// Synchronize, seek, set flags, tell, advise, attributes, length.
    pub(super) const FILE: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 22 | STREAM;
    /// All that begin with `path_`, and reading directories.
    pub(super) const DIRECTORY: u32 =
        0x7fff << 9 & !(1 << 22 | 1 << 23) | 7 << 24 | 1 << 3 | 1 << 4 | 1 << 21;
    pub(super) const SOCKET: u32 = 3 << 28 | STREAM;
    pub(super) const ALL: u32 = (1 << 30) - 1;
}

/// The name of the preopened directory.
const ROOT: &[u8] = b"/";

/// `whence`.
const SET: u32 = 0;
const CURRENT: u32 = 1;
const END: u32 = 2;

/// Writes a `filestat`.
pub(super) fn write_stat(
    memory: &mut dyn GuestMemory,
    address: u32,
    stat: &FileStat,
) -> core::result::Result<(), MemoryError> {
    let modified = stat.modified;
    let fields = [
        1,
        stat.inode,
        u64::from(stat.file_type as u8),
        1,
        stat.size,
        modified,
        modified,
        modified,
    ];
    let mut address = address;
    for field in fields {
        write_u64(memory, address, field)?;
        address = address.wrapping_add(8);
    }
    Ok(())
}

impl Wasi {
    pub(super) fn fd_close(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.descriptors.remove(call.slot(0))?;
        self.release(&descriptor, call.host);
        Ok(())
    }

    pub(super) fn fd_renumber(&mut self, call: &mut Call<'_>) -> Result {
        let (from, to) = (call.slot(0), call.slot(1));
        self.descriptors.get(from)?;
        self.descriptors.get(to)?;
        if from != to {
            let descriptor = self.descriptors.remove(from)?;
            let replaced = self.descriptors.replace(to, descriptor)?;
            self.release(&replaced, call.host);
        }
        Ok(())
    }

    pub(super) fn fd_fdstat_get(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.descriptors.get(call.slot(0))?;
        let file_type = self.stat_of(descriptor).file_type;
        let mut base = match descriptor.target {
            Target::Directory(_) => rights::DIRECTORY,
            Target::Listener(_) | Target::Socket(_) => rights::SOCKET,
            Target::File(_) | Target::Object(..) if file_type == FileType::RegularFile => rights::FILE,
            _ => rights::STREAM,
        };
        let mut inheriting = 0;
        if let Target::Directory(_) = descriptor.target {
            inheriting = rights::ALL;
        } else {
            if descriptor.readable {
                base |= rights::READ;
            }
            if descriptor.writable {
                base |= rights::WRITE;
            }
        }
        let at = call.slot(1);
        let head = u64::from(file_type as u8) | u64::from(descriptor.flags) << 16;
        write_u64(call.memory, at, head)?;
        write_u64(call.memory, advance(at, 8)?, base.into())?;
        write_u64(call.memory, advance(at, 16)?, inheriting.into())?;
        Ok(())
    }

    pub(super) fn fd_fdstat_set_flags(&mut self, call: &mut Call<'_>) -> Result {
        let flags = call.slot(1);
        if flags & !FLAGS != 0 {
            return Err(Errno::Invalid.into());
        }
        self.descriptors.get_mut(call.slot(0))?.flags = (flags & (APPEND | NONBLOCK)) as u8;
        Ok(())
    }

    pub(super) fn fd_filestat_get(&mut self, call: &mut Call<'_>) -> Result {
        let stat = self.stat_of(self.descriptors.get(call.slot(0))?);
        let at = call.slot(1);
        Ok(write_stat(call.memory, at, &stat)?)
    }

    pub(super) fn fd_filestat_set_size(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.descriptors.get(call.slot(0))?;
        let node = match descriptor.target {
            Target::File(node) if descriptor.writable => node,
            Target::File(_) | Target::Object(..) => return Err(Errno::Invalid.into()),
            _ => return Err(Errno::BadDescriptor.into()),
        };
        let now = call.now();
        Ok(self.files_mut().set_length(node, call.long(1), now)?)
    }

    pub(super) fn fd_prestat_get(&mut self, call: &mut Call<'_>) -> Result {
        self.preopen(call, Errno::BadDescriptor)?;
        // The tag of a directory is 0.
        call.put_u32(1, 0)?;
        let length = advance(call.slot(1), 4)?;
        Ok(write_u32(call.memory, length, ROOT.len() as u32)?)
    }

    pub(super) fn fd_prestat_dir_name(&mut self, call: &mut Call<'_>) -> Result {
        self.preopen(call, Errno::NotDirectory)?;
        if (call.slot(2) as usize) < ROOT.len() {
            return Err(Errno::NameTooLong.into());
        }
        let at = call.slot(1);
        Ok(call.memory.copy_in(at, ROOT)?)
    }

    pub(super) fn fd_read(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.descriptors.get(call.slot(0))?.clone();
        let count = self.scatter(call, &descriptor, descriptor.position, 1)?;
        self.advance(call.slot(0), count)?;
        call.put_u32(3, count)
    }

    pub(super) fn fd_write(&mut self, call: &mut Call<'_>) -> Result {
        let mut descriptor = self.descriptors.get(call.slot(0))?.clone();
        if descriptor.has(APPEND)
            && let Target::File(node) = descriptor.target
        {
            let end = self.files().stat(node).size;
            descriptor.position = u32::try_from(end).map_err(|_| Errno::FileTooBig)?;
            self.descriptors.get_mut(call.slot(0))?.position = descriptor.position;
        }
        let count = self.gather(call, &descriptor, descriptor.position, 1)?;
        self.advance(call.slot(0), count)?;
        call.put_u32(3, count)
    }

    pub(super) fn fd_pread(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.at_offset(call.slot(0), true)?;
        // Nothing is beyond 4 GiB.
        let position = u32::try_from(call.long(3)).unwrap_or(u32::MAX);
        let count = self.scatter(call, &descriptor, position, 1)?;
        call.put_u32(5, count)
    }

    pub(super) fn fd_pwrite(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.at_offset(call.slot(0), false)?;
        let position = u32::try_from(call.long(3)).map_err(|_| Errno::FileTooBig)?;
        let count = self.gather(call, &descriptor, position, 1)?;
        call.put_u32(5, count)
    }

    pub(super) fn fd_seek(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.descriptors.get(call.slot(0))?;
        let base = match (seekable(descriptor)?, call.slot(3)) {
            ((), SET) => 0,
            ((), CURRENT) => u64::from(descriptor.position),
            ((), END) => self.stat_of(descriptor).size,
            _ => return Err(Errno::Invalid.into()),
        };
        let offset = call.long(1).cast_signed();
        let position = base.checked_add_signed(offset).ok_or(Errno::Invalid)?;
        let position = u32::try_from(position).map_err(|_| Errno::Invalid)?;
        self.descriptors.get_mut(call.slot(0))?.position = position;
        call.put_u64(4, position.into())
    }

    pub(super) fn fd_tell(&mut self, call: &mut Call<'_>) -> Result {
        let descriptor = self.descriptors.get(call.slot(0))?;
        seekable(descriptor)?;
        call.put_u64(1, descriptor.position.into())
    }

    pub(super) fn fd_readdir(&mut self, call: &mut Call<'_>) -> Result {
        let Target::Directory(base) = self.descriptors.get(call.slot(0))?.target else {
            return Err(Errno::BadDescriptor.into());
        };
        let (start, length) = (call.slot(1), call.slot(2));
        let mut cookie = call.long(3);
        let mut used: u32 = 0;
        let files = self.files();
        while used < length
            && let Some(entry) = files.entry(base, cookie)
        {
            let mut head = [0; 24];
            let (next, rest) = head.split_at_mut(8);
            next.copy_from_slice(&entry.next.to_le_bytes());
            let (inode, rest) = rest.split_at_mut(8);
            inode.copy_from_slice(&entry.inode.to_le_bytes());
            let (name_length, rest) = rest.split_at_mut(4);
            name_length.copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
            rest.copy_from_slice(&u32::from(entry.file_type as u8).to_le_bytes());
            for part in [head.as_slice(), entry.name.as_bytes()] {
                // The last entry is cut off where the buffer ends.
                let count = part.len().min((length - used) as usize);
                let part = part.get(..count).unwrap_or_default();
                call.memory.copy_in(advance(start, used)?, part)?;
                used += count as u32;
            }
            cookie = entry.next;
        }
        drop(files);
        call.put_u32(5, used)
    }

    /// What `filestat` says of a descriptor.
    pub(super) fn stat_of(&self, descriptor: &Descriptor) -> FileStat {
        let mut stat = match descriptor.kind() {
            Ok(node) => self.files().stat(node),
            Err(file_type) => FileStat {
                inode: 0,
                file_type,
                size: 0,
                modified: 0,
            },
        };
        if let Target::Object(_, content) = &descriptor.target {
            stat.size = content.len() as u64;
        }
        stat
    }

    /// A descriptor that can be read or written at an offset.
    fn at_offset(&self, number: u32, reads: bool) -> Result<Descriptor> {
        let descriptor = self.descriptors.get(number)?;
        let open = if reads {
            descriptor.readable
        } else {
            descriptor.writable
        };
        match descriptor.target {
            Target::File(_) | Target::Object(..) => Ok(descriptor.clone()),
            Target::Directory(_) => Err(Errno::BadDescriptor.into()),
            _ if open => Err(Errno::NotSeekable.into()),
            _ => Err(Errno::BadDescriptor.into()),
        }
    }

    fn advance(&mut self, number: u32, count: u32) -> Result {
        let descriptor = self.descriptors.get_mut(number)?;
        if let Target::File(_) | Target::Object(..) = descriptor.target {
            descriptor.position = descriptor.position.saturating_add(count);
        }
        Ok(())
    }

    /// Checks that a descriptor is the preopened one; `other` is the error if it is another.
    fn preopen(&self, call: &Call<'_>, other: Errno) -> Result {
        let descriptor = self.descriptors.get(call.slot(0))?;
        if !descriptor.preopened {
            return Err(other.into());
        }
        Ok(())
    }
}

fn seekable(descriptor: &Descriptor) -> core::result::Result<(), Errno> {
    match descriptor.target {
        Target::File(_) | Target::Object(..) => Ok(()),
        Target::Directory(_) => Err(Errno::BadDescriptor),
        _ => Err(Errno::NotSeekable),
    }
}

const _: () = assert!(CHUNK >= 24, "an event and the head of an entry fit");
