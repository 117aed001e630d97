//! What an instance has, and what a call is.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Ref, RefCell, RefMut};

use crate::descriptors::{Descriptor, Descriptors, Limits, NONBLOCK, Stream, Target};
use crate::device::Device;
use crate::errno::Errno;
use crate::files::{Base, FileSystem, NodeId, Owner, Place};
use crate::functions::{picolet, preview1};
use crate::host::Host;
use crate::memory::{GuestMemory, write_u32, write_u64};
use crate::outcome::{Result, Stop, Wait};
use crate::strings::Strings;

/// Slots of the longest list of arguments, that of `path_open`.
pub(crate) const SLOTS: usize = 11;

/// The longest path that is copied from guest memory, whatever the file system takes.
const LONGEST_PATH: u32 = 4_096;

/// A function of either module.
#[derive(Clone, Copy)]
pub(crate) enum Callee {
    Wasi(preview1::Function),
    Picolet(picolet::Function),
}

/// A call that waits.
pub(crate) struct Pending {
    pub(crate) callee: Callee,
    pub(crate) slots: [u32; SLOTS],
    pub(crate) since: u64,
    pub(crate) done: u32,
}

/// A call while it runs.
pub(crate) struct Call<'c> {
    pub(crate) slots: [u32; SLOTS],
    pub(crate) memory: &'c mut dyn GuestMemory,
    pub(crate) host: &'c Host<'c>,
    /// It was suspended before.
    pub(crate) resumed: bool,
    /// Monotonic time at which a call that waits was made.
    pub(crate) since: u64,
    /// How far a call is that is done in steps.
    pub(crate) done: u32,
    /// What it waits for when it stops with [`Stop::Wait`].
    pub(crate) wait: Wait,
    /// What it returns if it succeeds.
    pub(crate) value: u32,
}

impl<'c> Call<'c> {
    /// The device that the instance runs on.
    pub(crate) fn device(&self) -> Result<&'c Device<'c>> {
        Ok(self.host.device.ok_or(Errno::NoDevice)?)
    }

    /// Stops until `wait` is over.
    pub(crate) fn suspend(&mut self, wait: Wait) -> Stop {
        self.wait = wait;
        Stop::Wait
    }

    /// Stops with an errno of a host part: EAGAIN suspends unless the guest asked for it.
    pub(crate) fn stop(&mut self, descriptor: &Descriptor, errno: Errno) -> Stop {
        if errno == Errno::Again && !descriptor.has(NONBLOCK) {
            return self.suspend(Wait::on(descriptor.interest()));
        }
        Stop::Errno(errno)
    }

    /// A 32-bit argument, by its slot.
    pub(crate) fn slot(&self, index: usize) -> u32 {
        self.slots.get(index).copied().unwrap_or(0)
    }

    /// A 64-bit argument, by its first slot.
    pub(crate) fn long(&self, index: usize) -> u64 {
        u64::from(self.slot(index)) | u64::from(self.slot(index + 1)) << 32
    }

    /// The time of day that files are modified at.
    #[inline(never)]
    pub(crate) fn now(&self) -> u64 {
        self.host.clock.realtime().unwrap_or(0)
    }

    /// Writes a result to the address in a slot.
    #[inline(never)]
    pub(crate) fn put_u32(&mut self, slot: usize, value: u32) -> Result {
        let address = self.slot(slot);
        Ok(write_u32(self.memory, address, value)?)
    }

    /// Writes a result of 64 bits, as [`Self::put_u32`].
    #[inline(never)]
    pub(crate) fn put_u64(&mut self, slot: usize, value: u64) -> Result {
        let address = self.slot(slot);
        Ok(write_u64(self.memory, address, value)?)
    }

