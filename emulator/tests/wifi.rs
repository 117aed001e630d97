//! An unmodified embassy image, from reset to its network: the chip, PIO and DMA, the radio and what is behind it.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use picolet_emulator::net::{DEVICE, HOST, Impaired, Link, Local, Stream, User};
use picolet_emulator::radio::{AccessPoint, Air, Change, Config as RadioConfig, Cyw43439, Security};
use picolet_emulator::{Board, Config, Figures, SnapshotError, Stop, Time};
use support::client::pattern;
use support::image::{board, run_to, wifi};

const NAME: &str = "picolet";
const PASSPHRASE: &str = "correct horse";
const MINUTE: Time = Time::from_millis(60_000);

fn start(link: Box<dyn Link>) -> Board {
    let air = Air::new(vec![AccessPoint::new(NAME, Security::Wpa2(PASSPHRASE.into()))]);
    let radio = Box::new(Cyw43439::new(RadioConfig::default(), air, link));
    board(
        wifi(),
        Config {
            radio,
            ..Config::default()
        },
    )
}

/// Writes `data` to the device, closes, and keeps what comes back until the device closes.
fn exchange(local: &Local, port: u16, data: Vec<u8>) -> Arc<Mutex<(Vec<u8>, bool)>> {
    let result = Arc::new(Mutex::new((Vec::new(), false)));
    let seen = result.clone();
    let mut sent = 0;
    local.connect(
        SocketAddrV4::new(DEVICE, port),
        move |stream: &mut Stream<'_>, _now: Time| {
            if stream.is_connected() && sent < data.len() {
                sent += stream.write(&data[sent..]);
                if sent == data.len() {
                    stream.close();
                }
            }
            let mut seen = seen.lock().expect("no panic");
            let mut buffer = [0; 4096];
            loop {
                let length = stream.read(&mut buffer);
                if length == 0 {
                    break;
                }
                seen.0.extend_from_slice(&buffer[..length]);
            }
            seen.1 = stream.is_finished();
            None
        },
    );
    result
}

/// Runs until an exchange is over.
fn finish(board: &mut Board, exchange: &Mutex<(Vec<u8>, bool)>, limit: Duration) -> Vec<u8> {
    let end = board.time() + limit;
    while !exchange.lock().expect("no panic").1 {
        board.run_until(board.time() + Duration::from_millis(5));
        assert!(
            board.time() < end,
            "not done within {limit:?}: {}",
            String::from_utf8_lossy(&board.take_uart(0))
        );
    }
    exchange.lock().expect("no panic").0.clone()
}

/// FNV-1a, which the image counts with.
fn checksum(data: &[u8]) -> u32 {
    data.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[test]
fn boots_joins_and_moves_bytes_both_ways() {
    let local = Local::new(3);
    let mut board = start(local.link());
    let mut log = String::new();
    run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);
    let lines: Vec<_> = log
        .lines()
        .map(|line| line.split(" at ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        lines,
        [
            "start",
            "radio up",
            "radio set up",
            "joined",
            "address 10.0.2.15/24"
        ]
    );
    let status = board.radio().status();
    assert_eq!((status.joined.as_deref(), status.gpio & 1), (Some(NAME), 1));

    let data = pattern(200_000);
    let echo = exchange(&local, 7, data.clone());
    assert!(finish(&mut board, &echo, Duration::from_secs(30)) == data);
    let count = exchange(&local, 9, data.clone());
    let answer = [(data.len() as u32).to_be_bytes(), checksum(&data).to_be_bytes()].concat();
    assert_eq!(finish(&mut board, &count, Duration::from_secs(30)), answer);
    let source = exchange(&local, 19, (data.len() as u32).to_be_bytes().to_vec());
    assert!(finish(&mut board, &source, Duration::from_secs(30)) == data);
}

#[test]
fn every_run_to_dhcp_is_the_same_to_the_instruction() {
    let run = || {
        let mut board = start(Local::new(3).link());
        let mut log = String::new();
        run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);
        (board.figures(), log)
    };
    let first: (Figures, String) = run();
    let runs = std::env::var("PICOLET_EMULATOR_RUNS").map_or(3, |runs| runs.parse().expect("a number"));
    for _ in 1..runs {
        assert_eq!(run(), first);
    }
}

