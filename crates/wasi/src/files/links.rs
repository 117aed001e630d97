//! Names: create, remove, rename, list, open.

use alloc::boxed::Box;

use super::tree::Attributes;
use super::{Base, FileSystem, FileType, Kind, NodeId, Place};
use crate::errno::Errno;

/// An entry of a directory.
pub(crate) struct Entry<'a> {
    /// Where to go on after it.
    pub(crate) next: u64,
    pub(crate) inode: u64,
    pub(crate) file_type: FileType,
    pub(crate) name: &'a str,
}

impl FileSystem {
    /// Creates an empty file or a directory.
    pub(crate) fn create(
        &mut self,
        place: &Place,
        directory: bool,
        owner: u8,
        now: u64,
    ) -> Result<NodeId, Errno> {
        if place.node.is_some() {
            return Err(Errno::Exists);
        }
        self.writable(place)?;
        let (kind, mode) = if directory {
            (Kind::Directory, 0o755)
        } else {
            (Kind::Ram(alloc::vec::Vec::new()), 0o644)
        };
        let attributes = Attributes {
            mode,
            owner,
            modified: now,
        };
        let node = self.insert(place.parent.directory, &place.name, kind, attributes)?;
        self.touch(place.parent.directory, now);
        Ok(node)
    }

    /// Removes a name, of a file or of an empty directory.
    pub(crate) fn unlink(&mut self, place: &Place, directory: bool, now: u64) -> Result<(), Errno> {
        let node = place.node.ok_or(Errno::NotFound)?;
        let is_directory = matches!(self.node(node).kind, Kind::Directory);
        if is_directory != directory {
            return Err(if directory {
                Errno::NotDirectory
            } else {
                Errno::IsDirectory
            });
        }
        if place.is_mount {
            return Err(Errno::Busy);
        }
        if place.name.is_empty() {
            return Err(Errno::Invalid);
        }
        self.writable(place)?;
        if directory && !self.is_empty(node) {
            return Err(Errno::NotEmpty);
        }
        self.detach(node);
        self.touch(place.parent.directory, now);
        Ok(())
    }

    /// Renames; what had the new name is replaced if it is of the same kind, a directory only if it is empty.
    pub(crate) fn rename(&mut self, from: &Place, to: &Place, now: u64) -> Result<(), Errno> {
        let node = from.node.ok_or(Errno::NotFound)?;
        if from.is_mount || to.is_mount {
            return Err(Errno::Busy);
        }
        if from.name.is_empty() || to.name.is_empty() {
            return Err(Errno::Invalid);
        }
        self.writable(from)?;
        self.writable(to)?;
        if from.parent.volume != to.parent.volume {
            return Err(Errno::CrossDevice);
        }
        let directory = matches!(self.node(node).kind, Kind::Directory);
        if to.as_directory && !directory {
            return Err(Errno::NotDirectory);
        }
        if directory && self.is_within(to.parent.directory, node) {
            return Err(Errno::Invalid);
        }
        if let Some(old) = to.node {
            if old == node {
                return Ok(());
            }
            match (directory, matches!(self.node(old).kind, Kind::Directory)) {
                (true, false) => return Err(Errno::NotDirectory),
                (false, true) => return Err(Errno::IsDirectory),
                (true, true) if !self.is_empty(old) => return Err(Errno::NotEmpty),
                _ => {}
            }
        }
        let name: Box<str> = to.name.as_str().into();
        let (more, less) = (name.len(), from.name.len());
        if more > less && !self.account.charge((more - less) as u32) {
            return Err(Errno::NoSpace);
        }
        if let Some(old) = to.node {
            self.detach(old);
        }
        if let Some(entry) = self.nodes.get_mut(usize::from(node.0)) {
            entry.name = name;
            entry.parent = to.parent.directory;
        }
        if less > more {
            self.account.release((less - more) as u32);
        }
        self.touch(from.parent.directory, now);
        self.touch(to.parent.directory, now);
        Ok(())
    }

    /// The target of a symbolic link.
    pub(crate) fn link_target(&self, node: NodeId) -> Option<&str> {
        match &self.node(node).kind {
            Kind::Link(target) => Some(target),
            _ => None,
        }
    }

    /// The entry of a directory at `cookie`, or the next one behind it. 0 is the first; entries stay where they are while others come
    /// and go.
    pub(crate) fn entry(&self, directory: Base, cookie: u64) -> Option<Entry<'_>> {
        if let Some(name) = [".", ".."].get(usize::try_from(cookie).ok()?) {
            return Some(Entry {
                next: cookie + 1,
                inode: self.stat(directory.directory).inode,
                file_type: FileType::Directory,
                name,
            });
        }
        let start = usize::try_from(cookie - 2).ok()?;
        let mut nodes = self.nodes.iter().enumerate().skip(start);
        let (index, node) = nodes.find(|(_, node)| node.parent == directory.directory && !node.is_free())?;
        let mut id = NodeId(u16::try_from(index).ok()?);
        if let Kind::Mount { target, .. } = node.kind {
            id = target;
        }
        let stat = self.stat(id);
        Some(Entry {
            next: index as u64 + 3,
            inode: stat.inode,
            file_type: stat.file_type,
            name: &node.name,
        })
    }

    /// Counts a descriptor on a node.
    pub(crate) fn open(&mut self, id: NodeId) -> Result<(), Errno> {
        let node = self.nodes.get_mut(usize::from(id.0)).ok_or(Errno::NotFound)?;
        node.opens = node.opens.checked_add(1).ok_or(Errno::TooManyDescriptors)?;
        Ok(())
    }

    /// Counts a descriptor less; frees a node that is not in the tree any more with the last.
    pub(crate) fn close(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(usize::from(id.0)) {
            node.opens = node.opens.saturating_sub(1);
            if node.opens == 0 && node.parent == NodeId::NONE {
                self.free(id);
            }
        }
    }

    /// The bytes of a shared object as they are now.
    pub(crate) fn object(&self, id: NodeId) -> Option<alloc::rc::Rc<[u8]>> {
        match &self.node(id).kind {
            Kind::Object(object) => Some(object.bytes()),
            _ => None,
        }
    }

    /// Whether names can be created and removed in the directory of `place`.
    fn writable(&self, place: &Place) -> Result<(), Errno> {
        if place.parent.read_only {
            return Err(Errno::ReadOnly);
        }
        if self.node(place.parent.directory).parent == NodeId::NONE {
            return Err(Errno::NotFound);
        }
        Ok(())
    }

    fn is_empty(&self, directory: NodeId) -> bool {
        !self
            .nodes
            .iter()
            .any(|node| node.parent == directory && !node.is_free())
    }

    /// Whether `node` is `directory` or below it.
    fn is_within(&self, node: NodeId, directory: NodeId) -> bool {
        let mut node = node;
        for _ in 0..self.nodes.len() {
            if node == directory {
                return true;
            }
            node = self.node(node).parent;
        }
        false
    }

    /// Notes that a directory changed.
    fn touch(&mut self, directory: NodeId, now: u64) {
        if let Some(node) = self.nodes.get_mut(usize::from(directory.0)) {
            node.modified = now;
        }
    }
}
