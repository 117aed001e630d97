//! What each call returns when it cannot do what it was asked for.

mod support;

use picolet_wasi::files::{FileSystem, ImageFile, NodeId, Object, Owner};
use picolet_wasi::{Function, MODULE, Outcome};
use std::rc::Rc;
use support::{DATA, Guest, MEMORY, OUT, TEXT};

const BADF: u32 = 8;
const EXIST: u32 = 20;
const FAULT: u32 = 21;
const FBIG: u32 = 22;
const ILSEQ: u32 = 25;
const INVAL: u32 = 28;
const ISDIR: u32 = 31;
const LOOP: u32 = 32;
const MFILE: u32 = 33;
const NAMETOOLONG: u32 = 37;
const NOENT: u32 = 44;
const NOSPC: u32 = 51;
const NOSYS: u32 = 52;
const NOTDIR: u32 = 54;
const NOTEMPTY: u32 = 55;
const NOTSOCK: u32 = 57;
const NOTSUP: u32 = 58;
const PERM: u32 = 63;
const ROFS: u32 = 69;
const SPIPE: u32 = 70;
const BUSY: u32 = 10;
const XDEV: u32 = 75;

/// An address that is not the guest's.
const BAD: u32 = MEMORY as u32 - 2;

/// `oflags`.
const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;

fn fill(files: &mut FileSystem, root: NodeId) {
    let source = files.add_source(Rc::new(b"..hello".as_slice())).unwrap();
    let hello = ImageFile {
        source,
        offset: 2,
        length: 5,
    };
    files.add_image_file(root, "/app.wasm", hello, 0o755).unwrap();
    files.add_link(root, "bin/sh", "/app.wasm").unwrap();
    files.add_link(root, "loop", "loop").unwrap();
    files.add_link(root, "dangling", "nowhere").unwrap();
    files.add_link(root, "out", "../etc").unwrap();
    files
        .add_file(root, "etc/hosts", b"127.0.0.1 localhost\n", 0o644)
        .unwrap();
    files.add_directory(root, "empty", 0o755).unwrap();
    files.add_devices(root).unwrap();
    let volume = files.add_root(false, 0o777, Owner { uid: 0, gid: 7 }).unwrap();
    files.mount(root, "tmp", volume, false).unwrap();
    let secret = files.add_root(false, 0o755, Owner::default()).unwrap();
    let object = Rc::new(Object::new(b"token".as_slice(), 5));
    files.add_object(secret, "token", object, 0o400).unwrap();
    files.mount(root, "var/run/secret", secret, true).unwrap();
}

fn guest(read_only: bool) -> Guest {
    Guest::with(16_384, read_only, fill)
}

/// `fd_read` and others of a descriptor with one buffer.
fn buffers(descriptor: u32) -> [u32; 4] {
    [descriptor, OUT + 256, 1, OUT]
}

