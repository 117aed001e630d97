//! Kubeconfigs: files are merged, a context is selected, and its cluster and user are read, by the rules of client-go
//! (`tools/clientcmd`). Each field is honoured or refused by its name.

use crate::files;
use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube_client::config::{AuthInfo, Kubeconfig};
pub use kube_client::config::{Cluster, ExecConfig, ExecInteractiveMode};
use secrecy::ExposeSecret;
use std::path::{Path, PathBuf};

/// API server and credentials of a node. Certificates and keys are PEM.
#[derive(Debug, Default)]
pub struct Access {
    /// `https://…`, or `http://…` in lab mode.
    pub server: String,
    /// CA of the API server's certificate; empty in lab mode.
    pub certificate_authority: Vec<u8>,
    /// Certificate chain of the node; empty until it has joined.
    pub client_certificate: Vec<u8>,
    /// Its key, on P-256.
    pub client_key: Vec<u8>,
}

/// A certificate or key that a kubeconfig holds as base64, or names a file of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// CA of the API server's certificate.
    CertificateAuthority,
    /// Certificate of the user.
    ClientCertificate,
    /// Key of the user.
    ClientKey,
}

impl Part {
    /// Its key in the kubeconfig. That of the inline form ends in `-data`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate-authority",
            Self::ClientCertificate => "client-certificate",
            Self::ClientKey => "client-key",
        }
    }
}

/// User to act as (`as`, `as-uid`, `as-groups`, `as-user-extra`).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Impersonation {
    /// Name of the user.
    pub user: String,
    /// UID of the user.
    pub uid: Option<String>,
    /// Groups of the user.
    pub groups: Vec<String>,
    /// Further attributes: key and value, one pair for each value.
    pub extra: Vec<(String, String)>,
}

/// Cluster and user of one context.
pub struct ResolvedContext {
    cluster: Cluster,
    user: AuthInfo,
}

impl ResolvedContext {
    /// Merges the kubeconfigs at `paths` and selects `context`, or else their current context. Where two files set the same value, the
    /// first one counts. Relative paths in a file start at its directory.
    ///
    /// # Errors
    /// A file is unreadable or malformed, or the context, its cluster or its user is missing.
    pub fn load<P: AsRef<Path>>(paths: &[P], context: Option<&str>) -> Result<Self> {
        let mut merged = Kubeconfig::default();
        for path in paths {
            let path = path.as_ref();
            let text = files::read_to_string(path).with_context(|| path.display().to_string())?;
            let read = Kubeconfig::from_yaml(&text);
            let mut read = read.with_context(|| format!("{}: not a kubeconfig", path.display()))?;
            resolve_paths(&mut read, path.parent().unwrap_or(Path::new("")));
            // An empty name is none, so that a later file can set it (client-go merges so).
            read.current_context = read.current_context.filter(|name| !name.is_empty());
            merged = merged.merge(read)?;
        }
        Self::select(merged, context)
    }

    fn select(config: Kubeconfig, context: Option<&str>) -> Result<Self> {
        let by = if context.is_some() {
            "--context"
        } else {
            "current-context"
        };
        let current = config.current_context.as_deref();
        let name = context
            .or(current)
            .context("no current-context: set it with kubectl config use-context NAME, or pass --context")?;
        let entry = config.contexts.into_iter().find(|entry| entry.name == name);
        let entry = entry
            .and_then(|entry| entry.context)
            .with_context(|| format!("{by}: there is no context \"{name}\""))?;
        let cluster = config
            .clusters
            .into_iter()
            .find(|named| named.name == entry.cluster)
            .and_then(|named| named.cluster)
            .with_context(|| format!("context \"{name}\": there is no cluster \"{}\"", entry.cluster))?;
        let user = entry.user.unwrap_or_default();
        let user = config
            .auth_infos
            .into_iter()
            .find(|named| named.name == user)
            .and_then(|named| named.auth_info)
            .with_context(|| format!("context \"{name}\": there is no user \"{user}\""))?;
        let resolved = Self { cluster, user };
        resolved.refuse_unsupported()?;
        Ok(resolved)
    }

