//! `picolet emulate` with an image that joins a network, as a user drags it: the host and the device reach each other.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use common::{emulate, firmware, interrupt};

/// A UF2 file of what an ELF file has in flash: blocks of 256 bytes.
fn uf2(elf: &[u8]) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(elf[at..at + 4].try_into().expect("four bytes"));
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let mut pages = std::collections::BTreeMap::new();
    for header in (0..half(44)).map(|index| word(28) as usize + index * half(42)) {
        let [kind, offset, _, address, size] = [0, 4, 8, 12, 16].map(|at| word(header + at));
        if kind != 1 {
            continue;
        }
        for index in 0..size {
            let at = address + index;
            let page = pages.entry(at & !255).or_insert([0xff; 256]);
            page[(at & 255) as usize] = elf[(offset + index) as usize];
        }
    }
    let mut file = Vec::new();
    let count = pages.len() as u32;
    for (number, (address, page)) in (0..).zip(pages) {
        let header = [
            0x0a32_4655,
            0x9e5d_5157,
            0x2000,
            address,
            256,
            number,
            count,
            0xe48b_ff56,
        ];
        file.extend(header.map(u32::to_le_bytes).concat());
        file.extend(page);
        file.resize(file.len() + 508 - 32 - 256, 0);
        file.extend(0x0ab1_6f30_u32.to_le_bytes());
    }
    file
}

/// A web server of the host, for one request; answers its port.
fn serve_once(body: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 512];
        let length = stream.read(&mut request).expect("a request");
        assert!(request[..length].starts_with(b"GET / "));
        write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}").expect("sent");
    });
    port
}

fn curl(url: &str) -> String {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "*",
            url,
        ])
        .output()
        .expect("curl runs");
    assert!(
        output.status.success(),
        "{url}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_reaches_the_device_and_the_device_reaches_the_host() {
    if picolet_oracle::find("curl", "curl").is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path
    };
    let name = "emulator-firmware-wifi";
    let elf = fs::read(firmware(name, name)).expect("what was built");
    let program = file("wifi.uf2", &uf2(&elf));
    let passphrase = file("passphrase", b"correct horse\n");
    let pcap = directory.path().join("radio.pcap");
    let names = [&passphrase, &pcap].map(|path| path.to_str().expect("a name"));
    let options = [
        "--passphrase-file",
        names[0],
        "--pcap",
        names[1],
        "--seconds",
        "300",
    ];
    let publish = ["--publish", "127.0.77.3:0=80"];
    let mut child = emulate(&program, &[&options[..], &publish].concat());
    let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = said
        .find_map(|line| {
            line.ok()?
                .strip_suffix(" leads to port 80 of the device")
                .map(str::to_owned)
        })
        .expect("where the port is published");
    let rest = thread::spawn(move || said.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
    let mut log = BufReader::new(child.stdout.take().expect("piped")).lines();
    let joined = log.any(|line| line.is_ok_and(|line| line.starts_with("address 10.0.2.15/24")));
    assert!(
        joined,
        "the device has no address: {:?}",
        child.kill().map(|()| rest.join())
    );
    thread::spawn(move || log.map_while(Result::ok).count());

    assert_eq!(curl(&format!("http://{address}/")), "hello from the device\n");
    let port = serve_once("hello from the host\n");
    assert_eq!(
        curl(&format!("http://{address}/fetch/{port}")),
        "hello from the host\n"
    );

    interrupt(&child);
    let status = child.wait().expect("it ends");
    let said = rest.join().expect("no panic");
    assert!(
        status.success() && said.contains("LED on; joined \"picolet\""),
        "{said}"
    );
    if let Some(tshark) = picolet_oracle::find("tshark", "tshark") {
        let output = Command::new(tshark)
            .arg("-r")
            .arg(&pcap)
            .args(["-Y", "http.response"])
            .output()
            .expect("tshark runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("200 OK"), "{text}");
    }
}
