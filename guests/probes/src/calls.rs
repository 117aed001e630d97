//! Calls of WASI as they are, for what the standard library never asks for.

use std::io;

use crate::Program;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_res_get(id: u32, result: *mut u64) -> i32;
    fn clock_time_get(id: u32, precision: u64, result: *mut u64) -> i32;
    fn fd_advise(fd: u32, offset: u64, length: u64, advice: u32) -> i32;
    fn fd_close(fd: u32) -> i32;
    fn fd_fdstat_get(fd: u32, result: *mut [u8; 24]) -> i32;
    fn fd_fdstat_set_flags(fd: u32, flags: u32) -> i32;
    fn fd_filestat_get(fd: u32, result: *mut [u8; 64]) -> i32;
    fn fd_filestat_set_size(fd: u32, size: u64) -> i32;
    fn fd_pread(fd: u32, vectors: *const Vector, count: u32, offset: u64, result: *mut u32) -> i32;
    fn fd_prestat_dir_name(fd: u32, path: *mut u8, length: u32) -> i32;
    fn fd_prestat_get(fd: u32, result: *mut [u32; 2]) -> i32;
    fn fd_pwrite(fd: u32, vectors: *const Vector, count: u32, offset: u64, result: *mut u32) -> i32;
    fn fd_read(fd: u32, vectors: *const Vector, count: u32, result: *mut u32) -> i32;
    fn fd_readdir(fd: u32, buffer: *mut u8, length: u32, cookie: u64, result: *mut u32) -> i32;
    fn fd_renumber(fd: u32, to: u32) -> i32;
    fn fd_seek(fd: u32, offset: i64, whence: u32, result: *mut u64) -> i32;
    fn fd_sync(fd: u32) -> i32;
    fn fd_tell(fd: u32, result: *mut u64) -> i32;
    fn fd_write(fd: u32, vectors: *const Vector, count: u32, result: *mut u32) -> i32;
    fn path_filestat_get(fd: u32, flags: u32, path: *const u8, length: u32, result: *mut [u8; 64]) -> i32;
    fn path_open(
        fd: u32,
        lookup: u32,
        path: *const u8,
        length: u32,
        open: u32,
        rights: u64,
        inheriting: u64,
        flags: u32,
        result: *mut u32,
    ) -> i32;
    fn path_readlink(
        fd: u32,
        path: *const u8,
        length: u32,
        buffer: *mut u8,
        size: u32,
        used: *mut u32,
    ) -> i32;
    fn poll_oneoff(input: *const [u64; 6], output: *mut [u64; 4], count: u32, result: *mut u32) -> i32;
    fn random_get(buffer: *mut u8, length: u32) -> i32;
    fn sched_yield() -> i32;
    fn sock_shutdown(fd: u32, how: u32) -> i32;
}

#[repr(C)]
struct Vector {
    address: *const u8,
    length: u32,
}

const ROOT: u32 = 3;
const NONE: u32 = 99;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;

/// Opens a path relative to the root, following links.
fn open(path: &str, flags: u32, rights: u64) -> Result<u32, i32> {
    let mut fd = 0;
    // SAFETY: the path is borrowed for the call, and the result is a number.
    let errno = unsafe {
        path_open(
            ROOT,
            1,
            path.as_ptr(),
            path.len() as u32,
            flags,
            rights,
            0,
            0,
            &mut fd,
        )
    };
    if errno == 0 { Ok(fd) } else { Err(errno) }
}

/// A descriptor that must be there.
fn opened(path: &str, rights: u64) -> io::Result<u32> {
    open(path, 0, rights).map_err(io::Error::from_raw_os_error)
}

/// One vector over a buffer.
fn vector(buffer: &[u8]) -> Vector {
    Vector {
        address: buffer.as_ptr(),
        length: buffer.len() as u32,
    }
}

