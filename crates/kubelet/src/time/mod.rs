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
//! 2. Nothing that carries a timestamp is sent before the API server has answered: [`confirm`] asks for `/version` first, on the
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

use crate::agent::Agent;
use crate::backoff::Backoff;
use crate::client::{ApiError, Connection, Dates, within};
use crate::host::Host;
use alloc::boxed::Box;
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use judge::{Answer, Belief, differ, judge};
use picolet_kube::Timestamp;
use picolet_kube::http::ResponseHead;
use picolet_kube::node::Truth;
use picolet_kube::request::{Request, Resource};
use picolet_platform::{
    Clock, DialError, Duration, Level, Lifetime, Log, Network, Record, Records, TimeFloor, TimeKeeper,
    TimeSource, UnixMicros,
};

/// How long the API server may take to answer the question for the time, its handshake included.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// When the floor is stored first, and how often from then on.
const FIRST_STORED: Duration = Duration::from_secs(60);
const STORED_EVERY: Duration = Duration::from_secs(3600);
/// How long a confirmation counts.
const CONFIRMATION: Duration = Duration::from_secs(24 * 3600);

/// What the agent knows of the time, beside the platform's clock.
pub(crate) struct TimeState {
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

impl TimeState {
    pub(crate) fn new(built: Timestamp, source: TimeSource) -> Self {
        Self {
            floor: Cell::new(built),
            reached: Cell::default(),
            unsaved: Cell::default(),
            confirmed: Cell::default(),
            settled: Cell::new(is_confirmed(source)),
            refused: Cell::default(),
            limit: Cell::new(u64::MAX),
        }
    }

    /// TLS with the API server failed: the clock may be wrong.
    pub(crate) fn doubt(&self) {
        self.settled.set(false);
    }

    /// Whether timestamps may be sent.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.get()
    }
}

fn is_confirmed(source: TimeSource) -> bool {
    matches!(source, TimeSource::ApiServer | TimeSource::Synchronized)
}

/// Loads the floor, and completes once the time is known, if only from a hint.
pub(crate) async fn learn<H: Host>(agent: &Agent<H>) {
    let mut record = [0; TimeFloor::BYTES];
    let length = agent.platform.load(Record::TimeFloor, &mut record).await;
    if let Some(TimeFloor(seconds)) = TimeFloor::from_record(&record, length) {
        let floor = &agent.time.floor;
        floor.set(floor.get().max(Timestamp::from_seconds(seconds)));
    }
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
    while agent.platform.now().is_none() {
        // A time server may have answered meanwhile.
        if let Err(error) = ask(agent).await
            && agent.platform.now().is_none()
        {
            agent
                .platform
                .log(Level::Warn, format_args!("no time from the API server: {error}"));
            backoff.wait(&agent.platform).await;
        }
    }
}

/// Has the API server confirm the time, unless it has: to be called before anything is sent that depends on the time.
///
/// # Errors
/// The API server does not answer, or its `Date` is not believed.
pub(crate) async fn confirm<H: Host>(agent: &Agent<H>) -> Result<(), ApiError> {
    if agent.time.is_settled() {
        return Ok(());
    }
    // Out of line and on the heap: it is rarely needed, and several tasks call it.
    let question: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(question(agent));
    question.await
}

async fn question<H: Host>(agent: &Agent<H>) -> Result<(), ApiError> {
    match agent.post(&Request::get(Resource::Version)).await {
        Err(error @ ApiError::Dial(DialError::Tls)) => match ask(agent).await {
            Err(ApiError::Dial(DialError::Dated)) => Err(error),
            asked => asked,
        },
        // A refusal has a `Date` too.
        Err(error) if error.code() == 0 => Err(error),
        _ => Ok(()),
    }
}

/// Asks the API server for the time without a credential, and sets the clock if the answer is believed.
async fn ask<H: Host>(agent: &Agent<H>) -> Result<(), ApiError> {
    let asked = async {
        let undated = agent.network.dial_undated().await.map_err(ApiError::Dial)?;
        let (host, sent) = (agent.host(), agent.platform.uptime());
        let request = Request::get(Resource::Version);
        let head = Connection::new(undated.stream).send(&host, &request).await?;
        let answer = Answer {
            date: head.date.ok_or(ApiError::Http)?,
            latency: agent.platform.uptime().saturating_sub(sent),
            validity: undated.validity,
            dated: false,
        };
        agent.believe(&answer)
    };
    within(&agent.platform, ASK_TIMEOUT, asked).await?;
    agent.time.settled.set(true);
    Ok(())
}

