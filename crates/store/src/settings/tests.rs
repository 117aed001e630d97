use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::string::ToString;
use std::vec::Vec;

extern crate std;

/// What every board needs.
const LEAST: [(Field, &[u8]); 4] = [
    (Field::Ssid, b"attic"),
    (Field::Passphrase, b"correct horse"),
    (Field::Server, b"http://10.0.2.2:8080"),
    (Field::LabMode, b""),
];

fn block(entries: &[(Field, &[u8])]) -> Result<[u8; SLOT], SettingsError> {
    let mut block = [0; SLOT];
    let mut writer = Writer::new(&mut block);
    for (field, value) in entries {
        writer.put(*field, value)?;
    }
    writer.finish().copied()
}

fn least(more: &[(Field, &[u8])]) -> Result<[u8; SLOT], SettingsError> {
    let name = [(Field::NodeName, b"pico-1.attic".as_slice())];
    block(&[&LEAST, name.as_slice(), more].concat())
}

fn region(first: &[u8], second: &[u8]) -> Vec<u8> {
    [first, second].concat()
}

#[test]
fn all_that_is_written_is_read() {
    let certificate =
        |n: usize| [&[0x30, 0x82, (n >> 8) as u8, n as u8], std::vec![7; n].as_slice()].concat();
    let (authority, own, between) = (certificate(900), certificate(500), certificate(600));
    let firmware_keys = [1, 2].map(|n| [&[0x30, 89][..], &[n; 89]].concat());
    let block = block(&[
        (Field::Ssid, "Dachböden".as_bytes()),
        (Field::Passphrase, b"correct horse"),
        (Field::Security, &[3]),
        (Field::Hidden, b""),
        (Field::Country, b"DE"),
        (Field::Hostname, b"attic"),
        (Field::Address, &[192, 168, 1, 50, 24]),
        (Field::Gateway, &[192, 168, 1, 1]),
        (Field::Dns, &[9, 9, 9, 9]),
        (Field::Dns, &[1, 1, 1, 1]),
        (Field::Ntp, b"pool.ntp.org"),
        (Field::Server, b"https://10.0.0.1:6443"),
        (Field::Server, b"https://[fd00::1]/"),
        (Field::CertificateAuthority, &authority),
        (Field::ClientCertificate, &own),
        (Field::ClientCertificate, &between),
        (Field::ClientKey, &[0x30, 1, 0]),
        (Field::ServingCertificate, &own),
        (Field::ServingKey, &[0x30, 1, 1]),
        (Field::ClientAuthority, &between),
        (Field::NodeName, b"pico-1"),
        (Field::NodeIp, &[127, 0, 77, 1]),
        (Field::ConfigNamespace, b"lab"),
        (Field::StaticToken, b"0123456789abcdef,prometheus"),
        (Field::Taint, b"a=b:NoSchedule"),
        (Field::Taint, b"c:NoExecute"),
        (Field::ResetIdentity, &7_u64.to_le_bytes()),
        (Field::HidePort, b""),
        (Field::FreeUart, b""),
        (Field::FirmwareKey, &firmware_keys[0]),
        (Field::FirmwareKey, &firmware_keys[1]),
    ])
    .expect("a block");
    let settings = Settings::read_block(&block).expect("settings");
    assert_eq!(settings.ssid(), "Dachböden");
    assert_eq!(settings.passphrase(), "correct horse");
    assert_eq!(settings.security(), Security::Wpa3);
    assert!(settings.hidden() && settings.hide_port() && !settings.uart_log() && !settings.lab_mode());
    assert_eq!(settings.country(), "DE");
    assert_eq!(settings.hostname(), "attic");
    assert_eq!(
        settings.address(),
        Some(Address {
            address: Ipv4Addr::new(192, 168, 1, 50),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(192, 168, 1, 1)),
        })
    );
    let dns: Vec<_> = settings.dns().map(|address| address.to_string()).collect();
    assert_eq!(dns, ["9.9.9.9", "1.1.1.1"]);
    assert!(settings.ntp().eq(["pool.ntp.org"]));
    let servers: Vec<_> = settings
        .servers()
        .map(|server| (server.tls, server.host, server.port, server.authority))
        .collect();
    assert_eq!(
        servers,
        [
            (true, "10.0.0.1", 6443, "10.0.0.1:6443"),
            (true, "fd00::1", 443, "[fd00::1]")
        ]
    );
    assert!(settings.certificate_authorities().eq([authority.as_slice()]));
    assert!(
        settings
            .client_certificate()
            .eq([own.as_slice(), between.as_slice()])
    );
    assert_eq!(settings.client_key(), Some([0x30, 1, 0].as_slice()));
    assert!(settings.serving_certificate().eq([own.as_slice()]));
    assert_eq!(settings.serving_key(), Some([0x30, 1, 1].as_slice()));
    assert!(settings.client_authorities().eq([between.as_slice()]));
    assert_eq!(settings.node_name(), "pico-1");
    assert_eq!(settings.node_ip(), Some(Ipv4Addr::new(127, 0, 77, 1)));
    assert_eq!(settings.config_namespace(), "lab");
    let tokens: Vec<_> = settings
        .static_tokens()
        .map(|token| (token.token, token.user))
        .collect();
    assert_eq!(tokens, [("0123456789abcdef", "prometheus")]);
    let taints: Vec<_> = settings.taints().expect("taints").collect();
    assert_eq!(taints, ["a=b:NoSchedule", "c:NoExecute"]);
    assert_eq!(settings.reset_identity(), Some(7));
    assert!(
        settings
            .firmware_keys()
            .eq(firmware_keys.iter().map(Vec::as_slice))
    );
}

