//! Who a board is: it joins with a token, renews its certificates, keeps its keys to itself, and forgets who it is when told.

use super::{Bench, NODE, READY};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_store::layout::{PICO_W, Region};
use picolet_testbed::{K3S_SECRET, Options, PASSPHRASE, TOKEN, Testbed};
use std::collections::BTreeSet;
use std::time::Duration;

/// The distinct private keys in flash, found by how their PKCS#8 begins (P-256). A key is stored with its request and, once it is
/// issued, with its certificate.
fn keys(flash: &[u8]) -> Vec<Vec<u8>> {
    const BEFORE: [u8; 8] = [0x30, 65, 2, 1, 0, 0x30, 19, 6];
    let found = flash
        .windows(67)
        .filter(|window| window.starts_with(&BEFORE))
        .map(|key| key[35..].to_vec());
    let distinct: BTreeSet<_> = found.collect();
    distinct.into_iter().collect()
}

/// The condition `CertificatesValid`: its status and its message.
fn certificates(testbed: &Testbed) -> (String, String) {
    let node = testbed.cluster.get("nodes", "", NODE).unwrap_or_default();
    let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions
        .into_iter()
        .find(|one| one["type"] == "CertificatesValid")
        .map(|one| ["status", "message"].map(|field| one[field].as_str().unwrap_or_default().to_owned()));
    found.map_or_else(Default::default, |[status, message]| (status, message))
}

fn requests(testbed: &Testbed, purpose: &str) -> usize {
    let requests = testbed.certificate_requests(NODE, purpose);
    requests.expect("a list").len()
}

fn approve(testbed: &Testbed) {
    testbed.approve_serving(NODE).expect("approved");
}

/// A board with a token in place of certificates.
fn joining(options: Options) -> Bench {
    let mut bench = Bench::with(options);
    let settings = bench.testbed.joining_settings(NODE, &[]).expect("settings");
    bench.testbed.board.load(&settings).expect("they fit");
    bench.testbed.board.power_on();
    bench
}

#[test]
fn a_board_joins_with_a_token_and_keeps_who_it_is() {
    let mut bench = joining(Options::default());
    bench.expect_ready();
    let took = bench.testbed.now().since(picolet_emulator::Time::ZERO);
    println!("power-on to Ready with a token: {took:?}");
    assert!(took <= Duration::from_secs(12), "{took:?}");

    // Until somebody approves, the port is closed, and the node says so.
    bench.until(READY, "it asks for a serving certificate", |testbed, uart, _| {
        let closed = "the kubelet port is closed until its certificate is approved: picolet approve pico-1";
        certificates(testbed).1.starts_with(closed) && uart.contains(closed)
    });
    let dialled = bench.testbed.dial_inward();
    bench.testbed.run_for(Duration::from_secs(30)).expect("it runs");
    assert_eq!(dialled.get(), None, "the port is closed");
    assert!(bench.testbed.is_ready(NODE));
    approve(&bench.testbed);
    bench.until(READY, "both certificates", |testbed, _, _| {
        certificates(testbed).0 == "True"
    });
    // The port is looked after once a second.
    bench.testbed.run_for(Duration::from_secs(2)).expect("it runs");
    let (status, health) = bench.testbed.get("/healthz").expect("an answer");
    assert_eq!((status, health.as_str()), (200, "ok"));

    // It is the same after a reset, and after a power cut, and asks for nothing.
    let kept = keys(bench.region(PICO_W.device));
    assert_eq!(kept.len(), 2, "a key for each certificate");
    for power in [false, true] {
        match power {
            true => bench.testbed.board.power_on(),
            false => bench.testbed.board.reset(),
        }
        bench.expect_ready();
        bench.testbed.run_for(Duration::from_secs(5)).expect("it runs");
        let (status, _) = bench.testbed.get("/healthz").expect("an answer");
        assert_eq!(status, 200);
    }
    for purpose in ["client", "serving"] {
        assert_eq!(requests(&bench.testbed, purpose), 1, "{purpose}");
    }

    expect_no_secret(&mut bench, (TOKEN, &TOKEN[7..]), &kept);
}

