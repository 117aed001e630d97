//! The addresses and names of a cluster that no node may have in its serving certificate.
//!
//! A node's serving certificate is issued by the cluster's CA, so whoever trusts that CA trusts it. The same CA issues the
//! certificates of the API servers and of other kubelets: what leads to those, or to a Service, is reserved.

use super::objects::{EndpointSlice, Node, Service, ServiceCidr};
use super::request::Asked;
use crate::cluster::{Client, with_rights_hint};
use anyhow::{Result, ensure};
use picolet_linux::client::is_refused;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

/// The most memory for what is reserved, in bytes, and what an entry takes besides its text. A cluster of 5,000 nodes and
/// 10,000 Services takes 4 MiB. Nodes and tenants choose what they report.
const MOST: usize = 64 << 20;
const ENTRY: usize = 128;

const NODES: &str = "/api/v1/nodes";
const SERVICES: &str = "/api/v1/services";
const SERVICE_CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const API_SERVERS: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: IpAddr,
    /// Bits that all addresses of the network share.
    prefix: u8,
}

impl Cidr {
    /// Whether `address` lies in this network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let differing = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        differing >= u32::from(self.prefix)
    }
}

impl std::str::FromStr for Cidr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let what = "write a network as ADDRESS/PREFIX, such as 10.244.0.0/16";
        let (address, prefix) = text.split_once('/').ok_or(what)?;
        let address: IpAddr = address.parse().map_err(|_| what)?;
        let prefix: u8 = prefix.parse().map_err(|_| what)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        match prefix {
            _ if prefix <= longest => Ok(Self { address, prefix }),
            _ => Err(what),
        }
    }
}

/// Reads a list that the decision depends on.
fn read_list<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    into: &mut ClusterAddresses,
    add: impl Fn(&mut ClusterAddresses, &T),
) -> Result<()> {
    let read = client.list(path, |object| {
        add(into, &object);
        ensure!(
            into.size <= MOST,
            "the addresses and names of the cluster take more than {} MiB: no address can be judged",
            MOST >> 20
        );
        Ok(())
    });
    with_rights_hint(read.map(drop), format_args!("read {path}"))
}

/// What is reserved in a cluster.
#[derive(Default)]
pub(crate) struct ClusterAddresses {
    /// Networks, and what they are for.
    networks: Vec<(Cidr, String)>,
    /// Addresses in their canonical form, and what they belong to.
    addresses: BTreeMap<IpAddr, Rc<str>>,
    /// DNS names in lower case, and what they belong to.
    names: BTreeMap<String, Rc<str>>,
    /// Addresses and names that Nodes report, and which Node. Several can report the same.
    node_addresses: BTreeSet<(IpAddr, Rc<str>)>,
    node_names: BTreeSet<(String, Rc<str>)>,
    /// Whether the API server is called at a loopback address: the cluster is on this machine.
    is_local: bool,
    /// The bytes that all of it takes, about.
    size: usize,
}

impl ClusterAddresses {
    /// Reads what is reserved from a cluster, and beside it `pod_networks`, which no Node names.
    ///
    /// # Errors
    ///
    /// When any part cannot be read: without it no address can be judged.
    pub(crate) fn read(client: &Client, pod_networks: &[Cidr]) -> Result<Self> {
        let mut this = Self::default();
        read_list(client, NODES, &mut this, Self::add_node)?;
        read_list(client, SERVICES, &mut this, Self::add_service)?;
        match read_list(client, SERVICE_CIDRS, &mut this, Self::add_service_cidr) {
            // Before Kubernetes 1.33: the addresses of the Services that exist are all that is known.
            Err(error) if is_refused(&error, 404) => {}
            read => read?,
        }
        read_list(client, API_SERVERS, &mut this, Self::add_api_server_endpoints)?;
        let networks = pod_networks.iter();
        this.networks
            .extend(networks.map(|cidr| (*cidr, "a pod network (--pod-network)".into())));
        let endpoint = client.endpoint()?;
        this.add_api_server(&endpoint.host);
        if !endpoint.is_plain {
            this.add_api_server_certificate(&client.server_certificate()?)?;
        }
        Ok(this)
    }