#[test]
fn what_is_not_said_has_a_default() {
    let block = least(&[]).expect("a block");
    let settings = Settings::read_block(&block).expect("settings");
    assert_eq!(settings.security(), Security::Wpa2Wpa3);
    assert_eq!(settings.hostname(), "pico-1");
    assert_eq!(settings.country(), "XX");
    assert_eq!(settings.config_namespace(), "default");
    assert_eq!((settings.address(), settings.node_ip()), (None, None));
    assert_eq!((settings.client_key(), settings.reset_identity()), (None, None));
    assert!(settings.taints().is_none() && settings.uart_log() && settings.lab_mode());
    assert!(!settings.hidden() && !settings.hide_port());
    assert_eq!(settings.firmware_keys().count(), 0);

    let open = [
        (Field::Ssid, b"guests".as_slice()),
        (Field::NodeName, b"a-name-that-is-longer-than-what-dhcp-takes"),
        (Field::Taint, b""),
    ];
    let open = super::tests::block(&[&LEAST[2..], open.as_slice()].concat()).expect("a block");
    let settings = Settings::read_block(&open).expect("settings");
    assert_eq!((settings.security(), settings.passphrase()), (Security::Open, ""));
    assert_eq!(settings.hostname(), "a-name-that-is-longer-than-what");
    assert_eq!(settings.taints().expect("none at all").count(), 0);
}

