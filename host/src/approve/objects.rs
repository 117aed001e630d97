//! The fields of API objects that an approval depends on. All else in them is skipped while they are parsed.

use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// Addresses, names or networks that are read of one object. Nodes and tenants write these lists themselves; a real
/// object has a few.
const LIMIT: usize = 256;

/// Reads `null` as the default, as Kubernetes writes empty lists of some kinds.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
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
    #[serde(rename = "podCIDRs", deserialize_with = "or_default")]
    pod_cidrs: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct NodeStatus {
    node_info: NodeInfo,
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<NodeAddress>,
    #[serde(deserialize_with = "or_default")]
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
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs", deserialize_with = "or_default")]
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
    #[serde(deserialize_with = "or_default")]
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

    /// `name.namespace`, a name of the Service in pods.
    pub(crate) fn short_name(&self) -> String {
        format!("{}.{}", self.metadata.name, self.metadata.namespace)
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
    #[serde(deserialize_with = "or_default")]
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
    #[serde(deserialize_with = "or_default")]
    endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Endpoint {
    #[serde(deserialize_with = "or_default")]
    addresses: Vec<String>,
}

impl EndpointSlice {
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        let all = self.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        all.map(String::as_str)
    }
}
