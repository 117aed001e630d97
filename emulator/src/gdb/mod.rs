//! A server for gdb, by its Remote Serial Protocol: breakpoints, watchpoints, steps, registers and memory of both cores.
//!
//! [`Session`] is one debugger, whatever carries its bytes; [`Server`] waits for debuggers on a TCP port. Neither runs
//! the board: whoever does asks [`Server::serve`] before each slice of the run whether to, and shows [`Server::report`]
//! why a slice ended. A board without breakpoints runs as fast as one without a debugger.

mod arch;
mod target;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use gdbstub::conn::Connection;
use gdbstub::stub::state_machine::GdbStubStateMachine;
use gdbstub::stub::{DisconnectReason, GdbStub};

use crate::board::Board;
use crate::machine::Stop;

pub use arch::{Armv6M, CoreRegisters};

/// Bytes of a packet, which is what memory is read and written in pieces of.
const LARGEST_PACKET: usize = 4096;
/// Bytes of an answer: a packet's worth of memory in hexadecimal, and then some. Nobody who knows [`LARGEST_PACKET`] asks
/// for more, and whoever asks for 2^40 bytes of memory is not to get them put together.
const LARGEST_ANSWER: usize = 4 * LARGEST_PACKET;
/// A debugger that does not take its answers for so long is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// gdb detached, or went away: the board runs on.
    Detached,
    /// gdb killed the program: power is to be switched off.
    Killed,
    /// What came was not gdb's protocol, or the connection broke: the board runs on.
    Failed(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => write!(f, "gdb detached"),
            Self::Killed => write!(f, "gdb killed the program"),
            Self::Failed(error) => write!(f, "gdb is gone: {error}"),
        }
    }
}

/// The way to gdb: packets are sent whole.
struct Wire<W> {
    out: W,
    waiting: Vec<u8>,
}

impl<W: Write> Connection for Wire<W> {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        if self.waiting.len() >= LARGEST_ANSWER {
            let message = format!("it asked for an answer of more than {LARGEST_ANSWER} bytes");
            return Err(io::Error::new(ErrorKind::FileTooLarge, message));
        }
        self.waiting.push(byte);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        self.out.flush()
    }
}

type State<W> = GdbStubStateMachine<'static, Board, Wire<W>>;

/// A debugger that is attached to a board. The board stands still when it attaches.
pub struct Session<W: Write>(Option<State<W>>);

impl<W: Write> fmt::Debug for Session<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("halted", &self.is_halted())
            .finish()
    }
}

impl<W: Write> Session<W> {
    /// A debugger whose answers go to `out`.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn new(board: &mut Board, out: W) -> Result<Self, Ended> {
        let wire = Wire {
            out,
            waiting: Vec::new(),
        };
        board.debug_attached();
        let stub = GdbStub::builder(wire)
            .packet_buffer_size(LARGEST_PACKET)
            .build()
            .map_err(|error| Ended::Failed(error.to_string()))?;
        match stub.run_state_machine(board) {
            Ok(state) => Ok(Self(Some(state))),
            Err(error) => {
                board.debug_detached();
                Err(Ended::Failed(error.to_string()))
            }
        }
    }

    /// Whether gdb wants the board to stand still.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        matches!(self.0, Some(GdbStubStateMachine::Idle(_)))
    }

    /// Takes bytes of gdb and does what they ask for.
    ///
    /// # Errors
    /// The session is over; what gdb had set on the board is gone.
    pub fn feed(&mut self, board: &mut Board, bytes: &[u8]) -> Result<(), Ended> {
        for &byte in bytes {
            let result = match self.0.take() {
                Some(GdbStubStateMachine::Idle(state)) => state.incoming_data(board, byte),
                Some(GdbStubStateMachine::Running(state)) => state.incoming_data(board, byte),
                _ => return Err(Ended::Detached),
            };
            self.settle(board, result.map_err(|error| error.to_string()))?;
        }
        Ok(())
    }

    /// Tells gdb why the board came to a stop, if that is for gdb to know. Answers whether it is.
    ///
    /// # Errors
    /// The session is over.
    pub fn report(&mut self, board: &mut Board, stop: &Stop) -> Result<bool, Ended> {
        match self.0.take() {
            Some(GdbStubStateMachine::Running(state)) => {
                let Some(reason) = board.debug_stopped(stop) else {
                    self.0 = Some(state.into());
                    return Ok(false);
                };
                let result = state.report_stop(board, reason);
                self.settle(board, result.map_err(|error| error.to_string()))?;
                Ok(true)
            }
            other => {
                self.0 = other;
                Ok(false)
            }
        }
    }

    /// Goes through the states that wait for nobody.
    fn settle(&mut self, board: &mut Board, mut result: Result<State<W>, String>) -> Result<(), Ended> {
        loop {
            let ended = match result {
                Ok(GdbStubStateMachine::CtrlCInterrupt(state)) => {
                    let reason = board.debug_interrupted();
                    result = state
                        .interrupt_handled(board, Some(reason))
                        .map_err(|error| error.to_string());
                    continue;
                }
                Ok(GdbStubStateMachine::Disconnected(state)) => match state.get_reason() {
                    DisconnectReason::Kill => Ended::Killed,
                    _ => Ended::Detached,
                },
                Ok(state) => {
                    self.0 = Some(state);
                    return Ok(());
                }
                Err(error) => Ended::Failed(error),
            };
            board.debug_detached();
            return Err(ended);
        }
    }
}

