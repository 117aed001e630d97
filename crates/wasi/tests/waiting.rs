//! Calls that take time: clocks, `poll_oneoff`, standard streams, sockets, and how they are suspended and resumed.

mod support;

use picolet_wasi::{Interest, Outcome, Wait};
use support::{Connection, DATA, Guest, OUT};

const SECOND: u64 = 1_000_000_000;

fn wait(deadline: Option<u64>, interest: Interest) -> Outcome {
    Outcome::Suspend(Wait { deadline, interest })
}

/// Puts a subscription to a clock at [`DATA`].
fn clock(guest: &mut Guest, index: u32, id: u32, timeout: u64, absolute: bool) {
    let at = DATA + index * 48;
    guest.put(at, 100 + index);
    guest.put(at + 8, 0);
    guest.put(at + 16, id);
    guest.put(at + 24, timeout as u32);
    guest.put(at + 28, (timeout >> 32) as u32);
    guest.put(at + 40, u32::from(absolute));
}

/// Puts a subscription to a descriptor at [`DATA`].
fn descriptor(guest: &mut Guest, index: u32, tag: u8, descriptor: u32) {
    let at = DATA + index * 48;
    guest.put(at, 100 + index);
    guest.put(at + 8, tag.into());
    guest.put(at + 16, descriptor);
}

/// The events that `poll_oneoff` wrote: user data, errno, type, bytes.
fn events(guest: &Guest) -> Vec<(u32, u8, u8, u32)> {
    (0..guest.word(OUT))
        .map(|index| {
            let at = DATA + 0x800 + index * 32;
            let head = guest.bytes(at + 8, 3).to_vec();
            (guest.word(at), head[0], head[2], guest.word(at + 16))
        })
        .collect()
}

fn poll(guest: &mut Guest, count: u32) -> Outcome {
    guest.outcome("poll_oneoff", &[DATA, DATA + 0x800, count, OUT])
}

#[test]
fn clocks_tell_the_time_of_the_machine() {
    let mut guest = Guest::new();
    guest.ok("clock_time_get", &[0, 0, 0, OUT]);
    assert_eq!(guest.long(OUT), 1_800_000_000_000_000_000);
    guest.ok("clock_time_get", &[1, 0, 0, OUT]);
    assert_eq!(guest.long(OUT), SECOND);
    guest.world.realtime.set(None);
    guest.ok("clock_time_get", &[0, 0, 0, OUT]);
    assert_eq!(
        guest.long(OUT),
        SECOND,
        "as a machine without a clock that was set"
    );
    guest.ok("clock_res_get", &[0, OUT]);
    assert_eq!(guest.long(OUT), 1_000);
}

#[test]
fn sleep_suspends_until_its_deadline_and_no_longer() {
    let mut guest = Guest::new();
    clock(&mut guest, 0, 1, 5 * SECOND, false);
    let until = wait(Some(6 * SECOND), Interest::NONE);
    assert_eq!(poll(&mut guest, 1), until);
    guest.world.monotonic.set(5 * SECOND);
    assert_eq!(guest.resume(), until, "resumed too early");
    guest.world.monotonic.set(6 * SECOND);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(events(&guest), [(100, 0, 0, 0)]);
    assert_eq!(guest.resume(), Outcome::Return(0), "nothing is suspended");
}

#[test]
fn absolute_sleep_ends_when_the_time_of_day_is_set() {
    let mut guest = Guest::new();
    let start = 1_800_000_000 * SECOND;
    clock(&mut guest, 0, 0, start + 100 * SECOND, true);
    assert_eq!(poll(&mut guest, 1), wait(Some(101 * SECOND), Interest::NONE));
    guest.world.realtime.set(Some(start + 90 * SECOND));
    assert_eq!(guest.resume(), wait(Some(11 * SECOND), Interest::NONE));
    guest.world.realtime.set(Some(start + 100 * SECOND));
    assert_eq!(guest.resume(), Outcome::Return(0));
    clock(&mut guest, 0, 1, SECOND, true);
    assert_eq!(poll(&mut guest, 1), Outcome::Return(0), "it is past");
}

#[test]
fn poll_reports_all_that_is_ready_and_waits_for_the_first() {
    let mut guest = Guest::new();
    guest.world.input_ended.set(false);
    clock(&mut guest, 0, 1, 3 * SECOND, false);
    descriptor(&mut guest, 1, 1, 0);
    clock(&mut guest, 2, 1, 2 * SECOND, false);
    assert_eq!(poll(&mut guest, 3), wait(Some(3 * SECOND), Interest::INPUT));
    guest.world.input.borrow_mut().extend(b"hi");
    guest.world.monotonic.set(3 * SECOND);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(events(&guest), [(101, 0, 1, 2), (102, 0, 0, 0)]);
}

