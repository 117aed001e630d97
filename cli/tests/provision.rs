//! `picolet provision` as a person meets it: the built program, files, and a board at the other end of a line.

mod common;

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use picolet_emulator::Image;
use picolet_image::build::Place;
use picolet_store::layout::{PICO_2_W, PICO_W};
use picolet_store::serial::{Console, Then};
use picolet_store::settings::{REGION, Security, Settings};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery";
const TOKEN: &str = "0123456789abcdef-secret";

/// A folder with everything that a person has.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        let key = || KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_key = key();
        let authority = params.self_signed(&authority_key).expect("a certificate");
        folder.put("ca.crt", authority.pem().as_bytes());
        folder.put("ca.der", authority.der());
        let other_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let other = params.self_signed(&other_key).expect("a certificate");
        folder.put("p384.crt", other.pem().as_bytes());
        let issuer = Issuer::new(params, authority_key);
        let signed = |user: &str, group: &str, until: i32| {
            let mut params = CertificateParams::new(vec!["127.0.77.1".to_owned()]).expect("an address");
            params.distinguished_name.push(DnType::CommonName, user);
            params.distinguished_name.push(DnType::OrganizationName, group);
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ];
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
            let key = key();
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        };
        for (name, user, group, until) in [
            ("pico-1", "system:node:pico-1", "system:nodes", 2090),
            ("pico-2", "system:node:pico-2", "system:nodes", 2090),
            ("old", "system:node:pico-1", "system:nodes", 2020),
            ("admin", "kubernetes-admin", "system:masters", 2090),
        ] {
            let (certificate, key) = signed(user, group, until);
            folder.put(&format!("{name}.crt"), certificate.as_bytes());
            folder.put(&format!("{name}.key"), key.as_bytes());
        }
        folder.put("wifi", format!("{PASSPHRASE}\n").as_bytes());
        folder.put("short", b"seven77");
        folder.put("tokens", format!("{TOKEN},prometheus\n").as_bytes());
        folder.put(
            "rsa.key",
            include_bytes!("../../crates/tls/tests/data/rsa-3072.key"),
        );
        folder.put("garbage", b"hello");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).expect("a file");
    }

    /// Runs the program there. Returns whether it succeeded, and all that it said.
    fn provision(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_picolet"))
            .current_dir(self.0.path())
            .arg("provision")
            .args(arguments)
            .output()
            .expect("the program");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        for secret in [PASSPHRASE, TOKEN, "-----BEGIN"] {
            assert!(!said.contains(secret), "a secret is on the screen");
        }
        (output.status.success(), said)
    }
}

const USUAL: [&str; 16] = [
    "--ssid=attic",
    "--passphrase-file=wifi",
    "--country=DE",
    "--server=https://10.0.0.1:6443",
    "--server=https://10.0.0.2:6443",
    "--certificate-authority=ca.crt",
    "--client-certificate=pico-1.crt",
    "--client-key=pico-1.key",
    "--serving-certificate=pico-1.crt",
    "--serving-key=pico-1.key",
    "--client-ca-file=ca.der",
    "--node-name=pico-1",
    "--node-ip=127.0.77.1",
    "--static-token-file=tokens",
    "--register-with-taints=a=b:NoSchedule,c:NoExecute",
    "--ntp=pool.ntp.org",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    USUAL.iter().chain(more).copied().collect()
}

/// The usual arguments, but for those of the same option.
fn but<'a>(instead: &[&'a str]) -> Vec<&'a str> {
    let option = |argument: &str| argument.split('=').next().unwrap_or_default().to_owned();
    let usual = USUAL
        .iter()
        .copied()
        .filter(|usual| instead.iter().all(|other| option(other) != option(usual)));
    usual
        .chain(instead.iter().copied())
        .chain(["--board=pico-w", "-o", "s.uf2"])
        .filter(|argument| !argument.ends_with("=-"))
        .collect()
}

