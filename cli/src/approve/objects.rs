//! The fields of API objects that an approval depends on. All else in them is skipped while they are parsed.

use anyhow::{Context, Result};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::marker::PhantomData;
use std::net::IpAddr;

/// Addresses, names or networks that are read of one object. Nodes and tenants write these lists themselves; a real
/// object has a few.
const LIMIT: usize = 256;

/// Entries of a list that are kept while an object is parsed: as many as an EndpointSlice can have. A Service of the size that the API
/// server stores has 100,000.
const LONGEST_LIST: usize = 1000;

/// Reads the beginning of a list, and `null` as an empty one, as Kubernetes writes lists of some kinds.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(ListVisitor(PhantomData))
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while items.len() < LONGEST_LIST {
            match from.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
        while from.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}

/// A CertificateSigningRequest, as far as it has to be known before its size is.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Request {
    metadata: Metadata,
    spec: RequestSpec,
    status: RequestStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RequestSpec {
    username: String,
    signer_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RequestStatus {
    #[serde(deserialize_with = "list")]
    conditions: Vec<IgnoredAny>,
}

impl Request {
    pub(crate) fn read(object: &RawValue) -> Result<Self> {
        serde_json::from_str(object.get()).context("the API server sent no CertificateSigningRequest")
    }

    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Who made the request.
    pub(crate) fn username(&self) -> &str {
        &self.spec.username
    }

    pub(crate) fn signer(&self) -> &str {
        &self.spec.signer_name
    }

    /// Whether it is approved, denied or failed.
    pub(crate) fn is_decided(&self) -> bool {
        !self.status.conditions.is_empty()
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
}

/// A Node.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Node {
    metadata: Metadata,
    spec: NodeSpec,
    status: NodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs", deserialize_with = "list")]
    pod_cidrs: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct NodeStatus {
    node_info: NodeInfo,
    #[serde(deserialize_with = "list")]
    addresses: Vec<NodeAddress>,
    #[serde(deserialize_with = "list")]
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct NodeInfo {
    #[serde(rename = "machineID")]
    machine_id: String,
    kubelet_version: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeAddress {
    r#type: String,
    address: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
}

impl Node {
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The machine ID that the node reports.
    pub(crate) fn machine_id(&self) -> &str {
        &self.status.node_info.machine_id
    }

    pub(crate) fn kubelet_version(&self) -> &str {
        &self.status.node_info.kubelet_version
    }

    /// Whether the node reports this condition as True.
    pub(crate) fn has_condition(&self, kind: &str) -> bool {
        let mut conditions = self.status.conditions.iter();
        conditions.any(|condition| condition.r#type == kind && condition.status == "True")
    }

    fn addresses(&self) -> impl Iterator<Item = &NodeAddress> {
        self.status.addresses.iter().take(LIMIT)
    }

    /// The addresses of type InternalIP.
    pub(crate) fn internal_ips(&self) -> impl Iterator<Item = IpAddr> {
        let internal = self.addresses().filter(|entry| entry.r#type == "InternalIP");
        internal.filter_map(|entry| entry.address.parse().ok())
    }

    /// Addresses and host names of every type.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.addresses().map(|entry| entry.address.as_str())
    }

    /// The networks of its pods.
    pub(crate) fn pod_networks(&self) -> impl Iterator<Item = &str> {
        let all = self.spec.pod_cidrs.iter().chain([&self.spec.pod_cidr]);
        all.map(String::as_str).take(LIMIT)
    }
}

/// A Service.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Service {
    metadata: Metadata,
    spec: ServiceSpec,
    status: ServiceStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs", deserialize_with = "list")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs", deserialize_with = "list")]
    external_ips: Vec<String>,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: String,
    external_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LoadBalancer {
    #[serde(deserialize_with = "list")]
    ingress: Vec<Ingress>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Ingress {
    ip: String,
    hostname: String,
}

impl Service {
    /// `namespace/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// The name of the Service in pods of its own namespace, and `name.namespace`, which those of every namespace find it by.
    pub(crate) fn short_names(&self) -> [String; 2] {
        let Metadata { name, namespace } = &self.metadata;
        [name.clone(), format!("{name}.{namespace}")]
    }

    /// Every address and host name that leads to the Service.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        let Self { spec, status, .. } = self;
        let ingress = status.load_balancer.ingress.iter();
        let single = [&spec.cluster_ip, &spec.load_balancer_ip, &spec.external_name];
        spec.cluster_ips
            .iter()
            .chain(single)
            .chain(ingress.flat_map(|ingress| [&ingress.ip, &ingress.hostname]))
            .chain(&spec.external_ips)
            .map(String::as_str)
            // A headless Service has the cluster IP "None".
            .filter(|host| !matches!(*host, "" | "None"))
            .take(LIMIT)
    }
}

/// A ServiceCIDR of `networking.k8s.io/v1`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ServiceCidr {
    metadata: Metadata,
    spec: ServiceCidrSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ServiceCidrSpec {
    #[serde(deserialize_with = "list")]
    cidrs: Vec<String>,
}

impl ServiceCidr {
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }

    pub(crate) fn networks(&self) -> impl Iterator<Item = &str> {
        self.spec.cidrs.iter().map(String::as_str).take(LIMIT)
    }
}

/// An EndpointSlice of `discovery.k8s.io/v1`.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct EndpointSlice {
    #[serde(deserialize_with = "list")]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    #[serde(deserialize_with = "list")]
    addresses: Vec<String>,
}

impl EndpointSlice {
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        let all = self.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        all.map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_cut_when_they_are_longer_than_any_real_one() {
        let addresses: Vec<String> = (0..100_000).map(|_| "192.0.2.1".to_owned()).collect();
        let service = json!({"spec": {"clusterIP": "10.96.0.7", "externalIPs": addresses}});
        let service: Service = serde_json::from_value(service).expect("a Service");
        assert_eq!(service.spec.external_ips.len(), LONGEST_LIST);
        assert_eq!(service.hosts().next(), Some("10.96.0.7"));
    }
}
