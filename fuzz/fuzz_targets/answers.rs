//! What the local network answers to a board, through the very stack that the board runs: DHCP, DNS and the time, and
//! frames of any kind between them. Whatever came, a board with a fixed address learns the time as soon as honest answers come.
#![no_main]

use std::collections::VecDeque;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use embassy_net::dns::DnsQueryType;
use embassy_net::driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Config, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_time::{Duration, MockDriver, with_timeout};
use libfuzzer_sys::fuzz_target;
use picolet_device::sntp;

const MTU: usize = 1514;
const BOARD: [u8; 6] = [0x28, 0xcd, 0xc1, 0, 0, 1];
const ROUTER: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const MARK: u64 = 0x0123_4567_89ab_cdef;
/// 2026-01-01 in NTP's seconds.
const NOW: u64 = (1_767_225_600 + 2_208_988_800) << 32;

/// The two ends of a cable.
#[derive(Default)]
struct Cable {
    to_board: VecDeque<Vec<u8>>,
    from_board: VecDeque<Vec<u8>>,
}

struct Port<'a>(&'a std::cell::RefCell<Cable>);
struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, read: F) -> R {
        read(&mut self.0)
    }
}

impl TxToken for Port<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.borrow_mut().from_board.push_back(frame);
        result
    }
}

impl<'a> Driver for Port<'a> {
    type RxToken<'b>
        = Received
    where
        Self: 'b;
    type TxToken<'b>
        = Port<'a>
    where
        Self: 'b;

