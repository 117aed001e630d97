//! The time of day: where it comes from, when it is believed, and what of it is stored.
//!
//! # Sources
//! - A *hint* is a time from a time server (SNTP, not authenticated) or from the operating system's clock. It is used for
//!   the first handshake, and later only to refine a clock that already agrees with the API server's.
//! - The *`Date`* of the API server's answers is the cluster's time, by which Leases and certificates are judged. The node
//!   follows it, right or wrong: beyond 2 s its clock is set to it, forwards or backwards.
//! - The *floor* is the latest `Date` that a verified server confirmed, less 5 minutes, by which clocks may differ. It outlives
//!   a restart. The clock never starts below it, nor below the date of the build.
//!
//! # Rules
//! 1. A hint below the floor is refused. Once the API server has confirmed the time, a hint that is more than 5 minutes off is
//!    refused, and one that is more than 2 s off changes nothing ([`picolet_platform::TimeKeeper`]).
//! 2. Nothing that carries a timestamp is sent before the API server has answered: the client ([`crate::client`]) asks for `/version` first, on the
//!    connection that the requests after it use. If TLS fails, the hint may be wrong: the server is asked over a connection on
//!    which everything but the dates of its certificates is verified, without a credential. An answer without a `Date`
//!    confirms nothing; the node goes on by the hint then, and `TimeSynced` is False.
//! 3. A `Date` is believed only while the server's certificates are valid, and only if they are also valid at the floor, to
//!    which the time since it was raised is added. On a connection whose handshake verified their dates, a `Date` that continues
//!    the node's time is believed beyond their end. There a `Date` that is not believed does not set the clock, but what the
//!    node writes is not ahead of it either.
//! 4. The floor is raised only by a connection whose handshake verified the dates, never beyond the certificates' end. A
//!    believed `Date` below the floor lowers it, with a warning. Resetting the node's identity erases it.
//! 5. The condition `TimeSynced` becomes False when a `Date` is not believed, and 24 hours after the last confirmation.
//!
//! # Attackers
//! - *Spoofed NTP, true API server reachable*: rule 2 sets the clock right before anything is written, whether the first
//!   handshake succeeds under the wrong hint or not. Nothing of the hint is stored.
//! - *Spoofed NTP, API server blocked*: the hint is not confirmed, so the node writes and stores nothing. The kubelet API judges
//!   its clients' certificates by the hint, but not by a time below the floor.
//! - *Stolen, expired key of an API server, with spoofed NTP or `Date`*: a time at which its certificate was valid is below the
//!   floor and refused, if the node has heard from the true server after the certificate's end, or has been up since it heard
//!   from it. A floor or a build from before that end does not protect. A handshake under a hint is no weaker here than one without
//!   dates: both accept the same certificates.
//! - *Delayed answers*: TLS keeps them from being replayed, and a `Date` that waited on the way is old. It sets the clock back
//!   by as long as the node waits for an answer at most (30 s), until the next answer.
//! - *Stolen key that is valid at the floor*: it could give the floor as its `Date` anyway. That a lower `Date` of it is
//!   believed (rule 4) adds nothing, and keeps a server whose clock was ahead once from locking the node out.
//! - *Floor of an older version*, which may be a lie of a time server: ignored ([`picolet_platform::TimeFloor`]).
//!
//! A server whose clock is before the build's date keeps the node's clock at that date: timestamps are ahead of it then.

mod judge;

use crate::node::{Condition, Reporter};
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::Cell;
use core::fmt;
pub(crate) use judge::Answer;
use judge::{Belief, differ, judge};
use picolet_kube::Timestamp;
use picolet_kube::node::Truth;
use picolet_platform::{
    Duration, Level, Lifetime, Platform, Record, TimeFloor, TimeKeeper, TimeSource, UnixMicros,
};

/// When the floor is stored first, and how often from then on.
const FIRST_STORED: Duration = Duration::from_secs(60);
const STORED_EVERY: Duration = Duration::from_secs(3600);
/// How long a confirmation counts.
const CONFIRMATION: Duration = Duration::from_secs(24 * 3600);

