//! The networks, with smoltcp for a device.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use picolet_emulator::Time;
use picolet_emulator::net::{
    Captured, Conditions, DEVICE, DNS, HOST, Impaired, Link, Local, Publish, Stream, User,
};
use proptest::prelude::*;
use smoltcp::socket::{dns, icmp, tcp, udp};
use smoltcp::wire::{DnsQueryType, Icmpv4Packet, Icmpv4Repr, IpAddress};
use support::client::{Client, at, pattern};

const LONG: Duration = Duration::from_secs(600);

/// Sends back what comes, and closes when the device does.
fn echo() -> impl FnMut(&mut Stream<'_>, Time) -> Option<Time> + Send {
    |stream: &mut Stream<'_>, _now: Time| {
        let mut buffer = [0; 4096];
        loop {
            let room = stream.room().min(buffer.len());
            let length = stream.read(&mut buffer[..room]);
            if length == 0 {
                break;
            }
            stream.write(&buffer[..length]);
        }
        if stream.is_finished() {
            stream.close();
        }
        None
    }
}

/// A network that sends everything back on port 7.
fn local() -> Local {
    let local = Local::new(7);
    local.serve(7, echo);
    local
}

#[test]
fn a_device_gets_its_address_and_everything_with_it() {
    let mut client = Client::configured(local().link());
    assert_eq!(client.interface.ipv4_addr(), Some(DEVICE));
    assert_eq!(client.dns_servers, [DNS]);
    assert!(client.now < Time::from_millis(100), "{}", client.now);
    // For a day, with a renewal of the lease.
    client.wait(Duration::from_secs(24 * 3600));
    assert_eq!(client.interface.ipv4_addr(), Some(DEVICE));
}

#[test]
fn echo_requests_are_answered() {
    let mut client = Client::configured(local().link());
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 1024]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(9)).expect("bound");
    let handle = client.sockets.add(socket);
    let request = Icmpv4Repr::EchoRequest {
        ident: 9,
        seq_no: 1,
        data: b"picolet",
    };
    let socket = client.sockets.get_mut::<icmp::Socket<'_>>(handle);
    let payload = socket
        .send(request.buffer_len(), IpAddress::from(HOST))
        .expect("room");
    request.emit(
        &mut Icmpv4Packet::new_unchecked(payload),
        &smoltcp::phy::ChecksumCapabilities::default(),
    );
    client.until(LONG, |client| {
        client.sockets.get_mut::<icmp::Socket<'_>>(handle).can_recv()
    });
}

#[test]
fn names_are_resolved() {
    let local = local();
    local.name("api.example", &[Ipv4Addr::new(10, 0, 2, 77)]);
    let mut client = Client::configured(local.link());
    let handle = client
        .sockets
        .add(dns::Socket::new(&[IpAddress::from(DNS)], Vec::new()));
    for (name, expected) in [
        ("api.example", Some(IpAddress::v4(10, 0, 2, 77))),
        ("0.pool.ntp.org", Some(HOST.into())),
        ("nowhere.example", None),
    ] {
        let context = client.interface.context();
        let socket = client.sockets.get_mut::<dns::Socket<'_>>(handle);
        let query = socket
            .start_query(context, name, DnsQueryType::A)
            .expect("a query");
        let mut answer = None;
        client.until(LONG, |client| {
            match client
                .sockets
                .get_mut::<dns::Socket<'_>>(handle)
                .get_query_result(query)
            {
                Err(dns::GetQueryResultError::Pending) => false,
                Err(dns::GetQueryResultError::Failed) => true,
                Ok(addresses) => {
                    answer = addresses.first().copied();
                    true
                }
            }
        });
        assert_eq!(answer, expected, "{name}");
    }
}

fn datagrams(client: &mut Client, port: u16) -> smoltcp::iface::SocketHandle {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(port).expect("bound");
    client.sockets.add(socket)
}

fn ask(
    client: &mut Client,
    handle: smoltcp::iface::SocketHandle,
    to: (Ipv4Addr, u16),
    question: &[u8],
) -> Vec<u8> {
    client
        .sockets
        .get_mut::<udp::Socket<'_>>(handle)
        .send_slice(question, to)
        .expect("sent");
    let mut answer = Vec::new();
    client.until(LONG, |client| {
        client
            .sockets
            .get_mut::<udp::Socket<'_>>(handle)
            .recv()
            .is_ok_and(|(bytes, _)| {
                answer = bytes.to_vec();
                true
            })
    });
    answer
}

