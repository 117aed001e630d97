//! A machine that has a bootstrap token and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_conformance::{Case, Node, until};
use picolet_controlplane::{Pki, Place, Process, SIGNING_DURATION, Subject, Validity};
use serde_json::{Value, json};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("from_a_token_to_logs", from_a_token_to_logs).essential(),
    beside("refusals", refusals),
    beside("rights_of_deploy", rights_of_deploy).only_linux("rights are the same for whoever has the token"),
    beside("a_name_that_is_taken", a_name_that_is_taken),
    beside("what_was_kept_is_worth_nothing", what_was_kept_is_worth_nothing)
        .only_linux("what a board keeps cannot be made up"),
    beside("renewals", renewals),
];

const LIMIT: Duration = Duration::from_secs(60);
/// A token that was wrong is tried again after a minute at most.
const JOINED: Duration = Duration::from_secs(120);

pub(crate) fn approve(case: &Case<'_>, node: &str) -> Result<Output> {
    Command::new(case.cluster().program())
        .args(["approve", node, "--kubeconfig"])
        .arg(case.cluster().control_plane().admin_kubeconfig())
        .output()
        .context("cannot run picolet approve")
}

pub(crate) fn wait_certificates(node: &Node<'_>, status: &str, words: &str) -> Result<()> {
    let what = format!("CertificatesValid is {status}: {words}");
    until(LIMIT, &what, || {
        let condition = node.condition("CertificatesValid")?;
        Ok(condition
            .filter(|condition| condition["status"] == status)
            .filter(|condition| {
                condition["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(words))
            })
            .map(drop))
    })
}

pub(crate) fn wait_log(node: &Node<'_>, words: &str) -> Result<()> {
    until(LIMIT, &format!("the log says: {words}"), || {
        Ok(node.log().contains(words).then_some(()))
    })
    .with_context(|| node.log())
}

/// Whether the kubelet API is served. A process holds its port from the start, and the emulator that of a board: that alone says nothing.
pub(crate) fn is_open(node: &Node<'_>) -> bool {
    node.get("/healthz").is_ok()
}

fn from_a_token_to_logs(case: &Case<'_>) -> Result<()> {
    let control_plane = case.cluster().control_plane();
    let token = control_plane.bootstrap_token().to_owned();
    let mut setup = case.node().joining(&token);
    if case.on_board() && control_plane.place() == Place::Private {
        let hash = crate::fleet::authority_hash(case, setup.name())?;
        setup = setup.discovering(&hash);
    }
    let mut node = setup.start()?;
    node.wait_ready(LIMIT).with_context(|| node.log())?;
    let name = node.name().to_owned();
    wait_certificates(&node, "False", &format!("picolet approve {name}"))?;
    wait_log(
        &node,
        &format!("the kubelet port is closed until its certificate is approved: picolet approve {name}"),
    )?;
    ensure!(!is_open(&node), "the kubelet port is open without a certificate");

    // A node cannot delete its requests: it goes on with the one that it has made, which the count below shows.
    node.stop()?;
    node.start()?;
    let approved = approve(case, &name)?;
    let said = String::from_utf8_lossy(&approved.stdout).into_owned();
    ensure!(approved.status.success(), "{approved:?}");
    ensure!(
        said.contains(&node.address().to_string()) && said.contains(": approved"),
        "{said}"
    );
    wait_certificates(&node, "True", "serving certificate until")?;
    until(LIMIT, "the kubelet port is open", || {
        Ok(is_open(&node).then_some(()))
    })?;
    let answer = node.get("/pods")?;
    ensure!(answer.status == 200, "{answer:?}");
    let metrics = node.get("/metrics")?.body;
    for side in ["client", "server"] {
        let family = format!("kubelet_certificate_manager_{side}_expiration_seconds ");
        ensure!(metrics.contains(&family), "no {family}");
    }
    if control_plane.place() != Place::Loopback {
        let path = format!("/api/v1/nodes/{name}/proxy/metrics");
        let proxied = case.kubectl().run(["get", "--raw", &path])?;
        ensure!(proxied.contains("kubelet_node_name"), "{proxied}");
    }
    let again = approve(case, &name)?;
    ensure!(
        !again.status.success() && String::from_utf8_lossy(&again.stderr).contains("no request"),
        "{again:?}"
    );

    drop(crate::firmware::follow(case, &node)?);

    // Nobody else on this machine can read the keys, and the log has no secret.
    let records = ["ClientIdentity", "ServingIdentity"];
    for record in records.into_iter().filter(|_| !case.on_board()) {
        let path = node.state().join(format!("{name}.{record}"));
        let mode = fs::metadata(&path)
            .with_context(|| path.display().to_string())?
            .permissions();
        ensure!(mode.mode() & 0o777 == 0o600, "{record}: {:o}", mode.mode());
    }
    ensure!(!node.log().contains(&token), "the log shows the token");

    // From now on no token is needed, and nothing is asked for.
    // The name of a board of the same case ends so too.
    let prefix = format!("/{name}-");
    let requests = || -> Result<usize> {
        let all = case.kubectl().run(["get", "csr", "--output=name"])?;
        Ok(all.lines().filter(|line| line.contains(&prefix)).count())
    };
    let before = requests()?;
    node.stop()?;
    node.forget_argument("--token");
    node.start()?;
    until(LIMIT, "it serves after a restart", || {
        Ok(node
            .get("/pods")
            .is_ok_and(|answer| answer.status == 200)
            .then_some(()))
    })
    .with_context(|| node.log())?;
    node.wait_ready(LIMIT).with_context(|| node.log())?;
    let after = requests()?;
    ensure!(before == 2 && after == 2, "{before} requests, then {after}");
    crate::fleet::retired(case, &mut node, &token)
}

/// Makes a bootstrap token; its group is `system:bootstrappers:GROUP`.
fn make_token(case: &Case<'_>, id: &str, group: &str, expires: Option<&str>) -> Result<String> {
    let secret = "0123456789abcdef";
    let mut data = json!({"token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
        "auth-extra-groups": format!("system:bootstrappers:{group}")});
    if let Some(expires) = expires {
        data["expiration"] = expires.into();
    }
    let object = json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"}, "stringData": data});
    case.kubectl().apply(&object.to_string())?;
    Ok(format!("{id}.{secret}"))
}

fn refusals(case: &Case<'_>) -> Result<()> {
    let words = "the bootstrap token is wrong or has expired; make a new one (kubeadm token create)";
    let wrong = case
        .node_named("wrong")
        .joining("aaaaaa.0123456789abcdef")
        .start()?;
    let expired = make_token(
        case,
        "bbbbbb",
        "kubeadm:default-node-token",
        Some("2020-01-01T00:00:00Z"),
    )?;
    let expired = case.node_named("expired").joining(&expired).start()?;
    wait_log(&wrong, words)?;
    wait_log(&expired, words)?;
    for node in [&wrong, &expired] {
        ensure!(!is_open(node), "the kubelet port is open");
        ensure!(node.object().is_err(), "{} became a node", node.name());
        ensure!(
            !node.log().contains("0123456789abcdef"),
            "the log shows the token"
        );
    }
    // Nothing is locked out: as soon as the token is good the next try succeeds.
    make_token(case, "aaaaaa", "kubeadm:default-node-token", None)?;
    wrong.wait_ready(JOINED).with_context(|| wrong.log())?;
    Ok(())
}

/// A certificate of an authority that the cluster had once, and one that has ended: the token is worth more than either.
fn what_was_kept_is_worth_nothing(case: &Case<'_>) -> Result<()> {
    let control_plane = case.cluster().control_plane();
    let former = Pki::create(&control_plane.directory().join("former-pki"))?;
    let past = Validity {
        from_seconds: -7200,
        until_seconds: -3600,
    };
    for (suffix, pki, validity) in [
        ("former", &former, Validity::default()),
        ("ended", control_plane.pki(), past),
    ] {
        let setup = case.node_named(suffix);
        let name = setup.name().to_owned();
        let user = format!("system:node:{name}");
        let subject = Subject {
            common_name: &user,
            organization: Some("system:nodes"),
        };
        let identity = pki.client(&format!("kept-{suffix}"), subject, validity)?;
        // As a node keeps it: the key, then the certificate, in DER.
        let mut record = Vec::new();
        for file in [&identity.key, &identity.certificate] {
            let text = fs::read_to_string(file)?;
            let lines = text.lines().filter(|line| !line.starts_with("-----"));
            let der = STANDARD.decode(lines.collect::<String>());
            record.extend(der.map_err(|error| anyhow!("{}: {error}", file.display()))?);
        }
        let state = control_plane.directory().join("state").join(&name);
        fs::create_dir_all(&state)?;
        fs::write(state.join(format!("{name}.ClientIdentity")), &record)?;
        let node = setup.joining(control_plane.bootstrap_token()).start()?;
        node.wait_ready(JOINED).with_context(|| node.log())?;
        let kept = fs::read(state.join(format!("{name}.ClientIdentity")))?;
        ensure!(kept != record, "{suffix}: it is Ready with what it had");
    }
    Ok(())
}

fn rights_of_deploy(case: &Case<'_>) -> Result<()> {
    let token = make_token(case, "cccccc", "picolet", None)?;
    let node = case.node().joining(&token).start()?;
    wait_log(&node, "apply deploy/bootstrap.yaml")?;
    case.apply_deployment("default", "bootstrap.yaml")?;
    node.wait_ready(JOINED).with_context(|| node.log())?;

    // The approver, with no more rights than its own.
    let kubectl = case.kubectl();
    case.apply_deployment("default", "namespace.yaml")?;
    case.apply_deployment("picolet-system", "approver.yaml")?;
    let account = kubectl.run([
        "create",
        "token",
        "picolet-approver",
        "--namespace=picolet-system",
    ])?;
    narrow_rights(case)?;

    let control_plane = case.cluster().control_plane();
    let kubeconfig = control_plane.directory().join("approver.kubeconfig");
    // As in a pod, where the token is replaced now and then.
    fs::write(control_plane.directory().join("approver.token"), account.trim())?;
    let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": control_plane.server_url(),
            "certificate-authority": control_plane.pki().certificate_authority()}}],
        "users": [{"name": "c", "user": {"tokenFile": "approver.token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]});
    fs::write(&kubeconfig, text.to_string())?;
    let mut command = Command::new(case.cluster().program());
    command
        .args(["approve", node.name(), "--watch", "--kubeconfig"])
        .arg(&kubeconfig);
    let log = control_plane.directory().join("log/approver.log");
    let approver = Process::start("approver", command, &log)?;
    wait_certificates(&node, "True", "serving certificate until")
        .with_context(|| read(&log))
        .with_context(|| node.log())?;
    ensure!(read(&log).contains(": approved"), "{}", read(&log));
    drop(approver);
    // What else takes these rights away for a moment cannot be a case beside this one.
    crate::fleet::provisioned_from_a_kubeconfig(case)?;
    Ok(())
}

/// What the account of `approver.yaml` may do, and what not.
fn narrow_rights(case: &Case<'_>) -> Result<()> {
    let user = "system:serviceaccount:picolet-system:picolet-approver";
    let kubectl = case.kubectl();
    let who = format!("--as={user}");
    // kubectl exits with 1 when it says no.
    let may = |what: &str| {
        let what = ["auth", "can-i"].into_iter().chain(what.split(' '));
        kubectl.run(what.chain([who.as_str()])).is_ok()
    };
    for allowed in [
        "get certificatesigningrequests",
        "list certificatesigningrequests",
        "watch certificatesigningrequests",
        "update certificatesigningrequests --subresource=approval",
        "get nodes",
        "list nodes",
        "list services",
        "list servicecidrs.networking.k8s.io",
        "list endpointslices.discovery.k8s.io",
        "get configmaps --namespace=picolet-system",
        "create configmaps --namespace=picolet-system",
    ] {
        ensure!(may(allowed), "the approver may not {allowed}");
    }
    for denied in [
        "create certificatesigningrequests",
        "update certificatesigningrequests",
        "update certificatesigningrequests --subresource=status",
        "delete certificatesigningrequests",
        "get nodes --subresource=proxy",
        "watch nodes",
        "update nodes",
        "patch nodes",
        "patch nodes --subresource=status",
        "update configmaps --namespace=picolet-system",
        "patch configmaps --namespace=picolet-system",
        "delete configmaps --namespace=picolet-system",
        "list configmaps --namespace=picolet-system",
        "get configmaps --namespace=kube-system",
        "create configmaps --namespace=kube-system",
        "update services",
        "get secrets",
        "get secrets --namespace=picolet-system",
        "get pods",
        "create pods",
    ] {
        ensure!(!may(denied), "the approver may {denied}");
    }
    // kubectl knows no signers.
    let may = |verb: &str, signer: &str| -> Result<bool> {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": user, "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {"verb": verb, "group": "certificates.k8s.io", "resource": "signers",
                "name": format!("kubernetes.io/{signer}")}}});
        let options = ["create", "--filename=-", "--output=json"];
        let answer = kubectl.run_with_input(options, &review.to_string())?;
        Ok(serde_json::from_str::<Value>(&answer)?["status"]["allowed"] == true)
    };
    ensure!(
        may("approve", "kubelet-serving")?,
        "the approver may approve nothing"
    );
    for (verb, signer) in [
        ("sign", "kubelet-serving"),
        ("approve", "kube-apiserver-client-kubelet"),
        ("approve", "kube-apiserver-client"),
    ] {
        ensure!(!may(verb, signer)?, "the approver may {verb} {signer}");
    }
    Ok(())
}

