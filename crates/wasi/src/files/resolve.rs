//! From a path to a node.
//!
//! A path starts at a directory that is open and never leaves it by `..`: that fails with EPERM, as in wasmtime, and so does an
//! absolute path. The target of a symbolic link may be absolute; it then starts at the root of the container, which is what images
//! mean by it. The directories on the way are kept on a stack, so that `..` leaves a mount where it was entered.

use alloc::string::String;
use alloc::vec::Vec;

use super::{FileSystem, Kind, NodeId};
use crate::errno::Errno;

/// A directory, and how it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The directory.
    pub(crate) directory: NodeId,
    /// Nothing below can be changed.
    pub(crate) read_only: bool,
    /// The root of the volume that it is in.
    pub(crate) volume: NodeId,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory of the last name.
    pub(crate) parent: Base,
    /// The last name; empty if the path ends in the directory where it started or in `..`.
    pub(crate) name: String,
    /// What has the name: a symbolic link only if it was not to be followed.
    pub(crate) node: Option<NodeId>,
    /// How `node` is reached: it may be the root of a mount.
    pub(crate) read_only: bool,
    /// The volume of `node`.
    pub(crate) volume: NodeId,
    /// The path ends with a slash.
    pub(crate) as_directory: bool,
    /// A volume is mounted here.
    pub(crate) is_mount: bool,
}

impl FileSystem {
    /// Resolves `path` from the directory `base`, in the container whose root is `root`. The last name may not exist.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `NotPermitted` if it would leave `base`, `Loop`, `NameTooLong`, `NoMemory`.
    pub(crate) fn resolve(&self, root: Base, base: Base, path: &str, follow: bool) -> Result<Place, Errno> {
        if path.is_empty() {
            return Err(Errno::NotFound);
        }
        if path.starts_with('/') {
            return Err(Errno::NotPermitted);
        }
        let mut rest = String::new();
        self.prepend(&mut rest, path)?;
        let mut stack = Vec::new();
        push(&mut stack, base)?;
        let mut links = self.limits.links;
        loop {
            let name_at = rest.len() - rest.trim_start_matches('/').len();
            let after = rest.get(name_at..).unwrap_or_default();
            let name = after.split('/').next().unwrap_or_default();
            if name.len() > usize::from(self.limits.name) {
                return Err(Errno::NameTooLong);
            }
            let end = name_at + name.len();
            let tail = rest.get(end..).unwrap_or_default();
            let last = tail.bytes().all(|byte| byte == b'/');
            let as_directory = !tail.is_empty();
            let top = stack.last().copied().unwrap_or(base);
            match name {
                // Only at the end: slashes were skipped.
                "" => return Ok(whole(top, as_directory)),
                "." => {}
                ".." => {
                    if stack.len() < 2 {
                        return Err(Errno::NotPermitted);
                    }
                    stack.pop();
                }
                _ => {
                    let Some(child) = self.child(top.directory, name) else {
                        if last {
                            return Ok(Place {
                                name: name.into(),
                                node: None,
                                as_directory,
                                ..whole(top, as_directory)
                            });
                        }
                        return Err(Errno::NotFound);
                    };
                    let mut reached = Base {
                        directory: child,
                        ..top
                    };
                    let mut is_mount = false;
                    if let Kind::Mount { target, read_only } = self.node(child).kind {
                        is_mount = true;
                        reached = Base {
                            directory: target,
                            read_only,
                            volume: target,
                        };
                    }
                    match &self.node(reached.directory).kind {
                        Kind::Link(target) if !last || follow || as_directory => {
                            links = links.checked_sub(1).ok_or(Errno::Loop)?;
                            if target.starts_with('/') {
                                stack.clear();
                                push(&mut stack, root)?;
                            }
                            rest.drain(..end);
                            self.prepend(&mut rest, target)?;
                            continue;
                        }
                        Kind::Directory if !last => push(&mut stack, reached)?,
                        Kind::Directory => {}
                        _ if !last || as_directory => return Err(Errno::NotDirectory),
                        _ => {}
                    }
                    if last {
                        return Ok(Place {
                            parent: top,
                            name: name.into(),
                            node: Some(reached.directory),
                            read_only: reached.read_only,
                            volume: reached.volume,
                            as_directory,
                            is_mount,
                        });
                    }
                }
            }
            rest.drain(..end);
        }
    }

    /// Puts `path` before what is left of one.
    fn prepend(&self, rest: &mut String, path: &str) -> Result<(), Errno> {
        if rest.len() + path.len() > usize::from(self.limits.path) {
            return Err(Errno::NameTooLong);
        }
        rest.try_reserve(path.len()).map_err(|_| Errno::NoMemory)?;
        rest.insert_str(0, path);
        Ok(())
    }
}

/// The directory itself, by a path that does not name it in the one above.
fn whole(directory: Base, as_directory: bool) -> Place {
    Place {
        parent: directory,
        name: String::new(),
        node: Some(directory.directory),
        read_only: directory.read_only,
        volume: directory.volume,
        as_directory,
        is_mount: false,
    }
}

fn push(stack: &mut Vec<Base>, base: Base) -> Result<(), Errno> {
    stack.try_reserve(1).map_err(|_| Errno::NoMemory)?;
    stack.push(base);
    Ok(())
}
