//! `picolet approve`: lets a node have the certificate of its kubelet port.
//!
//! Kubernetes approves no serving certificate by itself, since it cannot know which address is whose. Here it is looked
//! at: that a node asks for itself, that it is a picolet, and that the names and addresses are those that its Node
//! reports. Whoever can write a Node's addresses can have a certificate for them; see SECURITY.md.

use crate::clock;
use crate::cluster::{Client, is_refused};
use crate::nodes::is_picolet;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use picolet_kube::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::BufRead;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use x509_cert::der::{Decode, DecodePem, asn1::ObjectIdentifier};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::request::CertReq;

/// Approve the certificates that picolets ask for to serve `kubectl logs` and metrics.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The node. Without it, all nodes whose requests are in order.
    node: Option<String>,
    /// Who approves: an administrator, or the account of deploy/approver.yaml. [default: ~/.kube/config, or in a pod its
    /// ServiceAccount]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Go on, and approve what is asked for from now on, renewals too, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

const EXAMPLES: &str = "\
Examples:
  The board that was just flashed:
    picolet approve pico-1
  A batch of boards, and their renewals for as long as it runs:
    picolet approve --watch
  As a plugin of kubectl, with a link to this program named kubectl-picolet in the PATH:
    kubectl picolet approve pico-1";

pub(crate) const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SERVING: &str = "kubernetes.io/kubelet-serving";
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
/// After a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a watch lasts before the list is looked at again.
const WATCH: Duration = Duration::from_secs(280);

