//! Reads what a node needs out of a kubeconfig: server, authority, certificate and key.

use crate::files;
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// How to reach an API server, and as whom. Certificates and keys are PEM.
#[derive(Debug, Default)]
pub struct Access {
    /// `https://…`, or `http://…` in lab mode.
    pub server: String,
    /// The CA of the API server's certificate; empty in lab mode.
    pub certificate_authority: Vec<u8>,
    /// The certificate of the node, with those above it; empty until a node has joined.
    pub client_certificate: Vec<u8>,
    /// Its key, on P-256.
    pub client_key: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(default)]
    clusters: Vec<Named<Cluster>>,
    #[serde(default)]
    users: Vec<Named<User>>,
    #[serde(default)]
    contexts: Vec<Named<ContextEntry>>,
    #[serde(default)]
    current_context: String,
}

/// `{name: x, cluster: {…}}`, and so for users and contexts.
#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context")]
    entry: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ContextEntry {
    cluster: String,
    user: String,
}

impl Config {
    fn parse(text: &str) -> Result<Self> {
        serde_yaml_ng::from_str(text).context("this is no kubeconfig")
    }
}

/// Cluster and user of a kubeconfig's current context. Paths in it start at the kubeconfig's folder.
pub struct CurrentContext {
    folder: PathBuf,
    cluster: Cluster,
    user: User,
}

/// What a kubeconfig holds as base64, or names the file of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The CA of the API server's certificate.
    CertificateAuthority,
    /// The certificate of the user.
    ClientCertificate,
    /// Its key.
    ClientKey,
}

impl Part {
    /// Its key in the kubeconfig, which ends in `-data` for base64.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate-authority",
            Self::ClientCertificate => "client-certificate",
            Self::ClientKey => "client-key",
        }
    }
}

impl CurrentContext {
    /// Reads the kubeconfig at `path`.
    ///
    /// # Errors
    /// It cannot be read, is malformed, or has no current context.
    pub fn read(path: &Path) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&files::read_to_string(path)?, folder)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self> {
        let Config {
            clusters,
            users,
            contexts,
            current_context,
        } = Config::parse(text)?;
        let context = find(contexts, &current_context, "context", "current-context")?;
        Ok(Self {
            folder: folder.to_owned(),
            cluster: find(clusters, &context.cluster, "cluster", "the context")?,
            user: find(users, &context.user, "user", "the context")?,
        })
    }

    /// The URL of the API server.
    pub fn server(&self) -> &str {
        &self.cluster.server
    }

    /// One of its certificates or keys, PEM; `None` where it has neither the key nor its `-data`. `{name}` in a path stands for `node`,
    /// if one is given.
    ///
    /// # Errors
    /// The file cannot be read, or the data is not base64.
    pub fn pem(&self, part: Part, node: Option<&str>) -> Result<Option<Vec<u8>>> {
        let (cluster, user) = (&self.cluster, &self.user);
        let (path, data) = match part {
            Part::CertificateAuthority => (
                &cluster.certificate_authority,
                &cluster.certificate_authority_data,
            ),
            Part::ClientCertificate => (&user.client_certificate, &user.client_certificate_data),
            Part::ClientKey => (&user.client_key, &user.client_key_data),
        };
        match (path, data) {
            (_, Some(data)) => decode(part.as_str(), data).map(Some),
            (Some(path), None) => {
                let path = match node {
                    Some(node) => PathBuf::from(path.to_string_lossy().replace("{name}", node)),
                    None => path.clone(),
                };
                let path = self.folder.join(path);
                let read = files::read(&path);
                read.map(Some)
                    .with_context(|| format!("{}: {}", part.as_str(), path.display()))
            }
            (None, None) => Ok(None),
        }
    }

    /// The bearer token of the user. That of `tokenFile`, which may be replaced at any time, precedes `token`, as in client-go.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn token(&self) -> Result<Option<String>> {
        let Some(path) = &self.user.token_file else {
            return Ok(self.user.token.clone());
        };
        let path = self.folder.join(path);
        let token = files::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(Some(token.trim().to_owned()))
    }
}

