//! A device without a radio: smoltcp at the end of a link, in emulated time.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use picolet_emulator::Time;
use picolet_emulator::net::Link;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

pub const ADDRESS: [u8; 6] = [0x28, 0xcd, 0xc1, 1, 2, 3];

/// The device.
pub struct Client {
    pub link: Box<dyn Link>,
    pub now: Time,
    pub sockets: SocketSet<'static>,
    pub interface: Interface,
    queues: Queues,
    dhcp: SocketHandle,
    pub dns_servers: Vec<Ipv4Addr>,
    /// Waits in the host's time for what the host has to do.
    pub paced: bool,
    /// Every frame that passed, with its moment.
    pub log: Vec<(Time, bool, Vec<u8>)>,
}

#[derive(Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

pub struct Incomer(Vec<u8>);
pub struct Outgoer<'a>(&'a mut VecDeque<Vec<u8>>);

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

    fn receive(&mut self, _: Instant) -> Option<(Incomer, Outgoer<'_>)> {
        let frame = self.incoming.pop_front()?;
        Some((Incomer(frame), Outgoer(&mut self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoer<'_>> {
        Some(Outgoer(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

impl Client {
    pub fn new(link: Box<dyn Link>) -> Self {
        let mut queues = Queues::default();
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress(ADDRESS)));
        let interface = Interface::new(config, &mut queues, Instant::ZERO);
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp = sockets.add(dhcpv4::Socket::new());
        Self {
            link,
            now: Time::ZERO,
            sockets,
            interface,
            queues,
            dhcp,
            dns_servers: Vec::new(),
            paced: false,
            log: Vec::new(),
        }
    }

    /// A device that has its address.
    pub fn configured(link: Box<dyn Link>) -> Self {
        let mut client = Self::new(link);
        client.until(Duration::from_secs(60), |client| {
            client.interface.ipv4_addr().is_some()
        });
        client
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(self.now.as_micros() as i64)
    }

    fn step(&mut self) -> bool {
        let instant = self.instant();
        self.interface.poll(instant, &mut self.queues, &mut self.sockets);
        if let Some(dhcpv4::Event::Configured(lease)) =
            self.sockets.get_mut::<dhcpv4::Socket<'_>>(self.dhcp).poll()
        {
            self.interface.update_ip_addrs(|addresses| {
                addresses.clear();
                addresses.push(IpCidr::Ipv4(lease.address)).expect("room");
            });
            self.dns_servers = lease.dns_servers.to_vec();
            if let Some(router) = lease.router {
                self.interface
                    .routes_mut()
                    .add_default_ipv4_route(router)
                    .expect("room");
            }
        }
        let mut moved = false;
        while let Some(frame) = self.queues.outgoing.pop_front() {
            self.link.send(&frame, self.now);
            self.log.push((self.now, true, frame));
            moved = true;
        }
        while let Some(frame) = self.link.receive(self.now) {
            self.queues.incoming.push_back(frame.clone());
            self.log.push((self.now, false, frame));
            moved = true;
        }
        moved
    }

    /// Lets time pass until `done`, and fails after `limit`.
    pub fn until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now + limit;
        loop {
            while self.step() {}
            if done(self) {
                return;
            }
            assert!(self.now < end, "nothing came of it within {limit:?}");
            let instant = self.instant();
            let own = self.interface.poll_at(instant, &self.sockets);
            let own = own.map(|at| Time::from_micros(at.total_micros().max(0) as u64));
            let next = [own, self.link.next_event(), Some(end)]
                .into_iter()
                .flatten()
                .min()
                .expect("the end");
            let mut next = next.max(self.now + Duration::from_micros(1));
            if self.paced {
                let started = std::time::Instant::now();
                let wait = next.since(self.now).min(Duration::from_millis(2));
                if self.link.wait_for_host(wait) || wait < next.since(self.now) {
                    next = self.now + started.elapsed().max(Duration::from_micros(1));
                }
            }
            self.now = next.min(end);
        }
    }

    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.until(time + Duration::from_secs(1), |client| client.now >= end);
    }

    pub fn tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 8192]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    pub fn connect(&mut self, to: (Ipv4Addr, u16), port: u16) -> SocketHandle {
        let handle = self.tcp();
        let context = self.interface.context();
        self.sockets
            .get_mut::<tcp::Socket<'_>>(handle)
            .connect(context, to, port)
            .expect("a connection to be opened");
        handle
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Sends `data` over a connection while taking what comes, closes this end, and returns what came until the other
    /// end was closed too.
    pub fn exchange(&mut self, handle: SocketHandle, data: &[u8], limit: Duration) -> Vec<u8> {
        let mut sent = 0;
        let mut came = Vec::new();
        self.until(limit, |client| {
            let socket = client.socket(handle);
            while sent < data.len() && socket.can_send() {
                sent += socket.send_slice(&data[sent..]).expect("sent");
            }
            if sent == data.len() && socket.may_send() && socket.state() == tcp::State::Established {
                socket.close();
            }
            while socket.can_recv() {
                socket
                    .recv(|bytes| (bytes.len(), came.extend_from_slice(bytes)))
                    .expect("received");
            }
            matches!(socket.state(), tcp::State::Closed | tcp::State::TimeWait)
        });
        came
    }
}

/// Bytes that nobody would take for others.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect()
}

/// An address with its port.
pub fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}