    /// Refuses fields that change what a request means and that no part of picolet honours.
    fn refuse_unsupported(&self) -> Result<()> {
        let (cluster, user) = (&self.cluster, &self.user);
        let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let has_password =
            (user.password.as_ref()).is_some_and(|password| !password.expose_secret().is_empty());
        if cluster.insecure_skip_tls_verify == Some(true) {
            bail!(
                "insecure-skip-tls-verify: the API server is always verified; set certificate-authority instead"
            );
        }
        if is_set(&cluster.tls_server_name) {
            bail!(
                "tls-server-name: not supported; set server to a name or address that the certificate covers"
            );
        }
        if is_set(&user.username) || has_password {
            bail!("username and password: API servers no longer take them; use a certificate or a token");
        }
        if user.auth_provider.is_some() {
            bail!("auth-provider: removed from Kubernetes; use exec, a certificate or a token");
        }
        Ok(())
    }

    /// URL of the API server.
    ///
    /// # Errors
    /// The cluster has none.
    pub fn server(&self) -> Result<&str> {
        let server = self.cluster.server.as_deref();
        server
            .filter(|server| !server.is_empty())
            .context("server is missing in the cluster")
    }

    /// Proxy for all requests, as a URL.
    pub fn proxy(&self) -> Option<&str> {
        self.cluster.proxy_url.as_deref().filter(|url| !url.is_empty())
    }

    /// Credential plugin, and the cluster that it may be told of.
    pub fn plugin(&self) -> Option<(&ExecConfig, &Cluster)> {
        self.user.exec.as_ref().map(|exec| (exec, &self.cluster))
    }

    /// User to act as, if any.
    ///
    /// # Errors
    /// There are attributes of a user without its name.
    pub fn impersonation(&self) -> Result<Option<Impersonation>> {
        let user = &self.user;
        let groups = user.impersonate_groups.clone().unwrap_or_default();
        let extra = user.impersonate_user_extra.iter().flatten();
        let extra: Vec<_> = extra
            .flat_map(|(key, values)| values.iter().map(|value| (key.clone(), value.clone())))
            .collect();
        let of_user = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let uid = of_user(&user.impersonate_uid);
        match of_user(&user.impersonate) {
            Some(name) => Ok(Some(Impersonation {
                user: name,
                uid,
                groups,
                extra,
            })),
            None if uid.is_some() || !groups.is_empty() || !extra.is_empty() => {
                bail!("as-uid, as-groups and as-user-extra need as, the name of the user")
            }
            None => Ok(None),
        }
    }

    /// A certificate or key, PEM; `None` where it is neither inline nor a file. `{name}` in a path stands for `node`, if given.
    ///
    /// # Errors
    /// The file is unreadable, or the inline form is not base64.
    pub fn pem(&self, part: Part, node: Option<&str>) -> Result<Option<Vec<u8>>> {
        let (cluster, user) = (&self.cluster, &self.user);
        let key_data = user.client_key_data.as_ref().map(|data| data.expose_secret());
        let (path, data) = match part {
            Part::CertificateAuthority => (
                &cluster.certificate_authority,
                cluster.certificate_authority_data.as_deref(),
            ),
            Part::ClientCertificate => (&user.client_certificate, user.client_certificate_data.as_deref()),
            Part::ClientKey => (&user.client_key, key_data),
        };
        let name = part.as_str();
        match (path, data.filter(|data| !data.is_empty())) {
            (_, Some(data)) => decode(name, data).map(Some),
            (Some(path), None) if !path.is_empty() => {
                let path = match node {
                    Some(node) => PathBuf::from(path.replace("{name}", node)),
                    None => PathBuf::from(path),
                };
                let read = files::read(&path);
                read.map(Some)
                    .with_context(|| format!("{name}: {}", path.display()))
            }
            _ => Ok(None),
        }
    }

