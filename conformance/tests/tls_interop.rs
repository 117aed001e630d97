//! Our TLS against Go's, the one that kube-apiserver has: what both agree on, and what each side must refuse.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{Read as _, Write as _};
use picolet_controlplane::{Binaries, BuildError};
use picolet_tls::{Acceptor, Clients, Connector, Identity, TlsError, TlsStream, x509};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

/// The program of `controlplane/tlspeer`, and a folder with every certificate that it can make.
struct Go {
    program: PathBuf,
    certificates: TempDir,
}

static GO: LazyLock<Option<Go>> = LazyLock::new(|| {
    let program = match Binaries::build_tlspeer() {
        Ok(program) => program,
        Err(BuildError::GoMissing) => return None,
        Err(error) => panic!("{error}"),
    };
    let certificates = tempfile::tempdir().expect("a temporary folder");
    let status = Command::new(&program)
        .arg("pki")
        .arg(certificates.path())
        .status()
        .expect("tlspeer runs");
    assert!(status.success(), "tlspeer could not make certificates");
    Some(Go {
        program,
        certificates,
    })
});

/// Returns Go's side, or says that the calling test was not run.
fn go() -> Option<&'static Go> {
    if GO.is_none() {
        picolet_oracle::not_run("install Go");
    }
    GO.as_ref()
}

/// A server that was started for one test.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Go {
    fn path(&self, file: &str) -> PathBuf {
        self.certificates.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).expect("tlspeer made this file")
    }

    fn roots(&self, name: &str) -> Vec<Vec<u8>> {
        x509::certificates_from_pem(&self.read(&format!("{name}.crt"))).expect("a certificate")
    }

    fn identity(&self, name: &str) -> Identity {
        let (chain, key) = (
            self.read(&format!("{name}.crt")),
            self.read(&format!("{name}.key")),
        );
        Identity::from_pem(&chain, &key).expect("an identity")
    }

    fn command(&self, verb: &str, certificate: Option<&str>, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(verb)
            .args(flags)
            .current_dir(self.certificates.path());
        if let Some(name) = certificate {
            command.args([
                "-certificate",
                &format!("{name}.crt"),
                "-key",
                &format!("{name}.key"),
            ]);
        }
        command
    }

    /// Starts a server on loopback.
    fn serve(&self, certificate: &str, flags: &[&str]) -> Server {
        let mut command = self.command("serve", Some(certificate), flags);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("tlspeer runs");
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        let mut address = String::new();
        lines.read_line(&mut address).expect("its address");
        Server {
            child,
            lines,
            address: address.trim().to_owned(),
        }
    }

    /// Connects Go's client, which sends `message`, and returns what it prints.
    async fn dial(&self, certificate: Option<&str>, flags: &[&str], address: &str, message: &str) -> String {
        let mut command = self.command("dial", certificate, flags);
        command.arg(address).stdin(Stdio::piped()).stdout(Stdio::piped());
        let message = message.to_owned();
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("tlspeer runs");
            child
                .stdin
                .take()
                .expect("its input")
                .write_all(message.as_bytes())
                .expect("it reads");
            let output = child.wait_with_output().expect("its output");
            String::from_utf8(output.stdout).expect("text")
        })
        .await
        .expect("no panic")
    }
}

impl Server {
    /// Returns what the server says of its next connection.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says whether an error is the expected one.
type Judge = fn(TlsError) -> bool;

/// The system's clock.
fn now() -> Option<u64> {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// Runs a future on this thread, with a limit.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future)
            .await
            .expect("in time")
    })
}

type Connection = TlsStream<FromTokio<TcpStream>>;

async fn connect(connector: &Connector, address: &str, name: &str) -> Result<Connection, TlsError> {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    connector.connect(name, FromTokio::new(stream)).await
}

