//! Credential plugins (`exec` in a kubeconfig): programs that print a credential, as the clusters of cloud providers use them.
//!
//! The protocol is `client.authentication.k8s.io` (client-go, `plugin/pkg/client/auth/exec`). A plugin is run anew for each client; none
//! of its output is stored.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use picolet_linux::kubeconfig::{Cluster, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use std::io::{IsTerminal, Read};
use std::process::{Command, Stdio};

/// The versions of the protocol that are spoken.
const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];
/// The most bytes that a plugin may print.
const LIMIT: u64 = 1 << 20;

/// What a plugin printed. Certificates and keys are PEM.
pub(super) struct Credential {
    pub(super) token: Option<String>,
    /// Certificate chain and key.
    pub(super) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs the plugin of a user of `cluster`, whose CA is `authority` (PEM).
///
/// # Errors
/// It cannot be started, fails, or prints something else than a credential of the version that the kubeconfig names.
pub(super) fn run(plugin: &ExecConfig, cluster: &Cluster, authority: &[u8]) -> Result<Credential> {
    let command = plugin.command.as_deref().context("exec: command is missing")?;
    run_command(plugin, command, cluster, authority).with_context(|| format!("exec: {command}"))
}

fn run_command(
    plugin: &ExecConfig,
    command: &str,
    cluster: &Cluster,
    authority: &[u8],
) -> Result<Credential> {
    let version = plugin.api_version.as_deref().unwrap_or_default();
    ensure!(
        VERSIONS.contains(&version),
        "apiVersion {version:?} is not supported, use {}",
        VERSIONS[0]
    );
    let has_terminal = std::io::stdin().is_terminal();
    let interactive = match &plugin.interactive_mode {
        Some(ExecInteractiveMode::Never) => false,
        Some(ExecInteractiveMode::Always) if !has_terminal => {
            bail!("interactiveMode is Always, and standard input is not a terminal")
        }
        _ => has_terminal,
    };
    let mut spec = json!({"interactive": interactive});
    if plugin.provide_cluster_info {
        let extensions = cluster.extensions.iter().flatten();
        let config = extensions
            .filter(|extension| extension.name == "client.authentication.k8s.io/exec")
            .map(|extension| &extension.extension)
            .next();
        spec["cluster"] = json!({
            "server": cluster.server,
            "certificate-authority-data": STANDARD.encode(authority),
            "proxy-url": cluster.proxy_url,
            "config": config,
        });
    }
    let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec});
    let mut child = Command::new(command);
    child.args(plugin.args.iter().flatten());
    for variable in plugin.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            child.env(name, value);
        }
    }
    child
        .env("KUBERNETES_EXEC_INFO", info.to_string())
        .stdin(if interactive {
            Stdio::inherit()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped());
    let mut child = child.spawn().with_context(|| {
        let hint = plugin.install_hint.as_deref().unwrap_or("is it installed?");
        format!("cannot be started; {hint}")
    })?;
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(LIMIT).read_to_end(&mut printed)?;
    }
    // A plugin that has printed more than the limit finds its pipe closed.
    let status = child.wait()?;
    ensure!(status.success(), "it failed: {status}");
    parse(&printed, version)
}

/// Reads a credential. Errors do not show what was printed: it can be secret.
fn parse(printed: &[u8], version: &str) -> Result<Credential> {
    let Ok(credential) = serde_json::from_slice::<ExecCredential>(printed) else {
        bail!("it did not print an ExecCredential in JSON");
    };
    ensure!(
        credential.api_version == version,
        "it printed apiVersion {:?}, and the kubeconfig says {version:?}",
        credential.api_version
    );
    let status = credential.status.context("it printed no status")?;
    let pem = |text: Option<String>| text.filter(|text| !text.is_empty()).map(String::into_bytes);
    let client_certificate = match (pem(status.client_certificate_data), pem(status.client_key_data)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => bail!("it printed one of clientCertificateData and clientKeyData, and not the other"),
    };
    let token = status.token.filter(|token| !token.is_empty());
    ensure!(
        token.is_some() || client_certificate.is_some(),
        "it printed neither a token nor a certificate"
    );
    Ok(Credential {
        token,
        client_certificate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_is_read_when_its_version_is_the_expected_one() {
        let text = |status: &str| {
            format!(
                r#"{{"apiVersion": "{}", "kind": "ExecCredential", {status}}}"#,
                VERSIONS[0]
            )
        };
        let token = parse(text(r#""status": {"token": "t"}"#).as_bytes(), VERSIONS[0]).expect("a token");
        assert_eq!(token.token.as_deref(), Some("t"));
        let both = r#""status": {"clientCertificateData": "C", "clientKeyData": "K"}"#;
        let certificate = parse(text(both).as_bytes(), VERSIONS[0]).expect("a certificate");
        assert_eq!(
            certificate.client_certificate,
            Some((b"C".to_vec(), b"K".to_vec()))
        );
        for (printed, expected, words) in [
            (
                text(r#""status": {"token": "t"}"#),
                VERSIONS[1],
                "the kubeconfig says",
            ),
            (text(r#""status": {"token": ""}"#), VERSIONS[0], "neither a token"),
            (
                text(r#""status": {"clientKeyData": "K"}"#),
                VERSIONS[0],
                "not the other",
            ),
            (text(r#""spec": {}"#), VERSIONS[0], "no status"),
            (
                "s3cret".to_owned(),
                VERSIONS[0],
                "did not print an ExecCredential",
            ),
        ] {
            let error = parse(printed.as_bytes(), expected).err().expect(words);
            let error = format!("{error:#}");
            assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
        }
    }
}
