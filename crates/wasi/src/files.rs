//! One bounded file system for the containers of a pod.
//!
//! All of it is a tree of nodes: directories and files in RAM, files of an image that are read from where it is stored, objects
//! (ConfigMaps, Secrets, tokens) that are shared and may be replaced, symbolic links, `/dev/null` and `/dev/zero`. Each container has
//! a root of its own, each volume too, and a mount makes the root of a volume appear in the tree of a container. Two containers that
//! mount one volume see the same files.
//!
//! RAM that guests fill is charged to an [`Account`], nodes included. Names, paths, symbolic links and nodes are bounded by
//! [`FileLimits`]. Resolution of paths is in `resolve`: it never leaves the root.

mod content;
mod links;
mod resolve;
mod tree;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::errno::Errno;

pub(crate) use content::copy;
pub(crate) use resolve::{Base, Place};
pub use tree::{ImageFile, Owner};

/// Where bytes of an image are: flash, a file, memory.
pub trait Source {
    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// `Io` if they cannot be read, or are not there.
    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Errno>;
}

impl<T: AsRef<[u8]> + ?Sized> Source for T {
    fn read(&self, offset: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        let all = self.as_ref();
        let offset = offset as usize;
        let part = offset
            .checked_add(bytes.len())
            .and_then(|end| all.get(offset..end));
        bytes.copy_from_slice(part.ok_or(Errno::Io)?);
        Ok(())
    }
}

/// Who pays for RAM: the memory of a pod.
pub trait Account {
    /// Takes `bytes` more, or returns `false` and takes none if that is beyond the limit.
    fn charge(&self, bytes: u32) -> bool;

    /// Returns `bytes` that were charged.
    fn release(&self, bytes: u32);
}

/// An account with a limit of its own.
#[derive(Debug)]
pub struct Quota {
    limit: u32,
    used: core::cell::Cell<u32>,
}

impl Quota {
    /// An account of that many bytes.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            used: core::cell::Cell::new(0),
        }
    }

    /// Bytes that are charged.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used.get()
    }
}

impl Account for Quota {
    fn charge(&self, bytes: u32) -> bool {
        let Some(used) = self.used.get().checked_add(bytes) else {
            return false;
        };
        if used > self.limit {
            return false;
        }
        self.used.set(used);
        true
    }

    fn release(&self, bytes: u32) {
        self.used.set(self.used.get().saturating_sub(bytes));
    }
}

/// Bytes that appear as a file in any number of places and may be replaced while they do: a key of a ConfigMap or Secret, a token.
///
/// A descriptor keeps reading the bytes it was opened on; whoever opens the path after [`Object::replace`] reads the new ones.
#[derive(Debug)]
pub struct Object {
    bytes: RefCell<Rc<[u8]>>,
    modified: core::cell::Cell<u64>,
}

impl Object {
    /// An object with these bytes, modified at `modified` nanoseconds since 1970.
    #[must_use]
    pub fn new(bytes: impl Into<Rc<[u8]>>, modified: u64) -> Self {
        Self {
            bytes: RefCell::new(bytes.into()),
            modified: core::cell::Cell::new(modified),
        }
    }

    /// The bytes as they are now.
    #[must_use]
    pub fn bytes(&self) -> Rc<[u8]> {
        self.bytes.borrow().clone()
    }

    /// Replaces the bytes.
    pub fn replace(&self, bytes: impl Into<Rc<[u8]>>, modified: u64) {
        *self.bytes.borrow_mut() = bytes.into();
        self.modified.set(modified);
    }
}

/// Bounds of a file system.
#[derive(Clone, Copy, Debug)]
pub struct FileLimits {
    /// Nodes of all kinds, at most 65,534.
    pub nodes: u16,
    /// Bytes of a name.
    pub name: u16,
    /// Bytes of a path, the targets of symbolic links included as they are followed.
    pub path: u16,
    /// Symbolic links that are followed in one path.
    pub links: u8,
}

impl FileLimits {
    /// Bounds for a board.
    pub const BOARD: Self = Self {
        nodes: 256,
        name: 128,
        path: 512,
        links: 8,
    };
    /// Bounds for a computer, as Linux has them.
    pub const COMPUTER: Self = Self {
        nodes: 16_384,
        name: 255,
        path: 4_096,
        links: 40,
    };
}

/// A node, by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(crate) u16);

impl NodeId {
    /// The parent of a node that was removed while it was open.
    const NONE: Self = Self(u16::MAX);
    /// The parent of a root.
    const ABOVE_ROOT: Self = Self(u16::MAX - 1);
}

/// What a node is.
pub(crate) enum Kind {
    /// A place in the table that is not used.
    Free,
    Directory,
    /// A part of a source, by its place in `sources`.
    Image {
        source: u8,
        offset: u32,
        length: u32,
    },
    Ram(Vec<u8>),
    Object(Rc<Object>),
    Link(Box<str>),
    /// Another node appears here.
    Mount {
        target: NodeId,
        read_only: bool,
    },
    Null,
    Zero,
}

/// One name in the tree and what is behind it.
pub(crate) struct Node {
    parent: NodeId,
    name: Box<str>,
    kind: Kind,
    /// Descriptors on it: it is freed after the last one.
    opens: u16,
    /// Permission bits, as `chmod` sets them; nothing is refused because of them.
    mode: u16,
    /// Place in `owners`.
    owner: u8,
    /// It is of an image, not of a volume.
    of_image: bool,
    /// Nanoseconds since 1970.
    modified: u64,
}

/// The file system of a pod.
pub struct FileSystem {
    nodes: Vec<Node>,
    sources: Vec<Rc<dyn Source>>,
    owners: Vec<Owner>,
    account: Rc<dyn Account>,
    limits: FileLimits,
    /// What is found by the number of a node that is not there.
    nothing: Node,
}

/// What `filestat` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Number of the file in the file system.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
}

/// `filetype` of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    /// Something else, such as a stream of events.
    Unknown = 0,
    /// A terminal, `/dev/null`, `/dev/zero`, standard streams.
    CharacterDevice = 2,
    /// A directory.
    Directory = 3,
    /// A file.
    RegularFile = 4,
    /// A TCP listener or connection.
    Stream = 6,
    /// A symbolic link that was not followed.
    SymbolicLink = 7,
}

/// Permission bits and owner, as `picolet.file_mode` reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode {
    /// `st_mode`: file type and permission bits of POSIX.
    pub mode: u32,
    /// Who owns the file.
    pub owner: Owner,
    /// `f_type` of statfs(2): overlayfs for an image, tmpfs for a volume.
    pub file_system: u32,
}