    pub(crate) fn add_node(&mut self, node: &Node) {
        let owner: Rc<str> = node.name().into();
        for host in node.hosts() {
            self.size += ENTRY + host.len();
            match host.parse::<IpAddr>() {
                Ok(address) => drop(
                    self.node_addresses
                        .insert((address.to_canonical(), Rc::clone(&owner))),
                ),
                Err(_) => drop(
                    self.node_names
                        .insert((host.to_ascii_lowercase(), Rc::clone(&owner))),
                ),
            }
        }
        self.node_names
            .insert((node.name().to_owned(), Rc::clone(&owner)));
        for network in node.pod_networks() {
            self.add_network(network, || format!("the pod network of node {owner}"));
        }
    }

    pub(crate) fn add_service(&mut self, service: &Service) {
        let owner = format!("service {}", service.full_name()).into();
        service.hosts().for_each(|host| self.add_host(host, &owner));
        let names = service.short_names();
        names.iter().for_each(|name| self.add_host(name, &owner));
    }

    pub(crate) fn add_service_cidr(&mut self, cidr: &ServiceCidr) {
        for network in cidr.networks() {
            self.add_network(network, || format!("the ServiceCIDR {}", cidr.name()));
        }
    }

    pub(crate) fn add_api_server_endpoints(&mut self, slice: &EndpointSlice) {
        let owner = "an endpoint of the API server (default/kubernetes)".into();
        slice.addresses().for_each(|host| self.add_host(host, &owner));
    }

    /// Adds the host that the API server is called at.
    pub(crate) fn add_api_server(&mut self, host: &str) {
        let address = host.parse::<IpAddr>();
        self.is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        self.add_host(host, &"the API server".into());
    }

    /// Adds the names and addresses in the certificate (DER) of an API server. An address in front of it, such as a virtual IP, is
    /// known nowhere else.
    fn add_api_server_certificate(&mut self, der: &[u8]) -> Result<()> {
        let names = Asked::of_certificate(der).map_err(anyhow::Error::msg)?;
        let owner = "the API server (in its certificate)".into();
        for address in names.addresses {
            self.add_host(&address.to_string(), &owner);
        }
        names
            .dns_names
            .iter()
            .for_each(|name| self.add_host(name, &owner));
        Ok(())
    }

    fn add_host(&mut self, host: &str, owner: &Rc<str>) {
        let owner = Rc::clone(owner);
        self.size += ENTRY + host.len();
        // A name that is absolute is the same name.
        let host = host.trim_end_matches('.');
        match host.parse::<IpAddr>() {
            Ok(address) => drop(self.addresses.entry(address.to_canonical()).or_insert(owner)),
            Err(_) => drop(self.names.entry(host.to_ascii_lowercase()).or_insert(owner)),
        }
    }

    fn add_network(&mut self, network: &str, what: impl FnOnce() -> String) {
        // The API server has checked them.
        if let Ok(cidr) = network.parse() {
            self.size += ENTRY;
            self.networks.push((cidr, format!("{} ({network})", what())));
        }
    }

    /// Whether nodes can have loopback addresses: only where the cluster is on this machine.
    pub(crate) fn allows_loopback(&self) -> bool {
        self.is_local
    }

    /// Returns what makes an address unavailable to `node`.
    pub(crate) fn reserved_address(&self, address: IpAddr, node: &str) -> Option<String> {
        let address = address.to_canonical();
        if let Some((_, what)) = self.networks.iter().find(|(cidr, _)| cidr.contains(address)) {
            return Some(format!("in {what}"));
        }
        if let Some(owner) = self.addresses.get(&address) {
            return Some(format!("an address of {owner}"));
        }
        let reporting = self.node_addresses.range((address, "".into())..);
        let mut reporting = reporting.take_while(|(other, _)| *other == address);
        let (_, other) = reporting.find(|(_, owner)| **owner != *node)?;
        Some(format!(
            "an address of node {other} (if that node is gone: picolet retire {other}, or kubectl delete node {other})"
        ))
    }

    /// Returns what makes a DNS name unavailable to `node`.
    pub(crate) fn reserved_name(&self, name: &str, node: &str) -> Option<String> {
        if let Some(owner) = self.names.get(name) {
            return Some(format!("a name of {owner}"));
        }
        let reporting = self.node_names.range((name.to_owned(), "".into())..);
        let mut reporting = reporting.take_while(|(other, _)| other == name);
        let (_, other) = reporting.find(|(_, owner)| **owner != *node)?;
        Some(format!("a name of node {other}"))
    }
}
