//! The file system as a guest sees it.

mod support;

use picolet_wasi::files::{FileLimits, FileSystem, ImageFile, Object, Owner, Quota};
use std::collections::BTreeMap;
use std::rc::Rc;
use support::{DATA, Guest, OUT, TEXT};

const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const TRUNCATE: u32 = 8;
const NOSPC: u32 = 51;

/// All names that `fd_readdir` gives with a buffer of so many bytes.
fn list(guest: &mut Guest, descriptor: u32, buffer: u32) -> Vec<String> {
    let (mut names, mut cookie) = (Vec::new(), 0_u64);
    loop {
        let (low, high) = (cookie as u32, (cookie >> 32) as u32);
        guest.ok("fd_readdir", &[descriptor, DATA, buffer, low, high, OUT]);
        let used = guest.word(OUT);
        let mut at = 0;
        while used - at >= 24 {
            let length = guest.word(DATA + at + 16);
            if used - at - 24 < length {
                break;
            }
            cookie = guest.long(DATA + at);
            let name = guest.bytes(DATA + at + 24, length as usize).to_vec();
            names.push(String::from_utf8(name).unwrap());
            at += 24 + length;
        }
        if used < buffer {
            return names;
        }
        assert!(at > 0, "no entry fits in {buffer} bytes");
    }
}

#[test]
fn file_in_ram_is_written_read_and_truncated() {
    let mut guest = Guest::new();
    let file = guest.open("a", CREATE, true).unwrap();
    assert_eq!(guest.write(file, b"hello world"), Ok(11));
    guest.ok("fd_tell", &[file, OUT]);
    assert_eq!(guest.long(OUT), 11);
    guest.ok("fd_seek", &[file, (-5_i32) as u32, u32::MAX, 2, OUT]);
    assert_eq!(guest.long(OUT), 6);
    assert_eq!(guest.read(file, 64).unwrap(), b"world");
    assert_eq!(guest.read(file, 64).unwrap(), b"");
    let [vectors, count] = guest.vector(DATA, 5);
    guest.ok("fd_pread", &[file, vectors, count, 0, 0, OUT]);
    assert_eq!(guest.bytes(DATA, 5), b"hello");
    guest.ok("fd_pwrite", &[file, vectors, count, 20, 0, OUT]);
    guest.ok("fd_filestat_get", &[file, DATA]);
    assert_eq!((guest.long(DATA + 32), guest.bytes(DATA + 16, 1)[0]), (25, 4));
    assert_eq!(guest.long(DATA + 40), 1_800_000_000_000_000_000);
    guest.ok("fd_filestat_set_size", &[file, 2, 0]);
    guest.ok("fd_seek", &[file, 0, 0, 0, OUT]);
    assert_eq!(guest.read(file, 64).unwrap(), b"he");
    guest.ok("fd_close", &[file]);
    let file = guest.open("a", TRUNCATE, true).unwrap();
    assert_eq!(guest.read(file, 64).unwrap(), b"");
}

#[test]
fn write_appends_when_the_descriptor_does() {
    let mut guest = Guest::with(4_096, false, |files, root| {
        files.add_file(root, "log", b"one\n", 0o644).unwrap();
    });
    let file = guest.open("log", 0, true).unwrap();
    guest.ok("fd_fdstat_set_flags", &[file, 1]);
    assert_eq!(guest.write(file, b"two\n"), Ok(4));
    guest.ok("fd_seek", &[file, 0, 0, 0, OUT]);
    assert_eq!(guest.write(file, b"three\n"), Ok(6));
    let content = guest.files.borrow().read_file(guest.root, "log", 99).unwrap();
    assert_eq!(content, b"one\ntwo\nthree\n");
}

#[test]
fn image_file_is_copied_when_a_writable_root_lets_it_change() {
    let fill = |files: &mut FileSystem, root| {
        let source = files.add_source(Rc::new(vec![b'x'; 600])).unwrap();
        let part = ImageFile {
            source,
            offset: 100,
            length: 400,
        };
        files.add_image_file(root, "data", part, 0o644).unwrap();
    };
    let mut guest = Guest::with(1_024, false, fill);
    let before = guest.quota.used();
    let file = guest.open("data", 0, true).unwrap();
    assert_eq!(guest.quota.used(), before + 400);
    assert_eq!(guest.write(file, b"abc"), Ok(3));
    let content = guest.files.borrow().read_file(guest.root, "data", 999).unwrap();
    assert_eq!((content.len(), &content[..4]), (400, b"abcx".as_slice()));
    // Without room it stays what it is.
    let mut guest = Guest::with(200, false, fill);
    assert_eq!(guest.open("data", 0, true), Err(NOSPC));
    let file = guest.open("data", 0, false).unwrap();
    assert_eq!(guest.read(file, 999).unwrap(), vec![b'x'; 400]);
}

