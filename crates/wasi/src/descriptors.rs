//! The descriptors of an instance.

use alloc::rc::Rc;
use alloc::vec::Vec;

use crate::errno::Errno;
use crate::files::{Base, FileType, NodeId};
use crate::outcome::Interest;

/// Bounds of what an instance can do in calls.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open descriptors, the standard streams and the root included.
    pub descriptors: u16,
    /// Bytes that a call reads or writes: guests get short counts beyond it.
    pub transfer: u32,
    /// Buffers of a call, and subscriptions of `poll_oneoff`.
    pub vectors: u16,
}

impl Limits {
    /// Bounds for a board: a call that moves 4 KiB takes some milliseconds at most.
    pub const BOARD: Self = Self {
        descriptors: 16,
        transfer: 4_096,
        vectors: 64,
    };
    /// Bounds for a computer.
    pub const COMPUTER: Self = Self {
        descriptors: 1_024,
        transfer: 1 << 20,
        vectors: 1_024,
    };
}

/// A stream of the container's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// What a descriptor leads to.
#[derive(Clone)]
pub(crate) enum Target {
    Input,
    Output(Stream),
    Directory(Base),
    File(NodeId),
    /// A shared object as it was when it was opened.
    Object(NodeId, Rc<[u8]>),
    Listener(u8),
    Socket(u8),
    /// Events of a watched pin.
    Pin(u8),
    /// Pending signals.
    Signals,
}

/// `fdflags`: writes go to the end of the file.
pub(crate) const APPEND: u32 = 1;
/// `fdflags`: calls return EAGAIN instead of waiting.
pub(crate) const NONBLOCK: u32 = 4;
/// All that exist: append, dsync, nonblock, rsync, sync.
pub(crate) const FLAGS: u32 = 31;

/// An open descriptor.
#[derive(Clone)]
pub(crate) struct Descriptor {
    pub(crate) target: Target,
    /// Where the next read or write of a file is.
    pub(crate) position: u32,
    /// `fdflags`.
    pub(crate) flags: u8,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// It was open when the instance started, for `fd_prestat_get`.
    pub(crate) preopened: bool,
}

impl Descriptor {
    pub(crate) const fn new(target: Target, readable: bool, writable: bool) -> Self {
        Self {
            target,
            position: 0,
            flags: 0,
            readable,
            writable,
            preopened: false,
        }
    }

    pub(crate) const fn has(&self, flag: u32) -> bool {
        self.flags as u32 & flag != 0
    }

    /// The file type of what has no node, and where to look it up for what has one.
    pub(crate) const fn kind(&self) -> Result<NodeId, FileType> {
        match self.target {
            Target::Directory(base) => Ok(base.directory),
            Target::File(node) | Target::Object(node, _) => Ok(node),
            Target::Input | Target::Output(_) => Err(FileType::CharacterDevice),
            Target::Listener(_) | Target::Socket(_) => Err(FileType::Stream),
            Target::Pin(_) | Target::Signals => Err(FileType::Unknown),
        }
    }

    /// What changes when it becomes ready.
    pub(crate) const fn interest(&self) -> Interest {
        match self.target {
            Target::Input => Interest::INPUT,
            Target::Listener(_) | Target::Socket(_) => Interest::SOCKETS,
            Target::Pin(_) => Interest::PINS,
            Target::Signals => Interest::SIGNALS,
            _ => Interest::NONE,
        }
    }
}

/// The table of descriptors. A new one gets the lowest free number.
pub(crate) struct Descriptors {
    open: Vec<Option<Descriptor>>,
    limit: u16,
}

impl Descriptors {
    pub(crate) const fn new(limit: u16) -> Self {
        Self {
            open: Vec::new(),
            limit,
        }
    }

    #[inline(never)]
    pub(crate) fn get(&self, descriptor: u32) -> Result<&Descriptor, Errno> {
        let entry = self.open.get(descriptor as usize);
        entry.and_then(Option::as_ref).ok_or(Errno::BadDescriptor)
    }

    #[inline(never)]
    pub(crate) fn get_mut(&mut self, descriptor: u32) -> Result<&mut Descriptor, Errno> {
        let entry = self.open.get_mut(descriptor as usize);
        entry.and_then(Option::as_mut).ok_or(Errno::BadDescriptor)
    }

    /// Makes room for a descriptor, so that the next [`Self::insert`] cannot fail.
    #[inline(never)]
    pub(crate) fn reserve(&mut self) -> Result<u32, Errno> {
        let free = self.open.iter().position(Option::is_none);
        let index = free.unwrap_or(self.open.len());
        if index >= usize::from(self.limit) {
            return Err(Errno::TooManyDescriptors);
        }
        if free.is_none() {
            self.open.try_reserve(1).map_err(|_| Errno::NoMemory)?;
            self.open.push(None);
        }
        Ok(index as u32)
    }

    #[inline(never)]
    pub(crate) fn insert(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let index = self.reserve()?;
        if let Some(entry) = self.open.get_mut(index as usize) {
            *entry = Some(descriptor);
        }
        Ok(index)
    }

    #[inline(never)]
    pub(crate) fn remove(&mut self, descriptor: u32) -> Result<Descriptor, Errno> {
        let entry = self.open.get_mut(descriptor as usize);
        entry.and_then(Option::take).ok_or(Errno::BadDescriptor)
    }

    /// Puts a descriptor at the number of one that is open, and returns that one.
    pub(crate) fn replace(&mut self, number: u32, descriptor: Descriptor) -> Result<Descriptor, Errno> {
        Ok(core::mem::replace(self.get_mut(number)?, descriptor))
    }

    /// Takes any descriptor that is open.
    pub(crate) fn pop(&mut self) -> Option<Descriptor> {
        while let Some(last) = self.open.pop() {
            if last.is_some() {
                return last;
            }
        }
        None
    }
}
