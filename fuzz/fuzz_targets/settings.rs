//! The settings' region: whatever is in it, what is told was checked, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picolet_store::settings::{HEADER, REGION, SLOT, Settings, VERSION, checksum};

/// Asks for everything.
fn ask(settings: &Settings<'_>) {
    assert!((1..=32).contains(&settings.ssid().len()));
    assert!(settings.passphrase().len() <= 63 && settings.country().len() == 2);
    assert!((1..=63).contains(&settings.node_name().len()) && settings.hostname().len() <= 32);
    assert!((1..=4).contains(&settings.servers().count()));
    assert!(settings.lab_mode() || settings.servers().all(|server| server.tls));
    assert!(settings.address().is_none_or(|address| address.prefix <= 30));
    assert!(settings.dns().count() <= 3 && settings.ntp().count() <= 3);
    assert!(settings.certificate_authorities().count() <= 8 && settings.client_authorities().count() <= 8);
    assert_eq!(
        settings.client_certificate().next().is_some(),
        settings.client_key().is_some()
    );
    assert_eq!(
        settings.serving_certificate().next().is_some(),
        settings.serving_key().is_some()
    );
    assert!(settings.static_tokens().all(|token| token.token.len() >= 16));
    assert!(settings.taints().is_none_or(|taints| taints.count() <= 8));
    let _ = (settings.security(), settings.hidden(), settings.node_ip());
    let _ = (
        settings.config_namespace(),
        settings.hide_port(),
        settings.uart_log(),
    );
    let _ = settings.reset_identity();
}

fuzz_target!(|data: &[u8]| {
    let _ = Settings::read(data);
    let _ = Settings::read_block(data);
    let Ok(settings) = Settings::read_entries(data) else {
        return;
    };
    ask(&settings);
    // In a block they are the same.
    if data.len() > SLOT - HEADER {
        return;
    }
    let mut region = vec![0xff; REGION];
    region[..8].copy_from_slice(b"picolet\0");
    region[8..10].copy_from_slice(&VERSION.to_le_bytes());
    region[10..12].fill(0);
    region[12..16].copy_from_slice(&(data.len() as u32).to_le_bytes());
    region[16..20].copy_from_slice(&checksum(data).to_le_bytes());
    let sum = checksum(&region[..20]);
    region[20..24].copy_from_slice(&sum.to_le_bytes());
    region[HEADER..HEADER + data.len()].copy_from_slice(data);
    assert!(Settings::read(&region).is_ok_and(|same| same == settings));
});
