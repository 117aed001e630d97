//! `kubectl logs` of the node's own pod.

use super::{Caller, Node, certificate, with_node};
use crate::testing::{START, TestClock};
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use picolet_platform::{Clock, Duration, Level, Log};
use std::format;
use std::string::String;
use std::vec::Vec;

const PATH: &str = "/containerLogs/kube-system/picolet-pico-1/picolet";

/// A node with ten lines: three of the run before, the others a second apart. It is the eleventh second.
fn with_lines<T>(test: impl AsyncFnOnce(&Node, &TestClock) -> T) -> T {
    with_node(
        |settings| settings.limits.connections = 2,
        async |node, time| {
            node.pods().stand_for();
            for n in 0..10 {
                node.machine.log(Level::Info, format_args!("line {n}"));
                time.sleep(Duration::from_secs(1)).await;
            }
            node.machine.kept.set((0, 3));
            // The run before had its last line after an hour.
            let millis = [3_597_000, 3_598_000, 3_600_000];
            node.machine.line_millis.borrow_mut()[..3].copy_from_slice(&millis);
            test(node, time).await
        },
    )
}

fn lines(range: impl Iterator<Item = u32>) -> String {
    range.map(|n| format!("Info line {n}\n")).collect()
}

#[test]
fn which_lines_are_asked_for() {
    with_lines(async |node, _| {
        let caller = &mut Caller::new(node, certificate());
        // What is asked for adds lines of its own, which come behind.
        let mut ask = async |query: &str| {
            let reply = caller.get(&format!("{PATH}?{query}")).await;
            assert!(reply.head.contains("text/plain"), "{}", reply.head);
            (reply.code, reply.body)
        };
        assert_eq!(ask("").await, (200, lines(3..10)));
        let (code, body) = ask("tailLines=2").await;
        assert_eq!(code, 200);
        assert!(
            body.starts_with("Info line 9\nDebug endpoint=/containerLogs "),
            "{body}"
        );
        assert_eq!(ask("tailLines=0").await, (200, String::new()));
        let (_, body) = ask("sinceSeconds=3").await;
        assert!(body.starts_with("Info line 7\n"), "{body}");
        let (_, body) = ask("sinceTime=2026-11-22T12:00:08Z").await;
        assert!(body.starts_with("Info line 8\n"), "{body}");
        assert_eq!(ask("limitBytes=17").await, (200, "Info line 3\nInfo ".into()));
        assert_eq!(ask("limitBytes=24").await, (200, lines(3..5)));
        let (_, body) = ask("timestamps=true&limitBytes=40").await;
        assert_eq!(body, "2026-11-22T12:00:03.000000Z Info line 3\n");
        // The run before ended when this one began.
        assert_eq!(ask("previous=true").await, (200, lines(0..3)));
        let (_, body) = ask("previous=true&timestamps=true&tailLines=1&follow=true").await;
        assert_eq!(body, "2026-11-22T12:00:00.000000Z Info line 2\n");
        let (_, body) = ask("previous=true&timestamps=true&limitBytes=27").await;
        assert_eq!(body, "2026-11-22T11:59:57.000000Z");
        node.machine.kept.set((5, 3));
        assert_eq!(
            ask("previous=true").await,
            (
                400,
                r#"previous terminated container "picolet" in pod "picolet-pico-1" not found"#.into()
            )
        );
        let (_, body) = ask("limitBytes=12").await;
        assert_eq!(body, "Info line 5\n", "what is gone is gone");
    });
    assert_eq!(START.seconds() % 60, 0);
}

#[test]
fn others_have_no_log() {
    with_lines(async |node, _| {
        let caller = &mut Caller::new(node, certificate());
        for path in [
            "/containerLogs/kube-system/picolet-pico-2/picolet",
            "/containerLogs/default/picolet-pico-1/picolet",
            "/containerLogs/kube-system/picolet-pico-1/other",
        ] {
            assert_eq!(caller.get(path).await.code, 404, "{path}");
        }
    });
}

#[test]
fn who_follows_sees_what_comes_and_hears_of_what_was_missed() {
    with_lines(async |node, time| {
        let mut follower = Caller::new(node, certificate());
        let request = format!("GET {PATH}?follow=true&tailLines=1 HTTP/1.1\r\nHost: node\r\n\r\n");
        follower.send(&request).await;
        let mut until = async |end: &str| {
            while !String::from_utf8_lossy(&follower.received).contains(end) {
                assert_ne!(follower.more().await, 0, "the connection ended");
            }
            String::from_utf8(core::mem::take(&mut follower.received)).expect("text")
        };
        assert!(
            until("Info line 9\n")
                .await
                .contains("Transfer-Encoding: chunked")
        );
        node.machine.log(Level::Warn, format_args!("news"));
        assert_eq!(until("news").await, "a\r\nWarn news\n\r\n");
        // Lines that are written and gone before the reader comes around.
        for n in 0..100 {
            node.machine.log(Level::Info, format_args!("burst {n}"));
        }
        let end = u32::try_from(node.machine.lines.borrow().len()).expect("few");
        node.machine.kept.set((end - 2, 0));
        let seen = until("burst 99").await;
        assert!(
            seen.contains("(98 bytes of the log were lost)\nInfo burst 98\n"),
            "{seen}"
        );
        // There is one place for those who wait, and others are served beside them.
        let mut other = Caller::new(node, certificate());
        assert_eq!(other.get(&format!("{PATH}?follow=true")).await.code, 429);
        assert_eq!(other.get(PATH).await.code, 200);
        drop(follower);
        time.sleep(Duration::from_secs(1)).await;
        let mut next = Caller::new(node, certificate());
        next.send(&request).await;
        assert_ne!(next.more().await, 0);
        assert!(
            next.received.starts_with(b"HTTP/1.1 200"),
            "the place is free again"
        );
    });
}

#[test]
fn a_reader_who_does_not_read_is_left_and_holds_nobody_up() {
    with_lines(async |node, time| {
        let mut deaf = Caller::new(node, certificate());
        let request = format!("GET {PATH}?follow=true HTTP/1.1\r\nHost: node\r\n\r\n");
        deaf.send(&request).await;
        let began = node.machine.uptime();
        // Enough to fill whatever is between the two.
        let write = async {
            for n in 0..600 {
                node.machine
                    .log(Level::Info, format_args!("{n} {}", "x".repeat(150)));
                time.sleep(Duration::from_millis(100)).await;
            }
        };
        let serve = async {
            for _ in 0..20 {
                let mut caller = Caller::new(node, certificate());
                assert_eq!(caller.get("/healthz").await.code, 200);
                time.sleep(Duration::from_secs(3)).await;
            }
        };
        join(write, serve).await;
        assert!(node.machine.uptime().saturating_sub(began) < Duration::from_secs(70));
        // It was left at last: what it still reads ends.
        let drained = async { while deaf.more().await > 0 {} };
        assert!(matches!(
            select(drained, time.sleep(Duration::from_secs(60))).await,
            Either::First(())
        ));
        let lines: Vec<String> = node.machine.lines.borrow().clone();
        assert!(lines.iter().any(|line| line.contains("endpoint=/containerLogs")));
    });
}
