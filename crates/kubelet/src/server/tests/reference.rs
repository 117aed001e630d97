//! The reference page lists what the endpoints serve.

use super::*;
use picolet_platform::Duration;
use std::format;
use std::string::String;

const PAGE: &str = include_str!("../../../../../docs/reference.md");

/// Rows of the page's table, made from the metadata of the families in an exposition.
fn rows(metrics: &str) -> String {
    let mut rows = String::new();
    let mut lines = metrics.lines();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) else {
            continue;
        };
        let kind = lines
            .next()
            .and_then(|line| line.rsplit(' ').next())
            .unwrap_or_default();
        rows.push_str(&format!(
            "| `{name}` | {kind} | {} |\n",
            help.trim_end_matches('.')
        ));
    }
    rows
}

#[test]
fn reference_lists_every_metric_with_its_help() {
    let reply = with_node(
        |_| {},
        async |node, time| {
            time.sleep(Duration::from_secs(60)).await;
            node.health.heard(time.now(), node.time.now());
            let board = std::boxed::Box::leak(std::boxed::Box::new(crate::firmware::tests::updated()));
            let updater = std::boxed::Box::leak(std::boxed::Box::new(board.updater(&[])));
            node.machine.firmware.set(Some(updater));
            let mut caller = Caller::new(node, certificate());
            caller.get("/healthz").await;
            caller.get("/metrics").await
        },
    );
    let served = rows(&reply.body);
    let (_, page) = PAGE
        .split_once("<!-- metrics -->\n")
        .expect("the beginning of the table");
    let (page, _) = page
        .split_once("<!-- /metrics -->")
        .expect("the end of the table");
    let listed = page.replace("| name | type | help |\n|---|---|---|\n", "");
    assert_eq!(listed, served, "docs/reference.md should list:\n{served}");
}