#[test]
fn calls_on_descriptors_return_their_errno() {
    let mut guest = guest(false);
    guest.vector(DATA, 4);
    // Descriptor 4 is a file to read, 5 a directory, 6 one to write, 7 an object.
    assert_eq!(guest.open("app.wasm", 0, false), Ok(4));
    assert_eq!(guest.open("etc", DIRECTORY, false), Ok(5));
    assert_eq!(guest.open("tmp/x", CREATE, true), Ok(6));
    assert_eq!(guest.open("var/run/secret/token", 0, false), Ok(7));
    let (buffer, many) = (OUT + 256, 1_000_000);
    let calls: &[(&str, &[u32], u32)] = &[
        ("args_get", &[BAD, DATA], FAULT),
        ("args_get", &[DATA, BAD], FAULT),
        ("args_sizes_get", &[BAD, DATA], FAULT),
        ("environ_get", &[BAD, DATA], FAULT),
        ("environ_sizes_get", &[DATA, BAD], FAULT),
        ("clock_res_get", &[2, OUT], INVAL),
        ("clock_res_get", &[0, BAD], FAULT),
        ("clock_time_get", &[3, 0, 0, OUT], INVAL),
        ("clock_time_get", &[9, 0, 0, OUT], INVAL),
        ("clock_time_get", &[0, 0, 0, BAD], FAULT),
        ("fd_advise", &[9, 0, 0, 0, 0, 0], BADF),
        ("fd_advise", &[4, 0, 0, 0, 0, 0], 0),
        ("fd_allocate", &[4, 0, 0, 9, 0], NOTSUP),
        ("fd_close", &[9], BADF),
        ("fd_close", &[u32::MAX], BADF),
        ("fd_datasync", &[9], BADF),
        ("fd_datasync", &[4], 0),
        ("fd_fdstat_get", &[9, OUT], BADF),
        ("fd_fdstat_get", &[4, BAD], FAULT),
        ("fd_fdstat_set_flags", &[9, 0], BADF),
        ("fd_fdstat_set_flags", &[4, 32], INVAL),
        ("fd_fdstat_set_rights", &[9, 0, 0, 0, 0], BADF),
        ("fd_fdstat_set_rights", &[4, 0, 0, 0, 0], 0),
        ("fd_filestat_get", &[9, OUT], BADF),
        ("fd_filestat_get", &[4, BAD], FAULT),
        ("fd_filestat_set_size", &[9, 0, 0], BADF),
        ("fd_filestat_set_size", &[4, 0, 0], INVAL),
        ("fd_filestat_set_size", &[1, 0, 0], BADF),
        ("fd_filestat_set_size", &[6, 0, 1], FBIG),
        ("fd_filestat_set_size", &[6, 1 << 20, 0], NOSPC),
        ("fd_filestat_set_times", &[4, 0, 0, 0, 0, 0], NOTSUP),
        ("fd_pread", &[9, buffer, 1, 0, 0, OUT], BADF),
        ("fd_pread", &[0, buffer, 1, 0, 0, OUT], SPIPE),
        ("fd_pread", &[5, buffer, 1, 0, 0, OUT], BADF),
        ("fd_pread", &[1, buffer, 1, 0, 0, OUT], BADF),
        ("fd_pread", &[4, BAD, 1, 0, 0, OUT], FAULT),
        ("fd_pread", &[4, buffer, 1, 0, 0, BAD], FAULT),
        ("fd_pread", &[4, buffer, many, 0, 0, OUT], INVAL),
        ("fd_prestat_dir_name", &[3, DATA, 0], NAMETOOLONG),
        ("fd_prestat_dir_name", &[3, MEMORY as u32, 1], FAULT),
        ("fd_prestat_dir_name", &[5, DATA, 1], NOTDIR),
        ("fd_prestat_get", &[4, OUT], BADF),
        ("fd_prestat_get", &[9, OUT], BADF),
        ("fd_prestat_get", &[3, BAD], FAULT),
        ("fd_pwrite", &[9, buffer, 1, 0, 0, OUT], BADF),
        ("fd_pwrite", &[4, buffer, 1, 0, 0, OUT], BADF),
        ("fd_pwrite", &[1, buffer, 1, 0, 0, OUT], SPIPE),
        ("fd_pwrite", &[6, buffer, 1, 0, 1, OUT], FBIG),
        ("fd_pwrite", &[6, buffer, 1, 1 << 20, 0, OUT], NOSPC),
        ("fd_read", &buffers(9), BADF),
        ("fd_read", &buffers(1), BADF),
        ("fd_read", &buffers(5), BADF),
        ("fd_read", &[4, BAD, 1, OUT], FAULT),
        ("fd_readdir", &[9, DATA, 64, 0, 0, OUT], BADF),
        ("fd_readdir", &[4, DATA, 64, 0, 0, OUT], BADF),
        ("fd_readdir", &[3, BAD, 64, 0, 0, OUT], FAULT),
        ("fd_readdir", &[3, DATA, 64, 0, 0, BAD], FAULT),
        ("fd_renumber", &[9, 4], BADF),
        ("fd_renumber", &[4, 9], BADF),
        ("fd_seek", &[9, 0, 0, 0, OUT], BADF),
        ("fd_seek", &[1, 0, 0, 0, OUT], SPIPE),
        ("fd_seek", &[5, 0, 0, 0, OUT], BADF),
        ("fd_seek", &[4, 0, 0, 3, OUT], INVAL),
        ("fd_seek", &[4, u32::MAX, u32::MAX, 0, OUT], INVAL),
        ("fd_seek", &[4, 0, 1, 0, OUT], INVAL),
        ("fd_seek", &[4, 0, 0, 0, BAD], FAULT),
        ("fd_sync", &[9], BADF),
        ("fd_sync", &[6], 0),
        ("fd_tell", &[9, OUT], BADF),
        ("fd_tell", &[0, OUT], SPIPE),
        ("fd_tell", &[4, BAD], FAULT),
        ("fd_write", &buffers(9), BADF),
        ("fd_write", &buffers(0), BADF),
        ("fd_write", &buffers(3), BADF),
        ("fd_write", &buffers(4), BADF),
        ("fd_write", &buffers(7), BADF),
        ("fd_write", &[1, BAD, 1, OUT], FAULT),
        ("fd_write", &[1, buffer, 1, BAD], FAULT),
        ("fd_write", &[1, buffer, many, OUT], INVAL),
        ("poll_oneoff", &[DATA, OUT, 0, OUT], INVAL),
        ("poll_oneoff", &[DATA, OUT, many, OUT], INVAL),
        ("poll_oneoff", &[BAD, OUT, 1, OUT], FAULT),
        ("proc_raise", &[15], NOSYS),
        ("random_get", &[BAD, 16], FAULT),
        ("random_get", &[u32::MAX, 16], FAULT),
        ("sock_accept", &[9, 0, OUT], BADF),
        ("sock_accept", &[4, 0, OUT], NOTSOCK),
        ("sock_accept", &[4, 1, OUT], INVAL),
        ("sock_recv", &[9, buffer, 1, 0, OUT, OUT], BADF),
        ("sock_recv", &[0, buffer, 1, 0, OUT, OUT], NOTSOCK),
        ("sock_send", &[9, buffer, 1, 0, OUT], BADF),
        ("sock_send", &[1, buffer, 1, 0, OUT], NOTSOCK),
        ("sock_shutdown", &[9, 3], BADF),
        ("sock_shutdown", &[1, 3], NOTSOCK),
        ("sock_shutdown", &[1, 0], INVAL),
    ];
    for (name, arguments, errno) in calls {
        assert_eq!(guest.call(name, arguments), *errno, "{name}{arguments:?}");
    }
}