fn expect_usual(settings: &Settings<'_>) {
    assert_eq!((settings.ssid(), settings.passphrase()), ("attic", PASSPHRASE));
    assert_eq!(settings.security(), Security::Wpa2Wpa3);
    assert_eq!((settings.country(), settings.node_name()), ("DE", "pico-1"));
    assert!(
        settings
            .servers()
            .map(|server| server.host)
            .eq(["10.0.0.1", "10.0.0.2"])
    );
    assert_eq!(settings.certificate_authorities().count(), 1);
    assert!(
        settings
            .certificate_authorities()
            .eq(settings.client_authorities())
    );
    assert!(settings.client_certificate().eq(settings.serving_certificate()));
    let identity = picolet_tls::Identity::new(
        settings.client_certificate().map(<[u8]>::to_vec).collect(),
        &picolet_tls::P256Key::from_der(settings.client_key().expect("a key")).expect("a key"),
    );
    assert!(identity.is_ok());
    assert!(
        settings
            .static_tokens()
            .map(|token| (token.token, token.user))
            .eq([(TOKEN, "prometheus")])
    );
    assert!(
        settings
            .taints()
            .expect("taints")
            .eq(["a=b:NoSchedule", "c:NoExecute"])
    );
    assert_eq!(settings.node_ip(), Some([127, 0, 77, 1].into()));
}

#[test]
fn a_file_is_made_for_each_board() {
    let folder = Folder::new();
    folder.put("settings.uf2", b"what was there, for everybody to read");
    let (made, said) = folder.provision(&with(&["--board=pico-w", "-o", "settings.uf2"]));
    assert!(made && said.contains("BOOTSEL"), "{said}");
    let path = folder.path("settings.uf2");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let file = fs::read(&path).expect("a file");
    // By another reader of such files.
    assert!(Image::parse(&file).is_ok());
    expect_usual(
        &Settings::read(&flash(&file, PICO_W.settings.address(), PICO_W.data_family)).expect("settings"),
    );

    let (made, said) = folder.provision(&with(&["--board=pico-2-w", "-o", "2.uf2"]));
    assert!(made, "{said}");
    let file = fs::read(folder.path("2.uf2")).expect("a file");
    assert!(Image::parse(&file).is_err(), "it is not for this chip");
    expect_usual(
        &Settings::read(&flash(&file, PICO_2_W.settings.address(), PICO_2_W.data_family)).expect("settings"),
    );
}

/// What a board's flash holds at `address` after the file.
fn flash(file: &[u8], address: u32, family: u32) -> Vec<u8> {
    let mut flash = vec![0; REGION];
    let (blocks, rest) = file.as_chunks::<512>();
    assert!(rest.is_empty() && blocks.len() == REGION / 256);
    for (n, block) in blocks.iter().enumerate() {
        let word = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(
            (word(0), word(4), word(508)),
            (0x0a32_4655, 0x9e5d_5157, 0x0ab1_6f30)
        );
        assert_eq!(
            (word(16), word(20), word(24), word(28)),
            (256, n as u32, 64, family)
        );
        let at = (word(12) - address) as usize;
        flash[at..at + 256].copy_from_slice(&block[32..288]);
    }
    flash
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    let folder = Folder::new();
    let long = format!("--ssid={}", "x".repeat(33));
    let cases: [(&[&str], &str, &str); 26] = [
        (&[&long], "--ssid", "32 bytes"),
        (&["--passphrase-file=short"], "--passphrase-file", "8 to 63"),
        (
            &["--passphrase-file=none"],
            "--passphrase-file none",
            "No such file",
        ),
        (&["--country=de"], "--country", "such as DE"),
        (&["--node-name=Pico"], "--node-name", "lower-case"),
        (
            &["--node-name=pico-9"],
            "--client-certificate",
            "--node-name pico-1",
        ),
        (&["--server=10.0.0.1"], "--server", "https://HOST:PORT"),
        (&["--server=http://10.0.0.1"], "--server", "--lab-mode allows it"),
        (
            &["--certificate-authority=garbage"],
            "--certificate-authority",
            "no certificate",
        ),
        (
            &["--certificate-authority=-"],
            "--certificate-authority",
            "authority of its certificate",
        ),
        (&["--client-key=pico-2.key"], "--client-key", "does not belong"),
        (&["--client-key=rsa.key"], "--client-key", "prime256v1"),
        (&["--client-key=ca.crt"], "--client-key", "PRIVATE KEY block"),
        (&["--serving-key=pico-2.key"], "--serving-key", "does not belong"),
        (
            &["--client-certificate=old.crt", "--client-key=old.key"],
            "--client-certificate",
            "expired",
        ),
        (
            &["--client-certificate=admin.crt", "--client-key=admin.key"],
            "--client-certificate admin.crt",
            "it belongs to kubernetes-admin (O=system:masters)",
        ),
        (
            &["--serving-certificate=old.crt", "--serving-key=old.key"],
            "--serving-certificate",
            "expired",
        ),
        (&["--address=10.0.0.1"], "--address", "ADDRESS/PREFIX"),
        (
            &["--address=10.0.0.9/24", "--gateway=10.0.1.1"],
            "--gateway",
            "not another host of the network",
        ),
        (&["--dns=10.0.0.1"], "--address", "--dns"),
        (&["--server=https://[fd00::1]"], "--server", "no IPv6"),
        (&["--server=https://k8s.local"], "--server", "multicast DNS"),
        (
            &["--certificate-authority=pico-1.crt"],
            "--certificate-authority",
            "not the certificate of a CA",
        ),
        (
            &["--certificate-authority=p384.crt"],
            "--certificate-authority",
            "boards verify ECDSA on P-256",
        ),
        (
            &["--register-with-taints=a"],
            "--register-with-taints",
            "NoExecute",
        ),
        (&["--wifi-security=open"], "--wifi-security", "no passphrase"),
    ];
    for (instead, flag, remedy) in cases {
        let (made, said) = folder.provision(&but(instead));
        // The words about the block that it takes are no secret.
        assert!(
            !made && said.contains(flag) && said.contains(remedy),
            "{instead:?}: {said}"
        );
        assert!(!folder.path("s.uf2").exists(), "{instead:?}");
    }
    let (made, _) = folder.provision(&but(&["--hidden"]));
    assert!(made);
}