#[test]
fn what_is_wrong_is_named_with_its_remedy() {
    let cases: [(Field, &[u8], &str); 30] = [
        (Field::Ssid, &[b'x'; 33], "32 bytes"),
        (Field::Ssid, b"", "1 to 32"),
        (Field::Ssid, &[0xff], "UTF-8"),
        (Field::Passphrase, b"seven77", "8 to 63"),
        (Field::Passphrase, &[b'x'; 64], "8 to 63"),
        (Field::Security, &[9], "wpa2-wpa3"),
        (Field::Country, b"de", "such as DE"),
        (Field::Hostname, b"-a", "lower-case"),
        (Field::Address, &[1, 2, 3, 4, 31], "PREFIX"),
        (Field::Gateway, &[1, 2, 3], "IPv4"),
        (Field::Ntp, b"pool.ntp.org:123", "without a port"),
        (Field::Server, b"10.0.0.1:6443", "https://HOST:PORT"),
        (Field::Server, b"https://10.0.0.1:6443/path", "without a path"),
        (Field::Server, b"https://10.0.0.1:0", "https://HOST:PORT"),
        (Field::Server, b"https://u@h", "https://HOST:PORT"),
        (Field::CertificateAuthority, b"-----BEGIN", "not a certificate"),
        (
            Field::ClientCertificate,
            &[0x30, 0x82, 1, 0, 0],
            "not a certificate",
        ),
        (Field::ClientKey, &[], "not a private key"),
        (Field::BootstrapToken, b"abcdef.0123456789abcde", "a dot, and 16"),
        (Field::BootstrapToken, b"abcdef-0123456789abcdef", "a dot, and 16"),
        (Field::BootstrapToken, b"K10::node:secret", "k3s's full token"),
        (Field::BootstrapToken, b"abcdeF.0123456789abcdef", "lower-case"),
        (Field::NodeName, b"Pico", "lower-case"),
        (Field::NodeName, b"a..b", "lower-case"),
        (Field::ConfigNamespace, b"a.b", "namespace"),
        (Field::StaticToken, b"short,user", "16 characters"),
        (Field::Taint, b"key=value", "EFFECT"),
        (Field::LabMode, b"yes", "no value"),
        (Field::FirmwareKey, &[0x30, 1, 0], "P-256"),
        (Field::FirmwareKey, &[7; 91], "public key"),
    ];
    for (field, value, remedy) in cases {
        let mut block = [0; SLOT];
        let error = Writer::new(&mut block).put(field, value).expect_err(remedy);
        let said = error.to_string();
        assert!(
            said.starts_with(&std::format!("--{}: ", field.flag())) && said.contains(remedy),
            "{said}"
        );
    }
}

#[test]
fn fields_that_need_each_other_are_named() {
    let without = |field: Field| {
        let name = [(Field::NodeName, b"pico-1".as_slice())];
        let entries: Vec<_> = LEAST
            .iter()
            .chain(&name)
            .copied()
            .filter(|(other, _)| *other != field)
            .collect();
        block(&entries).err()
    };
    let named = |error: Option<SettingsError>| match error {
        Some(SettingsError::Field(field, _)) => Some(field),
        _ => None,
    };
    for field in [Field::Ssid, Field::Server, Field::NodeName] {
        assert_eq!(named(without(field)), Some(field));
    }
    // Without the mode a server in the clear is refused.
    assert_eq!(named(without(Field::LabMode)), Some(Field::Server));
    let with = |entries: &[(Field, &[u8])]| named(least(entries).err());
    let key: &[u8] = &[0x30, 1, 0];
    assert_eq!(
        with(&[(Field::Server, b"https://a")]),
        Some(Field::CertificateAuthority)
    );
    assert_eq!(with(&[(Field::ClientKey, key)]), Some(Field::ClientCertificate));
    assert_eq!(with(&[(Field::ServingCertificate, key)]), Some(Field::ServingKey));
    assert_eq!(with(&[(Field::Security, &[0])]), Some(Field::Security));
    assert_eq!(with(&[(Field::Gateway, &[1, 2, 3, 4])]), Some(Field::Gateway));
    assert_eq!(with(&[(Field::NodeName, b"b")]), Some(Field::NodeName));
}