#[test]
fn calls_on_paths_return_their_errno() {
    let long = "n".repeat(129);
    let longer = "d/".repeat(400);
    // Call, path, other path or empty, errno with a writable and with a read-only root.
    let calls: &[(&str, &str, &str, u32, u32)] = &[
        ("path_create_directory", "new", "", 0, ROFS),
        ("path_create_directory", "tmp/new", "", 0, 0),
        ("path_create_directory", "new/", "", 0, ROFS),
        ("path_create_directory", "etc", "", EXIST, EXIST),
        ("path_create_directory", ".", "", EXIST, EXIST),
        ("path_create_directory", "no/new", "", NOENT, NOENT),
        ("path_create_directory", "app.wasm/new", "", NOTDIR, NOTDIR),
        ("path_create_directory", "../new", "", PERM, PERM),
        ("path_create_directory", "/new", "", PERM, PERM),
        ("path_create_directory", "", "", NOENT, NOENT),
        ("path_create_directory", &long, "", NAMETOOLONG, NAMETOOLONG),
        ("path_create_directory", &longer, "", NAMETOOLONG, NAMETOOLONG),
        ("path_create_directory", "var/run/secret/new", "", ROFS, ROFS),
        ("path_create_directory", "out/new", "", PERM, PERM),
        ("path_unlink_file", "app.wasm", "", 0, ROFS),
        ("path_unlink_file", "app.wasm/", "", NOTDIR, NOTDIR),
        ("path_unlink_file", "loop", "", 0, ROFS),
        ("path_unlink_file", "empty", "", ISDIR, ISDIR),
        ("path_unlink_file", "none", "", NOENT, NOENT),
        ("path_unlink_file", "loop/x", "", LOOP, LOOP),
        ("path_unlink_file", "var/run/secret/token", "", ROFS, ROFS),
        ("path_remove_directory", "empty", "", 0, ROFS),
        ("path_remove_directory", "empty/", "", 0, ROFS),
        ("path_remove_directory", "etc", "", NOTEMPTY, ROFS),
        ("path_remove_directory", "app.wasm", "", NOTDIR, NOTDIR),
        ("path_remove_directory", "tmp", "", BUSY, BUSY),
        ("path_remove_directory", ".", "", INVAL, INVAL),
        ("path_remove_directory", "none", "", NOENT, NOENT),
        ("path_rename", "app.wasm", "empty/app", 0, ROFS),
        ("path_rename", "app.wasm", "empty", ISDIR, ROFS),
        ("path_rename", "empty", "app.wasm", NOTDIR, ROFS),
        ("path_rename", "empty", "etc", NOTEMPTY, ROFS),
        ("path_rename", "etc", "empty", 0, ROFS),
        ("path_rename", "etc", "etc/in", INVAL, ROFS),
        ("path_rename", "app.wasm", "tmp/app", XDEV, ROFS),
        ("path_rename", "tmp", "temp", BUSY, BUSY),
        ("path_rename", "none", "other", NOENT, NOENT),
        ("path_rename", "app.wasm", "none/app", NOENT, NOENT),
        ("path_rename", "app.wasm", "../app", PERM, PERM),
        ("path_rename", "app.wasm", "app.wasm", 0, ROFS),
        ("path_rename", "app.wasm", "app/", NOTDIR, ROFS),
        ("path_rename", "var/run/secret/token", "tmp/token", ROFS, ROFS),
        ("path_link", "app.wasm", "hard", NOTSUP, NOTSUP),
    ];
    for read_only in [false, true] {
        for (name, path, other, writable, fixed) in calls {
            let mut guest = guest(read_only);
            let [at, length] = guest.text(TEXT, path);
            let [other_at, other_length] = guest.text(DATA, other);
            let errno = guest.call(name, &[3, at, length, 3, other_at, other_length]);
            let expected = if read_only { fixed } else { writable };
            assert_eq!(errno, *expected, "{name} {path} {other} read-only: {read_only}");
        }
    }
}

