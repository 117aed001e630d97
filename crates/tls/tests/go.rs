//! Go's TLS, which is that of kube-apiserver and kubectl, at the other end of a socket: `controlplane/tlspeer`.

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use picolet_controlplane::{Binaries, BuildError};
use picolet_tls::x509::certificates_from_pem;
use picolet_tls::{Acceptor, Alert, Clients, Connector, Identity, TlsError, TlsStream};
use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// The program, and the folder with the certificates that it made once for all tests; or nothing, where there is no Go.
fn go() -> Option<&'static (PathBuf, PathBuf)> {
    static GO: OnceLock<Option<(PathBuf, PathBuf)>> = OnceLock::new();
    let made = GO.get_or_init(|| {
        let program = match Binaries::build_tlspeer() {
            Ok(program) => program,
            Err(BuildError::GoMissing) => return None,
            Err(error) => panic!("{error}"),
        };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tlspeer");
        fs::create_dir_all(&folder).unwrap();
        assert!(
            Command::new(&program)
                .arg("pki")
                .arg(&folder)
                .status()
                .unwrap()
                .success()
        );
        Some((program, folder))
    });
    if made.is_none() {
        picolet_oracle::not_run("install Go");
    }
    made.as_ref()
}

fn identity(folder: &Path, name: &str) -> Identity {
    let read = |kind: &str| fs::read(folder.join(format!("{name}.{kind}"))).unwrap();
    Identity::from_pem(&read("crt"), &read("key")).unwrap()
}

fn roots(folder: &Path, name: &str) -> Vec<Vec<u8>> {
    certificates_from_pem(&fs::read(folder.join(format!("{name}.crt"))).unwrap()).unwrap()
}

fn now() -> Option<u64> {
    SystemTime::UNIX_EPOCH.elapsed().ok().map(|since| since.as_secs())
}

/// A socket that blocks: here nothing else has to go on meanwhile.
struct Socket(TcpStream);

impl Socket {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(stream)
    }
}

impl ErrorType for Socket {
    type Error = ErrorKind;
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        self.0.read(buffer).map_err(kind)
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.write(bytes).map_err(kind)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

fn kind(error: std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::ConnectionReset => ErrorKind::ConnectionReset,
        std::io::ErrorKind::BrokenPipe => ErrorKind::BrokenPipe,
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    }
}

