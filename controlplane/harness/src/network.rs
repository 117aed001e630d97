//! Where the servers listen: loopback, or a network that this process alone can see.
//!
//! The API server's node proxy refuses a node whose address is loopback, so some tests need another kind of address.
//! A network namespace of our own has one, needs no root where the kernel allows user namespaces, and vanishes with
//! its last process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::UnshareFlags;

/// How many nodes can have an address of their own: more than a run of all conformance cases has, whose Nodes stay.
const NODE_ADDRESSES: u8 = 200;

/// How long a thread that has ended may be listed; many times what the kernel needs.
const ENDED: Duration = Duration::from_secs(1);

/// A TAP interface of a private network, with one machine at its other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapInterface {
    /// The interface's name.
    pub name: String,
    /// The address at this end, by which the control plane is reached too.
    pub gateway: Ipv4Addr,
    /// The address at the other end.
    pub address: Ipv4Addr,
    /// The length of the prefix that both have.
    pub prefix: u8,
}

/// The network that a control plane lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// 127.0.0.1 of the machine.
    Loopback,
    /// A network namespace that holds this process and its children, with 10.0.2.0/24 as an emulated board sees it:
    /// the control plane at 10.0.2.2, nodes from 10.0.2.15 on.
    Private,
}

impl Place {
    /// Moves this process into a network namespace of its own.
    ///
    /// It must be called before the process has a second thread, since a namespace is entered thread by thread.
    ///
    /// # Errors
    ///
    /// When there is another thread already, when the kernel refuses (no root and no user namespaces), or when `ip` of
    /// iproute2 is missing.
    pub fn enter_private() -> Result<Self> {
        let begin = Instant::now();
        // One that has just been joined may be listed for a moment still.
        while fs::read_dir("/proc/self/task")
            .context("cannot count the threads of this process")?
            .count()
            > 1
        {
            ensure!(
                begin.elapsed() < ENDED,
                "a private network must be entered before the process starts its second thread"
            );
            thread::sleep(Duration::from_millis(1));
        }
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        let mut flags = UnshareFlags::NEWNET;
        if !user.is_root() {
            flags |= UnshareFlags::NEWUSER;
        }
        // SAFETY: neither flag touches file descriptors or memory; this is the process's only thread.
        unsafe { rustix::thread::unshare_unsafe(flags) }.context(
            "the kernel refuses a network namespace: run as root, or allow unprivileged user namespaces",
        )?;
        if !user.is_root() {
            fs::write("/proc/self/setgroups", "deny").context("cannot give up setting groups")?;
            fs::write("/proc/self/uid_map", format!("0 {} 1", user.as_raw()))
                .context("cannot map the user")?;
            fs::write("/proc/self/gid_map", format!("0 {} 1", group.as_raw()))
                .context("cannot map the group")?;
        }
        // On the loopback interface an address of any kind works, without a kernel module for another interface.
        ip(&["link", "set", "lo", "up"])?;
        for host in std::iter::once(2).chain(15..15 + NODE_ADDRESSES) {
            ip(&["address", "add", &format!("10.0.2.{host}/24"), "dev", "lo"])?;
        }
        Ok(Self::Private)
    }

    /// The address that the control plane listens on.
    #[must_use]
    pub fn server_address(self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Private => Ipv4Addr::new(10, 0, 2, 2).into(),
        }
    }

    /// An address for the node of this index; they repeat after 200.
    #[must_use]
    pub fn node_address(self, index: u8) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::new(127, 0, 77, 1 + index % NODE_ADDRESSES).into(),
            Self::Private => Ipv4Addr::new(10, 0, 2, 15 + index % NODE_ADDRESSES).into(),
        }
    }

    /// Lays a TAP interface into a private network, for a machine at `10.0.NUMBER.15`. It goes with the network.
    ///
    /// # Errors
    ///
    /// When this is no private network, or the kernel refuses: its device `/dev/net/tun` is root's on most systems.
    pub fn tap(self, number: u8) -> Result<TapInterface> {
        ensure!(self == Self::Private, "the network is not a private one");
        ensure!(number > 2, "10.0.{number}.0/24 is laid already");
        let tap = TapInterface {
            name: format!("picolet{number}"),
            gateway: Ipv4Addr::new(10, 0, number, 1),
            address: Ipv4Addr::new(10, 0, number, 15),
            prefix: 24,
        };
        let gateway = format!("{}/{}", tap.gateway, tap.prefix);
        ip(&["tuntap", "add", "dev", &tap.name, "mode", "tap"])?;
        ip(&["address", "add", &gateway, "dev", &tap.name])?;
        ip(&["link", "set", &tap.name, "up"])?;
        Ok(tap)
    }

    /// A port of [`Self::server_address`] that is free now.
    ///
    /// # Errors
    ///
    /// When nothing can listen there.
    pub fn free_port(self) -> Result<u16> {
        let address = self.server_address();
        let listener =
            TcpListener::bind((address, 0)).with_context(|| format!("cannot listen on {address}"))?;
        Ok(listener.local_addr()?.port())
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("cannot run `ip`: install iproute2 (it lays the addresses of the private network)")?;
    if !output.status.success() {
        bail!(
            "`ip {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