/// Approves what is there, and with `--watch` what comes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut begun = false;
    loop {
        match round(arguments, &mut begun) {
            Ok(()) if !arguments.watch => return Ok(()),
            Ok(()) => {}
            // What cannot begin is set up wrongly; what has begun goes on when the API server is back.
            Err(error) if begun && arguments.watch => {
                eprintln!("{error:#}: trying again");
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Approves what is there, and with `--watch` what comes while one watch lasts. `begun` once the API server has answered.
fn round(arguments: &Arguments, begun: &mut bool) -> Result<()> {
    // Each time: the token of a ServiceAccount is replaced while it is in use.
    let client = Client::from_kubeconfig(arguments.kubeconfig.as_deref())?;
    let selector = format!("fieldSelector=spec.signerName%3D{}", SERVING.replace('/', "%2F"));
    let list = client.get(&format!("{REQUESTS}?{selector}"))?;
    *begun = true;
    let (mut approved, mut refused) = (0, Vec::new());
    for request in list["items"].as_array().into_iter().flatten() {
        match consider(&client, request, arguments.node.as_deref())? {
            Some(Ok(())) => approved += 1,
            Some(Err(why)) => refused.push(why),
            None => {}
        }
    }
    if !arguments.watch {
        return conclude(arguments, approved, &refused);
    }
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
    let path = format!(
        "{REQUESTS}?{selector}&watch=1&resourceVersion={version}&timeoutSeconds={}",
        WATCH.as_secs()
    );
    let watch = client.stream(&path, WATCH + Duration::from_secs(20))?;
    for line in watch.lines() {
        let Ok(line) = line else { break };
        let event: Value = serde_json::from_str(&line).context("the API server sent no event")?;
        if event["type"] == "ERROR" {
            break;
        }
        if event["type"] != "DELETED" {
            consider(&client, &event["object"], arguments.node.as_deref())?;
        }
    }
    Ok(())
}

fn conclude(arguments: &Arguments, approved: usize, refused: &[String]) -> Result<()> {
    match (&arguments.node, approved, refused.is_empty()) {
        (_, 1.., true) => Ok(()),
        (_, _, false) => bail!(
            "{} of the requests not approved; look at them with kubectl describe csr, and if they are right after all: kubectl certificate approve NAME",
            refused.len()
        ),
        (Some(node), 0, true) => bail!(
            "no request of {node} waits: is it up and Ready (kubectl describe node {node} tells of its certificates), or does it have its certificate already?"
        ),
        (None, 0, true) => {
            println!("no request waits");
            Ok(())
        }
    }
}

/// Looks at one request; `None` where there is nothing to decide.
fn consider(client: &Client, request: &Value, only: Option<&str>) -> Result<Option<Result<(), String>>> {
    let user = request["spec"]["username"].as_str().unwrap_or("");
    let node = user.strip_prefix("system:node:").unwrap_or("");
    let undecided = request["status"]["conditions"]
        .as_array()
        .is_none_or(Vec::is_empty);
    if !undecided || request["spec"]["signerName"] != SERVING || only.is_some_and(|only| only != node) {
        return Ok(None);
    }
    let name = request["metadata"]["name"].as_str().unwrap_or("");
    let asked = match Asked::read(request) {
        Ok(asked) => asked,
        Err(why) => {
            println!("{name}: not approved: {why}");
            return Ok(Some(Err(why)));
        }
    };
    println!("{name}: {user} asks for {asked}");
    let found = client.find(&format!("/api/v1/nodes/{node}"))?;
    let checked = match found {
        Some(found) => asked.check(request, &found),
        None => Err(format!("there is no node {node:?}")),
    };
    if let Err(why) = checked {
        println!("{name}: not approved: {why}");
        return Ok(Some(Err(why)));
    }
    let mut approval = request.clone();
    let now = Timestamp::from_micros(clock::system().map_or(0, |now| now.0));
    approval["kind"] = "CertificateSigningRequest".into();
    approval["apiVersion"] = "certificates.k8s.io/v1".into();
    approval["status"]["conditions"] = json!([{
        "type": "Approved", "status": "True", "reason": "PicoletApprove",
        "message": "asked for the names and addresses that the Node reports",
        "lastUpdateTime": now.time().to_string(),
    }]);
    match client.put(&format!("{REQUESTS}/{name}/approval"), &approval) {
        Ok(()) => println!("{name}: approved"),
        // Somebody else was faster, or it is gone.
        Err(error) if is_refused(&error, 409) => return Ok(None),
        Err(error) => return Err(error.context(format!("cannot approve {name}"))),
    }
    Ok(Some(Ok(())))
}

/// The subject of a node's certificates.
pub(crate) fn subject(node: &str) -> String {
    format!("CN=system:node:{node},O=system:nodes")
}

/// What a certificate is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whose certificate it would be.
    pub(crate) subject: String,
    dns_names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// Names of other kinds, which no node has.
    others: usize,
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        let names: Vec<String> = self.dns_names.iter().cloned().chain(addresses).collect();
        write!(f, "{} ({})", names.join(", "), self.subject)
    }
}

impl Asked {
    /// Reads the PKCS#10 in a CertificateSigningRequest.
    pub(crate) fn read(request: &Value) -> Result<Self, String> {
        let pem = request["spec"]["request"]
            .as_str()
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or("its request is no base64")?;
        let read = CertReq::from_pem(&pem).map_err(|error| format!("its request cannot be read: {error}"))?;
        let mut asked = Self {
            subject: read.info.subject.to_string(),
            ..Self::default()
        };
        for attribute in read.info.attributes.iter() {
            if attribute.oid != EXTENSION_REQUEST {
                return Err(format!("it has an attribute of kind {}", attribute.oid));
            }
            for value in attribute.values.iter() {
                let malformed = |_| "its extensions cannot be read".to_owned();
                for extension in value.decode_as::<Extensions>().map_err(malformed)? {
                    if extension.extn_id != SUBJECT_ALT_NAME {
                        return Err(format!("it asks for an extension of kind {}", extension.extn_id));
                    }
                    let names =
                        SubjectAltName::from_der(extension.extn_value.as_bytes()).map_err(malformed)?;
                    names.0.iter().for_each(|name| asked.add(name));
                }
            }
        }
        Ok(asked)
    }

    fn add(&mut self, name: &GeneralName) {
        match name {
            GeneralName::DnsName(name) => {
                self.dns_names.insert(name.to_string());
            }
            GeneralName::IpAddress(bytes) => match (
                <[u8; 4]>::try_from(bytes.as_bytes()),
                <[u8; 16]>::try_from(bytes.as_bytes()),
            ) {
                (Ok(four), _) => drop(self.addresses.insert(four.into())),
                (_, Ok(sixteen)) => drop(self.addresses.insert(sixteen.into())),
                _ => self.others += 1,
            },
            _ => self.others += 1,
        }
    }

    /// Whether this is what that node may have.
    fn check(&self, request: &Value, node: &Value) -> Result<(), String> {
        let user = request["spec"]["username"].as_str().unwrap_or("");
        let name = node["metadata"]["name"].as_str().unwrap_or("");
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
        if self.subject != expected {
            return Err(format!("it is for {}, and not for {expected}", self.subject));
        }
        let mut usages = list(&request["spec"]["usages"]);
        usages.retain(|usage| usage != "key encipherment");
        usages.sort();
        if usages != ["digital signature", "server auth"] {
            return Err(format!("it is for {}, and not for a server", usages.join(", ")));
        }
        if !is_picolet(node) {
            let version = &node["status"]["nodeInfo"]["kubeletVersion"];
            return Err(format!("{name} is no picolet (its kubelet is {version})"));
        }
        if self.others > 0 || self.dns_names.is_empty() && self.addresses.is_empty() {
            return Err("it asks for names of a kind that no node has, or for none".into());
        }
        let addresses = node["status"]["addresses"].as_array();
        let reported: Vec<&str> = addresses
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["address"].as_str())
            .collect();
        if let Some(other) = self
            .dns_names
            .iter()
            .find(|dns| *dns != name && !reported.contains(&dns.as_str()))
        {
            return Err(format!("{other} is no name that the node reports"));
        }
        let is_reported = |address: &IpAddr| reported.iter().any(|text| text.parse() == Ok(*address));
        if let Some(other) = self.addresses.iter().find(|address| !is_reported(address)) {
            return Err(format!(
                "{other} is no address that the node reports ({})",
                reported.join(", ")
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use picolet_tls::P256Key;
    use picolet_tls::x509::{CertificateRequest, pem};

    fn request(common_name: &str, organization: &str, dns: &[&str], ip: &[IpAddr]) -> Value {
        let key = P256Key::generate().expect("randomness");
        let asked = CertificateRequest {
            organization,
            common_name,
            dns_names: dns,
            ip_addresses: ip,
        };
        let der = asked.to_der(&key).expect("a request");
        json!({"metadata": {"name": "csr"}, "spec": {
            "request": STANDARD.encode(pem("CERTIFICATE REQUEST", &der)), "signerName": SERVING,
            "username": "system:node:pico-1", "groups": ["system:nodes", "system:authenticated"],
            "usages": ["digital signature", "server auth"]}})
    }

    fn node() -> Value {
        json!({"metadata": {"name": "pico-1"}, "status": {
            "nodeInfo": {"kubeletVersion": "v1.36.0-picolet.0.1.0"},
            "addresses": [{"type": "InternalIP", "address": "192.0.2.15"}, {"type": "Hostname", "address": "pico-1"}]}})
    }

    fn judge(request: &Value, node: &Value) -> Result<(), String> {
        Asked::read(request)?.check(request, node)
    }

    const USER: &str = "system:node:pico-1";
    const NODES: &str = "system:nodes";

    #[test]
    fn a_nodes_own_names_are_right() {
        let own = ["192.0.2.15".parse().expect("an address")];
        let good = request(USER, NODES, &["pico-1"], &own);
        assert_eq!(judge(&good, &node()), Ok(()));
        assert_eq!(judge(&request(USER, NODES, &[], &own), &node()), Ok(()));
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        let own: [IpAddr; 1] = ["192.0.2.15".parse().expect("an address")];
        let other: [IpAddr; 2] = [own[0], "192.0.2.16".parse().expect("an address")];
        let good = request(USER, NODES, &["pico-1"], &own);
        let with = |pointer: &str, value: Value| {
            let mut changed = good.clone();
            *changed.pointer_mut(pointer).expect("it is there") = value;
            changed
        };
        let mut kubelet = node();
        kubelet["status"]["nodeInfo"]["kubeletVersion"] = "v1.36.0".into();
        for (request, node, words) in [
            (
                request("system:node:pico-2", NODES, &["pico-1"], &own),
                node(),
                "it is for CN=system:node:pico-2",
            ),
            (
                request(USER, "system:masters", &["pico-1"], &own),
                node(),
                "it is for CN=system:node:pico-1,O=system:masters",
            ),
            (
                request(USER, NODES, &["kubernetes"], &own),
                node(),
                "kubernetes is no name that the node reports",
            ),
            (
                request(USER, NODES, &["pico-1"], &other),
                node(),
                "192.0.2.16 is no address that the node reports",
            ),
            (request(USER, NODES, &[], &[]), node(), "or for none"),
            (good.clone(), kubelet, "pico-1 is no picolet"),
            (
                with("/spec/username", "system:node:pico-2".into()),
                node(),
                "system:node:pico-2 is not the node pico-1",
            ),
            (
                with("/spec/username", "somebody".into()),
                node(),
                "somebody is not the node",
            ),
            (
                with("/spec/groups", json!(["ops"])),
                node(),
                "not in the group system:nodes",
            ),
            (
                with("/spec/usages", json!(["client auth", "digital signature"])),
                node(),
                "not for a server",
            ),
            (with("/spec/request", "?".into()), node(), "no base64"),
            (
                with("/spec/request", STANDARD.encode("x").into()),
                node(),
                "cannot be read",
            ),
        ] {
            let refused = judge(&request, &node).expect_err(words);
            assert!(refused.contains(words), "{refused}");
        }
    }
}