#[test]
fn the_time_and_other_datagrams_are_answered() {
    let local = local();
    local.set_clock(1_800_000_000_000_000_000);
    local.serve_datagrams(5000, |_from, datagram: &[u8], _now: Time| {
        Some(datagram.iter().rev().copied().collect())
    });
    let mut client = Client::configured(local.link());
    let handle = datagrams(&mut client, 4000);
    let mut request = [0; 48];
    request[0] = 0x23;
    client.wait(Duration::from_secs(10));
    let seconds = client.now.as_micros() / 1_000_000;
    let answer = ask(&mut client, handle, (HOST, 123), &request);
    let told = u32::from_be_bytes(answer[40..44].try_into().expect("four bytes"));
    assert_eq!(
        u64::from(told),
        (1_800_000_000 + 2_208_988_800 + seconds) & 0xffff_ffff
    );
    assert_eq!(
        ask(&mut client, handle, (Ipv4Addr::new(192, 0, 2, 9), 5000), b"abc"),
        b"cba"
    );
}

#[test]
fn bytes_come_back_in_order() {
    let mut client = Client::configured(local().link());
    let handle = client.connect((HOST, 7), 40_000);
    let data = pattern(1_000_000);
    assert!(client.exchange(handle, &data, LONG) == data);
}

#[test]
fn a_port_without_a_server_refuses() {
    let mut client = Client::configured(local().link());
    let handle = client.connect((HOST, 8), 40_000);
    client.until(Duration::from_secs(1), |client| {
        client.socket(handle).state() == tcp::State::Closed
    });
}

#[test]
fn the_network_connects_to_the_device() {
    let local = local();
    let mut client = Client::configured(local.link());
    let handle = client.tcp();
    client.socket(handle).listen(10_250).expect("listening");
    let reply = Arc::new(Mutex::new(Vec::<u8>::new()));
    let seen = reply.clone();
    let mut asked = false;
    local.connect(at(DEVICE, 10_250), move |stream: &mut Stream<'_>, _now: Time| {
        if stream.is_connected() && !asked {
            asked = true;
            assert_eq!(stream.write(b"ping"), 4);
        }
        let mut buffer = [0; 16];
        let length = stream.read(&mut buffer);
        seen.lock().expect("no panic").extend(&buffer[..length]);
        if stream.is_finished() {
            stream.close();
        }
        None
    });
    client.until(LONG, |client| client.socket(handle).can_recv());
    let socket = client.socket(handle);
    socket
        .recv(|bytes| (bytes.len(), assert_eq!(bytes, b"ping")))
        .expect("received");
    socket.send_slice(b"pong").expect("sent");
    socket.close();
    client.until(LONG, |client| {
        client.socket(handle).state() == tcp::State::TimeWait
    });
    assert_eq!(*reply.lock().expect("no panic"), b"pong");
}

#[test]
fn a_handler_is_called_when_it_asked_to_be() {
    let local = Local::new(1);
    // Says one byte a second, three times.
    local.serve(9, || {
        let mut next = None;
        let mut said = 0;
        move |stream: &mut Stream<'_>, now: Time| {
            let due: Time = *next.get_or_insert(now + Duration::from_secs(1));
            if now >= due && said < 3 {
                said += stream.write(b".");
                next = Some(due + Duration::from_secs(1));
                if said == 3 {
                    stream.close();
                }
            }
            if said < 3 { next } else { None }
        }
    });
    let mut client = Client::configured(local.link());
    let start = client.now;
    let handle = client.connect((HOST, 9), 40_000);
    let mut came = Vec::new();
    client.until(LONG, |client| {
        let now = client.now;
        let socket = client.socket(handle);
        let _ = socket.recv(|bytes| {
            came.extend(bytes.iter().map(|_| now.since(start).as_millis()));
            (bytes.len(), ())
        });
        !socket.may_recv() && socket.state() != tcp::State::SynSent
    });
    assert_eq!(came.len(), 3);
    assert!(
        came.iter()
            .zip(1..)
            .all(|(at, second)| at.abs_diff(second * 1000) < 20),
        "{came:?}"
    );
}

#[test]
fn every_run_is_the_same() {
    let run = |seed: u64| {
        let conditions = Conditions {
            loss: 0.05,
            jitter: Duration::from_millis(3),
            seed,
            ..Conditions::default()
        };
        let mut client = Client::configured(Box::new(Impaired::new(local().link(), conditions)));
        let handle = client.connect((HOST, 7), 40_000);
        client.exchange(handle, &pattern(50_000), LONG);
        client.log
    };
    let first = run(1);
    assert!(first == run(1), "two runs differ");
    assert!(first != run(2), "the seed does not matter");
}

