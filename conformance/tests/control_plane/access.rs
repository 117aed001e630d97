//! Who may do what at the node's HTTPS API: every endpoint, every kind of caller, against the rules of a kubelet.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use picolet_conformance::{Caller, Case, Node};
use picolet_controlplane::{Identity, Pki, Subject, Validity};

use crate::{Entry, beside};

pub(crate) const CASES: &[Entry] = &[
    beside("matrix", matrix),
    beside("anonymous_health", anonymous_health),
];

/// Set to have the matrix printed.
const PRINT: &str = "PICOLET_PRINT_MATRIX";

/// An endpoint: its method, a path, and the subresources of `nodes` of which one is enough, as
/// `pkg/kubelet/server/auth.go` of Kubernetes 1.36 has them. `/pico` is ours. What runs a command or opens a connection in a
/// container needs `create` here whatever the method, where a kubelet takes `get` for a `GET`.
const ENDPOINTS: &[(&str, &str, &[&str])] = &[
    ("GET", "/healthz", &["healthz", "proxy"]),
    ("GET", "/healthz?verbose=1", &["healthz", "proxy"]),
    ("GET", "/livez", &["proxy"]),
    ("GET", "/readyz", &["proxy"]),
    ("GET", "/pods", &["pods", "proxy"]),
    ("GET", "/runningpods/", &["pods", "proxy"]),
    ("GET", "/spec", &["proxy"]),
    ("GET", "/configz", &["configz", "proxy"]),
    ("GET", "/metrics", &["metrics"]),
    ("GET", "/metrics/resource", &["metrics"]),
    ("GET", "/stats/summary", &["stats"]),
    ("GET", "/logs/", &["log"]),
    ("GET", "/containerLogs/a/b/c", &["proxy"]),
    ("POST", "/exec/a/b/c", &["proxy"]),
    ("GET", "/exec/a/b/c", &["proxy"]),
    ("POST", "/attach/a/b/c", &["proxy"]),
    ("GET", "/attach/a/b/c", &["proxy"]),
    ("POST", "/run/a/b/c", &["proxy"]),
    ("GET", "/run/a/b/c", &["proxy"]),
    ("POST", "/portForward/a/b", &["proxy"]),
    ("GET", "/portForward/a/b", &["proxy"]),
    ("GET", "/pico/status", &["metrics"]),
    ("GET", "/pico/memory", &["metrics"]),
    ("GET", "/pico/gpio", &["metrics"]),
    ("POST", "/pico/command", &["proxy"]),
    ("GET", "/nothing", &["proxy"]),
];

/// What somebody may do, as RBAC says it.
enum Rights {
    /// The node does not know them.
    Nobody,
    /// These verbs at these subresources.
    Of(&'static [&'static str], &'static [&'static str]),
    /// Everything.
    All,
}

impl Rights {
    fn allow(&self, method: &str, path: &str, subresources: &[&str]) -> bool {
        let commands = ["/exec/", "/attach/", "/run/", "/portForward/"];
        let is_command = commands.iter().any(|command| path.starts_with(command));
        let verb = if method == "GET" && !is_command {
            "get"
        } else {
            "create"
        };
        match self {
            Self::Nobody => false,
            Self::All => true,
            Self::Of(verbs, of) => verbs.contains(&verb) && subresources.iter().any(|one| of.contains(one)),
        }
    }
}

/// Somebody who calls.
struct Somebody {
    name: &'static str,
    caller: Caller,
    token: Option<String>,
    rights: Rights,
}

