//! Building the tree: what the node puts there before a container starts, and afterwards.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use super::{
    Account, FileLimits, FileMode, FileStat, FileSystem, FileType, Kind, Node, NodeId, Object, Source,
};
use crate::errno::Errno;

/// A user and a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A file of an image: a part of a [`Source`].
#[derive(Clone, Copy, Debug)]
pub struct ImageFile {
    /// What [`FileSystem::add_source`] returned.
    pub source: u8,
    /// First byte in the source.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// `f_type` of overlayfs and tmpfs in `linux/magic.h`.
const OVERLAYFS: u32 = 0x794c_7630;
const TMPFS: u32 = 0x0102_1994;

/// What a new node has besides its name and kind.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: u16,
    pub(super) owner: u8,
    pub(super) modified: u64,
}

impl FileSystem {
    /// An empty file system, whose RAM is charged to `account`.
    #[must_use]
    pub fn new(limits: FileLimits, account: Rc<dyn Account>) -> Self {
        Self {
            nodes: Vec::new(),
            sources: Vec::new(),
            owners: Vec::new(),
            account,
            limits,
            nothing: Node::free(),
        }
    }

    /// Adds a source of image files.
    ///
    /// # Errors
    /// `NoSpace` if there are 255 already.
    pub fn add_source(&mut self, source: Rc<dyn Source>) -> Result<u8, Errno> {
        let index = u8::try_from(self.sources.len()).map_err(|_| Errno::NoSpace)?;
        self.sources.try_reserve_exact(1).map_err(|_| Errno::NoMemory)?;
        self.sources.push(source);
        Ok(index)
    }

    /// Adds a root: of a container if `of_image`, else of a volume.
    ///
    /// # Errors
    /// `NoSpace` when a limit is reached.
    pub fn add_root(&mut self, of_image: bool, mode: u16, owner: Owner) -> Result<NodeId, Errno> {
        let owner = self.owner(owner)?;
        let root = self.insert(
            NodeId::ABOVE_ROOT,
            "",
            Kind::Directory,
            Attributes {
                mode,
                owner,
                modified: 0,
            },
        )?;
        if let Some(node) = self.nodes.get_mut(usize::from(root.0)) {
            node.of_image = of_image;
        }
        Ok(root)
    }

    /// Adds a directory and the directories above it, or returns the one that is there.
    ///
    /// # Errors
    /// `NotDirectory` if something else is in the way, `NameTooLong`, `NoSpace`.
    pub fn add_directory(&mut self, root: NodeId, path: &str, mode: u16) -> Result<NodeId, Errno> {
        let mut directory = root;
        let mut names = path
            .split('/')
            .filter(|name| !matches!(*name, "" | "."))
            .peekable();
        while let Some(name) = names.next() {
            let child = match self.child(directory, name) {
                Some(child) => child,
                None => {
                    let mode = if names.peek().is_some() { 0o755 } else { mode };
                    self.add(directory, name, Kind::Directory, mode)?
                }
            };
            directory = match self.node(child).kind {
                Kind::Directory => child,
                Kind::Mount { target, .. } if matches!(self.node(target).kind, Kind::Directory) => target,
                _ => return Err(Errno::NotDirectory),
            };
        }
        Ok(directory)
    }

    /// Adds a file of an image, which replaces what had its path.
    ///
    /// # Errors
    /// As [`Self::add_directory`]; `IsDirectory` if the path is one.
    pub fn add_image_file(
        &mut self,
        root: NodeId,
        path: &str,
        file: ImageFile,
        mode: u16,
    ) -> Result<NodeId, Errno> {
        let ImageFile {
            source,
            offset,
            length,
        } = file;
        self.place(
            root,
            path,
            Kind::Image {
                source,
                offset,
                length,
            },
            mode,
        )
    }

    /// Adds a symbolic link, as [`Self::add_image_file`]. An absolute target starts at the root of the container.
    ///
    /// # Errors
    /// As [`Self::add_image_file`].
    pub fn add_link(&mut self, root: NodeId, path: &str, target: &str) -> Result<NodeId, Errno> {
        self.place(root, path, Kind::Link(target.into()), 0o777)
    }

    /// Adds a shared object as a file, as [`Self::add_image_file`].
    ///
    /// # Errors
    /// As [`Self::add_image_file`].
    pub fn add_object(
        &mut self,
        root: NodeId,
        path: &str,
        object: Rc<Object>,
        mode: u16,
    ) -> Result<NodeId, Errno> {
        self.place(root, path, Kind::Object(object), mode)
    }

