//! What time it is, where the machine does not know: asked of the API server before anything else.
//!
//! Certificates have dates, so without the time no server can be trusted; but a server whose certificate is right except
//! for dates that nobody can judge yet can be asked. Its answer is held against these dates, and only then is the clock
//! set and a connection made that shows who we are. The clock is never set below the date of the build or the latest
//! time that was certain, so that nobody passes for the server with a certificate that had expired by then.

use crate::agent::Agent;
use crate::backoff::Backoff;
use crate::client::{ApiError, Connection, Dates, within};
use crate::pods::Runtime;
use alloc::boxed::Box;
use picolet_kube::Timestamp;
use picolet_kube::http::ResponseHead;
use picolet_kube::request::{Request, Resource};
use picolet_platform::{Duration, Level, Network, Platform, Record, TimeSource, UnixMicros};

/// How long the API server may take to tell the time, its handshake included.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// How far a clock that follows the API server's may be off: a `Date` is of whole seconds.
const TOLERANCE_MICROS: u64 = 2_000_000;
/// How soon after the start the time is kept, and how often from then on.
const FIRST_KEPT: Duration = Duration::from_secs(60);
const KEPT_EVERY: Duration = Duration::from_secs(3600);

/// Completes once the time is known.
pub(crate) async fn learn<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>) {
    let mut kept = [0; 8];
    if agent.platform.load(Record::TimeFloor, &mut kept).await == Some(kept.len()) {
        let kept = Timestamp::from_seconds(u64::from_le_bytes(kept));
        agent.time_floor.set(kept.max(agent.time_floor.get()));
    }
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(7));
    while agent.platform.now().is_none() {
        // A time server may have answered meanwhile, and what became of the question does not matter then.
        if let Err(error) = within(&agent.platform, ASK_TIMEOUT, ask(agent)).await
            && agent.platform.now().is_none()
        {
            agent.platform.log(
                Level::Warn,
                format_args!("the API server did not tell the time: {error}"),
            );
            backoff.wait(&agent.platform).await;
        }
    }
}

/// Asks the API server, as somebody who shows no credential, and sets the clock if the answer can be believed.
async fn ask<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>) -> Result<(), ApiError> {
    let undated = agent.network.dial_undated().await.map_err(ApiError::Dial)?;
    let host = agent.host();
    // Whatever it answers, a refusal included, it puts the date on it.
    let head = Connection::new(undated.stream)
        .send(&host, &Request::get(Resource::Version))
        .await?;
    let time = head.date.ok_or(ApiError::Http)?.max(agent.time_floor.get());
    if !(undated.not_before..=undated.not_after).contains(&time.seconds()) {
        return Err(ApiError::Dates(Box::new(Dates {
            time,
            not_before: Timestamp::from_seconds(undated.not_before),
            not_after: Timestamp::from_seconds(undated.not_after),
        })));
    }
    agent.platform.set_now(UnixMicros(time.micros()));
    agent.platform.log(
        Level::Info,
        format_args!("it is {}, says the API server", time.time()),
    );
    Ok(())
}

/// Keeps the time where it outlives a restart, for ever.
pub(crate) async fn keep<P: Platform, N: Network, R: Runtime>(agent: &Agent<P, N, R>) {
    let mut pause = FIRST_KEPT;
    loop {
        agent.platform.sleep(pause).await;
        pause = KEPT_EVERY;
        let Some(now) = agent.platform.now() else {
            continue;
        };
        let now = Timestamp::from_micros(now.0);
        if now <= agent.time_floor.get() {
            continue;
        }
        let seconds = now.seconds().to_le_bytes();
        match agent.platform.store(Record::TimeFloor, &seconds).await {
            Ok(()) => agent.time_floor.set(now),
            Err(error) => agent
                .platform
                .log(Level::Warn, format_args!("the time was not kept: {error}")),
        }
    }
}

impl<P: Platform, N: Network, R: Runtime> Agent<P, N, R> {
    /// The time of day, or while nobody has told it the time since boot counted from the latest that was certain.
    pub(crate) fn now(&self) -> Timestamp {
        match self.platform.now() {
            Some(UnixMicros(micros)) => Timestamp::from_micros(micros),
            None => {
                let up = self.platform.uptime().as_micros();
                Timestamp::from_micros(self.time_floor.get().micros().saturating_add(up))
            }
        }
    }

