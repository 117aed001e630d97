//! Boots an image beside a cluster, has it do what a node does, and prints what that took, one `name value` a line, for
//! `cargo xtask budgets`. All of it is emulated time and emulated cycles: two runs print the same.
//!
//! `PICOLET_SOAK_HOURS=24` has the soak test at the end take a day.

use anyhow::{Context, Result, ensure};
use embedded_io_async::{Read, Write};
use picolet_emulator::Image;
use picolet_platform::Clock;
use picolet_store::layout::{IMAGE_OFFSET, PICO_W};
use picolet_testbed::{Options, Testbed};
use serde_json::json;
use std::io;
use std::time::Duration;

const NODE: &str = "pico-1";
/// The pin that is watched.
const PIN: u32 = 2;

fn main() -> Result<()> {
    told(join)?;
    told(measure)
}

/// Does it with a board of its own, and tells what the board said where that fails.
fn told(measure: fn(&mut Testbed) -> Result<()>) -> Result<()> {
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

/// Puts the image on the board.
fn load(testbed: &mut Testbed) -> Result<()> {
    let file = std::env::args()
        .nth(1)
        .context("usage: measure IMAGE (an ELF or UF2 file of a Pico W)")?;
    let image =
        Image::parse(&std::fs::read(&file).with_context(|| file.clone())?).with_context(|| file.clone())?;
    Ok(testbed.board.load(&image)?)
}

/// A node that makes its keys itself and joins with a token. Whoever approves does so at once.
fn join(testbed: &mut Testbed) -> Result<()> {
    load(testbed)?;
    let settings = testbed.joining_settings(NODE, &[])?;
    testbed.board.load(&settings)?;
    testbed.board.power_on();
    let ready = testbed
        .until(Duration::from_secs(30), |testbed| testbed.is_ready(NODE))?
        .context("the node did not join in half a minute")?;
    print("joined_milliseconds", ready.as_millis());
    testbed.run_for(Duration::from_secs(30))?;
    let approved = testbed.approve_serving(NODE)?;
    ensure!(approved == 1, "{approved} requests for a serving certificate");
    testbed.run_for(Duration::from_secs(30))?;
    memory(testbed, "joined")
}

fn measure(testbed: &mut Testbed) -> Result<()> {
    load(testbed)?;
    let settings = testbed.settings(NODE, &[])?;
    testbed.board.load(&settings)?;
    testbed.board.power_on();

    let ready = testbed
        .until(Duration::from_secs(10), |testbed| testbed.is_ready(NODE))?
        .context("the node did not become Ready in a minute")?;
    print("ready_milliseconds", ready.as_millis());

    // Long enough for all watches, a Lease and the first statuses.
    testbed.run_for(Duration::from_secs(60))?;
    let full = longest(testbed, 0, false).context("no handshake with the API server was a full one")?;
    print("handshake_full_cycles", full);
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
    print("authorized_microseconds", authorized(testbed)?.as_micros());
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
    testbed.run_for(Duration::from_secs(10))?;

    // All connections are made anew, once by themselves, and once while callers shake hands; one of them brings the megabyte again.
    let before = testbed.handshakes().len();
    testbed.cluster.cut_connections();
    testbed.run_for(Duration::from_secs(20))?;
    let resumed = longest(testbed, before, true).context("no handshake was resumed")?;
    print("handshake_resumed_cycles", resumed);
    let before = testbed.handshakes().len();
    testbed.cluster.cut_connections();
    for _ in 0..4 {
        testbed.handshake_inward()?;
    }
    testbed
        .until(Duration::from_secs(20), |testbed| {
            testbed.handshakes().len() >= before + 4
        })?
        .context("the connections that were cut did not come back")?;
    testbed.run_for(Duration::from_secs(10))?;
    memory(testbed, "peak")?;
    ensure!(testbed.is_ready(NODE), "the node is not Ready any more");
    if let Some(hours) = std::env::var_os("PICOLET_SOAK_HOURS") {
        let hours = hours.to_str().and_then(|hours| hours.parse().ok());
        soak(testbed, hours.context("PICOLET_SOAK_HOURS is a number of hours")?)?;
    } else {
        soak(testbed, SOAKED)?;
    }
    Ok(())
}

/// How long a request takes, from the first byte that is sent to the last that comes back, whose caller the cluster let in a moment
/// before on the same connection: it is answered from what the node remembers.
fn authorized(testbed: &mut Testbed) -> Result<Duration> {
    let (call, clock) = (testbed.call_tls()?, testbed.clock());
    let ask = async move {
        let mut stream = call.await?;
        let mut took = Duration::ZERO;
        for _ in 0..2 {
            let begun = clock.uptime();
            let request = b"GET /healthz HTTP/1.1\r\nHost: board\r\n\r\n";
            stream.write_all(request).await.map_err(io::Error::other)?;
            stream.flush().await.map_err(io::Error::other)?;
            let (mut answer, mut buffer) = (Vec::new(), [0; 512]);
            while !answer.ends_with(b"\r\n\r\nok") {
                let read = stream.read(&mut buffer).await.map_err(io::Error::other)?;
                ensure!(read > 0, "no health, but {}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&buffer[..read]);
            }
            took = clock.uptime().saturating_sub(begun).into();
        }
        Ok(took)
    };
    testbed.block_on(Duration::from_secs(15), ask)?
}

/// The most cycles of a handshake of one kind, from the `first` on.
fn longest(testbed: &Testbed, first: usize, resumed: bool) -> Option<u64> {
    let handshakes = testbed.handshakes().iter().skip(first);
    let of_kind = handshakes.filter(|handshake| handshake.certified && handshake.resumed == resumed);
    of_kind.map(|handshake| handshake.cycles).max()
}

/// Hours of the short form of the soak test. What is made once when it is needed is there by the second.
const SOAKED: u32 = 4;
const HOUR: Duration = Duration::from_secs(3600);
/// In each hour the access point is gone for so long.
const LOST: Duration = Duration::from_secs(60);

/// Lets hours pass, in each of which the access point goes and comes back, and prints by how much the heap has grown: the least
/// of the later half of the hours over the most of the earlier half. What is kept for a while (tickets of sessions, events that
/// repeat) has it go up and down by some two hundred bytes; a leak is what never comes down again.
fn soak(testbed: &mut Testbed, hours: u32) -> Result<()> {
    let begun = std::time::Instant::now();
    testbed
        .cluster
        .delete("configmaps", "default", "pico-config", None)?;
    let mut heap = Vec::new();
    for _ in 0..hours {
        let end = testbed.now() + HOUR;
        testbed.run_for(HOUR / 2)?;
        testbed.set_access_point(false);
        testbed.run_for(LOST)?;
        testbed.set_access_point(true);
        let left = end.since(testbed.now());
        testbed.run_for(left)?;
        ensure!(testbed.is_ready(NODE), "the node is not Ready any more");
        heap.push(heap_at_rest(testbed)?);
    }
    eprintln!(
        "heap after each of {hours} hours: {heap:?}, in {:?}",
        begun.elapsed()
    );
    let (earlier, later) = heap.split_at(heap.len() / 2);
    let (most, least) = (earlier.iter().max())
        .zip(later.iter().min())
        .context("two hours at least")?;
    print("heap_growth_bytes", least.saturating_sub(*most));
    Ok(())
}

/// The value of a metric of the node.
fn figure(testbed: &mut Testbed, metric: &str) -> Result<u64> {
    let (_, metrics) = testbed.get("/metrics")?;
    let line = metrics.lines().find(|line| line.starts_with(metric));
    let value = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    value.with_context(|| format!("the node does not tell {metric}"))
}

/// Bytes of stack that were ever used: the firmware paints it at its start, from its lowest address, where RAM begins, to where
/// its vector table says that it starts.
fn stack(testbed: &Testbed) -> Result<u64> {
    const RAM: u32 = 0x2000_0000;
    const PAINT: u8 = 0xa5;
    let board = &testbed.board;
    let top = board
        .read_memory(PICO_W.slots[0].address() + IMAGE_OFFSET, 4)
        .context("flash")?;
    let top = u32::from_le_bytes(top.try_into().unwrap_or_default());
    ensure!(top > RAM, "the application has no stack");
    let bytes = board
        .read_memory(RAM, (top - RAM) as usize)
        .context("the stack is no memory")?;
    let unused = bytes.iter().take_while(|byte| **byte == PAINT).count();
    Ok((bytes.len() - unused) as u64)
}

/// Bytes of heap that are handed out while nobody calls: the node tells it in its log each half minute. Now and then a request is
/// under way; the least of some moments is what is kept.
fn heap_at_rest(testbed: &mut Testbed) -> Result<u64> {
    testbed.board.take_uart(0);
    testbed.run_for(Duration::from_secs(95))?;
    let log = testbed.board.take_uart(0);
    let log = String::from_utf8_lossy(&log);
    let told = log.lines().filter_map(|line| {
        let (_, figures) = line.split_once("heap ")?;
        figures.split_once(" of ")?.0.parse().ok()
    });
    told.min().context("the node does not tell its heap in its log")
}

/// Prints what is used of heap and stack, by the node's log, by `/metrics` and by the paint of the stack. Who asks for `/metrics` has
/// a connection and an answer of his own in the heap: what is used then is no rest.
fn memory(testbed: &mut Testbed, when: &str) -> Result<()> {
    let used = heap_at_rest(testbed)?;
    let peak = figure(testbed, "picolet_heap_peak_bytes")?;
    let stack = stack(testbed)?;
    print(&format!("heap_used_bytes_at_{when}"), used);
    print(&format!("heap_peak_bytes_at_{when}"), peak);
    print(&format!("stack_peak_bytes_at_{when}"), stack);
    print(&format!("stack_and_heap_used_bytes_at_{when}"), stack + used);
    print(&format!("stack_and_heap_peak_bytes_at_{when}"), stack + peak);
    Ok(())
}

fn print(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}