/// `tlspeer serve`, killed when it is dropped.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    /// Shows this certificate and takes clients of `ca` only.
    fn start(name: &str, more: &[&str]) -> Option<Self> {
        let (program, folder) = go()?;
        let file = |name: &str, kind: &str| folder.join(format!("{name}.{kind}"));
        let mut child = Command::new(program)
            .arg("serve")
            .arg("--certificate")
            .arg(file(name, "crt"))
            .arg("--key")
            .arg(file(name, "key"))
            .arg("--authority")
            .arg(file("ca", "crt"))
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Self {
            lines: BufReader::new(child.stdout.take().unwrap()),
            child,
            address: String::new(),
        };
        server.address = server.line();
        Some(server)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn connect(&self, connector: &Connector) -> Result<TlsStream<Socket>, TlsError> {
        block_on(connector.connect(
            "localhost",
            Socket::new(TcpStream::connect(&self.address).unwrap()),
        ))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a text and reads its echo.
async fn echo(stream: &mut TlsStream<Socket>, text: &[u8]) -> Result<(), TlsError> {
    let mut answer = vec![0; text.len()];
    let (mut sent, mut got) = (0, 0);
    while got < text.len() {
        if sent < text.len() {
            let end = text.len().min(sent + 10_000);
            stream.write_all(&text[sent..end]).await?;
            stream.flush().await?;
            sent = end;
        }
        match stream.read(&mut answer[got..]).await? {
            0 => panic!("the echo ended after {got} bytes"),
            count => got += count,
        }
    }
    assert!(answer == text, "the echo differs");
    Ok(())
}

#[test]
fn client_talks_to_go_and_resumes() {
    for (flags, group, retried) in [
        (&[][..], "X25519", "false"),
        (&["--curves", "p256"][..], "CurveP256", "true"),
    ] {
        let Some(mut server) = Server::start("server", flags) else {
            return;
        };
        let (_, folder) = go().unwrap();
        let connector = Connector::new(&roots(folder, "ca"), Some(&identity(folder, "client")), now).unwrap();
        for resumed in [false, true, true] {
            let mut stream = server.connect(&connector).unwrap();
            assert_eq!(stream.resumed(), resumed);
            block_on(async {
                echo(&mut stream, &[b'x'; 50_000]).await.unwrap();
                stream.close().await.unwrap();
                assert_eq!(stream.read(&mut [0]).await, Ok(0), "Go says farewell too");
            });
            let line = server.line();
            assert!(line.starts_with("ok version=TLS 1.3"), "{line}");
            assert!(
                line.contains(&format!(
                    "group={group} retried={retried} resumed={resumed} peer=client"
                )),
                "{line}"
            );
        }
    }
}

#[test]
fn client_verifies_rsa_authorities_and_keys_of_go() {
    for bits in ["rsa2048", "rsa3072", "rsa4096"] {
        let Some(server) = Server::start(&format!("{bits}-server"), &[]) else {
            return;
        };
        let (_, folder) = go().unwrap();
        let client = identity(folder, "client");
        let connector = Connector::new(&roots(folder, &format!("{bits}-ca")), Some(&client), now).unwrap();
        block_on(echo(&mut server.connect(&connector).unwrap(), b"hello")).unwrap();
    }
}

#[test]
fn client_refuses_what_it_must() {
    let Some((_, folder)) = go() else { return };
    let connector = Connector::new(&roots(folder, "ca"), Some(&identity(folder, "client")), now).unwrap();
    type Expected = fn(TlsError) -> bool;
    let cases: [(&str, &[&str], Expected); 8] = [
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
        // Signed by a certificate of ours that is no authority: any kubelet could make it.
        ("server-signed-by-leaf", &[], |error| {
            matches!(error, TlsError::UnknownIssuer | TlsError::BadCertificate)
        }),
        ("server", &["--max-version", "1.2"], |error| {
            error == TlsError::Version
        }),
        ("server", &["--curves", "p384"], |error| {
            error == TlsError::Refused(Alert(40))
        }),
    ];
    for (name, flags, expected) in cases {
        let mut server = Server::start(name, flags).unwrap();
        let error = server.connect(&connector).unwrap_err();
        assert!(expected(error), "{name}: {error:?}");
        assert!(server.line().starts_with("failed"), "{name}");
    }
}

#[test]
fn client_hears_why_go_refuses_it() {
    let Some(server) = Server::start("server", &[]) else {
        return;
    };
    let (_, folder) = go().unwrap();
    for name in [
        None,
        Some("client-wrong-authority"),
        Some("client-expired"),
        Some("client-wrong-usage"),
    ] {
        let identity = name.map(|name| identity(folder, name));
        let connector = Connector::new(&roots(folder, "ca"), identity.as_ref(), now).unwrap();
        let mut stream = server.connect(&connector).unwrap();
        let error = block_on(stream.read(&mut [0])).unwrap_err();
        assert!(
            matches!(error, TlsError::Refused(alert) if alert.is_about_our_certificate()),
            "{name:?}: {error:?}"
        );
    }
}

/// What `tlspeer dial` prints, and what our server made of it.
fn dialled(acceptor: &Acceptor, arguments: &[&str]) -> Option<(String, Result<(), TlsError>)> {
    let (program, folder) = go()?;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new(program)
        .arg("dial")
        .args(arguments)
        .arg(listener.local_addr().unwrap().to_string())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&[b'y'; 40_000]).unwrap();
    let (socket, _) = listener.accept().unwrap();
    let result = block_on(async {
        let mut stream = acceptor.accept(Socket::new(socket)).await?;
        let mut buffer = vec![0; 40_000];
        stream
            .read_exact(&mut buffer)
            .await
            .map_err(|_| TlsError::Truncated)?;
        stream.write_all(&buffer).await?;
        stream.close().await
    });
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    Some((text.lines().next().unwrap_or_default().to_owned(), result))
}

const SERVER: [&str; 4] = ["--name", "localhost", "--authority", "ca.crt"];

#[test]
fn server_talks_to_go() {
    let Some((_, folder)) = go() else { return };
    let acceptor = Acceptor::new(
        &identity(folder, "server"),
        Clients::Required(&roots(folder, "ca")),
        now,
    )
    .unwrap();
    // Go's own choice is a ClientHello with ML-KEM that fills a record of 1.5 KB; its records are up to 16 KiB long.
    for (flags, group) in [(&[][..], "X25519"), (&["--curves", "p256"][..], "CurveP256")] {
        let client = ["--certificate", "client.crt", "--key", "client.key"];
        let (line, result) = dialled(&acceptor, &[&SERVER[..], &client, flags].concat()).unwrap();
        result.unwrap();
        let expected = format!(
            "ok version=TLS 1.3 cipher=TLS_CHACHA20_POLY1305_SHA256 group={group} retried=false resumed=false"
        );
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn server_refuses_what_it_must() {
    let Some((_, folder)) = go() else { return };
    let acceptor = Acceptor::new(
        &identity(folder, "server"),
        Clients::Required(&roots(folder, "ca")),
        now,
    )
    .unwrap();
    type Expected = fn(TlsError) -> bool;
    let cases: [(Option<&str>, &[&str], Expected); 6] = [
        (None, &[], |error| error == TlsError::CertificateRequired),
        (Some("client-wrong-authority"), &[], |error| {
            error == TlsError::UnknownIssuer
        }),
        (Some("client-expired"), &[], |error| {
            matches!(error, TlsError::Expired { .. })
        }),
        (Some("client-wrong-usage"), &[], |error| {
            error == TlsError::WrongUsage
        }),
        (Some("client"), &["--max-version", "1.2"], |error| {
            error == TlsError::Version
        }),
        (Some("client"), &["--curves", "p384"], |error| {
            error == TlsError::NothingInCommon
        }),
    ];
    for (name, flags, expected) in cases {
        let files = name.map(|name| [format!("{name}.crt"), format!("{name}.key")]);
        let client: Vec<&str> = files
            .iter()
            .flat_map(|[certificate, key]| ["--certificate", certificate.as_str(), "--key", key.as_str()])
            .collect();
        let (line, result) = dialled(&acceptor, &[&SERVER[..], &client, flags].concat()).unwrap();
        let error = result.unwrap_err();
        assert!(expected(error), "{name:?} {flags:?}: {error:?}");
        assert!(line.starts_with("failed"), "{name:?}: {line}");
    }
    // And Go refuses a server of ours that is for another name.
    let (line, _) = dialled(&acceptor, &["--name", "elsewhere", "--authority", "ca.crt"]).unwrap();
    assert!(line.contains("certificate is valid for"), "{line}");
}