/// Reads the current context of the kubeconfig at `path`. `{name}` in the paths of certificates stands for `node`.
pub(crate) fn read(path: &Path, node: &str) -> Result<Access> {
    CurrentContext::read(path)
        .and_then(|context| access(&context, node))
        .with_context(|| format!("--kubeconfig {}", path.display()))
}

fn access(context: &CurrentContext, node: &str) -> Result<Access> {
    if context.cluster.insecure_skip_tls_verify {
        bail!(
            "insecure-skip-tls-verify: a picolet always verifies its API server; give certificate-authority instead"
        );
    }
    let is_plain = context.server().starts_with("http://");
    let part = |part: Part| {
        if is_plain {
            return Ok(Vec::new());
        }
        let what = part.as_str();
        context.pem(part, Some(node))?.ok_or_else(|| match part {
            Part::ClientCertificate | Part::ClientKey if context.user.token.is_some() => anyhow!(
                "the user has a token and no {what}: a node shows a certificate for CN=system:node:{node}, O=system:nodes"
            ),
            _ => anyhow!("there is neither {what} nor {what}-data"),
        })
    };
    Ok(Access {
        certificate_authority: part(Part::CertificateAuthority)?,
        client_certificate: part(Part::ClientCertificate)?,
        client_key: part(Part::ClientKey)?,
        server: context.server().to_owned(),
    })
}

/// The authority of the first cluster in a kubeconfig that names no user, such as that of `cluster-info`.
pub(crate) fn first_authority(text: &str) -> Result<Vec<u8>> {
    let config = Config::parse(text)?;
    let cluster = config.clusters.first().context("it has no cluster")?;
    let data = cluster.entry.certificate_authority_data.as_deref();
    decode(
        "certificate-authority",
        data.context("its cluster has no certificate-authority-data")?,
    )
}

/// What stands in a kubeconfig itself as base64.
fn decode(what: &str, data: &str) -> Result<Vec<u8>> {
    STANDARD
        .decode(data.trim())
        .map_err(|error| anyhow!("{what}-data is no base64: {error}"))
}

fn find<T>(list: Vec<Named<T>>, name: &str, kind: &str, by: &str) -> Result<T> {
    let found = list.into_iter().find(|named| named.name == name);
    found
        .map(|named| named.entry)
        .ok_or_else(|| anyhow!("{by} names the {kind} \"{name}\", which is not there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: v1
kind: Config
clusters: [{name: k, cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Q0E=}}]
users: [{name: u, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}]
contexts: [{name: c, context: {cluster: k, user: u}}]
current-context: c
";

    fn parse(text: &str, folder: &Path, node: &str) -> Result<Access> {
        access(&CurrentContext::parse(text, folder)?, node)
    }

    #[test]
    fn data_inside() {
        let access = parse(GOOD, Path::new("/nowhere"), "pico").expect("a kubeconfig");
        assert_eq!(access.server, "https://127.0.0.1:6443");
        assert_eq!(access.certificate_authority, b"CA");
        assert_eq!(
            (&access.client_certificate[..], &access.client_key[..]),
            (&b"CERT"[..], &b"KEY"[..])
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, to, words) in [
            (
                "current-context: c",
                "current-context: d",
                "current-context names the context \"d\"",
            ),
            ("cluster: k", "cluster: x", "the context names the cluster \"x\""),
            ("client-key-data: S0VZ", "token: t", "a node shows a certificate"),
            (
                "certificate-authority-data: Q0E=",
                "x: y",
                "neither certificate-authority nor certificate-authority-data",
            ),
            ("Q0E=", "'?'", "certificate-authority-data is no base64"),
            ("clusters: [", "clusters: [[", "this is no kubeconfig"),
            (
                "certificate-authority-data: Q0E=",
                "insecure-skip-tls-verify: true",
                "always verifies",
            ),
        ] {
            let error = parse(&GOOD.replacen(from, to, 1), Path::new("/nowhere"), "pico").expect_err(words);
            let text = format!("{error:#}");
            assert!(text.contains(words), "{text}");
        }
    }
}
