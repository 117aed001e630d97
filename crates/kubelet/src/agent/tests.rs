//! The whole agent against an API server that does what a test says.

use super::Agent;
use crate::testing::{
    LEASE, LIST, Machine, NODE, Reply, ScriptedServer, TestClock, TestHost, Wires, ok, settings,
};
use core::cell::Cell;
use embassy_futures::select::select;
use picolet_platform::{Duration, FirmwareSlots};
use picolet_runtime::NoRuntime;

const SECOND: Duration = Duration::from_secs(1);

/// An agent with ordinary settings, and the time that it lives in.
fn agent() -> (Agent<TestHost>, TestClock) {
    let time = TestClock::default();
    let machine = Machine::new(time.clone());
    (Agent::new(settings(), machine, Wires::default(), NoRuntime), time)
}

#[test]
fn registration_backs_off_when_the_node_is_not_found() {
    let (agent, time) = agent();
    let registrations = Cell::new(0);
    let reply = |line: &str, _: &str| match line.split_once(" /api/v1/nodes") {
        Some(("POST", _)) => {
            registrations.set(registrations.get() + 1);
            assert!(registrations.get() < 100, "no time passes between registrations");
            Reply::Code(201, "", NODE.into())
        }
        // Its labels are taken.
        Some(("PATCH", "/pico-1?fieldValidation=Strict")) => ok(NODE),
        _ => Reply::Code(404, "", "{}".into()),
    };
    let server = ScriptedServer::new(&agent.network, &time, &reply);
    let run = select(agent.run(), server.serve());
    time.run(run, time.sleep(SECOND * 30));
    let posts = registrations.get();
    assert!((4..=12).contains(&posts), "{posts} registrations in 30 s");
}

#[test]
fn node_is_read_from_the_cache_and_its_absence_confirmed() {
    let (agent, time) = agent();
    // The cache lags behind for some time.
    let lagging = Cell::new(true);
    let reply = |line: &str, _: &str| match line {
        "GET /api/v1/nodes/pico-1?resourceVersion=0" if lagging.get() => Reply::Code(404, "", "{}".into()),
        _ => registered(line),
    };
    let server = ScriptedServer::new(&agent.network, &time, &reply);
    let run = select(agent.run(), server.serve());
    time.run(run, async {
        time.sleep(SECOND * 5).await;
        assert_eq!(server.count("POST /api/v1/nodes"), 1, "registered again");
        lagging.set(false);
        server.came.borrow_mut().clear();
        time.sleep(SECOND * 60).await;
        let (cached, all) = (
            server.count("GET /api/v1/nodes/pico-1?resourceVersion=0"),
            server.count("GET /api/v1/nodes"),
        );
        assert!((5..=7).contains(&all) && cached == all, "{cached} of {all} reads");
    });
}

/// What a node needs to be Ready, but for its lists and watches.
fn registered(line: &str) -> Reply {
    match line {
        _ if line.contains("/leases") => ok(LEASE),
        _ if line.contains("/nodes") => ok(NODE),
        _ => Reply::Code(404, "", "{}".into()),
    }
}

fn is_list(line: &str) -> bool {
    line.contains("/configmaps?") || line.contains("/api/v1/pods?")
}

