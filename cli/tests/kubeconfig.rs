//! The administrator's commands read kubeconfigs as kubectl does.

mod common;

use common::cluster::{Cluster, Folder};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc;

/// What `command` prints, which is to succeed.
fn printed(command: &mut Command) -> String {
    let output = command.output().expect("the program");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    assert!(output.status.success(), "{text}");
    text
}

/// ureq panics when it is given a pair that it cannot use.
#[test]
fn nodes_names_the_field_when_the_key_does_not_belong_to_the_certificate() {
    let cluster = Cluster::start();
    printed(cluster.picolet("nodes").args(["--kubeconfig", "admin.conf"]));
    cluster.put_node_kubeconfig("pico-1");
    let read = |file: &str| -> Value {
        serde_json::from_slice(&fs::read(cluster.path(file)).expect("a kubeconfig")).expect("JSON")
    };
    let admin = read("admin.conf");
    let mut mixed = admin.clone();
    mixed["users"][0]["user"]["client-key-data"] =
        read("pico-1.conf")["users"][0]["user"]["client-key-data"].clone();
    assert_ne!(mixed, admin);
    cluster.put("mixed.conf", &mixed.to_string());
    for command in ["nodes", "approve"] {
        let mut command = cluster.picolet(command);
        command.args(["--kubeconfig", "mixed.conf"]);
        let said = cluster.refused(command);
        assert!(
            said.contains("client-key: it does not belong to client-certificate"),
            "{said}"
        );
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn files_of_the_variable_are_merged_when_there_are_several() {
    let cluster = Cluster::start();
    let admin = fs::read_to_string(cluster.path("admin.conf")).expect("a kubeconfig");
    let admin: Value = serde_json::from_str(&admin).expect("JSON");
    let name = admin["current-context"].as_str().expect("a context");
    cluster.put(
        "first.conf",
        "apiVersion: v1\nkind: Config\ncurrent-context: elsewhere\n",
    );
    let nodes = |variable: &str, arguments: &[&str]| {
        let mut command = cluster.picolet("nodes");
        command.env("KUBECONFIG", variable).args(arguments);
        command
    };
    let said = cluster.refused(nodes("missing:first.conf:admin.conf", &[]));
    assert!(
        said.contains("KUBECONFIG: current-context: there is no context \"elsewhere\""),
        "{said}"
    );
    printed(&mut nodes("missing:first.conf:admin.conf", &["--context", name]));
    let said = cluster.refused(nodes("missing", &[]));
    assert!(said.contains("missing"), "{said}");
    // An empty variable is as none.
    let mut home = nodes("", &[]);
    fs::create_dir(cluster.path(".kube")).expect("a directory");
    fs::copy(cluster.path("admin.conf"), cluster.path(".kube/config")).expect("a copy");
    printed(home.env("HOME", cluster.path(".")));
}

/// The headers of the first request that an API server gets.
fn request_of(folder: &Folder, user: &str) -> Vec<String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    let authority = KeyPair::generate().and_then(|key| CertificateParams::default().self_signed(&key));
    folder.put("ca.crt", &authority.expect("a certificate").pem());
    folder.put(
        "c.conf",
        &format!(
            "clusters: [{{name: c, cluster: {{server: '{server}', certificate-authority: ca.crt}}}}]\n\
             users: [{{name: u, user: {user}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             current-context: x\n"
        ),
    );
    let (send, received) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let lines = BufReader::new(socket.try_clone().expect("a socket")).lines();
        let head: Vec<String> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        send.send(head).expect("the test waits");
        let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    });
    let mut nodes = folder.picolet("nodes");
    nodes.args(["pico-1", "--kubeconfig", "c.conf"]);
    let said = folder.refused(nodes);
    received.try_recv().expect(&said)
}

#[test]
fn request_is_that_of_the_user_when_the_kubeconfig_says_more_than_a_token() {
    let folder = Folder::new();
    let head = request_of(
        &folder,
        "{token: t, as: jane, as-groups: [ops, dev], as-user-extra: {example.org/x: [y]}}",
    );
    for line in [
        "authorization: Bearer t",
        "impersonate-user: jane",
        "impersonate-group: ops",
        "impersonate-group: dev",
        "impersonate-extra-example.org%2fx: y",
    ] {
        assert!(
            head.iter().any(|found| found.eq_ignore_ascii_case(line)),
            "{line}: {head:?}"
        );
    }
}

#[test]
fn token_is_that_of_the_plugin_when_the_kubeconfig_names_one() {
    let folder = Folder::new();
    let plugin = "#!/bin/sh\n\
        case \"$KUBERNETES_EXEC_INFO\" in *ExecCredential*) ;; *) exit 3 ;; esac\n\
        printf '{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \"status\": {\"token\": \"%s-%s\"}}' \"$1\" \"$REGION\"\n";
    folder.put("plugin", plugin);
    fs::set_permissions(folder.path("plugin"), fs::Permissions::from_mode(0o755)).expect("a program");
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, args: [a], \
                env: [{name: REGION, value: b}], interactiveMode: Never}}";
    let head = request_of(&folder, exec);
    assert!(
        head.iter()
            .any(|line| line.eq_ignore_ascii_case("authorization: Bearer a-b")),
        "{head:?}"
    );

    for (from, to, words) in [
        ("./plugin", "./absent", "install it"),
        ("io/v1,", "io/v1alpha1,", "apiVersion"),
    ] {
        let text = fs::read_to_string(folder.path("c.conf")).expect("a kubeconfig");
        let text = text
            .replace(from, to)
            .replace("interactiveMode", "installHint: install it, interactiveMode");
        folder.put("d.conf", &text);
        let mut nodes = folder.picolet("nodes");
        nodes.args(["--kubeconfig", "d.conf"]);
        let said = folder.refused(nodes);
        assert!(said.contains("exec: ") && said.contains(words), "{said}");
    }
}

#[test]
fn proxy_is_refused_without_its_password_when_it_is_not_supported() {
    let folder = Folder::new();
    request_of(&folder, "{token: t}");
    let text = fs::read_to_string(folder.path("c.conf")).expect("a kubeconfig");
    for (url, words) in [
        (
            "socks5://user:s3cret@127.0.0.1:1",
            "only http:// and https:// proxies",
        ),
        ("http://user:s3 cret@x:1:2", "not the URL of a proxy"),
    ] {
        folder.put(
            "d.conf",
            &text.replace(
                "certificate-authority:",
                &format!("proxy-url: '{url}', certificate-authority:"),
            ),
        );
        let mut nodes = folder.picolet("nodes");
        nodes.args(["--kubeconfig", "d.conf"]);
        let said = folder.refused(nodes);
        assert!(said.contains("proxy-url: ") && said.contains(words), "{said}");
        assert!(!said.contains("cret") && !said.contains("panicked"), "{said}");
    }
}
