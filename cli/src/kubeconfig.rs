//! Reads what a node needs out of a kubeconfig: server, authority, certificate and key.

use crate::files;
use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// How to reach an API server, and as whom. Certificates and keys are PEM.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// `https://…`, or `http://…` in lab mode.
    pub(crate) server: String,
    pub(crate) certificate_authority: Vec<u8>,
    pub(crate) client_certificate: Vec<u8>,
    pub(crate) client_key: Vec<u8>,
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

    /// Cluster and user of the current context.
    fn current(&self) -> Result<(&Cluster, &User)> {
        let context = find(
            &self.contexts,
            &self.current_context,
            "context",
            "current-context",
        )?;
        Ok((
            find(&self.clusters, &context.cluster, "cluster", "the context")?,
            find(&self.users, &context.user, "user", "the context")?,
        ))
    }
}

/// Reads the current context of the kubeconfig at `path`. `{name}` in the paths of certificates stands for `node`.
pub(crate) fn read(path: &Path, node: &str) -> Result<Access> {
    let text = files::read_to_string(path).with_context(|| format!("--kubeconfig {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    parse(&text, folder, node).with_context(|| format!("--kubeconfig {}", path.display()))
}

fn parse(text: &str, folder: &Path, node: &str) -> Result<Access> {
    let config = Config::parse(text)?;
    let (cluster, user) = config.current()?;
    if cluster.insecure_skip_tls_verify {
        bail!(
            "insecure-skip-tls-verify: a picolet always verifies its API server; give certificate-authority instead"
        );
    }
    let part = |what: &str, path: &Option<PathBuf>, data: &Option<String>| match (path, data) {
        (_, Some(data)) => decode(what, data),
        (Some(path), None) => {
            let path = folder.join(path.to_string_lossy().replace("{name}", node));
            files::read(&path).with_context(|| format!("{what}: {}", path.display()))
        }
        (None, None) if what != "certificate-authority" && user.token.is_some() => Err(anyhow!(
            "the user has a token and no {what}: a node shows a certificate for CN=system:node:{node}, O=system:nodes"
        )),
        (None, None) => Err(anyhow!("there is neither {what} nor {what}-data")),
    };
    let plain = cluster.server.starts_with("http://");
    let unless_plain = |what, path, data| {
        if plain {
            Ok(Vec::new())
        } else {
            part(what, path, data)
        }
    };
    Ok(Access {
        certificate_authority: unless_plain(
            "certificate-authority",
            &cluster.certificate_authority,
            &cluster.certificate_authority_data,
        )?,
        client_certificate: unless_plain(
            "client-certificate",
            &user.client_certificate,
            &user.client_certificate_data,
        )?,
        client_key: unless_plain("client-key", &user.client_key, &user.client_key_data)?,
        server: cluster.server.clone(),
    })
}

/// How a person reaches a cluster. Certificates and keys are PEM.
pub(crate) struct Person {
    pub(crate) server: String,
    pub(crate) certificate_authority: Vec<u8>,
    pub(crate) client_certificate: Option<Vec<u8>>,
    pub(crate) client_key: Option<Vec<u8>>,
    pub(crate) token: Option<String>,
}

/// Reads the current context of the kubeconfig at `path`, for somebody with a certificate of any kind or a token.
pub(crate) fn read_person(path: &Path) -> Result<Person> {
    let read = || {
        let text = files::read_to_string(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let config = Config::parse(&text)?;
        let (cluster, user) = config.current()?;
        let part = |what: &str, path: &Option<PathBuf>, data: &Option<String>| match (path, data) {
            (_, Some(data)) => decode(what, data).map(Some),
            (Some(path), None) => files::read(&folder.join(path))
                .map(Some)
                .with_context(|| format!("{what}: {}", path.display())),
            (None, None) => Ok(None),
        };
        let person = Person {
            server: cluster.server.clone(),
            certificate_authority: part(
                "certificate-authority",
                &cluster.certificate_authority,
                &cluster.certificate_authority_data,
            )?
            .context("there is neither certificate-authority nor certificate-authority-data")?,
            client_certificate: part(
                "client-certificate",
                &user.client_certificate,
                &user.client_certificate_data,
            )?,
            client_key: part("client-key", &user.client_key, &user.client_key_data)?,
            token: match &user.token_file {
                // It counts before the other, as in client-go.
                Some(path) => Some(read_token(&folder.join(path))?),
                None => user.token.clone(),
            },
        };
        if person.client_certificate.is_none() && person.token.is_none() {
            bail!(
                "the user has neither a certificate nor a token (a plugin's is not asked for): use kubectl certificate approve NAME, or another kubeconfig"
            );
        }
        Ok(person)
    };
    read().with_context(|| format!("--kubeconfig {}", path.display()))
}

/// The token in a file, which whoever keeps it fresh may replace at any time.
fn read_token(path: &Path) -> Result<String> {
    let token = files::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(token.trim().to_owned())
}

/// Where a pod finds the account that it runs as, and the variables that say where the API server is (client-go's
/// `rest.InClusterConfig`).
pub(crate) const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
pub(crate) const SERVICE: [&str; 2] = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"];

/// Who a pod is, by the folder that it has of its ServiceAccount.
pub(crate) fn in_cluster(account: &Path, host: &str, port: &str) -> Result<Person> {
    let server = match host.parse() {
        Ok(std::net::IpAddr::V6(host)) => format!("https://[{host}]:{port}"),
        _ => format!("https://{host}:{port}"),
    };
    let authority = account.join("ca.crt");
    Ok(Person {
        server,
        certificate_authority: files::read(&authority).with_context(|| authority.display().to_string())?,
        client_certificate: None,
        client_key: None,
        token: Some(read_token(&account.join("token"))?),
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

fn find<'a, T>(list: &'a [Named<T>], name: &str, kind: &str, by: &str) -> Result<&'a T> {
    let found = list.iter().find(|named| named.name == name);
    found
        .map(|named| &named.entry)
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
    fn a_pod_is_its_service_account() {
        let folder = std::env::temp_dir().join(format!("picolet-account-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        assert!(in_cluster(&folder, "192.0.2.1", "443").is_err());
        std::fs::write(folder.join("ca.crt"), "CA").expect("a file");
        std::fs::write(folder.join("token"), "first\n").expect("a file");
        let person = in_cluster(&folder, "192.0.2.1", "443").expect("an account");
        assert_eq!(person.server, "https://192.0.2.1:443");
        assert_eq!(
            (&person.certificate_authority[..], person.token.as_deref()),
            (&b"CA"[..], Some("first"))
        );
        let person = in_cluster(&folder, "2001:db8::1", "6443").expect("an account");
        assert_eq!(person.server, "https://[2001:db8::1]:6443");

        // A kubeconfig too may name the file, which is then read each time.
        let config = GOOD.replace(
            "client-certificate-data: Q0VSVA==, client-key-data: S0VZ",
            "tokenFile: token",
        );
        std::fs::write(folder.join("config"), config).expect("a file");
        for token in ["first", "second"] {
            std::fs::write(folder.join("token"), token).expect("a file");
            let person = read_person(&folder.join("config")).expect("a kubeconfig");
            assert_eq!(person.token.as_deref(), Some(token));
        }
        std::fs::remove_dir_all(&folder).expect("it is gone");
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