/// A `Date` that is not believed: by the server's own clock its certificate is not valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedDate {
    /// What the server's clock says.
    pub(crate) time: Timestamp,
    /// The node's time floor.
    pub(crate) floor: Timestamp,
    /// When the server's certificate is valid.
    pub(crate) validity: Lifetime,
}

impl fmt::Display for RefusedDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [begin, end] = [self.validity.not_before, self.validity.not_after].map(Timestamp::from_seconds);
        if self.floor > end {
            return write!(
                f,
                "the API server's certificate expired at {}, before the confirmed {}: renew it, or reset the node's identity",
                end.time(),
                self.floor.time()
            );
        }
        write!(
            f,
            "it is {} there, and the API server's certificate is valid from {} to {}: set its clock or renew it",
            self.time.time(),
            begin.time(),
            end.time()
        )
    }
}

/// The time of day of a node: the machine's clock, and what is known of it.
pub(crate) struct Time<M> {
    machine: Rc<M>,
    /// The date of the build, below which no clock is.
    built: Timestamp,
    /// The latest confirmed time, or the date of the build.
    floor: Cell<Timestamp>,
    /// The uptime at which the floor was set.
    reached: Cell<Duration>,
    /// Whether the floor is to be stored.
    unsaved: Cell<bool>,
    /// The uptime at the last confirmation.
    confirmed: Cell<Duration>,
    /// Whether the API server has answered since TLS with it failed last.
    settled: Cell<bool>,
    /// Whether the last `Date` was not believed.
    refused: Cell<bool>,
    /// Microseconds since the epoch at uptime zero by such a `Date`, ahead of which nothing is written; `u64::MAX` if the
    /// last one was believed.
    limit: Cell<u64>,
}

impl<M: Platform> Time<M> {
    /// The time of a machine that runs what was built then.
    pub(crate) fn new(machine: Rc<M>, built: Timestamp) -> Self {
        Self {
            built,
            floor: Cell::new(built),
            reached: Cell::default(),
            unsaved: Cell::default(),
            confirmed: Cell::default(),
            settled: Cell::new(matches!(
                machine.time_source(),
                TimeSource::ApiServer | TimeSource::Synchronized
            )),
            refused: Cell::default(),
            limit: Cell::new(u64::MAX),
            machine,
        }
    }

    /// TLS with the API server failed: the clock may be wrong.
    pub(crate) fn doubt(&self) {
        self.settled.set(false);
    }

    /// The API server has answered, and its answer does not contradict the clock.
    pub(crate) fn settle(&self) {
        self.settled.set(true);
    }