    fn receive(&mut self, _: &mut Context<'_>) -> Option<(Received, Port<'a>)> {
        let frame = self.0.borrow_mut().to_board.pop_front()?;
        Some((Received(frame), Port(self.0)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Port<'a>> {
        Some(Port(self.0))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(BOARD)
    }
}

/// The last question of each kind, as the board sent it.
#[derive(Default)]
struct Asked {
    dhcp: Option<Vec<u8>>,
    dns: Option<(u16, Vec<u8>)>,
    ntp: Option<(u16, Vec<u8>)>,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

impl Asked {
    /// Looks at a frame of the board; what asks for an address on the cable is answered at once.
    fn look(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        match word(frame, 12) {
            0x0806 => {
                let mut answer = [&BOARD[..], &ROUTER, &frame[12..20], &[0, 2], &ROUTER].concat();
                answer.extend(&frame[38..42]);
                answer.extend(&frame[22..32]);
                return Some(answer);
            }
            0x0800 if frame[23] == 17 => {
                let udp = &frame[14 + usize::from(frame[14] & 15) * 4..];
                let (from, to, payload) = (word(udp, 0), word(udp, 2), udp[8..].to_vec());
                match to {
                    67 => self.dhcp = Some(payload),
                    53 => self.dns = Some((from, payload)),
                    123 => self.ntp = Some((from, payload)),
                    _ => {}
                }
            }
            _ => {}
        }
        None
    }
}

fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

fn datagram(to: Ipv4Addr, (from_port, to_port): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(MTU - 42)];
    let length = (8 + payload.len()) as u16;
    let mut udp = [
        from_port.to_be_bytes(),
        to_port.to_be_bytes(),
        length.to_be_bytes(),
        [0, 0],
    ]
    .concat();
    udp.extend(payload);
    let addresses = [SERVER.octets(), to.octets()].concat();
    let check = sum(&[&addresses, &[0, 17], &length.to_be_bytes(), &udp]);
    udp[6..8].copy_from_slice(&check.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + length).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(&addresses);
    let check = sum(&[&ip]);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    [&BOARD[..], &ROUTER, &[8, 0], &ip, &udp].concat()
}

/// A DHCP answer with these options, to the question that the board asked last.
fn lease(question: &[u8], options: &[u8]) -> Vec<u8> {
    let mut answer = vec![2, 1, 6, 0];
    answer.extend(&question[4..8]);
    answer.extend([0; 8]);
    answer.extend(ADDRESS.octets());
    answer.extend(SERVER.octets());
    answer.extend([0; 4]);
    answer.extend(&question[28..34]);
    answer.resize(236, 0);
    answer.extend([0x63, 0x82, 0x53, 0x63]);
    answer.extend(options);
    datagram(Ipv4Addr::BROADCAST, (67, 68), &answer)
}

/// The options of an honest answer: an offer to a discovery, else an acknowledgement.
fn honest(question: &[u8]) -> Vec<u8> {
    let discovers = question[240..].windows(3).any(|option| option == [53, 1, 1]);
    let mut options = vec![
        53,
        1,
        if discovers { 2 } else { 5 },
        51,
        4,
        0,
        0,
        0x0e,
        0x10,
        1,
        4,
        255,
        255,
        255,
        0,
    ];
    for (code, address) in [(54, SERVER), (3, SERVER), (6, SERVER)] {
        options.extend([code, 4]);
        options.extend(address.octets());
    }
    options.push(255);
    options
}

/// The address of a name: DNS's header and question as they came, then `record`.
fn named(question: &[u8], record: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[7] = 1;
    answer.extend(record);
    answer
}

const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 2, 2];

fn timed(question: &[u8], transmit: [u8; 8]) -> Vec<u8> {
    let mut answer = vec![0; sntp::PACKET];
    answer[..2].copy_from_slice(&[4 << 3 | 4, 1]);
    answer[24..32].copy_from_slice(&question[40..48]);
    answer[40..].copy_from_slice(&transmit);
    answer
}

/// One answer of a kind, to what was asked, out of these bytes.
fn answer(kind: u8, asked: &Asked, address: Ipv4Addr, bytes: &[u8]) -> Option<Vec<u8>> {
    let dhcp = asked.dhcp.as_deref();
    let dns = asked.dns.as_ref().map(|(port, question)| ((53, *port), question));
    let ntp = asked
        .ntp
        .as_ref()
        .map(|(port, question)| ((123, *port), question));
    Some(match kind {
        0 => bytes.get(..bytes.len().min(MTU))?.to_vec(),
        1 => lease(dhcp?, bytes),
        2 => lease(dhcp?, &honest(dhcp?)),
        3 => datagram(address, dns?.0, &[&dns?.1[..2], bytes].concat()),
        4 => datagram(address, dns?.0, &named(dns?.1, bytes)),
        5 => datagram(address, dns?.0, &named(dns?.1, &RECORD)),
        6 => datagram(address, ntp?.0, bytes),
        _ => {
            let transmit = bytes.first_chunk().copied().unwrap_or(NOW.to_be_bytes());
            datagram(address, ntp?.0, &timed(ntp?.1, transmit))
        }
    })
}

/// Asks as the board does, until a time is `NOW`.
async fn learn_the_time(stack: Stack<'_>) {
    let (mut received, mut sending) = ([PacketMetadata::EMPTY; 2], [PacketMetadata::EMPTY; 2]);
    let (mut receive, mut send) = ([0; 2 * sntp::PACKET], [0; 2 * sntp::PACKET]);
    let mut socket = UdpSocket::new(stack, &mut received, &mut receive, &mut sending, &mut send);
    socket.bind(0).expect("a free port");
    let patience = Duration::from_secs(3);
    loop {
        let _ = with_timeout(patience, async {
            let Ok(addresses) = stack.dns_query("pool.ntp.org", DnsQueryType::A).await else {
                // There is no server yet.
                embassy_time::Timer::after_millis(50).await;
                return None;
            };
            let server = *addresses.first()?;
            socket
                .send_to(&sntp::question(MARK), (server, sntp::PORT))
                .await
                .ok()?;
            Some(())
        })
        .await;
        let heard = async {
            loop {
                let mut answer = [0; sntp::PACKET];
                if let Ok((length, _)) = socket.recv_from(&mut answer).await
                    && let Some(time) = sntp::time(&answer[..length], MARK)
                {
                    break time;
                }
            }
        };
        if with_timeout(patience, heard).await == Ok(1_767_225_600_000_000) {
            return;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, mut data)) = data.split_first() else {
        return;
    };
    let fixed = first & 1 != 0;
    MockDriver::get().reset();
    let cable = std::cell::RefCell::default();
    let mut resources = StackResources::<3>::new();
    let config = if fixed {
        Config::ipv4_static(StaticConfigV4 {
            address: Ipv4Cidr::new(ADDRESS, 24),
            gateway: Some(SERVER),
            dns_servers: [SERVER].into_iter().collect(),
        })
    } else {
        Config::dhcpv4(Default::default())
    };
    let (stack, mut runner) = embassy_net::new(Port(&cable), config, &mut resources, 7);
    let mut run = pin!(runner.run());
    let mut learn = pin!(learn_the_time(stack));
    let mut asked = Asked::default();
    let mut context = Context::from_waker(Waker::noop());
    // Everything that can happen now; true when the time is known.
    let mut settle = |asked: &mut Asked| {
        let mut learned = false;
        for _ in 0..4 {
            let _ = run.as_mut().poll(&mut context);
            learned = learned || learn.as_mut().poll(&mut context) == Poll::Ready(());
            let sent: Vec<_> = cable.borrow_mut().from_board.drain(..).collect();
            let answers = sent.iter().filter_map(|frame| asked.look(frame));
            let answers: Vec<_> = answers.collect();
            cable.borrow_mut().to_board.extend(answers);
            if learned {
                return true;
            }
        }
        false
    };
    let own = || {
        stack
            .config_v4()
            .map_or(ADDRESS, |config| config.address.address())
    };
    let mut steps = 0;
    while let [kind, length, rest @ ..] = data
        && steps < 64
    {
        steps += 1;
        if settle(&mut asked) {
            return;
        }
        let (bytes, next) = rest.split_at(usize::from(*length).min(rest.len()));
        data = next;
        if let Some(frame) = answer(kind & 7, &asked, own(), bytes) {
            cable.borrow_mut().to_board.push_back(frame);
        }
        MockDriver::get().advance(Duration::from_millis(1 << (kind >> 4)));
    }
    if !fixed {
        return;
    }
    // From now on all that is asked is answered as it should be.
    for _ in 0..1000 {
        if settle(&mut asked) {
            return;
        }
        for kind in [5, 7] {
            if let Some(frame) = answer(kind, &asked, ADDRESS, &[]) {
                cable.borrow_mut().to_board.push_back(frame);
            }
        }
        MockDriver::get().advance(Duration::from_millis(100));
    }
    panic!("the time is not learned from honest answers");
});