/// What of a secret would give it away, in flash or in a text: itself, and as hexadecimal or base64.
fn traces(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut traces = vec![secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    // Wherever it begins in what was encoded.
    for skip in 0..3 {
        let whole = (secret.len() - skip) / 3 * 3;
        traces.push(STANDARD.encode(&secret[skip..skip + whole]).into_bytes());
    }
    traces
}

fn holds(place: &[u8], secret: &[u8]) -> bool {
    traces(secret)
        .iter()
        .any(|trace| memchr::memmem::find(place, trace).is_some())
}

/// Looks for keys, token and passphrase in all that the board has told and tells, and in its flash where they have no business. Of the
/// token a part may be told; the other is its secret.
fn expect_no_secret(bench: &mut Bench, (token, hidden): (&str, &str), keys: &[Vec<u8>]) {
    let (flash, settings, device) = (bench.testbed.board.flash(), PICO_W.settings, PICO_W.device);
    let region = |region: Region| region.offset as usize..region.end() as usize;
    let without = |place: std::ops::Range<usize>| [&flash[..place.start], &flash[place.end..]].concat();
    let (beside_settings, beside_device) = (without(region(settings)), without(region(device)));
    let given = [token.as_bytes(), PASSPHRASE.as_bytes()];
    for secret in given {
        assert!(
            holds(&flash[region(settings)], secret),
            "it is looked for where it is"
        );
        assert!(!holds(&beside_settings, secret));
    }
    for key in keys {
        assert!(holds(&flash[region(device)], key), "it is looked for where it is");
        assert!(!holds(&beside_device, key));
    }
    let own_log = format!("/containerLogs/kube-system/picolet-{NODE}/picolet");
    let (previous, other) = (
        format!("{own_log}?previous=true"),
        own_log.replace("picolet-", "other-"),
    );
    let mut told = bench.uart.clone() + &bench.usb;
    for path in [
        "/healthz?verbose",
        "/livez",
        "/readyz",
        "/pods",
        "/runningpods/",
        "/spec",
        "/configz",
        "/metrics",
        "/metrics/resource",
        "/stats/summary",
        "/pico/status",
        "/pico/memory",
        "/pico/gpio",
        "/pico/command",
        "/exec/a/b/c",
        "/attach/a/b/c",
        "/portForward/a/b",
        "/run/a/b/c",
        "/nowhere",
        &own_log,
        &previous,
        &other,
    ] {
        let (status, body) = bench.testbed.get(path).expect("an answer");
        assert!(!body.is_empty(), "{path}: {status}");
        told += &body;
    }
    assert!(
        told.contains("started by") && told.contains("picolet_heap_used_bytes"),
        "{told}"
    );
    // The secret is all hexadecimal digits here, as a program may have them: it is not looked for in the whole flash.
    let secrets = given.into_iter().chain([hidden.as_bytes()]);
    for secret in secrets.chain(keys.iter().map(Vec::as_slice)) {
        assert!(!holds(told.as_bytes(), secret), "{secret:02x?}:\n{told}");
    }
    assert!(!told.contains("PRIVATE KEY"), "{told}");
}

/// Tells the board to do something, as the API server does; returns the status and what it says.
fn command(bench: &mut Bench, body: &str) -> String {
    let length = body.len();
    let head =
        format!("POST /pico/command HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}");
    bench
        .testbed
        .ask(&format!("{head}\r\n\r\n{body}"))
        .expect("an answer")
}

/// Waits until the board has started over without knowing who it is, and looks for what is left of that.
fn expect_forgotten(bench: &mut Bench, keys: &[Vec<u8>]) {
    bench.expect_on_uart("the device has forgotten who it is, and its settings, as it was told");
    bench.expect_on_uart("there are no settings; send some with `picolet provision --serial`");
    for secret in [TOKEN.as_bytes(), PASSPHRASE.as_bytes()]
        .into_iter()
        .chain(keys.iter().map(Vec::as_slice))
    {
        assert!(!holds(bench.testbed.board.flash(), secret));
    }
    let connections = bench.testbed.connections();
    bench.testbed.board.reset();
    bench.uart.clear();
    bench.expect_on_uart("there are no settings");
    bench.testbed.run_for(Duration::from_secs(20)).expect("it runs");
    assert_eq!(bench.testbed.connections(), connections, "it does not join again");
    assert!(!bench.uart.contains("forgotten"), "once:\n{}", bench.uart);
}

#[test]
fn a_board_that_is_told_to_forgets_who_it_is() {
    let mut bench = joining(Options::default());
    bench.expect_ready();
    bench.until(READY, "both certificates", |testbed, _, _| {
        testbed.approve_serving(NODE).expect("approved");
        certificates(testbed).0 == "True"
    });
    bench.testbed.run_for(Duration::from_secs(2)).expect("it runs");
    let kept = keys(bench.region(PICO_W.device));
    assert_eq!(kept.len(), 2, "a key for each certificate");

    let refused = command(&mut bench, r#"{"command":"forget","params":{"node":"pico-2"}}"#);
    assert!(
        refused.starts_with("HTTP/1.1 400 ") && refused.contains("params.node: is the name of this node"),
        "{refused}"
    );
    bench.testbed.run_for(Duration::from_secs(5)).expect("it runs");
    assert!(bench.testbed.is_ready(NODE) && bench.testbed.board.figures().resets == 0);

    let done = command(&mut bench, r#"{"command":"forget","params":{"node":"pico-1"}}"#);
    assert!(done.starts_with("HTTP/1.1 200 "), "{done}");
    bench.uart.clear();
    expect_forgotten(&mut bench, &kept);
}

#[test]
fn bootsel_held_for_ten_seconds_makes_a_board_forget_who_it_is() {
    let mut bench = joining(Options::default());
    bench.expect_ready();
    // Until the serving certificate is requested too.
    bench.testbed.run_for(Duration::from_secs(2)).expect("it runs");
    let kept = keys(bench.region(PICO_W.device));
    assert_eq!(kept.len(), 2, "a key for each certificate");
    let resets = bench.testbed.board.figures().resets;

    // Three seconds are nothing.
    bench.testbed.board.set_bootsel(true);
    bench.expect_on_uart("BOOTSEL: held for 10 s, it makes the board forget who it is");
    let flashes = bench.flashes(2_000);
    assert!((16..=24).contains(&flashes), "ten times a second: {flashes}");
    bench.testbed.board.set_bootsel(false);
    bench.testbed.run_for(Duration::from_secs(12)).expect("it runs");
    assert_eq!(
        bench.flashes(2_000),
        0,
        "the configuration's, of which there is none"
    );
    assert_eq!(bench.testbed.board.figures().resets, resets);
    assert!(bench.testbed.is_ready(NODE) && !bench.uart.contains("let go"));
    assert_eq!(keys(bench.region(PICO_W.device)), kept);

    bench.testbed.board.set_bootsel(true);
    bench.expect_on_uart("BOOTSEL: let go, and the board forgets who it is");
    bench.testbed.run_for(Duration::from_secs(3)).expect("it runs");
    assert_eq!(
        bench.testbed.board.figures().resets,
        resets,
        "it waits to be let go"
    );
    bench.testbed.board.set_bootsel(false);
    bench.uart.clear();
    expect_forgotten(&mut bench, &kept);
}

#[test]
fn a_board_renews_its_certificates() {
    // They are signed as if it had been five minutes earlier, so each is renewed after 5.5 to 8.5 minutes.
    let life = Duration::from_secs(600);
    let mut bench = joining(Options {
        certificate_life: life,
        ..Options::default()
    });
    bench.expect_ready();
    let begin = bench.testbed.now();
    let long = Duration::from_secs(3600);
    // When the latest request of either purpose was made, and how many there were.
    let mut asked = [(begin, 1); 2];
    let mut renewed = (begin, String::new());
    while bench.testbed.now().since(begin) < long {
        bench.testbed.run_for(Duration::from_secs(10)).expect("it runs");
        approve(&bench.testbed);
        assert!(bench.testbed.is_ready(NODE), "{}", bench.uart);
        let now = bench.testbed.now();
        for (purpose, (latest, count)) in ["client", "serving"].into_iter().zip(&mut asked) {
            let found = requests(&bench.testbed, purpose);
            if found > *count {
                let age = now.since(*latest).as_secs();
                // 70 to 90 % of 900 s, of which 300 were over at first; both are looked at every ten seconds.
                assert!(
                    (310..=540).contains(&age),
                    "{purpose} asked for anew after {age} s"
                );
                assert_eq!(found, *count + 1, "{purpose}");
                (*latest, *count) = (now, found);
            }
        }
        let lease = bench.testbed.cluster.get("leases", "kube-node-lease", NODE);
        let lease = lease.unwrap_or_default()["spec"]["renewTime"].to_string();
        if lease != renewed.1 {
            renewed = (now, lease);
        }
        let age = now.since(renewed.0).as_secs();
        assert!(age < 20, "the Lease was not renewed for {age} s\n{}", bench.uart);
    }
    println!("requests in {long:?}: {asked:?}");
    assert!(asked.iter().all(|(_, count)| *count >= 7), "{asked:?}");
    assert_eq!(certificates(&bench.testbed).0, "True");
    let (status, _) = bench.testbed.get("/healthz").expect("an answer");
    assert_eq!(status, 200);
    for ((verb, resource, code), count) in bench.testbed.cluster.counters().requests {
        assert!(
            !matches!(code, 401 | 403),
            "{verb} {resource}: {code}, {count} times"
        );
    }
}

#[test]
fn a_board_joins_k3s_and_keeps_its_name_over_new_firmware() {
    // The signer dates them five minutes back: they are renewed between 8 and 96 seconds from now, and the password is asked for again.
    let mut bench = Bench::with(Options {
        certificate_life: Duration::from_secs(140),
        ..Options::default()
    });
    let settings = bench.testbed.k3s_settings(NODE, &[]).expect("settings");
    bench.testbed.board.load(&settings).expect("they fit");
    bench.testbed.board.power_on();
    bench.expect_ready();
    let took = bench.testbed.now().since(picolet_emulator::Time::ZERO);
    println!("power-on to Ready with a token of k3s: {took:?}");
    assert!(took <= Duration::from_secs(12), "{took:?}");
    bench.until(
        READY,
        "both certificates, and nobody approved",
        |testbed, _, _| certificates(testbed).0 == "True",
    );
    for purpose in ["client", "serving"] {
        assert_eq!(
            requests(&bench.testbed, purpose),
            0,
            "k3s is not asked by requests"
        );
    }
    bench.testbed.run_for(Duration::from_secs(2)).expect("it runs");
    let (status, health) = bench.testbed.get("/healthz").expect("an answer");
    assert_eq!((status, health.as_str()), (200, "ok"));
    let node = bench.testbed.cluster.get("nodes", "", NODE).expect("a Node");
    let port = &node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"];
    assert_ne!(port, 10250, "k3s would take the tunnel of an agent");
    let password = bench.testbed.cluster.k3s_password(NODE).expect("it was told one");
    let password = u128::from_str_radix(&password, 16).expect("hexadecimal digits");
    expect_no_secret(
        &mut bench,
        (K3S_SECRET, K3S_SECRET),
        &[password.to_be_bytes().to_vec()],
    );

    let signed = |testbed: &Testbed, code| {
        let requests = testbed.cluster.counters().requests;
        requests
            .get(&("create".to_owned(), "/v1-k3s".to_owned(), code))
            .copied()
    };
    bench.flash();
    bench.testbed.board.load(&settings).expect("they fit");
    bench.testbed.board.power_on();
    bench.expect_ready();
    let before = signed(&bench.testbed, 200);
    bench.until(
        Duration::from_secs(120),
        "k3s signs for it again",
        |testbed, _, _| signed(testbed, 200) > before,
    );
    assert_eq!(signed(&bench.testbed, 403), None, "{}", bench.uart);
    assert!(bench.testbed.is_ready(NODE));
    let told = bench.uart.clone() + &bench.usb;
    assert!(!told.contains(K3S_SECRET), "{told}");
}