    /// Adds a file in RAM with these bytes, as [`Self::add_image_file`].
    ///
    /// # Errors
    /// As [`Self::add_image_file`].
    pub fn add_file(&mut self, root: NodeId, path: &str, bytes: &[u8], mode: u16) -> Result<NodeId, Errno> {
        let node = self.place(root, path, Kind::Ram(Vec::new()), mode)?;
        self.write(node, 0, bytes, 0)?;
        Ok(node)
    }

    /// Adds `/dev/null` and `/dev/zero`.
    ///
    /// # Errors
    /// As [`Self::add_image_file`].
    pub fn add_devices(&mut self, root: NodeId) -> Result<(), Errno> {
        self.place(root, "dev/null", Kind::Null, 0o666)?;
        self.place(root, "dev/zero", Kind::Zero, 0o666)?;
        Ok(())
    }

    /// Makes `target`, a directory or a file of this file system, appear at `path`. Nothing below it can be changed through this path
    /// if it is `read_only`.
    ///
    /// # Errors
    /// As [`Self::add_image_file`].
    pub fn mount(&mut self, root: NodeId, path: &str, target: NodeId, read_only: bool) -> Result<(), Errno> {
        if let Kind::Directory = self.node(target).kind
            && let Ok(place) = self.find(root, path)
            && place != root
            && matches!(self.node(place).kind, Kind::Directory)
            && !self.nodes.iter().any(|node| node.parent == place)
        {
            // The empty directory of an image at which it is mounted.
            self.detach(place);
        }
        self.place(root, path, Kind::Mount { target, read_only }, 0)?;
        Ok(())
    }