#[test]
fn bytes_come_through_a_bad_network() {
    for conditions in [
        "loss=5%,delay=5ms,jitter=2ms",
        "duplicate=10%,reorder=10%,delay=5ms",
        "corrupt=3%",
        "bandwidth=256k,delay=40ms",
        "cut=2s-4s,delay=20ms,bandwidth=1M",
    ] {
        let conditions = conditions.parse().expect("conditions");
        let mut client = Client::configured(Box::new(Impaired::new(local().link(), conditions)));
        let handle = client.connect((HOST, 7), 40_000);
        let data = pattern(200_000);
        assert!(client.exchange(handle, &data, Duration::from_secs(6000)) == data);
    }
}

fn user(publish: &str) -> (Client, Vec<Publish>) {
    let publish: Vec<Publish> = (!publish.is_empty())
        .then(|| publish.parse().expect("a port"))
        .into_iter()
        .collect();
    let user = User::new(&publish).expect("sockets");
    let published = user.published();
    let mut client = Client::new(Box::new(user));
    client.paced = true;
    client.until(Duration::from_secs(60), |client| {
        client.interface.ipv4_addr().is_some()
    });
    (client, published)
}

#[test]
fn the_device_reaches_servers_of_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut buffer = [0; 10_000];
        let mut total = 0;
        loop {
            match stream.read(&mut buffer).expect("bytes") {
                0 => return total,
                length => {
                    total += length;
                    stream.write_all(&buffer[..length]).expect("sent");
                }
            }
        }
    });
    let (mut client, _) = user("");
    let handle = client.connect((HOST, port), 40_000);
    let data = pattern(2_000_000);
    assert!(client.exchange(handle, &data, LONG) == data);
    assert_eq!(server.join().expect("no panic"), data.len());
}

#[test]
fn a_closed_port_of_the_host_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let (mut client, _) = user("");
    let handle = client.connect((HOST, port), 40_000);
    client.until(Duration::from_secs(5), |client| {
        client.socket(handle).state() == tcp::State::Closed
    });
}

#[test]
fn a_published_port_leads_to_the_device() {
    let (mut client, published) = user("127.0.77.1:0=10250");
    let listen = published[0].listen;
    for round in 0..3 {
        let handle = client.tcp();
        client.socket(handle).listen(10_250).expect("listening");
        let host = thread::spawn(move || {
            let mut stream = TcpStream::connect(listen).expect("connected");
            stream.write_all(&pattern(100_000)).expect("sent");
            stream.shutdown(Shutdown::Write).expect("shut");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("an answer");
            answer
        });
        let mut came = Vec::new();
        client.until(LONG, |client| {
            let socket = client.socket(handle);
            while socket.can_recv() {
                socket
                    .recv(|bytes| (bytes.len(), came.extend_from_slice(bytes)))
                    .expect("received");
            }
            if socket.state() == tcp::State::CloseWait {
                socket
                    .send_slice(format!("round {round}").as_bytes())
                    .expect("sent");
                socket.close();
            }
            socket.state() == tcp::State::Closed
        });
        assert!(came == pattern(100_000));
        assert_eq!(
            host.join().expect("no panic"),
            format!("round {round}").into_bytes()
        );
        client.sockets.remove(handle);
    }
}

#[test]
fn a_published_port_that_the_device_does_not_serve_is_closed() {
    let (mut client, published) = user("127.0.77.1:0=10250");
    let listen = published[0].listen;
    let host = thread::spawn(move || {
        let mut stream = TcpStream::connect(listen).expect("connected");
        let mut answer = Vec::new();
        // Reset or closed: nothing comes either way.
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    client.until(LONG, |_| host.is_finished());
    assert_eq!(host.join().expect("no panic"), b"");
}

#[test]
fn datagrams_go_out_and_come_back() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            buffer[..length].reverse();
            let _ = server.send_to(&buffer[..length], from);
        }
    });
    let (mut client, _) = user("");
    let handle = datagrams(&mut client, 4000);
    assert_eq!(ask(&mut client, handle, (HOST, port), b"abc"), b"cba");
    assert_eq!(ask(&mut client, handle, (HOST, port), b"defg"), b"gfed");
    // And the host's clock.
    let mut request = [0; 48];
    request[0] = 0x23;
    let answer = ask(&mut client, handle, (HOST, 123), &request);
    let seconds = u32::from_be_bytes(answer[40..44].try_into().expect("four bytes"));
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("a clock")
        .as_secs()
        + 2_208_988_800;
    assert!(u64::from(seconds).abs_diff(now & 0xffff_ffff) <= 2);
}