#[test]
fn a_token_is_in_place_of_certificates() {
    let name: (Field, &[u8]) = (Field::NodeName, b"pico-1");
    let token: (Field, &[u8]) = (Field::BootstrapToken, b"abcdef.0123456789abcdef");
    let der: &[u8] = &[0x30, 1, 0];
    let secure = [
        (Field::Ssid, b"attic".as_slice()),
        name,
        token,
        (Field::Server, b"https://10.0.0.1:6443"),
        (Field::CertificateAuthority, der),
    ];
    let block_of = |more: &[(Field, &[u8])]| block(&[secure.as_slice(), more].concat());
    let good = block_of(&[]).expect("a block");
    let settings = Settings::read_block(&good).expect("settings");
    assert_eq!(settings.bootstrap_token(), Some("abcdef.0123456789abcdef"));
    assert_eq!(settings.client_key(), None);
    let pairs = [
        (Field::ClientCertificate, Field::ClientKey),
        (Field::ServingCertificate, Field::ServingKey),
    ];
    for (certificate, key) in pairs {
        let both = block_of(&[(certificate, der), (key, der)]).expect_err("both");
        assert!(
            matches!(both, SettingsError::Field(Field::BootstrapToken, _)),
            "{both}"
        );
    }
    let clear = least(&[token]).expect_err("in the clear");
    assert!(
        matches!(clear, SettingsError::Field(Field::BootstrapToken, _)),
        "{clear}"
    );
}

#[test]
fn a_block_that_is_full_says_so() {
    let large = [&[0x30, 0x82, 0x0f, 0xfc], [0; 4092].as_slice()].concat();
    let error = least(&[
        (Field::CertificateAuthority, large.as_slice()),
        (Field::CertificateAuthority, &large),
    ]);
    assert!(error.expect_err("full").to_string().contains("7.9 KB"));
}

#[test]
fn the_first_whole_block_counts() {
    let of = |namespace: &[u8]| least(&[(Field::ConfigNamespace, namespace)]).expect("a block");
    let read = |first: &[u8], second: &[u8]| {
        let region = region(first, second);
        Settings::read(&region).map(|settings| settings.config_namespace().to_string())
    };
    let erased = [0xff; SLOT];
    let (a, b) = (of(b"a"), of(b"b"));
    assert_eq!(read(&a, &b).as_deref(), Ok("a"));
    assert_eq!(read(&a, &erased).as_deref(), Ok("a"));
    assert_eq!(read(&erased, &b).as_deref(), Ok("b"));
    assert_eq!(read(&erased, &erased), Err(SettingsError::Missing));
    // A block with a bit that has turned does not count, wherever the bit is.
    for at in [0, 9, 13, 17, 21, HEADER, HEADER + 40] {
        let mut broken = a;
        broken[at] ^= 0x10;
        assert_eq!(read(&broken, &b).as_deref(), Ok("b"), "{at}");
        // Without the magic nothing says that they were settings.
        let error = match at {
            0 => SettingsError::Missing,
            _ => SettingsError::Damaged,
        };
        assert_eq!(read(&broken, &erased), Err(error), "{at}");
    }
    let foreign = [0x5a; SLOT];
    assert_eq!(read(&foreign, &foreign), Err(SettingsError::Missing));
    assert_eq!(read(&foreign, &b).as_deref(), Ok("b"));
}

#[test]
fn other_versions_are_told_apart() {
    let mut block = least(&[]).expect("a block");
    let mut header = Header::read(&block).expect("a header");
    header.version = 2;
    block[..Header::BYTES].copy_from_slice(&header.bytes());
    assert_eq!(Settings::read_block(&block), Err(SettingsError::Version(2)));
    let region = region(&block, &[0xff; SLOT]);
    assert_eq!(Settings::read(&region), Err(SettingsError::Version(2)));
}

#[test]
fn unknown_fields_are_passed_over() {
    let known = least(&[]).expect("a block");
    let header = Header::read(&known).expect("a header");
    let mut entries = known[HEADER..HEADER + header.length].to_vec();
    entries.extend([0xee, 3, 0, 1, 2, 3]);
    assert_eq!(
        Settings::read_entries(&entries).map(|settings| settings.ssid()),
        Ok("attic")
    );
    entries.pop();
    assert_eq!(Settings::read_entries(&entries), Err(SettingsError::Damaged));
}