#[test]
fn a_token_is_in_place_of_a_certificate() {
    const SECRET: &str = "0123456789abcdeg";
    let folder = Folder::new();
    let without = [
        "--client-certificate=-",
        "--client-key=-",
        "--serving-certificate=-",
        "--serving-key=-",
    ];
    let provision = |more: &[&str]| {
        let (made, said) = folder.provision(&but(&[without.as_slice(), more].concat()));
        assert!(!said.contains(SECRET), "a secret is on the screen");
        (made, said)
    };
    let token = format!("--token=abcdef.{SECRET}");
    let (made, said) = provision(&[&token]);
    assert!(made, "{said}");
    let file = fs::read(folder.path("s.uf2")).expect("a file");
    let flash = flash(&file, PICO_W.settings.address(), PICO_W.data_family);
    let settings = Settings::read(&flash).expect("settings");
    assert_eq!(settings.bootstrap_token(), token.strip_prefix("--token="));
    assert_eq!(
        (settings.client_key(), settings.certificate_authorities().count()),
        (None, 1)
    );
    fs::remove_file(folder.path("s.uf2")).expect("the file");

    let (made, said) = folder.provision(&but(&[&token]));
    assert!(
        !made && said.contains("--client-certificate") && !said.contains(SECRET),
        "{said}"
    );
    let malformed = format!("--token=abcde.{SECRET}");
    let cases: [(&[&str], &str, &str); 4] = [
        (&[], "--token", "kubeadm token create"),
        (&[&malformed], "--token", "a dot, and 16 more"),
        (
            &[&token, "--certificate-authority=-"],
            "--certificate-authority",
            "required",
        ),
        (
            &[&token, "--server=http://10.0.0.1", "--lab-mode"],
            "--token",
            "https://",
        ),
    ];
    for (more, flag, remedy) in cases {
        let (made, said) = provision(more);
        assert!(
            !made && said.contains(flag) && said.contains(remedy),
            "{more:?}: {said}"
        );
        assert!(!folder.path("s.uf2").exists(), "{more:?}");
    }
}

#[test]
fn identity_is_reset_anew_each_time() {
    let folder = Folder::new();
    let number = || {
        let (made, said) = folder.provision(&but(&["--reset-identity"]));
        assert!(made, "{said}");
        let file = fs::read(folder.path("s.uf2")).expect("a file");
        let flash = flash(&file, PICO_W.settings.address(), PICO_W.data_family);
        Settings::read(&flash).expect("settings").reset_identity()
    };
    let first = number();
    assert!(first.is_some() && first != number());
}

/// Flash that does what it is told.
struct Ram(Vec<u8>);