#[test]
fn poll_reports_errors_as_events() {
    let mut guest = Guest::new();
    descriptor(&mut guest, 0, 1, 99);
    descriptor(&mut guest, 1, 2, 0);
    descriptor(&mut guest, 2, 1, 3);
    clock(&mut guest, 3, 2, SECOND, false);
    descriptor(&mut guest, 4, 2, 1);
    assert_eq!(poll(&mut guest, 5), Outcome::Return(0));
    let ready = [
        (100, 8, 1, 0),
        (101, 8, 2, 0),
        (102, 8, 1, 0),
        (103, 28, 0, 0),
        (104, 0, 2, 1_024),
    ];
    assert_eq!(events(&guest), ready);
    descriptor(&mut guest, 0, 3, 1);
    assert_eq!(poll(&mut guest, 1), Outcome::Return(28));
}

#[test]
fn poll_reports_files_and_the_end_of_input_as_ready() {
    let mut guest = Guest::with(4_096, false, |files, root| {
        files.add_file(root, "a", b"abc", 0o644).unwrap();
    });
    let file = guest.open("a", 0, true).unwrap();
    descriptor(&mut guest, 0, 1, file);
    descriptor(&mut guest, 1, 2, file);
    descriptor(&mut guest, 2, 1, 0);
    assert_eq!(poll(&mut guest, 3), Outcome::Return(0));
    assert_eq!(
        events(&guest),
        [(100, 0, 1, 3), (101, 0, 2, 1_024), (102, 0, 1, 0)]
    );
    assert_eq!(guest.bytes(DATA + 0x800 + 64 + 24, 1), [1], "hangup");
}

#[test]
fn standard_streams_reach_the_log() {
    let mut guest = Guest::new();
    assert_eq!(guest.write(1, b"out"), Ok(3));
    assert_eq!(guest.write(2, b"err"), Ok(3));
    assert_eq!(guest.write(1, &[b'x'; 3_000]), Ok(1_024), "a bounded part");
    // Several buffers in one call.
    for (index, length) in [4, 0, 5].into_iter().enumerate() {
        guest.put(OUT + 256 + index as u32 * 8, DATA + index as u32 * 16);
        guest.put(OUT + 260 + index as u32 * 8, length);
    }
    guest.memory.bytes[DATA as usize..][..4].copy_from_slice(b"one ");
    guest.memory.bytes[DATA as usize + 32..][..5].copy_from_slice(b"three");
    guest.ok("fd_write", &[2, OUT + 256, 3, OUT]);
    assert_eq!(guest.word(OUT), 9);
    assert_eq!(guest.world.output.borrow().len(), 3 + 1_024);
    assert_eq!(*guest.world.errors.borrow(), b"errone three");
}

#[test]
fn input_is_read_when_it_comes() {
    let mut guest = Guest::new();
    guest.world.input_ended.set(false);
    let [vectors, count] = guest.vector(DATA, 8);
    let read = [0, vectors, count, OUT];
    assert_eq!(guest.outcome("fd_read", &read), wait(None, Interest::INPUT));
    assert_eq!(guest.resume(), wait(None, Interest::INPUT));
    guest.world.input.borrow_mut().extend(b"line\n");
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!((guest.word(OUT), guest.bytes(DATA, 5)), (5, b"line\n".as_slice()));
    guest.ok("fd_fdstat_set_flags", &[0, 4]);
    assert_eq!(guest.call("fd_read", &read), 6, "nonblocking");
    guest.world.input_ended.set(true);
    guest.ok("fd_read", &read);
    assert_eq!(guest.word(OUT), 0);
}

#[test]
fn bytes_of_a_stream_are_not_lost_when_the_buffer_is_not_the_guests() {
    let mut guest = Guest::new();
    guest.world.input.borrow_mut().extend(b"keep");
    let [vectors, count] = guest.vector(support::MEMORY as u32 - 2, 4);
    assert_eq!(guest.call("fd_read", &[0, vectors, count, OUT]), 21);
    assert_eq!(guest.world.input.borrow().len(), 4);
}

#[test]
fn random_bytes_come_in_bounded_steps() {
    let mut guest = Guest::new();
    assert_eq!(
        guest.outcome("random_get", &[DATA, 2_500]),
        wait(Some(0), Interest::NONE)
    );
    assert_eq!(guest.resume(), wait(Some(0), Interest::NONE));
    assert_eq!(guest.resume(), Outcome::Return(0));
    let expected: Vec<u8> = (0..2_500_u32).map(|byte| byte as u8).collect();
    assert_eq!(guest.bytes(DATA, 2_501)[..2_500], expected);
    assert_eq!(guest.bytes(DATA + 2_500, 1), [0]);
}