#[test]
fn image_file_that_is_cut_off_gives_an_error() {
    let mut guest = Guest::with(4_096, false, |files, root| {
        let source = files.add_source(Rc::new(b"short".as_slice())).unwrap();
        for (name, offset, length) in [("a", 0, 6), ("b", u32::MAX, 9)] {
            let part = ImageFile {
                source,
                offset,
                length,
            };
            files.add_image_file(root, name, part, 0o644).unwrap();
        }
    });
    for name in ["a", "b"] {
        let file = guest.open(name, 0, false).unwrap();
        assert_eq!(guest.read(file, 64), Err(29), "{name}");
    }
}

#[test]
fn object_is_read_as_it_was_opened_when_it_is_replaced() {
    let object = Rc::new(Object::new(b"old".as_slice(), 1));
    let mut guest = Guest::with(4_096, false, |files, root| {
        files.add_object(root, "etc/key", object.clone(), 0o644).unwrap();
    });
    let old = guest.open("etc/key", 0, false).unwrap();
    assert_eq!(guest.read(old, 1).unwrap(), b"o");
    object.replace(b"newer".as_slice(), 2);
    assert_eq!(guest.read(old, 9).unwrap(), b"ld");
    guest.ok("fd_filestat_get", &[old, DATA]);
    assert_eq!(guest.long(DATA + 32), 3);
    let new = guest.open("etc/key", 0, false).unwrap();
    assert_eq!(guest.read(new, 9).unwrap(), b"newer");
    // It may go altogether.
    guest.files.borrow_mut().remove(guest.root, "etc").unwrap();
    guest.ok("fd_seek", &[old, 0, 0, 0, OUT]);
    assert_eq!(guest.read(old, 9).unwrap(), b"old");
    assert_eq!(guest.open("etc/key", 0, false), Err(44));
}

#[test]
fn ram_is_charged_to_the_limit_and_given_back() {
    let quota = Rc::new(Quota::new(2_000));
    {
        let mut guest = Guest::with(2_000, false, |_, _| ());
        let start = guest.quota.used();
        let file = guest.open("a", CREATE, true).unwrap();
        let mut written = 0;
        while let Ok(count) = guest.write(file, &[7; 100]) {
            written += count;
        }
        assert!((1_500..2_000).contains(&written), "{written}");
        assert!(guest.quota.used() <= 2_000);
        assert_eq!(guest.write(file, &[7; 100]), Err(NOSPC));
        assert_eq!(guest.path("path_create_directory", "d"), NOSPC);
        assert_eq!(guest.path("path_unlink_file", "a"), 0);
        assert!(guest.quota.used() > 1_500, "it is open");
        guest.ok("fd_seek", &[file, 0, 0, 0, OUT]);
        assert_eq!(guest.read(file, 4).unwrap(), [7; 4]);
        guest.ok("fd_close", &[file]);
        assert_eq!(guest.quota.used(), start);
        assert_eq!(guest.path("path_create_directory", "d"), 0);
    }
    let mut files = FileSystem::new(FileLimits::BOARD, quota.clone());
    let root = files.add_root(false, 0o755, Owner::default()).unwrap();
    files.add_file(root, "a/b/c", &[1; 500], 0o644).unwrap();
    assert!(quota.used() > 500);
    drop(files);
    assert_eq!(quota.used(), 0);
}

#[test]
fn nodes_end_at_their_limit() {
    let mut guest = Guest::with(1 << 20, false, |_, _| ());
    let mut errno = 0;
    let mut made = 0;
    while errno == 0 {
        errno = guest.path("path_create_directory", &format!("d{made}"));
        made += 1;
    }
    assert_eq!((errno, made), (NOSPC, 256));
}

