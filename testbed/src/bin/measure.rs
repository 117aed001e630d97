//! Boots an image beside a cluster, has it do what a node does, and prints what that took, one `name value` a line, for
//! `cargo xtask budgets`. All of it is emulated time and emulated cycles: two runs print the same.

use anyhow::{Context, Result, ensure};
use picolet_emulator::Image;
use picolet_testbed::{Options, Testbed};
use serde_json::json;
use std::time::Duration;

const NODE: &str = "pico-1";
/// The pin that is watched.
const PIN: u32 = 2;

fn main() -> Result<()> {
    let mut testbed = Testbed::new(Options::default())?;
    let measured = measure(&mut testbed);
    if measured.is_err() {
        eprintln!(
            "{} connections to the API server, {} handshakes",
            testbed.connections(),
            testbed.handshakes().len()
        );
        let log = testbed.board.take_uart(0);
        eprintln!("{}", String::from_utf8_lossy(&log));
    }
    measured
}

fn measure(testbed: &mut Testbed) -> Result<()> {
    let file = std::env::args()
        .nth(1)
        .context("usage: measure IMAGE (an ELF or UF2 file of a Pico W)")?;
    let image =
        Image::parse(&std::fs::read(&file).with_context(|| file.clone())?).with_context(|| file.clone())?;
    let settings = testbed.settings(NODE, &[])?;
    testbed.board.load(&image)?;
    testbed.board.load(&settings)?;
    testbed.board.power_on();

    let ready = testbed
        .until(Duration::from_secs(10), |testbed| testbed.is_ready(NODE))?
        .context("the node did not become Ready in a minute")?;
    print("ready_milliseconds", ready.as_millis());

    // Long enough for all watches, a Lease and the first statuses.
    testbed.run_for(Duration::from_secs(60))?;
    let longest = |resumed| {
        let of_kind = testbed
            .handshakes()
            .iter()
            .filter(|handshake| handshake.resumed == resumed);
        of_kind.map(|handshake| handshake.cycles).max()
    };
    for (name, resumed) in [
        ("handshake_full_cycles", false),
        ("handshake_resumed_cycles", true),
    ] {
        if let Some(cycles) = longest(resumed) {
            print(name, cycles);
        }
    }
    print("handshake_inbound_cycles", testbed.handshake_inward()?);
    memory(testbed, "rest")?;

    testbed.cluster.create(
        "configmaps",
        "default",
        json!({"metadata": {"name": "pico-config"}, "data": {"memory_values": "0=0x42", "gpio": format!("{PIN}=high")}}),
    )?;
    let driven = testbed
        .until(Duration::from_secs(5), |testbed| testbed.board.pin(PIN))?
        .context("a ConfigMap did not reach its pin in five seconds")?;
    print("configmap_milliseconds", driven.as_millis());
    let (_, cells) = testbed.get("/pico/memory")?;
    ensure!(cells.contains("66"), "the ConfigMap's cell is not set: {cells}");

    // All at once that costs memory: a ConfigMap of a megabyte in records of 16 KiB, and callers meanwhile.
    let patch = json!({"data": {"other": "x".repeat(1_000_000), "gpio": format!("{PIN}=low")}});
    testbed
        .cluster
        .patch("configmaps", "default", "pico-config", &patch)?;
    testbed.get("/metrics")?;
    let driven = testbed
        .until(Duration::from_secs(60), |testbed| !testbed.board.pin(PIN))?
        .context("a ConfigMap of a megabyte did not reach its pin in a minute")?;
    print("configmap_of_a_megabyte_milliseconds", driven.as_millis());
    memory(testbed, "peak")?;
    ensure!(testbed.is_ready(NODE), "the node is not Ready any more");
    Ok(())
}

/// What `/metrics` says of heap and stack.
fn memory(testbed: &mut Testbed, when: &str) -> Result<()> {
    let (_, metrics) = testbed.get("/metrics")?;
    for (metric, name) in [
        ("picolet_heap_used_bytes", "heap_used"),
        ("picolet_heap_peak_bytes", "heap_peak"),
        ("picolet_stack_peak_bytes", "stack_peak"),
    ] {
        let line = metrics.lines().find(|line| line.starts_with(metric));
        let value = line.and_then(|line| line.split_whitespace().last());
        if let Some(value) = value {
            print(&format!("{name}_bytes_at_{when}"), value);
        }
    }
    Ok(())
}

fn print(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}