#[test]
fn path_open_returns_its_errno() {
    // Path, `oflags`, for writing, errno with a writable and with a read-only root.
    let calls: &[(&str, u32, bool, u32, u32)] = &[
        ("app.wasm", 0, false, 0, 0),
        ("bin/sh", 0, false, 0, 0),
        ("bin/sh", 0, true, 0, ROFS),
        ("app.wasm", 0, true, 0, ROFS),
        ("app.wasm", TRUNCATE, true, 0, ROFS),
        ("app.wasm", CREATE, false, 0, 0),
        ("app.wasm", CREATE | EXCLUSIVE, true, EXIST, EXIST),
        ("app.wasm", DIRECTORY, false, NOTDIR, NOTDIR),
        ("app.wasm/", 0, false, NOTDIR, NOTDIR),
        ("app.wasm/x", 0, false, NOTDIR, NOTDIR),
        ("etc", 0, false, 0, 0),
        ("etc", 0, true, ISDIR, ISDIR),
        ("etc", DIRECTORY, false, 0, 0),
        ("etc", DIRECTORY, true, ISDIR, ISDIR),
        ("etc", DIRECTORY | TRUNCATE, false, INVAL, INVAL),
        ("etc", CREATE, true, ISDIR, ISDIR),
        ("new", 0, false, NOENT, NOENT),
        ("new", CREATE, true, 0, ROFS),
        ("new/", CREATE, true, ISDIR, ISDIR),
        ("new", CREATE | DIRECTORY, true, INVAL, INVAL),
        ("dangling", CREATE, true, 0, ROFS),
        ("dangling", CREATE | EXCLUSIVE, true, EXIST, EXIST),
        ("dangling", 0, false, NOENT, NOENT),
        ("loop", 0, false, LOOP, LOOP),
        ("loop", CREATE | EXCLUSIVE, true, EXIST, EXIST),
        ("out/hosts", 0, false, PERM, PERM),
        ("../etc/hosts", 0, false, PERM, PERM),
        ("etc/../../etc", 0, false, PERM, PERM),
        ("etc/../etc/hosts", 0, false, 0, 0),
        ("/etc/hosts", 0, false, PERM, PERM),
        ("", 0, false, NOENT, NOENT),
        (".", 0, false, 0, 0),
        ("dev/null", 0, true, 0, 0),
        ("dev/zero", 0, false, 0, 0),
        ("tmp/x", CREATE, true, 0, 0),
        ("var/run/secret/token", 0, false, 0, 0),
        ("var/run/secret/token", 0, true, ROFS, ROFS),
        ("var/run/secret/../secret/token", 0, false, 0, 0),
        ("nul\0", 0, false, INVAL, INVAL),
    ];
    for read_only in [false, true] {
        for (path, flags, write, writable, fixed) in calls {
            let mut guest = guest(read_only);
            let errno = guest.open(path, *flags, *write).map_or_else(|errno| errno, |_| 0);
            let expected = if read_only { fixed } else { writable };
            assert_eq!(
                errno, *expected,
                "{path:?} {flags} {write} read-only: {read_only}"
            );
        }
    }
}