impl ErrorType for Ram {
    type Error = Infallible;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0[at as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Infallible> {
        self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// Ends the board's part, whatever became of the work.
struct Finish<'a>(&'a AtomicBool, &'a Path);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        // Wakes the board's read.
        let line = fs::OpenOptions::new().write(true).open(self.1);
        let _ = line.map(|mut line| line.write_all(b"\n"));
    }
}

/// A board on a pseudo-terminal, while `work` is done with its path: what it was told, and whether it restarted.
fn on_a_terminal<T>(console: Option<Console>, work: impl FnOnce(&Path) -> T) -> (T, Vec<u8>, bool) {
    on_a_terminal_until(None, console, work)
}

/// The same; `last` is what it answers when it is to restart.
fn on_a_terminal_until<T>(
    last: Option<&str>,
    console: Option<Console>,
    work: impl FnOnce(&Path) -> T,
) -> (T, Vec<u8>, bool) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let path = PathBuf::from(name.into_string().expect("a name"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let board = scope.spawn(|| {
            let mut line = File::from(master);
            let mut console = console;
            let mut flash = Ram(vec![0xff; REGION]);
            let mut restarted = false;
            while !done.load(Ordering::Relaxed) {
                let mut bytes = [0; 64];
                // Nobody has opened the other end yet, or it was closed.
                let Ok(length) = line.read(&mut bytes) else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let Some(console) = &mut console else { continue };
                for byte in &bytes[..length] {
                    if let Some(answer) = block_on(console.take(*byte, &mut flash)) {
                        // Its log goes on.
                        let text = format!("level=info msg=\"a line\"\r\n{}", answer.line);
                        restarted |= answer.then == Then::Restart;
                        let text = if restarted { last.unwrap_or(&text) } else { &text };
                        line.write_all(text.as_bytes()).expect("written");
                    }
                }
            }
            (flash.0, restarted)
        });
        let finish = Finish(&done, &path);
        let result = work(&path);
        drop(finish);
        let (flash, restarted) = board.join().expect("the board");
        (result, flash, restarted)
    })
}

#[test]
fn a_board_is_told_over_its_serial_line() {
    let folder = Folder::new();
    let console = Some(Console::new("pico-w"));
    let ((made, said), flash, restarted) = on_a_terminal(console, |path| {
        let line = format!("--serial={}", path.display());
        folder.provision(&with(&["--board=pico-w", &line]))
    });
    assert!(made && restarted && said.contains("restarts"), "{said}");
    expect_usual(&Settings::read(&flash).expect("settings"));
}

#[test]
fn settings_are_delivered_when_the_line_breaks_after_the_board_has_them() {
    let folder = Folder::new();
    let console = Some(Console::new("pico-w"));
    let ((made, said), flash, restarted) = on_a_terminal_until(Some("% ?\r\n"), console, |path| {
        let line = format!("--serial={}", path.display());
        folder.provision(&with(&["--board=pico-w", &line]))
    });
    assert!(made && restarted, "{said}");
    expect_usual(&Settings::read(&flash).expect("settings"));
}

/// From a board that was never told anything, as it is flashed, to one that has joined: by its emulated USB alone.
#[test]
fn an_emulated_board_takes_settings_over_its_line_and_joins_with_them() {
    let folder = Folder::new();
    let image = picolet_image::Image::build("pico-w", "pico-w", "picolet-pico-w", Place::Here);
    folder.put(
        "picolet.uf2",
        &image.expect("the image").uf2().expect("a UF2 file"),
    );
    let [image, line, wifi] = ["picolet.uf2", "console", "wifi"].map(|name| folder.path(name));
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let options = [
        ["--usb", &text(&line)],
        ["--ssid", "attic"],
        ["--passphrase-file", &text(&wifi)],
        // Emulated ones: then it ends, and says no more.
        ["--seconds", "300"],
    ];
    let mut board = common::emulate(&image, &[options.as_flattened(), &["--no-status"]].concat());
    let mut said = board.stderr.take().expect("a pipe");
    let rest = std::thread::spawn(move || {
        let mut text = String::new();
        said.read_to_string(&mut text).map(|_| text)
    });
    let mut log = String::new();
    let mut lines = BufReader::new(board.stdout.take().expect("a pipe")).lines();
    let mut expect = |words: &str| {
        for line in lines.by_ref().map_while(Result::ok) {
            log.push_str(&line);
            log.push('\n');
            if line.contains(words) {
                assert!(!log.contains(PASSPHRASE), "a secret is in the log");
                return;
            }
        }
        panic!("it did not say {words:?}:\n{log}");
    };
    expect("there are no settings; send some with `picolet provision --serial`");
    let serial = format!("--serial={}", line.display());
    let (made, said) = folder.provision(&with(&["--board=pico-w", &serial]));
    assert!(made && said.contains("restarts"), "{said}");
    for words in ["started by software", "joined \"attic\"", "address 10.0.2.15"] {
        expect(words);
    }
    common::interrupt(&board);
    let ended = board.wait().expect("it ends");
    let said = rest.join().expect("a thread").expect("text");
    assert!(ended.success(), "{said}");
    assert!(!line.exists(), "its line goes with it");
}

