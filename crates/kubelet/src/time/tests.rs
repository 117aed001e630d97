//! What an agent does with hints, dates and floors.

use super::*;
use crate::client::ApiError;
use crate::events::EventSender;
use crate::identity::{Certificates, IdentityController};
use crate::node_status::StatusController;
use crate::testing::{End, Machine, START, Services, TestClock, TestHost, settings};
use embassy_futures::join::join;
use embedded_io_async::{Read, Write};
use picolet_platform::{Clock, DialError};
use picolet_runtime::NoRuntime;
use std::format;
use std::string::String;
use std::vec::Vec;

/// An agent that does not know the time.
fn ignorant() -> (Services, TestClock) {
    services_of(TimeSource::Unknown)
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
async fn answer(services: &Services, date: &str) -> (String, End) {
    let mut end = services.network.served().await;
    let asked = request(&mut end).await;
    let answer = format!("HTTP/1.1 401 Unauthorized\r\n{date}Content-Length: 0\r\n\r\n");
    end.write_all(answer.as_bytes()).await.expect("the node reads");
    (asked, end)
}

fn date(seconds: u64) -> String {
    format!("Date: {}\r\n", Timestamp::from_seconds(seconds).http_date())
}

#[test]
fn node_takes_the_time_of_a_server_when_it_fits_its_certificate() {
    let (services, time) = ignorant();
    let now = START.seconds();
    services.network.validity.set(validity(now - 1, now + 1));
    let (asked, _end) = time
        .alone(join(learn(&services), answer(&services, &date(now))))
        .1;
    assert!(asked.starts_with("GET /version HTTP/1.1\r\n"), "{asked}");
    assert_eq!(services.time.now().seconds(), now);
    assert_eq!(services.machine.time_source.get(), TimeSource::ApiServer);
}

#[test]
fn node_believes_no_date_when_the_certificate_is_not_valid_then() {
    let (services, time) = ignorant();
    let now = START.seconds();
    services.network.validity.set(validity(now, now + 100));
    let server = async {
        for wrong in [
            date(now - 1),
            date(now + 101),
            "Date: today\r\n".into(),
            String::new(),
        ] {
            let (_, _end) = answer(&services, &wrong).await;
            time.sleep(Duration::from_millis(10)).await;
            assert_eq!(services.machine.time_source.get(), TimeSource::Unknown, "{wrong}");
        }
        answer(&services, &date(now + 7)).await
    };
    let (_, _end) = time.alone(join(learn(&services), server)).1;
    assert!(services.time.now().seconds() >= now + 7);
    let lines = services.machine.lines.borrow();
    assert!(
        lines[0].contains("it is 2026-11-22T11:59:59Z there, and the API server's certificate is valid from 2026-11-22T12:00:00Z"),
        "{lines:?}"
    );
}

fn validity(not_before: u64, not_after: u64) -> Lifetime {
    Lifetime {
        not_before,
        not_after,
    }
}

/// Services of a node whose clock is set by a hint that is `seconds` ahead.
fn hinted(seconds: i64) -> (Services, TestClock) {
    let (services, time) = services_of(TimeSource::Hint);
    let now = START.micros().saturating_add_signed(seconds * 1_000_000);
    services
        .machine
        .told
        .set((Timestamp::from_micros(now), time.now()));
    (services, time)
}

fn services_of(source: TimeSource) -> (Services, TestClock) {
    let clock = TestClock::default();
    let machine = Machine::new(clock.clone());
    machine.time_source.set(source);
    (Services::on(machine, settings()), clock)
}

fn store_floor(services: &Services, record: &[u8]) {
    let records = &services.machine.records;
    records
        .borrow_mut()
        .insert(Record::TimeFloor as u8, record.into());
}

fn stored_floor(services: &Services) -> Option<u64> {
    let records = services.machine.records.borrow();
    let record = records.get(&(Record::TimeFloor as u8))?;
    let record = record.as_slice().try_into().expect("of that length");
    TimeFloor::from_record(record, Some(TimeFloor::BYTES)).map(|floor| floor.0)
}

fn at(seconds: u64) -> Option<Timestamp> {
    Some(Timestamp::from_seconds(seconds))
}

/// What a node does first.
async fn learn(services: &Services) {
    services.time.load().await;
    services.client.learn_time().await;
}

/// When the API server's certificate is valid in these tests.
fn valid() -> Lifetime {
    validity(START.seconds() - 86_400, START.seconds() + 365 * 86_400)
}

/// The condition `TimeSynced`.
fn synced(services: &Services) -> (Truth, String, String) {
    let mut words = String::new();
    let condition = services.time.condition(&mut words).expect("every node has it");
    assert_eq!(condition.kind, "TimeSynced");
    (condition.status, condition.reason.into(), words)
}

/// Somebody with the key of a server's certificate that has expired.
#[test]
fn node_believes_no_server_when_its_certificate_expired_before_the_floor() {
    let built = settings().built.seconds();
    let kept = TimeFloor(START.seconds()).to_record();
    for (record, floor) in [
        (&[][..], built),
        (&kept, START.seconds()),
        (&TimeFloor(7).to_record(), built),
        // A version that stored what a time server said.
        (&START.seconds().to_le_bytes(), built),
    ] {
        let (services, time) = ignorant();
        store_floor(&services, record);
        services.network.validity.set(validity(0, floor - 1));
        let stolen = async {
            let (_, _end) = answer(&services, &date(floor - 10)).await;
            time.sleep(Duration::from_millis(10)).await;
        };
        time.run(learn(&services), stolen);
        assert_eq!(services.machine.time_source.get(), TimeSource::Unknown);
        assert!(services.time.now().seconds() >= floor);
    }
}

#[test]
fn node_drops_the_floor_when_it_contradicts_a_verified_server() {
    let (services, time) = ignorant();
    let now = START.seconds();
    store_floor(&services, &TimeFloor(now + 86_400).to_record());
    services.network.validity.set(valid());
    let (_, _end) = time
        .alone(join(learn(&services), answer(&services, &date(now))))
        .1;
    assert_eq!(services.time.now().seconds(), now);
    let lines = services.machine.lines.borrow();
    assert!(
        lines[0].starts_with("Warn time floor 2026-11-23T12:00:00Z dropped"),
        "{lines:?}"
    );
    // It is replaced once an authenticated connection confirms the time.
    time.run(services.time.keep(), time.sleep(Duration::from_secs(61)));
    assert_eq!(stored_floor(&services), Some(now + 86_400));
    services.time.answered(at(now + 61), valid(), Duration::ZERO);
    time.run(services.time.keep(), time.sleep(Duration::from_secs(61)));
    assert_eq!(stored_floor(&services), Some(now));
}

#[test]
fn build_is_a_floor_when_the_server_is_before_it() {
    let (services, time) = ignorant();
    let built = settings().built.seconds();
    let (_, _end) = time
        .alone(join(learn(&services), answer(&services, &date(built - 86_400))))
        .1;
    assert_eq!(services.time.now().seconds(), built);
}

#[test]
fn node_stores_the_time_only_when_a_verified_server_confirmed_it() {
    let day = 86_400;
    for (source, validity, expected) in [
        (TimeSource::Hint, None, None),
        (TimeSource::Hint, Some(Lifetime::UNVERIFIED), None),
        (TimeSource::Hint, Some(valid()), Some(START.seconds() - 300)),
        (TimeSource::ApiServer, Some(valid()), Some(START.seconds() - 300)),
    ] {
        let (services, time) = services_of(source);
        // Ten years, by the time server.
        let told = Timestamp::from_seconds(START.seconds() + 3650 * day);
        services.machine.told.set((told, time.now()));
        if let Some(validity) = validity {
            services
                .time
                .answered(at(START.seconds()), validity, Duration::ZERO);
        }
        time.run(services.time.keep(), time.sleep(Duration::from_secs(7300)));
        assert_eq!(stored_floor(&services), expected, "{source:?}, {validity:?}");
    }
}

#[test]
fn floor_stays_below_the_end_when_a_certificate_expires_on_an_open_connection() {
    let (services, time) = services_of(TimeSource::ApiServer);
    let end = START.seconds() + 60;
    for seconds in 0..600 {
        services
            .time
            .answered(at(START.seconds() + seconds), validity(0, end), Duration::ZERO);
        time.alone(time.sleep(Duration::from_secs(1)));
    }
    time.run(services.time.keep(), time.sleep(Duration::from_secs(61)));
    assert_eq!(stored_floor(&services), Some(end - 300));
}

#[test]
fn clock_follows_the_server_when_they_differ() {
    let day = 86_400;
    for (ahead, stepped) in [
        (0, false),
        (2, false),
        (3, true),
        (-2, false),
        (-3, true),
        (20 * day, true),
        (-20 * day, true),
        (3650 * day, true),
    ] {
        let (services, _time) = hinted(ahead);
        services
            .time
            .answered(at(START.seconds()), valid(), Duration::ZERO);
        let off = services.time.now().micros().abs_diff(START.micros());
        assert_eq!(
            off,
            if stepped {
                0
            } else {
                ahead.unsigned_abs() * 1_000_000
            },
            "{ahead} s"
        );
        let source = match stepped {
            true => TimeSource::ApiServer,
            false => TimeSource::Synchronized,
        };
        assert_eq!(services.machine.time_source.get(), source, "{ahead} s");
        let warned = services
            .machine
            .lines
            .borrow()
            .iter()
            .any(|line| line.starts_with("Warn"));
        assert_eq!(
            warned,
            ahead.abs() > 300,
            "{ahead} s: {:?}",
            services.machine.lines
        );
    }
}

/// Its certificate begins later, by its own clock.
#[test]
fn node_writes_nothing_ahead_of_a_server_that_it_does_not_believe() {
    let (services, time) = hinted(0);
    let behind = START.seconds() - 3 * 86_400;
    services.time.answered(at(behind), valid(), Duration::ZERO);
    assert_eq!(services.time.now().seconds(), behind);
    assert_eq!(services.machine.now(), Some(UnixMicros(START.micros())));
    assert_eq!(synced(&services).0, Truth::False);
    time.alone(time.sleep(Duration::from_secs(10)));
    services.time.answered(at(behind + 10), valid(), Duration::ZERO);
    assert_eq!(services.time.now().seconds(), behind + 10);
    services
        .time
        .answered(at(START.seconds() + 10), valid(), Duration::ZERO);
    assert_eq!(services.time.now().seconds(), START.seconds() + 10);
    assert_eq!(synced(&services).0, Truth::True);
}

/// The hint makes the verified handshake fail: the server's certificate seems to have expired.
#[test]
fn node_asks_without_dates_when_tls_fails_under_a_hint() {
    let (services, time) = hinted(3650 * 86_400);
    services.network.validity.set(valid());
    services.network.dial_error.set(Some(DialError::Tls));
    let now = START.seconds();
    let (confirmed, (asked, _end)) = time.alone(join(
        services.client.confirm_time(),
        answer(&services, &date(now)),
    ));
    assert_eq!(confirmed, Ok(()));
    assert!(!asked.contains("Authorization"), "{asked}");
    assert_eq!(services.time.now().seconds(), now);
    // Nothing is asked again until TLS fails again.
    assert_eq!(time.alone(services.client.confirm_time()), Ok(()));
    assert!(time.alone(services.client.dial()).is_err());
    assert!(!services.time.is_settled());
}

#[test]
fn no_timestamp_is_sent_before_the_server_confirmed_the_time() {
    for days in [20, -20] {
        let text = sent_under_hint(days);
        let times: Vec<_> = text
            .match_indices("2026-")
            .map(|(at, _)| &text[at..at + 18])
            .collect();
        assert!(
            !times.is_empty() && times.iter().all(|time| *time == "2026-11-22T12:00:0"),
            "{days} days: {text}"
        );
    }
}

/// What a node sends first: it registers, and there is an event.
fn sent_under_hint(days: i64) -> String {
    let (services, time) = hinted(days * 86_400);
    services.network.validity.set(valid());
    let node = async {
        let certificates = Certificates::default();
        let identity = IdentityController::<TestHost> {
            settings: &services.settings,
            client: &services.client,
            machine: &services.machine,
            network: &services.network,
            time: &services.time,
            node: &services.node,
            certificates: &certificates,
        };
        let status = StatusController::<TestHost> {
            settings: &services.settings,
            client: &services.client,
            machine: &services.machine,
            network: &services.network,
            runtime: &NoRuntime,
            time: &services.time,
            events: &services.events,
            node: &services.node,
            health: &services.health,
            identity: &identity,
            reporters: &[],
        };
        let sender = EventSender::<TestHost> {
            client: &services.client,
            machine: &services.machine,
            time: &services.time,
            recorder: &services.events,
        };
        join(status.run(), sender.run()).await
    };
    let written = async {
        services.events.node(
            picolet_kube::event::Severity::Normal,
            "Starting",
            format_args!("."),
        );
        let mut end = services.network.served().await;
        let first = request(&mut end).await;
        assert!(first.starts_with("GET /version"), "{first}");
        let head = format!(
            "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
            date(START.seconds())
        );
        end.write_all(head.as_bytes()).await.expect("the node reads");
        let mut text = String::new();
        while !["POST /api/v1/nodes", "POST /api/v1/namespaces/default/events"]
            .iter()
            .all(|path| text.contains(path))
        {
            let begin = text.len();
            while !text[begin..].ends_with('}') {
                let mut piece = [0; 512];
                let read = end.read(&mut piece).await.expect("a request");
                text += core::str::from_utf8(&piece[..read]).expect("ASCII");
            }
            let refusal = format!(
                "HTTP/1.1 404 x\r\n{}Content-Length: 0\r\n\r\n",
                date(START.seconds())
            );
            end.write_all(refusal.as_bytes()).await.expect("the node reads");
        }
        text
    };
    time.run(node, written)
}

/// The log says why.
#[test]
fn time_synced_is_false_when_a_date_is_not_believed() {
    let (services, time) = hinted(0);
    services
        .time
        .answered(at(START.seconds()), valid(), Duration::ZERO);
    assert_eq!(synced(&services).0, Truth::True);
    time.alone(time.sleep(Duration::from_secs(10)));
    for wrong in [valid().not_before - 1, valid().not_after + 1] {
        services.time.answered(at(wrong), valid(), Duration::ZERO);
        let (truth, reason, message) = synced(&services);
        assert_eq!((truth, &*reason), (Truth::False, "ClockUnconfirmed"));
        assert_eq!(
            message,
            "last confirmed by the API server at 2026-11-22T12:00:00Z"
        );
    }
    services
        .time
        .answered(at(START.seconds() + 10), valid(), Duration::ZERO);
    assert_eq!(synced(&services).0, Truth::True);
}

/// Somebody with the key of a certificate that expired while the API server could not be reached.
#[test]
fn node_believes_no_server_when_its_certificate_expired_while_the_node_was_up() {
    let day = 86_400;
    let (services, time) = hinted(0);
    services
        .time
        .answered(at(START.seconds()), valid(), Duration::ZERO);
    time.alone(time.sleep(Duration::from_secs(14 * day)));
    let now = services.time.now();
    let end = START.seconds() + 7 * day;
    services.network.validity.set(validity(0, end));
    let (asked, (_, _end)) = time.alone(join(
        services.client.ask_time(),
        answer(&services, &date(end - 60)),
    ));
    assert!(matches!(asked, Err(ApiError::Date(_))), "{asked:?}");
    assert_eq!(services.time.now(), now);
    // The true one's may end a moment later.
    services.network.validity.set(validity(0, now.seconds()));
    let (asked, (_, _end)) = time.alone(join(
        services.client.ask_time(),
        answer(&services, &date(now.seconds())),
    ));
    assert_eq!(asked, Ok(()));
}

#[test]
fn timestamps_follow_the_clock_when_it_is_set_without_dates() {
    let (services, time) = hinted(0);
    services
        .time
        .answered(at(START.seconds()), valid(), Duration::ZERO);
    services
        .time
        .answered(at(valid().not_before - 86_400), valid(), Duration::ZERO);
    services.network.validity.set(valid());
    let (asked, (_, _end)) = time.alone(join(
        services.client.ask_time(),
        answer(&services, &date(START.seconds() + 600)),
    ));
    assert_eq!(asked, Ok(()));
    assert_eq!(services.time.now().seconds(), START.seconds() + 600);
}

#[test]
fn time_synced_ages_when_nothing_confirms_it() {
    let (services, time) = services_of(TimeSource::Unknown);
    assert_eq!(synced(&services).1, "ClockNotSet");
    let (services, _) = services_of(TimeSource::Hint);
    assert_eq!(
        (synced(&services).0, &*synced(&services).1),
        (Truth::False, "ClockUnconfirmed")
    );
    drop(time);

    let (services, time) = hinted(0);
    time.alone(time.sleep(Duration::from_secs(10)));
    services
        .time
        .answered(at(START.seconds() + 10), valid(), Duration::ZERO);
    assert_eq!(
        (synced(&services).0, &*synced(&services).1),
        (Truth::True, "ClockSet")
    );
    time.alone(time.sleep(CONFIRMATION));
    assert_eq!(synced(&services).0, Truth::True);
    time.alone(time.sleep(Duration::from_secs(1)));
    assert_eq!(synced(&services).0, Truth::False);
    // Answers without a date, or with one that is not believed, confirm nothing.
    services.time.answered(None, valid(), Duration::ZERO);
    assert_eq!(synced(&services).0, Truth::False);
    services.time.answered(at(1), valid(), Duration::ZERO);
    let (truth, reason, message) = synced(&services);
    assert_eq!((truth, &*reason), (Truth::False, "ClockUnconfirmed"));
    assert_eq!(
        message,
        "last confirmed by the API server at 2026-11-22T12:00:10Z"
    );
    services
        .time
        .answered(at(START.seconds() + 86_411), valid(), Duration::ZERO);
    assert_eq!(synced(&services).0, Truth::True);
}
