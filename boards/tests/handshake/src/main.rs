//! Handshakes of rustls in both roles, with certificates on both sides: one end talks to the other, and the simulator counts.
//!
//! The program has the profile, the libraries and the heap of an image. The simulator (`crates/ec/trace`) calls
//! [`handshakes`] and shows its cycle counter at an address, by which each end's share is told apart. It never runs on a chip.
#![no_std]
#![no_main]

extern crate alloc;
// For its critical section, which is found by the linker only.
use single_core as _;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec;
use core::cell::RefCell;
use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::panic::PanicInfo;
use core::pin::{Pin, pin};
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker};
use embassy_futures::block_on;
use embassy_futures::join::join;
use embedded_alloc::LlffHeap;
use embedded_io_async::{ErrorType, Read, Write};
use picolet_tls::{
    Acceptor, Clients, Connector, Identity, P256Key, Random, RandomError, TlsStream, install_random,
};
use portable_atomic::AtomicU32;

/// Handshakes that are made one after the other.
const ROUNDS: usize = 4;
/// Times that a connection is polled between two of them: more than the steps of preparing a key.
const IDLE_POLLS: usize = 40;

/// What one round took, in cycles.
#[repr(C)]
struct Round {
    client: u32,
    server: u32,
    /// All that was done afterwards, while both waited for the other to speak.
    idle: u32,
    /// The longest stretch of that without a return.
    idle_stretch: u32,
}

/// The simulator's counter, where chips have their first peripheral.
fn cycles() -> u32 {
    // SAFETY: the simulator answers at this address, and reading it has no effect.
    unsafe { core::ptr::read_volatile(0x4000_0000 as *const u32) }
}

#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

/// Any numbers will do, as long as they are the same each time.
struct Numbers(AtomicU32);

static NUMBERS: Numbers = Numbers(AtomicU32::new(2_463_534_242));

impl Random for Numbers {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        for part in bytes.chunks_mut(4) {
            let mut number = self.0.load(Ordering::Relaxed);
            number ^= number << 13; // Marsaglia, "Xorshift RNGs" (2003)
            number ^= number >> 17;
            number ^= number << 5;
            self.0.store(number, Ordering::Relaxed);
            part.copy_from_slice(&number.to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}

/// Bytes on their way to one end.
type Lane = Rc<RefCell<VecDeque<u8>>>;

/// One end of a wire in memory.
struct End {
    inbound: Lane,
    outbound: Lane,
}

impl ErrorType for End {
    type Error = Infallible;
}

impl Read for End {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|_| {
            let mut lane = self.inbound.borrow_mut();
            let count = buffer.len().min(lane.len());
            for (place, byte) in buffer.iter_mut().zip(lane.drain(..count)) {
                *place = byte;
            }
            if count == 0 {
                Poll::Pending
            } else {
                Poll::Ready(Ok(count))
            }
        })
        .await
    }
}

impl Write for End {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.outbound.borrow_mut().extend(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A future and the cycles of all its polls.
struct Timed<F> {
    future: Pin<Box<F>>,
    cycles: u32,
}

impl<F: Future> Timed<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            cycles: 0,
        }
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = (F::Output, u32);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let start = cycles();
        let poll = self.future.as_mut().poll(context);
        self.cycles += cycles() - start;
        poll.map(|output| (output, self.cycles))
    }
}

/// Ends the program where something does not go as it must.
fn must<T, E>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(_) => stop(),
    }
}

fn identity(certificate: &[u8], key: &[u8]) -> Identity {
    must(Identity::new(
        vec![certificate.to_vec()],
        &must(P256Key::from_der(key)),
    ))
}

/// 2026-12-01, a day on which the certificates are valid.
fn clock() -> Option<u64> {
    Some(1_796_083_200)
}

/// One handshake, a word over the connection, and then the quiet in which keys are prepared.
fn round(connector: &Connector, acceptor: &Acceptor) -> Round {
    let (to_client, to_server) = (Lane::default(), Lane::default());
    let near = End {
        inbound: to_client.clone(),
        outbound: to_server.clone(),
    };
    let far = End {
        inbound: to_server,
        outbound: to_client,
    };
    let ((near, client), (far, server)) = block_on(join(
        Timed::new(connector.connect("api.test", near)),
        Timed::new(acceptor.accept(far)),
    ));
    let (mut near, mut far) = (must(near), must(far));
    if far.peer_certificate().is_none() || near.peer_certificate().is_none() || near.resumed() {
        stop();
    }
    let mut word = [0; 4];
    block_on(async {
        must(near.write_all(b"word").await);
        must(near.flush().await);
        must(far.read_exact(&mut word).await);
    });
    if word != *b"word" {
        stop();
    }
    let (idle, idle_stretch) = wait(&mut near);
    Round {
        client,
        server,
        idle,
        idle_stretch,
    }
}

/// Waits for a peer that says nothing.
fn wait(stream: &mut TlsStream<End>) -> (u32, u32) {
    let mut byte = [0];
    let mut read = pin!(stream.read(&mut byte));
    let (mut all, mut longest) = (0, 0);
    for _ in 0..IDLE_POLLS {
        let start = cycles();
        if read
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            stop();
        }
        let stretch = cycles() - start;
        all += stretch;
        longest = longest.max(stretch);
    }
    (all, longest)
}

/// What the simulator calls.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn handshakes(_input: *const u8, output: *mut [Round; ROUNDS]) {
    const SIZE: usize = 64 * 1024;
    static mut MEMORY: [u8; SIZE] = [0; SIZE];
    // SAFETY: this is the one place that takes the memory's address; it is called once, before any allocation.
    unsafe { HEAP.init(&raw mut MEMORY as usize, SIZE) }
    install_random(&NUMBERS);
    let roots = [include_bytes!("../data/authority.der").to_vec()];
    let server = identity(
        include_bytes!("../data/server.der"),
        include_bytes!("../data/server.key"),
    );
    let client = identity(
        include_bytes!("../data/client.der"),
        include_bytes!("../data/client.key"),
    );
    let connector = must(Connector::new(&roots, Some(&client), clock));
    let acceptor = must(Acceptor::new(&server, Clients::Required(&roots), clock));
    let rounds = core::array::from_fn(|_| round(&connector, &acceptor));
    // SAFETY: the simulator gives room for it.
    unsafe { output.write(rounds) }
}

/// An undefined instruction, which the simulator reports.
fn stop() -> ! {
    // SAFETY: it does not return and touches nothing.
    unsafe { core::arch::asm!("udf #0", options(noreturn)) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    stop()
}

/// Keeps the function above in the program.
#[cortex_m_rt::entry]
fn main() -> ! {
    loop {
        handshakes(core::ptr::null(), core::hint::black_box(core::ptr::null_mut()));
    }
}