    /// Whether timestamps may be sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.get()
    }

    /// Whether there is a time of day, if only a hint.
    pub(crate) fn is_known(&self) -> bool {
        self.machine.now().is_some()
    }

    /// Loads the floor of the runs before.
    pub(crate) async fn load(&self) {
        let mut record = [0; TimeFloor::BYTES];
        let length = self.machine.load(Record::TimeFloor, &mut record).await;
        if let Some(TimeFloor(seconds)) = TimeFloor::from_record(&record, length) {
            self.floor
                .set(self.floor.get().max(Timestamp::from_seconds(seconds)));
        }
    }

    /// Stores the floor, for ever.
    pub(crate) async fn keep(&self) {
        let mut pause = FIRST_STORED;
        loop {
            self.machine.sleep(pause).await;
            pause = STORED_EVERY;
            if !self.unsaved.take() {
                continue;
            }
            let record = TimeFloor(self.floor.get().seconds()).to_record();
            if let Err(error) = self.machine.store(Record::TimeFloor, &record).await {
                self.unsaved.set(true);
                self.machine
                    .log(Level::Warn, format_args!("time floor not stored: {error}"));
            }
        }
    }

    /// The time of day, as the node writes it; while it is unknown, the uptime counted from the floor.
    pub(crate) fn now(&self) -> Timestamp {
        let up = self.machine.uptime().as_micros();
        Timestamp::from_micros(match self.machine.now() {
            Some(UnixMicros(micros)) => micros.min(self.limit.get().saturating_add(up)),
            None => self.floor.get().micros().saturating_add(up),
        })
    }

    /// Takes an answer on a connection whose certificates are valid then, `latency` after its request.
    pub(crate) fn answered(&self, date: Option<Timestamp>, validity: Lifetime, latency: Duration) {
        self.settle();
        let Some(date) = date else { return };
        let answer = Answer {
            date,
            latency,
            validity,
            dated: true,
        };
        let Err(error) = self.believe(&answer) else {
            return;
        };
        let up = self.machine.uptime().as_micros();
        self.limit.set(date.micros().saturating_sub(up));
        if !self.refused.replace(true) {
            self.machine
                .log(Level::Warn, format_args!("time not confirmed: {error}"));
        }
    }

    /// Judges the `Date` of an answer and acts on it.
    ///
    /// # Errors
    /// It is not believed.
    pub(crate) fn believe(&self, answer: &Answer) -> Result<(), Box<RefusedDate>> {
        let known = self.machine.now().map(|now| Timestamp::from_micros(now.0));
        let uptime = self.machine.uptime();
        let floor = self.floor.get();
        let since = uptime.saturating_sub(self.reached.get()).as_micros();
        let belief = Belief {
            now: known,
            floor,
            earliest: Timestamp::from_micros(floor.micros().saturating_add(since)),
            built: self.built,
        };
        let Some(verdict) = judge(&belief, answer) else {
            return Err(Box::new(RefusedDate {
                time: answer.date,
                floor: belief.earliest,
                validity: answer.validity,
            }));
        };
        if verdict.floor < floor {
            self.machine.log(
                Level::Warn,
                format_args!(
                    "time floor {} dropped: the API server reports {}",
                    floor.time(),
                    answer.date.time()
                ),
            );
        }
        if verdict.floor != floor {
            self.floor.set(verdict.floor);
            self.reached.set(uptime);
        }
        self.unsaved.set(self.unsaved.get() | verdict.confirmed);
        self.confirmed.set(uptime);
        self.refused.set(false);
        self.limit.set(u64::MAX);
        match (verdict.step, known) {
            (None, Some(now)) if self.machine.time_source() == TimeSource::Hint => {
                self.machine
                    .set_time(UnixMicros(now.micros()), TimeSource::Synchronized);
            }
            (None, _) => {}
            (Some(time), known) => {
                self.machine
                    .set_time(UnixMicros(time.micros()), TimeSource::ApiServer);
                self.log_step(known, time);
            }
        }
        Ok(())
    }

    fn log_step(&self, from: Option<Timestamp>, to: Timestamp) {
        let to_text = to.time();
        match from {
            None => self.machine.log(
                Level::Info,
                format_args!("time synchronized to {to_text} from the API server"),
            ),
            Some(from) if differ(from, to) > TimeKeeper::AGREEMENT => self.machine.log(
                Level::Warn,
                format_args!(
                    "time stepped from {} to {to_text}, the API server's: check the time server",
                    from.time()
                ),
            ),
            Some(_) => {}
        }
    }
}

impl<M: Platform> Reporter for Time<M> {
    fn condition(&self, words: &mut String) -> Option<Condition> {
        let source = self.machine.time_source();
        let age = self.machine.uptime().saturating_sub(self.confirmed.get());
        let (truth, reason, text) = match source {
            TimeSource::Unknown => (Truth::False, "ClockNotSet", "the time is not known yet"),
            TimeSource::Hint => (
                Truth::False,
                "ClockUnconfirmed",
                "the API server has not confirmed the time yet",
            ),
            _ if age > CONFIRMATION || self.refused.get() => {
                let now = self.machine.now().map_or(0, |now| now.0);
                let at = now.saturating_sub(age.as_micros());
                let _ = fmt::write(
                    words,
                    format_args!(
                        "last confirmed by the API server at {}",
                        Timestamp::from_micros(at).time()
                    ),
                );
                (Truth::False, "ClockUnconfirmed", "")
            }
            TimeSource::ApiServer => (
                Truth::True,
                "ClockFollowsApiServer",
                "the clock follows the API server's",
            ),
            TimeSource::Synchronized => (Truth::True, "ClockSet", "the clock agrees with the API server's"),
        };
        words.push_str(text);
        Some(Condition {
            kind: "TimeSynced",
            status: truth,
            reason,
        })
    }
}

#[cfg(test)]
mod tests;
