//! The fault proxy itself, before the real API server: other cases rely on it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use picolet_conformance::{Caller, Case, Fault, FaultProxy, Rule};
use serde_json::{Value, json};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("proxy_speaks_for_the_client", proxy_speaks_for_the_client).only_linux("no node takes part"),
    beside(
        "proxy_breaks_what_a_rule_matches",
        proxy_breaks_what_a_rule_matches,
    )
    .only_linux("no node takes part"),
];

/// A client with the certificate of a node of that name.
fn client(case: &Case<'_>, name: &str) -> Result<Caller> {
    let control_plane = case.cluster().control_plane();
    let credentials = control_plane.node(name, &[])?;
    Caller::new(
        control_plane.pki().certificate_authority(),
        Some(&credentials.client),
    )
}

fn who_am_i(caller: &Caller, proxy: &FaultProxy) -> Result<(u16, Value)> {
    let url = format!("{}/apis/authentication.k8s.io/v1/selfsubjectreviews", proxy.url());
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = caller.post(&url, &review.to_string())?;
    Ok((answer.status, answer.json()?))
}

fn proxy_speaks_for_the_client(case: &Case<'_>) -> Result<()> {
    let proxy = FaultProxy::start(case.cluster().control_plane())?;
    let (status, review) = who_am_i(&client(case, "proxied")?, &proxy)?;
    let user = &review["status"]["userInfo"];
    ensure!(status == 201, "{status}: {review}");
    ensure!(user["username"] == "system:node:proxied", "{user}");
    ensure!(
        user["groups"] == json!(["system:nodes", "system:authenticated"]),
        "{user}"
    );
    let received = proxy.received();
    ensure!(
        received.len() == 1 && received[0].user == "system:node:proxied" && received[0].status == Some(201),
        "{received:?}"
    );
    // Without a certificate the token counts.
    let control_plane = case.cluster().control_plane();
    let anonymous = Caller::new(control_plane.pki().certificate_authority(), None)?;
    let url = format!("{}/api/v1/nodes", proxy.url());
    let answer = anonymous.get_with_token(&url, control_plane.bootstrap_token())?;
    ensure!(
        answer.status == 403 && answer.body.contains("system:bootstrap:"),
        "{answer:?}"
    );
    Ok(())
}

fn proxy_breaks_what_a_rule_matches(case: &Case<'_>) -> Result<()> {
    let proxy = FaultProxy::start(case.cluster().control_plane())?;
    let caller = client(case, "broken")?;
    let url = format!("{}/version", proxy.url());
    let get = |fault: Option<Fault>| {
        proxy.clear();
        if let Some(fault) = fault {
            proxy.add(Rule::new("GET", "/version", fault).times(1));
        }
        caller.get(&url)
    };
    let whole = get(None)?;
    ensure!(whole.status == 200, "{whole:?}");
    ensure!(get(Some(Fault::Status(429, vec![])))?.status == 429, "no 429");
    ensure!(caller.get(&url)?.status == 200, "the rule hit twice");
    let begun = Instant::now();
    ensure!(
        get(Some(Fault::Delay(Duration::from_millis(300))))?.status == 200,
        "no answer"
    );
    ensure!(begun.elapsed() >= Duration::from_millis(300), "no delay");
    let fields = vec![("Content-Type".to_owned(), "text/x".to_owned())];
    ensure!(get(Some(Fault::AddFields(fields)))?.status == 200, "no answer");
    for fault in [
        Fault::CutAfter(0),
        Fault::CutAfter(100),
        Fault::DropLastChunk,
        // These are given up after ten seconds.
        Fault::SwallowAfterBytes(10),
        Fault::Silence,
    ] {
        let answer = get(Some(fault.clone()));
        ensure!(answer.is_err(), "{fault:?}: {answer:?}");
    }
    let faulted = proxy.received().iter().filter(|request| request.faulted).count();
    ensure!(faulted == 8, "{faulted} of 8 faults: {:?}", proxy.received());
    Ok(())
}
