//! The documentation's commands, as a new user runs them.

use anyhow::{Result, ensure};
use picolet_conformance::{Case, Kubeconfig, Walk};

use crate::{Entry, alone};

/// Alone: the pages configure the namespace `default`.
pub(crate) const CASES: &[Entry] = &[
    alone("from_box_to_ready", from_box_to_ready).only_boards(),
    alone("certificates", certificates).only_boards(),
    alone("linux_and_drive", linux_and_drive).only_linux("the pages are about a process"),
];

fn from_box_to_ready(case: &Case<'_>) -> Result<()> {
    let printed = Walk::new(case, "from-box-to-ready.md", Kubeconfig::Home).run()?;
    for part in [
        "registered as node pico-1",
        r#"{"pin":2,"mode":"high","level":1}"#,
        r#"{"pin":3,"mode":"pwm:128@1000""#,
        r#"{"status":"ok"}"#,
    ] {
        ensure!(
            printed.contains(part),
            "the page does not print {part}:\n{printed}"
        );
    }
    ensure!(
        case.cluster().object("default", "node", "pico-1")?.is_none(),
        "the Node remains after picolet retire"
    );
    Ok(())
}

fn certificates(case: &Case<'_>) -> Result<()> {
    Walk::new(case, "certificates.md", Kubeconfig::Variable)
        .address("192.168.1.50")
        .then("kubectl wait --for=create node/pico-2 --timeout=2m")
        .then("kubectl wait --for=condition=Ready node/pico-2 --timeout=2m")
        .then("kubectl wait --for=create pod/picolet-pico-2 -n kube-system --timeout=1m")
        .then("kubectl logs -n kube-system picolet-pico-2")
        .run()?;
    case.kubectl().run(["delete", "node", "pico-2"])?;
    Ok(())
}

fn linux_and_drive(case: &Case<'_>) -> Result<()> {
    let printed = Walk::new(case, "linux.md", Kubeconfig::Variable)
        .address("192.168.1.20")
        .and("drive.md")
        .replace("nodes/pico-1/", "nodes/linux-1/")
        .run()?;
    for part in [
        r#"{"address":0,"value":66}"#,
        r#"{"pin":3,"mode":"pwm:128@1000""#,
        r#"{"status":"ok"}"#,
    ] {
        ensure!(
            printed.contains(part),
            "the pages do not print {part}:\n{printed}"
        );
    }
    case.kubectl().run(["delete", "configmap", "pico-config"])?;
    case.kubectl().run(["delete", "node", "linux-1"])?;
    Ok(())
}
