//! The other end of the wire: one Ethernet station that answers for every address that the device may ask for.
//!
//! smoltcp does ARP, IP, ICMP and TCP. What it is not made for is done here with its wire formats: DHCP as a server,
//! and datagrams of UDP for any address. Who listens on which port is decided above.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, HardwareAddress,
    IpCidr, IpProtocol, IpRepr, Ipv4Cidr, Ipv4Packet, Ipv4Repr, TcpPacket, UdpPacket, UdpRepr,
};

use super::addresses::{DNS, HOST};
use super::dhcp;
use crate::Time;

/// The Ethernet address of the other end.
const ADDRESS: EthernetAddress = EthernetAddress([0x02, 0x50, 0x49, 0x43, 0x4f, 0x02]);
/// Bytes that a TCP connection holds in each direction.
const BUFFER: usize = 32 * 1024;
/// Frames that wait for the device to be polled; more are lost.
const QUEUE: usize = 1024;
/// When smoltcp wants to be polled again at once although nothing has changed.
const AGAIN: Duration = Duration::from_millis(1);

/// The longest Ethernet frame, without its checksum.
pub(super) const LARGEST_FRAME: usize = 1514;

/// What a frame of the device means to the layers above.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// smoltcp alone has to do with it.
    Protocol,
    /// The device opens a connection.
    Open { from: SocketAddrV4, to: SocketAddrV4 },
    /// A datagram. It has not been answered.
    Datagram {
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: Vec<u8>,
    },
    /// Nothing that anybody here takes.
    Other,
}

/// Frames between smoltcp and the device.
#[derive(Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

