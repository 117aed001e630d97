//! Callers of a Linux process who are up to something: the Lease never misses, memory is bounded, and others are served afterwards.

use super::heap::{Tracked, settled};
use super::world::{Caller, World, block_on, eventually, is_alone, spawn};
use crate::clock::{Source, WallClock};
use embedded_io_async::Write;
use picolet_devcluster::host::HostOptions;
use picolet_kube::Timestamp;
use picolet_testbed::abuse::{exchange, is_refused, no_handshakes, requests};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
/// A Lease is renewed every ten seconds: after twice that, one was missed.
const MISSED: Duration = Duration::from_secs(20);
/// Handed out of the heap afterwards, beside what was before: a few bytes for each connection would be more. tokio keeps what it
/// registered.
const ROOM: usize = 48 * 1024;

/// Looks at how old the Lease is for as long as `attack` takes.
fn with_lease<T>(world: &World, name: &'static str, attack: impl FnOnce() -> T) -> T {
    let age = move |world: &World| {
        let lease = world.get("leases", "kube-node-lease", name).expect("a Lease");
        let renewed = lease["spec"]["renewTime"].as_str().and_then(Timestamp::parse);
        let now = WallClock::new(Source::System).now().expect("a clock");
        Duration::from_micros(now.0.saturating_sub(renewed.expect("a time").micros()))
    };
    let (over, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let mut oldest = age(world);
            while ended.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                oldest = oldest.max(age(world));
            }
            oldest
        });
        let result = attack();
        drop(over);
        let oldest = watch.join().expect("the Lease was read");
        println!("the Lease was {oldest:?} old at most");
        assert!(oldest < MISSED, "no Lease for {oldest:?}");
        result
    })
}

async fn patience() {
    sleep(Duration::from_secs(10)).await;
}

fn expect_served(caller: &Caller, what: &str) {
    let begun = Instant::now();
    eventually(what, PATIENCE, || caller.get("/healthz").is_some());
    println!("{what}: others are served {:?} after it", begun.elapsed());
}

#[test]
fn requests_that_can_be_misunderstood_are_refused_and_hide_nothing() {
    let world = World::start(HostOptions::default());
    let (node, caller) = world.node("pico-bad", false);
    let _running = spawn(node, None);
    eventually("Ready", PATIENCE, || world.is_ready("pico-bad"));
    let all = requests();
    // A few at a time: each is listened to for half a second after it was refused.
    for some in all.chunks(4) {
        block_on(async {
            let mut asked = JoinSet::new();
            for bad in some.iter().cloned() {
                let caller = caller.clone();
                asked.spawn_local(async move {
                    let mut stream = caller.connect().await.expect("a connection");
                    let answer = exchange(&mut stream, bad.request.as_bytes(), patience).await;
                    assert!(is_refused(&bad, &answer), "{}: {answer}", bad.what);
                });
            }
            while let Some(refused) = asked.join_next().await {
                refused.expect("it is refused");
            }
        });
    }
    expect_served(&caller, "bad requests");
}

#[test]
fn whoever_dawdles_or_floods_costs_no_lease_and_others_are_served_afterwards() {
    if !is_alone("tests::abuse::whoever_dawdles_or_floods_costs_no_lease_and_others_are_served_afterwards") {
        return;
    }
    let name = "pico-flooded";
    let world = World::start(HostOptions::default());
    let (node, caller) = world.node(name, false);
    let heap = Tracked::default();
    let _running = spawn(node, Some(heap));
    eventually("Ready", PATIENCE, || world.is_ready(name));
    expect_served(&caller, "nothing");
    let at_rest = settled(heap);
    // Twice as long as a Lease is good for without being renewed.
    let long = std::env::var_os("PICOLET_LONG_TESTS").is_some();
    let seconds = if long { 600 } else { 21 };
    let begun = with_lease(&world, name, || block_on(flood(&caller, seconds)));
    println!("{begun} connections");
    expect_served(&caller, "the flood");
    let after = settled(heap);
    println!(
        "heap: {at_rest} bytes before, {after} after, {} at most",
        heap.peak()
    );
    assert!(after <= at_rest + ROOM, "{at_rest} bytes before, {after} after");
    assert!(
        heap.peak() < at_rest + 512 * 1024,
        "{} bytes at most",
        heap.peak()
    );
    assert!(world.is_ready(name));
}

/// A hundred connections a second, of all kinds, beside some that dawdle as long as they are let. Returns how many there were.
async fn flood(caller: &Caller, seconds: u64) -> u64 {
    let (caller, bytes) = (Rc::new(caller.clone()), no_handshakes());
    let over = Rc::new(Cell::new(false));
    for (begin, more) in [
        ("GET /livez HTTP/1.1\r\nHost: x\r\n", "X: y\r\n"),
        (
            "POST /pico/command HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n",
            "{",
        ),
        (&"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200), ""),
    ] {
        let (caller, over, begin, more) = (caller.clone(), over.clone(), begin.to_owned(), more.to_owned());
        spawn_local(async move {
            while !over.get() {
                let Some(mut stream) = caller.connect().await else {
                    sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let _ = timeout(Duration::from_secs(1), stream.write_all(begin.as_bytes())).await;
                while !over.get() && (more.is_empty() || stream.write_all(more.as_bytes()).await.is_ok()) {
                    let _ = stream.flush().await;
                    sleep(Duration::from_secs(1)).await;
                }
            }
        });
    }
    let started = Instant::now();
    let mut begun = 0;
    while started.elapsed().as_secs() < seconds {
        let (caller, bytes) = (caller.clone(), bytes[begun as usize % bytes.len()].clone());
        let held = Duration::from_secs(begun % 3);
        let kind = begun % 10;
        spawn_local(timeout(Duration::from_secs(10), async move {
            match kind {
                0..3 => drop(TcpStream::connect(caller.address()).await),
                3 => {
                    if let Some(mut stream) = caller.connect().await {
                        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                        exchange(&mut stream, request, patience).await;
                    }
                }
                _ => {
                    if let Ok(mut stream) = TcpStream::connect(caller.address()).await {
                        let _ = match kind {
                            4 => Ok(()),
                            _ => AsyncWriteExt::write_all(&mut stream, &bytes).await,
                        };
                        sleep(held).await;
                    }
                }
            }
        }));
        begun += 1;
        sleep(Duration::from_millis(10)).await;
    }
    over.set(true);
    begun
}
