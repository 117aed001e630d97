//! Calls on paths.

use super::descriptor::write_stat;
use crate::context::{Call, Wasi};
use crate::descriptors::{APPEND, Descriptor, NONBLOCK, Target};
use crate::errno::Errno;
use crate::files::{Base, FileType};
use crate::memory::write_u32;
use crate::outcome::Result;

/// `lookupflags`: a symbolic link at the end is followed.
const FOLLOW: u32 = 1;

/// `oflags`.
const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;

/// `rights` that say what a file is opened for.
const FD_READ: u64 = 1 << 1;
const FD_WRITE: u64 = 1 << 6;

impl Wasi {
    pub(super) fn path_open(&mut self, call: &mut Call<'_>) -> Result {
        let (open, rights, out) = (call.slot(4), call.long(5), call.slot(10));
        if open & DIRECTORY != 0 && open & (CREATE | EXCLUSIVE | TRUNCATE) != 0 {
            return Err(Errno::Invalid.into());
        }
        let create = open & CREATE != 0;
        let exclusive = create && open & EXCLUSIVE != 0;
        // A link is in the way of a new file, wherever it leads.
        let place = self.resolve(call, 0, 2, call.slot(1) & FOLLOW != 0 && !exclusive)?;
        let writable = rights & FD_WRITE != 0;
        let readable = rights & FD_READ != 0 || !writable;
        self.descriptors.reserve()?;
        // Nothing is created for a caller that cannot get the descriptor.
        write_u32(call.memory, out, 0)?;
        let now = call.now();
        let mut files = self.files_mut();
        let target = match place.node {
            None if !create => return Err(Errno::NotFound.into()),
            None if place.as_directory => return Err(Errno::IsDirectory.into()),
            None => {
                let owner = files.owner(self.owner)?;
                Target::File(files.create(&place, false, owner, now)?)
            }
            Some(_) if exclusive => return Err(Errno::Exists.into()),
            Some(node) => match files.stat(node).file_type {
                FileType::Directory if !(create || writable || open & TRUNCATE != 0) => {
                    Target::Directory(Base {
                        directory: node,
                        read_only: place.read_only,
                        volume: place.volume,
                    })
                }
                FileType::Directory => return Err(Errno::IsDirectory.into()),
                _ if open & DIRECTORY != 0 => return Err(Errno::NotDirectory.into()),
                FileType::SymbolicLink => return Err(Errno::Loop.into()),
                FileType::RegularFile if writable || open & TRUNCATE != 0 => {
                    if place.read_only {
                        return Err(Errno::ReadOnly.into());
                    }
                    files.make_writable(node)?;
                    if open & TRUNCATE != 0 {
                        files.set_length(node, 0, now)?;
                    }
                    Target::File(node)
                }
                _ => match files.object(node) {
                    Some(content) => Target::Object(node, content),
                    None => Target::File(node),
                },
            },
        };
        let writable = writable && matches!(target, Target::File(_));
        let mut descriptor = Descriptor::new(target, readable, writable);
        descriptor.flags = (call.slot(9) & (APPEND | NONBLOCK)) as u8;
        if let Ok(node) = descriptor.kind() {
            files.open(node)?;
        }
        drop(files);
        let number = self.descriptors.insert(descriptor)?;
        Ok(write_u32(call.memory, out, number)?)
    }

    pub(super) fn path_filestat_get(&mut self, call: &mut Call<'_>) -> Result {
        let place = self.resolve(call, 0, 2, call.slot(1) & FOLLOW != 0)?;
        let node = place.node.ok_or(Errno::NotFound)?;
        let stat = self.files().stat(node);
        let at = call.slot(4);
        Ok(write_stat(call.memory, at, &stat)?)
    }

    pub(super) fn path_readlink(&mut self, call: &mut Call<'_>) -> Result {
        let place = self.resolve(call, 0, 1, false)?;
        let node = place.node.ok_or(Errno::NotFound)?;
        let files = self.files();
        let target = files.link_target(node).ok_or(Errno::Invalid)?.as_bytes();
        let count = target.len().min(call.slot(4) as usize);
        call.memory
            .copy_in(call.slot(3), target.get(..count).unwrap_or_default())?;
        call.put_u32(5, count as u32)
    }

    pub(super) fn path_create_directory(&mut self, call: &mut Call<'_>) -> Result {
        let place = self.resolve(call, 0, 1, false)?;
        let now = call.now();
        let mut files = self.files_mut();
        let owner = files.owner(self.owner)?;
        files.create(&place, true, owner, now)?;
        Ok(())
    }

    pub(super) fn path_unlink_file(&mut self, call: &mut Call<'_>) -> Result {
        self.unlink(call, false)
    }

    pub(super) fn path_remove_directory(&mut self, call: &mut Call<'_>) -> Result {
        self.unlink(call, true)
    }

    pub(super) fn path_rename(&mut self, call: &mut Call<'_>) -> Result {
        let from = self.resolve(call, 0, 1, false)?;
        let to = self.resolve(call, 3, 4, false)?;
        let now = call.now();
        Ok(self.files_mut().rename(&from, &to, now)?)
    }

    fn unlink(&self, call: &mut Call<'_>, directory: bool) -> Result {
        let place = self.resolve(call, 0, 1, false)?;
        let now = call.now();
        Ok(self.files_mut().unlink(&place, directory, now)?)
    }
}