/// Moves that many bytes from a socket of the host to the device, and as many from the device to a socket of the host.
fn move_each_way(length: usize, conditions: &str) {
    let ports = ["127.0.77.2:0=9", "127.0.77.2:0=19"].map(|port| port.parse().expect("a port"));
    let user = User::new(&ports).expect("sockets");
    let published = user.published();
    let (sink, source) = (published[0].listen, published[1].listen);
    let conditions = conditions.parse().expect("conditions");
    let mut board = start(Box::new(Impaired::new(Box::new(user), conditions)));
    board.set_pace(Some(1.0));
    let mut log = String::new();
    run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);

    let mut run = |what: &str, thread: thread::JoinHandle<Vec<u8>>| {
        let (host, begun) = (Instant::now(), board.time());
        while !thread.is_finished() {
            let stop = board.run_until(board.time() + Duration::from_millis(10));
            assert_eq!(stop, Stop::Reached, "{stop}");
            // what is slower than a modem does not move
            let limit = Duration::from_secs(60 + length as u64 / 5_000);
            assert!(
                board.time().since(begun) < limit,
                "{what}: not done within {limit:?} of emulated time: {}",
                String::from_utf8_lossy(&board.take_uart(0))
            );
        }
        let (took, host) = (board.time().since(begun), host.elapsed());
        println!(
            "{what} {length} bytes: {:.1} s emulated, {} KB/s, in {:.1} s",
            took.as_secs_f64(),
            (length as f64 / took.as_secs_f64() / 1000.0) as u64,
            host.as_secs_f64()
        );
        thread.join().expect("no panic")
    };
    let data = pattern(length);
    let expected = [(length as u32).to_be_bytes(), checksum(&data).to_be_bytes()].concat();
    let sent = data.clone();
    let answer = run(
        "to the device",
        thread::spawn(move || {
            let mut stream = TcpStream::connect(sink).expect("connected");
            stream.write_all(&sent).expect("sent");
            stream.shutdown(Shutdown::Write).expect("shut");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("an answer");
            answer
        }),
    );
    assert_eq!(answer, expected);
    let came = run(
        "from the device",
        thread::spawn(move || {
            let mut stream = TcpStream::connect(source).expect("connected");
            stream.write_all(&(length as u32).to_be_bytes()).expect("sent");
            let mut came = Vec::new();
            stream.read_to_end(&mut came).expect("received");
            came
        }),
    );
    assert!(
        came == data,
        "{} bytes came, or they are not the same",
        came.len()
    );
}

/// A megabyte here; ten when they are asked for by name.
#[test]
fn a_megabyte_goes_each_way_between_device_and_sockets_of_the_host() {
    move_each_way(1_000_000, "");
}

#[test]
#[ignore = "minutes: cargo test --release -p picolet-emulator --test wifi -- --ignored --nocapture ten_megabytes"]
fn ten_megabytes_go_each_way_between_device_and_sockets_of_the_host() {
    move_each_way(10_000_000, "");
}

#[test]
#[ignore = "minutes: cargo test --release -p picolet-emulator --test wifi -- --ignored --nocapture five_percent"]
fn a_megabyte_comes_through_five_percent_of_loss_on_the_way_to_the_host() {
    move_each_way(1_000_000, "loss=5%,seed=7");
}

/// Lets the board idle, and then asks it for something.
fn idle(time: Duration) {
    let local = Local::new(3);
    let mut board = start(local.link());
    let mut log = String::new();
    run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);
    log.clear();
    let end = board.time() + time;
    while board.time() < end {
        let stop = board.run_until((board.time() + Duration::from_secs(60)).min(end));
        assert_eq!(stop, Stop::Reached, "{stop}");
        log.push_str(&String::from_utf8_lossy(&board.take_uart(0)));
    }
    assert_eq!(log, "", "nothing happened");
    assert_eq!(board.radio().status().joined.as_deref(), Some(NAME));
    let data = pattern(5_000);
    let echo = exchange(&local, 7, data.clone());
    assert!(finish(&mut board, &echo, Duration::from_secs(30)) == data);
}

#[test]
fn an_idle_board_stays_reachable() {
    idle(Duration::from_secs(600));
}

#[test]
#[ignore = "minutes: cargo test --release -p picolet-emulator --test wifi -- --ignored a_day"]
fn a_day_of_idling_changes_nothing() {
    idle(Duration::from_secs(24 * 60 * 60));
}

#[test]
fn bytes_come_through_five_percent_of_loss() {
    let local = Local::new(3);
    let conditions = "loss=5%,delay=2ms,seed=11".parse().expect("conditions");
    let mut board = start(Box::new(Impaired::new(local.link(), conditions)));
    let mut log = String::new();
    run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);
    let data = pattern(50_000);
    let echo = exchange(&local, 7, data.clone());
    assert!(finish(&mut board, &echo, Duration::from_secs(600)) == data);
}