    /// A path or another text in guest memory, by the slots of its address and length.
    pub(crate) fn text(&mut self, index: usize) -> Result<String> {
        let (address, length) = (self.slot(index), self.slot(index + 1));
        if length > LONGEST_PATH {
            return Err(Errno::NameTooLong.into());
        }
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(length as usize)
            .map_err(|_| Errno::NoMemory)?;
        bytes.resize(length as usize, 0);
        self.memory.copy_out(address, &mut bytes)?;
        if bytes.contains(&0) {
            return Err(Errno::Invalid.into());
        }
        String::from_utf8(bytes).map_err(|_| Errno::IllegalSequence.into())
    }
}

/// What an instance has of WASI: descriptors, arguments, environment, and the file system that it shares with its pod.
///
/// [`Wasi::close`] must be called when the instance ends.
pub struct Wasi {
    pub(crate) files: Rc<RefCell<FileSystem>>,
    pub(crate) root: Base,
    pub(crate) owner: Owner,
    pub(crate) descriptors: Descriptors,
    pub(crate) arguments: Rc<Strings>,
    pub(crate) environment: Rc<Strings>,
    pub(crate) limits: Limits,
    pub(crate) pending: Option<Pending>,
}

impl Wasi {
    /// An instance whose descriptors 0 to 2 are the standard streams and 3 is `root`, a directory of `files`, which the guest sees as `/`.
    /// `read_only` forbids changes in the root but not in volumes that are mounted there. Files that it creates belong to `owner`.
    ///
    /// # Errors
    /// `TooManyDescriptors` if `limits` has no room for four, `NoMemory`.
    pub fn new(
        files: Rc<RefCell<FileSystem>>,
        root: NodeId,
        read_only: bool,
        owner: Owner,
        limits: Limits,
    ) -> core::result::Result<Self, Errno> {
        let root = Base {
            directory: root,
            read_only,
            volume: root,
        };
        let mut descriptors = Descriptors::new(limits.descriptors);
        descriptors.insert(Descriptor::new(Target::Input, true, false))?;
        descriptors.insert(Descriptor::new(Target::Output(Stream::Output), false, true))?;
        descriptors.insert(Descriptor::new(Target::Output(Stream::Error), false, true))?;
        let mut preopen = Descriptor::new(Target::Directory(root), true, false);
        preopen.preopened = true;
        files.borrow_mut().open(root.directory)?;
        descriptors.insert(preopen)?;
        Ok(Self {
            files,
            root,
            owner,
            descriptors,
            arguments: Rc::new(Strings::new()),
            environment: Rc::new(Strings::new()),
            limits,
            pending: None,
        })
    }

    /// Sets the arguments, the name of the program included, and the environment.
    pub fn set_strings(&mut self, arguments: Rc<Strings>, environment: Rc<Strings>) {
        self.arguments = arguments;
        self.environment = environment;
    }

    /// Opens a listener of [`crate::Sockets`] before the instance starts, and returns its descriptor: 4 for the first.
    ///
    /// # Errors
    /// `TooManyDescriptors`, `NoMemory`.
    pub fn add_listener(&mut self, listener: u8) -> core::result::Result<u32, Errno> {
        let target = Target::Listener(listener);
        self.descriptors.insert(Descriptor::new(target, true, false))
    }

    /// The file system, to read.
    #[inline(never)]
    pub(crate) fn files(&self) -> Ref<'_, FileSystem> {
        self.files.borrow()
    }

    /// The file system, to change.
    #[inline(never)]
    pub(crate) fn files_mut(&self) -> RefMut<'_, FileSystem> {
        self.files.borrow_mut()
    }

    /// Resolves the path whose directory is in slot `base`, and whose address and length are in `path` and the next.
    pub(crate) fn resolve(
        &self,
        call: &mut Call<'_>,
        base: usize,
        path: usize,
        follow: bool,
    ) -> Result<Place> {
        let base = match self.descriptors.get(call.slot(base))?.target {
            Target::Directory(base) => base,
            Target::File(_) | Target::Object(..) => return Err(Errno::NotDirectory.into()),
            _ => return Err(Errno::BadDescriptor.into()),
        };
        let path = call.text(path)?;
        Ok(self.files().resolve(self.root, base, &path, follow)?)
    }
}
