//! The core by itself: a stream in memory, a clock that jumps. Two runs are the same to the byte.

use embedded_io_async::{ErrorType, Read, Write};
use picolet_devcluster::{Cluster, Identity, Options, RandomFaults, serve_connection};
use picolet_platform::Duration;
use picolet_platform::{Clock, TimeSource, UnixMicros};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A clock that stands still while anything is to be done, and then jumps to the next thing.
#[derive(Clone, Default)]
struct JumpingClock(Rc<JumpingState>);

#[derive(Default)]
struct JumpingState {
    uptime: Cell<Duration>,
    next: Cell<Option<Duration>>,
}

impl Clock for JumpingClock {
    fn uptime(&self) -> Duration {
        self.0.uptime.get()
    }

    fn now(&self) -> Option<UnixMicros> {
        Some(UnixMicros(1_795_354_103_000_000 + self.uptime().as_micros()))
    }

    fn time_source(&self) -> TimeSource {
        TimeSource::Synchronized
    }

    fn set_time(&self, _: UnixMicros, _: TimeSource) {}

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        let end = self.uptime() + duration;
        poll_fn(move |_| {
            if self.uptime() >= end {
                return Poll::Ready(());
            }
            // Asked anew each time that everybody is polled, so that a sleep that was dropped is forgotten.
            self.0
                .next
                .set(Some(self.0.next.get().map_or(end, |next| next.min(end))));
            Poll::Pending
        })
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `main` beside `others`; time passes when nobody has anything to do.
fn run<T>(
    clock: &JumpingClock,
    main: impl Future<Output = T>,
    mut others: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>,
) -> T {
    let mut main = pin!(main);
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    let waker = Waker::from(flag.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        flag.0.store(false, Ordering::Relaxed);
        clock.0.next.set(None);
        if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
            return output;
        }
        others.retain_mut(|other| other.as_mut().poll(&mut context).is_pending());
        if !flag.0.load(Ordering::Relaxed) {
            let next = clock.0.next.get().expect("something to wait for");
            clock.0.uptime.set(next);
        }
    }
}

/// One direction of a connection.
#[derive(Default)]
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pipe {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

struct End {
    incoming: Rc<Pipe>,
    outgoing: Rc<Pipe>,
}

fn connection() -> (End, End) {
    let (here, there) = (Rc::new(Pipe::default()), Rc::new(Pipe::default()));
    (
        End {
            incoming: here.clone(),
            outgoing: there.clone(),
        },
        End {
            incoming: there,
            outgoing: here,
        },
    )
}

impl Drop for End {
    fn drop(&mut self) {
        self.outgoing.closed.set(true);
        self.outgoing.wake();
    }
}

impl ErrorType for End {
    type Error = Infallible;
}

impl Read for End {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|context| {
            let mut bytes = self.incoming.bytes.borrow_mut();
            if bytes.is_empty() && !self.incoming.closed.get() {
                self.incoming.waker.replace(Some(context.waker().clone()));
                return Poll::Pending;
            }
            let count = bytes.len().min(buffer.len());
            for (place, byte) in buffer.iter_mut().zip(bytes.drain(..count)) {
                *place = byte;
            }
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for End {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.outgoing.bytes.borrow_mut().extend(bytes);
        self.outgoing.wake();
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Sends a request on a connection of its own and reads until the server has nothing more to say.
async fn ask(end: &mut End, request: &str) -> String {
    // An End never fails.
    let _ = end.write_all(request.as_bytes()).await;
    let (mut text, mut buffer) = (Vec::new(), [0; 512]);
    while let Ok(count @ 1..) = end.read(&mut buffer).await {
        text.extend_from_slice(&buffer[..count]);
        if text.ends_with(b"\r\n0\r\n\r\n") {
            break;
        }
    }
    String::from_utf8(text).expect("text")
}

/// A node watches for two and a half minutes; in between it is left alone by its kubelet.
fn story(seed: u64, faults: Option<RandomFaults>) -> (String, Duration) {
    let clock = JumpingClock::default();
    let cluster = Cluster::new(
        clock.clone(),
        Options {
            seed,
            ..Options::default()
        },
    );
    cluster
        .create("nodes", "", json!({"metadata": {"name": "n"}}))
        .expect("created");
    cluster.faults(|of| of.set_random(faults));
    let (mut client, mut server) = connection();
    let serve = async {
        // How it ends is part of what the client sees.
        let _ = serve_connection(&cluster, &mut server, Some(Identity::node("n"))).await;
        drop(server);
    };
    let controllers = cluster.run_controllers();
    let request = "GET /api/v1/nodes?watch=1&fieldSelector=metadata.name%3Dn&allowWatchBookmarks=true\
        &timeoutSeconds=150 HTTP/1.1\r\nHost: h\r\n\r\n";
    let text = run(
        &clock,
        ask(&mut client, request),
        vec![Box::pin(serve), Box::pin(controllers)],
    );
    (text, clock.uptime())
}

#[test]
fn a_watch_has_bookmarks_each_minute_and_before_its_end() {
    let (text, ended) = story(1, None);
    assert_eq!(ended, Duration::from_secs(150));
    let kinds: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("{\"type\":\"")?.split('"').next())
        .collect();
    // It is there; after 55 seconds without a Lease it is Unknown; two bookmarks, and the last one.
    assert_eq!(kinds, ["ADDED", "MODIFIED", "BOOKMARK", "BOOKMARK", "BOOKMARK"]);
    assert!(text.contains("NodeStatusNeverUpdated"));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let faults = Some(RandomFaults {
        per_thousand: 300,
        seed: 5,
    });
    assert_eq!(story(1, None), story(1, None));
    assert_eq!(story(1, faults), story(1, faults));
    assert_ne!(story(1, None).0, story(2, None).0, "the uid is drawn");
}