/// Stores the floor, for ever.
pub(crate) async fn keep<H: Host>(agent: &Agent<H>) {
    let mut pause = FIRST_STORED;
    loop {
        agent.platform.sleep(pause).await;
        pause = STORED_EVERY;
        if !agent.time.unsaved.take() {
            continue;
        }
        let record = TimeFloor(agent.time.floor.get().seconds()).to_record();
        if let Err(error) = agent.platform.store(Record::TimeFloor, &record).await {
            agent.time.unsaved.set(true);
            agent
                .platform
                .log(Level::Warn, format_args!("time floor not stored: {error}"));
        }
    }
}

impl<H: Host> Agent<H> {
    /// The time of day, as the node writes it; while it is unknown, the uptime counted from the floor.
    pub(crate) fn now(&self) -> Timestamp {
        let up = self.platform.uptime().as_micros();
        Timestamp::from_micros(match self.platform.now() {
            Some(UnixMicros(micros)) => micros.min(self.time.limit.get().saturating_add(up)),
            None => self.time.floor.get().micros().saturating_add(up),
        })
    }

    /// Takes an answer on a connection whose certificates are valid then, `latency` after its request.
    pub(crate) fn answered_at(&self, head: &ResponseHead, validity: Lifetime, latency: Duration) {
        self.time.settled.set(true);
        let Some(date) = head.date else { return };
        let answer = Answer {
            date,
            latency,
            validity,
            dated: true,
        };
        let Err(error) = self.believe(&answer) else {
            return;
        };
        let up = self.platform.uptime().as_micros();
        self.time.limit.set(date.micros().saturating_sub(up));
        if !self.time.refused.replace(true) {
            self.platform
                .log(Level::Warn, format_args!("time not confirmed: {error}"));
        }
    }

    /// Judges the `Date` of an answer and acts on it.
    fn believe(&self, answer: &Answer) -> Result<(), ApiError> {
        let known = self.platform.now().map(|now| Timestamp::from_micros(now.0));
        let (state, uptime) = (&self.time, self.platform.uptime());
        let floor = state.floor.get();
        let since = uptime.saturating_sub(state.reached.get()).as_micros();
        let belief = Belief {
            now: known,
            floor,
            earliest: Timestamp::from_micros(floor.micros().saturating_add(since)),
            built: self.settings.built,
        };
        let Some(verdict) = judge(&belief, answer) else {
            return Err(ApiError::Dates(Box::new(Dates {
                time: answer.date,
                floor: belief.earliest,
                not_before: Timestamp::from_seconds(answer.validity.not_before),
                not_after: Timestamp::from_seconds(answer.validity.not_after),
            })));
        };
        if verdict.floor < floor {
            self.platform.log(
                Level::Warn,
                format_args!(
                    "time floor {} dropped: the API server, whose certificate is valid then, reports {}",
                    floor.time(),
                    answer.date.time()
                ),
            );
        }
        if verdict.floor != floor {
            state.floor.set(verdict.floor);
            state.reached.set(uptime);
        }
        state.unsaved.set(state.unsaved.get() | verdict.confirmed);
        state.confirmed.set(uptime);
        state.refused.set(false);
        state.limit.set(u64::MAX);
        match (verdict.step, known) {
            (None, Some(now)) if self.platform.time_source() == TimeSource::Hint => {
                self.platform
                    .set_time(UnixMicros(now.micros()), TimeSource::Synchronized);
            }
            (None, _) => {}
            (Some(time), known) => {
                self.platform
                    .set_time(UnixMicros(time.micros()), TimeSource::ApiServer);
                self.log_step(known, time);
            }
        }
        Ok(())
    }

    fn log_step(&self, from: Option<Timestamp>, to: Timestamp) {
        let to_text = to.time();
        match from {
            None => self.platform.log(
                Level::Info,
                format_args!("time synchronized to {to_text} from the API server"),
            ),
            Some(from) if differ(from, to) > TimeKeeper::AGREEMENT => self.platform.log(
                Level::Warn,
                format_args!(
                    "time stepped from {} to {to_text}, the API server's: check the time server if that is right",
                    from.time()
                ),
            ),
            Some(_) => {}
        }
    }

    /// The condition `TimeSynced`: its status and reason, and its message in `words`.
    pub(crate) fn describe_time(&self, words: &mut heapless::String<64>) -> (Truth, &'static str) {
        let source = self.platform.time_source();
        let age = self.platform.uptime().saturating_sub(self.time.confirmed.get());
        let (truth, reason, text) = match source {
            TimeSource::Unknown => (Truth::False, "ClockNotSet", "the time is not known yet"),
            TimeSource::Hint => (
                Truth::False,
                "ClockUnconfirmed",
                "the API server has not confirmed the time yet",
            ),
            _ if age > CONFIRMATION || self.time.refused.get() => {
                let now = self.platform.now().map_or(0, |now| now.0);
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
        // The longest of them fits.
        let _ = words.push_str(text);
        (truth, reason)
    }
}

#[cfg(test)]
mod tests;