/// Sends `message` and returns as much again.
async fn echo(connection: &mut Connection, message: &[u8]) -> Result<Vec<u8>, TlsError> {
    let mut answer = Vec::new();
    let mut buffer = [0; 1000];
    for part in message.chunks(10_000) {
        connection.write_all(part).await?;
        connection.flush().await?;
        let wanted = answer.len() + part.len();
        while answer.len() < wanted {
            let count = connection.read(&mut buffer).await?;
            if count == 0 {
                return Err(TlsError::Truncated);
            }
            answer.extend_from_slice(&buffer[..count]);
        }
    }
    Ok(answer)
}

/// Connects our client with `identity` to a server of Go and exchanges a word.
fn client(
    go: &Go,
    roots: &str,
    identity: Option<&str>,
    server: &mut Server,
) -> (Result<(), TlsError>, String) {
    let identity = identity.map(|name| go.identity(name));
    let connector = Connector::new(&go.roots(roots), identity.as_ref(), now).expect("a connector");
    let result = run(async {
        let mut connection = connect(&connector, &server.address, "localhost").await?;
        assert_eq!(echo(&mut connection, b"hello").await?, b"hello");
        connection.close().await
    });
    (result, server.line())
}

#[test]
fn client_and_server_of_go_agree() {
    let Some(go) = go() else { return };
    for (flags, retried) in [
        (["-curves", "x25519"], false),
        (["-curves", "p256"], true),
        (["-curves", "p256,x25519"], false),
    ] {
        let mut server = go.serve("server", &flags);
        let (result, line) = client(go, "ca", None, &mut server);
        result.unwrap_or_else(|error| panic!("{flags:?}: {error}; Go says {line}"));
        assert!(line.starts_with("ok version=TLS 1.3"), "{line}");
        // We show a key for X25519; a server that wants P-256 has to ask again (HelloRetryRequest).
        assert!(line.contains(&format!("retried={retried}")), "{flags:?}: {line}");
    }
}

#[test]
fn client_verifies_rsa_chains() {
    let Some(go) = go() else { return };
    for bits in ["rsa2048", "rsa3072", "rsa4096"] {
        let mut server = go.serve(&format!("{bits}-server"), &[]);
        let (result, line) = client(go, &format!("{bits}-ca"), None, &mut server);
        result.unwrap_or_else(|error| panic!("{bits}: {error}; Go says {line}"));
    }
}

#[test]
fn client_refuses_servers() {
    let Some(go) = go() else { return };
    let cases: [(&str, &[&str], Judge); 8] = [
        ("server-wrong-name", &[], |error| error == TlsError::WrongName),
        ("server-wrong-authority", &[], |error| {
            error == TlsError::UnknownIssuer
        }),
        ("server-expired", &[], |error| {
            matches!(error, TlsError::Expired { .. })
        }),
        ("server-not-yet-valid", &[], |error| {
            matches!(error, TlsError::NotYetValid { .. })
        }),
        ("server-wrong-usage", &[], |error| error == TlsError::WrongUsage),
        ("server-signed-by-leaf", &[], |error| {
            matches!(error, TlsError::BadCertificate | TlsError::UnknownIssuer)
        }),
        ("server", &["-max-version", "1.2"], |error| {
            matches!(error, TlsError::Version | TlsError::Refused(_))
        }),
        ("server", &["-curves", "p384"], |error| {
            matches!(error, TlsError::NothingInCommon | TlsError::Refused(_))
        }),
    ];
    for (certificate, flags, judge) in cases {
        let mut server = go.serve(certificate, flags);
        let (result, line) = client(go, "ca", None, &mut server);
        let error = result.expect_err(certificate);
        assert!(judge(error), "{certificate} {flags:?}: {error:?}");
        // The peer was told, or, where what it had sent was not read to its end, TCP reset the connection first.
        assert!(line.starts_with("failed"), "{certificate}: {line}");
        assert!(!line.contains("EOF"), "{certificate}: {line}");
    }
}

