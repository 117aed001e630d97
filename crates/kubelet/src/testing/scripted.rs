//! An API server that does what a test says.

use super::{TestClock, Wires, request};
use core::cell::{Cell, RefCell};
use embassy_futures::join::{join, join3};
use embedded_io_async::{Read, Write};
use picolet_platform::Duration;
use std::format;
use std::string::String;
use std::vec::Vec;

/// What is done with a request.
pub(crate) enum Reply {
    /// A status code, further fields and a body.
    Code(u16, &'static str, String),
    /// The connection is closed behind this much of an answer.
    Cut(&'static str),
    /// Nothing is said any more.
    Silence,
    /// The same behind a beginning.
    Begin(&'static str),
}

/// A success with this body.
pub(crate) fn ok(body: &str) -> Reply {
    Reply::Code(200, "", body.into())
}

/// A request that came: its method and target, its body, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) line: String,
    pub(crate) body: String,
    pub(crate) at: Duration,
}

/// An API server that does what a test says: what came, and what it answers.
pub(crate) struct ScriptedServer<'a> {
    network: &'a Wires,
    clock: TestClock,
    pub(crate) came: RefCell<Vec<Came>>,
    /// How many connections were opened.
    pub(crate) connections: Cell<u32>,
    reply: &'a dyn Fn(&str, &str) -> Reply,
}

impl<'a> ScriptedServer<'a> {
    pub(crate) fn new(network: &'a Wires, clock: &TestClock, reply: &'a dyn Fn(&str, &str) -> Reply) -> Self {
        Self {
            network,
            clock: clock.clone(),
            came: RefCell::default(),
            connections: Cell::new(0),
            reply,
        }
    }

    /// Serves up to six connections at once, for ever.
    pub(crate) async fn serve(&self) {
        let two = || join(self.connections(), self.connections());
        join3(two(), two(), two()).await;
    }

    async fn connections(&self) {
        loop {
            let mut end = self.network.served().await;
            self.connections.set(self.connections.get() + 1);
            while let Ok(Some((line, body))) = request(&mut end).await {
                let reply = (self.reply)(&line, &body);
                let at = self.clock.now();
                self.came.borrow_mut().push(Came { line, body, at });
                let text = match reply {
                    Reply::Code(code, fields, body) => {
                        format!(
                            "HTTP/1.1 {code} x\r\n{fields}Content-Length: {}\r\n\r\n{body}",
                            body.len()
                        )
                    }
                    Reply::Cut(text) => {
                        let _ = end.write_all(text.as_bytes()).await;
                        break;
                    }
                    Reply::Silence => {
                        let _ = end.read(&mut [0]).await;
                        break;
                    }
                    Reply::Begin(text) => {
                        let _ = end.write_all(text.as_bytes()).await;
                        let _ = end.read(&mut [0]).await;
                        break;
                    }
                };
                if end.write_all(text.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    }

    /// The first lines of the requests that came.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.came.borrow().iter().map(|came| came.line.clone()).collect()
    }

    /// How many watches came.
    pub(crate) fn watches(&self) -> usize {
        let came = self.came.borrow();
        came.iter().filter(|came| came.line.contains("watch=1")).count()
    }

    /// How many requests began so.
    pub(crate) fn count(&self, begin: &str) -> usize {
        let came = self.came.borrow();
        came.iter().filter(|came| came.line.starts_with(begin)).count()
    }
}

/// A Node, a Lease and an empty list.
pub(crate) const NODE: &str = "{\"metadata\":{\"name\":\"pico-1\",\"uid\":\"u\",\"resourceVersion\":\"1\"}}";
pub(crate) const LEASE: &str = "{\"metadata\":{\"name\":\"pico-1\",\"resourceVersion\":\"7\"}}";
pub(crate) const LIST: &str = "{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[]}";
