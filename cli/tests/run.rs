//! `picolet run` as a person meets it: the built program, files and variables, and a cluster.

mod common;

use common::cluster::{Cluster, TOKEN, address, eventually};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read as _, Write as _};
use picolet_tls::{Connector, Identity};
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

/// A node that joins with a token, which is in this option.
fn joining_with(cluster: &Cluster, name: &str, address: Ipv4Addr, token: &str) -> Command {
    let options = format!(
        "--certificate-authority ca.crt --state-dir state --server {} {token}",
        cluster.url()
    );
    cluster.node(name, address, &options)
}

/// A node that joins with its token.
fn joining(cluster: &Cluster, name: &str, address: Ipv4Addr) -> Command {
    joining_with(cluster, name, address, &format!("--token {TOKEN}"))
}

#[test]
fn kubeconfig_variable_is_not_the_nodes_identity() {
    let cluster = Cluster::start();
    let mut command = cluster.node("pico-1", address(), "");
    command.env("KUBECONFIG", cluster.path("admin.conf"));
    let said = cluster.refused(command);
    assert!(
        said.contains("--server") && said.contains("KUBECONFIG is not read"),
        "{said}"
    );
    assert!(cluster.get("nodes", "pico-1").is_none(), "it became a node");
}

#[test]
fn node_joins_with_a_token_file_while_kubeconfig_is_exported() {
    let cluster = Cluster::start();
    let mut command = joining_with(&cluster, "pico-1", address(), "--token-file token");
    command.env("KUBECONFIG", cluster.path("admin.conf"));
    let mut node = cluster.spawn(command);
    node.expect("registered as node pico-1");
    assert!(!node.log().contains(TOKEN), "the token is in the log");

    // The machine ID is the one that is kept, whatever the host.
    let kept = fs::read_to_string(cluster.path("state/pico-1.machine-id")).expect("a machine ID");
    let object = cluster.get("nodes", "pico-1").expect("a Node");
    assert_eq!(
        object["status"]["nodeInfo"]["machineID"].as_str(),
        kept.lines().next()
    );
    assert!(node.stop().success());
    for file in fs::read_dir(cluster.path("state")).expect("a directory") {
        let file = file.expect("a file");
        let mode = file.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}: {mode:o}", file.file_name());
    }
    // The token was needed once.
    fs::remove_file(cluster.path("token")).expect("the file");
    let command = joining_with(&cluster, "pico-1", address(), "--token-file token");
    cluster.spawn(command).expect("registered as node pico-1");
}

#[test]
fn variables_that_a_kubeconfig_rules_out_are_named() {
    let cluster = Cluster::start();
    cluster.put_node_kubeconfig("pico-1");
    let mut command = cluster.node("pico-1", address(), "--kubeconfig pico-1.conf");
    for (name, value) in [
        ("PICOLET_TOKEN", TOKEN),
        ("K3S_TOKEN", "s3cret"),
        ("K3S_URL", "https://192.0.2.1"),
    ] {
        command.env(name, value);
    }
    let node = cluster.spawn(command);
    node.expect("registered as node pico-1");
    let log = node.log();
    for name in ["PICOLET_TOKEN", "K3S_TOKEN", "K3S_URL"] {
        let words = format!("{name} is ignored: --kubeconfig says");
        assert!(log.contains(&words), "no {words} in {log}");
    }
    assert!(!log.contains(TOKEN) && !log.contains("s3cret"), "{log}");
}

#[test]
fn token_that_cannot_be_used_is_refused_by_the_name_of_its_variable() {
    let cluster = Cluster::start();
    let pair = cluster.with(|cluster| cluster.pki().node_serving("pico-1", &[]).expect("a certificate"));
    cluster.put_pair("serving", &pair);
    let server = format!("--certificate-authority ca.crt --server {}", cluster.url());
    for (name, arguments, words) in [
        (
            "PICOLET_TOKEN",
            "",
            "PICOLET_TOKEN: a node that joins with a token needs --state-dir",
        ),
        (
            "K3S_TOKEN",
            "",
            "K3S_TOKEN: a node that joins with a token needs --state-dir",
        ),
        (
            "PICOLET_TOKEN",
            " --state-dir state --serving-certificate serving.crt --serving-key serving.key",
            "PICOLET_TOKEN cannot be used with --serving-certificate",
        ),
    ] {
        let mut command = cluster.node("pico-1", address(), &format!("{server}{arguments}"));
        command.env(name, TOKEN);
        let said = cluster.refused(command);
        assert!(said.contains(words) && !said.contains(TOKEN), "{said}");
    }
}