#[test]
fn a_capture_can_be_opened() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let link = Captured::new(local().link(), file.reopen().expect("the file")).expect("written");
    let mut client = Client::configured(Box::new(link));
    let handle = client.connect((HOST, 7), 40_000);
    client.exchange(handle, b"picolet", LONG);
    let frames = client.log.len();
    drop(client);
    let bytes = std::fs::read(file.path()).expect("the file");
    assert_eq!(bytes[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
    let mut at = 24;
    let mut records = 0;
    while at < bytes.len() {
        at += 16 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        records += 1;
    }
    assert_eq!((at, records), (bytes.len(), frames));
    // The program that it is meant for.
    let Some(tshark) = picolet_oracle::find("tshark", "tshark") else {
        return;
    };
    let output = std::process::Command::new(tshark)
        .arg("-r")
        .arg(file.path())
        .args(["-Y", "dhcp or tcp.payload"])
        .output()
        .expect("tshark runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("DHCP ACK") || text.contains("ACK"), "{text}");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A frame that starts like one and is anything behind that.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![
        Just(vec![0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]),
        Just(vec![0x08, 0x00, 0x45]),
        proptest::collection::vec(any::<u8>(), 0..30),
    ];
    (
        any::<bool>(),
        header,
        proptest::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(ours, header, rest)| {
            let mut frame = if ours {
                vec![0x02, 0x50, 0x49, 0x43, 0x4f, 0x02]
            } else {
                vec![0xff; 6]
            };
            frame.extend([0x28, 0xcd, 0xc1, 1, 2, 3]);
            frame.extend(header);
            frame.extend(rest);
            frame
        })
}

/// An IP packet whose checksums hold, so that what is inside is looked at.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()];
    let port = prop_oneof![Just(7u16), Just(53), Just(67), Just(123), any::<u16>()];
    (
        protocol,
        port,
        1u16..,
        any::<[u8; 12]>(),
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(protocol, to, from, header, payload)| {
            let mut body = Vec::new();
            body.extend(from.to_be_bytes());
            body.extend(to.to_be_bytes());
            if protocol == 17 {
                body.extend((8 + payload.len() as u16).to_be_bytes());
                body.extend([0, 0]);
            } else {
                body.extend(&header[..8]);
                body.extend([0x50, header[9] & 0x3f, header[10], header[11], 0, 0, 0, 0]);
            }
            body.extend(&payload);
            ip(protocol, body)
        })
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum()
}

fn fold(mut sum: u32) -> [u8; 2] {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

fn ip(protocol: u8, mut body: Vec<u8>) -> Vec<u8> {
    let pseudo = sum(&DEVICE.octets()) + sum(&HOST.octets()) + u32::from(protocol) + body.len() as u32;
    let at = match protocol {
        6 if body.len() >= 20 => Some((16, pseudo)),
        1 if body.len() >= 8 => Some((2, 0)),
        _ => None,
    };
    if let Some((at, start)) = at {
        body[at..at + 2].fill(0);
        let checksum = fold(start + sum(&body));
        body[at..at + 2].copy_from_slice(&checksum);
    }
    let mut header = vec![0x45, 0];
    header.extend((20 + body.len() as u16).to_be_bytes());
    header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    header.extend(DEVICE.octets());
    header.extend(HOST.octets());
    let checksum = fold(sum(&header));
    header[10..12].copy_from_slice(&checksum);
    let mut frame = vec![
        0x02, 0x50, 0x49, 0x43, 0x4f, 0x02, 0x28, 0xcd, 0xc1, 1, 2, 3, 8, 0,
    ];
    frame.extend(header);
    frame.extend(body);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_frame_of_a_device_makes_a_network_panic(
        frames in proptest::collection::vec((prop_oneof![frame(), packet()], 0u64..2_000), 1..60),
        conditions in prop_oneof![Just(""), Just("loss=10%,corrupt=50%,duplicate=20%,reorder=20%,jitter=5ms")],
    ) {
        let mut link: Box<dyn Link> =
            Box::new(Impaired::new(local().link(), conditions.parse().expect("conditions")));
        let mut now = Time::ZERO;
        for (frame, millis) in frames {
            link.send(&frame, now);
            let mut taken = 0;
            while link.receive(now).is_some() {
                taken += 1;
                prop_assert!(taken < 2_000, "it never ends");
            }
            now = now + Duration::from_millis(millis);
            // Time goes on from event to event, and never stands still.
            for _ in 0..100 {
                match link.next_event() {
                    Some(at) if at < now => while link.receive(at).is_some() {},
                    _ => break,
                }
            }
        }
    }
}