/// How long certificates live for [`renewals`], by PICOLET_SIGNING_DURATION=10m; they are signed as if it had been five minutes earlier.
const SHORT_LIFE: Duration = Duration::from_secs(600);
/// A Lease is renewed every ten seconds: after twice that, one was missed.
const MISSED: Duration = Duration::from_secs(20);

/// When a certificate for that side ends, as `/metrics` has it.
fn ends(metrics: &str, side: &str) -> Result<u64> {
    let family = format!("kubelet_certificate_manager_{side}_expiration_seconds ");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(family.as_str()));
    line.and_then(|line| line.parse().ok())
        .with_context(|| format!("no {family}"))
}

/// Takes as long as a certificate lives, so it is run by hand: PICOLET_SIGNING_DURATION=10m.
fn renewals(case: &Case<'_>) -> Result<()> {
    if std::env::var_os(SIGNING_DURATION).is_none() {
        return Ok(());
    }
    let control_plane = case.cluster().control_plane();
    let logs = control_plane.directory().join("log");
    let node = case.node().joining(control_plane.bootstrap_token()).start()?;
    node.wait_ready(LIMIT)?;
    let mut command = Command::new(case.cluster().program());
    command
        .args(["approve", node.name(), "--watch", "--kubeconfig"])
        .arg(control_plane.admin_kubeconfig());
    let _approver = Process::start("approver", command, &logs.join("renewals-approver.log"))?;
    wait_certificates(&node, "True", "serving certificate until")?;
    until(LIMIT, "the kubelet port is open", || {
        Ok(is_open(&node).then_some(()))
    })?;
    // A connection of each kind that is there from before until after.
    let mut follow = crate::firmware::follow(case, &node)?;
    let leases = crate::lifecycle::watch_lease(case, &node)?;

    let first = node.get("/metrics")?.body;
    let first = [ends(&first, "client")?, ends(&first, "server")?];
    let begun = Instant::now();
    let mut renewed = [None; 2];
    let (mut calls, mut failures) = (0, Vec::new());
    let (mut seen, mut at, mut longest) = (0, begun, Duration::ZERO);
    // Until the first ones have ended.
    while begun.elapsed() < SHORT_LIFE + MISSED {
        std::thread::sleep(Duration::from_secs(1));
        // On a new connection each time: whatever certificate counts by now.
        calls += 1;
        if let Err(error) = crate::firmware::identify(&node) {
            failures.push(format!("after {:?}: {error:#}", begun.elapsed()));
        }
        match node.get("/metrics") {
            Ok(answer) if answer.status == 200 => {
                for (index, side) in ["client", "server"].into_iter().enumerate() {
                    if ends(&answer.body, side)? > first[index] && renewed[index].is_none() {
                        println!("the {side} certificate was renewed after {:?}", begun.elapsed());
                        renewed[index] = Some(begun.elapsed());
                    }
                }
            }
            other => failures.push(format!("after {:?}: {other:?}", begun.elapsed())),
        }
        let leases = read(leases.log()).lines().count();
        if leases > seen {
            (seen, at) = (leases, Instant::now());
        }
        longest = longest.max(at.elapsed());
    }
    println!(
        "{calls} calls, {} without an answer; no Lease for {longest:?} at most",
        failures.len()
    );
    ensure!(
        renewed.iter().all(Option::is_some),
        "renewed after {renewed:?}: {}",
        node.log()
    );
    ensure!(failures.is_empty(), "{failures:?}");
    ensure!(longest < MISSED, "no Lease for {longest:?}: {}", node.log());
    ensure!(!node.log().contains("Lease was not renewed"), "{}", node.log());
    let lines = read(follow.log()).matches("endpoint=/pico/command").count();
    ensure!(
        follow.exit_status().is_none() && lines > calls / 2,
        "what was followed ended, after {lines} lines of {calls}"
    );
    node.wait_ready(LIMIT)?;
    wait_certificates(&node, "True", "serving certificate until")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn a_name_that_is_taken(case: &Case<'_>) -> Result<()> {
    let setup = case.node();
    let name = setup.name().to_owned();
    let kubectl = case.kubectl();
    kubectl.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}).to_string())?;
    kubectl.patch_node_status(&name, r#"{"nodeInfo": {"machineID": "another-machine"}}"#)?;
    let token = case.cluster().control_plane().bootstrap_token().to_owned();
    let node = setup.joining(&token).start()?;
    wait_log(&node, "another machine has this name")?;
    let info = node.object()?["status"]["nodeInfo"].clone();
    ensure!(
        info["machineID"] == "another-machine",
        "the other machine's Node was written to: {info}"
    );
    // Its remedy.
    kubectl.run(["delete", "node", &name])?;
    node.wait_ready(JOINED).with_context(|| node.log())?;
    Ok(())
}
