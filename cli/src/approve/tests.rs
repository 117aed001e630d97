use super::policy::check;
use super::*;
use crate::tests::api::{list, serve};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use picolet_tls::P256Key;
use picolet_tls::x509::{CertificateRequest, pem};
use serde::de::DeserializeOwned;
use std::sync::atomic::Ordering;

const USER: &str = "system:node:pico-1";
const NODES: &str = "system:nodes";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn request(common_name: &str, organization: &str, dns: &[&str], ip: &[&str]) -> Value {
    let key = P256Key::generate().expect("randomness");
    let addresses: Vec<IpAddr> = ip.iter().map(|text| address(text)).collect();
    let asked = CertificateRequest {
        organization,
        common_name,
        dns_names: dns,
        ip_addresses: &addresses,
    };
    let der = asked.to_der(&key).expect("a request");
    json!({"metadata": {"name": "csr"}, "spec": {
        "request": STANDARD.encode(pem("CERTIFICATE REQUEST", &der)), "signerName": SERVING,
        "username": "system:node:pico-1", "groups": ["system:nodes", "system:authenticated"],
        "usages": ["digital signature", "server auth"]}})
}

/// A Node that reports these addresses.
fn node_named(name: &str, addresses: &[(&str, &str)]) -> Value {
    let addresses: Vec<Value> = addresses
        .iter()
        .map(|(kind, address)| json!({"type": kind, "address": address}))
        .collect();
    json!({"metadata": {"name": name}, "spec": {"podCIDRs": null}, "status": {
        "nodeInfo": {"kubeletVersion": "v1.36.0-picolet.0.1.0", "machineID": "m"}, "addresses": addresses}})
}

fn node() -> Value {
    node_named("pico-1", &[("InternalIP", "192.0.2.15"), ("Hostname", "pico-1")])
}

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