#[test]
fn client_certificate_is_judged_by_go() {
    let Some(go) = go() else { return };
    let mut server = go.serve("server", &["-authority", "ca.crt"]);
    let (result, line) = client(go, "ca", Some("client"), &mut server);
    result.unwrap_or_else(|error| panic!("{error}; Go says {line}"));
    assert!(line.contains("peer=client"), "{line}");
    for identity in [
        None,
        Some("client-wrong-authority"),
        Some("client-expired"),
        Some("client-wrong-usage"),
    ] {
        let (result, line) = client(go, "ca", identity, &mut server);
        let error = result.expect_err("Go refuses it");
        let TlsError::Refused(alert) = error else {
            panic!("{identity:?}: {error:?}; Go says {line}")
        };
        assert!(
            alert.is_about_our_certificate(),
            "{identity:?}: {alert}; Go says {line}"
        );
        assert!(line.starts_with("failed"), "{line}");
    }
}

#[test]
fn sessions_are_resumed() {
    let Some(go) = go() else { return };
    let mut server = go.serve("server", &["-authority", "ca.crt"]);
    let connector = Connector::new(&go.roots("ca"), Some(&go.identity("client")), now).expect("a connector");
    for resumed in [false, true, true] {
        run(async {
            let mut connection = connect(&connector, &server.address, "localhost")
                .await
                .expect("a connection");
            assert_eq!(echo(&mut connection, b"hello").await.expect("an echo"), b"hello");
            assert_eq!(connection.resumed(), resumed);
            connection.close().await.expect("a farewell");
        });
        let line = server.line();
        assert!(line.contains(&format!("resumed={resumed}")), "{line}");
        // The identity of the client survives the resumption.
        assert!(line.contains("peer=client"), "{line}");
    }
}

#[test]
fn long_messages_arrive_whole() {
    let Some(go) = go() else { return };
    let server = go.serve("server", &[]);
    let connector = Connector::new(&go.roots("ca"), None, now).expect("a connector");
    let message: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    run(async {
        let mut connection = connect(&connector, &server.address, "localhost")
            .await
            .expect("a connection");
        assert!(echo(&mut connection, &message).await.expect("an echo") == message);
    });
}

/// What our server found out about one connection: an error, or the peer's certificate.
type Accepted = Result<Option<Vec<u8>>, TlsError>;

/// Takes one connection of Go's client on our server and echoes it. Returns both sides' results.
fn server(
    go: &Go,
    name: &str,
    clients: Clients<'_>,
    certificate: Option<&str>,
    flags: &[&str],
    message: &str,
) -> (Accepted, String) {
    let acceptor = Acceptor::new(&go.identity(name), clients, now).expect("an acceptor");
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address").to_string();
        let serve = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut connection = acceptor.accept(FromTokio::new(stream)).await?;
            let peer = connection.peer_certificate().map(<[u8]>::to_vec);
            let mut left = message.len();
            let mut buffer = [0; 1000];
            while left > 0 {
                let count = connection.read(&mut buffer).await?;
                if count == 0 {
                    return Err(TlsError::Truncated);
                }
                connection.write_all(&buffer[..count]).await?;
                connection.flush().await?;
                left -= count;
            }
            connection.close().await?;
            Ok(peer)
        };
        tokio::join!(serve, go.dial(certificate, flags, &address, message))
    })
}

#[test]
fn server_and_client_of_go_agree() {
    let Some(go) = go() else { return };
    let trust = ["-authority", "ca.crt", "-name", "localhost"];
    let message = "a message of some length. ".repeat(2000);
    for (curves, retried) in [
        ("x25519mlkem768,x25519,p256", "false"),
        ("p256", "false"),
        ("p384,p256", ""),
    ] {
        let flags = [trust.as_slice(), &["-curves", curves]].concat();
        let (accepted, line) = server(go, "server", Clients::Anonymous, None, &flags, &message);
        assert_eq!(
            accepted.unwrap_or_else(|error| panic!("{curves}: {error}; Go says {line}")),
            None
        );
        assert!(line.starts_with("ok version=TLS 1.3"), "{curves}: {line}");
        assert!(line.contains(&format!("retried={retried}")), "{curves}: {line}");
        assert!(line.ends_with(&message), "{curves}: the echo is another");
    }
}