/// One cell: what came back.
fn ask(node: &Node<'_>, somebody: &Somebody, method: &str, path: &str) -> &'static str {
    let ask = || {
        let token = somebody.token.as_deref();
        let answer = somebody.caller.request(method, &node.url(path), token);
        answer.map(|answer| answer.status)
    };
    let mut answer = ask();
    // All of them call from one address, which has its limit.
    while matches!(answer, Ok(429)) {
        std::thread::sleep(Duration::from_millis(200));
        answer = ask();
    }
    match answer {
        Err(_) => "tls",
        Ok(401) => "401",
        Ok(403) => "403",
        Ok(500..) => "5xx",
        Ok(_) => "yes",
    }
}

fn matrix(case: &Case<'_>) -> Result<()> {
    let control_plane = case.cluster().control_plane();
    let tokens = control_plane.directory().join("matrix-tokens.csv");
    std::fs::write(&tokens, "the-static-token-of-the-matrix,matrix-static\n")?;
    let tokens = tokens.to_str().context("not UTF-8")?;
    let node = case
        .node()
        .arguments(["--static-token-file", tokens])
        .start_ready()?;
    let namespace = case.namespace()?;
    let kubectl = case.kubectl();
    let account = |name: &str, role: Option<(&str, &str)>| -> Result<String> {
        kubectl.run(["create", "serviceaccount", name, "--namespace", &namespace])?;
        if let Some((verbs, resources)) = role {
            let (verbs, resources) = (format!("--verb={verbs}"), format!("--resource={resources}"));
            let role = format!("matrix-{name}");
            kubectl.run(["create", "clusterrole", &role, &verbs, &resources])?;
            let (to, who) = (
                format!("--clusterrole={role}"),
                format!("--serviceaccount={namespace}:{name}"),
            );
            kubectl.run(["create", "clusterrolebinding", &role, &to, &who])?;
        }
        let token = kubectl.run(["create", "token", name, "--namespace", &namespace])?;
        Ok(token.trim().to_owned())
    };
    let prometheus = account("scraper", Some(("get", "nodes/metrics,nodes/stats")))?;
    let viewer = account("viewer", Some(("get", "nodes/pods,nodes/healthz,nodes/configz")))?;
    let operator = account("operator", Some(("get,create", "nodes/proxy")))?;
    let reader = account("proxy-reader", Some(("get", "nodes/proxy")))?;
    let stranger = account("stranger", None)?;
    kubectl.run([
        "create",
        "clusterrole",
        "matrix-static",
        "--verb=get",
        "--resource=nodes/metrics",
    ])?;
    kubectl.run([
        "create",
        "clusterrolebinding",
        "matrix-static",
        "--clusterrole=matrix-static",
        "--user=matrix-static",
    ])?;

    let authority = control_plane.pki().certificate_authority();
    let foreign = Pki::create(&control_plane.directory().join("matrix-foreign-pki"))?;
    let api_server = Subject {
        common_name: "kube-apiserver-kubelet-client",
        organization: None,
    };
    let admin = Subject {
        common_name: "matrix-admin",
        organization: Some("system:masters"),
    };
    let past = Validity {
        from_seconds: -7200,
        until_seconds: -3600,
    };
    let valid = Validity::default();
    let with = |name, identity: Identity, rights| -> Result<Somebody> {
        Ok(Somebody {
            name,
            caller: Caller::new(authority, Some(&identity))?,
            token: None,
            rights,
        })
    };
    let token = |name, token: &str, rights| -> Result<Somebody> {
        Ok(Somebody {
            name,
            caller: Caller::new(authority, None)?,
            token: Some(token.to_owned()),
            rights,
        })
    };
    let pki = control_plane.pki();
    let other = control_plane.node("matrix-other-node", &[])?;
    let foreign_admin = foreign.client("matrix-foreign", admin, valid)?;
    let expired_admin = pki.client("matrix-expired", admin, past)?;
    let with_token = |name, identity: &Identity, token: &str, rights| -> Result<Somebody> {
        Ok(Somebody {
            name,
            caller: Caller::new(authority, Some(identity))?,
            token: Some(token.to_owned()),
            rights,
        })
    };
    let scrapes = || Rights::Of(&["get"], &["metrics", "stats"]);
    let callers = [
        Somebody {
            name: "no credential",
            caller: Caller::new(authority, None)?,
            token: None,
            rights: Rights::Nobody,
        },
        with("foreign certificate", foreign_admin.clone(), Rights::Nobody)?,
        with_token(
            "foreign certificate, SA nodes/metrics,stats",
            &foreign_admin,
            &prometheus,
            scrapes(),
        )?,
        with_token(
            "foreign certificate, wrong token",
            &foreign_admin,
            "made-up-made-up-made-up",
            Rights::Nobody,
        )?,
        with("expired certificate", expired_admin.clone(), Rights::Nobody)?,
        with_token(
            "expired certificate, SA nodes/metrics,stats",
            &expired_admin,
            &prometheus,
            scrapes(),
        )?,
        with(
            "the node itself",
            node.credentials().client.clone(),
            Rights::Of(&[], &[]),
        )?,
        with("another node", other.client, Rights::Of(&[], &[]))?,
        with(
            "API server",
            pki.client("matrix-api-server", api_server, valid)?,
            Rights::All,
        )?,
        with(
            "administrator",
            pki.client("matrix-admin", admin, valid)?,
            Rights::All,
        )?,
        token("SA without rights", &stranger, Rights::Of(&[], &[]))?,
        token("SA nodes/metrics,stats", &prometheus, scrapes())?,
        token(
            "SA nodes/pods,…",
            &viewer,
            Rights::Of(&["get"], &["pods", "healthz", "configz"]),
        )?,
        token("SA get nodes/proxy", &reader, Rights::Of(&["get"], &["proxy"]))?,
        token(
            "SA nodes/proxy",
            &operator,
            Rights::Of(&["get", "create"], &["proxy"]),
        )?,
        token(
            "static token",
            "the-static-token-of-the-matrix",
            Rights::Of(&["get"], &["metrics"]),
        )?,
        token("wrong token", "made-up-made-up-made-up", Rights::Nobody)?,
        token("wrong token of 4 KiB", &"made-up-".repeat(512), Rights::Nobody)?,
    ];

    let mut table = String::new();
    let mut wrong = Vec::new();
    for (method, path, subresources) in ENDPOINTS {
        let _ = write!(table, "{method:4} {path:22}");
        for somebody in &callers {
            let got = ask(&node, somebody, method, path);
            let expected = match &somebody.rights {
                Rights::Nobody => "401",
                rights if rights.allow(method, path, subresources) => "yes",
                _ => "403",
            };
            let _ = write!(table, " {got:3}");
            if got != expected {
                wrong.push(format!(
                    "{method} {path} by {}: {got}, not {expected}",
                    somebody.name
                ));
            }
        }
        table.push('\n');
    }
    if std::env::var_os(PRINT).is_some() {
        for (index, somebody) in callers.iter().enumerate() {
            let pad = 28 + index * 4;
            println!("{:pad$}{}", "", somebody.name);
        }
        println!("{table}");
    }
    ensure!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    let log = node.log();
    for secret in [
        &prometheus,
        &viewer,
        &operator,
        "the-static-token-of-the-matrix",
        "made-up-made-up",
    ] {
        ensure!(!log.contains(secret), "the log shows a token");
    }
    Ok(())
}

fn anonymous_health(case: &Case<'_>) -> Result<()> {
    let node = case.node().arguments(["--anonymous-health"]).start_ready()?;
    let nobody = Caller::new(case.cluster().control_plane().pki().certificate_authority(), None)?;
    let answer = nobody.get(&node.url("/healthz"))?;
    ensure!(answer.status == 200 && answer.body == "ok", "{answer:?}");
    for path in ["/livez", "/readyz", "/pods", "/metrics", "/pico/status"] {
        let answer = nobody.get(&node.url(path))?;
        ensure!(answer.status == 401, "{path}: {answer:?}");
    }
    Ok(())
}