/// A cluster with something of everything that is reserved.
fn cluster() -> ClusterAddresses {
    let mut cluster = ClusterAddresses::default();
    cluster.add_api_server("api.example.org");
    cluster.add_node(&object(node()));
    let mut other = node_named(
        "pico-2",
        &[
            ("InternalIP", "192.0.2.16"),
            ("ExternalIP", "198.51.100.16"),
            ("InternalDNS", "Other.example.org"),
            ("InternalIP", "::ffff:192.0.2.17"),
        ],
    );
    other["spec"]["podCIDRs"] = json!(["10.244.1.0/24", "fd00:10:244:1::/64"]);
    cluster.add_node(&object(other));
    cluster.add_service(&object(json!({"metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "172.20.0.9", "clusterIPs": ["172.20.0.9", "fd00:20::9"], "externalIPs": ["203.0.113.7"],
            "loadBalancerIP": "203.0.113.9", "externalName": "db.example.org."},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.8"}, {"hostname": "lb.example.org"}]}}})));
    cluster.add_service(&object(json!({"metadata": {"name": "headless", "namespace": "shop"},
        "spec": {"clusterIP": "None", "clusterIPs": ["None"]}, "status": {"loadBalancer": {"ingress": null}}})));
    cluster.add_service_cidr(&object(json!({"metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.0/16", "fd00:10:96::/112"]}})));
    cluster.add_api_server_endpoints(&object(
        json!({"endpoints": [{"addresses": ["192.0.2.10", "2001:db8::10"]}]}),
    ));
    cluster
}

fn judge_with(request: &Value, node: Value, exceptions: &Exceptions) -> Result<(), String> {
    check(
        &Asked::read(request)?,
        request,
        &object(node),
        &cluster(),
        exceptions,
    )
}

fn judge(request: &Value, node: Value) -> Result<(), String> {
    judge_with(request, node, &Exceptions::default())
}

/// Judges a request for one name or address that the node reports, under every type of address.
fn judge_claim(claim: &str) -> Result<(), String> {
    let node = node_named(
        "pico-1",
        &[
            "InternalIP",
            "ExternalIP",
            "InternalDNS",
            "ExternalDNS",
            "Hostname",
        ]
        .map(|kind| (kind, claim)),
    );
    match claim.parse::<IpAddr>() {
        Ok(_) => judge(&request(USER, NODES, &["pico-1"], &[claim]), node),
        Err(_) => judge(&request(USER, NODES, &[claim], &["192.0.2.15"]), node),
    }
}

#[test]
fn policy_accepts_the_name_and_internal_ips_of_the_node() {
    for (dns, ip) in [
        (&["pico-1"][..], &["192.0.2.15"][..]),
        (&[], &["192.0.2.15"]),
        (&["pico-1"], &[]),
    ] {
        assert_eq!(judge(&request(USER, NODES, dns, ip), node()), Ok(()));
    }
    assert_eq!(judge_claim("2001:db8::15"), Ok(()));
}

#[test]
fn policy_refuses_what_a_node_claims_when_it_is_reserved() {
    for (claim, words) in [
        // Names are not taken from the status at all.
        ("kubernetes.default.svc", "not that of the node"),
        ("pico-2", "not that of the node"),
        ("PICO-1", "not that of the node"),
        ("pico-1.", "not that of the node"),
        ("*", "not that of the node"),
        // Services.
        ("10.96.0.1", "in the ServiceCIDR kubernetes (10.96.0.0/16)"),
        ("10.96.255.255", "in the ServiceCIDR"),
        ("fd00:10:96::1", "in the ServiceCIDR"),
        ("172.20.0.9", "an address of service shop/web"),
        ("fd00:20::9", "an address of service shop/web"),
        ("203.0.113.7", "an address of service shop/web"),
        ("203.0.113.8", "an address of service shop/web"),
        ("203.0.113.9", "an address of service shop/web"),
        // Pods, the API server, other nodes.
        ("10.244.1.200", "in the pod network of node pico-2"),
        ("fd00:10:244:1::5", "in the pod network of node pico-2"),
        ("192.0.2.10", "an endpoint of the API server"),
        ("2001:db8::10", "an endpoint of the API server"),
        ("192.0.2.16", "an address of node pico-2"),
        ("198.51.100.16", "an address of node pico-2"),
        ("192.0.2.17", "an address of node pico-2"),
        // Addresses that no node has.
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
        ("127.0.77.1", "a loopback address"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("0.1.2.3", "a reserved address"),
        ("255.255.255.255", "a reserved address"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("169.254.169.254", "a link-local address"),
        ("fe80::1", "a link-local address"),
        // The same in the form of IPv6, of a harmless address too.
        ("::ffff:10.96.0.1", "in the form of an IPv6 address"),
        ("::ffff:127.0.0.1", "in the form of an IPv6 address"),
        ("::ffff:192.0.2.15", "in the form of an IPv6 address"),
        ("::10.96.0.1", "in the form of an IPv6 address"),
        ("64:ff9b::10.96.0.1", "in the form of an IPv6 address"),
        ("2002:a60:1::1", "in the form of an IPv6 address"),
    ] {
        let refused = judge_claim(claim).expect_err(claim);
        assert!(refused.contains(words), "{claim}: {refused}");
    }
}

#[test]
fn policy_refuses_an_address_that_is_no_internal_ip() {
    for kind in ["ExternalIP", "Hostname", "InternalDNS"] {
        let node = node_named("pico-1", &[("InternalIP", "192.0.2.15"), (kind, "192.0.2.77")]);
        let refused = judge(&request(USER, NODES, &["pico-1"], &["192.0.2.77"]), node);
        let refused = refused.expect_err(kind);
        assert!(
            refused.contains("is not an InternalIP of the node (192.0.2.15)"),
            "{refused}"
        );
    }
}

#[test]
fn policy_refuses_the_name_of_a_node_when_it_means_something_else() {
    for (name, words) in [
        ("localhost", "the machine that resolves it"),
        ("localhost.localdomain", "the machine that resolves it"),
        ("localhost6.localdomain6", "the machine that resolves it"),
        ("ip6-loopback", "the machine that resolves it"),
        ("pico.localhost", "the machine that resolves it"),
        ("kubernetes", "for the API server"),
        ("kubernetes.default", "for the API server"),
        ("kubernetes.default.svc", "for the API server"),
        ("kubernetes.docker.internal", "for the API server"),
        ("web.shop.svc", "for Services and pods"),
        ("web.shop.svc.example.org", "for Services and pods"),
        ("10-244-1-5.shop.pod.example.org", "for Services and pods"),
        ("cluster.local", "in the cluster's domain"),
        ("pico.cluster.local", "in the cluster's domain"),
        ("10.96.0.1", "is an address"),
        ("api.example.org", "a name of the API server"),
        ("other.example.org", "a name of node pico-2"),
        ("lb.example.org", "a name of service shop/web"),
        ("db.example.org", "a name of service shop/web"),
        ("web.shop", "a name of service shop/web"),
        ("web", "a name of service shop/web"),
        ("127.1", "is an address"),
        ("2130706433", "is an address"),
        ("0x7f000001", "is an address"),
        ("pico.0x1", "is an address"),
    ] {
        let user = format!("system:node:{name}");
        let mut request = request(&user, NODES, &[name], &["192.0.2.15"]);
        request["spec"]["username"] = user.into();
        let node = node_named(name, &[("InternalIP", "192.0.2.15")]);
        let refused = judge(&request, node).expect_err(name);
        assert!(
            refused.contains(words) && refused.contains(name),
            "{name}: {refused}"
        );
    }
}

#[test]
fn policy_accepts_loopback_addresses_when_the_api_server_has_one_too() {
    for server in ["127.0.0.1", "localhost", "::1"] {
        let mut cluster = ClusterAddresses::default();
        cluster.add_api_server(server);
        for (claim, accepted) in [("127.0.77.1", true), ("127.0.0.1", false), ("::1", false)] {
            let request = request(USER, NODES, &["pico-1"], &[claim]);
            let node = node_named("pico-1", &[("InternalIP", claim)]);
            let checked = check(
                &Asked::read(&request).expect("a request"),
                &request,
                &object(node),
                &cluster,
                &Exceptions::default(),
            );
            assert_eq!(checked.is_ok(), accepted, "{claim} with {server}: {checked:?}");
        }
    }
}

#[test]
fn policy_refuses_requests_that_are_not_the_nodes_own() {
    let good = request(USER, NODES, &["pico-1"], &["192.0.2.15"]);
    let with = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect("it is there") = value;
        changed
    };
    let mut kubelet = node();
    kubelet["status"]["nodeInfo"]["kubeletVersion"] = "v1.36.0".into();
    let own = &["192.0.2.15"][..];
    for (request, node, words) in [
        (
            request("system:node:pico-2", NODES, &["pico-1"], own),
            node(),
            "it is for CN=system:node:pico-2",
        ),
        (
            request(USER, "system:masters", &["pico-1"], own),
            node(),
            "it is for CN=system:node:pico-1,O=system:masters",
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
        let refused = judge(&request, node).expect_err(words);
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn requests_are_refused_when_there_is_more_than_one_block() {
    let text = |request: &Value| {
        let text = request["spec"]["request"].as_str().expect("a text");
        String::from_utf8(STANDARD.decode(text).expect("base64")).expect("a text")
    };
    let good = request(USER, NODES, &["pico-1"], &["192.0.2.15"]);
    let other = text(&request(USER, NODES, &["kubernetes"], &["10.96.0.1"]));
    let own = text(&good);
    let label = "CERTIFICATE REQUEST";
    for changed in [
        format!("{own}{other}"),
        format!("{other}{own}"),
        format!("words\n{own}"),
        format!("{own}words"),
        own.replace(label, "NEW CERTIFICATE REQUEST"),
        own.replace('\n', "\r\n"),
        own.replacen('\n', "\nProc-Type: 4\n\n", 1),
    ] {
        let mut request = good.clone();
        request["spec"]["request"] = STANDARD.encode(&changed).into();
        assert!(Asked::read(&request).is_err(), "{changed}");
    }
    let mut request = good.clone();
    request["spec"]["request"] = STANDARD.encode(own.trim_end()).into();
    assert_eq!(Asked::read(&request), Asked::read(&good));
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("JSON")
}

#[test]
fn requests_are_refused_when_they_are_larger_than_those_of_nodes() {
    let mut request = request(USER, NODES, &["pico-1"], &["192.0.2.15"]);
    assert_eq!(read_request(&raw(&request)), Ok(request.clone()));
    request["metadata"]["finalizers"] = (0..10_000).map(|number| format!("x/{number}")).collect();
    let refused = read_request(&raw(&request)).expect_err("too large");
    assert!(refused.contains("at most 32768"), "{refused}");
    let head = Request::read(&raw(&request)).expect("a request");
    assert_eq!(
        (head.name(), head.username(), head.signer()),
        ("csr", USER, SERVING)
    );
    assert!(!head.is_decided());
}

#[test]
fn requests_are_read_when_their_managed_fields_are_nested_deeply() {
    let request = request(USER, NODES, &["pico-1"], &["192.0.2.15"]);
    let fields = "{\"f:x\":".repeat(1000) + "{}" + &"}".repeat(1000);
    let deep = format!("{{\"managedFields\":[{{\"fieldsV1\":{fields}}}],");
    let text = raw(&request)
        .get()
        .replacen("\"metadata\":{", &format!("\"metadata\":{deep}"), 1);
    let deep = RawValue::from_string(text).expect("JSON");
    assert_eq!(Request::read(&deep).expect("a request").name(), "csr");
    assert_eq!(read_request(&deep), Ok(request));
}

#[test]
fn exceptions_allow_exactly_what_they_name() {
    let exceptions = |names: &[&str], addresses: &[&str]| Exceptions {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        addresses: addresses.iter().map(|text| address(text)).collect(),
    };
    let request = request(
        USER,
        NODES,
        &["pico-1", "pico-1.example.org"],
        &["192.0.2.15", "203.0.113.7"],
    );
    let both = exceptions(&["pico-1.example.org"], &["203.0.113.7"]);
    assert_eq!(judge_with(&request, node(), &both), Ok(()));
    for (exceptions, words) in [
        (exceptions(&[], &["203.0.113.7"]), "the name pico-1.example.org"),
        (
            exceptions(&["pico-1.example.org"], &[]),
            "the address 203.0.113.7",
        ),
        (
            exceptions(&["pico-1.example.org", "x"], &["203.0.113.7"]),
            "--allow-name x: it does not ask",
        ),
        (
            exceptions(&["pico-1.example.org"], &["203.0.113.7", "::1"]),
            "--allow-address ::1: it does not ask",
        ),
    ] {
        let refused = judge_with(&request, node(), &exceptions).expect_err(words);
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn networks_contain_their_addresses_and_no_others() {
    let contains =
        |network: &str, text: &str| network.parse::<Cidr>().expect(network).contains(address(text));
    for (network, inside, outside) in [
        ("10.96.0.0/16", "10.96.255.255", "10.97.0.0"),
        ("10.96.7.7/16", "10.96.0.0", "10.95.255.255"),
        ("192.0.2.1/32", "192.0.2.1", "192.0.2.0"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("fd00::/8", "fdff::1", "fe00::"),
        ("::/0", "2001:db8::1", "192.0.2.1"),
        ("10.96.0.0/16", "::ffff:10.96.0.1", "::10.96.0.1"),
    ] {
        assert!(contains(network, inside), "{inside} in {network}");
        assert!(!contains(network, outside), "{outside} in {network}");
    }
    for wrong in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/-1",
        "x/8",
        "10.0.0.0/8/8",
    ] {
        assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
    }
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    let words = ["approve"].into_iter().chain(line.split_whitespace());
    Command::try_parse_from(words).map(|command| command.arguments)
}

#[test]
fn exceptions_need_one_request_by_name() {
    let exception = parse("--csr csr-1 --allow-name x --allow-address 192.0.2.1 --allow-address ::1");
    assert_eq!(exception.expect("options").allow_address.len(), 2);
    for wrong in [
        "--allow-name x",
        "--allow-address 192.0.2.1",
        "pico-1 --allow-name x",
        "--watch --allow-name x",
        "--watch --csr csr-1",
        "--watch --csr csr-1 --allow-name x",
        "pico-1 --csr csr-1",
        "--csr a/../b",
        "--csr ..",
        "--wait 30s",
        "--watch --wait 30s",
        "pico-1 --watch --wait 30s",
        "pico-1 --wait 30",
        "pico-1 --wait -1s",
        "Pico/1",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn approve_waits_by_default_when_a_person_is_there_and_no_certificate() {
    let wait = |line: &str, terminal, has_certificate: bool| {
        let arguments = parse(line).expect(line);
        arguments
            .patience(terminal, || Ok(has_certificate))
            .expect("no error")
    };
    assert_eq!(wait("pico-1", true, false), Duration::from_secs(30));
    assert_eq!(wait("pico-1", true, true), Duration::ZERO);
    assert_eq!(wait("pico-1", false, false), Duration::ZERO);
    assert_eq!(wait("pico-1 --wait 2m", false, true), Duration::from_secs(120));
    assert_eq!(wait("pico-1 --wait 0s", true, false), Duration::ZERO);
}

#[test]
fn text_of_others_has_no_control_sequences_when_it_is_printed() {
    assert_eq!(
        printable("a\r\u{1b}[2Kb\u{202e}c"),
        "a\u{fffd}\u{fffd}[2Kb\u{fffd}c"
    );
}

#[test]
fn events_are_bounded() {
    let mut events = &b"{\"type\":\"ADDED\",\"object\":{}}\n{\"type\""[..];
    let event = next_event(&mut events).expect("an event").expect("one");
    assert_eq!(event.kind, "ADDED");
    assert!(next_event(&mut events).is_err(), "half an event");
    assert!(next_event(&mut events).expect("the end").is_none());
    let endless = std::io::repeat(b'x');
    assert!(next_event(&mut std::io::BufReader::new(endless)).is_err());
}

/// A request that is in order, and the API server that has it. It answers the first `conflicts` approvals with 409, and from then on
/// the request has `conditions`.
fn cluster_with_conflicts(conflicts: usize, conditions: Value) -> (Box<RawValue>, Client) {
    let request = request(USER, NODES, &["pico-1"], &["192.0.2.15"]);
    let mut decided = request.clone();
    decided["status"]["conditions"] = conditions;
    let object = raw(&request);
    let left = std::sync::atomic::AtomicUsize::new(conflicts);
    let client = serve(move |method, path| {
        let path = path.split('?').next().unwrap_or_default();
        match (method, path) {
            ("PUT", _) => {
                let last = left.load(Ordering::Relaxed);
                left.store(last.saturating_sub(1), Ordering::Relaxed);
                match last {
                    0 => (200, json!({})),
                    _ => (409, json!({"message": "the object has been modified"})),
                }
            }
            (_, "/api/v1/nodes/pico-1") => (200, node()),
            (_, "/api/v1/nodes") => (200, list(&[node()])),
            (_, path) if path.ends_with("/machine-id.pico-1") => (200, json!({"data": {"machineID": "m"}})),
            (_, path) if path.ends_with("/certificatesigningrequests/csr") => (200, decided.clone()),
            _ => (200, list(&[])),
        }
    });
    (object, client)
}

#[test]
fn request_is_judged_again_when_it_has_changed() {
    for (conflicts, conditions, approved) in [
        (0, json!([]), true),
        (1, json!([]), true),
        (2, json!([]), true),
        (9, json!([]), false),
        (9, json!([{"type": "Approved"}]), true),
    ] {
        let (object, client) = cluster_with_conflicts(conflicts, conditions.clone());
        let arguments = parse("--csr csr").expect("options");
        let decision = Approver::new(&client, &arguments)
            .consider(&object)
            .expect("a decision");
        let is_approved = matches!(decision, Decision::Decided);
        assert_eq!(is_approved, approved, "{conflicts} conflicts, {conditions}");
        assert_eq!(matches!(decision, Decision::Refused(_)), !approved);
    }
}

/// What becomes of a request that is in order, where the cluster has one more object at that path.
fn refusal_beside(place: &'static str, other: &Value) -> Option<String> {
    let request = request(USER, NODES, &["pico-1"], &["192.0.2.15"]);
    let other = other.clone();
    let client = serve(move |method, path| {
        let path = path.split('?').next().unwrap_or_default();
        match (method, path) {
            ("PUT", _) => (200, json!({})),
            (_, "/api/v1/nodes/pico-1") => (200, node()),
            (_, path) if path == place && path.ends_with("/machine-id.pico-1") => (200, other.clone()),
            (_, path) if path.ends_with("/machine-id.pico-1") => (200, json!({"data": {"machineID": "m"}})),
            (_, path) if path == place => (200, list(std::slice::from_ref(&other))),
            _ => (200, list(&[])),
        }
    });
    let arguments = parse("--csr csr").expect("options");
    match Approver::new(&client, &arguments)
        .consider(&raw(&request))
        .expect("a decision")
    {
        Decision::Refused(why) => Some(why),
        _ => None,
    }
}

#[test]
fn request_is_refused_when_anything_in_the_cluster_has_its_address() {
    let address = "192.0.2.15";
    let node = node_named("pico-2", &[("InternalIP", address)]);
    let service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"clusterIP": address}});
    for (place, object, words) in [
        ("/api/v1/nodes", node, Some("an address of node pico-2")),
        ("/api/v1/services", service, Some("an address of service n/s")),
        (
            "/apis/networking.k8s.io/v1/servicecidrs",
            json!({"metadata": {"name": "k"}, "spec": {"cidrs": ["192.0.2.0/24"]}}),
            Some("in the ServiceCIDR k"),
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            json!({"endpoints": [{"addresses": [address]}]}),
            Some("an endpoint of the API server"),
        ),
        (
            "/api/v1/namespaces/picolet-system/configmaps/machine-id.pico-1",
            json!({"data": {"machineID": "another"}}),
            Some("reports the machine ID m"),
        ),
        ("/api/v1/none", json!({}), None),
    ] {
        let refused = refusal_beside(place, &object);
        assert_eq!(refused.is_some(), words.is_some(), "{place}: {refused:?}");
        assert!(
            refused.is_none_or(|why| words.is_some_and(|words| why.contains(words))),
            "{place}"
        );
    }
}

#[test]
fn hint_at_rights_is_given_only_when_rights_are_missing() {
    for (code, hinted) in [(403, true), (500, false), (429, false)] {
        let client = serve(move |_, _| (code, json!({"message": "no"})));
        let read = ClusterAddresses::read(&client, &[]).err().expect("refused");
        let created = MachineRecords::new(&client, "x").check("pico-1", "m");
        let created = created.expect_err("refused");
        for error in [read, created] {
            let text = format!("{error:#}");
            assert_eq!(text.contains("deploy/approver.yaml"), hinted, "{text}");
            assert!(is_refused(&error, code), "{text}");
        }
    }
}

#[test]
fn remedy_names_the_flags_for_all_that_is_refused() {
    let request = request(
        USER,
        NODES,
        &["pico-1", "pico-1.example.org"],
        &["192.0.2.15", "203.0.113.7"],
    );
    let refused = judge(&request, node()).expect_err("refused");
    let flags = "picolet approve --csr csr --allow-name pico-1.example.org --allow-address 203.0.113.7";
    assert!(refused.contains(flags), "{refused}");
}

#[test]
fn remedy_is_not_given_when_a_name_has_characters_of_a_shell() {
    for name in [
        "x; touch y",
        "$(touch y)",
        "`touch y`",
        "x --csr y",
        "x\ny",
        "'x'",
        "x|y",
        "",
    ] {
        let refused = judge(&request(USER, NODES, &["pico-1", name], &["192.0.2.15"]), node());
        let refused = refused.expect_err(name);
        assert!(
            refused.contains("no DNS name") && !refused.contains("--allow"),
            "{refused}"
        );
    }
}

#[test]
fn addresses_of_a_cluster_are_bounded() {
    let service: Vec<String> = (0..256).map(|n| format!("{n}{}", "x".repeat(4000))).collect();
    let client = serve(move |_, path| {
        let service = json!({"metadata": {"name": "s", "namespace": "n"},
            "status": {"loadBalancer": {"ingress": service.iter().map(|host| json!({"hostname": host})).collect::<Vec<_>>()}}});
        match path.starts_with("/api/v1/services") {
            // Without an end.
            true => (
                200,
                json!({"metadata": {"continue": "x"}, "items": [service.clone(), service]}),
            ),
            false => (200, list(&[])),
        }
    });
    let error = ClusterAddresses::read(&client, &[]).err().expect("too many");
    assert!(format!("{error:#}").contains("64 MiB"), "{error:#}");
}
