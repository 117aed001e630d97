//! The 46 functions of WASI preview 1.

use super::{Signature, find};

/// The module that guests import them from.
pub const MODULE: &str = "wasi_snapshot_preview1";

functions! {
    /// A function of WASI preview 1.
    ArgsGet = "args_get"("ii"),
    ArgsSizesGet = "args_sizes_get"("ii"),
    ClockResGet = "clock_res_get"("ii"),
    ClockTimeGet = "clock_time_get"("iIi"),
    EnvironGet = "environ_get"("ii"),
    EnvironSizesGet = "environ_sizes_get"("ii"),
    FdAdvise = "fd_advise"("iIIi"),
    FdAllocate = "fd_allocate"("iII"),
    FdClose = "fd_close"("i"),
    FdDatasync = "fd_datasync"("i"),
    FdFdstatGet = "fd_fdstat_get"("ii"),
    FdFdstatSetFlags = "fd_fdstat_set_flags"("ii"),
    FdFdstatSetRights = "fd_fdstat_set_rights"("iII"),
    FdFilestatGet = "fd_filestat_get"("ii"),
    FdFilestatSetSize = "fd_filestat_set_size"("iI"),
    FdFilestatSetTimes = "fd_filestat_set_times"("iIIi"),
    FdPread = "fd_pread"("iiiIi"),
    FdPrestatDirName = "fd_prestat_dir_name"("iii"),
    FdPrestatGet = "fd_prestat_get"("ii"),
    FdPwrite = "fd_pwrite"("iiiIi"),
    FdRead = "fd_read"("iiii"),
    FdReaddir = "fd_readdir"("iiiIi"),
    FdRenumber = "fd_renumber"("ii"),
    FdSeek = "fd_seek"("iIii"),
    FdSync = "fd_sync"("i"),
    FdTell = "fd_tell"("ii"),
    FdWrite = "fd_write"("iiii"),
    PathCreateDirectory = "path_create_directory"("iii"),
    PathFilestatGet = "path_filestat_get"("iiiii"),
    PathFilestatSetTimes = "path_filestat_set_times"("iiiiIIi"),
    PathLink = "path_link"("iiiiiii"),
    PathOpen = "path_open"("iiiiiIIii"),
    PathReadlink = "path_readlink"("iiiiii"),
    PathRemoveDirectory = "path_remove_directory"("iii"),
    PathRename = "path_rename"("iiiiii"),
    PathSymlink = "path_symlink"("iiiii"),
    PathUnlinkFile = "path_unlink_file"("iii"),
    PollOneoff = "poll_oneoff"("iiii"),
    ProcExit = "proc_exit"("i"),
    ProcRaise = "proc_raise"("i"),
    RandomGet = "random_get"("ii"),
    SchedYield = "sched_yield"(""),
    SockAccept = "sock_accept"("iii"),
    SockRecv = "sock_recv"("iiiiii"),
    SockSend = "sock_send"("iiiii"),
    SockShutdown = "sock_shutdown"("ii"),
}

impl Function {
    /// Its type.
    #[must_use]
    pub fn signature(self) -> Signature {
        let (name, parameters) = self.row();
        Signature {
            name,
            parameters,
            returns: self != Self::ProcExit,
        }
    }
}