    /// A clock that was set by the API server's follows it: a crystal alone is seconds off within a day.
    pub(crate) fn follow_time(&self, head: &ResponseHead) {
        if let (TimeSource::ApiServer, Some(date)) = (self.platform.time_source(), head.date) {
            let date = date.max(self.time_floor.get());
            if date.micros().abs_diff(self.now().micros()) > TOLERANCE_MICROS {
                self.platform.set_now(UnixMicros(date.micros()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{End, START, TestAgent, Time, agent, settings};
    use embassy_futures::join::join;
    use embedded_io_async::{Read, Write};
    use picolet_platform::Clock;
    use std::format;
    use std::string::String;

    /// An agent that nobody has told the time.
    fn ignorant() -> (TestAgent, Time) {
        let (agent, time) = agent(settings());
        agent.platform.time_source.set(TimeSource::Unknown);
        (agent, time)
    }

    async fn request(end: &mut End) -> String {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            let mut piece = [0; 256];
            let read = end.read(&mut piece).await.expect("a request");
            assert!(read > 0, "the node hung up");
            text += core::str::from_utf8(&piece[..read]).expect("ASCII");
        }
        text
    }

    /// What the API server's answer says of the time.
    async fn answer(agent: &TestAgent, date: &str) -> (String, End) {
        let mut end = agent.network.served().await;
        let asked = request(&mut end).await;
        let answer = format!("HTTP/1.1 401 Unauthorized\r\n{date}Content-Length: 0\r\n\r\n");
        end.write_all(answer.as_bytes()).await.expect("the node reads");
        (asked, end)
    }

    fn date(seconds: u64) -> String {
        format!("Date: {}\r\n", Timestamp::from_seconds(seconds).http_date())
    }

    #[test]
    fn takes_the_time_of_a_server_whose_certificate_it_fits() {
        let (agent, time) = ignorant();
        let now = START.seconds();
        agent.network.validity.set((now - 1, now + 1));
        let (asked, _end) = time.alone(join(learn(&agent), answer(&agent, &date(now)))).1;
        assert!(asked.starts_with("GET /version HTTP/1.1\r\n"), "{asked}");
        assert_eq!(agent.now().seconds(), now);
        assert_eq!(agent.platform.time_source.get(), TimeSource::ApiServer);
    }

    #[test]
    fn believes_no_time_at_which_the_certificate_is_not_valid() {
        let (agent, time) = ignorant();
        let now = START.seconds();
        agent.network.validity.set((now, now + 100));
        let server = async {
            for wrong in [
                date(now - 1),
                date(now + 101),
                "Date: today\r\n".into(),
                String::new(),
            ] {
                let (_, _end) = answer(&agent, &wrong).await;
                time.sleep(Duration::from_millis(10)).await;
                assert_eq!(agent.platform.time_source.get(), TimeSource::Unknown, "{wrong}");
            }
            answer(&agent, &date(now + 7)).await
        };
        let (_, _end) = time.alone(join(learn(&agent), server)).1;
        assert!(agent.now().seconds() >= now + 7);
        let lines = agent.platform.lines.borrow();
        assert!(
            lines[0].contains("it is 2026-11-22T11:59:59Z there, and the API server's certificate is valid from 2026-11-22T12:00:00Z"),
            "{lines:?}"
        );
    }

    /// A server with a certificate that has expired by then is not believed, whatever it says.
    #[test]
    fn is_never_below_what_was_certain() {
        for (kept, floor) in [
            (None, settings().built.seconds()),
            (Some(START.seconds()), START.seconds()),
            (Some(7), settings().built.seconds()),
        ] {
            let (agent, time) = ignorant();
            if let Some(kept) = kept {
                let bytes = u64::to_le_bytes(kept).into();
                let records = &agent.platform.records;
                records.borrow_mut().insert(Record::TimeFloor as u8, bytes);
            }
            agent.network.validity.set((0, floor - 1));
            let stolen = async {
                let (_, _end) = answer(&agent, &date(floor - 10)).await;
                time.sleep(Duration::from_millis(10)).await;
            };
            time.run(learn(&agent), stolen);
            assert_eq!(agent.platform.time_source.get(), TimeSource::Unknown);
            assert!(agent.now().seconds() >= floor);
            // One whose clock alone is wrong is held for slow.
            agent.network.validity.set((0, u64::MAX));
            let (_, _end) = time
                .alone(join(learn(&agent), answer(&agent, &date(floor - 10))))
                .1;
            assert_eq!(agent.now().seconds(), floor);
        }
    }

    #[test]
    fn keeps_the_time_and_begins_there() {
        let (agent, time) = agent(settings());
        time.run(keep(&agent), time.sleep(Duration::from_secs(7300)));
        let kept = agent.platform.records.borrow()[&(Record::TimeFloor as u8)].clone();
        assert_eq!(kept, (START.seconds() + 7260).to_le_bytes());
        assert_eq!(
            agent.time_floor.get(),
            Timestamp::from_seconds(START.seconds() + 7260)
        );
    }

    #[test]
    fn follows_the_server_but_for_a_trifle() {
        let (agent, _) = ignorant();
        agent.platform.set_now(UnixMicros(START.micros()));
        for (ahead, then) in [(2, 0), (3, 3), (0, 0)] {
            agent.follow_time(&ResponseHead {
                date: Some(Timestamp::from_seconds(START.seconds() + ahead)),
                ..ResponseHead::default()
            });
            assert_eq!(agent.now().seconds(), START.seconds() + then);
        }
        agent.platform.time_source.set(TimeSource::Synchronized);
        agent.follow_time(&ResponseHead {
            date: Some(Timestamp::from_seconds(1)),
            ..ResponseHead::default()
        });
        assert_eq!(agent.now().seconds(), START.seconds());
    }
}