#[test]
fn an_access_point_goes_and_comes_back() {
    let local = Local::new(3);
    let mut board = start(local.link());
    let mut log = String::new();
    run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);
    let now = board.time();
    let radio = board
        .radio()
        .as_any_mut()
        .downcast_mut::<Cyw43439>()
        .expect("the radio that was plugged in");
    let bssid = radio.air().access_points()[0].bssid;
    radio
        .air_mut()
        .plan(now + Duration::from_secs(1), Change::Present(bssid, false));
    radio
        .air_mut()
        .plan(now + Duration::from_secs(15), Change::Present(bssid, true));
    log.clear();
    run_to(
        &mut board,
        &mut log,
        "lost the link",
        now + Duration::from_secs(12),
    );
    assert_eq!(board.radio().status().joined, None);
    run_to(&mut board, &mut log, "not joined: NetworkNotFound", MINUTE);
    run_to(&mut board, &mut log, "\njoined", MINUTE);
    let data = pattern(5_000);
    let echo = exchange(&local, 7, data.clone());
    assert!(finish(&mut board, &echo, Duration::from_secs(30)) == data);
}

#[test]
fn a_snapshot_goes_on_with_another_network() {
    let local = Local::new(3);
    let mut board = start(local.link());
    let mut log = String::new();
    run_to(&mut board, &mut log, "radio set up", MINUTE);
    let early = board.snapshot();
    run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);
    let joined = board.snapshot();
    assert_eq!(board.restore(&joined), Err(SnapshotError::Network));
    // what was joined still is, and answers whoever connects
    let figures = [0, 1].map(|_| {
        let local = Local::new(3);
        board.restore_with(&joined, local.link());
        let data = pattern(5_000);
        let echo = exchange(&local, 7, data.clone());
        assert!(finish(&mut board, &echo, Duration::from_secs(30)) == data);
        board.figures()
    });
    assert_eq!(figures[0], figures[1]);
    // what had not joined does, and what lost its power too
    for cut in [false, true] {
        board.restore_with(&early, Local::new(3).link());
        if cut {
            board.power_cycle();
        }
        run_to(&mut board, &mut String::new(), "address 10.0.2.15/24", MINUTE);
    }
}

#[test]
fn a_wrong_passphrase_is_told_apart_from_a_missing_network() {
    let ap = AccessPoint::new(NAME, Security::Wpa2("another one".into()));
    let radio = Box::new(Cyw43439::new(
        RadioConfig::default(),
        Air::new(vec![ap]),
        Local::new(3).link(),
    ));
    let mut board = board(
        wifi(),
        Config {
            radio,
            ..Config::default()
        },
    );
    run_to(
        &mut board,
        &mut String::new(),
        "not joined: AuthenticationFailure",
        MINUTE,
    );
}

#[test]
fn servers_of_the_host_and_of_the_device_reach_each_other() {
    const LENGTH: usize = 200_000;
    let user = User::new(&[
        "127.0.77.2:0=7".parse().expect("a port"),
        "127.0.77.2:0=5000".parse().expect("a port"),
    ])
    .expect("sockets");
    let published = user.published();
    let (echo, visit) = (published[0].listen, published[1].listen);
    let mut board = start(Box::new(user));
    board.set_pace(Some(1.0));
    let mut log = String::new();
    run_to(&mut board, &mut log, "address 10.0.2.15/24", MINUTE);

    // The host connects to the device.
    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(echo).expect("connected");
        let mut writer = stream.try_clone().expect("a clone");
        let sender = thread::spawn(move || {
            writer.write_all(&pattern(LENGTH)).expect("sent");
            writer.shutdown(Shutdown::Write).expect("shut");
        });
        let mut came = Vec::new();
        stream.read_to_end(&mut came).expect("received");
        sender.join().expect("no panic");
        came
    });
    // The device connects to the host, where everything comes back.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = u32::from(listener.local_addr().expect("an address").port());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..length]).expect("sent");
        }
    });
    let command = thread::spawn(move || {
        let mut stream = TcpStream::connect(visit).expect("connected");
        for word in [u32::from(HOST), port, LENGTH as u32] {
            stream.write_all(&word.to_be_bytes()).expect("sent");
        }
        let mut right = [0; 4];
        stream.read_exact(&mut right).expect("an answer");
        u32::from_be_bytes(right)
    });
    let end = board.time() + Duration::from_secs(120);
    while !(client.is_finished() && command.is_finished()) {
        board.run_until(board.time() + Duration::from_millis(10));
        assert!(
            board.time() < end,
            "{}",
            String::from_utf8_lossy(&board.take_uart(0))
        );
    }
    assert!(client.join().expect("no panic") == pattern(LENGTH));
    assert_eq!(command.join().expect("no panic"), LENGTH as u32);
}
