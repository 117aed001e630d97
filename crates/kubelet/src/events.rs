//! Events: what the node tells a person through `kubectl describe`.
//!
//! They are queued and sent one after another; the same event again within the time that it is remembered is counted
//! and not repeated. When too many come at once the newest are dropped and counted: an event is never worth more than
//! the node.

use crate::backoff::Backoff;
use crate::client::{ApiError, Client};
use crate::fingerprint;
use crate::host::Host;
use crate::metrics::{Metrics, count};
use crate::signal::Signal;
use crate::time::Time;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::RefCell;
use core::fmt::{self, Write as _};
use picolet_kube::Timestamp;
use picolet_kube::event::{Event, Reference, Severity};
use picolet_kube::request::{Request, Resource, Verb};
use picolet_platform::{Clock, Duration, Entropy, Level, Log};

/// Events that wait to be sent.
const QUEUE: usize = 8;
/// Events that are remembered, so that the same again is counted.
const REMEMBERED: usize = 8;
/// How long.
const MEMORY: Duration = Duration::from_secs(600);
/// The longest message, as Kubernetes takes it.
const MESSAGE_BYTES: usize = 1024;

/// One event, owned.
struct Entry {
    kind: &'static str,
    namespace: Box<str>,
    name: Box<str>,
    uid: Box<str>,
    severity: Severity,
    reason: &'static str,
    message: Box<str>,
    /// What it is called in the cluster, once it was sent: sent again it is the same one.
    event_name: Option<Box<str>>,
    /// The uptimes at which it happened: the clock may be set before it is sent.
    first: Duration,
    last: Duration,
    count: u32,
}

impl Entry {
    fn reference(&self) -> Reference<'_> {
        Reference {
            kind: self.kind,
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.reference() == other.reference() && self.reason == other.reason && self.message == other.message
    }

    /// What tells events apart that were sent, without keeping all of their text: FNV-1a.
    fn fingerprint(&self) -> u64 {
        let texts = [
            &*self.namespace,
            &self.name,
            &self.uid,
            self.kind,
            self.reason,
            &self.message,
        ];
        fingerprint::of(texts.iter().flat_map(|text| text.bytes().chain([0])))
    }
}

/// An event that the API server has.
struct Sent {
    fingerprint: u64,
    event_name: Box<str>,
    /// The uptime at which it happened first.
    first: Duration,
    count: u32,
    at: Duration,
}

/// Takes events, and keeps them until they are sent.
pub(crate) struct Recorder<M> {
    machine: Rc<M>,
    metrics: Rc<Metrics>,
    node: Box<str>,
    queue: RefCell<heapless::Deque<Box<Entry>, QUEUE>>,
    /// There is one to send.
    waiting: Signal,
}

/// Text up to a limit; what is beyond is cut off.
struct Limited(String);

impl fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MESSAGE_BYTES.saturating_sub(self.0.len());
        self.0
            .push_str(text.get(..text.floor_char_boundary(room)).unwrap_or_default());
        Ok(())
    }
}

impl<M: Clock + Log> Recorder<M> {
    /// A recorder of the node of that name.
    pub(crate) fn new(machine: Rc<M>, metrics: Rc<Metrics>, node: &str) -> Self {
        Self {
            machine,
            metrics,
            node: node.into(),
            queue: RefCell::default(),
            waiting: Signal::new(),
        }
    }

    /// Notes an event about the node itself. It is sent when there is a connection.
    #[inline(never)]
    pub(crate) fn node(&self, severity: Severity, reason: &'static str, message: fmt::Arguments<'_>) {
        self.record(Reference::node(&self.node), severity, reason, message);
    }

    /// Tells the cluster that something happened. Returns at once.
    pub(crate) fn record(
        &self,
        about: Reference<'_>,
        severity: Severity,
        reason: &'static str,
        message: fmt::Arguments<'_>,
    ) {
        let mut text = Limited(String::new());
        let _ = text.write_fmt(message);
        let level = if severity == Severity::Warning {
            Level::Warn
        } else {
            Level::Info
        };
        self.machine.log(
            level,
            format_args!("{reason} ({} {}): {}", about.kind, about.name, text.0),
        );
        let now = self.machine.uptime();
        let entry = Box::new(Entry {
            kind: match about.kind {
                "Pod" => "Pod",
                "ConfigMap" => "ConfigMap",
                _ => "Node",
            },
            namespace: about.namespace.into(),
            name: about.name.into(),
            uid: about.uid.into(),
            severity,
            reason,
            message: text.0.into_boxed_str(),
            event_name: None,
            first: now,
            last: now,
            count: 1,
        });
        let mut queue = self.queue.borrow_mut();
        if let Some(waiting) = queue.iter_mut().find(|waiting| waiting.is_like(&entry)) {
            waiting.count += 1;
            waiting.last = entry.last;
        } else if queue.push_back(entry).is_err() {
            count(&self.metrics.events_dropped);
        }
        self.waiting.signal(());
    }
}

/// Events that the API server has, so that the same again is counted.
type Memory = heapless::Deque<Sent, REMEMBERED>;

/// Sends what was recorded.
pub(crate) struct EventSender<'a, H: Host> {
    pub(crate) client: &'a Client<H>,
    pub(crate) machine: &'a H::Machine,
    pub(crate) time: &'a Time<H::Machine>,
    pub(crate) recorder: &'a Recorder<H::Machine>,
}