    /// Bearer token of the user. That of `tokenFile`, which may be replaced at any time, precedes `token`, as in client-go.
    ///
    /// # Errors
    /// The file is unreadable.
    pub fn token(&self) -> Result<Option<String>> {
        if let Some(path) = self.user.token_file.as_deref().filter(|path| !path.is_empty()) {
            let token =
                files::read_to_string(Path::new(path)).with_context(|| format!("tokenFile: {path}"))?;
            return Ok(Some(token.trim().to_owned()));
        }
        let token = self.user.token.as_ref().map(|token| token.expose_secret());
        Ok(token.filter(|token| !token.is_empty()).map(str::to_owned))
    }
}

/// Reads the credentials of `node` from the kubeconfig at `path`. `{name}` in the paths of certificates stands for `node`.
pub(crate) fn read(path: &Path, node: &str) -> Result<Access> {
    ResolvedContext::load(&[path], None)
        .and_then(|context| access(&context, node))
        .with_context(|| format!("--kubeconfig {}", path.display()))
}

fn access(context: &ResolvedContext, node: &str) -> Result<Access> {
    for (field, is_set) in [
        ("proxy-url", context.proxy().is_some()),
        ("exec", context.plugin().is_some()),
        ("as", context.impersonation()?.is_some()),
    ] {
        if is_set {
            bail!(
                "{field}: a node does not support it; it calls its API server directly, with its own certificate"
            );
        }
    }
    let server = context.server()?;
    let is_plain = server.starts_with("http://");
    let part = |part: Part| {
        if is_plain {
            return Ok(Vec::new());
        }
        let name = part.as_str();
        context.pem(part, Some(node))?.ok_or_else(|| match part {
            Part::ClientCertificate | Part::ClientKey if context.user.token.is_some() => anyhow!(
                "the user has a token and no {name}: a node needs a certificate for CN=system:node:{node}, O=system:nodes"
            ),
            _ => anyhow!("neither {name} nor {name}-data is set"),
        })
    };
    Ok(Access {
        certificate_authority: part(Part::CertificateAuthority)?,
        client_certificate: part(Part::ClientCertificate)?,
        client_key: part(Part::ClientKey)?,
        server: server.to_owned(),
    })
}

/// CA of the first cluster in a kubeconfig that names no user, such as that of `cluster-info`.
pub(crate) fn first_authority(text: &str) -> Result<Vec<u8>> {
    let config = Kubeconfig::from_yaml(text).context("not a kubeconfig")?;
    let cluster = config.clusters.into_iter().next().and_then(|named| named.cluster);
    let data = cluster.context("it has no cluster")?.certificate_authority_data;
    decode(
        "certificate-authority",
        &data.context("its cluster has no certificate-authority-data")?,
    )
}

/// Has relative paths start at `folder`. (`Kubeconfig::read_from` does so too, for files of any size that can be read twice.)
fn resolve_paths(config: &mut Kubeconfig, folder: &Path) {
    let resolve = |path: &mut Option<String>| {
        if let Some(path) = path.as_mut().filter(|path| !path.is_empty()) {
            *path = folder.join(&*path).to_string_lossy().into_owned();
        }
    };
    for cluster in config
        .clusters
        .iter_mut()
        .filter_map(|named| named.cluster.as_mut())
    {
        resolve(&mut cluster.certificate_authority);
    }
    for user in config
        .auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
    {
        resolve(&mut user.client_certificate);
        resolve(&mut user.client_key);
        resolve(&mut user.token_file);
        // A bare name is looked for in PATH.
        if let Some(exec) = &mut user.exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            resolve(&mut exec.command);
        }
    }
}

