//! Kubeconfig files: one cluster, one user, everything inline, so that the file can be copied elsewhere.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::pki::Identity;

/// How the user of a kubeconfig proves who it is.
pub(crate) enum User<'a> {
    /// By a client certificate.
    Certificate(&'a Identity),
    /// By a bearer token.
    Token(&'a str),
}

/// Writes the kubeconfig of one user.
pub(crate) fn write(path: &Path, server: &str, authority: &Path, user: &User<'_>) -> Result<()> {
    let user = match user {
        User::Certificate(identity) => format!(
            "client-certificate-data: {}\n    client-key-data: {}",
            encode(&identity.certificate)?,
            encode(&identity.key)?
        ),
        User::Token(token) => format!("token: {token}"),
    };
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: picolet
  cluster:
    server: {server}
    certificate-authority-data: {}
users:
- name: user
  user:
    {user}
contexts:
- name: picolet
  context:
    cluster: picolet
    user: user
current-context: picolet
",
        encode(authority)?
    );
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

pub(crate) fn encode(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BASE64_STANDARD.encode(bytes))
}