impl<H: Host> EventSender<'_, H> {
    /// Sends what is queued, for ever.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut sent = Memory::new();
        loop {
            // Taken out only to be sent: what comes meanwhile finds its place behind it.
            let Some(mut entry) = self.recorder.queue.borrow_mut().pop_front() else {
                self.recorder.waiting.wait().await;
                continue;
            };
            match self.send(&mut entry, &mut sent).await {
                Ok(()) => backoff.reset(),
                // Refused for good. A namespace that is being deleted answers 403; upstream's recorder does not send again either.
                Err(error) if error.is_permanent() || error.code() == 403 => {
                    sent.clear(); // an event to be counted may itself be gone
                    let Entry {
                        reason, kind, name, ..
                    } = &*entry;
                    self.machine.log(
                        Level::Warn,
                        format_args!("event {reason} ({kind} {name}) dropped: {error}"),
                    );
                }
                Err(_) => {
                    if self.recorder.queue.borrow_mut().push_front(entry).is_err() {
                        count(&self.recorder.metrics.events_dropped);
                    }
                    backoff.wait(self.machine).await;
                }
            }
        }
    }

    async fn send(&self, entry: &mut Entry, sent: &mut Memory) -> Result<(), ApiError> {
        if !self.time.is_settled() {
            return Err(ApiError::Timeout);
        }
        let fingerprint = entry.fingerprint();
        let is_first_try = entry.event_name.is_none();
        let (now, time) = (self.machine.uptime(), self.time.now());
        let time_at = |uptime: Duration| {
            let ago = now.saturating_sub(uptime).as_micros();
            Timestamp::from_micros(time.micros().saturating_sub(ago))
        };
        let known = {
            while sent
                .front()
                .is_some_and(|sent| now.saturating_sub(sent.at) > MEMORY)
            {
                sent.pop_front();
            }
            let known = sent.iter().find(|sent| sent.fingerprint == fingerprint);
            known.map(|sent| (sent.event_name.clone(), sent.first, sent.count))
        };
        let repeated = known.is_some();
        let (event_name, first, before) = known.unwrap_or_else(|| {
            let name = entry.event_name.get_or_insert_with(|| {
                let mut name = String::from(&*entry.name);
                let mut random = [0; 8];
                self.machine.fill(&mut random);
                // Of two nodes whose random numbers are the same, as emulated ones may have, each has names of its own.
                let unique = u64::from_le_bytes(random) ^ fingerprint::of(self.recorder.node.bytes());
                let _ = write!(name, ".{unique:016x}");
                name.into_boxed_str()
            });
            (name.clone(), entry.first, 0)
        });
        let event = Event {
            name: &event_name,
            about: entry.reference(),
            severity: entry.severity,
            reason: entry.reason,
            message: &entry.message,
            host: &self.recorder.node,
            first: time_at(first),
            last: time_at(entry.last),
            count: before + entry.count,
        };
        let namespace = entry.reference().event_namespace();
        let mut body = String::new();
        let (resource, verb) = if repeated {
            event.write_count(&mut body);
            (
                Resource::Event {
                    namespace,
                    name: &event_name,
                },
                Verb::StrategicMergePatch,
            )
        } else {
            event.write(&mut body);
            (Resource::Events { namespace }, Verb::Create)
        };
        let written = event.count;
        let body = &*body;
        match self.client.post(&Request { resource, verb, body }).await {
            // The answer to an earlier try was lost.
            Err(error) if error.code() == 409 && !repeated && !is_first_try => {}
            Err(error) if error.code() == 409 => {
                entry.event_name = None; // somebody else has it: the next try is under another
                return Err(error);
            }
            posted => posted?,
        }
        if let Some(before) = sent.iter_mut().find(|sent| sent.fingerprint == fingerprint) {
            before.count = written;
            return Ok(());
        }
        if sent.is_full() {
            sent.pop_front();
        }
        let _ = sent.push_back(Sent {
            fingerprint,
            event_name,
            first,
            count: written,
            at: now,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Services, TestHost, answer_requests};
    use core::cell::Cell;
    use embassy_futures::join::join;
    use std::borrow::ToOwned;
    use std::vec::Vec;

    /// The names of the events that a node of that name sends; the API server has the first of them already.
    fn names(node: &str) -> Vec<String> {
        let services = Services::new();
        let recorder = Recorder::new(services.machine.clone(), services.metrics.clone(), node);
        let sender = EventSender::<TestHost> {
            client: &services.client,
            machine: &services.machine,
            time: &services.time,
            recorder: &recorder,
        };
        let names = RefCell::new(Vec::new());
        let taken = Cell::new(true);
        let answers = |_: &str, body: &str| {
            let name = body
                .split(r#""name":""#)
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            names.borrow_mut().push(name.expect("a name").to_owned());
            let code = if taken.replace(false) { 409 } else { 201 };
            Some((code, "{}".to_owned()))
        };
        let about = Reference {
            kind: "ConfigMap",
            namespace: "default",
            name: "pico-config",
            uid: "u",
        };
        recorder.record(about, Severity::Warning, "Reason", format_args!("message"));
        let running = join(sender.run(), answer_requests(&services.network, &answers));
        services
            .clock
            .run(running, services.clock.sleep(Duration::from_secs(60)));
        names.into_inner()
    }

    #[test]
    fn event_is_sent_under_another_name_when_its_name_is_taken() {
        let names = names("pico-1");
        assert_eq!(names.len(), 2, "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn names_of_events_differ_when_nodes_draw_the_same_numbers() {
        assert_ne!(names("pico-1"), names("pico-2"));
        assert_eq!(names("pico-1"), names("pico-1"), "the numbers are the same");
    }
}