#[test]
fn directory_is_listed_whatever_the_buffer_and_while_entries_go() {
    let mut guest = Guest::new();
    let names: Vec<String> = (0..20).map(|number| format!("file-{number}")).collect();
    for name in &names {
        let file = guest.open(name, CREATE, true).unwrap();
        guest.ok("fd_close", &[file]);
    }
    let expected: Vec<&str> = [".", ".."]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    for buffer in [31, 32, 33, 64, 100, 4_096] {
        assert_eq!(list(&mut guest, 3, buffer), expected, "{buffer}");
    }
    // Remove each entry right after it was read, as `rm -r` does.
    let (mut cookie, mut removed) = (0, 0);
    loop {
        guest.ok("fd_readdir", &[3, DATA, 40, cookie, 0, OUT]);
        let (used, length) = (guest.word(OUT), guest.word(DATA + 16));
        if used < 24 + length {
            break;
        }
        cookie = guest.word(DATA);
        let name = String::from_utf8(guest.bytes(DATA + 24, length as usize).to_vec()).unwrap();
        if name != "." && name != ".." {
            assert_eq!(guest.path("path_unlink_file", &name), 0, "{name}");
            removed += 1;
        }
    }
    assert_eq!(removed, 20);
    assert_eq!(list(&mut guest, 3, 100), [".", ".."]);
}

#[test]
fn containers_share_a_volume_and_nothing_else() {
    let mut volume = None;
    let mut guest = Guest::with(8_192, false, |files, root| {
        let shared = files.add_root(false, 0o777, Owner { uid: 0, gid: 9 }).unwrap();
        files.add_directory(root, "tmp", 0o755).unwrap();
        files.mount(root, "tmp", shared, false).unwrap();
        volume = Some(shared);
    });
    let other = guest
        .files
        .borrow_mut()
        .add_root(true, 0o755, Owner::default())
        .unwrap();
    guest
        .files
        .borrow_mut()
        .mount(other, "data/in", volume.unwrap(), true)
        .unwrap();
    let file = guest.open("tmp/x", CREATE, true).unwrap();
    guest.write(file, b"shared").unwrap();
    guest.open("own", CREATE, true).unwrap();
    let files = guest.files.borrow();
    assert_eq!(files.read_file(other, "data/in/x", 99).unwrap(), b"shared");
    assert!(files.read_file(other, "own", 99).is_err());
    drop(files);
    let directory = guest.open("tmp", DIRECTORY, false).unwrap();
    assert_eq!(list(&mut guest, directory, 100), [".", "..", "x"]);
    // `..` leaves the volume where it was entered.
    assert!(guest.open("tmp/../own", 0, false).is_ok());
}

#[test]
fn removed_directory_takes_no_new_entries() {
    let mut guest = Guest::new();
    assert_eq!(guest.path("path_create_directory", "d"), 0);
    let directory = guest.open("d", DIRECTORY, false).unwrap();
    assert_eq!(guest.path("path_remove_directory", "d"), 0);
    let [at, length] = guest.text(TEXT, "x");
    assert_eq!(guest.call("path_create_directory", &[directory, at, length]), 44);
    assert_eq!(list(&mut guest, directory, 100), [".", ".."]);
}

#[test]
fn devices_read_and_write_as_devices_do() {
    let mut guest = Guest::with(4_096, true, |files, root| files.add_devices(root).unwrap());
    let null = guest.open("dev/null", 0, true).unwrap();
    let zero = guest.open("dev/zero", 0, false).unwrap();
    assert_eq!(guest.write(null, &[1; 300]), Ok(300));
    assert_eq!(
        guest.open("dev/null", 0, false).map(|null| guest.read(null, 9)),
        Ok(Ok(vec![]))
    );
    assert_eq!(guest.read(zero, 300).unwrap(), [0; 300]);
    let used = guest.quota.used();
    let again = guest.open("dev/null", TRUNCATE, true).unwrap();
    assert_eq!(guest.write(again, &[1; 300]), Ok(300));
    assert_eq!(guest.quota.used(), used);
}