#[test]
fn server_judges_client_certificates() {
    let Some(go) = go() else { return };
    let trust = ["-authority", "ca.crt", "-name", "localhost"];
    let roots = go.roots("ca");
    for clients in [Clients::Optional(&roots), Clients::Required(&roots)] {
        let (accepted, line) = server(go, "server", clients, Some("client"), &trust, "hello");
        let peer = accepted.unwrap_or_else(|error| panic!("{error}; Go says {line}"));
        assert_eq!(peer, Some(go.roots("client").remove(0)));

        let cases: [(&str, Judge); 3] = [
            ("client-wrong-authority", |error| error == TlsError::UnknownIssuer),
            ("client-expired", |error| {
                matches!(error, TlsError::Expired { .. })
            }),
            ("client-wrong-usage", |error| error == TlsError::WrongUsage),
        ];
        for (certificate, judge) in cases {
            let (accepted, line) = server(go, "server", clients, Some(certificate), &trust, "hello");
            if matches!(clients, Clients::Optional(_)) {
                // As to a kubelet: the client goes on without an identity, and may have a token.
                let peer = accepted.unwrap_or_else(|error| panic!("{certificate}: {error}; Go says {line}"));
                assert_eq!(peer, None, "{certificate}");
                continue;
            }
            let error = accepted.expect_err(certificate);
            assert!(judge(error), "{certificate}: {error:?}");
            assert!(
                line.starts_with("failed remote error: tls:"),
                "{certificate}: Go was not told: {line}"
            );
        }
    }
    let (accepted, line) = server(go, "server", Clients::Optional(&roots), None, &trust, "hello");
    assert_eq!(
        accepted.unwrap_or_else(|error| panic!("{error}; Go says {line}")),
        None
    );
    let (accepted, line) = server(go, "server", Clients::Required(&roots), None, &trust, "hello");
    assert_eq!(
        accepted.expect_err("no certificate"),
        TlsError::CertificateRequired
    );
    assert!(line.contains("certificate required"), "{line}");
}

#[test]
fn server_refuses_old_versions_and_foreign_groups() {
    let Some(go) = go() else { return };
    let trust = ["-authority", "ca.crt", "-name", "localhost"];
    let old = [trust.as_slice(), &["-max-version", "1.2"]].concat();
    let (accepted, line) = server(go, "server", Clients::Anonymous, None, &old, "hello");
    assert_eq!(accepted.expect_err("TLS 1.2"), TlsError::Version);
    assert!(line.contains("protocol version"), "{line}");
    let foreign = [trust.as_slice(), &["-curves", "p384"]].concat();
    let (accepted, line) = server(go, "server", Clients::Anonymous, None, &foreign, "hello");
    assert_eq!(accepted.expect_err("P-384"), TlsError::NothingInCommon);
    assert!(line.starts_with("failed remote error"), "{line}");
}

#[test]
fn go_refuses_our_server_and_we_are_told() {
    let Some(go) = go() else { return };
    let trust = ["-authority", "ca.crt", "-name", "localhost"];
    for name in [
        "server-wrong-name",
        "server-wrong-authority",
        "server-expired",
        "server-wrong-usage",
    ] {
        let (accepted, line) = server(go, name, Clients::Anonymous, None, &trust, "hello");
        let error = accepted.expect_err(name);
        assert!(
            matches!(error, TlsError::Refused(_)),
            "{name}: {error:?}; Go says {line}"
        );
        assert!(
            line.starts_with("failed tls: failed to verify certificate"),
            "{name}: {line}"
        );
    }
}
