//! A stolen node: what somebody obtains who has its client certificate, from the API server and through `picolet approve`.

mod approver;
mod attempts;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_conformance::{Caller, Case, until};
use picolet_controlplane::Kubectl;
use picolet_tls::P256Key;
use picolet_tls::x509::{CertificateRequest, pem};
use serde_json::{Value, json};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("confined_by_the_api_server", attempts::confined_by_the_api_server).only_linux(CERTIFICATE),
    beside("claims_are_refused", approver::claims_are_refused).only_linux(CERTIFICATE),
    beside(
        "hostile_requests_hold_up_no_other",
        approver::hostile_requests_hold_up_no_other,
    )
    .only_linux(CERTIFICATE),
    beside("machine_record_holds", approver::machine_record_holds).only_linux(CERTIFICATE),
];

const CERTIFICATE: &str = "a certificate is all that the attacker has of the node";
const LIMIT: Duration = Duration::from_secs(60);

const SERVING: &str = "kubernetes.io/kubelet-serving";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const ANY_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// Somebody with the client certificate of a node, and nothing else.
struct Thief {
    name: String,
    kubectl: Kubectl,
    /// For requests that kubectl precedes with another one.
    caller: Caller,
    server: String,
}

impl Thief {
    fn new(case: &Case<'_>) -> Result<Self> {
        let control_plane = case.cluster().control_plane();
        let name = case.node().name().to_owned();
        let credentials = control_plane.node(&name, &[])?;
        let authority = control_plane.pki().certificate_authority();
        Ok(Self {
            kubectl: Kubectl::new(&control_plane.binaries().kubectl, &credentials.kubeconfig),
            caller: Caller::new(authority, Some(&credentials.client))?,
            server: control_plane.server_url(),
            name,
        })
    }

    /// Creates the Node, with an owner or without, as a picolet of this machine ID and these addresses.
    fn register(&self, machine_id: &str, owner: Option<Value>, addresses: &[(&str, &str)]) -> Result<()> {
        let owners: Vec<Value> = owner.into_iter().collect();
        let status = json!({"nodeInfo": node_info(machine_id), "addresses": node_addresses(addresses)});
        let node = json!({"apiVersion": "v1", "kind": "Node", "status": status,
            "metadata": {"name": self.name, "ownerReferences": owners}});
        self.kubectl.run_with_input(CREATE, &node.to_string())?;
        Ok(())
    }

    /// Changes one field of the Node's status.
    fn report(&self, field: &str, value: Value) -> Result<()> {
        let url = format!("{}/api/v1/nodes/{}/status", self.server, self.name);
        let answer = self
            .caller
            .merge(&url, &json!({"status": {field: value}}).to_string())?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    }

    fn report_addresses(&self, addresses: &[(&str, &str)]) -> Result<()> {
        self.report("addresses", node_addresses(addresses))
    }

    /// The object of a request for a serving certificate of the node's own subject.
    fn serving(&self, suffix: &str, dns: &[&str], addresses: &[&str]) -> Result<Value> {
        let name = format!("{}-{suffix}", self.name);
        let subject = (&*format!("system:node:{}", self.name), "system:nodes");
        signing_request(&name, SERVING, "server auth", subject, dns, addresses)
    }

    /// Asks for a serving certificate. Returns the name of the request.
    fn ask(&self, suffix: &str, dns: &[&str], addresses: &[&str]) -> Result<String> {
        let request = self.serving(suffix, dns, addresses)?;
        self.kubectl.run_with_input(CREATE, &request.to_string())?;
        Ok(format!("{}-{suffix}", self.name))
    }
}

fn node_info(machine_id: &str) -> Value {
    json!({"kubeletVersion": "v1.36.0-picolet.0.1.0", "machineID": machine_id})
}

fn node_addresses(addresses: &[(&str, &str)]) -> Value {
    let list = addresses.iter();
    list.map(|(kind, address)| json!({"type": kind, "address": address}))
        .collect()
}

const CREATE: [&str; 2] = ["create", "--filename=-"];

/// A CertificateSigningRequest of a new key, for a subject of a common name and an organization.
fn signing_request(
    name: &str,
    signer: &str,
    usage: &str,
    (common_name, organization): (&str, &str),
    dns_names: &[&str],
    addresses: &[&str],
) -> Result<Value> {
    let parsed: Result<Vec<IpAddr>, _> = addresses.iter().map(|text| text.parse()).collect();
    let request = CertificateRequest {
        organization,
        common_name,
        dns_names,
        ip_addresses: &parsed?,
    };
    let der = request.to_der(&P256Key::generate()?)?;
    Ok(
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": STANDARD.encode(pem("CERTIFICATE REQUEST", &der)), "signerName": signer,
            "usages": ["digital signature", usage]}}),
    )
}

/// The status of a certificate request.
fn status(case: &Case<'_>, request: &str) -> Result<Value> {
    let object = case.cluster().object("default", "csr", request)?;
    Ok(object.with_context(|| format!("there is no request {request}"))?["status"].clone())
}

fn is_undecided(case: &Case<'_>, request: &str) -> Result<bool> {
    let status = status(case, request)?;
    Ok(status["conditions"].is_null() && status["certificate"].is_null())
}

/// Waits until a request is approved and its certificate is issued.
fn wait_issued(case: &Case<'_>, request: &str) -> Result<()> {
    until(LIMIT, &format!("the certificate of {request} is issued"), || {
        Ok(status(case, request)?["certificate"].is_string().then_some(()))
    })
}