#[test]
fn list_does_not_count_when_its_last_chunk_is_missing() {
    const CUT: &str = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2f\r\n{\"metadata\":{\"resourceVersion\":\"5\"},\"items\":[]}\r\n";
    let (agent, time) = agent();
    let lists = Cell::new(0);
    let reply = |line: &str, _: &str| match line {
        _ if line.contains("watch=1") => Reply::Silence,
        _ if is_list(line) => match lists.replace(lists.get() + 1) {
            0..=2 => Reply::Cut(CUT),
            _ => ok(LIST),
        },
        _ => registered(line),
    };
    let server = ScriptedServer::new(&agent.network, &time, &reply);
    time.run(select(agent.run(), server.serve()), time.sleep(SECOND * 20));
    assert_eq!(lists.get(), 6, "three lists that were cut, three that were whole");
    assert_eq!(server.watches(), 3, "{:?}", server.lines());
}

#[test]
fn watch_is_replaced_when_it_is_silent_for_90_s() {
    let (agent, time) = agent();
    let reply = |line: &str, _: &str| match line {
        _ if line.contains("watch=1") => Reply::Begin("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ if is_list(line) => ok(LIST),
        _ => registered(line),
    };
    let server = ScriptedServer::new(&agent.network, &time, &reply);
    time.run(select(agent.run(), server.serve()), async {
        time.sleep(SECOND * 80).await;
        assert_eq!(server.watches(), 3, "{:?}", server.lines());
        time.sleep(SECOND * 20).await;
        assert_eq!(server.watches(), 6, "{:?}", server.lines());
    });
}

#[test]
fn list_waits_when_it_is_throttled() {
    let (agent, time) = agent();
    let reply = |line: &str, _: &str| match line {
        _ if is_list(line) => Reply::Code(429, "Retry-After: 25\r\n", "{}".into()),
        _ => registered(line),
    };
    let server = ScriptedServer::new(&agent.network, &time, &reply);
    time.run(select(agent.run(), server.serve()), time.sleep(SECOND * 60));
    let came = server.came.borrow();
    let lists = came.iter().filter(|came| is_list(&came.line)).count();
    assert_eq!(lists, 9, "three collections at 0, 25 and 50 s: {came:?}");
}

#[test]
fn refused_certificate_is_not_called_a_missing_right() {
    for (code, forbidden) in [(401, false), (403, true)] {
        let (agent, time) = agent();
        let reply = |line: &str, _: &str| match line {
            _ if is_list(line) => Reply::Code(code, "", "{}".into()),
            _ => registered(line),
        };
        let server = ScriptedServer::new(&agent.network, &time, &reply);
        time.run(select(agent.run(), server.serve()), time.sleep(SECOND * 20));
        let log = agent.machine.lines.borrow().join("\n");
        assert_eq!(log.contains("deploy/rbac.yaml"), forbidden, "{code}: {log}");
        assert_eq!(
            log.contains("does not accept the node's certificate"),
            !forbidden,
            "{code}: {log}"
        );
    }
}

#[test]
fn firmware_on_trial_is_confirmed_when_the_api_server_takes_status_and_leases() {
    let time = TestClock::default();
    let machine = Machine::new(time.clone());
    let board = crate::firmware::tests::updated();
    machine
        .firmware
        .set(Some(std::boxed::Box::leak(std::boxed::Box::new(
            board.updater(&[1]),
        ))));
    let agent = Agent::<TestHost>::new(settings(), machine, Wires::default(), NoRuntime);
    let reply = |line: &str, _: &str| match line {
        _ if line.contains("watch=1") => Reply::Silence,
        _ if is_list(line) => ok(LIST),
        _ if line.contains("/events") => ok("{}"),
        _ => registered(line),
    };
    let server = ScriptedServer::new(&agent.network, &time, &reply);
    time.run(select(agent.run(), server.serve()), async {
        time.sleep(SECOND * 29).await;
        assert!(board.state().trial.is_some());
        time.sleep(SECOND * 15).await;
        assert_eq!(board.state().trial, None);
        assert_eq!(board.state().confirmed, picolet_boot::Slot::B);
    });
    let came = server.came.borrow();
    let said = |text: &str| came.iter().filter(|came| came.body.contains(text)).count();
    assert_eq!(said(r#""reason":"FirmwareStarting""#), 1);
    assert_eq!(said(r#""reason":"FirmwareConfirmed""#), 1);
    assert!(said("firmware 0.2.0 in slot B, attempt 1 of 3") > 0);
    assert!(said("\"firmware 0.2.0 in slot B\"") > 0, "{came:?}");
}