#[test]
fn yield_gives_one_turn_to_others() {
    let mut guest = Guest::new();
    assert_eq!(guest.outcome("sched_yield", &[]), wait(Some(0), Interest::NONE));
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(guest.outcome("proc_exit", &[7]), Outcome::Exit(7));
}

#[test]
fn arguments_and_environment_are_strings_with_their_addresses() {
    let mut guest = Guest::new();
    guest.ok("args_sizes_get", &[OUT, OUT + 4]);
    assert_eq!((guest.word(OUT), guest.word(OUT + 4)), (2, 13));
    guest.ok("args_get", &[OUT, DATA]);
    assert_eq!(guest.bytes(DATA, 13), b"/app.wasm\0-v\0");
    assert_eq!((guest.word(OUT), guest.word(OUT + 4)), (DATA, DATA + 10));
    guest.ok("environ_sizes_get", &[OUT, OUT + 4]);
    assert_eq!((guest.word(OUT), guest.word(OUT + 4)), (1, 7));
    guest.ok("environ_get", &[OUT, DATA]);
    assert_eq!(guest.bytes(DATA, 7), b"HOME=/\0");
    assert_eq!(guest.word(OUT), DATA);
}

/// A guest with a listener at descriptor 4 and one connection that waits there.
fn server() -> Guest {
    let mut guest = Guest::new();
    assert_eq!(guest.wasi.add_listener(200), Ok(4));
    guest.world.connections.borrow_mut().push(Connection::default());
    guest
}

#[test]
fn connection_is_accepted_read_and_written_as_it_becomes_ready() {
    let mut guest = server();
    let sockets = wait(None, Interest::SOCKETS);
    assert_eq!(guest.outcome("sock_accept", &[4, 0, OUT]), sockets);
    guest.world.waiting.borrow_mut().push_back(0);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(guest.word(OUT), 5);
    let [vectors, count] = guest.vector(DATA, 300);
    let receive = [5, vectors, count, 0, OUT, OUT + 4];
    assert_eq!(guest.outcome("sock_recv", &receive), sockets);
    guest.world.connections.borrow_mut()[0]
        .received
        .extend(b"request");
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(
        (guest.word(OUT), guest.bytes(DATA, 7)),
        (7, b"request".as_slice())
    );
    // 300 bytes, of which 200 go at once.
    assert_eq!(guest.outcome("sock_send", &[5, vectors, count, 0, OUT]), sockets);
    guest.world.connections.borrow_mut()[0].room = 200;
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(guest.word(OUT), 200);
    guest.ok("sock_shutdown", &[5, 2]);
    guest.ok("fd_close", &[5]);
    let connections = guest.world.connections.borrow();
    assert!(connections[0].closed && connections[0].shut.is_some_and(|how| how.send && !how.receive));
}

#[test]
fn peeked_bytes_stay() {
    let mut guest = server();
    guest.world.waiting.borrow_mut().push_back(0);
    guest.ok("sock_accept", &[4, 4, OUT]);
    let [vectors, count] = guest.vector(DATA, 300);
    assert_eq!(
        guest.call("sock_recv", &[5, vectors, count, 1, OUT, OUT + 4]),
        6,
        "nonblocking"
    );
    guest.world.connections.borrow_mut()[0].received.extend(b"abc");
    for flags in [1, 1, 0] {
        guest.ok("sock_recv", &[5, vectors, count, flags, OUT, OUT + 4]);
        assert_eq!((guest.word(OUT), guest.bytes(DATA, 3)), (3, b"abc".as_slice()));
    }
    guest.world.connections.borrow_mut()[0].ended = true;
    guest.ok("fd_read", &[5, vectors, count, OUT]);
    assert_eq!(guest.word(OUT), 0);
    assert_eq!(guest.call("sock_recv", &[5, vectors, count, 2, OUT, OUT + 4]), 58);
}

#[test]
fn poll_waits_for_sockets() {
    let mut guest = server();
    descriptor(&mut guest, 0, 1, 4);
    assert_eq!(poll(&mut guest, 1), wait(None, Interest::SOCKETS));
    guest.world.waiting.borrow_mut().push_back(0);
    assert_eq!(guest.resume(), Outcome::Return(0));
    assert_eq!(events(&guest), [(100, 0, 1, 1)]);
}

#[test]
fn sockets_are_closed_when_the_instance_ends() {
    let mut guest = server();
    guest.world.waiting.borrow_mut().push_back(0);
    guest.ok("sock_accept", &[4, 0, OUT]);
    guest.on(|wasi, _, host| wasi.close(host));
    assert!(guest.world.connections.borrow()[0].closed);
    assert_eq!(guest.call("fd_close", &[1]), 8);
}