struct Incomer(Vec<u8>);
struct Outgoer<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Incomer {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoer<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Incomer;
    type TxToken<'a> = Outgoer<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Incomer, Outgoer<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Incomer(frame), Outgoer(&mut self.outgoing)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Outgoer<'_>> {
        (self.outgoing.len() < QUEUE).then_some(Outgoer(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = LARGEST_FRAME;
        capabilities
    }
}

/// The station.
pub(super) struct Stack {
    interface: Interface,
    pub(super) sockets: SocketSet<'static>,
    queues: Queues,
    leases: dhcp::Leases,
    /// The device's Ethernet address, which datagrams go to.
    device: EthernetAddress,
    /// The next local port of a connection to the device.
    next_port: u16,
}

fn instant(time: Time) -> Instant {
    Instant::from_micros(i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

impl Stack {
    pub(super) fn new(seed: u64) -> Self {
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ethernet(ADDRESS));
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut queues, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            for address in [HOST, DNS] {
                // There is room for two.
                let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(address, 24)));
            }
        });
        interface.set_any_ip(true);
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            queues,
            leases: dhcp::Leases::default(),
            device: EthernetAddress::BROADCAST,
            next_port: 49_152,
        }
    }

    /// Takes a frame of the device. DHCP is answered here; the caller sees to connections and datagrams, and then
    /// lets [`Stack::feed`] hand the frame to smoltcp unless it was a datagram that it took.
    pub(super) fn classify(&mut self, frame: &[u8]) -> Incoming {
        self.classify_checked(frame).unwrap_or(Incoming::Other)
    }

    fn classify_checked(&mut self, frame: &[u8]) -> Option<Incoming> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.dst_addr() != ADDRESS && ethernet.dst_addr().is_unicast()
            || !ethernet.src_addr().is_unicast()
        {
            return None;
        }
        self.device = ethernet.src_addr();
        match ethernet.ethertype() {
            EthernetProtocol::Arp => {
                let packet = ArpPacket::new_checked(ethernet.payload()).ok()?;
                let ArpRepr::EthernetIpv4 {
                    target_protocol_addr, ..
                } = ArpRepr::parse(&packet).ok()?
                else {
                    return None;
                };
                // A device that probes for its own address must not be told that it is taken.
                [HOST, DNS]
                    .contains(&target_protocol_addr)
                    .then_some(Incoming::Protocol)
            }
            EthernetProtocol::Ipv4 => self.classify_ip(ethernet.payload()),
            _ => None,
        }
    }

    fn classify_ip(&mut self, packet: &[u8]) -> Option<Incoming> {
        let checksums = ChecksumCapabilities::default();
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        let ip = Ipv4Repr::parse(&packet, &checksums).ok()?;
        if packet.more_frags() || packet.frag_offset() != 0 {
            return None;
        }
        let addresses = (ip.src_addr.into(), ip.dst_addr.into());
        match ip.next_header {
            IpProtocol::Icmp => [HOST, DNS].contains(&ip.dst_addr).then_some(Incoming::Protocol),
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(packet.payload()).ok()?;
                UdpRepr::parse(&udp, &addresses.0, &addresses.1, &checksums).ok()?;
                if udp.dst_port() == dhcp::SERVER_PORT {
                    if let Some(reply) = self.leases.answer(udp.payload()) {
                        self.send_dhcp(&reply);
                    }
                    return None;
                }
                Some(Incoming::Datagram {
                    from: SocketAddrV4::new(ip.src_addr, udp.src_port()),
                    to: SocketAddrV4::new(ip.dst_addr, udp.dst_port()),
                    payload: udp.payload().to_vec(),
                })
            }
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
                if !tcp.verify_checksum(&addresses.0, &addresses.1) {
                    return None;
                }
                if !tcp.syn()
                    || tcp.ack()
                    || tcp.rst()
                    || tcp.fin()
                    || tcp.dst_port() == 0
                    || tcp.src_port() == 0
                {
                    return Some(Incoming::Protocol);
                }
                Some(Incoming::Open {
                    from: SocketAddrV4::new(ip.src_addr, tcp.src_port()),
                    to: SocketAddrV4::new(ip.dst_addr, tcp.dst_port()),
                })
            }
            _ => None,
        }
    }

    /// Hands a frame to smoltcp.
    pub(super) fn feed(&mut self, frame: &[u8], now: Time) {
        self.queues.incoming.push_back(frame.to_vec());
        self.poll(now);
    }

    pub(super) fn poll(&mut self, now: Time) {
        self.interface
            .poll(instant(now), &mut self.queues, &mut self.sockets);
    }

    /// When [`Stack::poll`] is due again.
    pub(super) fn next_poll(&mut self, now: Time) -> Option<Time> {
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        let at = Time::from_micros(u64::try_from(at.total_micros()).unwrap_or(0));
        Some(if at <= now { now + AGAIN } else { at })
    }

    /// The next frame for the device.
    pub(super) fn take_frame(&mut self) -> Option<Vec<u8>> {
        self.queues.outgoing.pop_front()
    }

    pub(super) fn has_frame(&self) -> bool {
        !self.queues.outgoing.is_empty()
    }

    fn socket() -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket
    }

    /// A socket that takes the connection which the next frame opens. With `pause`, it is not answered yet.
    pub(super) fn listen(&mut self, to: SocketAddrV4, pause: bool) -> Option<SocketHandle> {
        let mut socket = Self::socket();
        socket.pause_synack(pause);
        socket.listen((*to.ip(), to.port())).ok()?;
        Some(self.sockets.add(socket))
    }

    /// A socket that connects to the device.
    pub(super) fn connect(&mut self, to: SocketAddrV4) -> Option<SocketHandle> {
        let mut socket = Self::socket();
        let from = (HOST, self.next_port);
        self.next_port = self.next_port.checked_add(1).unwrap_or(49_152);
        socket
            .connect(self.interface.context(), (*to.ip(), to.port()), from)
            .ok()?;
        Some(self.sockets.add(socket))
    }

    /// Sends a datagram to the device. What does not fit in a frame is not sent.
    pub(super) fn send_datagram(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) {
        let udp = UdpRepr {
            src_port: from.port(),
            dst_port: to.port(),
        };
        let ip = Ipv4Repr {
            src_addr: *from.ip(),
            dst_addr: *to.ip(),
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + payload.len(),
            hop_limit: 64,
        };
        let length = EthernetFrame::<&[u8]>::buffer_len(ip.buffer_len() + ip.payload_len);
        if length > LARGEST_FRAME || self.queues.outgoing.len() >= QUEUE {
            return;
        }
        let checksums = ChecksumCapabilities::default();
        let destination = if to.ip().is_broadcast() {
            EthernetAddress::BROADCAST
        } else {
            self.device
        };
        let mut frame = EthernetFrame::new_unchecked(vec![0; length]);
        EthernetRepr {
            src_addr: ADDRESS,
            dst_addr: destination,
            ethertype: EthernetProtocol::Ipv4,
        }
        .emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        let addresses = IpRepr::Ipv4(ip);
        let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
        udp.emit(
            &mut datagram,
            &addresses.src_addr(),
            &addresses.dst_addr(),
            payload.len(),
            |buffer| buffer.copy_from_slice(payload),
            &checksums,
        );
        self.queues.outgoing.push_back(frame.into_inner());
    }

    fn send_dhcp(&mut self, reply: &[u8]) {
        let from = SocketAddrV4::new(HOST, dhcp::SERVER_PORT);
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, dhcp::CLIENT_PORT);
        self.send_datagram(from, to, reply);
    }
}
