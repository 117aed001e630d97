//! Paths of a guest, in a tree that the input makes too: none leads out of the root, and all is given back at the end.
#![no_main]

use std::cell::RefCell;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use picolet_wasi::files::{FileLimits, FileSystem, Owner, Quota};
use picolet_wasi::{Absent, Clock, Function, GuestMemory, Host, Limits, MemoryError, Outcome, Wasi};

struct Time;

impl Clock for Time {
    fn realtime(&self) -> Option<u64> {
        None
    }

    fn monotonic(&self) -> u64 {
        0
    }
}

impl picolet_platform::Entropy for Time {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

struct Memory(Vec<u8>);

impl GuestMemory for Memory {
    fn copy_out(&mut self, address: u32, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let address = address as usize;
        let part = self.0.get(address..address.saturating_add(bytes.len()));
        bytes.copy_from_slice(part.ok_or(MemoryError::Fault)?);
        Ok(())
    }

    fn copy_in(&mut self, address: u32, bytes: &[u8]) -> Result<(), MemoryError> {
        let address = address as usize;
        let part = self.0.get_mut(address..address.saturating_add(bytes.len()));
        part.ok_or(MemoryError::Fault)?.copy_from_slice(bytes);
        Ok(())
    }
}

const PATH: u32 = 0;
const OTHER: u32 = 2_048;
const OUT: u32 = 4_096;

fuzz_target!(|data: &[u8]| {
    let quota = Rc::new(Quota::new(16_384));
    let mut files = FileSystem::new(FileLimits::BOARD, quota.clone());
    // What must never be seen: beside the root of the guest, with a name that it may try.
    let outside = files.add_root(true, 0o755, Owner::default()).unwrap();
    let secret = files.add_file(outside, "secret", b"secret", 0o644).unwrap();
    let secret = files.stat(secret).inode;
    let root = files.add_root(true, 0o755, Owner::default()).unwrap();
    let volume = files.add_root(false, 0o755, Owner::default()).unwrap();
    files.mount(root, "tmp", volume, false).unwrap();
    let files = Rc::new(RefCell::new(files));
    let mut wasi = Wasi::new(files.clone(), root, false, Owner::default(), Limits::BOARD).unwrap();
    let host = Host {
        clock: &Time,
        entropy: &Time,
        output: &Absent,
        input: &Absent,
        sockets: &Absent,
        signals: &Absent,
        device: None,
    };
    let mut memory = Memory(vec![0; 8_192]);
    let mut lines = data.split(|byte| *byte == b'\n');
    while let (Some(line), Some(second)) = (lines.next(), lines.next()) {
        let Some((operation, first)) = line.split_first() else {
            continue;
        };
        let (first, second) = (
            &first[..first.len().min(2_000)],
            &second[..second.len().min(2_000)],
        );
        if *operation % 8 == 0 {
            // The node adds a symbolic link, as an image has them.
            if let (Ok(first), Ok(second)) = (str::from_utf8(first), str::from_utf8(second)) {
                let _ = files.borrow_mut().add_link(root, first, second);
            }
            continue;
        }
        memory.0[PATH as usize..][..first.len()].copy_from_slice(first);
        memory.0[OTHER as usize..][..second.len()].copy_from_slice(second);
        let (length, other) = (first.len() as u32, second.len() as u32);
        let descriptor = 3 + u32::from(*operation >> 6);
        let (name, arguments) = match operation % 8 {
            1 => (
                "path_open",
                vec![descriptor, 1, PATH, length, 1, 66, 0, 0, 0, 0, OUT],
            ),
            2 => (
                "path_open",
                vec![descriptor, 1, PATH, length, 2, 2, 0, 0, 0, 0, OUT],
            ),
            3 => ("path_create_directory", vec![descriptor, PATH, length]),
            4 => ("path_unlink_file", vec![descriptor, PATH, length]),
            5 => ("path_remove_directory", vec![descriptor, PATH, length]),
            6 => ("path_rename", vec![descriptor, PATH, length, 3, OTHER, other]),
            _ => ("path_filestat_get", vec![descriptor, 1, PATH, length, OUT]),
        };
        let function = Function::find(name).unwrap();
        let outcome = wasi.call(function, &arguments, &mut memory, &host);
        let Outcome::Return(errno) = outcome else {
            panic!("{name}: {outcome:?}")
        };
        if name == "path_filestat_get" && errno == 0 {
            let inode = memory.0[OUT as usize + 8..][..8].try_into().unwrap();
            assert_ne!(u64::from_le_bytes(inode), secret, "out of the root");
        }
    }
    wasi.close(&host);
    assert_eq!(
        files.borrow().read_file(outside, "secret", 99).unwrap(),
        b"secret"
    );
    drop((wasi, files));
    assert_eq!(quota.used(), 0);
});
