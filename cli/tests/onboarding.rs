//! `picolet provision --kubeconfig` in a cluster: a bootstrap token is there for a board that has it, and for nobody else.

mod common;

use common::cluster::{Folder, Process, eventually};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// As much of an API server as the command asks for, and a directory for files. A real one is asked in the conformance tests.
struct Api {
    folder: Folder,
    /// The names of the Secrets that exist.
    secrets: Arc<Mutex<Vec<String>>>,
}

impl Deref for Api {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Api {
    fn start() -> Self {
        Self::that_creates_with("200 OK")
    }

    /// One that answers so when it has created an object.
    fn that_creates_with(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = format!("http://{}", listener.local_addr().expect("an address"));
        let secrets = Arc::<Mutex<Vec<String>>>::default();
        let kept = secrets.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let kept = kept.clone();
                std::thread::spawn(move || answer_all(&socket.expect("a client"), &kept, status));
            }
        });
        let folder = Folder::new();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = KeyPair::generate().and_then(|key| params.self_signed(&key));
        folder.put("ca.crt", &authority.expect("a certificate").pem());
        folder.put("wifi", "correct horse battery");
        folder.put(
            "admin.conf",
            &format!(
                "clusters: [{{name: c, cluster: {{server: '{server}', certificate-authority: ca.crt}}}}]\n\
                 users: [{{name: u, user: {{token: t}}}}]\n\
                 contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
                 current-context: x\n"
            ),
        );
        Self { folder, secrets }
    }

    fn tokens(&self) -> Vec<String> {
        self.secrets.lock().expect("the names").clone()
    }
}

/// Answers the requests of one connection.
fn answer_all(mut socket: &TcpStream, secrets: &Mutex<Vec<String>>, created: &str) {
    let mut reader = BufReader::new(socket);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).unwrap_or_default() == 0 {
                return;
            }
        }
        let head = String::from_utf8(head).expect("a head").to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        reader.read_exact(&mut body).expect("a body");
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut secrets = secrets.lock().expect("the names");
        let mut words = head.split(' ');
        let mut status = "200 OK";
        match words.next() {
            Some("post") => {
                secrets.push(body["metadata"]["name"].as_str().expect("a name").to_owned());
                status = created;
            }
            Some("delete") => {
                let path = words.next().expect("a path");
                secrets.retain(|name| !path.ends_with(&format!("/secrets/{name}")));
            }
            _ => {}
        }
        drop(secrets);
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        socket.write_all(answer.as_bytes()).expect("an answer");
    }
}

/// The command for a board whose settings go to `target`.
fn provision(api: &Api, target: &[&str]) -> Command {
    let mut command = api.picolet("provision");
    command
        .args([
            "--ssid=attic",
            "--passphrase-file=wifi",
            "--node-name=pico-1",
            "--board=pico-w",
        ])
        .args(["--kubeconfig=admin.conf", "--server=https://192.0.2.1:6443"])
        .args(target);
    command
}

#[test]
fn token_is_created_for_settings_that_are_written() {
    let api = Api::start();
    let mut command = provision(&api, &["--output=s.uf2"]);
    command
        .env("K3S_TOKEN", "s3cret")
        .env("K3S_URL", "https://192.0.2.2");
    let mut process = api.spawn(command);
    let (status, said) = (process.wait(), process.log());
    assert!(status.success(), "{said}");
    assert!(said.contains("K3S_TOKEN is ignored: --kubeconfig"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    assert_eq!(api.tokens().len(), 1);
    assert!(!api.path("s.uf2.new").exists());
}

#[test]
fn cluster_is_that_of_the_variable_when_no_option_says_how_the_board_joins() {
    let api = Api::start();
    let command = || {
        let mut command = api.picolet("provision");
        command
            .env("KUBECONFIG", api.path("admin.conf"))
            .args(["--ssid=attic", "--passphrase-file=wifi", "--node-name=pico-1"])
            .args([
                "--board=pico-w",
                "--server=https://192.0.2.1:6443",
                "--output=s.uf2",
            ]);
        command
    };
    let mut process = api.spawn(command());
    let (status, said) = (process.wait(), process.log());
    assert!(status.success(), "{said}");
    assert!(said.contains("the cluster of KUBECONFIG"), "{said}");
    assert_eq!(api.tokens().len(), 1);
    // With a token from elsewhere it is not asked for one.
    let mut joins = command();
    joins.args([
        "--token=abcdef.0123456789abcdef",
        "--certificate-authority=ca.crt",
    ]);
    let mut process = api.spawn(joins);
    assert!(process.wait().success(), "{}", process.log());
    assert_eq!(api.tokens().len(), 1);
}

#[test]
fn no_token_is_created_when_the_settings_cannot_be_delivered() {
    let api = Api::start();
    api.put("no-line", "");
    for (target, words) in [
        ("--output=nowhere/s.uf2", "--output nowhere/s.uf2"),
        ("--serial=no-line", "is not a serial line"),
    ] {
        let said = api.refused(provision(&api, &[target]));
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("Bootstrap token"), "{said}");
        assert_eq!(api.tokens(), <[String; 0]>::default(), "{target}");
    }
}

#[test]
fn token_is_revoked_when_the_settings_are_not_delivered() {
    let api = Api::start();
    // What is written to it finds no room.
    let said = api.refused(provision(&api, &["--output=/dev/full"]));
    assert!(
        said.contains("Bootstrap token") && said.contains("the bootstrap token is revoked"),
        "{said}"
    );
    assert_eq!(api.tokens(), <[String; 0]>::default());
}

#[test]
fn token_is_revoked_when_the_server_fails_after_it_has_created_it() {
    let api = Api::that_creates_with("504 Gateway Timeout");
    let said = api.refused(provision(&api, &["--output=s.uf2"]));
    assert!(
        said.contains("HTTP 504") && said.contains("the bootstrap token is revoked"),
        "{said}"
    );
    assert_eq!(api.tokens(), <[String; 0]>::default());
    assert!(!api.path("s.uf2").exists());
}

#[test]
fn token_is_revoked_when_the_program_is_interrupted() {
    let api = Api::start();
    let path = api.path("pipe");
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    // Nobody reads from it, and it is full: the program waits while it writes.
    let mut pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(&path)
        .expect("the pipe");
    while pipe.write(&[0; 4096]).is_ok() {}
    let mut process: Process = api.spawn(provision(&api, &["--output=pipe"]));
    let log = || process.log();
    eventually("a token", &log, || (api.tokens().len() == 1).then_some(()));
    eventually("it writes", &log, || {
        log().contains("Bootstrap token").then_some(())
    });
    assert!(!process.stop().success());
    assert!(process.log().contains("is revoked"), "{}", process.log());
    assert_eq!(api.tokens(), <[String; 0]>::default());
    assert!(fs::metadata(&path).is_ok(), "what is no file stays");
}
