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
use crate::outcome::{Outcome, Result, Stop};
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
        };
        let result = match pending.callee {
            Callee::Wasi(function) => self.dispatch(function, &mut call).map(|()| 0),
            Callee::Picolet(function) => picolet::dispatch(self, function, &mut call),
        };
        match result {
            Ok(value) => Outcome::Return(value),
            Err(Stop::Errno(errno)) => Outcome::Return(errno as u32),
            Err(Stop::Exit(code)) => Outcome::Exit(code),
            Err(Stop::OutOfMemory) => Outcome::OutOfMemory,
            Err(Stop::Wait(wait)) => {
                self.pending = Some(Pending {
                    callee: pending.callee,
                    slots: call.slots,
                    since: call.since,
                    done: call.done,
                });
                Outcome::Suspend(wait)
            }
        }
    }

    fn dispatch(&mut self, function: Function, call: &mut Call<'_>) -> Result {
        match function {
            Function::ArgsGet => self.args_get(call),
            Function::ArgsSizesGet => self.args_sizes_get(call),
            Function::EnvironGet => self.environ_get(call),
            Function::EnvironSizesGet => self.environ_sizes_get(call),
            Function::ClockResGet => clock::clock_res_get(call),
            Function::ClockTimeGet => clock::clock_time_get(call),
            Function::FdAdvise | Function::FdDatasync | Function::FdSync | Function::FdFdstatSetRights => {
                Ok(self.descriptors.get(call.slot(0)).map(|_| ())?)
            }
            Function::FdAllocate
            | Function::FdFilestatSetTimes
            | Function::PathFilestatSetTimes
            | Function::PathLink
            | Function::PathSymlink => Err(Errno::NotSupported.into()),
            Function::FdClose => self.fd_close(call),
            Function::FdFdstatGet => self.fd_fdstat_get(call),
            Function::FdFdstatSetFlags => self.fd_fdstat_set_flags(call),
            Function::FdFilestatGet => self.fd_filestat_get(call),
            Function::FdFilestatSetSize => self.fd_filestat_set_size(call),
            Function::FdPread => self.fd_pread(call),
            Function::FdPrestatDirName => self.fd_prestat_dir_name(call),
            Function::FdPrestatGet => self.fd_prestat_get(call),
            Function::FdPwrite => self.fd_pwrite(call),
            Function::FdRead => self.fd_read(call),
            Function::FdReaddir => self.fd_readdir(call),
            Function::FdRenumber => self.fd_renumber(call),
            Function::FdSeek => self.fd_seek(call),
            Function::FdTell => self.fd_tell(call),
            Function::FdWrite => self.fd_write(call),
            Function::PathCreateDirectory => self.path_create_directory(call),
            Function::PathFilestatGet => self.path_filestat_get(call),
            Function::PathOpen => self.path_open(call),
            Function::PathReadlink => self.path_readlink(call),
            Function::PathRemoveDirectory => self.path_remove_directory(call),
            Function::PathRename => self.path_rename(call),
            Function::PathUnlinkFile => self.path_unlink_file(call),
            Function::PollOneoff => self.poll_oneoff(call),
            Function::ProcExit => Err(Stop::Exit(call.slot(0))),
            Function::ProcRaise => Err(Errno::NotImplemented.into()),
            Function::RandomGet => self.random_get(call),
            Function::SchedYield => process::sched_yield(call),
            Function::SockAccept => self.sock_accept(call),
            Function::SockRecv => self.sock_recv(call),
            Function::SockSend => self.sock_send(call),
            Function::SockShutdown => self.sock_shutdown(call),
        }
    }

    /// Gives back what a descriptor held.
    fn release(&self, descriptor: &Descriptor, host: &Host<'_>) {
        match descriptor.target {
            Target::Directory(Base { directory: node, .. })
            | Target::File(node)
            | Target::Object(node, _) => {
                self.files.borrow_mut().close(node);
            }
            Target::Listener(socket) | Target::Socket(socket) => host.sockets.close(socket),
            Target::Pin(watch) => picolet::unwatch(watch, host),
            Target::Input | Target::Output(_) | Target::Signals => {}
        }
    }
}