#[test]
fn rename_moves_and_replaces() {
    let mut guest = Guest::with(8_192, false, |files, root| {
        files.add_file(root, "a", b"a", 0o644).unwrap();
        files.add_file(root, "b", b"b", 0o644).unwrap();
        files.add_file(root, "d/e/f", b"f", 0o644).unwrap();
    });
    let old = guest.open("b", 0, false).unwrap();
    let renames = [("a", "b"), ("d/e", "e"), ("b", "e/a-long-name"), ("e", "d/e")];
    for (from, to) in renames {
        let [from, from_length] = guest.text(TEXT, from);
        let [to, to_length] = guest.text(DATA, to);
        guest.ok("path_rename", &[3, from, from_length, 3, to, to_length]);
    }
    assert_eq!(guest.read(old, 9).unwrap(), b"b", "it is open, though replaced");
    let files = guest.files.borrow();
    assert_eq!(files.read_file(guest.root, "d/e/a-long-name", 9).unwrap(), b"a");
    assert_eq!(files.read_file(guest.root, "d/e/f", 9).unwrap(), b"f");
}

#[test]
fn fdstat_tells_libraries_terminals_files_and_directories_apart() {
    let mut guest = Guest::new();
    let file = guest.open("a", CREATE, true).unwrap();
    let (read, seek, write) = (1 << 1, 1 << 2, 1 << 6);
    let all = read | seek | write;
    for (descriptor, file_type, rights) in [(0, 2, read), (1, 2, write), (3, 3, 0), (file, 4, all)] {
        guest.ok("fd_fdstat_get", &[descriptor, DATA]);
        assert_eq!(guest.bytes(DATA, 1), [file_type], "{descriptor}");
        assert_eq!(guest.word(DATA + 8) & all, rights, "{descriptor}");
    }
    guest.ok("fd_prestat_get", &[3, OUT]);
    assert_eq!((guest.word(OUT), guest.word(OUT + 4)), (0, 1));
    guest.ok("fd_prestat_dir_name", &[3, DATA, 1]);
    assert_eq!(guest.bytes(DATA, 1), b"/");
}

/// Laws of the table of descriptors, over random operations: the lowest free number is taken, what is closed is free, and files are
/// freed with their last descriptor.
#[test]
fn descriptors_behave_as_a_table_of_the_lowest_free_number() {
    use proptest::prelude::*;
    let operations = proptest::collection::vec((0..4_u8, 0..18_u32, 0..18_u32), 0..80);
    proptest!(|(operations in operations)| {
        let mut guest = Guest::with(1 << 20, false, |_, _| ());
        let start = guest.quota.used();
        let mut model: BTreeMap<u32, u32> = (0..4).map(|number| (number, u32::MAX)).collect();
        for (count, (operation, first, second)) in operations.into_iter().enumerate() {
            // The root is needed to open files.
            if operation > 1 && (first == 3 || operation == 3 && second == 3) {
                continue;
            }
            match operation {
                0 | 1 => {
                    let lowest = (0..16).find(|number| !model.contains_key(number));
                    // Each file is removed while it is open.
                    match guest.open("x", CREATE, true) {
                        Ok(number) => {
                            prop_assert_eq!(Some(number), lowest);
                            model.insert(number, count as u32);
                            guest.write(number, &(count as u32).to_le_bytes()).unwrap();
                            prop_assert_eq!(guest.path("path_unlink_file", "x"), 0);
                        }
                        Err(errno) => prop_assert_eq!((errno, lowest), (33, None)),
                    }
                }
                2 => {
                    let errno = guest.call("fd_close", &[first]);
                    prop_assert_eq!(errno == 0, model.remove(&first).is_some());
                }
                _ => {
                    let errno = guest.call("fd_renumber", &[first, second]);
                    let both = model.contains_key(&first) && model.contains_key(&second);
                    prop_assert_eq!(errno == 0, both);
                    if both && first != second && let Some(moved) = model.remove(&first) {
                        model.insert(second, moved);
                    }
                }
            }
            for number in 0..18 {
                let errno = guest.call("fd_fdstat_get", &[number, DATA]);
                prop_assert_eq!(errno == 0, model.contains_key(&number));
                if let Some(content) = model.get(&number) && *content != u32::MAX {
                    let [vectors, count] = guest.vector(DATA, 4);
                    guest.ok("fd_pread", &[number, vectors, count, 0, 0, OUT]);
                    prop_assert_eq!(guest.word(DATA), *content);
                }
            }
        }
        guest.on(|wasi, _, host| wasi.close(host));
        prop_assert_eq!(guest.quota.used(), start);
    });
}