#[test]
fn certificates_of_others_are_refused() {
    let cluster = Cluster::start();
    let [admin, both, wrong_use] = cluster.with(|cluster| {
        let pki = cluster.pki();
        [
            pki.client("kubernetes-admin", &["system:masters"]),
            pki.client("system:node:pico-1", &["system:masters"]),
            pki.node_serving("pico-1", &[]),
        ]
        .map(|pair| pair.expect("a certificate"))
    });
    let files = |name: &str| {
        format!(
            "--server {} --certificate-authority ca.crt --client-certificate {name}.crt --client-key {name}.key",
            cluster.url()
        )
    };
    let refused = |arguments: &str| {
        let said = cluster.refused(cluster.node("pico-1", address(), arguments));
        assert!(
            cluster.get("nodes", "pico-1").is_none(),
            "it became a node: {said}"
        );
        said
    };
    for (name, pair, words) in [
        (
            "admin",
            &admin,
            "it belongs to kubernetes-admin (O=system:masters)",
        ),
        (
            "masters",
            &both,
            "it belongs to system:node:pico-1 (O=system:masters)",
        ),
        ("usage", &wrong_use, "clientAuth"),
    ] {
        cluster.put_pair(name, pair);
        let said = refused(&files(name));
        assert!(
            said.contains(words) && said.contains(&format!("--client-certificate {name}.crt")),
            "{said}"
        );
    }
    let said = refused("--kubeconfig admin.conf");
    assert!(
        said.contains("--kubeconfig admin.conf: it belongs to kubernetes-admin") && said.contains("--token"),
        "{said}"
    );
    cluster.put_node_kubeconfig("pico-2");
    let said = refused("--kubeconfig pico-2.conf");
    assert!(said.contains("pass --node-name pico-2"), "{said}");
    // A client's certificate is none for the kubelet API.
    cluster.put_node_kubeconfig("pico-1");
    let said = refused("--kubeconfig pico-1.conf --serving-certificate admin.crt --serving-key admin.key");
    assert!(
        said.contains("--serving-certificate admin.crt") && said.contains("serverAuth"),
        "{said}"
    );
}

#[test]
fn state_directory_is_refused_while_another_process_uses_it() {
    let cluster = Cluster::start();
    let mut first = cluster.spawn(joining(&cluster, "pico-1", address()));
    first.expect("registered as node pico-1");
    let said = cluster.refused(joining(&cluster, "pico-2", address()));
    assert!(
        said.contains(&format!(
            "--state-dir state: already in use by process {}",
            first.id()
        )),
        "{said}"
    );
    // A process that is killed leaves no lock behind.
    first.stop();
    drop(first);
    let second = cluster.spawn(joining(&cluster, "pico-2", address()));
    second.expect("registered as node pico-2");
}

#[test]
fn node_fails_at_start_when_its_port_is_taken() {
    let cluster = Cluster::start();
    let ip = address();
    let taken = TcpListener::bind((ip, 10250)).expect("a port");
    let said = cluster.refused(joining(&cluster, "pico-1", ip));
    assert!(
        said.contains(&format!("{ip}:10250")) && said.contains("--port") && said.contains("another process"),
        "{said}"
    );
    drop(taken);

    // From then on the port is the node's, before anybody approves its certificate.
    let node = cluster.spawn(joining(&cluster, "pico-1", ip));
    node.expect("registered as node pico-1");
    let error = TcpListener::bind((ip, 10250)).expect_err("the port is the node's");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let mut socket = TcpStream::connect((ip, 10250)).expect("a connection");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    let mut alert = Vec::new();
    socket.read_to_end(&mut alert).expect("its end");
    assert_eq!(
        alert,
        [21, 3, 3, 0, 2, 2, 80],
        "fatal internal_error, as a kubelet's"
    );
}

/// The certificate that is shown at that address.
fn shown(cluster: &Cluster, address: Ipv4Addr) -> Option<Vec<u8>> {
    let authority = cluster.with(|cluster| cluster.pki().ca().certificate_der.to_vec());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let now = || {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed().ok()?;
            Some(since.as_secs())
        };
        let connector = Connector::new(&[authority], None, now).expect("a connector");
        let address = SocketAddr::from((address, 10250));
        let socket = tokio::net::TcpStream::connect(address).await.ok()?;
        let stream = connector
            .connect(&address.ip().to_string(), FromTokio::new(socket))
            .await
            .ok()?;
        stream.peer_certificate().map(<[u8]>::to_vec)
    })
}