#[test]
fn numbers_and_flags_are_each_a_fields_own() {
    for (n, field) in Field::ALL.into_iter().enumerate() {
        assert_eq!(Field::from_tag(field as u8), Some(field));
        assert!(
            Field::ALL[..n].iter().all(|other| other.flag() != field.flag()),
            "{field:?}"
        );
    }
}

#[test]
fn secrets_are_not_shown() {
    let block = block(&[
        (Field::Ssid, b"attic"),
        (Field::Passphrase, b"correct horse"),
        (Field::Server, b"https://10.0.0.1:6443"),
        (Field::CertificateAuthority, &[0x30, 1, 0]),
        (Field::BootstrapToken, b"abcdef.secretsecretsecr"),
        (Field::NodeName, b"pico-1"),
        (Field::StaticToken, b"0123456789abcdef,prometheus"),
    ])
    .expect("a block");
    let settings = Settings::read_block(&block).expect("settings");
    let shown = std::format!("{settings:?} {:?}", settings.static_tokens().next());
    assert!(
        !["correct horse", "0123456789", "abcdef."]
            .iter()
            .any(|secret| shown.contains(secret)),
        "{shown}"
    );
}

fn any_entry() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (
        prop_oneof![0..48_u8, any::<u8>()],
        prop_oneof![
            vec(any::<u8>(), 0..40),
            "[a-z0-9:/.,=-]{0,70}".prop_map(String::into_bytes)
        ],
    )
}

type String = std::string::String;

proptest! {
    /// Whatever a block says: no panic, and all that is told was checked.
    #[test]
    fn any_entries_are_read_or_refused(list in vec(any_entry(), 0..20), cut in 0..8_usize) {
        let mut entries = Vec::new();
        for (field, value) in LEAST {
            entries.extend([field as u8, value.len() as u8, 0]);
            entries.extend(value);
        }
        for (tag, value) in &list {
            entries.extend([*tag, value.len() as u8, 0]);
            entries.extend(value);
        }
        entries.truncate(entries.len() - cut.min(entries.len()));
        if let Ok(settings) = Settings::read_entries(&entries) {
            prop_assert!((1..=32).contains(&settings.ssid().len()));
            prop_assert!((1..=4).contains(&settings.servers().count()));
            prop_assert!(!settings.node_name().is_empty() && settings.hostname().len() <= 32);
            prop_assert_eq!(settings.static_tokens().count(), settings.all(Field::StaticToken).count());
            prop_assert!(settings.client_certificate().count() <= 4);
        }
    }

    #[test]
    fn any_region_is_read_or_refused(start in vec(any::<u8>(), 0..600), at in 0..REGION, whole in any::<bool>()) {
        let good = least(&[]).expect("a block");
        let mut bytes = if whole { region(&good, &good) } else { std::vec![0xff; REGION] };
        let end = (at + start.len()).min(REGION);
        bytes[at..end].copy_from_slice(&start[..end - at]);
        let read = Settings::read(&bytes);
        // No damage that is shorter than a slot harms both.
        prop_assert!(!whole || read.is_ok());
        let _ = Settings::read(&bytes[..at]);
        let _ = Settings::read_block(&bytes[..at]);
    }
}

#[test]
fn tokens_of_k3s() {
    let hash = "0123456789abcdefABCDEF0123456789abcdef0123456789abcdef0123456789";
    let is = |text: &str| is_k3s_token(std::format!("K10{hash}{text}").as_bytes());
    assert!(is("::server:s3cret") && is("::node:a::b") && is("::abcdef.0123456789abcdef"));
    for wrong in [
        "",
        "::",
        "::server:",
        "::s3cret",
        ":server:s3cret",
        "::node:a b",
        "0::node:s3cret",
    ] {
        assert!(!is(wrong), "{wrong}");
    }
    assert!(!is_k3s_token(b"K10") && !is_k3s_token(b"") && !is_k3s_token(b"K10::node:s3cret"));
    assert!(!is(&std::format!("::node:{}", "x".repeat(200))));
}
