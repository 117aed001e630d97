//! What a node of this process keeps of its own log, for `kubectl logs`: the newest lines, fed by `tracing`.
//!
//! It is the ring of a board, so that what is read here reads the same there. A line belongs to the node that its field
//! `node` names; what names none is on the standard error alone. `RUST_LOG` chooses for both.

use picolet_device::log::{LINE, Next, Ring, Text};
use picolet_platform::{Level, LogCursor, LogExtent, LogNext};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Some hundred lines; a thousand nodes have to fit into a process.
const BYTES: usize = 16 * 1024;

/// One node's lines.
#[derive(Debug)]
pub(crate) struct Journal(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    ring: Box<Ring<BYTES>>,
    /// When the run began that is now.
    started: Instant,
}

/// By the names of their nodes.
static NODES: Mutex<BTreeMap<String, Weak<Journal>>> = Mutex::new(BTreeMap::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// An empty journal, which the lines of that node go to from now on.
    pub(crate) fn of(node: &str) -> Arc<Self> {
        let journal = Arc::new(Self(Mutex::new(Kept {
            ring: Box::default(),
            started: Instant::now(),
        })));
        locked(&NODES).insert(node.to_owned(), Arc::downgrade(&journal));
        journal
    }

    /// The node starts over: what is there is of the run before.
    pub(crate) fn begin_run(&self) {
        let mut kept = locked(&self.0);
        kept.ring.begin_run();
        kept.started = Instant::now();
    }

    fn push(&self, level: Level, line: &str) {
        let mut kept = locked(&self.0);
        // They start over after 49 days.
        let millis = kept.started.elapsed().as_millis() as u32;
        kept.ring.push(level, millis, &Text::of(format_args!("{line}")));
    }

    pub(crate) fn extent(&self) -> LogExtent {
        locked(&self.0).ring.extent()
    }

    pub(crate) fn next_line(&self, cursor: &mut LogCursor, line: &mut String) -> Option<LogNext> {
        let mut text = [0; LINE];
        match locked(&self.0).ring.next(cursor, &mut text)? {
            Next::Line(found) => {
                let _ = write!(line, "{found}");
                Some(LogNext::Line { millis: found.millis })
            }
            Next::Lost(bytes) => Some(LogNext::Lost { bytes }),
        }
    }
}

/// Hands the lines of `tracing` to the journals of the nodes that they name.
pub struct Journals;

impl<S: Subscriber> Layer<S> for Journals {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Some(journal) = locked(&NODES).get(&line.node).and_then(Weak::upgrade) else {
            return;
        };
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            // Reads of the kubelet API would leave nothing else of a log that is scraped.
            _ => return,
        };
        journal.push(level, &line.text);
    }
}

/// An event as a line: its message, and its fields as `name=value`.
#[derive(Default)]
struct Line {
    node: String,
    text: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "node" => value.clone_into(&mut self.node),
            _ => self.record_debug(field, &format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let space = if self.text.is_empty() { "" } else { " " };
        let _ = match field.name() {
            "message" => write!(self.text, "{space}{value:?}"),
            name => write!(self.text, "{space}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    fn read(journal: &Journal, mut cursor: LogCursor) -> Vec<String> {
        let (mut lines, mut line) = (Vec::new(), String::new());
        while journal.next_line(&mut cursor, &mut line).is_some() {
            // Without the time.
            lines.push(line.split_once(' ').expect("a time").1.to_owned());
            line.clear();
        }
        lines
    }

    #[test]
    fn each_node_has_its_own_lines() {
        let (one, two) = (Journal::of("journal-1"), Journal::of("journal-2"));
        let subscriber = tracing_subscriber::registry().with(Journals);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(node = "journal-1", "first of {}", 1);
            tracing::warn!(node = "journal-2", code = 7, who = "me", why = %"it is so");
            tracing::error!("of nobody");
            tracing::error!(node = "journal-3", "of nobody who is here");
            one.begin_run();
            tracing::debug!(node = "journal-1", "not kept");
            tracing::info!(node = "journal-1", "second");
        });
        let extent = one.extent();
        assert_eq!(read(&one, extent.oldest), ["INFO first of 1", "INFO second"]);
        assert_eq!(read(&one, extent.run), ["INFO second"]);
        assert_eq!(read(&two, two.extent().run), ["WARN code=7 who=me why=it is so"]);
    }

    #[test]
    fn it_is_bounded() {
        let journal = Journal::of("journal-4");
        let mut cursor = journal.extent().oldest;
        for n in 0..10_000 {
            journal.push(Level::Info, &format!("line {n}"));
        }
        let mut line = String::new();
        assert!(matches!(
            journal.next_line(&mut cursor, &mut line),
            Some(LogNext::Lost { bytes }) if bytes > 100_000
        ));
        assert_eq!(
            read(&journal, cursor).last().map(String::as_str),
            Some("INFO line 9999")
        );
    }
}