#[test]
fn renewed_certificate_files_are_used_without_a_restart() {
    let cluster = Cluster::start();
    let ip = address();
    let pairs = || {
        cluster.with(move |cluster| {
            let pki = cluster.pki();
            let serving = pki.node_serving("pico-1", &[ip.into()]).expect("a certificate");
            (pki.node("pico-1").expect("a certificate"), serving)
        })
    };
    let (client, serving) = pairs();
    cluster.put_pair("pico-1", &client);
    cluster.put_pair("serving", &serving);
    let node = cluster.spawn(cluster.node(
        "pico-1",
        ip,
        &format!(
            "--server {} --certificate-authority ca.crt --client-certificate {{name}}.crt --client-key {{name}}.key \
             --serving-certificate serving.crt --serving-key serving.key",
            cluster.url()
        ),
    ));
    node.expect("registered as node pico-1");
    let log = || node.log();
    eventually("the first certificate", &log, || {
        (shown(&cluster, ip)? == serving.certificate_der.to_vec()).then_some(())
    });

    // The certificate alone: it is not mixed with the old key.
    let (client, serving) = pairs();
    cluster.put("serving.crt", &serving.certificate_pem);
    node.expect("the old one stays in use: the private key does not belong to the certificate");
    assert_ne!(shown(&cluster, ip), Some(serving.certificate_der.to_vec()));
    cluster.put("serving.key", &serving.key_pem);
    cluster.put_pair("pico-1", &client);
    eventually("the second certificate", &log, || {
        (shown(&cluster, ip)? == serving.certificate_der.to_vec()).then_some(())
    });
    node.expect("new client certificate from --client-certificate pico-1.crt");

    // The cluster is called with it: the connections of before are over, and the Lease is renewed.
    let renewed = || {
        let lease = cluster.with(|cluster| cluster.get("leases", "kube-node-lease", "pico-1").ok())?;
        lease["spec"]["renewTime"].as_str().map(str::to_owned)
    };
    let before = renewed().expect("a Lease");
    eventually("the Lease is renewed", &log, || {
        renewed().filter(|time| *time != before)
    });
    assert!(!node.log().contains("PRIVATE KEY"), "a key is in the log");
}

/// The status that an administrator gets for `/healthz` at that address.
fn healthz(cluster: &Cluster, address: Ipv4Addr) -> Option<String> {
    let (authority, admin) = cluster.with(|cluster| {
        let admin = cluster.pki().client("kubernetes-admin", &["system:masters"]);
        (
            cluster.pki().ca().certificate_der.to_vec(),
            admin.expect("a certificate"),
        )
    });
    let (certificate, key) = (admin.certificate_pem.as_bytes(), admin.key_pem.as_bytes());
    let admin = Identity::from_pem(certificate, key).expect("an identity");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let now = || Some(std::time::SystemTime::UNIX_EPOCH.elapsed().ok()?.as_secs());
        let connector = Connector::new(&[authority], Some(&admin), now).expect("a connector");
        let socket = tokio::net::TcpStream::connect((address, 10250)).await.ok()?;
        let mut stream = connector
            .connect(&address.to_string(), FromTokio::new(socket))
            .await
            .ok()?;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .ok()?;
        stream.flush().await.ok()?;
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.ok()?;
        Some(String::from_utf8_lossy(&line).into_owned())
    })
}

#[test]
fn replaced_client_ca_counts_without_a_restart() {
    let cluster = Cluster::start();
    let ip = address();
    let other =
        rcgen::KeyPair::generate().and_then(|key| rcgen::CertificateParams::default().self_signed(&key));
    cluster.put("clients.crt", &other.expect("a certificate").pem());
    let (client, serving) = cluster.with(move |cluster| {
        let pki = cluster.pki();
        let serving = pki.node_serving("pico-1", &[ip.into()]).expect("a certificate");
        (pki.node("pico-1").expect("a certificate"), serving)
    });
    cluster.put_pair("pico-1", &client);
    cluster.put_pair("serving", &serving);
    let node = cluster.spawn(cluster.node(
        "pico-1",
        ip,
        &format!(
            "--server {} --certificate-authority ca.crt --client-certificate pico-1.crt --client-key pico-1.key \
             --serving-certificate serving.crt --serving-key serving.key --client-ca-file clients.crt",
            cluster.url()
        ),
    ));
    node.expect("registered as node pico-1");
    assert_eq!(healthz(&cluster, ip).as_deref(), Some("HTTP/1.1 401"));
    cluster.put(
        "clients.crt",
        &fs::read_to_string(cluster.path("ca.crt")).expect("a CA"),
    );
    node.expect("new client CA from --client-ca-file clients.crt");
    assert_eq!(healthz(&cluster, ip).as_deref(), Some("HTTP/1.1 200"));
}

#[test]
fn address_that_nobody_can_reach_is_refused() {
    let cluster = Cluster::start();
    let nowhere = [0, 0, 0, 0].into();
    let said = cluster.refused(joining_with(&cluster, "pico-1", nowhere, "--token-file token"));
    assert!(
        said.contains("--node-ip 0.0.0.0") && said.contains("address of this machine"),
        "{said}"
    );
    assert!(cluster.get("nodes", "pico-1").is_none());
}