/// What a server wants of whoever runs the board.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wish {
    /// Run it.
    Run,
    /// Do not run it: gdb looks at it.
    Wait,
    /// The debugger is gone; see whether to go on.
    Ended(Ended),
}

/// Waits on a TCP port for gdb, one at a time.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    client: Option<(TcpStream, Session<TcpStream>)>,
    /// The board is not to run before a debugger was there.
    hold: bool,
}

impl Server {
    /// Waits for debuggers at that address. With `hold`, the board is to wait for the first.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn listen(address: SocketAddr, hold: bool) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            client: None,
            hold,
        })
    }

    /// Where it waits.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Does what gdb asks for; while the board is to wait, takes up to `limit` to see whether it asks.
    pub fn serve(&mut self, board: &mut Board, limit: Duration) -> Wish {
        if self.client.is_none() {
            match self.accept(board) {
                Ok(true) => self.hold = false,
                Ok(false) if self.hold => {
                    std::thread::sleep(limit);
                    return Wish::Wait;
                }
                Ok(false) => return Wish::Run,
                Err(ended) => return Wish::Ended(ended),
            }
        }
        let Some((stream, session)) = &mut self.client else {
            return Wish::Run;
        };
        let mut buffer = [0; LARGEST_PACKET];
        loop {
            let halted = session.is_halted();
            let set = if halted {
                stream
                    .set_nonblocking(false)
                    .and_then(|()| stream.set_read_timeout(Some(limit.max(Duration::from_millis(1)))))
            } else {
                stream.set_nonblocking(true)
            };
            let ended = match set.and_then(|()| stream.read(&mut buffer)) {
                Ok(0) => Ended::Detached,
                Ok(length) => {
                    // an answer is waited for, unlike a question
                    let fed = stream
                        .set_nonblocking(false)
                        .map_err(|error| Ended::Failed(error.to_string()))
                        .and_then(|()| session.feed(board, &buffer[..length]));
                    match fed {
                        Ok(()) => continue,
                        Err(ended) => ended,
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return if halted { Wish::Wait } else { Wish::Run };
                }
                Err(error) => Ended::Failed(error.to_string()),
            };
            return self.end(board, ended);
        }
    }

    /// Tells gdb why the board came to a stop. Answers whether it is gdb's turn.
    pub fn report(&mut self, board: &mut Board, stop: &Stop) -> bool {
        let Some((stream, session)) = &mut self.client else {
            return false;
        };
        let told = stream
            .set_nonblocking(false)
            .map_err(|error| Ended::Failed(error.to_string()))
            .and_then(|()| session.report(board, stop));
        told.unwrap_or_else(|ended| {
            self.end(board, ended);
            false
        })
    }

    fn accept(&mut self, board: &mut Board) -> Result<bool, Ended> {
        let failed = |error: io::Error| Ended::Failed(error.to_string());
        let (stream, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let session = Session::new(board, stream.try_clone().map_err(failed)?)?;
        self.client = Some((stream, session));
        Ok(true)
    }

    fn end(&mut self, board: &mut Board, ended: Ended) -> Wish {
        self.client = None;
        board.debug_detached();
        Wish::Ended(ended)
    }
}

#[cfg(test)]
mod tests;