/// Decodes the inline form of `name`.
fn decode(name: &str, data: &str) -> Result<Vec<u8>> {
    STANDARD
        .decode(data.trim())
        .map_err(|error| anyhow!("{name}-data is not base64: {error}"))
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

    fn parse(text: &str, node: &str) -> Result<Access> {
        let config = Kubeconfig::from_yaml(text).context("not a kubeconfig")?;
        access(&ResolvedContext::select(config, None)?, node)
    }

    #[test]
    fn inline_data_is_read() {
        let access = parse(GOOD, "pico").expect("a kubeconfig");
        assert_eq!(access.server, "https://127.0.0.1:6443");
        assert_eq!(access.certificate_authority, b"CA");
        assert_eq!(
            (&access.client_certificate[..], &access.client_key[..]),
            (&b"CERT"[..], &b"KEY"[..])
        );
    }

    #[test]
    fn error_names_the_field_when_a_kubeconfig_cannot_be_used() {
        for (from, to, words) in [
            (
                "current-context: c",
                "current-context: d",
                "current-context: there is no context \"d\"",
            ),
            ("current-context: c", "", "no current-context"),
            (
                "cluster: k",
                "cluster: x",
                "context \"c\": there is no cluster \"x\"",
            ),
            ("user: u", "user: x", "context \"c\": there is no user \"x\""),
            ("client-key-data: S0VZ", "token: t", "a node needs a certificate"),
            (
                "certificate-authority-data: Q0E=",
                "x: y",
                "neither certificate-authority nor certificate-authority-data",
            ),
            ("Q0E=", "'?'", "certificate-authority-data is not base64"),
            (
                "server: 'https://127.0.0.1:6443'",
                "server: ''",
                "server is missing",
            ),
            ("clusters: [", "clusters: [[", "not a kubeconfig"),
            (
                "Q0E=",
                "Q0E=, insecure-skip-tls-verify: true",
                "insecure-skip-tls-verify",
            ),
            ("Q0E=", "Q0E=, tls-server-name: x", "tls-server-name"),
            ("Q0E=", "Q0E=, proxy-url: 'http://192.0.2.1'", "proxy-url"),
            ("S0VZ", "S0VZ, username: x", "username and password"),
            ("S0VZ", "S0VZ, auth-provider: {name: gcp}", "auth-provider"),
            ("S0VZ", "S0VZ, exec: {command: aws}", "exec: a node does not"),
            ("S0VZ", "S0VZ, as: root", "as: a node does not"),
            ("S0VZ", "S0VZ, as-groups: [x]", "need as"),
        ] {
            let error = parse(&GOOD.replacen(from, to, 1), "pico").expect_err(words);
            let text = format!("{error:#}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn field_is_unset_when_it_is_empty() {
        let text = GOOD
            .replace("Q0E=", "Q0E=, tls-server-name: '', proxy-url: ''")
            .replace(
                "S0VZ",
                "S0VZ, username: '', password: '', as: '', as-uid: '', token: ''",
            );
        parse(&text, "pico").expect("a kubeconfig");
    }

    #[test]
    fn first_file_counts_when_two_set_the_same_value() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("sub")).expect("a directory");
        let first = "
current-context: ''
clusters: [{name: k, cluster: {server: 'https://192.0.2.1', certificate-authority: ca.crt}}]
contexts: [{name: other, context: {cluster: k, user: u}}]
";
        std::fs::write(path("sub/first"), first).expect("a file");
        std::fs::write(path("sub/ca.crt"), "FIRST").expect("a file");
        std::fs::write(path("second"), GOOD).expect("a file");
        let paths = [path("sub/first"), path("second")];
        for context in [None, Some("other"), Some("c")] {
            let merged = ResolvedContext::load(&paths, context).expect("a context");
            assert_eq!(merged.server().expect("a server"), "https://192.0.2.1");
            let authority = merged.pem(Part::CertificateAuthority, None).expect("a CA");
            assert_eq!(authority.as_deref(), Some(&b"FIRST"[..]));
        }
        let missing = ResolvedContext::load(&paths, Some("x"))
            .err()
            .expect("no such context");
        assert_eq!(missing.to_string(), "--context: there is no context \"x\"");
    }

    #[test]
    fn impersonated_user_has_all_its_attributes() {
        let text = GOOD.replace(
            "S0VZ",
            "S0VZ, as: jane, as-uid: '7', as-groups: [a, b], as-user-extra: {scopes: [x]}",
        );
        let config = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
        let context = ResolvedContext::select(config, None).expect("a context");
        let expected = Impersonation {
            user: "jane".into(),
            uid: Some("7".into()),
            groups: vec!["a".into(), "b".into()],
            extra: vec![("scopes".into(), "x".into())],
        };
        assert_eq!(context.impersonation().expect("a user"), Some(expected));
    }
}