fn read(fd: u32) -> (i32, u32, [u8; 4]) {
    let mut buffer = [0; 4];
    let (mut count, address) = (0, buffer.as_mut_ptr());
    let vector = Vector { address, length: 4 };
    // SAFETY: the buffer is this function's.
    let errno = unsafe { fd_read(fd, &vector, 1, &mut count) };
    (errno, count, buffer)
}

fn write(fd: u32, bytes: &[u8]) -> (i32, u32) {
    let mut count = 0;
    // SAFETY: the bytes are borrowed for the call.
    let errno = unsafe { fd_write(fd, &vector(bytes), 1, &mut count) };
    (errno, count)
}

fn kind(fd: u32) -> (i32, u8) {
    let mut stat = [0; 64];
    // SAFETY: a filestat has 64 bytes.
    let errno = unsafe { fd_filestat_get(fd, &mut stat) };
    (errno, stat[16])
}

fn stat(fd: u32) -> (i32, u8, u16) {
    let mut stat = [0; 24];
    // SAFETY: an fdstat has 24 bytes.
    let errno = unsafe { fd_fdstat_get(fd, &mut stat) };
    (errno, stat[0], u16::from_le_bytes([stat[2], stat[3]]))
}

pub(crate) const PROGRAMS: [Program; 20] = [
    ("bad-descriptor", || {
        let mut number = 0;
        println!("{:?} {:?}", read(NONE), write(NONE, b"x"));
        // SAFETY: results are numbers of this function.
        unsafe {
            println!("{}", fd_close(NONE));
            println!("{}", fd_sync(NONE));
            println!("{}", fd_seek(NONE, 0, 0, &mut number));
            println!("{}", fd_tell(NONE, &mut number));
            println!("{}", fd_advise(NONE, 0, 0, 0));
            println!("{}", fd_filestat_set_size(NONE, 0));
        }
        println!("{:?} {:?}", kind(NONE), stat(NONE));
        Ok(())
    }),
    ("close-twice", || {
        let fd = opened("etc/text", READ)?;
        // SAFETY: it takes a number.
        println!("{} {}", unsafe { fd_close(fd) }, unsafe { fd_close(fd) });
        println!("{:?}", read(fd));
        Ok(())
    }),
    ("standard-streams", || {
        (0..3).for_each(|fd| println!("{:?}", stat(fd).0));
        let mut number = 0;
        for fd in 0..3 {
            // SAFETY: results are numbers of this function.
            unsafe {
                println!("{}", fd_seek(fd, 0, 1, &mut number));
                println!("{}", fd_tell(fd, &mut number));
                println!("{}", fd_filestat_set_size(fd, 0));
            }
        }
        println!("{:?} {:?}", read(1).0, write(0, b"x").0);
        Ok(())
    }),
    ("preopens", || {
        let (mut prestat, mut name) = ([0; 2], [0; 8]);
        for fd in [2, 3, 4] {
            // SAFETY: a prestat has 8 bytes.
            println!("{} {prestat:?}", unsafe { fd_prestat_get(fd, &mut prestat) });
        }
        // SAFETY: the buffer has the length that is said.
        unsafe {
            println!("{}", fd_prestat_dir_name(ROOT, name.as_mut_ptr(), 0));
            println!("{}", fd_prestat_dir_name(ROOT, name.as_mut_ptr(), 8));
            println!("{}", fd_prestat_dir_name(1, name.as_mut_ptr(), 8));
        }
        println!("{name:?}");
        Ok(())
    }),
    ("open-flags", || {
        for path in ["etc/text", "dir", "none", "link", "folder", "dangling", "loop"] {
            // Create, directory, exclusive, truncate.
            for flags in [0, 1, 2, 4, 5, 8, 9, 10] {
                if path == "dangling" && flags & 1 != 0 {
                    continue;
                }
                let fd = open(path, flags, READ | WRITE);
                println!("{path} {flags}: {:?}", fd.map(|_| ()));
                if path == "none" && fd.is_ok() {
                    std::fs::remove_file("/none")?;
                }
            }
        }
        Ok(())
    }),
    ("open-paths", || {
        for path in [
            "",
            ".",
            "..",
            "/",
            "/etc",
            "etc/",
            "etc/text\0",
            "dir/..",
            "etc/../../etc",
        ] {
            println!("{path:?}: {:?}", open(path, 0, READ).map(|_| ()));
        }
        Ok(())
    }),
    ("open-no-follow", || {
        for path in ["link", "folder", "loop", "etc/text", "folder/one"] {
            let mut fd = 0;
            // SAFETY: the path is borrowed for the call.
            let errno =
                unsafe { path_open(ROOT, 0, path.as_ptr(), path.len() as u32, 0, READ, 0, 0, &mut fd) };
            println!("{path}: {errno}");
        }
        Ok(())
    }),
    ("open-at-a-file", || {
        let file = opened("etc/text", READ)?;
        let mut fd = 0;
        for base in [file, 1, NONE] {
            // SAFETY: the path is borrowed for the call.
            println!("{}", unsafe {
                path_open(base, 0, "x".as_ptr(), 1, 0, READ, 0, 0, &mut fd)
            });
        }
        Ok(())
    }),
    ("at-offsets", || {
        let fd = opened("etc/text", READ | WRITE)?;
        let (mut count, mut buffer, mut position) = (0, [0; 4], 0);
        let into = Vector {
            address: buffer.as_mut_ptr(),
            length: 4,
        };
        // SAFETY: the buffer is this function's.
        unsafe {
            println!("{} {count}", fd_pread(fd, &into, 1, 7, &mut count));
            println!("{} {count}", fd_pread(fd, &into, 1, 11, &mut count));
            println!("{} {count}", fd_pread(fd, &into, 1, 100, &mut count));
            println!("{} {count}", fd_pwrite(fd, &vector(b"XY"), 1, 2, &mut count));
            println!("{} {count}", fd_pread(ROOT, &into, 1, 0, &mut count));
            println!("{} {count}", fd_pread(1, &into, 1, 0, &mut count));
            println!("{} {position}", fd_tell(fd, &mut position));
        }
        println!("{buffer:?} {:?}", read(fd));
        Ok(())
    }),
    ("seeks", || {
        let fd = opened("etc/text", READ)?;
        let mut position = 0;
        for (offset, whence) in [(5, 0), (-1, 0), (2, 1), (-100, 1), (0, 2), (-2, 2)] {
            // SAFETY: the result is a number of this function.
            let errno = unsafe { fd_seek(fd, offset, whence, &mut position) };
            println!("{offset} {whence}: {errno} {position}");
        }
        // SAFETY: as above.
        println!("{}", unsafe { fd_seek(ROOT, 0, 0, &mut position) });
        Ok(())
    }),
    ("kinds", || {
        for path in ["etc/text", "dir", "link", "folder"] {
            let fd = opened(path, READ)?;
            println!("{path}: {:?} {:?}", kind(fd), stat(fd).1);
            let mut found = [0; 64];
            for flags in [0, 1] {
                // SAFETY: the path is borrowed for the call, and a filestat has 64 bytes.
                let errno =
                    unsafe { path_filestat_get(ROOT, flags, path.as_ptr(), path.len() as u32, &mut found) };
                println!("{flags}: {errno} {}", found[16]);
            }
        }
        Ok(())
    }),
    ("descriptor-flags", || {
        let fd = opened("etc/text", WRITE)?;
        println!("{:?}", stat(fd).2);
        // SAFETY: it takes numbers.
        println!("{}", unsafe { fd_fdstat_set_flags(fd, 1) });
        println!("{:?} {:?}", stat(fd).2, write(fd, b"+"));
        println!("{:?}", std::fs::read_to_string("/etc/text"));
        Ok(())
    }),
    ("renumber", || {
        let (first, second) = (opened("etc/text", READ)?, opened("dir/one", READ)?);
        // SAFETY: it takes numbers, and the standard library does not know these descriptors.
        unsafe {
            println!("{}", fd_renumber(first, second));
            println!("{:?} {:?}", read(first), read(second));
            println!("{} {}", fd_renumber(NONE, second), fd_renumber(second, NONE));
        }
        Ok(())
    }),
    ("vectors", || {
        let fd = opened("etc/text", READ)?;
        // An implementation may stop at the end of any buffer that it has filled.
        let (mut bytes, mut count) = ([0; 3], 0);
        let address = bytes.as_mut_ptr();
        let vectors = [Vector { address, length: 0 }, Vector { address, length: 3 }];
        // SAFETY: the buffer is this function's.
        unsafe {
            println!("{}", fd_read(fd, vectors.as_ptr(), 2, &mut count));
            println!("{}", fd_read(fd, vectors.as_ptr(), 0, &mut count));
        }
        println!("{bytes:?} {count}");
        Ok(())
    }),
    ("readdir", || {
        let (fd, mut buffer, mut used) = (opened("dir", READ)?, [0; 256], 0);
        // SAFETY: the buffer has the length that is said.
        unsafe {
            println!(
                "{} {}",
                fd_readdir(fd, buffer.as_mut_ptr(), 256, 0, &mut used),
                used
            );
            println!(
                "{} {}",
                fd_readdir(fd, buffer.as_mut_ptr(), 10, 0, &mut used),
                used
            );
            let text = opened("etc/text", READ)?;
            println!("{}", fd_readdir(text, buffer.as_mut_ptr(), 256, 0, &mut used));
        }
        Ok(())
    }),
    ("readlink", || {
        let (mut buffer, mut used) = ([0; 16], 0);
        for (path, size) in [
            ("link", 16),
            ("link", 3),
            ("etc/text", 16),
            ("none", 16),
            ("", 16),
        ] {
            // SAFETY: the path is borrowed for the call, and the buffer has the length that is said.
            let errno = unsafe {
                path_readlink(
                    ROOT,
                    path.as_ptr(),
                    path.len() as u32,
                    buffer.as_mut_ptr(),
                    size,
                    &mut used,
                )
            };
            println!("{path} {size}: {errno} {used}");
        }
        println!("{buffer:?}");
        Ok(())
    }),
    ("clocks", || {
        let mut time = 0;
        for id in [0, 1] {
            // SAFETY: the result is a number of this function.
            unsafe {
                println!("{} {}", clock_res_get(id, &mut time), time > 0);
                println!("{} {}", clock_time_get(id, 0, &mut time), time > 0);
            }
        }
        Ok(())
    }),
    ("poll", || {
        let (mut events, mut happened) = ([[0; 4]; 2], 0);
        // A relative clock of 1 ms, and one of 1 hour.
        let clock = |user: u64, nanos: u64| [user, 0, 1, nanos, 0, 0];
        let input = [clock(7, 1_000_000), clock(8, 3_600_000_000_000)];
        // SAFETY: both lists have the lengths that are said.
        unsafe {
            println!(
                "{}",
                poll_oneoff(input.as_ptr(), events.as_mut_ptr(), 0, &mut happened)
            );
            println!(
                "{}",
                poll_oneoff(input.as_ptr(), events.as_mut_ptr(), 2, &mut happened)
            );
        }
        println!("{happened} {:?}", events[0]);
        Ok(())
    }),
    ("random", || {
        let mut bytes = [0; 32];
        // SAFETY: the buffer has the length that is said.
        let errnos = unsafe {
            [
                random_get(bytes.as_mut_ptr(), 0),
                random_get(bytes.as_mut_ptr(), 32),
            ]
        };
        // SAFETY: it takes nothing.
        println!("{errnos:?} {} {}", bytes != [0; 32], unsafe { sched_yield() });
        Ok(())
    }),
    ("not-a-socket", || {
        let file = opened("etc/text", READ)?;
        for fd in [file, ROOT, NONE] {
            // SAFETY: it takes numbers.
            println!("{}", unsafe { sock_shutdown(fd, 3) });
        }
        Ok(())
    }),
];
