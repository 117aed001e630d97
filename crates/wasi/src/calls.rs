//! The calls of WASI preview 1, by the group that their names begin with.

mod clock;
mod descriptor;
mod path;
mod poll;
mod process;
mod socket;
mod transfer;

use crate::context::{Call, Callee, Pending, SLOTS, Wasi};
use crate::descriptors::{Descriptor, Target};
use crate::errno::Errno;
use crate::files::Base;
use crate::functions::preview1::Function;
use crate::host::Host;
use crate::memory::GuestMemory;
use crate::outcome::{Outcome, Result, Stop, Wait};
use crate::picolet;

impl Wasi {
    /// Calls a function of WASI. `arguments` has a slot of 32 bits for each i32 and two for each i64, the lower half first; what is
    /// missing counts as 0.
    pub fn call(
        &mut self,
        function: Function,
        arguments: &[u32],
        memory: &mut dyn GuestMemory,
        host: &Host<'_>,
    ) -> Outcome {
        self.start(Callee::Wasi(function), arguments, memory, host)
    }

    /// Calls a function of the `picolet` module, as [`Self::call`].
    pub fn call_picolet(
        &mut self,
        function: picolet::Function,
        arguments: &[u32],
        memory: &mut dyn GuestMemory,
        host: &Host<'_>,
    ) -> Outcome {
        self.start(Callee::Picolet(function), arguments, memory, host)
    }

    /// Goes on with the call that was suspended. Without one it returns 0.
    pub fn resume(&mut self, memory: &mut dyn GuestMemory, host: &Host<'_>) -> Outcome {
        let Some(pending) = self.pending.take() else {
            return Outcome::Return(0);
        };
        self.run(pending, true, memory, host)
    }

    /// Closes all descriptors and ends a call that was suspended: the instance has ended.
    pub fn close(&mut self, host: &Host<'_>) {
        if let Some(pending) = self.pending.take()
            && let Callee::Picolet(function) = pending.callee
            && pending.done > 0
        {
            picolet::abandon(function, &pending.slots, host);
        }
        while let Some(descriptor) = self.descriptors.pop() {
            self.release(&descriptor, host);
        }
    }

    fn start(
        &mut self,
        callee: Callee,
        arguments: &[u32],
        memory: &mut dyn GuestMemory,
        host: &Host<'_>,
    ) -> Outcome {
        let mut slots = [0; SLOTS];
        slots
            .iter_mut()
            .zip(arguments)
            .for_each(|(slot, argument)| *slot = *argument);
        let call = Pending {
            callee,
            slots,
            since: 0,
            done: 0,
        };
        self.run(call, false, memory, host)
    }

    fn run(
        &mut self,
        pending: Pending,
        resumed: bool,
        memory: &mut dyn GuestMemory,
        host: &Host<'_>,
    ) -> Outcome {
        let mut call = Call {
            slots: pending.slots,
            memory,
            host,
            resumed,
            since: pending.since,
            done: pending.done,
            wait: Wait::YIELD,
            value: 0,
        };
        let result = match pending.callee {
            Callee::Wasi(function) => self.dispatch(function, &mut call),
            Callee::Picolet(function) => picolet::dispatch(self, function, &mut call),
        };
        match result {
            Ok(()) => Outcome::Return(call.value),
            Err(Stop::Errno(errno)) => Outcome::Return(errno as u32),
            Err(Stop::Exit) => Outcome::Exit(call.slot(0)),
            Err(Stop::OutOfMemory) => Outcome::OutOfMemory,
            Err(Stop::Wait) => {
                self.pending = Some(Pending {
                    callee: pending.callee,
                    slots: call.slots,
                    since: call.since,
                    done: call.done,
                });
                Outcome::Suspend(call.wait)
            }
        }
    }

    fn dispatch(&mut self, function: Function, call: &mut Call<'_>) -> Result {
        // A table of addresses: no call is compiled into another, whose frame it would be in.
        let handler: fn(&mut Self, &mut Call<'_>) -> Result = match function {
            Function::ArgsGet => Self::args_get,
            Function::ArgsSizesGet => Self::args_sizes_get,
            Function::EnvironGet => Self::environ_get,
            Function::EnvironSizesGet => Self::environ_sizes_get,
            Function::ClockResGet => Self::clock_res_get,
            Function::ClockTimeGet => Self::clock_time_get,
            Function::FdAdvise | Function::FdDatasync | Function::FdSync | Function::FdFdstatSetRights => {
                Self::nothing
            }
            Function::FdAllocate
            | Function::FdFilestatSetTimes
            | Function::PathFilestatSetTimes
            | Function::PathLink
            | Function::PathSymlink => Self::not_supported,
            Function::FdClose => Self::fd_close,
            Function::FdFdstatGet => Self::fd_fdstat_get,
            Function::FdFdstatSetFlags => Self::fd_fdstat_set_flags,
            Function::FdFilestatGet => Self::fd_filestat_get,
            Function::FdFilestatSetSize => Self::fd_filestat_set_size,
            Function::FdPread => Self::fd_pread,
            Function::FdPrestatDirName => Self::fd_prestat_dir_name,
            Function::FdPrestatGet => Self::fd_prestat_get,
            Function::FdPwrite => Self::fd_pwrite,
            Function::FdRead => Self::fd_read,
            Function::FdReaddir => Self::fd_readdir,
            Function::FdRenumber => Self::fd_renumber,
            Function::FdSeek => Self::fd_seek,
            Function::FdTell => Self::fd_tell,
            Function::FdWrite => Self::fd_write,
            Function::PathCreateDirectory => Self::path_create_directory,
            Function::PathFilestatGet => Self::path_filestat_get,
            Function::PathOpen => Self::path_open,
            Function::PathReadlink => Self::path_readlink,
            Function::PathRemoveDirectory => Self::path_remove_directory,
            Function::PathRename => Self::path_rename,
            Function::PathUnlinkFile => Self::path_unlink_file,
            Function::PollOneoff => Self::poll_oneoff,
            Function::ProcExit => Self::proc_exit,
            Function::ProcRaise => Self::not_implemented,
            Function::RandomGet => Self::random_get,
            Function::SchedYield => Self::sched_yield,
            Function::SockAccept => Self::sock_accept,
            Function::SockRecv => Self::sock_recv,
            Function::SockSend => Self::sock_send,
            Function::SockShutdown => Self::sock_shutdown,
        };
        handler(self, call)
    }

    /// A hint that changes nothing, of a descriptor that is open.
    fn nothing(&mut self, call: &mut Call<'_>) -> Result {
        self.descriptors.get(call.slot(0))?;
        Ok(())
    }

    fn not_supported(&mut self, _: &mut Call<'_>) -> Result {
        Err(Errno::NotSupported.into())
    }

    fn not_implemented(&mut self, _: &mut Call<'_>) -> Result {
        Err(Errno::NotImplemented.into())
    }

    fn proc_exit(&mut self, _: &mut Call<'_>) -> Result {
        Err(Stop::Exit)
    }

    /// Gives back what a descriptor held.
    fn release(&self, descriptor: &Descriptor, host: &Host<'_>) {
        match descriptor.target {
            Target::Directory(Base { directory: node, .. })
            | Target::File(node)
            | Target::Object(node, _) => {
                self.files_mut().close(node);
            }
            Target::Listener(socket) | Target::Socket(socket) => host.sockets.close(socket),
            Target::Pin(watch) => picolet::unwatch(watch, host),
            Target::Input | Target::Output(_) | Target::Signals => {}
        }
    }
}