#[test]
fn the_wrong_board_and_none_at_all_are_told_apart() {
    let folder = Folder::new();
    let console = Some(Console::new("pico-2-w"));
    let ((made, said), flash, restarted) = on_a_terminal(console, |path| {
        let line = format!("--serial={}", path.display());
        folder.provision(&with(&["--board=pico-w", &line]))
    });
    assert!(
        !made && !restarted && said.contains("the board is a pico-2-w"),
        "{said}"
    );
    assert!(Settings::read(&flash).is_err());
    let ((made, said), ..) = on_a_terminal(None, |path| {
        let line = format!("--serial={}", path.display());
        folder.provision(&with(&[&line]))
    });
    assert!(!made && said.contains("does not answer \"hello\""), "{said}");
    let (made, said) = folder.provision(&with(&["--serial=wifi"]));
    assert!(!made && said.contains("not a serial line"), "{said}");
}

#[test]
fn a_person_is_asked_for_what_is_missing() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let folder = Folder::new();
    let arguments = but(&["--ssid=-", "--passphrase-file=-", "--node-name=-"]);
    // Nobody is there to be asked.
    let (made, said) = folder.provision(&arguments);
    assert!(!made && said.contains("--ssid is missing"), "{said}");

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).expect("a pseudo-terminal");
    unlockpt(&master).expect("a pseudo-terminal");
    let path = ptsname(&master, Vec::new()).expect("its name");
    let path = path.into_string().expect("a path");
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("its other end");
    let mut child = Command::new(env!("CARGO_BIN_EXE_picolet"))
        .current_dir(folder.0.path())
        .arg("provision")
        .args(&arguments)
        .stdin(terminal)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut master = File::from(master);
    let mut questions = child.stderr.take().expect("a pipe");
    for (question, answer) in [
        // A bad answer is asked for again.
        ("Wi-Fi network: ", ""),
        ("1 to 32 bytes of UTF-8\nWi-Fi network: ", "attic"),
        ("open network): ", "short"),
        ("open network): ", PASSPHRASE),
        ("node: ", "Pico"),
        ("node: ", "pico-1"),
    ] {
        let mut said = Vec::new();
        while !said.ends_with(question.as_bytes()) {
            let mut byte = [0];
            questions
                .read_exact(&mut byte)
                .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&said)));
            said.push(byte[0]);
        }
        writeln!(master, "{answer}").expect("it is typed");
    }
    let mut rest = String::new();
    questions.read_to_string(&mut rest).expect("text");
    assert!(child.wait().expect("an end").success(), "{rest}");
    let file = fs::read(folder.path("s.uf2")).expect("a file");
    let flash = flash(&file, PICO_W.settings.address(), PICO_W.data_family);
    let settings = Settings::read(&flash).expect("settings");
    assert_eq!(
        (settings.ssid(), settings.passphrase(), settings.node_name()),
        ("attic", PASSPHRASE, "pico-1")
    );
    // What the terminal has shown: until its other end is closed, which is an error here.
    let mut shown = Vec::new();
    let _ = master.read_to_end(&mut shown);
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("attic") && !shown.contains(PASSPHRASE), "{shown}");
}

#[test]
fn file_is_written_in_place_when_it_lies_on_the_drive_of_a_board() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    folder.put("INFO_UF2.TXT", b"UF2 Bootloader v3.0\r\n");
    folder.put("s.uf2", b"");
    let inode = || fs::metadata(folder.path("s.uf2")).expect("a file").ino();
    let before = inode();
    let (succeeded, said) = folder.provision(&with(&["--board=pico-w", "-o", "s.uf2"]));
    assert!(succeeded && said.contains("The board restarts"), "{said}");
    // The drive vanishes with the last block: a rename would fail, and take the board's token back.
    assert_eq!(inode(), before, "the file was replaced");
    assert!(fs::metadata(folder.path("s.uf2")).expect("a file").len() > 0);
}

#[test]
fn file_of_another_is_left_alone_when_it_has_the_name_of_the_draft() {
    let folder = Folder::new();
    folder.put("s.uf2.new", b"notes");
    let (succeeded, said) = folder.provision(&with(&["--board=pico-w", "-o", "s.uf2"]));
    assert!(!succeeded && said.contains("s.uf2.new is in the way"), "{said}");
    assert_eq!(fs::read(folder.path("s.uf2.new")).expect("a file"), b"notes");
    assert!(!folder.path("s.uf2").exists());
}
