//! Whether a serving certificate may be approved: a pure function of the request, its Node and the cluster.
//!
//! A node writes its Node's status itself, so what it reports there is a claim. Exactly two kinds of claims are accepted:
//! the node's name, which the API server has authenticated, and its InternalIPs, unless something else in the cluster has them.

use super::addresses::ClusterAddresses;
use super::objects::Node;
use super::request::{Asked, subject};
use crate::nodes::is_picolet_version;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an administrator allows for one request beyond the rules.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    pub(crate) names: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
}

/// Decides about one request of `node`. An error says why it is refused.
pub(crate) fn check(
    asked: &Asked,
    request: &Value,
    node: &Node,
    cluster: &ClusterAddresses,
    exceptions: &Exceptions,
) -> Result<(), String> {
    check_requester(asked, request, node)?;
    if asked.has_other_names || asked.dns_names.is_empty() && asked.addresses.is_empty() {
        return Err("it asks for names of a kind that no node has, or for none".into());
    }
    // The remedy below is a command that a person may copy into a shell.
    if let Some(name) = asked.dns_names.iter().find(|name| !is_dns_name(name)) {
        return Err(format!("it asks for {name:?}, which is no DNS name"));
    }
    let (mut reasons, mut flags) = (Vec::new(), String::new());
    for name in asked.dns_names.difference(&exceptions.names) {
        if let Err(why) = check_name(name, node, cluster) {
            reasons.push(why);
            flags += &format!(" --allow-name {name}");
        }
    }
    for address in asked.addresses.difference(&exceptions.addresses) {
        if let Err(why) = check_address(*address, node, cluster) {
            reasons.push(why);
            flags += &format!(" --allow-address {address}");
        }
    }
    if !reasons.is_empty() {
        let request = request["metadata"]["name"].as_str().unwrap_or("NAME");
        let reasons = reasons.join("; ");
        return Err(format!(
            "{reasons} (if it is right after all: picolet approve --csr {request}{flags})"
        ));
    }
    // An exception that does not fit was meant for another request.
    if let Some(name) = exceptions.names.difference(&asked.dns_names).next() {
        return Err(format!("--allow-name {name}: it does not ask for that name"));
    }
    if let Some(address) = exceptions.addresses.difference(&asked.addresses).next() {
        return Err(format!(
            "--allow-address {address}: it does not ask for that address"
        ));
    }
    Ok(())
}

/// Whether a picolet asks for a serving certificate of its own.
fn check_requester(asked: &Asked, request: &Value, node: &Node) -> Result<(), String> {
    let user = request["spec"]["username"].as_str().unwrap_or("");
    let name = node.name();
    let list = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|entry| entry.as_str().map(str::to_owned))
            .collect()
    };
    if user != format!("system:node:{name}") {
        return Err(format!("{user} is not the node {name}"));
    }
    if !list(&request["spec"]["groups"])
        .iter()
        .any(|group| group == "system:nodes")
    {
        return Err(format!("{user} is not in the group system:nodes"));
    }
    let expected = subject(name);
    if asked.subject != expected {
        return Err(format!("it is for {}, and not for {expected}", asked.subject));
    }
    let mut usages = list(&request["spec"]["usages"]);
    usages.retain(|usage| usage != "key encipherment");
    usages.sort();
    if usages != ["digital signature", "server auth"] {
        return Err(format!("it is for {}, and not for a server", usages.join(", ")));
    }
    let version = node.kubelet_version();
    if !is_picolet_version(version) {
        return Err(format!("{name} is no picolet (its kubelet is {version:?})"));
    }
    Ok(())
}

/// Whether a name has the characters of one, wildcards included.
fn is_dns_name(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    !name.is_empty() && name.bytes().all(valid)
}

/// Whether resolvers take a name for an IPv4 address: its last label is a number (WHATWG URL, "ends in a number"), as in 127.1.
fn is_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let (digits, is_digit): (_, fn(&u8) -> bool) = match last.strip_prefix("0x") {
        Some(digits) => (digits, u8::is_ascii_hexdigit),
        None => (last, u8::is_ascii_digit),
    };
    digits.as_bytes().iter().all(is_digit)
}

fn check_name(name: &str, node: &Node, cluster: &ClusterAddresses) -> Result<(), String> {
    if name != node.name() {
        return Err(format!("the name {name} is not that of the node"));
    }
    if is_address(name) {
        return Err(format!("the name {name} is an address"));
    }
    if let Some(what) = cluster_name(name) {
        return Err(format!("the name {name} is reserved: {what}"));
    }
    match cluster.reserved_name(name, node.name()) {
        Some(what) => Err(format!("the name {name} is {what}")),
        None => Ok(()),
    }
}

/// Returns what a name means in any cluster, where that is something else than a node
/// (<https://github.com/kubernetes/dns/blob/master/docs/specification.md>; RFC 6761, section 6.3).
fn cluster_name(name: &str) -> Option<&'static str> {
    let labels: Vec<&str> = name.split('.').collect();
    let (first, last) = (labels.first()?, labels.last()?);
    // With the aliases in /etc/hosts of Debian (ip6-) and Fedora (localhost4).
    let aliases = ["ip6-localhost", "ip6-loopback"];
    if first.starts_with("localhost")
        || aliases.contains(first)
        || ["localhost", "localdomain"].contains(last)
    {
        return Some("it means the machine that resolves it");
    }
    if first.starts_with("kubernetes") {
        return Some("it is for the API server");
    }
    if labels.contains(&"svc") || labels.contains(&"pod") {
        return Some("it is for Services and pods");
    }
    labels
        .ends_with(&["cluster", "local"])
        .then_some("it is in the cluster's domain")
}

fn check_address(address: IpAddr, node: &Node, cluster: &ClusterAddresses) -> Result<(), String> {
    if !node.internal_ips().any(|own| own == address) {
        let own: Vec<String> = node.internal_ips().map(|own| own.to_string()).collect();
        return Err(format!(
            "the address {address} is not an InternalIP of the node ({})",
            own.join(", ")
        ));
    }
    let special = special_address(address, cluster.allows_loopback());
    let what = special
        .map(str::to_owned)
        .or_else(|| cluster.reserved_address(address, node.name()));
    match what {
        Some(what) => Err(format!("the address {address} is {what}")),
        None => Ok(()),
    }
}

/// Returns what an address is, where no node can be reached at it from elsewhere (RFC 6890).
///
/// A cluster that is on one machine can have nodes at loopback addresses, but for those that `localhost` means.
fn special_address(address: IpAddr, loopback: bool) -> Option<&'static str> {
    let ipv6_form = Some("an IPv4 address in the form of an IPv6 address");
    match address {
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => Some("localhost"),
        _ if address.is_loopback() => (!loopback).then_some("a loopback address"),
        _ if address.is_unspecified() => Some("unspecified"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_link_local() => Some("a link-local address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => Some("a reserved address"),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => match v6.segments() {
            // Mapped (RFC 4291), compatible, NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056).
            [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, ..] | [0x2002, ..] => ipv6_form,
            _ => None,
        },
    }
}
