//! Error numbers of WASI preview 1.

/// Why a call failed, as `errno` of `wasi_snapshot_preview1.witx`. Success is 0 and has no variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Errno {
    /// E2BIG: the list of arguments is too long.
    TooBig = 1,
    /// EACCES: permission denied.
    Access = 2,
    /// EAGAIN: the call would block.
    Again = 6,
    /// EBADF: no such descriptor, or not one for this call.
    BadDescriptor = 8,
    /// EBUSY: in use by someone else.
    Busy = 10,
    /// ECONNABORTED.
    ConnectionAborted = 13,
    /// ECONNREFUSED.
    ConnectionRefused = 14,
    /// ECONNRESET.
    ConnectionReset = 15,
    /// EEXIST.
    Exists = 20,
    /// EFAULT: an address outside of the guest's memory.
    Fault = 21,
    /// EFBIG: a file would grow beyond 4 GiB.
    FileTooBig = 22,
    /// EHOSTUNREACH.
    HostUnreachable = 23,
    /// EILSEQ: a path is not UTF-8.
    IllegalSequence = 25,
    /// EINVAL.
    Invalid = 28,
    /// EIO.
    Io = 29,
    /// EISDIR.
    IsDirectory = 31,
    /// ELOOP: too many symbolic links.
    Loop = 32,
    /// EMFILE: too many descriptors.
    TooManyDescriptors = 33,
    /// ENAMETOOLONG.
    NameTooLong = 37,
    /// ENODEV.
    NoDevice = 43,
    /// ENOENT.
    NotFound = 44,
    /// ENOMEM.
    NoMemory = 48,
    /// ENOSPC: the byte or file limit of the file system is reached.
    NoSpace = 51,
    /// ENOSYS: not implemented.
    NotImplemented = 52,
    /// ENOTCONN.
    NotConnected = 53,
    /// ENOTDIR.
    NotDirectory = 54,
    /// ENOTEMPTY.
    NotEmpty = 55,
    /// ENOTSOCK.
    NotSocket = 57,
    /// ENOTSUP.
    NotSupported = 58,
    /// ENXIO: no such device or address.
    NoSuchAddress = 60,
    /// EOVERFLOW.
    Overflow = 61,
    /// EPERM.
    NotPermitted = 63,
    /// EPIPE.
    Pipe = 64,
    /// ERANGE: a result does not fit.
    Range = 68,
    /// EROFS.
    ReadOnly = 69,
    /// ESPIPE: not seekable.
    NotSeekable = 70,
    /// ETIMEDOUT.
    TimedOut = 73,
    /// EXDEV: source and destination are on different volumes.
    CrossDevice = 75,
}