#[test]
fn path_open_refuses_what_is_no_text_or_out_of_bounds() {
    let mut guest = guest(false);
    guest.memory.bytes[TEXT as usize] = 0xff;
    let open = |at, length, out| [3, 0, at, length, CREATE, 64, 0, 0, 0, 0, out];
    assert_eq!(guest.call("path_open", &open(TEXT, 1, OUT)), ILSEQ);
    assert_eq!(guest.call("path_open", &open(TEXT, u32::MAX, OUT)), NAMETOOLONG);
    assert_eq!(guest.call("path_open", &open(BAD, 8, OUT)), FAULT);
    assert_eq!(guest.open("none", 0, false), Err(NOENT));
    // A result that cannot be written creates nothing.
    let [at, length] = guest.text(TEXT, "none");
    assert_eq!(guest.call("path_open", &open(at, length, BAD)), FAULT);
    assert_eq!(guest.open("none", 0, false), Err(NOENT));
    // A base that is no directory.
    let file = guest.open("app.wasm", 0, false).unwrap();
    for (base, errno) in [(file, NOTDIR), (1, BADF)] {
        let open = [base, 0, at, length, 0, 2, 0, 0, 0, 0, OUT];
        assert_eq!(guest.call("path_open", &open), errno);
    }
    assert_eq!(
        guest.call("path_open", &[99, 0, at, length, 0, 2, 0, 0, 0, 0, OUT]),
        BADF
    );
    // A link that is not to be followed.
    let [at, length] = guest.text(TEXT, "bin/sh");
    assert_eq!(
        guest.call("path_open", &[3, 0, at, length, 0, 2, 0, 0, 0, 0, OUT]),
        LOOP
    );
}

#[test]
fn path_open_ends_at_the_limit_of_descriptors() {
    let mut guest = guest(false);
    for number in 4..16 {
        assert_eq!(guest.open("app.wasm", 0, false), Ok(number));
    }
    assert_eq!(guest.open("new", CREATE, true), Err(MFILE));
    guest.ok("fd_close", &[9]);
    assert_eq!(guest.open("new", 0, false), Err(NOENT), "it was not created");
    assert_eq!(guest.open("app.wasm", 0, false), Ok(9));
}

#[test]
fn readlink_and_filestat_return_their_errno() {
    let mut guest = guest(false);
    for (path, errno) in [
        ("bin/sh", 0),
        ("app.wasm", INVAL),
        ("etc", INVAL),
        ("none", NOENT),
    ] {
        let [at, length] = guest.text(TEXT, path);
        assert_eq!(
            guest.call("path_readlink", &[3, at, length, DATA, 64, OUT]),
            errno,
            "{path}"
        );
        assert_eq!(
            guest.call("path_readlink", &[3, at, length, BAD, 64, BAD]),
            if errno == 0 { FAULT } else { errno }
        );
    }
    for (path, flags, errno) in [
        ("bin/sh", 1, 0),
        ("dangling", 1, NOENT),
        ("dangling", 0, 0),
        ("loop", 1, LOOP),
        ("etc/none", 0, NOENT),
    ] {
        let [at, length] = guest.text(TEXT, path);
        assert_eq!(
            guest.call("path_filestat_get", &[3, flags, at, length, DATA]),
            errno,
            "{path}"
        );
    }
    let [at, length] = guest.text(TEXT, "etc");
    assert_eq!(guest.call("path_filestat_get", &[3, 0, at, length, BAD]), FAULT);
    assert_eq!(guest.call("path_symlink", &[at, length, 3, at, length]), NOTSUP);
    assert_eq!(
        guest.call("path_filestat_set_times", &[3, 0, at, length, 0, 0, 0, 0, 0]),
        NOTSUP
    );
}

#[test]
fn every_call_ends_in_out_of_memory_when_the_instance_may_touch_no_more() {
    for (name, arguments) in [
        ("args_get", &[DATA, DATA][..]),
        ("clock_time_get", &[0, 0, 0, DATA]),
        ("fd_fdstat_get", &[1, DATA]),
        ("fd_write", &[1, DATA, 1, DATA]),
        ("fd_readdir", &[3, DATA, 64, 0, 0, DATA]),
        ("path_create_directory", &[3, DATA, 4]),
        ("poll_oneoff", &[DATA, DATA, 1, DATA]),
        ("random_get", &[DATA, 4]),
    ] {
        let mut guest = guest(false);
        guest.memory.limit = DATA as usize;
        assert_eq!(guest.outcome(name, arguments), Outcome::OutOfMemory, "{name}");
    }
}

#[test]
fn all_46_functions_are_found_by_name_and_take_any_arguments() {
    assert_eq!((MODULE, Function::ALL.len()), ("wasi_snapshot_preview1", 46));
    for function in Function::ALL {
        let signature = function.signature();
        assert_eq!(Function::find(signature.name), Some(*function));
        assert_eq!(signature.returns, signature.name != "proc_exit");
        let slots: usize = signature
            .parameters
            .bytes()
            .map(|letter| if letter == b'I' { 2 } else { 1 })
            .sum();
        assert!(slots <= 11, "{}", signature.name);
        for argument in [0, 1, 3, 0x2000, u32::MAX] {
            let mut guest = guest(false);
            guest.outcome(signature.name, &vec![argument; slots]);
            guest.outcome(signature.name, &[]);
        }
    }
    assert_eq!(Function::find("fd_open"), None);
    assert_eq!(Function::find(""), None);
}
