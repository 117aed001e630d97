//! The bytes of one TCP connection, between the emulator's network and the tasks beside it.
//!
//! The network moves bytes when emulated time goes on, the tasks when it stands; so nobody ever waits for a lock.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use picolet_emulator::Time;
use picolet_emulator::net::{Connection, Stream};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that wait in one direction. Beyond them TCP's window closes.
const ROOM: usize = 16 * 1024;

/// That some task has given a connection something to do, so that the network must be looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bell(Arc<AtomicBool>);

impl Bell {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it rang since it was last asked.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Wire {
    from_board: VecDeque<u8>,
    to_board: VecDeque<u8>,
    /// The board has closed its end, or is gone.
    ended: bool,
    /// The connection came about.
    connected: bool,
    /// The task has let go of its end.
    dropped: bool,
    /// The socket was told so.
    closed: bool,
    waker: Option<Waker>,
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Wire>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end in the network.
#[derive(Debug)]
pub(crate) struct Plug(Shared);

/// The end in a task. Dropping it closes the connection once all is sent.
#[derive(Debug)]
pub struct Socket {
    shared: Shared,
    bell: Bell,
}

/// Both ends of a new connection.
pub(crate) fn wire(bell: Bell) -> (Plug, Socket) {
    let shared = Shared::default();
    (Plug(shared.clone()), Socket { shared, bell })
}

impl Connection for Plug {
    fn poll(&mut self, stream: &mut Stream<'_>, _now: Time) -> Option<Time> {
        let mut wire = self.0.lock();
        let mut changed = false;
        let mut buffer = [0; 2048];
        while wire.from_board.len() < ROOM {
            let room = buffer.len().min(ROOM - wire.from_board.len());
            let count = stream.read(&mut buffer[..room]);
            if count == 0 {
                break;
            }
            wire.from_board.extend(&buffer[..count]);
            changed = true;
        }
        while !wire.to_board.is_empty() {
            let count = stream.write(wire.to_board.as_slices().0);
            if count == 0 {
                break;
            }
            wire.to_board.drain(..count);
            changed = true;
        }
        let connected = stream.is_connected();
        if (connected && !wire.connected) || (!wire.ended && stream.is_finished()) {
            wire.connected |= connected;
            wire.ended |= stream.is_finished();
            changed = true;
        }
        if wire.dropped && !wire.closed && wire.to_board.is_empty() {
            wire.closed = true;
            stream.close();
        }
        if changed && let Some(waker) = wire.waker.take() {
            waker.wake();
        }
        None
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        let mut wire = self.0.lock();
        wire.ended = true;
        if let Some(waker) = wire.waker.take() {
            waker.wake();
        }
    }
}

impl Socket {
    /// Waits until the board has taken the connection.
    ///
    /// # Errors
    /// When the board refuses it.
    pub(crate) async fn connected(&self) -> Result<(), ErrorKind> {
        poll_fn(|context| {
            let mut wire = self.shared.lock();
            if wire.connected {
                return Poll::Ready(Ok(()));
            }
            if wire.ended {
                return Poll::Ready(Err(ErrorKind::ConnectionRefused));
            }
            wire.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.bell.ring();
    }
}

impl ErrorType for Socket {
    type Error = ErrorKind;
}

impl Read for Socket {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|context| {
            let mut wire = self.shared.lock();
            let count = buffer.len().min(wire.from_board.len());
            if count > 0 {
                for (to, from) in buffer.iter_mut().zip(wire.from_board.drain(..count)) {
                    *to = from;
                }
                // TCP's window opens again
                self.bell.ring();
            } else if !wire.ended && !buffer.is_empty() {
                wire.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Socket {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|context| {
            let mut wire = self.shared.lock();
            if wire.ended {
                return Poll::Ready(Err(ErrorKind::BrokenPipe));
            }
            let count = bytes.len().min(ROOM - wire.to_board.len().min(ROOM));
            if count == 0 && !bytes.is_empty() {
                wire.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            wire.to_board.extend(&bytes[..count]);
            self.bell.ring();
            Poll::Ready(Ok(count))
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