    /// Removes a path and all below it. Descriptors on it stay valid.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove(&mut self, root: NodeId, path: &str) -> Result<(), Errno> {
        let node = self.find(root, path)?;
        while let Some(leaf) = self.leaf_below(node) {
            self.detach(leaf);
        }
        if node != root {
            self.detach(node);
        }
        Ok(())
    }

    /// Reads up to `limit` bytes from the start of a file, such as a termination message. No symbolic link is followed.
    ///
    /// # Errors
    /// `NotFound`, `IsDirectory`, `Io`.
    pub fn read_file(&self, root: NodeId, path: &str, limit: u32) -> Result<Vec<u8>, Errno> {
        let node = self.find(root, path)?;
        let length = u32::try_from(self.stat(node).size).unwrap_or(u32::MAX).min(limit);
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(length as usize)
            .map_err(|_| Errno::NoMemory)?;
        bytes.resize(length as usize, 0);
        let read = self.read(node, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// What `filestat` reports of a node.
    #[must_use]
    pub fn stat(&self, id: NodeId) -> FileStat {
        let node = self.node(id);
        let (file_type, size) = match &node.kind {
            Kind::Image { length, .. } => (FileType::RegularFile, u64::from(*length)),
            Kind::Ram(bytes) => (FileType::RegularFile, bytes.len() as u64),
            Kind::Object(object) => (FileType::RegularFile, object.bytes.borrow().len() as u64),
            Kind::Link(target) => (FileType::SymbolicLink, target.len() as u64),
            Kind::Null | Kind::Zero => (FileType::CharacterDevice, 0),
            Kind::Directory | Kind::Mount { .. } | Kind::Free => (FileType::Directory, 0),
        };
        let modified = match &node.kind {
            Kind::Object(object) => object.modified.get(),
            _ => node.modified,
        };
        FileStat {
            inode: u64::from(id.0) + 1,
            file_type,
            size,
            modified,
        }
    }

    /// Permission bits and owner of a node.
    pub(crate) fn mode(&self, id: NodeId) -> FileMode {
        let node = self.node(id);
        let format = match self.stat(id).file_type {
            FileType::Directory => 0o040_000,
            FileType::CharacterDevice => 0o020_000,
            FileType::SymbolicLink => 0o120_000,
            _ => 0o100_000,
        };
        FileMode {
            mode: format | u32::from(node.mode),
            owner: self
                .owners
                .get(usize::from(node.owner))
                .copied()
                .unwrap_or_default(),
            file_system: if node.of_image { OVERLAYFS } else { TMPFS },
        }
    }

    /// Sets the permission bits of a node.
    pub(crate) fn set_mode(&mut self, id: NodeId, mode: u16) {
        if let Some(node) = self.nodes.get_mut(usize::from(id.0)) {
            node.mode = mode & 0o7777;
        }
    }

    /// The place of `owner` among those that are known.
    pub(crate) fn owner(&mut self, owner: Owner) -> Result<u8, Errno> {
        let known = self.owners.iter().position(|other| *other == owner);
        let index = known.unwrap_or(self.owners.len());
        let place = u8::try_from(index).map_err(|_| Errno::NoSpace)?;
        if known.is_none() {
            self.owners.try_reserve_exact(1).map_err(|_| Errno::NoMemory)?;
            self.owners.push(owner);
        }
        Ok(place)
    }

    /// A node that is in use. One that is not is as good as an empty directory without a name.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(usize::from(id.0)).unwrap_or(&self.nothing)
    }

    /// The entry of a directory with that name.
    pub(super) fn child(&self, directory: NodeId, name: &str) -> Option<NodeId> {
        let index = self
            .nodes
            .iter()
            .position(|node| node.parent == directory && *node.name == *name && !node.is_free());
        Some(NodeId(u16::try_from(index?).ok()?))
    }

    /// Adds an entry with the owner of the directory.
    fn add(&mut self, directory: NodeId, name: &str, kind: Kind, mode: u16) -> Result<NodeId, Errno> {
        let owner = self.node(directory).owner;
        self.insert(
            directory,
            name,
            kind,
            Attributes {
                mode,
                owner,
                modified: 0,
            },
        )
    }

    /// Adds an entry to a directory in which that name is not taken, and charges for it.
    pub(super) fn insert(
        &mut self,
        directory: NodeId,
        name: &str,
        kind: Kind,
        attributes: Attributes,
    ) -> Result<NodeId, Errno> {
        if name.len() > usize::from(self.limits.name) {
            return Err(Errno::NameTooLong);
        }
        let free = self.nodes.iter().position(Node::is_free);
        let index = free.unwrap_or(self.nodes.len());
        if index >= usize::from(self.limits.nodes) {
            return Err(Errno::NoSpace);
        }
        let node = Node {
            parent: directory,
            name: name.into(),
            kind,
            opens: 0,
            mode: attributes.mode & 0o7777,
            owner: attributes.owner,
            of_image: self.node(directory).of_image,
            modified: attributes.modified,
        };
        if !self.account.charge(node.cost()) {
            return Err(Errno::NoSpace);
        }
        match self.nodes.get_mut(index) {
            Some(place) => *place = node,
            None => {
                if self.nodes.try_reserve(1).is_err() {
                    self.account.release(node.cost());
                    return Err(Errno::NoMemory);
                }
                self.nodes.push(node);
            }
        }
        u16::try_from(index).map(NodeId).map_err(|_| Errno::NoSpace)
    }

    /// Adds an entry and the directories above it; replaces what is there and is no directory.
    fn place(&mut self, root: NodeId, path: &str, kind: Kind, mode: u16) -> Result<NodeId, Errno> {
        let path = path.trim_end_matches('/');
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(Errno::Invalid);
        }
        let directory = self.add_directory(root, above, 0o755)?;
        if let Some(old) = self.child(directory, name) {
            if matches!(self.node(old).kind, Kind::Directory) {
                return Err(Errno::IsDirectory);
            }
            self.detach(old);
        }
        self.add(directory, name, kind, mode)
    }

    /// Finds a path without following symbolic links.
    fn find(&self, root: NodeId, path: &str) -> Result<NodeId, Errno> {
        let mut node = root;
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            node = self.child(node, name).ok_or(Errno::NotFound)?;
            if let Kind::Mount { target, .. } = self.node(node).kind {
                node = target;
            }
        }
        Ok(node)
    }

    /// A node below `node` that has none below it.
    fn leaf_below(&self, node: NodeId) -> Option<NodeId> {
        let mut leaf = None;
        let mut directory = node;
        while let Some(index) = self
            .nodes
            .iter()
            .position(|entry| entry.parent == directory && !entry.is_free())
        {
            directory = NodeId(u16::try_from(index).ok()?);
            leaf = Some(directory);
        }
        leaf
    }

    /// Takes a node out of the tree, and frees it unless it is open.
    pub(super) fn detach(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(usize::from(id.0)) {
            node.parent = NodeId::NONE;
            if node.opens == 0 {
                self.free(id);
            }
        }
    }

    /// Frees a node that is neither in the tree nor open.
    pub(super) fn free(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(usize::from(id.0)) {
            let node = core::mem::replace(node, Node::free());
            self.account.release(node.cost());
        }
    }
}

impl Node {
    /// A place of the table that is not used.
    fn free() -> Self {
        Self {
            parent: NodeId::NONE,
            name: Box::default(),
            kind: Kind::Free,
            opens: 0,
            mode: 0,
            owner: 0,
            of_image: false,
            modified: 0,
        }
    }

    pub(super) const fn is_free(&self) -> bool {
        matches!(self.kind, Kind::Free)
    }

    /// Bytes that it is charged for.
    fn cost(&self) -> u32 {
        let more = match &self.kind {
            Kind::Free => return 0,
            Kind::Ram(bytes) => bytes.capacity(),
            Kind::Link(target) => target.len(),
            _ => 0,
        };
        (size_of::<Self>() + self.name.len() + more) as u32
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.account.release(node.cost());
        }
    }
}
